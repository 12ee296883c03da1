//! Reading values out of a cloud-config as loosely as cloud-init does, collecting what is wrong with them.

use muster_doc::{Diagnostic, Key, Node, Span, Style, Tree, codes, suggest};

/// The findings of one reading.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    found: Vec<Diagnostic>,
}

impl Fields {
    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.found
    }

    pub(crate) fn error(&mut self, code: &'static str, span: Span, message: String, hint: &str) {
        self.found.push(Diagnostic::error(code, message, hint).at(span, "here"));
    }

    pub(crate) fn warning(&mut self, code: &'static str, span: Span, message: String, hint: &str) {
        self.found.push(Diagnostic::warning(code, message, hint).at(span, "here"));
    }

    pub(crate) fn no_effect(&mut self, span: Span, message: String, hint: &str) {
        self.warning(codes::CLOUD_NO_EFFECT, span, message, hint);
    }

    pub(crate) fn too_many(&mut self, tree: &Tree, count: usize, most: usize) {
        let message = format!("this cloud-config has {count} steps; at most {most} are taken");
        self.error(
            codes::YAML_TOO_LARGE,
            tree.span,
            message,
            "put commands together into a script that write_files makes",
        );
    }

    pub(crate) fn wrong(&mut self, tree: &Tree, what: &str, wanted: &str) {
        let message = format!("{what} is {}, not {wanted}", tree.kind());
        self.error(codes::READ_TYPE, tree.span, message, &format!("give {wanted}"));
    }

    pub(crate) fn missing(&mut self, tree: &Tree, what: &str, key: &str) {
        let message = format!("{what} has no `{key}`");
        self.error(codes::READ_MISSING, tree.span, message, &format!("add `{key}: …`"));
    }

    pub(crate) fn unsuitable(&mut self, tree: &Tree, message: String, hint: &str) {
        self.error(codes::CLOUD_VALUE, tree.span, message, hint);
    }

    pub(crate) fn mapping<'a>(&mut self, tree: &'a Tree, what: &str) -> Option<&'a [(Key, Tree)]> {
        let entries = tree.as_map();
        if entries.is_none() {
            self.wrong(tree, what, "a mapping");
        }
        entries
    }

    pub(crate) fn list<'a>(&mut self, tree: &'a Tree, what: &str) -> Option<&'a [Tree]> {
        let items = tree.as_seq();
        if items.is_none() {
            self.wrong(tree, what, "a list");
        }
        items
    }

    pub(crate) fn text(&mut self, tree: &Tree, what: &str) -> Option<String> {
        let text = tree.as_str();
        if text.is_none() {
            self.wrong(tree, what, "a text");
        }
        text.map(str::to_owned)
    }

    /// A text, or `None` when the key is not there or holds nothing.
    pub(crate) fn optional_text(&mut self, map: &Tree, key: &str) -> Option<String> {
        let tree = present(map, key)?;
        self.text(tree, &format!("`{key}`"))
    }

    /// As cloud-init has it, quoted or not: `true`, `1`, `on`, `yes` and their opposites.
    pub(crate) fn boolean(&mut self, tree: &Tree, what: &str) -> Option<bool> {
        let value = tree.as_str().and_then(truth);
        if value.is_none() {
            let message = format!("{what} is neither true nor false");
            self.error(codes::READ_BOOL, tree.span, message, "write `true` or `false`");
        }
        value
    }

    pub(crate) fn flag(&mut self, map: &Tree, key: &str, default: bool) -> bool {
        present(map, key).and_then(|tree| self.boolean(tree, &format!("`{key}`"))).unwrap_or(default)
    }

    pub(crate) fn number<T: std::str::FromStr>(&mut self, tree: &Tree, what: &str) -> Option<T> {
        let number = tree.as_str().and_then(|text| text.trim().parse().ok());
        if number.is_none() {
            let message = format!("{what} is not a number that makes sense here");
            self.error(codes::READ_NUMBER, tree.span, message, "write a whole number, such as 1000");
        }
        number
    }

    /// A list of texts, or one text cut at commas when `commas` is set.
    pub(crate) fn texts(&mut self, tree: &Tree, what: &str, commas: bool) -> Vec<String> {
        match &tree.node {
            Node::Null => Vec::new(),
            Node::Scalar(scalar) if commas => {
                scalar.text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
            }
            Node::Scalar(scalar) => vec![scalar.text.clone()],
            Node::Seq(items) => {
                let items = items.iter().filter(|item| !item.is_null());
                items.filter_map(|item| self.text(item, &format!("an item of {what}"))).collect()
            }
            Node::Map(_) => {
                self.wrong(tree, what, "a list of texts");
                Vec::new()
            }
        }
    }

    /// Warns of keys that are not among `known`; those among `not_done` are known and have no effect here.
    pub(crate) fn unknown_keys(&mut self, entries: &[(Key, Tree)], what: &str, known: &[&str], not_done: &[&str]) {
        for (key, _) in entries {
            let name = key.text.replace('-', "_");
            if known.contains(&name.as_str()) {
                continue;
            }
            if not_done.contains(&name.as_str()) || not_done.contains(&key.text.as_str()) {
                let message = format!("`{}` of {what} is known to cloud-init but not done here", key.text);
                self.warning(codes::CLOUD_KEY_NOT_DONE, key.span, message, "do it with runcmd or write_files instead");
            } else {
                let message = format!("`{}` is not a key of {what}", key.text);
                self.warning(codes::READ_UNKNOWN_KEY, key.span, message, &suggest::hint(&key.text, known, "key"));
            }
        }
    }
}

/// The value under a key, in either spelling, unless it is nothing.
pub(crate) fn present<'a>(map: &'a Tree, key: &str) -> Option<&'a Tree> {
    let found = map.get(key).or_else(|| map.get(&key.replace('_', "-")));
    found.filter(|tree| !tree.is_null())
}

pub(crate) fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Some(true),
        "false" | "0" | "off" | "no" => Some(false),
        _ => None,
    }
}

/// Whether a value is the plain word of a boolean; a quoted one is a text.
pub(crate) fn plain_truth(tree: &Tree) -> Option<bool> {
    match &tree.node {
        Node::Scalar(scalar) if scalar.style == Style::Plain => truth(&scalar.text).filter(|_| !is_digit(&scalar.text)),
        _ => None,
    }
}

fn is_digit(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
