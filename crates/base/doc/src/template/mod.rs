//! Jinja2 templates in trees: every scalar is a template of its own, rendered after parsing, so that what it yields can
//! never change the shape of the document, and so that mistakes can be shown where they stand.
//!
//! A quoted scalar that is one whole expression (`"{{ vars.ports }}"`) yields the value itself, be it a number or a
//! list; anything else yields text. Lines that hold only a block tag vanish (`trim_blocks` and `lstrip_blocks`).

mod fault;
pub mod jinja;
mod value;

use std::cell::RefCell;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, UndefinedBehavior, escape_formatter};

pub use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Rest, Value, ValueKind};
pub use minijinja::{Environment, Error as TemplateError, ErrorKind as TemplateErrorKind, State as TemplateState};
pub use value::to_value;

use crate::read::is_template;
use crate::{Diagnostic, Key, Node, Scalar, SourceMap, Span, Style, Tree, codes, scalar};

/// Instructions that one template may run. A loop over a thousand nodes takes some ten thousand.
const FUEL: u64 = 2_000_000;

/// Most bytes that one template may yield.
const OUTPUT_BYTES_MAX: usize = 8 << 20;

thread_local! {
    /// The value of the expression that a whole-expression scalar consists of, as the formatter saw it.
    static SEEN: RefCell<Option<Value>> = const { RefCell::new(None) };
}

/// The environment and every template that was prepared, parsed once.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    prepared: usize,
}

/// A tree whose templates are parsed.
#[derive(Debug, Clone)]
pub struct Prepared(Part);

#[derive(Debug, Clone)]
enum Part {
    /// Nothing in it is a template.
    Fixed(Tree),
    Leaf(Leaf),
    Seq(Vec<Part>, Span),
    Map(Vec<(Name, Part)>, Span),
}

#[derive(Debug, Clone)]
enum Name {
    Fixed(Key),
    Leaf(Leaf),
}

#[derive(Debug, Clone)]
struct Leaf {
    template: String,
    /// As written, for messages and for what the rendering takes over.
    tree: Tree,
    /// One whole expression in quotes.
    whole: bool,
}

