//! Reload steps: a command of its own shell, after everything else is as it should be.

use std::path::Path;

use muster_cloudinit::Reload;

use super::{Applied, Context, StepError};
use crate::apply::shell::{self, SHELL};
use crate::apply::tool;

/// What the shell begins its complaints with.
const SCRIPT: &str = "reload";

pub(super) async fn run(reload: &Reload, context: &mut Context<'_>) -> Result<Applied, StepError> {
    // From a file: arguments can be seen by others.
    let path = context.scratch.join(SCRIPT);
    let start = shell::quote(context.machine.root());
    let script = format!("cd {start}; unset OLDPWD\n{}\n", reload.text);
    shell::write_private(&path, &script).map_err(StepError::write(&path))?;
    let mut command = tool::command(Path::new(SHELL), &[SCRIPT]);
    command.current_dir(context.scratch);
    shell::login(&mut command, context.machine.node());
    match tool::run_to_end(context, command).await? {
        (0, output) => Ok(Applied { changed: true, output: Some(output), ..Applied::default() }),
        (code, _) => Err(StepError::Command { code }),
    }
}
