//! Recipes: how a machine gets its function. A folder with `recipe.yaml` and templates. Pure: the folder's files are
//! read elsewhere and handed in.

mod model;
mod read;
mod vars;

pub use model::{Function, Recipe, RecipeFile, Role, RoleFault, Var, VarKind};
