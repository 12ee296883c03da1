//! `occopus-import`: checks node definitions and stores them.

use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::occopus::args::Import;
use crate::occopus::place::Place;
use crate::occopus::voice::Voice;
use crate::occopus::{definitions, settings};

pub(crate) fn run(args: &Import, context: &Context, voice: &Voice) -> Result<ExitStatus, Failure> {
    // Occopus reads its configuration here too, and ends if it cannot.
    settings::configuration(args.files.config.as_deref(), voice)?;
    let checked = definitions::read(&args.file)?;
    if !checked.warnings.is_empty() {
        context.printer.diagnostics(&checked.warnings, &checked.sources);
    }
    definitions::store(&Place::open(&context.paths)?, &checked)?;
    voice.plain(&format!("Successfully imported nodes: {}", checked.names().join(", ")));
    Ok(ExitStatus::DONE)
}
