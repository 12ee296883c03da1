//! Templates in trees, scalar by scalar, with the meaning that Occopus' pipeline gives them.
//!
//! Each scalar is written out, rendered and read on its own (`dump`), so that what a template yields never changes the
//! shape of the document. Where the original would fail on what it wrote itself (quotes inside of quotes, a value that
//! breaks the YAML), the template is rendered as it stands.

use muster_doc::template::jinja::{Jinja, explain};
use muster_doc::template::{TemplateError, TemplateErrorKind, Value};
use muster_doc::{Diagnostic, Key, Node, Scalar, SourceMap, Style, Tree, codes};

use crate::dump::{self, Quotes};
use crate::functions::FUNCTIONS;

/// Stands for a line break of the template itself, which does not fold.
const OWN_BREAK: char = '\u{e000}';

/// Where a value stands in the text that the original writes.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Collections of nothing but scalars are written in brackets.
    compact: bool,
    flow: bool,
    key: bool,
    indent: usize,
}

/// Renders what belongs to one node; a variable that one scalar sets is there for those behind it.
#[derive(Debug)]
pub(crate) struct Renderer<'a> {
    pub(crate) jinja: &'a Jinja,
    pub(crate) sources: &'a SourceMap,
    names: Vec<(String, Value)>,
    context: Value,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Whether anything in a text is for Jinja2.
fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

impl<'a> Renderer<'a> {
    pub(crate) fn new(jinja: &'a Jinja, sources: &'a SourceMap, names: Vec<(String, Value)>) -> Self {
        let context = Value::from_pairs(names.clone());
        Self { jinja, sources, names, context, diagnostics: Vec::new() }
    }

    /// Adds names, which win over those that are there.
    pub(crate) fn define(&mut self, names: impl IntoIterator<Item = (String, Value)>) {
        for (name, value) in names {
            self.names.retain(|(known, _)| *known != name);
            self.names.push((name, value));
        }
        self.context = Value::from_pairs(self.names.clone());
    }

    pub(crate) fn into_names(self) -> Vec<(String, Value)> {
        self.names
    }

    /// Adds names that are not there yet.
    pub(crate) fn define_missing(&mut self, names: Vec<(String, Value)>) {
        let fresh: Vec<_> =
            names.into_iter().filter(|(name, _)| self.names.iter().all(|(known, _)| known != name)).collect();
        self.define(fresh);
    }

    /// A document as the original writes it with one line for each value.
    pub(crate) fn block(&mut self, tree: &Tree) -> Tree {
        self.tree(tree, Place { compact: false, flow: false, key: false, indent: 0 })
    }

    /// A section as the original writes it by default, small collections in brackets.
    pub(crate) fn compact(&mut self, tree: &Tree) -> Tree {
        self.tree(tree, Place { compact: true, flow: false, key: false, indent: 0 })
    }

    fn tree(&mut self, tree: &Tree, place: Place) -> Tree {
        let scalar = |tree: &Tree| matches!(tree.node, Node::Null | Node::Scalar(_));
        let node = match &tree.node {
            Node::Null => Node::Null,
            Node::Scalar(scalar) => return self.leaf(&scalar.text, tree, place),
            Node::Seq(items) => {
                let flow = place.flow || place.compact && items.iter().all(scalar);
                let inner = |item: &Tree| match item.node {
                    // Only inside of another list or a mapping in it does a list go deeper.
                    Node::Seq(_) | Node::Map(_) => Place { flow, indent: place.indent + 2, ..place },
                    _ => Place { flow, ..place },
                };
                Node::Seq(items.iter().map(|item| self.tree(item, inner(item))).collect())
            }
            Node::Map(entries) => {
                let flow = place.flow || place.compact && entries.iter().all(|(_, value)| scalar(value));
                self.mapping(entries, Place { flow, ..place })
            }
        };
        Tree { node, span: tree.span }
    }

    /// The original sorts the keys of what it writes, which shows where one scalar sets a variable for another.
    fn mapping(&mut self, entries: &[(Key, Tree)], place: Place) -> Node {
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by(|a, b| entries[*a].0.text.cmp(&entries[*b].0.text));
        let mut rendered: Vec<Option<(Key, Tree)>> = vec![None; entries.len()];
        for index in order {
            let (key, value) = &entries[index];
            let key = self.key(key, place);
            let inner = match value.node {
                Node::Map(_) => Place { indent: place.indent + 2, ..place },
                _ => place,
            };
            let value = self.tree(value, inner);
            rendered[index] = Some((key, value));
        }
        let mut unique: Vec<(Key, Tree)> = Vec::with_capacity(rendered.len());
        for (key, value) in rendered.into_iter().flatten() {
            if let Some((first, _)) = unique.iter().find(|(known, _)| known.text == key.text) {
                let message = format!("the key `{}` stands twice once its templates are rendered", key.text);
                let found =
                    Diagnostic::error(codes::YAML_DUPLICATE_KEY, message, "make the templates of the two keys differ");
                self.diagnostics.push(found.at(key.span, "again here").related(first.span, "first here"));
            } else {
                unique.push((key, value));
            }
        }
        Node::Map(unique)
    }

    fn key(&mut self, key: &Key, place: Place) -> Key {
        if !is_template(&key.text) {
            return key.clone();
        }
        let leaf = Tree::text(key.text.clone(), key.span);
        let text = self.leaf(&key.text, &leaf, Place { key: true, ..place }).as_str().unwrap_or_default().to_owned();
        Key { text, span: key.span }
    }

