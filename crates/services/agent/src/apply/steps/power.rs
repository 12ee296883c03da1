//! Reboot, power off or halt at the end of a document.

use std::path::Path;
use std::time::Duration;

use muster_cloudinit::{PowerMode, PowerState};
use nix::sys::reboot::{RebootMode, reboot};

use super::{Applied, Context, Machine, StepError};
use crate::apply::tool;

/// Asks the condition. Acting comes after the document is finished and written down: see `act`.
pub(super) async fn prepare(power: &PowerState, context: &mut Context<'_>) -> Result<Applied, StepError> {
    if let Some(condition) = &power.condition {
        let command = tool::command(Path::new("/bin/sh"), &["-c", condition]);
        let code = tool::run(context, command).await?;
        if code != 0 {
            let text = format!("the condition ended with exit code {code}: the power state stays");
            context.log.line(&text).map_err(StepError::Log)?;
            return Ok(Applied::default());
        }
    }
    if let Some(message) = &power.message {
        context.log.line(message).map_err(StepError::Log)?;
    }
    Ok(Applied::changed(true))
}

/// Waits for the delay, then asks systemd where it runs, else the kernel.
pub(in crate::apply) async fn act(machine: &Machine, power: &PowerState) -> Result<(), StepError> {
    tokio::time::sleep(Duration::from_secs(60 * u64::from(power.delay_minutes))).await;
    if !machine.is_live() {
        return Ok(());
    }
    let (verb, mode) = match power.mode {
        PowerMode::Reboot => ("reboot", RebootMode::RB_AUTOBOOT),
        PowerMode::PowerOff => ("poweroff", RebootMode::RB_POWER_OFF),
        PowerMode::Halt => ("halt", RebootMode::RB_HALT_SYSTEM),
    };
    if let Some(program) = machine.find("systemctl").filter(|_| machine.has_systemd()) {
        let status = tool::command(&program, &[verb]).status().map_err(StepError::Power)?;
        return match status.code() {
            Some(0) => Ok(()),
            code => Err(StepError::Exit { program: format!("systemctl {verb}"), code: code.unwrap_or(-1) }),
        };
    }
    nix::unistd::sync();
    match reboot(mode) {
        Ok(never) => match never {},
        Err(error) => Err(StepError::Power(error.into())),
    }
}
