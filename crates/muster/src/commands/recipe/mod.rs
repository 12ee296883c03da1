//! `muster recipe`: which recipes there are, and what one of them does.

mod show;

use std::path::{Path, PathBuf};

use muster_engine::compile::{Listed, recipes};
use muster_recipe::Recipe;

use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::output::table::table;

/// Look at recipes: how machines get their function
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  muster recipe ls                which there are\n  muster recipe show hello        \
                        what one does, and the variables it takes\n  muster recipe show slurm/head   one of its roles"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the recipes there are: built-in ones, and those in `recipes` beside the cluster file
    #[command(after_help = "Examples:\n  muster recipe ls\n  muster recipe ls work/cluster.yaml   also those in \
                            work/recipes\n  muster recipe ls --json")]
    Ls {
        /// The cluster file that they are for; without it, one in this folder
        file: Option<PathBuf>,
    },
    /// Show what a recipe does: its variables, software, files, secrets and hooks
    #[command(after_help = "Examples:\n  muster recipe show hello\n  muster recipe show slurm/head\n  \
                            muster recipe show mine work/cluster.yaml\n  muster recipe show hello --json")]
    Show {
        /// A recipe, or one of its roles
        #[arg(value_name = "NAME[/ROLE]")]
        name: String,
        /// The cluster file that it is for; without it, one in this folder
        file: Option<PathBuf>,
    },
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitStatus, Failure> {
    match &args.command {
        Command::Ls { file } => list(&folder(file.as_deref()), context),
        Command::Show { name, file } => show::run(name, &folder(file.as_deref()), context),
    }
}

/// A cluster file's folder; a folder stands for the file in it.
fn folder(file: Option<&Path>) -> PathBuf {
    match file {
        None => PathBuf::from("."),
        Some(folder) if folder.is_dir() => folder.to_owned(),
        Some(file) => crate::context::folder(file),
    }
}

/// Where a recipe is from, for people and for `--json`.
fn place(listed: &Listed) -> String {
    let shown = |folder: &PathBuf| folder.strip_prefix(".").unwrap_or(folder).display().to_string();
    listed.place.as_ref().map_or_else(|| "built-in".to_owned(), shown)
}

fn role_names(recipe: &Recipe) -> String {
    recipe.roles.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn list(folder: &Path, context: &Context) -> Result<ExitStatus, Failure> {
    let found = recipes(folder);
    if !context.printer.is_text() {
        let documents: Vec<_> = found.iter().map(document).collect();
        context.printer.json(&serde_json::json!({ "version": 1, "recipes": documents }))?;
        return Ok(ExitStatus::DONE);
    }
    let rows = found.iter().map(|listed| {
        let (roles, description) = match &listed.recipe {
            Ok(recipe) => (role_names(recipe), recipe.description.trim().to_owned()),
            Err(_) => (String::new(), format!("cannot be used; `muster recipe show {}` says why", listed.name)),
        };
        vec![listed.name.clone(), roles, place(listed), description]
    });
    context.printer.line(&table(&context.printer, &["RECIPE", "ROLES", "FROM", "DESCRIPTION"], rows));
    Ok(ExitStatus::DONE)
}

fn document(listed: &Listed) -> serde_json::Value {
    let recipe = listed.recipe.as_ref().ok();
    let roles = recipe.into_iter().flat_map(|recipe| &recipe.roles);
    let roles: Vec<_> =
        roles.map(|(name, role)| serde_json::json!({ "name": name, "description": role.description.trim() })).collect();
    serde_json::json!({
        "name": listed.name, "from": place(listed), "usable": recipe.is_some(), "roles": roles,
        "description": recipe.map(|recipe| recipe.description.trim()),
    })
}
