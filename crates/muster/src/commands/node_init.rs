//! `muster node-init` and `muster node-agent`: the first process of a local node, and the agent in it. Hidden: the
//! shepherd starts the one, and systemd of a node the other.

use muster_agent::{Agent, AgentConfig, NodeLimits};
use muster_provider_local::{NodeContext, node_agent_context, run_node_init};
use muster_stdx::chain;

use crate::output::{Format, Printer};

const FAILED: u8 = 70;

/// PID 1.
pub(crate) fn run() -> u8 {
    match run_node_init(|context| i32::from(agent(context))) {
        Ok(code) => u8::try_from(code).unwrap_or(FAILED),
        Err(error) => complain(&error),
    }
}

/// A unit of systemd.
pub(crate) fn run_unit() -> u8 {
    node_agent_context().map_or_else(|error| complain(&error), agent)
}

fn agent(context: NodeContext) -> u8 {
    match run_agent(context) {
        Ok(()) => 0,
        Err(error) => complain(error.as_ref()),
    }
}

fn complain(error: &(dyn std::error::Error + 'static)) -> u8 {
    Printer::new(Format::Text).note(&format!("agent: {}", chain(error)));
    FAILED
}

fn run_agent(context: NodeContext) -> anyhow::Result<()> {
    // Its own words about a console that is gone would go to that console, and end the program.
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).log_internal_errors(false);
    log.with_max_level(tracing::Level::INFO).init();
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let bootstrap = serde_json::from_str(context.user_data.expose())?;
    // One thread is enough, and a node is small.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    let limits = context.limits;
    let ready = context.ready;
    let config = AgentConfig {
        boot_id: Some(context.boot_id),
        rebooted_from_inside: context.rebooted_from_inside,
        ready: Some(Box::new(move || {
            if let Err(error) = ready.say() {
                tracing::error!(%error, "nobody hears that the agent listens");
            }
        })),
        node_limits: NodeLimits { memory_bytes: limits.memory.map(|size| size.0), cpus: limits.cpus },
        ..AgentConfig::new(bootstrap)
    };
    runtime.block_on(async {
        Agent::build(config)?.run(tokio_util::sync::CancellationToken::new()).await?;
        Ok(())
    })
}
