//! Events of the parser to a tree: anchors, merge keys, duplicate keys, and limits on what aliases expand to.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, StrInput, Tag};

use super::{EXPANDED_BYTES_MAX, NODES_MAX, Tagged, syntax};
use crate::{Diagnostic, Key, Node, Scalar, SourceId, Span, Style, Tree, codes, scalar};

/// Deepest nesting that is taken; the tree is walked by recursion.
const DEPTH_MAX: usize = 64;

/// Most diagnostics of one document; beyond that nobody reads them.
const DIAGNOSTICS_MAX: usize = 50;

/// Why composing ended early; the diagnostic is noted already.
struct Stop;

struct Anchored {
    tree: Tree,
    nodes: usize,
    bytes: usize,
}

struct Composer<'t> {
    text: &'t str,
    source: SourceId,
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    bytes: usize,
    /// Tags of the application that are taken, and where they were found.
    taken: &'t [&'t str],
    tagged: Vec<Tagged>,
    diagnostics: Vec<Diagnostic>,
}

pub(super) fn document(text: &str, source: SourceId) -> (Option<Tree>, Vec<Diagnostic>) {
    let (tree, _, diagnostics) = tagged_document(text, source, &[]);
    (tree, diagnostics)
}

pub(super) fn tagged_document(
    text: &str,
    source: SourceId,
    taken: &[&str],
) -> (Option<Tree>, Vec<Tagged>, Vec<Diagnostic>) {
    let options = granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut composer = Composer {
        text,
        source,
        parser,
        anchors: HashMap::new(),
        nodes: 0,
        bytes: 0,
        taken,
        tagged: Vec::new(),
        diagnostics: Vec::new(),
    };
    let tree = composer.documents().ok();
    (tree, composer.tagged, composer.diagnostics)
}

