//! One set of views of a node with everything that its templates see, in Occopus' words and in ours.

use std::sync::Arc;

use muster_doc::template::Value;
use muster_doc::template::jinja::Jinja;
use muster_doc::{Node, Scalar, Style, Tree};

use super::native;
use super::pieces::{Piece, bound, is_simple, pieces, renamed, uses, with_arguments};
use super::views::View;
use crate::dump::fold;

/// Functions whose first argument is the name of a node.
const LOOKUPS: [&str; 4] = ["getip", "getprivip", "getipall", "find_node_id"];

/// How a node's templates are seen in one view.
pub(super) struct Sight {
    pub(super) jinja: Jinja,
    /// Occopus' names.
    pub(super) theirs: Value,
    /// Those of cluster files.
    pub(super) ours: Value,
}

/// What templates of one kind see, in several views.
pub(super) struct Scope {
    pub(super) sights: Vec<Sight>,
    /// Names that change, and what they become.
    pub(super) names: &'static [(&'static str, &'static str)],
    /// The node that an undefined name stands for, if there is one.
    pub(super) any: Option<String>,
    /// Variables of a container, and the code that they stand for.
    pub(super) aliases: Vec<(String, String)>,
}

/// Names of cloud-configs.
pub(super) const CONTEXT_NAMES: &[(&str, &str)] = &[
    ("variables", "vars"),
    ("infra_name", "cluster"),
    ("infra_id", "cluster_id"),
    ("name", "node.group"),
    ("node_id", "node.id"),
];

/// Names of health checks.
pub(super) const HEALTH_NAMES: &[(&str, &str)] =
    &[("ip", "node.address"), ("variables", "vars"), ("node_id", "node.id")];

/// Which way one template is rewritten.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// Keeps white space around blocks, which cluster files take away.
    keep_space: bool,
    /// Prints what the template itself names as Python does.
    python: bool,
    /// Closes and opens a shell's quotes around each quote of a value, as where a container's words are written.
    quoted: bool,
}

/// The ways in which a template is tried, those that read best first.
const WAYS: [Way; 5] = [
    Way { keep_space: false, python: false, quoted: false },
    Way { keep_space: true, python: false, quoted: false },
    Way { keep_space: false, python: true, quoted: false },
    Way { keep_space: true, python: true, quoted: false },
    Way { keep_space: false, python: false, quoted: true },
];

impl Sight {
    pub(super) fn new(jinja: Jinja, theirs: Value, view: &Arc<View>, vars: &Tree) -> Self {
        Self { jinja, theirs, ours: native::context(view, vars) }
    }
}

impl Scope {
    /// A scalar that yields in a cluster file what is `expected` of it in each view. `None`: there is no such template.
    pub(super) fn leaf(&self, leaf: &Tree, expected: &[&Tree]) -> Option<Tree> {
        let text = leaf.as_str()?;
        if pieces(text).is_none() {
            // Left alone by both, as `${#name}` of a shell.
            return expected.iter().all(|tree| tree.same(leaf)).then(|| leaf.clone());
        }
        let styles = [style_of(leaf), Style::Plain, Style::Block];
        for way in WAYS {
            let text = self.rewritten(text, way)?;
            let typed = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
            let string =
                typed.filter(|code| !code.contains("{{")).map(|code| format!("{{{{ {} | string }}}}", whole(code)));
            for text in [Some(text.clone()), string].into_iter().flatten() {
                for style in styles {
                    let tried = Tree { node: Node::Scalar(Scalar { text: text.clone(), style }), span: leaf.span };
                    if self.yields(&tried, expected) {
                        return Some(tried);
                    }
                }
            }
        }
        None
    }

    fn yields(&self, tried: &Tree, expected: &[&Tree]) -> bool {
        self.sights.iter().zip(expected).all(|(sight, expected)| {
            native::rendered(tried, &sight.ours).is_some_and(|rendered| rendered.same(expected))
        })
    }