impl Templates {
    /// `configure` adds functions and filters.
    pub fn new(configure: impl FnOnce(&mut Environment<'static>)) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_debug(true);
        environment.set_fuel(Some(FUEL));
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
        if let Ok(syntax) = syntax.build() {
            environment.set_syntax(syntax);
        }
        environment.set_formatter(|out, state, value| {
            SEEN.with_borrow_mut(|seen| *seen = Some(value.clone()));
            escape_formatter(out, state, value)
        });
        environment.add_function("fail", fault::refuse);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("python", |value: &Value| jinja::printed(value));
        configure(&mut environment);
        Self { environment, prepared: 0 }
    }

    /// Parses every template of a tree.
    pub fn prepare(&mut self, tree: &Tree, sources: &SourceMap) -> Result<Prepared, Vec<Diagnostic>> {
        let mut diagnostics = Vec::new();
        let part = self.part(tree, sources, &mut diagnostics);
        if diagnostics.is_empty() { Ok(Prepared(part)) } else { Err(diagnostics) }
    }

    fn part(&mut self, tree: &Tree, sources: &SourceMap, out: &mut Vec<Diagnostic>) -> Part {
        if !holds_template(tree) {
            return Part::Fixed(tree.clone());
        }
        match &tree.node {
            Node::Null => Part::Fixed(tree.clone()),
            Node::Scalar(_) => self.leaf(tree, sources, out).map_or_else(|| Part::Fixed(tree.clone()), Part::Leaf),
            Node::Seq(items) => Part::Seq(items.iter().map(|item| self.part(item, sources, out)).collect(), tree.span),
            Node::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| {
                    let name = if is_template(&key.text) {
                        let leaf = self.leaf(&Tree::text(key.text.clone(), key.span), sources, out);
                        leaf.map_or_else(|| Name::Fixed(key.clone()), Name::Leaf)
                    } else {
                        Name::Fixed(key.clone())
                    };
                    (name, self.part(value, sources, out))
                });
                Part::Map(entries.collect(), tree.span)
            }
        }
    }

    fn leaf(&mut self, tree: &Tree, sources: &SourceMap, out: &mut Vec<Diagnostic>) -> Option<Leaf> {
        let Node::Scalar(Scalar { text, style }) = &tree.node else { return None };
        let template = format!("t{}", self.prepared);
        self.prepared += 1;
        if let Err(error) = self.environment.add_template_owned(template.clone(), text.clone()) {
            out.push(fault::diagnostic(&error, tree, sources, None));
            return None;
        }
        let whole = *style == Style::Quoted && is_whole_expression(text);
        Some(Leaf { template, tree: tree.clone(), whole })
    }

    /// Renders what was prepared by this very `Templates`. Every leaf that fails is reported.
    pub fn render(&self, prepared: &Prepared, context: &Value, sources: &SourceMap) -> Result<Tree, Vec<Diagnostic>> {
        let mut diagnostics = Vec::new();
        let tree = self.render_part(&prepared.0, context, sources, &mut diagnostics);
        if diagnostics.is_empty() { Ok(tree) } else { Err(diagnostics) }
    }

    fn render_part(&self, part: &Part, context: &Value, sources: &SourceMap, out: &mut Vec<Diagnostic>) -> Tree {
        match part {
            Part::Fixed(tree) => tree.clone(),
            Part::Leaf(leaf) => self.render_leaf(leaf, context, sources, out),
            Part::Seq(items, span) => {
                let items = items.iter().map(|item| self.render_part(item, context, sources, out)).collect();
                Tree::seq(items, *span)
            }
            Part::Map(entries, span) => {
                let mut rendered: Vec<(Key, Tree)> = Vec::with_capacity(entries.len());
                for (name, part) in entries {
                    let key = self.render_name(name, context, sources, out);
                    let value = self.render_part(part, context, sources, out);
                    if let Some((first, _)) = rendered.iter().find(|(known, _)| known.text == key.text) {
                        let message = format!("the key `{}` stands twice once its templates are rendered", key.text);
                        let hint = "make the templates of the two keys differ";
                        let found = Diagnostic::error(codes::YAML_DUPLICATE_KEY, message, hint);
                        out.push(found.at(key.span, "again here").related(first.span, "first here"));
                    } else {
                        rendered.push((key, value));
                    }
                }
                Tree { node: Node::Map(rendered), span: *span }
            }
        }
    }

    fn render_name(&self, name: &Name, context: &Value, sources: &SourceMap, out: &mut Vec<Diagnostic>) -> Key {
        match name {
            Name::Fixed(key) => key.clone(),
            Name::Leaf(leaf) => {
                let text = self.text(leaf, context, sources, out).unwrap_or_default();
                Key { text, span: leaf.tree.span }
            }
        }
    }

    fn render_leaf(&self, leaf: &Leaf, context: &Value, sources: &SourceMap, out: &mut Vec<Diagnostic>) -> Tree {
        SEEN.with_borrow_mut(|seen| *seen = None);
        let Some(text) = self.text(leaf, context, sources, out) else { return Tree::null(leaf.tree.span) };
        let seen = SEEN.with_borrow_mut(Option::take);
        if let Some(tree) = seen.filter(|_| leaf.whole).and_then(|value| value::to_tree(&value, leaf.tree.span)) {
            return tree;
        }
        let style = match &leaf.tree.node {
            Node::Scalar(Scalar { style, .. }) if *style != Style::Plain || !scalar::is_null(&text) => *style,
            _ => Style::Quoted,
        };
        Tree { node: Node::Scalar(Scalar { text, style }), span: leaf.tree.span }
    }

    fn text(&self, leaf: &Leaf, context: &Value, sources: &SourceMap, out: &mut Vec<Diagnostic>) -> Option<String> {
        let mut bounded = Bounded(Vec::new());
        let template = self.environment.get_template(&leaf.template);
        match template.and_then(|template| template.render_captured_to(context.clone(), &mut bounded).map(drop)) {
            Ok(()) => Some(String::from_utf8_lossy(&bounded.0).into_owned()),
            Err(error) => {
                out.push(fault::diagnostic(&error, &leaf.tree, sources, Some(context)));
                None
            }
        }
    }
}

/// Keeps what a template yields, up to the limit.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the template yields too much"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a template stands anywhere in a tree.
pub fn holds_template(tree: &Tree) -> bool {
    match &tree.node {
        Node::Null => false,
        Node::Scalar(scalar) => is_template(&scalar.text),
        Node::Seq(items) => items.iter().any(holds_template),
        Node::Map(entries) => entries.iter().any(|(key, value)| is_template(&key.text) || holds_template(value)),
    }
}

fn is_whole_expression(text: &str) -> bool {
    let Some(inner) = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) else { return false };
    !["{{", "}}", "{%", "{#"].iter().any(|mark| inner.contains(mark))
}
