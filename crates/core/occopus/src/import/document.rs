//! One document of Occopus' templates as one of ours, scalar by scalar: each is tried out in every view.

use muster_doc::{Diagnostic, Key, Node, Scalar, SourceMap, Style, Tree, codes, template};

use super::pieces::{Piece, pieces};
use super::scope::{Scope, literal, strangers};
use super::views::alike;

/// Rewrites what belongs to one group.
pub(super) struct Rewriter<'a> {
    pub(super) scope: &'a Scope,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// How many templates could not be kept as such.
    pub(super) lost: usize,
}

impl<'a> Rewriter<'a> {
    pub(super) fn new(scope: &'a Scope) -> Self {
        Self { scope, diagnostics: Vec::new(), lost: 0 }
    }

    /// A tree of ours that yields in each view what is expected there of `theirs`.
    pub(super) fn tree(&mut self, theirs: &Tree, expected: &[&Tree]) -> Tree {
        let node = match &theirs.node {
            Node::Map(entries) if same_shape(entries.len(), expected, Tree::as_map) => {
                Node::Map(self.entries(entries, expected))
            }
            Node::Seq(items) if same_shape(items.len(), expected, Tree::as_seq) => {
                let item = |at: usize| expected.iter().map(move |tree| &tree.as_seq().unwrap_or_default()[at]);
                let items = items.iter().enumerate();
                Node::Seq(items.map(|(at, theirs)| self.tree(theirs, &item(at).collect::<Vec<_>>())).collect())
            }
            Node::Scalar(_) if template::holds_template(theirs) => match self.scope.leaf(theirs, expected) {
                Some(leaf) => {
                    self.tell_lost(theirs, &leaf);
                    return leaf;
                }
                None => return self.written_out(theirs, expected),
            },
            _ if expected.iter().all(|tree| tree.same(theirs)) => return theirs.clone(),
            _ => return self.written_out(theirs, expected),
        };
        Tree { node, span: theirs.span }
    }

    fn entries(&mut self, entries: &[(Key, Tree)], expected: &[&Tree]) -> Vec<(Key, Tree)> {
        let mut done = Vec::with_capacity(entries.len());
        for (at, (key, value)) in entries.iter().enumerate() {
            let there: Vec<&(Key, Tree)> = expected.iter().map(|tree| &tree.as_map().unwrap_or_default()[at]).collect();
            let values: Vec<&Tree> = there.iter().map(|(_, value)| value).collect();
            let keys: Vec<Tree> = there.iter().map(|(key, _)| Tree::text(key.text.as_str(), key.span)).collect();
            let key = self.tree(&Tree::text(key.text.as_str(), key.span), &keys.iter().collect::<Vec<_>>());
            let key = Key { text: key.as_str().unwrap_or_default().to_owned(), span: key.span };
            done.push((key, self.tree(value, &values)));
        }
        done
    }

    /// An expression may have become what it yields. That is told if it spoke of variables, which people edit.
    fn tell_lost(&mut self, theirs: &Tree, ours: &Tree) {
        let count = |tree: &Tree, name: &str| tree.as_str().map_or(0, |text| text.matches(name).count());
        if count(ours, "vars") < count(theirs, "variables") {
            self.diagnostics.push(written_out("an expression of this template", theirs));
        }
    }

    /// What has no form as a template of ours, as what it yields; that must be the same everywhere.
    fn written_out(&mut self, theirs: &Tree, expected: &[&Tree]) -> Tree {
        self.lost += 1;
        let strangers = theirs.as_str().map_or_else(Vec::new, strangers);
        if let Some(first) = expected.first().filter(|_| alike(expected)) {
            self.diagnostics.push(written_out("this template", theirs));
            return plain(first, theirs);
        }
        let (message, hint) = match strangers.first() {
            Some(name) => (
                format!("this template uses `{name}`, which cluster files do not have"),
                "use `getip`, `groups`, `nodes` or a variable in its place",
            ),
            None if theirs.as_str().is_none() => (
                "the shape of this document depends on templates, which cluster files do not have".to_owned(),
                "write it so that each template stands in one value, as in the text of a file or of a command",
            ),
            None => (
                "this template has no form in a cluster file that yields the same".to_owned(),
                "write it simpler; `{{ variables.x }}` and `{{ getip('node') }}` can always be taken over",
            ),
        };
        let found = Diagnostic::error(codes::IMPORT_TEMPLATE, message, hint);
        self.diagnostics.push(found.at(theirs.span, "cannot be taken over"));
        theirs.clone()
    }
}

