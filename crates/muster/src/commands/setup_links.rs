//! `muster setup-links`: links by which the program is started under other programs' names.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::names::{NAMES, Name};

/// Make links to this program under the names of the programs whose place it takes
///
/// Run it again after the program was moved. What is not a link to muster stays as it is, and then no link is made.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  muster setup-links ~/.local/bin\n  muster setup-links /usr/local/bin occopus-build occopus-destroy"
)]
pub(crate) struct Args {
    /// The folder; one that is in PATH
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Only these names
    #[arg(value_name = "NAME", value_parser = known)]
    names: Vec<&'static Name>,
}

fn known(text: &str) -> Result<&'static Name, String> {
    NAMES.iter().find(|name| name.word == text).ok_or_else(|| {
        let names: Vec<&str> = NAMES.iter().map(|name| name.word).collect();
        format!("the names are: {}", names.join(", "))
    })
}

/// What is to be done about one name.
struct Link {
    name: &'static Name,
    path: PathBuf,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    There,
    Missing,
    /// To a muster at another place, or to one that is gone.
    Stale,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitStatus, Failure> {
    let program = std::env::current_exe()?;
    let folder = whole(&args.folder)?;
    let target = target(&program, &folder);
    let wanted: Vec<&'static Name> = if args.names.is_empty() { NAMES.iter().collect() } else { args.names.clone() };
    let mut links = Vec::new();
    let mut foreign = Vec::new();
    for name in wanted {
        let path = folder.join(name.word);
        match state(&path, &target)? {
            Some(state) => links.push(Link { name, path, state }),
            None => foreign.push(path.display().to_string()),
        }
    }
    if !foreign.is_empty() {
        let hint =
            "move it away, choose another folder, or name the links that you want: `muster setup-links DIR NAME…`";
        let message = format!("not a link to muster, so it stays and no link is made: {}", foreign.join(", "));
        return Err(Failure::new(message, hint, ExitStatus::FAILED));
    }
    for link in links.iter().filter(|link| link.state != State::There) {
        make(&target, &link.path)?;
    }
    tell(&links, &target, context)?;
    Ok(ExitStatus::DONE)
}

fn whole(folder: &Path) -> Result<PathBuf, Failure> {
    fs_err::canonicalize(folder).map_err(|error| {
        let hint = "name a folder that is there, best one in PATH, such as ~/.local/bin";
        Failure::new(error, hint, ExitStatus::FAILED)
    })
}

/// In the program's own folder a link holds its name only, so that both can be moved together.
fn target(program: &Path, folder: &Path) -> PathBuf {
    match (program.parent(), program.file_name()) {
        (Some(parent), Some(name)) if parent == folder => PathBuf::from(name),
        _ => program.to_owned(),
    }
}

/// None: something else is there.
fn state(path: &Path, target: &Path) -> Result<Option<State>, Failure> {
    let found = match fs_err::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(State::Missing)),
        found => found?,
    };
    if !found.is_symlink() {
        return Ok(None);
    }
    let leads = fs_err::read_link(path)?;
    Ok(if leads == target {
        Some(State::There)
    } else if leads.file_name() == target.file_name() {
        Some(State::Stale)
    } else {
        None
    })
}

/// Beside and renamed, so that the name is never missing.
fn make(target: &Path, path: &Path) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    fs_err::os::unix::fs::symlink(target, &beside)?;
    if let Err(error) = fs_err::rename(&beside, path) {
        fs_err::remove_file(&beside).ok();
        return Err(error.into());
    }
    Ok(())
}

fn tell(links: &[Link], target: &Path, context: &Context) -> Result<(), Failure> {
    if !context.printer.is_text() {
        let list: Vec<_> = links
            .iter()
            .map(|link| {
                let state = if link.state == State::There { "there" } else { "made" };
                serde_json::json!({ "name": link.name.word, "path": link.path, "state": state })
            })
            .collect();
        return context.printer.json(&serde_json::json!({ "version": 1, "program": target, "links": list }));
    }
    for link in links {
        let state = if link.state == State::There { " (was there)" } else { "" };
        context.printer.line(&format!("{}  {}{state}", link.path.display(), link.name.about));
    }
    Ok(())
}
