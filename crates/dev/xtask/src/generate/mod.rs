//! Files that are made from others: written by `cargo xtask generate`, compared by `verify`.

mod clippy;
mod reference;

use anyhow::{Context as _, Result, bail};

use crate::out::say;
use crate::workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail when a file is not as it would be written
    #[arg(long)]
    check: bool,
}

struct Generator {
    /// Relative to the root.
    path: &'static str,
    make: fn() -> Result<String>,
}

const GENERATORS: [Generator; 3] = [
    Generator { path: "crates/core/clippy.toml", make: clippy::of_the_core },
    Generator { path: "docs/reference/cli.md", make: reference::command_line },
    Generator { path: "docs/reference/codes.md", make: reference::codes },
];

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.check {
        return check();
    }
    for generator in GENERATORS {
        if let Some(text) = generator.difference()? {
            let path = workspace::root().join(generator.path);
            fs_err::create_dir_all(path.parent().context("a file lies in a folder")?)?;
            fs_err::write(&path, text)?;
            say(&format!("written: {}", generator.path));
        }
    }
    Ok(())
}

pub(crate) fn check() -> Result<()> {
    let mut stale = Vec::new();
    for generator in GENERATORS {
        if generator.difference()?.is_some() {
            stale.push(generator.path);
        }
    }
    if !stale.is_empty() {
        bail!("not up to date: {}\nhint: run `cargo xtask generate` and commit what it writes", stale.join(", "));
    }
    Ok(())
}

impl Generator {
    /// What should be there, if it is not.
    fn difference(&self) -> Result<Option<String>> {
        let new = (self.make)().with_context(|| format!("cannot make {}", self.path))?;
        let old = fs_err::read_to_string(workspace::root().join(self.path)).ok();
        Ok((old.as_ref() != Some(&new)).then_some(new))
    }
}
