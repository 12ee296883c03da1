//! Comments of the old files, for the places in the new ones that say the same.

use std::collections::{BTreeMap, BTreeSet};

use super::document::unmarked;
use muster_doc::{Node, SourceId, SourceMap, Span, Tree, comments};

/// Where in an old file something begins that stands in a new one.
type Anchor = (SourceId, usize);

/// What is written around one value.
#[derive(Debug, Clone, Default)]
pub(super) struct Note {
    /// Lines above it; an empty one parts them.
    pub(super) above: Vec<String>,
    /// At the end of its line.
    pub(super) behind: Option<String>,
}

/// The comments of one new file. Each is written once.
#[derive(Debug, Default)]
pub(super) struct Notes {
    of: BTreeMap<Anchor, Note>,
    /// Those for which there is no place.
    pub(super) left: BTreeMap<SourceId, Vec<String>>,
}

impl Notes {
    /// The comments of every source that something in `tree` comes from, and of `others`. What stands inside of `shown` is
    /// written out as it is.
    pub(super) fn gather(
        tree: &Tree,
        (others, shown): (&[SourceId], &[Span]),
        kept: &[String],
        sources: &SourceMap,
    ) -> Self {
        let mut anchors = BTreeSet::new();
        collect(tree, &mut anchors);
        let ids: BTreeSet<SourceId> = anchors.iter().map(|(id, _)| *id).chain(others.iter().copied()).collect();
        let mut notes = Self::default();
        for id in ids {
            if let Some(text) = sources.get(id) {
                notes.source(id, text, &anchors, shown, sources);
            }
        }
        let notes_of = notes.of.values_mut();
        let lines = notes_of.flat_map(|note| note.above.iter_mut().chain(note.behind.iter_mut()));
        for line in lines.chain(notes.left.values_mut().flatten()) {
            *line = unmarked(line, kept);
        }
        notes
    }

    fn source(&mut self, id: SourceId, text: &str, anchors: &BTreeSet<Anchor>, shown: &[Span], sources: &SourceMap) {
        let inside = |at: usize| shown.iter().any(|span| span.source == id && (span.start..span.end).contains(&at));
        for comment in comments(sources, id) {
            let words = text[comment.start..comment.end].trim_end();
            let first = comment.start == 0 && words.starts_with("#cloud-config");
            if inside(comment.start) || first || words.starts_with("#!") && comment.start == 0 {
                continue;
            }
            let line = text[..comment.start].rfind('\n').map_or(0, |at| at + 1);
            let alone = text[line..comment.start].trim().is_empty();
            let on_line = anchors.range((id, line)..(id, comment.start)).next_back().filter(|_| !alone);
            if let Some(anchor) = on_line {
                self.of.entry(*anchor).or_default().behind = Some(words.to_owned());
                continue;
            }
            let parted = text[comment.end..].trim_start_matches([' ', '\r']).starts_with("\n\n");
            let lines = match anchors.range((id, comment.start)..).next().filter(|(source, _)| *source == id) {
                Some(anchor) => &mut self.of.entry(*anchor).or_default().above,
                None => self.left.entry(id).or_default(),
            };
            lines.push(words.to_owned());
            if parted {
                lines.push(String::new());
            }
        }
    }

    pub(super) fn above(&mut self, span: Span) -> Vec<String> {
        self.of.get_mut(&(span.source, span.start)).map(|note| std::mem::take(&mut note.above)).unwrap_or_default()
    }

    pub(super) fn behind(&mut self, span: Span) -> Option<String> {
        self.of.get_mut(&(span.source, span.start))?.behind.take()
    }
}

fn collect(tree: &Tree, anchors: &mut BTreeSet<Anchor>) {
    match &tree.node {
        Node::Null | Node::Scalar(_) => {}
        Node::Seq(items) => {
            for item in items {
                anchors.insert((item.span.source, item.span.start));
                collect(item, anchors);
            }
        }
        Node::Map(entries) => {
            for (key, value) in entries {
                anchors.insert((key.span.source, key.span.start));
                collect(value, anchors);
            }
        }
    }
}
