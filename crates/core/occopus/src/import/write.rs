//! Writes what was imported for people to read: comments, short lists on one line, blank lines between groups.

use muster_doc::{Key, Node, Scalar, Tree, emit};

use super::comments::Notes;

const INDENT: usize = 2;

/// Longest list that is written on one line.
const LINE_MAX: usize = 60;

/// Keys between whose entries a blank line stands.
const PARTED: [&str; 1] = ["groups"];

pub(super) fn document(tree: &Tree, notes: &mut Notes) -> String {
    let mut writer = Writer { out: String::new(), notes };
    match &tree.node {
        Node::Map(entries) if !entries.is_empty() => writer.mapping(entries, 0, false),
        Node::Seq(items) if !items.is_empty() => writer.sequence(items, 0),
        _ => writer.out.push_str(&emit(tree)),
    }
    writer.out
}

struct Writer<'n> {
    out: String,
    notes: &'n mut Notes,
}

impl Writer<'_> {
    fn mapping(&mut self, entries: &[(Key, Tree)], indent: usize, parted: bool) {
        for (index, (key, value)) in entries.iter().enumerate() {
            if index > 0 && (parted || indent == 0 && (is_long(value) || is_long(&entries[index - 1].1))) {
                self.blank();
            }
            for line in self.notes.above(key.span) {
                self.comment(&line, indent);
            }
            self.pad(indent);
            let head = emit(&Tree::map([(key.text.as_str(), Tree::plain("1", key.span))], key.span));
            self.out.push_str(head.trim_end().trim_end_matches(" 1"));
            let behind = self.notes.behind(key.span).map(|words| format!("  {words}")).unwrap_or_default();
            self.value(value, &behind, indent, PARTED.contains(&key.text.as_str()));
        }
    }

    /// What follows a key or a dash, to the end of its lines.
    fn value(&mut self, value: &Tree, behind: &str, indent: usize, parted: bool) {
        match &value.node {
            Node::Map(entries) if !entries.is_empty() => {
                self.out.push_str(behind);
                self.out.push('\n');
                self.mapping(entries, indent + INDENT, parted);
            }
            Node::Seq(items) if !items.is_empty() => match one_line(items) {
                Some(line) => self.out.extend([" ", &line, behind, "\n"]),
                None => {
                    self.out.push_str(behind);
                    self.out.push('\n');
                    self.sequence(items, indent + INDENT);
                }
            },
            _ => {
                self.out.push(' ');
                self.scalar(value, behind, indent);
            }
        }
    }

    fn sequence(&mut self, items: &[Tree], indent: usize) {
        for item in items {
            for line in self.notes.above(item.span) {
                self.comment(&line, indent);
            }
            self.pad(indent);
            self.out.push('-');
            match &item.node {
                Node::Map(entries) if !entries.is_empty() => {
                    // The first key stands behind the dash.
                    let at = self.out.len();
                    self.mapping(entries, indent + INDENT, false);
                    let tail = self.out.split_off(at);
                    self.out.push(' ');
                    self.out.push_str(tail.trim_start_matches(' '));
                }
                Node::Seq(nested) if !nested.is_empty() => match one_line(nested) {
                    Some(line) => self.out.extend([" ", &line, "\n"]),
                    None => {
                        self.out.push('\n');
                        self.sequence(nested, indent + INDENT);
                    }
                },
                _ => {
                    let behind = self.notes.behind(item.span).map(|words| format!("  {words}")).unwrap_or_default();
                    self.out.push(' ');
                    self.scalar(item, &behind, indent);
                }
            }
        }
    }

    fn scalar(&mut self, value: &Tree, behind: &str, indent: usize) {
        let text = emit(value);
        let mut lines = text.strip_suffix('\n').unwrap_or(&text).split('\n');
        self.out.push_str(lines.next().unwrap_or_default());
        self.out.push_str(behind);
        self.out.push('\n');
        for line in lines {
            if !line.is_empty() {
                self.pad(indent);
                self.out.push_str(line);
            }
            self.out.push('\n');
        }
    }

    fn comment(&mut self, line: &str, indent: usize) {
        if line.is_empty() {
            self.blank();
        } else {
            self.pad(indent);
            self.out.push_str(line);
            self.out.push('\n');
        }
    }

    fn blank(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    fn pad(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }
}

fn is_long(value: &Tree) -> bool {
    match &value.node {
        Node::Map(entries) => !entries.is_empty(),
        Node::Seq(items) => !items.is_empty() && one_line(items).is_none(),
        _ => false,
    }
}

/// A list of plain words and numbers in brackets.
fn one_line(items: &[Tree]) -> Option<String> {
    const SPECIAL: &[char] =
        &[' ', ',', '[', ']', '{', '}', '#', ':', '"', '\'', '\n', '&', '*', '!', '|', '>', '%', '@', '`'];
    let words: Option<Vec<String>> = items
        .iter()
        .map(|item| match &item.node {
            Node::Scalar(Scalar { text, .. }) if !text.contains(SPECIAL) => Some(emit(item).trim_end().to_owned()),
            _ => None,
        })
        .collect();
    let line = format!("[{}]", words?.join(", "));
    (line.len() <= LINE_MAX).then_some(line)
}
