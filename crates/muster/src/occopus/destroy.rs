//! `occopus-destroy`: removes an infrastructure, and proves that nothing of it is left.

use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::interrupt::Interrupt;
use crate::occopus::args::Destroy;
use crate::occopus::session::Session;
use crate::occopus::settings;
use crate::occopus::voice::Voice;

pub(crate) async fn run(args: Destroy, context: &Context, voice: &Voice) -> Result<ExitStatus, Failure> {
    settings::configuration(args.files.config.as_deref(), voice)?;
    settings::check_credentials(args.auth.auth_data.as_deref(), voice)?;
    let session = Session::open(context, voice)?;
    let id = &args.infra_id;
    session.records.get(id)?;
    let interrupt = Interrupt::listen(&context.printer, format!("occopus-destroy -i {id}"))?;
    voice.info(&format!("Start dropping infrastructure {id}"));
    session.destroy(id, interrupt.token.clone()).await?;
    voice.info(&format!("Finished dropping infrastructure {id}"));
    Ok(ExitStatus::DONE)
}