fn written_out(what: &str, theirs: &Tree) -> Diagnostic {
    let message = format!("{what} has no form in a cluster file; what it yields is written out in its place");
    let hint = "the result no longer follows the variables that the template uses: edit it where they change";
    Diagnostic::warning(codes::IMPORT_WRITTEN_OUT, message, hint).at(theirs.span, "written out")
}

fn same_shape<T>(length: usize, expected: &[&Tree], items: impl Fn(&Tree) -> Option<&[T]>) -> bool {
    expected.iter().all(|tree| items(tree).is_some_and(|items| items.len() == length))
}

/// A result as a tree that no template touches.
fn plain(result: &Tree, at: &Tree) -> Tree {
    let node = match &result.node {
        Node::Scalar(scalar) => Node::Scalar(Scalar { text: literal(&scalar.text), style: scalar.style }),
        Node::Null => Node::Null,
        Node::Seq(items) => Node::Seq(items.iter().map(|item| plain(item, at)).collect()),
        Node::Map(entries) => {
            let key = |key: &Key| Key { text: literal(&key.text), span: at.span };
            Node::Map(entries.iter().map(|(name, value)| (key(name), plain(value, at))).collect())
        }
    };
    Tree { node, span: at.span }
}

/// Stands for a template while the text around it is read as YAML. Of the private use area, so that no file has it.
const MARK: char = '\u{e001}';

/// A text with a mark in the place of each template, which are kept. `None`: something in it is not closed.
pub(super) fn marked(text: &str, kept: &mut Vec<String>) -> Option<String> {
    let mut marked = String::with_capacity(text.len());
    for piece in pieces(text)? {
        let whole = match piece {
            Piece::Expression(code) => format!("{{{{{code}}}}}"),
            Piece::Block(code) => format!("{{%{code}%}}"),
            Piece::Fixed(text) if text.starts_with("{%") || text.starts_with("{#") => text.to_owned(),
            Piece::Fixed(text) => {
                marked.push_str(text);
                continue;
            }
        };
        marked.push(MARK);
        marked.push_str(&kept.len().to_string());
        marked.push(MARK);
        kept.push(whole);
    }
    Some(marked)
}

/// Marks every text of a tree, without the line break that Jinja2 leaves out at the end of a file.
pub(super) fn marked_tree(tree: &Tree, kept: &mut Vec<String>) -> Tree {
    let node = match &tree.node {
        Node::Scalar(scalar) => {
            let text = scalar.text.strip_suffix('\n').unwrap_or(&scalar.text);
            Node::Scalar(Scalar { text: marked(text, kept).unwrap_or_else(|| text.to_owned()), style: scalar.style })
        }
        Node::Null => Node::Null,
        Node::Seq(items) => Node::Seq(items.iter().map(|item| marked_tree(item, kept)).collect()),
        Node::Map(entries) => {
            Node::Map(entries.iter().map(|(key, value)| (key.clone(), marked_tree(value, kept))).collect())
        }
    };
    Tree { node, span: tree.span }
}

/// Reads a text whose templates are not rendered yet: each is one word to YAML. `None`: the text is no YAML then.
pub(super) fn parsed(text: &str, name: &str, kept: &mut Vec<String>, sources: &mut SourceMap) -> Option<Tree> {
    let marked = marked(text, kept)?;
    let (tree, found) = muster_doc::parse(sources, name, &marked);
    tree.filter(|_| found.iter().all(|found| !found.is_error()))
}

/// Puts the templates of a tree back in their places.
pub(super) fn unmark(tree: &mut Tree, kept: &[String]) {
    match &mut tree.node {
        Node::Null => {}
        Node::Scalar(scalar) => {
            let text = unmarked(&scalar.text, kept);
            if text != scalar.text {
                // A template at the beginning needs quotes where there were none.
                *scalar =
                    Scalar { text, style: if scalar.style == Style::Plain { Style::Quoted } else { scalar.style } };
            }
        }
        Node::Seq(items) => items.iter_mut().for_each(|item| unmark(item, kept)),
        Node::Map(entries) => entries.iter_mut().for_each(|(key, value)| {
            key.text = unmarked(&key.text, kept);
            unmark(value, kept);
        }),
    }
}

/// A text with its templates back in their places.
pub(super) fn unmarked(text: &str, kept: &[String]) -> String {
    let mut parts = text.split(MARK);
    let mut out = parts.next().unwrap_or_default().to_owned();
    while let (Some(number), Some(tail)) = (parts.next(), parts.next()) {
        out.push_str(number.parse::<usize>().ok().and_then(|at| kept.get(at)).map_or("", String::as_str));
        out.push_str(tail);
    }
    out
}
