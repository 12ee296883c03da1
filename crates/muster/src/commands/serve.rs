//! `muster serve`: the long-running form of the program. For now it serves those who come from Occopus.

use std::net::SocketAddr;

use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::occopus::rest;
use crate::occopus::voice::Voice;

/// Serve Occopus' REST interface, and look after the infrastructures that are built or attached by it
///
/// On loopback whoever is on this machine may ask. At other addresses clients show a token, which is made at the first
/// start, shown once, and kept in `serve.token` of the state folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster serve --occopus\n  muster serve --occopus=0.0.0.0:5000 --provider local")]
pub(crate) struct Args {
    /// Serve it, at this address
    #[arg(
        long,
        required = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "127.0.0.1:5000",
        value_name = "ADDRESS"
    )]
    occopus: SocketAddr,
    /// Make the nodes of what is submitted with this provider, whatever their resource sections say
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    rest::serve(args.occopus, args.provider, context, &Voice::new(context.printer.clone())).await
}
