//! Variables of a recipe: defaults, and whether what people set fits.

use muster_doc::{Diagnostic, Node, Span, Tree, codes, scalar, suggest};

use crate::model::{Function, Var, VarKind};

impl VarKind {
    pub(crate) const CHOICES: [(&'static str, VarKind); 7] = [
        ("any", VarKind::Any),
        ("text", VarKind::Text),
        ("number", VarKind::Number),
        ("bool", VarKind::Bool),
        ("list", VarKind::List),
        ("mapping", VarKind::Mapping),
        ("string", VarKind::Text),
    ];

    fn words(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::List => "a list",
            Self::Mapping => "a mapping",
        }
    }

    pub(crate) fn fits(self, tree: &Tree) -> bool {
        match (self, &tree.node) {
            (Self::Any, _)
            | (Self::Text, Node::Scalar(_))
            | (Self::List, Node::Seq(_))
            | (Self::Mapping, Node::Map(_)) => true,
            (Self::Number, Node::Scalar(written)) => written.is_plain() && is_number(&written.text),
            (Self::Bool, Node::Scalar(written)) => written.is_plain() && scalar::bool(&written.text).is_some(),
            _ => false,
        }
    }
}

fn is_number(text: &str) -> bool {
    scalar::int(text).is_some() || scalar::float(text).is_some()
}

impl Function<'_> {
    /// The defaults, as a mapping.
    pub fn defaults(&self, span: Span) -> Tree {
        let vars = self.vars();
        Tree::map(vars.into_iter().filter_map(|(name, var)| Some((name, var.default.clone()?))), span)
    }

    /// What is wrong with the variables that a node would get: `given` is everything that is set, `own` what is set for
    /// nodes of this recipe alone, where a name that the recipe does not know is a mistake. `used_at` is where the
    /// recipe is asked for.
    pub fn check_vars(&self, given: &Tree, own: Option<&Tree>, used_at: Span) -> Vec<Diagnostic> {
        let known = self.vars();
        let mut found = Vec::new();
        for (name, var) in &known {
            match given.get(name) {
                Some(value) if !var.kind.fits(value) => found.push(self.wrong_kind(name, var, value)),
                None if var.default.is_none() => found.push(self.missing(name, var, used_at)),
                _ => {}
            }
        }
        let names: Vec<&str> = known.keys().copied().collect();
        for (key, _) in own.and_then(Tree::as_map).unwrap_or_default() {
            if !names.contains(&key.text.as_str()) {
                let message = format!("the recipe `{}` has no variable `{}`", self.recipe.name, key.text);
                let hint = suggest::hint(&key.text, &names, "variable");
                found
                    .push(Diagnostic::error(codes::RECIPE_VAR_UNKNOWN, message, hint).at(key.span, "unknown variable"));
            }
        }
        found
    }

    fn wrong_kind(&self, name: &str, var: &Var, value: &Tree) -> Diagnostic {
        let words = var.kind.words();
        let message = format!("the variable `{name}` of the recipe `{}` must be {words}", self.recipe.name);
        let hint = if var.help.is_empty() { format!("write {words}") } else { format!("{name}: {}", var.help) };
        Diagnostic::error(codes::RECIPE_VAR_TYPE, message, hint).at(value.span, format!("not {words}"))
    }

    fn missing(&self, name: &str, var: &Var, used_at: Span) -> Diagnostic {
        let message = format!("the recipe `{}` needs the variable `{name}`", self.recipe.name);
        let help = if var.help.is_empty() { String::new() } else { format!(" ({})", var.help) };
        let hint = format!("set `{name}` under the group's `vars`{help}");
        Diagnostic::error(codes::RECIPE_VAR_MISSING, message, hint).at(used_at, "needed here")
    }
}
