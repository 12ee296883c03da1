//! Whether what people set fits what a recipe declares; mistakes are shown where they were written.

use muster_doc::{Diagnostic, Node, Span, Tree, codes, suggest};

use crate::function::Function;
use crate::schema::{Schema, Var, VarKind, number};

/// What variables may refer to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Surroundings<'a> {
    /// The groups of the cluster file; without them names of groups are not judged.
    pub groups: Option<&'a [&'a str]>,
}

impl Function<'_> {
    /// What is wrong with the variables that a node would get: `given` is everything that is set, `own` what is set for
    /// nodes of this recipe alone, where a name that the recipe does not know is a mistake. `used_at` is where the
    /// recipe is asked for.
    pub fn check_vars(
        &self,
        given: &Tree,
        own: Option<&Tree>,
        used_at: Span,
        surroundings: Surroundings<'_>,
    ) -> Vec<Diagnostic> {
        let known = self.vars();
        let mut out = Vec::new();
        let recipe = &self.recipe.name;
        for (name, var) in &known {
            match given.get(name) {
                Some(value) => {
                    let what = format!("the variable `{name}` of the recipe `{recipe}`");
                    Checker { surroundings, out: &mut out }.var(var, value, &Place { path: name, what, help: "" });
                }
                None if var.default.is_none() => out.push(missing(recipe, name, var, used_at)),
                None => {}
            }
        }
        let names: Vec<&str> = known.keys().copied().collect();
        for (key, _) in own.and_then(Tree::as_map).unwrap_or_default() {
            if !names.contains(&key.text.as_str()) {
                let message = format!("the recipe `{recipe}` has no variable `{}`", key.text);
                let hint = suggest::hint(&key.text, &names, "variable");
                out.push(Diagnostic::error(codes::RECIPE_VAR_UNKNOWN, message, hint).at(key.span, "unknown variable"));
            }
        }
        out
    }
}

fn missing(recipe: &str, name: &str, var: &Var, used_at: Span) -> Diagnostic {
    let message = format!("the recipe `{recipe}` needs the variable `{name}`");
    let help = if var.help.is_empty() { String::new() } else { format!(" ({})", var.help) };
    let hint = format!("set `{name}` under the group's `vars`{help}");
    Diagnostic::error(codes::RECIPE_VAR_MISSING, message, hint).at(used_at, "needed here")
}

/// Where a value stands: `partitions[0].name`.
struct Place<'a> {
    path: &'a str,
    /// The same in the words of messages.
    what: String,
    /// What the recipe says of it; of an item, what it says of the list.
    help: &'a str,
}

impl Place<'_> {
    fn hint(&self, otherwise: impl FnOnce() -> String) -> String {
        if self.help.is_empty() { otherwise() } else { format!("{}: {}", self.path, self.help) }
    }
}

pub(crate) struct Checker<'a> {
    surroundings: Surroundings<'a>,
    out: &'a mut Vec<Diagnostic>,
}

/// What is wrong with the default of a variable of a recipe itself.
pub(crate) fn check_default(name: &str, var: &Var, default: &Tree) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    let place = Place { path: name, what: format!("the default of `{name}`"), help: "" };
    Checker { surroundings: Surroundings::default(), out: &mut out }.var(var, default, &place);
    out
}

