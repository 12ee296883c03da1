//! What a recipe says.

use std::collections::BTreeMap;

use muster_doc::{Span, Spanned, Tree};

/// A recipe: what all its roles share, and the roles.
#[derive(Debug, Clone)]
pub struct Recipe {
    pub name: String,
    pub description: String,
    /// What every role has; all there is if there are no roles.
    pub common: Role,
    pub roles: BTreeMap<String, Role>,
}

#[derive(Debug, Clone, Default)]
pub struct Role {
    pub description: String,
    pub vars: BTreeMap<String, Var>,
    /// Names of packages; a tree, since they may be templates.
    pub packages: Option<Tree>,
    pub ports: Vec<u16>,
    pub health: Option<Tree>,
    pub cloud_init: Option<Tree>,
    pub files: Vec<RecipeFile>,
}

/// A variable that people may set.
#[derive(Debug, Clone)]
pub struct Var {
    pub span: Span,
    pub kind: VarKind,
    /// Without one, somebody must set it.
    pub default: Option<Tree>,
    pub help: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VarKind {
    Any,
    Text,
    Number,
    Bool,
    List,
    Mapping,
}

/// A file that each node is given.
#[derive(Debug, Clone)]
pub struct RecipeFile {
    pub path: Spanned<String>,
    /// A scalar whose span points into the template's own source.
    pub content: Tree,
    /// Whether the content is a template, rather than copied as it is.
    pub rendered: bool,
    pub mode: Option<String>,
    pub owner: Option<Tree>,
}

/// Why there is no function for a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleFault {
    #[error("the recipe `{recipe}` has no role `{role}`")]
    Unknown { recipe: String, role: String, roles: Vec<String> },
    #[error("the recipe `{recipe}` has several roles, and none is named")]
    Needed { recipe: String, roles: Vec<String> },
}

/// What a node of one role is given: what all roles share, and then the role's own.
#[derive(Debug, Clone)]
pub struct Function<'r> {
    pub recipe: &'r Recipe,
    pub parts: Vec<&'r Role>,
}

impl Recipe {
    pub fn function(&self, role: Option<&str>) -> Result<Function<'_>, RoleFault> {
        let roles = || self.roles.keys().cloned().collect();
        match role {
            Some(name) => match self.roles.get(name) {
                Some(role) => Ok(Function { recipe: self, parts: vec![&self.common, role] }),
                None => Err(RoleFault::Unknown { recipe: self.name.clone(), role: name.to_owned(), roles: roles() }),
            },
            None if self.roles.is_empty() => Ok(Function { recipe: self, parts: vec![&self.common] }),
            None => Err(RoleFault::Needed { recipe: self.name.clone(), roles: roles() }),
        }
    }
}

impl<'r> Function<'r> {
    /// Variables by name; a role's own win over shared ones.
    pub fn vars(&self) -> BTreeMap<&'r str, &'r Var> {
        self.parts.iter().flat_map(|part| part.vars.iter().map(|(name, var)| (name.as_str(), var))).collect()
    }

    /// The last part that says something about health wins.
    pub fn health(&self) -> Option<&'r Tree> {
        self.parts.iter().rev().find_map(|part| part.health.as_ref())
    }

    pub fn ports(&self) -> Vec<u16> {
        self.parts.iter().flat_map(|part| part.ports.iter().copied()).collect()
    }
}
