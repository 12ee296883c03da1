//! What a recipe says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use muster_doc::{Span, Spanned, Tree};

use crate::schema::Var;

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
    pub secrets: BTreeMap<String, SecretSpec>,
    /// Names of packages; a tree, since they may be templates.
    pub packages: Option<Tree>,
    pub ports: Vec<u16>,
    pub health: Option<Tree>,
    pub cloud_init: Option<Tree>,
    pub files: Vec<RecipeFile>,
    pub shared_folders: Vec<SharedFolder>,
    /// A list of `{name, files, command}` whose values may be templates.
    pub reload: Option<Tree>,
    pub drain: Option<HookSpec>,
    pub resume: Option<HookSpec>,
    /// Roles whose groups must be ready before a node of this one is made.
    pub needs: Vec<Spanned<String>>,
}

/// A secret that is made once for each cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSpec {
    pub span: Span,
    /// Of randomness.
    pub bytes: usize,
    pub form: SecretForm,
    pub help: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretForm {
    Base64,
    Hex,
    /// Letters and digits.
    Text,
}

impl SecretForm {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base64 => "base64",
            Self::Hex => "hex",
            Self::Text => "text",
        }
    }
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
    /// The variable that it depends on.
    pub when: Option<Spanned<String>>,
}

/// A folder that all nodes that have it share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFolder {
    pub path: PathBuf,
    pub span: Span,
    /// The variable that it depends on.
    pub when: Option<Spanned<String>>,
}

/// What is run around a change of members.
#[derive(Debug, Clone)]
pub struct HookSpec {
    /// The role whose nodes run it; the node itself without one.
    pub on: Option<Spanned<String>>,
    /// For a shell; a scalar that may be a template.
    pub command: Tree,
    pub timeout: Duration,
}
