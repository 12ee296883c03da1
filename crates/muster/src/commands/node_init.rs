//! `muster node-init`: the first process of a local node, and the agent in it. Hidden; the shepherd starts it.

use muster_agent::{Agent, AgentConfig};
use muster_provider_local::{NodeContext, run_node_init};
use muster_stdx::chain;

use crate::output::{Format, Printer};

const FAILED: u8 = 70;

pub(crate) fn run() -> u8 {
    let code = run_node_init(|context| match run_agent(context) {
        Ok(()) => 0,
        Err(error) => {
            Printer::new(Format::Text).note(&format!("agent: {}", chain(error.as_ref())));
            i32::from(FAILED)
        }
    });
    match code {
        Ok(code) => u8::try_from(code).unwrap_or(FAILED),
        Err(error) => {
            Printer::new(Format::Text).note(&chain(&error));
            FAILED
        }
    }
}

fn run_agent(context: NodeContext) -> anyhow::Result<()> {
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false);
    log.with_max_level(tracing::Level::INFO).init();
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let bootstrap = serde_json::from_str(context.user_data.expose())?;
    // One thread is enough, and a node is small.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    let ready = context.ready;
    let config = AgentConfig {
        boot_id: Some(context.boot_id),
        rebooted_from_inside: context.rebooted_from_inside,
        ready: Some(Box::new(move || {
            if let Err(error) = ready.say() {
                tracing::error!(%error, "nobody hears that the agent listens");
            }
        })),
        ..AgentConfig::new(bootstrap)
    };
    runtime.block_on(async {
        Agent::build(config)?.run(tokio_util::sync::CancellationToken::new()).await?;
        Ok(())
    })
}
