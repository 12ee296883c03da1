//! What a plan was made from, in lines that can be kept and compared: says what moved since.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use muster_types::Phase;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::engine::Prepared;

/// Differences that are told; the rest are counted.
const MOVED_SHOWN_MAX: usize = 10;

/// Things by name, and how each is. Holds no times and no secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reality(BTreeMap<String, String>);

impl Reality {
    pub(crate) fn of(prepared: &Prepared) -> Self {
        let observation = &prepared.observation;
        let mut things = BTreeMap::new();
        for machine in observation.machines.values() {
            let state = format!("{:?}", machine.state).to_lowercase();
            let node = crate::observe::node_of(machine);
            things.insert(format!("machine {}", machine.id), format!("{state}, of {node}"));
        }
        for record in observation.records.values() {
            let document = record.document_hash.as_deref().unwrap_or("none").chars().take(12).collect::<String>();
            // Whether it was seen to draw back or to fail is part of what the plan says.
            let phase = if record.phase == Phase::Ready { "ready" } else { "not ready" };
            things.insert(format!("node {}", record.name), format!("{phase}, with configuration {document}"));
        }
        for (group, number) in &prepared.wishes.scaled {
            things.insert(format!("group {group}"), format!("scaled to {number}"));
        }
        for intent in &observation.intents {
            things.insert(format!("intent {}", intent.id), format!("{:?} of {}", intent.action, intent.node));
        }
        for (node, reply) in &prepared.replies {
            let words = match reply {
                Ok(reply) if reply.drifted.is_empty() => "answers".to_owned(),
                Ok(reply) => format!("answers, with changes: {}", reply.drifted.join(", ")),
                Err(_) => "does not answer".to_owned(),
            };
            things.insert(format!("agent {node}"), words);
        }
        Self(things)
    }

    /// SHA-256 of all of it, lower-case hex.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for (thing, state) in &self.0 {
            hash.update(format!("{}:{thing}={}:{state}\n", thing.len(), state.len()));
        }
        hex(&hash.finalize())
    }

    /// What is another way now, a line each.
    pub fn moved(&self, now: &Self) -> Vec<String> {
        let things: BTreeSet<&String> = self.0.keys().chain(now.0.keys()).collect();
        let mut moved = Vec::new();
        for thing in things {
            match (self.0.get(thing), now.0.get(thing)) {
                (Some(before), Some(after)) if before != after => {
                    moved.push(format!("{thing} was {before}; it is {after}"));
                }
                (Some(before), None) => moved.push(format!("{thing} is gone (it was {before})")),
                (None, Some(after)) => moved.push(format!("{thing} is new ({after})")),
                _ => {}
            }
        }
        let more = moved.len().saturating_sub(MOVED_SHOWN_MAX);
        if more > 0 {
            moved.truncate(MOVED_SHOWN_MAX);
            moved.push(format!("and {more} more"));
        }
        moved
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

/// SHA-256 of the texts in their order, lower-case hex. Names are not part of it: a file may be named in several ways.
pub fn sources_hash(sources: &muster_doc::SourceMap) -> String {
    let mut hash = Sha256::new();
    for (_, text) in sources.iter() {
        hash.update(format!("{}:{text}\n", text.len()));
    }
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_is_told_in_words_and_bounded() {
        let reality = |things: &[(&str, &str)]| {
            Reality(things.iter().map(|(thing, state)| ((*thing).to_owned(), (*state).to_owned())).collect())
        };
        let before = reality(&[("machine a", "running, of web-1"), ("machine b", "running, of web-2")]);
        let after = reality(&[("machine a", "stopped, of web-1"), ("machine c", "running, of web-3")]);
        assert_eq!(before.moved(&before), [""; 0]);
        assert_eq!(before.hash(), before.clone().hash());
        assert_ne!(before.hash(), after.hash());
        let expected = [
            "machine a was running, of web-1; it is stopped, of web-1",
            "machine b is gone (it was running, of web-2)",
            "machine c is new (running, of web-3)",
        ];
        assert_eq!(before.moved(&after), expected);
        let many = Reality((0..50).map(|number| (format!("node {number}"), String::new())).collect());
        assert_eq!(before.moved(&many).len(), MOVED_SHOWN_MAX + 1);
    }
}
