//! The recipes that there are, for people who look for one.

use std::path::{Path, PathBuf};

use muster_doc::{Diagnostic, SourceMap, suggest};
use muster_recipe::Recipe;

use super::Rejected;
use super::load::{RecipeFolder, recipe_folder, recipe_names};

/// A recipe that a cluster file can ask for.
#[derive(Debug)]
pub struct Listed {
    pub name: String,
    /// Its folder; `None` is built in.
    pub place: Option<PathBuf>,
    /// What is wrong with it, if it cannot be used.
    pub recipe: Result<Recipe, Rejected>,
}

/// The recipes that a cluster file in this folder can ask for, by name.
pub fn recipes(folder: &Path) -> Vec<Listed> {
    recipe_names(folder).iter().filter_map(|name| find_recipe(folder, name).ok()).collect()
}

/// One recipe; the error is a hint about which there are.
pub fn find_recipe(folder: &Path, name: &str) -> Result<Listed, String> {
    let listed = |place, recipe| Listed { name: name.to_owned(), place, recipe };
    let mut sources = SourceMap::default();
    let RecipeFolder { place, shown, files } = match recipe_folder(folder, name) {
        Ok(Some(found)) => found,
        Ok(None) => {
            let names = recipe_names(folder);
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            return Err(suggest::hint(name, &known, "recipe"));
        }
        Err(unreadable) => return Ok(listed(None, Err(Rejected { sources, diagnostics: vec![unreadable] }))),
    };
    let (recipe, diagnostics) = Recipe::read(name, &shown, &files, &mut sources);
    let recipe = recipe.filter(|_| !diagnostics.iter().any(Diagnostic::is_error));
    Ok(listed(place, recipe.ok_or(Rejected { sources, diagnostics })))
}