    /// The template with our names.
    fn rewritten(&self, text: &str, way: Way) -> Option<String> {
        let found = pieces(text)?;
        let own: Vec<&str> = found
            .iter()
            .flat_map(|piece| if let Piece::Block(code) = piece { bound(code) } else { Vec::new() })
            .collect();
        let mut out = String::with_capacity(text.len());
        for (index, piece) in found.iter().enumerate() {
            match piece {
                Piece::Fixed(text) if way.keep_space && text.starts_with("{%") => out.push_str(&kept_raw(text)),
                Piece::Fixed(text) => out.push_str(text),
                Piece::Expression(code) => out.push_str(&self.expression(code, &own, way)),
                Piece::Block(code) => {
                    let code = self.code(code, &own);
                    let before = matches!(index.checked_sub(1).map(|at| &found[at]), Some(Piece::Fixed(text)) if text.ends_with([' ', '\t', '\n']));
                    let behind =
                        matches!(found.get(index + 1), Some(Piece::Fixed(text)) if text.starts_with(['\n', '\r']));
                    let head = if way.keep_space && before && !code.starts_with(['-', '+']) { "+" } else { "" };
                    let tail = if way.keep_space && behind && !code.ends_with(['-', '+']) { "+" } else { "" };
                    out.extend(["{%", head, &code, tail, "%}"]);
                }
            }
        }
        Some(out)
    }

    /// Code with our names.
    fn code(&self, code: &str, own: &[&str]) -> String {
        let code = self.without_aliases(code, own);
        let code = with_arguments(&code, &|function, argument| {
            let any = LOOKUPS.contains(&function) && self.is_nothing(argument);
            any.then(|| self.any.as_ref().map(|name| format!("'{name}'"))).flatten()
        });
        let code = with_arguments(&code, &|function, argument| {
            (function == "find_node_id").then(|| format!("groups[{argument}].nodes[0]"))
        });
        let code = code.replace(".nodes[0]).node_id", ".nodes[0]).id");
        let code = code.replace(".nodes[0]).instance_id", ".nodes[0]).name");
        renamed(&code, &|name| {
            if name == "find_node_id" {
                return Some(String::new());
            }
            let new = self.names.iter().find(|(theirs, _)| *theirs == name).filter(|_| !own.contains(&name));
            new.map(|(_, ours)| (*ours).to_owned())
        })
    }

    fn without_aliases(&self, code: &str, own: &[&str]) -> String {
        if self.aliases.is_empty() {
            return code.to_owned();
        }
        let code = self.aliases.iter().fold(code.to_owned(), |code, (name, _)| {
            // The section's own name for them.
            code.replace(&format!("context_variables.{name}"), name)
        });
        renamed(&code, &|name| {
            let alias = self.aliases.iter().find(|(alias, _)| alias == name && !own.contains(&name));
            alias.map(|(_, code)| code.clone())
        })
    }

