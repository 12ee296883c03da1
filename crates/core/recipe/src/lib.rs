//! Recipes: how a machine gets its function. A folder with `recipe.yaml` and templates. Pure: the folder's files are
//! read elsewhere and handed in.

mod check;
mod function;
mod model;
mod read;
mod schema;

pub use check::Surroundings;
pub use function::{Function, RoleFault};
pub use model::{HookSpec, Recipe, RecipeFile, Role, SecretForm, SecretSpec, SharedFolder};
pub use schema::{Pattern, Schema, Var, VarKind};