impl Checker<'_> {
    fn var(&mut self, var: &Var, value: &Tree, place: &Place<'_>) {
        // A variable whose default is nothing may be set to nothing.
        if value.is_null() && var.default.as_ref().is_some_and(Tree::is_null) {
            return;
        }
        self.value(&var.schema, value, &Place { path: place.path, what: place.what.clone(), help: &var.help });
    }

    fn value(&mut self, schema: &Schema, value: &Tree, place: &Place<'_>) {
        if !schema.kind.fits(value) {
            let words = schema.kind.words();
            let message = format!("{} must be {words}", place.what);
            let hint = match &schema.keys {
                Some(keys) => {
                    let keys: Vec<String> = keys.keys().map(|key| format!("`{key}`")).collect();
                    format!("write {words} with the keys {}", keys.join(", "))
                }
                None => place.hint(|| format!("write {words}")),
            };
            let found = Diagnostic::error(codes::RECIPE_VAR_TYPE, message, hint);
            self.out.push(found.at(value.span, format!("not {words}")));
            return;
        }
        match &value.node {
            Node::Scalar(written) => self.single(schema, &written.text, value.span, place),
            Node::Seq(items) => {
                for (index, item) in items.iter().enumerate() {
                    let Some(schema) = &schema.items else { break };
                    let path = format!("{}[{index}]", place.path);
                    let what = place.what.replacen(&format!("`{}`", place.path), &format!("`{path}`"), 1);
                    self.value(schema, item, &Place { path: &path, what, help: place.help });
                }
            }
            Node::Map(_) => self.mapping(schema, value, place),
            Node::Null => {}
        }
    }

    fn mapping(&mut self, schema: &Schema, value: &Tree, place: &Place<'_>) {
        let Some(keys) = &schema.keys else { return };
        let entries = value.as_map().unwrap_or_default();
        for (name, var) in keys {
            let path = format!("{}.{name}", place.path);
            let what = place.what.replacen(&format!("`{}`", place.path), &format!("`{path}`"), 1);
            match value.get(name) {
                Some(value) => self.var(var, value, &Place { path: &path, what, help: "" }),
                None if var.default.is_none() => {
                    let message = format!("{} has no `{name}`", place.what);
                    let help = if var.help.is_empty() { String::new() } else { format!(": {}", var.help) };
                    let found = Diagnostic::error(codes::RECIPE_VAR_MISSING, message, format!("add `{name}`{help}"));
                    let at = entries.first().map_or(value.span, |(key, _)| key.span);
                    self.out.push(found.at(at, format!("`{name}` is missing here")));
                }
                None => {}
            }
        }
        for (key, _) in entries.iter().filter(|(key, _)| !keys.contains_key(&key.text)) {
            let left: Vec<&str> = keys.keys().map(String::as_str).filter(|name| value.get(name).is_none()).collect();
            let message = format!("{} has no key `{}`", place.what, key.text);
            let hint = suggest::hint(&key.text, &left, "key");
            let found = Diagnostic::error(codes::RECIPE_VAR_UNKNOWN, message, hint);
            self.out.push(found.at(key.span, "unknown key"));
        }
    }

    fn single(&mut self, schema: &Schema, text: &str, span: Span, place: &Place<'_>) {
        let what = &place.what;
        let mut beyond = |message: String, label: &str, hint: String| {
            self.out.push(Diagnostic::error(codes::RECIPE_VAR_LIMIT, message, hint).at(span, label));
        };
        let names: Vec<&str> = schema.choices.iter().map(String::as_str).collect();
        if !names.is_empty() && !names.contains(&text) {
            let hint = match suggest::closest(text, names.iter().copied()) {
                Some(close) => format!("did you mean `{close}`?"),
                None => place.hint(|| suggest::hint(text, &names, "choice")),
            };
            beyond(format!("{what} must be one of `{}`", names.join("`, `")), "not one of them", hint);
        }
        if let Some(pattern) = schema.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
            let hint = place.hint(|| format!("write something that matches `{}`", pattern.as_str()));
            beyond(format!("{what} must match `{}`", pattern.as_str()), "does not match", hint);
        }
        let outside = number(text).is_some_and(|number| {
            schema.min.is_some_and(|min| number < min) || schema.max.is_some_and(|max| number > max)
        });
        if schema.kind == VarKind::Number && outside {
            let words = range(schema);
            beyond(format!("{what} must be {words}"), "out of range", place.hint(|| format!("write {words}")));
        }
        if let Some(groups) = self.surroundings.groups
            && schema.kind == VarKind::Group
            && !groups.contains(&text)
        {
            let message = format!("{what} names the group `{text}`, which the file does not have");
            let hint = suggest::hint(text, groups, "group");
            self.out.push(Diagnostic::error(codes::GROUP_UNKNOWN, message, hint).at(span, "no such group"));
        }
    }
}

/// The range of a number in words.
fn range(schema: &Schema) -> String {
    match (schema.min, schema.max) {
        (Some(min), Some(max)) => format!("a number from {min} to {max}"),
        (Some(min), None) => format!("a number that is at least {min}"),
        (None, Some(max)) => format!("a number that is at most {max}"),
        (None, None) => "a number".to_owned(),
    }
}
