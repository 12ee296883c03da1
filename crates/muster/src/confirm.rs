//! Asking before something is lost.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use crate::error::Failure;

/// True when the user agrees. Without a terminal and without `--yes` nobody can be asked: exit 64.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            format!("nobody can be asked: {question}"),
            "there is no terminal; add `--yes` to agree beforehand",
        ));
    }
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
