//! Ids as Occopus has them, made from names: the same name gives the same id, in every run and on every machine.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use muster_types::{ClusterName, NodeName};
use sha2::{Digest, Sha256};

use crate::compile::desired::hex;

/// The id of an infrastructure for which nobody chose one.
pub fn infra_id(cluster: &ClusterName) -> String {
    uuid("infrastructure", &[cluster.as_str()])
}

/// The id of one node of an infrastructure. It stays with the name: a node that is made anew keeps it.
pub fn node_id(infra_id: &str, node: &NodeName) -> String {
    uuid("node", &[infra_id, node.as_str()])
}

/// Ids of an infrastructure's nodes, each made once: every rendering asks for many.
#[derive(Debug)]
pub(super) struct Ids {
    infra_id: String,
    known: Mutex<BTreeMap<NodeName, String>>,
}

impl Ids {
    pub(super) fn new(infra_id: &str) -> Self {
        Self { infra_id: infra_id.to_owned(), known: Mutex::default() }
    }

    pub(super) fn of(&self, node: &NodeName) -> String {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = known.get(node) {
            return id.clone();
        }
        let id = node_id(&self.infra_id, node);
        known.insert(node.clone(), id.clone());
        id
    }
}

/// A UUID of version 8 (RFC 9562, section 5.8), made from a hash.
fn uuid(kind: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in [&["muster", "occopus", kind], parts].concat() {
        hash.update(format!("{}:{part}\n", part.len()));
    }
    let mut bytes: [u8; 32] = hash.finalize().into();
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex(&bytes[..16]);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_that_stay() {
        let id = infra_id(&ClusterName::new("demo").unwrap());
        assert_eq!(id, infra_id(&ClusterName::new("demo").unwrap()));
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'8'));
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{id}");
        let node = |infra: &str, name: &str| node_id(infra, &NodeName::new(name).unwrap());
        assert_ne!(node(&id, "a-1"), node(&id, "a-2"));
        assert_ne!(node(&id, "a-1"), node("other", "a-1"));
    }
}
