//! Queries that Serf itself asks, above all those that change keys everywhere.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Gossip;
use super::queries::{Purpose, QueryError, QueryRequest};
use crate::Time;
use crate::output::{Event, KeyReport, Operation, QueryId};
use crate::wire::keyring::{Key, KeyError};
use crate::wire::record::Secret;
use crate::wire::serf::{KeyRequest, KeyResponse, SerfMessage};

pub(super) mod internal {
    pub(crate) const PREFIX: &str = "_serf_";
    pub(crate) const PING: &str = "_serf_ping";
    pub(crate) const CONFLICT: &str = "_serf_conflict";
    pub(crate) const INSTALL_KEY: &str = "_serf_install-key";
    pub(crate) const USE_KEY: &str = "_serf_use-key";
    pub(crate) const REMOVE_KEY: &str = "_serf_remove-key";
    pub(crate) const LIST_KEYS: &str = "_serf_list-keys";
}

const NO_KEYRING: &str = "No keyring to modify (encryption not enabled)";

/// What all members are to do with a key.
#[derive(Clone, PartialEq, Eq)]
pub enum KeyOperation {
    Install(Vec<u8>),
    Use(Vec<u8>),
    Remove(Vec<u8>),
    List,
}

impl std::fmt::Debug for KeyOperation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Install(_) => "Install(..)",
            Self::Use(_) => "Use(..)",
            Self::Remove(_) => "Remove(..)",
            Self::List => "List",
        })
    }
}

/// Answers to an operation so far.
#[derive(Debug)]
pub(super) struct KeyTally {
    list: bool,
    report: KeyReport,
}

impl KeyTally {
    pub(super) fn count(&mut self, from: &str, payload: &[u8]) {
        self.report.responses += 1;
        let Ok(SerfMessage::KeyResponse(response)) = SerfMessage::decode(payload) else {
            self.report.errors += 1;
            self.report.messages.insert(from.to_owned(), "Failed to decode key query response".to_owned());
            return;
        };
        if !response.result {
            self.report.errors += 1;
        }
        if !response.message.is_empty() {
            self.report.messages.insert(from.to_owned(), response.message);
        }
        if self.list && response.result {
            let mut count = |counts: fn(&mut KeyReport) -> &mut BTreeMap<Secret<String>, usize>,
                             key: Secret<String>| {
                *counts(&mut self.report).entry(key).or_default() += 1;
            };
            response.keys.into_iter().for_each(|key| count(|report| &mut report.keys, key));
            count(|report| &mut report.primary_keys, response.primary);
        }
    }
}

impl Gossip {
    /// Asks all members, this one too; `Event::KeysDone` tells what they said.
    pub fn change_keys(&mut self, now: Time, operation: &KeyOperation) -> Result<Operation, QueryError> {
        self.advance(now);
        let (name, key) = match operation {
            KeyOperation::Install(key) => (internal::INSTALL_KEY, key.clone()),
            KeyOperation::Use(key) => (internal::USE_KEY, key.clone()),
            KeyOperation::Remove(key) => (internal::REMOVE_KEY, key.clone()),
            KeyOperation::List => (internal::LIST_KEYS, Vec::new()),
        };
        let members = self.members.count(crate::members::Status::Alive);
        let report = KeyReport { members, ..KeyReport::default() };
        let tally = KeyTally { list: *operation == KeyOperation::List, report };
        let id = self.operation();
        let payload = SerfMessage::KeyRequest(KeyRequest { key: Secret::new(key) }).encode();
        let request = QueryRequest { name: name.to_owned(), payload, ..QueryRequest::default() };
        self.ask(request, Purpose::Keys(id, tally))?;
        Ok(id)
    }

    pub(super) fn keys_done(&mut self, operation: Operation, tally: KeyTally) {
        self.tell(Event::KeysDone { operation, report: tally.report });
    }

    /// Answers what Serf asks; handlers do not see it.
    pub(super) fn answer_internal(&mut self, query: QueryId, name: &str, payload: &[u8]) {
        let answer = match name {
            internal::CONFLICT => match self.answer_conflict(payload) {
                Some(answer) => answer,
                None => return,
            },
            internal::LIST_KEYS => return self.answer_list(query),
            internal::INSTALL_KEY | internal::USE_KEY | internal::REMOVE_KEY => self.answer_change(name, payload),
            _ => return,
        };
        self.respond_internally(query, &answer);
    }

    /// A response that is too long or too late is lost; whoever asked counts it as missing.
    fn respond_internally(&mut self, query: QueryId, answer: &SerfMessage) {
        let now = self.now;
        self.respond(now, query, answer.encode()).ok();
    }

    fn answer_change(&mut self, name: &str, payload: &[u8]) -> SerfMessage {
        let message = match self.change_own_keys(name, payload) {
            Ok(()) => {
                self.tell(Event::KeysChanged);
                String::new()
            }
            Err(message) => message,
        };
        SerfMessage::KeyResponse(KeyResponse { result: message.is_empty(), message, ..KeyResponse::default() })
    }

    fn change_own_keys(&mut self, name: &str, payload: &[u8]) -> Result<(), String> {
        let keyring = self.keyring.as_mut().ok_or_else(|| NO_KEYRING.to_owned())?;
        let Ok(SerfMessage::KeyRequest(KeyRequest { key })) = SerfMessage::decode(payload) else {
            return Err("Failed to decode key request".to_owned());
        };
        let changed = match name {
            internal::INSTALL_KEY => Key::new(key.expose()).and_then(|key| keyring.add(key)),
            internal::USE_KEY => keyring.choose(key.expose()),
            _ => keyring.remove(key.expose()),
        };
        changed.map_err(|error: KeyError| error.to_string())
    }

    fn answer_list(&mut self, query: QueryId) {
        let mut response = KeyResponse::default();
        match &self.keyring {
            None => "Keyring is empty (encryption not enabled)".clone_into(&mut response.message),
            Some(keyring) => {
                response.result = true;
                response.keys = keyring.keys().iter().map(|key| Secret::new(STANDARD.encode(key.expose()))).collect();
                response.primary = Secret::new(STANDARD.encode(keyring.primary().expose()));
            }
        }
        let total = response.keys.len();
        let mut answer = SerfMessage::KeyResponse(response.clone());
        while self.response_excess(query, &answer.encode()) > 0 && !response.keys.is_empty() {
            response.keys.pop();
            let shown = response.keys.len();
            response.message = format!("truncated key list response, showing first {shown} of {total} keys");
            answer = SerfMessage::KeyResponse(response.clone());
        }
        self.respond_internally(query, &answer);
    }
}