    /// One expression: with our names; if that prints otherwise, as Python prints it; if it depends on nothing, what it
    /// yields.
    fn expression(&self, code: &str, own: &[&str], way: Way) -> String {
        let renamed = self.code(code, own);
        let marked = renamed.starts_with(['-', '+']) || renamed.ends_with(['-', '+']);
        let plain = if marked { format!("{{{{{renamed}}}}}") } else { format!("{{{{ {} }}}}", renamed.trim()) };
        let (head, tail) =
            (if renamed.starts_with('-') { "-" } else { "" }, if renamed.ends_with('-') { "-" } else { "" });
        let python = format!("{{{{{head} {} | python {tail}}}}}", whole(renamed.trim_matches('-')));
        if uses(code, own) {
            return if way.python { python } else { plain };
        }
        let Some(printed) = self.printed(code) else { return plain };
        if way.quoted && printed.iter().any(|text| text.contains('\'')) {
            return format!(r#"{{{{ {} | replace("'", "'\\''") }}}}"#, whole(renamed.trim_matches('-')));
        }
        if self.prints(&plain, &printed) {
            return plain;
        }
        let lenient = format!("{{{{{head} {} | default('') {tail}}}}}", whole(renamed.trim_matches('-')));
        if self.prints(&lenient, &printed) {
            return lenient;
        }
        if self.prints(&python, &printed) {
            return python;
        }
        match printed.as_slice() {
            [first, rest @ ..] if rest.iter().all(|other| other == first) => literal(first),
            _ => plain,
        }
    }

    /// What an expression of Occopus prints in each view; `None` if it fails or needs names of the template's own.
    fn printed(&self, code: &str) -> Option<Vec<String>> {
        let source = format!("{{{{ {} }}}}", code.trim_matches(['-', '+']));
        self.sights.iter().map(|sight| sight.jinja.render(&source, &sight.theirs).ok().map(|done| done.text)).collect()
    }

    fn prints(&self, source: &str, printed: &[String]) -> bool {
        // White space around keeps it from being taken for a value.
        let tried =
            Tree::text(format!("x{source}x"), muster_doc::Span { source: muster_doc::SourceId(0), start: 0, end: 0 });
        self.sights.iter().zip(printed).all(|(sight, printed)| {
            let done = native::rendered(&tried, &sight.ours);
            let whole = format!("x{printed}x");
            // Whether line breaks fold is seen by the whole scalar.
            done.as_ref().and_then(Tree::as_str).is_some_and(|text| text == whole || text == fold(&whole))
        })
    }

    /// Whether the code yields nothing, so that a function takes it for any node.
    fn is_nothing(&self, code: &str) -> bool {
        let source = format!("{{{{ 'x' if ({code}) else '' }}}}");
        self.sights
            .iter()
            .all(|sight| sight.jinja.render(&source, &sight.theirs).is_ok_and(|done| done.text.is_empty()))
    }
}

/// Functions that a scalar uses and cluster files do not have.
pub(super) fn strangers(text: &str) -> Vec<&'static str> {
    const THEIRS: [&str; 3] = ["cmd", "ibget", "find_node_id"];
    let found = pieces(text).unwrap_or_default();
    let used = |name: &str| {
        found.iter().any(|piece| match piece {
            Piece::Expression(code) | Piece::Block(code) => {
                renamed(code, &|word| (word == name).then(|| "\u{0}".to_owned())).contains('\u{0}')
            }
            Piece::Fixed(_) => false,
        })
    };
    THEIRS.into_iter().filter(|name| used(name)).collect()
}

/// What a template yields, as an expression.
pub(super) fn as_code(text: &str) -> Option<String> {
    let parts = pieces(text)?.into_iter().map(|piece| match piece {
        Piece::Expression(code) => Some(whole(code.trim_matches(['-', '+']))),
        Piece::Fixed(text)
            if !text.starts_with("{%") && !text.starts_with("{#") && !text.contains(['\\', '"', '\n']) =>
        {
            Some(format!("\"{text}\""))
        }
        Piece::Fixed(_) | Piece::Block(_) => None,
    });
    let parts: Vec<String> = parts.collect::<Option<_>>()?;
    Some(if let [one] = parts.as_slice() { one.clone() } else { format!("({})", parts.join(" ~ ")) })
}

fn whole(code: &str) -> String {
    let code = code.trim();
    if is_simple(code) { code.to_owned() } else { format!("({code})") }
}

fn style_of(leaf: &Tree) -> Style {
    match &leaf.node {
        Node::Scalar(scalar) => scalar.style,
        _ => Style::Quoted,
    }
}

/// A text that templates leave alone.
pub(super) fn literal(text: &str) -> String {
    let free = !text.contains("{{") && !text.contains("{%") && !text.contains("{#");
    if free { text.to_owned() } else { format!("{{% raw %}}{text}{{% endraw %}}") }
}

/// `raw` and `endraw` with marks that keep the white space around them.
fn kept_raw(text: &str) -> String {
    let (Some(head), Some(tail)) = (text.find("%}"), text.rfind("{%")) else { return text.to_owned() };
    if head > tail {
        return text.to_owned();
    }
    let inside = &text[head + 2..tail];
    format!("{{%+ raw +%}}{inside}{{%+ endraw +%}}")
}