    fn leaf(&mut self, text: &str, leaf: &Tree, place: Place) -> Tree {
        if !is_template(text) {
            return leaf.clone();
        }
        let quotes = dump::quotes(text, place.flow);
        let written = dump::write(text, quotes);
        let done = self.jinja.render(&written, &self.context).ok();
        let read = done.and_then(|done| {
            let node = dump::read(
                &done.text,
                quotes,
                dump::Place { indent: place.indent, followed: place.flow || place.key },
            )?;
            Some((node, done.sets))
        });
        let node = match read {
            Some((node, sets)) => {
                self.tell_changes(&node, text, quotes, leaf);
                if !sets.is_empty() {
                    self.define(sets);
                }
                node
            }
            None => match self.direct(text, quotes) {
                Ok(text) => Node::Scalar(Scalar { text, style: Style::Quoted }),
                Err(error) => {
                    // As written, so that the place of the mistake is right.
                    let error = self.jinja.render(text, &self.context).err().unwrap_or(error);
                    self.fault(text, leaf, &error)
                }
            },
        };
        Tree { node, span: leaf.span }
    }

    /// The template as it stands. What it puts into a text of several lines folds all the same, since those who write
    /// such files reckon with it.
    fn direct(&mut self, text: &str, quotes: Quotes) -> Result<String, TemplateError> {
        let source = if quotes == Quotes::Double { own_breaks(text) } else { text.to_owned() };
        let done = self.jinja.render(&source, &self.context)?;
        if !done.sets.is_empty() {
            self.define(done.sets);
        }
        Ok(match quotes {
            Quotes::None => done.text,
            Quotes::Single | Quotes::Double => dump::fold(&done.text).replace(OWN_BREAK, "\n"),
        })
    }

    /// Says where reading what was rendered changed it beyond the folding that everybody expects.
    fn tell_changes(&mut self, node: &Node, text: &str, quotes: Quotes, leaf: &Tree) {
        let source = if quotes == Quotes::Double { own_breaks(text) } else { text.to_owned() };
        let Ok(done) = self.jinja.render(&source, &self.context) else { return };
        let plain = dump::fold(&done.text).replace(OWN_BREAK, "\n");
        let read = match node {
            Node::Scalar(scalar) => scalar.text.as_str(),
            _ => "",
        };
        if squeezed(read) == squeezed(&plain) || crate::scalar::read_plain(&plain) == *node {
            return;
        }
        let why = match quotes {
            Quotes::None => "what follows ` #` is a comment there",
            Quotes::Single => "two single quotes are one there",
            Quotes::Double => "a backslash begins an escape there",
        };
        let message = format!("Occopus reads what this template yields as YAML once more, and {why}");
        let hint = match quotes {
            Quotes::Double => "double the backslashes in the value if they are meant as such",
            _ => "write the text over several lines (`|`) if the value is meant as it is",
        };
        self.diagnostics.push(Diagnostic::warning(codes::OCCOPUS_REREAD, message, hint).at(leaf.span, "this template"));
    }

    fn fault(&mut self, text: &str, leaf: &Tree, error: &TemplateError) -> Node {
        // `${#name}` of a shell begins a comment for Jinja2; the original fails on it, and there is nothing to render.
        if error.kind() == TemplateErrorKind::SyntaxError && !text.contains("{{") && !text.contains("{%") {
            return leaf.node.clone();
        }
        let mut found = explain(error, leaf, self.sources, &self.context);
        self.reword(&mut found);
        self.diagnostics.push(found);
        Node::Null
    }

    /// The general hints speak of cluster files.
    fn reword(&self, found: &mut Diagnostic) {
        if found.code == codes::TEMPLATE_FUNCTION {
            let known = FUNCTIONS.iter().filter(|name| self.names.iter().any(|(known, _)| known == *name));
            let known: Vec<&str> = known.copied().collect();
            found.hint = format!("functions here are {}; filters are those of Jinja2", known.join(", "));
        }
        if found.hint.contains("`vars:`") {
            "set it under `variables:`, or write `| default(\"…\")` behind it".clone_into(&mut found.hint);
        }
    }

    /// One text, as Jinja2 renders a file: nothing is written or read around it.
    pub(crate) fn text(&mut self, leaf: &Tree) -> Option<String> {
        let text = leaf.as_str()?;
        match self.jinja.render_file(text, &self.context) {
            Ok(done) => Some(done.text),
            Err(error) => {
                self.fault(text, leaf, &error);
                None
            }
        }
    }

    /// Every text of a tree rendered as a file of its own; keys and other values stay.
    pub(crate) fn texts(&mut self, tree: &Tree) -> Tree {
        let node = match &tree.node {
            Node::Scalar(scalar) if !scalar.is_plain() => {
                let text = self.text(tree).unwrap_or_default();
                Node::Scalar(Scalar { text, style: Style::Quoted })
            }
            Node::Null | Node::Scalar(_) => tree.node.clone(),
            Node::Seq(items) => Node::Seq(items.iter().map(|item| self.texts(item)).collect()),
            Node::Map(entries) => {
                Node::Map(entries.iter().map(|(key, value)| (key.clone(), self.texts(value))).collect())
            }
        };
        Tree { node, span: tree.span }
    }
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Marks the template's own line breaks, but for those inside of expressions and blocks.
fn own_breaks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("{{").into_iter().chain(rest.find("{%")).chain(rest.find("{#")).min() {
        out.push_str(&rest[..at].replace('\n', OWN_BREAK.encode_utf8(&mut [0; 4])));
        let close = match &rest[at..at + 2] {
            "{{" => "}}",
            "{%" => "%}",
            _ => "#}",
        };
        let end = rest[at..].find(close).map_or(rest.len(), |end| at + end + close.len());
        out.push_str(&rest[at..end]);
        rest = &rest[end..];
    }
    out.push_str(&rest.replace('\n', OWN_BREAK.encode_utf8(&mut [0; 4])));
    out
}
