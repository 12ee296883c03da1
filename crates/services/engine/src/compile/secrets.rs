//! Secrets of recipes: what a file needs, and what templates see of them.

use std::collections::BTreeMap;

use muster_doc::Diagnostic;
use muster_doc::template::Value;
use muster_pki::{SecretForm, SecretShape, Secrets};
use muster_recipe::{Recipe, SecretSpec};
use muster_types::Redacted;

use super::Compiled;
use super::context::Origin;

/// What stands for a secret in texts.
const REPLACED: &str = "<secret>";

impl Compiled {
    /// The secrets that the file's recipes declare, as `recipe/name`.
    pub fn wanted_secrets(&self) -> &BTreeMap<String, SecretShape> {
        &self.wanted_secrets
    }

    /// From here on templates see these. Without one, they see something of its shape.
    pub fn give_secrets(&mut self, secrets: Secrets) {
        self.secrets = secrets;
    }

    /// Those that templates see and nobody else should.
    pub fn secrets(&self) -> Vec<Redacted<String>> {
        self.wanted_secrets.keys().filter_map(|name| self.secrets.get(name)).cloned().collect()
    }

    pub(super) fn secrets_of(&self, origin: Option<&Origin>) -> Value {
        let names = origin.into_iter().flat_map(|origin| origin.secrets.iter().map(|name| (&origin.recipe, name)));
        Value::from_pairs(names.filter_map(|(recipe, name)| {
            let full = full_name(recipe, name);
            let given = self.secrets.get(&full).map(|secret| secret.expose().clone());
            let value = given.or_else(|| Some(self.wanted_secrets.get(&full)?.placeholder()))?;
            Some((name.clone(), value))
        }))
    }

    /// A message may quote what a template yielded.
    pub(super) fn without_secrets(&self, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let secrets = self.secrets();
        let clean =
            |text: String| secrets.iter().fold(text, |text, secret| text.replace(secret.expose().as_str(), REPLACED));
        let clean = |found: Diagnostic| Diagnostic { message: clean(found.message), hint: clean(found.hint), ..found };
        found.into_iter().map(clean).collect()
    }
}

fn full_name(recipe: &str, name: &str) -> String {
    format!("{recipe}/{name}")
}

pub(super) fn wanted(recipe: &Recipe) -> impl Iterator<Item = (String, SecretShape)> {
    recipe.secrets().into_iter().map(|(name, secret)| (full_name(&recipe.name, name), shape(secret)))
}

fn shape(secret: &SecretSpec) -> SecretShape {
    let form = match secret.form {
        muster_recipe::SecretForm::Base64 => SecretForm::Base64,
        muster_recipe::SecretForm::Hex => SecretForm::Hex,
        muster_recipe::SecretForm::Text => SecretForm::Text,
    };
    SecretShape { bytes: secret.bytes, form }
}