pub(super) fn comments(text: &str, source: SourceId) -> Vec<Span> {
    let options = granit_parser::options! {
        emit_comments: true,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut found = Vec::new();
    while let Some(Ok((event, span))) = parser.next_event() {
        match (event, span.byte_range()) {
            (Event::Comment(..), Some(range)) => found.push(Span { source, start: range.start, end: range.end }),
            (Event::StreamEnd, _) => break,
            _ => {}
        }
    }
    found.sort_by_key(|span| span.start);
    found
}

impl<'t> Composer<'t> {
    fn documents(&mut self) -> Result<Tree, Stop> {
        let mut first = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(..) if first.is_some() => {
                    let found = Diagnostic::error(
                        codes::YAML_DOCUMENTS,
                        "a second YAML document begins here",
                        "keep one document in a file: remove the `---`, or move what follows to a file of its own",
                    );
                    self.note(found.at(span, "second document"));
                    return Err(Stop);
                }
                event if event.is_node() => first = Some(self.node(event, span)?),
                _ => {}
            }
        }
        first.ok_or_else(|| {
            let found = Diagnostic::error(
                codes::YAML_EMPTY,
                "there is nothing in it",
                "write the document; comments alone are not one",
            );
            self.note(found.at(Span { source: self.source, start: 0, end: 0 }, "empty"));
            Stop
        })
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                let range = span.byte_range().unwrap_or(0..0);
                Ok((event, Span { source: self.source, start: range.start, end: range.end }))
            }
            Some(Err(error)) => {
                self.note(syntax::diagnostic(&error, self.text, self.source));
                Err(Stop)
            }
            None => Ok((Event::StreamEnd, Span { source: self.source, start: 0, end: 0 })),
        }
    }

    fn note(&mut self, diagnostic: Diagnostic) {
        if self.diagnostics.len() < DIAGNOSTICS_MAX {
            self.diagnostics.push(diagnostic);
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span) -> Result<Tree, Stop> {
        let (nodes, bytes) = (self.nodes, self.bytes);
        let anchor = event.anchor_id();
        let mut own = None;
        let tree = match event {
            Event::Scalar(text, style, _, tag) => {
                own = self.check_tag(tag.as_deref(), span);
                self.scalar(&text, style, tag.as_deref(), span)?
            }
            Event::SequenceStart(_, _, tag) => {
                own = self.check_tag(tag.as_deref(), span);
                self.sequence(span)?
            }
            Event::MappingStart(_, _, tag) => {
                own = self.check_tag(tag.as_deref(), span);
                self.mapping(span)?
            }
            Event::Alias(id) => self.alias(id, span)?,
            Event::UnresolvedAlias(name) => {
                let found = Diagnostic::error(
                    codes::YAML_UNKNOWN_ALIAS,
                    format!("`*{name}` refers to an anchor that does not stand before it"),
                    format!(
                        "write `&{name}` before the value that is meant, or put quotes around a text that begins with `*`"
                    ),
                );
                self.note(found.at(span, "no such anchor"));
                Tree { node: Node::Null, span }
            }
            _ => Tree { node: Node::Null, span },
        };
        self.tagged.extend(own.map(|tag| Tagged { tag, span: tree.span }));
        if let Some(id) = anchor {
            let size = Anchored { tree: tree.clone(), nodes: self.nodes - nodes, bytes: self.bytes - bytes };
            self.anchors.insert(id, size);
        }
        Ok(tree)
    }

    /// Counts what is about to be made, so that a small text cannot fill the memory.
    fn spend(&mut self, nodes: usize, bytes: usize, span: Span) -> Result<(), Stop> {
        self.nodes += nodes;
        self.bytes += bytes;
        if self.nodes <= NODES_MAX && self.bytes <= EXPANDED_BYTES_MAX {
            return Ok(());
        }
        let found = Diagnostic::error(
            codes::YAML_TOO_LARGE,
            format!("the document expands to more than {NODES_MAX} values or {} MiB", EXPANDED_BYTES_MAX >> 20),
            "aliases that hold aliases grow very fast; write fewer of them",
        );
        self.note(found.at(span, "the limit is passed here"));
        Err(Stop)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Result<Tree, Stop> {
        self.spend(1, text.len(), span)?;
        let style = match style {
            ScalarStyle::Plain if tag.and_then(Tag::core_suffix) == Some("str") => Style::Quoted,
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted
                if tag.and_then(Tag::core_suffix).is_some_and(is_value) =>
            {
                Style::Plain
            }
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
        };
        let node = if style == Style::Plain && scalar::is_null(text) {
            Node::Null
        } else {
            Node::Scalar(Scalar { text: text.to_owned(), style })
        };
        Ok(Tree { node, span })
    }

    /// Tags of the core schema say what the text shows anyway; others would change the meaning, so they are refused.
    /// Those that the reader asked for are handed to it.
    fn check_tag(&mut self, tag: Option<&Tag>, span: Span) -> Option<String> {
        let tag = tag?;
        if tag.core_suffix().is_some_and(|suffix| suffix != "binary") {
            return None;
        }
        let name = tag.original();
        if self.taken.contains(&name.as_str()) {
            return Some(name.clone());
        }
        let hint = if tag.core_suffix() == Some("binary") {
            "write the text in base64 and say so, as in `encoding: b64`"
        } else {
            "remove the tag; files are included with `source:`, or as `cloud_init: path/to/file.yaml`"
        };
        let found = Diagnostic::error(codes::YAML_TAG, format!("the tag `{}` is not known", tag.original()), hint);
        self.note(found.at(span, "this value has the tag"));
        None
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Tree, Stop> {
        let Some(anchored) = self.anchors.get(&id) else {
            let found = Diagnostic::error(
                codes::YAML_RECURSION,
                "this alias stands inside the value that it names",
                "write the value out, or move the anchor to the part that is meant",
            );
            self.note(found.at(span, "would hold itself"));
            return Err(Stop);
        };
        let (nodes, bytes) = (anchored.nodes, anchored.bytes);
        self.spend(nodes, bytes, span)?;
        Ok(self.anchors[&id].tree.clone())
    }

    fn sequence(&mut self, start: Span) -> Result<Tree, Stop> {
        self.spend(1, 0, start)?;
        let mut items = Vec::new();
        let mut end = start.end;
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                end = closing(end, span);
                return Ok(Tree { node: Node::Seq(items), span: Span { end, ..start } });
            }
            let item = self.node(event, span)?;
            end = end.max(self.text_end(span)).max(self.text_end(item.span));
            items.push(item);
        }
    }

    /// Where a span ends without the white space behind it.
    fn text_end(&self, span: Span) -> usize {
        span.start + self.text.get(span.start..span.end).map_or(0, |text| text.trim_end().len())
    }

    fn mapping(&mut self, start: Span) -> Result<Tree, Stop> {
        self.spend(1, 0, start)?;
        let mut map = Mapping::default();
        let mut end = start.end;
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                end = closing(end, span);
                let span = Span { end, ..start };
                let node = if map.template { self.as_written(span) } else { Node::Map(map.finish()) };
                return Ok(Tree { node, span });
            }
            let merges = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = self.key(event, span)?;
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span)?;
            end = end.max(self.text_end(span)).max(self.text_end(value_span)).max(self.text_end(value.span));
            match key {
                Some(key) if merges => self.merge(&mut map, &key, value),
                Some(key) => self.insert(&mut map, key, value),
                None => map.template |= self.text[start.start..].starts_with("{{"),
            }
        }
    }

    /// A key is a single value that is not null; anything else is noted and left out.
    fn key(&mut self, event: Event<'t>, span: Span) -> Result<Option<Key>, Stop> {
        let tree = self.node(event, span)?;
        if let Node::Scalar(scalar) = tree.node {
            return Ok(Some(Key { text: scalar.text, span }));
        }
        let template = self.text[..span.start].ends_with('{') && self.text[span.start..].starts_with('{');
        let found = if template {
            Diagnostic::error(
                codes::YAML_UNQUOTED_TEMPLATE,
                "a value that begins with a template needs quotes",
                "put quotes around the whole value, as in \"{{ vars.name }}\"",
            )
            .at(Span { start: span.start - 1, end: self.line_end(span.start), ..span }, "YAML takes this for a mapping")
        } else {
            Diagnostic::error(
                codes::YAML_KEY,
                format!("a key of a mapping is {}", tree.kind()),
                "keys are single values; put quotes around a text that begins with a bracket or is empty",
            )
            .at(span, "not a key")
        };
        self.note(found);
        Ok(None)
    }

    /// A template that lacks its quotes, as the text that was meant; that it lacks them was noted.
    fn as_written(&self, span: Span) -> Node {
        let text = self.text.get(span.start..span.end).unwrap_or_default().to_owned();
        Node::Scalar(Scalar { text, style: Style::Quoted })
    }

    fn line_end(&self, at: usize) -> usize {
        let rest = &self.text[at..];
        at + rest[..rest.find('\n').unwrap_or(rest.len())].trim_end().len()
    }

    fn insert(&mut self, map: &mut Mapping, key: Key, value: Tree) {
        if let Some(first) = map.seen.get(&key.text) {
            let found = Diagnostic::error(
                codes::YAML_DUPLICATE_KEY,
                format!("the key `{}` stands twice in the same mapping", key.text),
                "remove one of the two, or put what they hold together under one key",
            );
            let found = found.at(key.span, "again here").related(*first, "first here");
            self.note(found);
            return;
        }
        map.seen.insert(key.text.clone(), key.span);
        map.parts.push(Part::Entry(key, value));
    }

    fn merge(&mut self, map: &mut Mapping, key: &Key, value: Tree) {
        let span = Span { end: value.span.end.max(key.span.end), ..key.span };
        let trees = match value.node {
            Node::Seq(items) => items,
            _ => vec![value],
        };
        for tree in trees {
            let kind = tree.kind();
            if let Node::Map(entries) = tree.node {
                map.parts.push(Part::Merged(entries));
                continue;
            }
            let found = Diagnostic::error(
                codes::YAML_MERGE,
                format!("the merge key `<<` takes a mapping, and this is {kind}"),
                "give it an alias of a mapping, as in `<<: *defaults`, or a list of such aliases",
            );
            let at = if tree.span.start >= key.span.start { tree.span } else { span };
            self.note(found.at(at, kind).related(key.span, "merged here"));
        }
    }
}

/// Tags that make a value of a text between quotes, as in `!!int "3"`.
fn is_value(suffix: &str) -> bool {
    matches!(suffix, "int" | "float" | "bool" | "null")
}

/// Where a collection ends: brackets have a closing one; a block's end event has no text and stands behind blank lines.
fn closing(last: usize, end: Span) -> usize {
    if end.end > end.start { end.end } else { last }
}

enum Part {
    Entry(Key, Tree),
    Merged(Vec<(Key, Tree)>),
}

/// A mapping while it is read. Its own keys win over merged ones, and of those the first.
#[derive(Default)]
struct Mapping {
    parts: Vec<Part>,
    seen: HashMap<String, Span>,
    /// It is a template without quotes.
    template: bool,
}

impl Mapping {
    fn finish(mut self) -> Vec<(Key, Tree)> {
        let mut entries = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            match part {
                Part::Entry(key, value) => entries.push((key, value)),
                Part::Merged(merged) => {
                    for (key, value) in merged {
                        if !self.seen.contains_key(&key.text) {
                            self.seen.insert(key.text.clone(), key.span);
                            entries.push((key, value));
                        }
                    }
                }
            }
        }
        entries
    }
}
