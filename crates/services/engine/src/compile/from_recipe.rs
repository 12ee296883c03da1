//! What a group has from its recipe.

use std::collections::BTreeSet;
use std::path::PathBuf;

use muster_doc::{Diagnostic, Span, Spanned, Tree, codes};
use muster_recipe::{Function, HookSpec, Recipe, Role, RoleFault, Surroundings};
use muster_spec::{GroupSpec, RecipeRef};

use super::context::Origin;
use super::group::write_file;
use super::load::Verbatim;

/// A cloud-config that a variable may switch off.
pub(super) struct Piece {
    pub(super) when: Option<String>,
    /// Of the file that it writes, where it depends on a variable.
    pub(super) path: Option<String>,
    pub(super) tree: Tree,
}

impl From<Tree> for Piece {
    fn from(tree: Tree) -> Self {
        Self { when: None, path: None, tree }
    }
}

#[derive(Default)]
pub(super) struct FromRecipe {
    pub(super) origin: Option<Origin>,
    pub(super) pieces: Vec<Piece>,
    pub(super) health: Option<Tree>,
    pub(super) ports: Vec<u16>,
    pub(super) shared_folders: Vec<(PathBuf, Option<String>)>,
    pub(super) drain: Option<HookSpec>,
    pub(super) resume: Option<HookSpec>,
    /// Roles whose groups must be ready first.
    pub(super) needs: Vec<String>,
    /// The variables that the recipe knows, if nothing else looks at any.
    pub(super) known_vars: Option<BTreeSet<String>>,
}

/// What the file says around the recipe.
pub(super) struct Asking<'a> {
    pub(super) reference: &'a RecipeRef,
    pub(super) span: Span,
    pub(super) group: &'a GroupSpec,
    /// The names of the file's groups.
    pub(super) groups: &'a [&'a str],
    /// Whether nothing but the recipe looks at the group's variables.
    pub(super) lone: bool,
}

/// Reads what the recipe's role gives. `vars` come as the file sets them, one for each kind of node, and are completed
/// and checked.
pub(super) fn from_recipe(
    recipe: &Recipe,
    asking: &Asking<'_>,
    vars: &mut [Tree],
    out: &mut Vec<Diagnostic>,
) -> FromRecipe {
    let secrets = recipe.secrets().keys().map(|name| (*name).to_owned()).collect();
    let roles = recipe.roles.keys().cloned().collect();
    let origin = Some(Origin { recipe: recipe.name.clone(), roles, secrets });
    let Some(function) = function(recipe, asking.reference.role.as_deref(), asking.span, out) else {
        return FromRecipe { origin, ..FromRecipe::default() };
    };
    let surroundings = Surroundings { groups: Some(asking.groups) };
    let own = asking.lone.then_some(&asking.group.vars);
    for vars in vars {
        let merged = function.defaults(asking.span).merged(vars);
        out.extend(function.check_vars(&merged, own, asking.span, surroundings));
        *vars = function.completed(&merged);
    }
    let known_vars = asking.lone.then(|| function.vars().keys().map(|name| (*name).to_owned()).collect());
    let shared_folders = function.shared_folders().into_iter();
    FromRecipe {
        origin,
        pieces: function.parts.iter().flat_map(|part| pieces(part)).collect(),
        health: function.health().cloned(),
        ports: function.ports().into_iter().collect(),
        shared_folders: shared_folders.map(|folder| (folder.path.clone(), when(folder.when.as_ref()))).collect(),
        drain: function.drain().cloned(),
        resume: function.resume().cloned(),
        needs: needs(&function, asking.reference),
        known_vars,
    }
}

fn when(name: Option<&Spanned<String>>) -> Option<String> {
    name.map(|name| name.value.clone())
}

/// A role that every role needs does not need itself.
fn needs(function: &Function<'_>, reference: &RecipeRef) -> Vec<String> {
    let needs = function.needs().into_iter().map(|need| need.value.clone());
    needs.filter(|need| Some(need) != reference.role.as_ref()).collect()
}

fn function<'r>(recipe: &'r Recipe, role: Option<&str>, span: Span, out: &mut Vec<Diagnostic>) -> Option<Function<'r>> {
    recipe
        .function(role)
        .map_err(|fault| {
            let name = &recipe.name;
            let hint = match &fault {
                RoleFault::Unknown { roles, .. } if roles.is_empty() => {
                    format!("it has no roles; write `{name}` alone")
                }
                RoleFault::Unknown { role, roles, .. } => {
                    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
                    muster_doc::suggest::hint(role, &roles, "role")
                }
                RoleFault::Needed { roles, .. } => {
                    let roles: Vec<String> = roles.iter().map(|role| format!("`{name}/{role}`")).collect();
                    format!("write one of {}", roles.join(", "))
                }
            };
            out.push(Diagnostic::error(codes::RECIPE_ROLE, fault.to_string(), hint).at(span, "asked for here"));
        })
        .ok()
}

/// A recipe's part as cloud-configs: packages, files, what takes changed files over, and what it says itself.
fn pieces(role: &Role) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    if let Some(packages) = &role.packages {
        pieces.push(Tree::map([("packages", packages.clone())], packages.span).into());
    }
    for file in &role.files {
        let content = if file.rendered {
            Verbatim { content: file.content.clone(), base64: false }
        } else {
            let text = file.content.as_str().unwrap_or_default();
            Verbatim::of(text.as_bytes().to_vec(), file.content.span)
        };
        let written = write_file(&file.path, content, file.mode.as_deref(), file.owner.as_ref());
        let span = written.span;
        let tree = Tree::map([("write_files", Tree::seq(vec![written], span))], span);
        let path = file.when.as_ref().map(|_| file.path.value.clone());
        pieces.push(Piece { when: when(file.when.as_ref()), path, tree });
    }
    if let Some(reload) = &role.reload {
        let span = reload.span;
        pieces.push(Tree::map([("muster", Tree::map([("reload", reload.clone())], span))], span).into());
    }
    pieces.extend(role.cloud_init.clone().map(Piece::from));
    pieces
}
