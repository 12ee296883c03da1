//! `bootcmd` and `runcmd`.

use muster_doc::{Node, Tree};

use crate::document::Draft;
use crate::fields::{Fields, present};
use crate::step::{Command, Section, StepKind};

/// An item is a line of shell, a list of words, or a mapping with `command` and `rerun`; nothing (a comment) is left
/// out. Items keep the number that they have in the list.
pub(crate) fn read(fields: &mut Fields, tree: &Tree, section: Section) -> Vec<Draft> {
    let key = section.key();
    let Some(items) = present(tree, key).and_then(|tree| fields.list(tree, &format!("`{key}`"))) else {
        return Vec::new();
    };
    let numbered = items.iter().enumerate().filter(|(_, item)| !item.is_null());
    numbered.filter_map(|(index, item)| command(fields, section, index, item)).collect()
}

fn command(fields: &mut Fields, section: Section, index: usize, item: &Tree) -> Option<Draft> {
    let name = format!("{}[{index}]", section.key());
    let (text, rerun) = match &item.node {
        Node::Map(entries) => {
            fields.unknown_keys(entries, "a command", &["command", "rerun"], &[]);
            let rerun = fields.flag(item, "rerun", false);
            let Some(command) = present(item, "command") else {
                fields.missing(item, &format!("`{name}`"), "command");
                return None;
            };
            (shell(fields, &name, command)?, rerun)
        }
        _ => (shell(fields, &name, item)?, false),
    };
    if text.contains('\0') {
        fields.unsuitable(item, format!("`{name}` holds a zero byte"), "remove it: no shell can read it");
        return None;
    }
    Some(Draft::once(name, StepKind::Command(Command { section, text }), rerun))
}

/// Shell text; the words of a list are quoted one by one.
pub(crate) fn shell(fields: &mut Fields, what: &str, tree: &Tree) -> Option<String> {
    match &tree.node {
        Node::Scalar(scalar) => Some(scalar.text.clone()),
        Node::Seq(words) => {
            let words: Option<Vec<String>> =
                words.iter().map(|word| fields.text(word, &format!("a word of `{what}`"))).collect();
            words.map(|words| words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "))
        }
        Node::Null | Node::Map(_) => {
            fields.wrong(tree, &format!("`{what}`"), "a text or a list of words");
            None
        }
    }
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
