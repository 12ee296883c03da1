//! What a node of one role is given: what all roles share, with the role's own over it.

use std::collections::{BTreeMap, BTreeSet};

use muster_doc::{Span, Spanned, Tree};

use crate::model::{HookSpec, Recipe, Role, SecretSpec, SharedFolder};
use crate::schema::Var;

/// Why there is no function for a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleFault {
    #[error("the recipe `{recipe}` has no role `{role}`")]
    Unknown { recipe: String, role: String, roles: Vec<String> },
    #[error("the recipe `{recipe}` has several roles, and none is named")]
    Needed { recipe: String, roles: Vec<String> },
}

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

    /// The defaults, as a mapping.
    pub fn defaults(&self, span: Span) -> Tree {
        let vars = self.vars();
        Tree::map(vars.into_iter().filter_map(|(name, var)| Some((name, var.default.clone()?))), span)
    }

    /// Variables with what they leave out: templates see complete items.
    #[must_use]
    pub fn completed(&self, vars: &Tree) -> Tree {
        let known = self.vars();
        let entries = vars.as_map().unwrap_or_default().iter().map(|(key, value)| {
            let value = known.get(key.text.as_str()).map_or_else(|| value.clone(), |var| var.schema.completed(value));
            (key.clone(), value)
        });
        Tree { node: muster_doc::Node::Map(entries.collect()), span: vars.span }
    }

    /// Secrets are the recipe's: every role sees those of all, so that two roles can share one.
    pub fn secrets(&self) -> BTreeMap<&'r str, &'r SecretSpec> {
        self.recipe.secrets()
    }

    /// The last part that says something about health wins.
    pub fn health(&self) -> Option<&'r Tree> {
        self.parts.iter().rev().find_map(|part| part.health.as_ref())
    }

    pub fn drain(&self) -> Option<&'r HookSpec> {
        self.parts.iter().rev().find_map(|part| part.drain.as_ref())
    }

    pub fn resume(&self) -> Option<&'r HookSpec> {
        self.parts.iter().rev().find_map(|part| part.resume.as_ref())
    }

    pub fn ports(&self) -> BTreeSet<u16> {
        self.parts.iter().flat_map(|part| part.ports.iter().copied()).collect()
    }

    /// By path; a role's own win over shared ones.
    pub fn shared_folders(&self) -> Vec<&'r SharedFolder> {
        let folders = self.parts.iter().flat_map(|part| &part.shared_folders);
        folders.map(|folder| (&folder.path, folder)).collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// Roles whose groups must be ready first, each once.
    pub fn needs(&self) -> Vec<&'r Spanned<String>> {
        let mut needs: Vec<&Spanned<String>> = Vec::new();
        for need in self.parts.iter().flat_map(|part| &part.needs) {
            if !needs.iter().any(|known| known.value == need.value) {
                needs.push(need);
            }
        }
        needs
    }
}

impl Recipe {
    /// The secrets of all roles.
    pub fn secrets(&self) -> BTreeMap<&str, &SecretSpec> {
        let parts = std::iter::once(&self.common).chain(self.roles.values());
        parts.flat_map(|part| part.secrets.iter().map(|(name, secret)| (name.as_str(), secret))).collect()
    }
}
