//! From text to a list of steps.

use std::collections::{BTreeMap, BTreeSet};

use muster_doc::{Diagnostic, SourceMap, Tree};

use crate::fields::Fields;
use crate::fingerprint;
use crate::keys;
use crate::read;
use crate::step::{Class, Followed, Step, StepId, StepKind};

/// Most steps a document may have.
pub const STEPS_MAX: usize = 2_000;

/// What a cloud-config asks for, in the order in which it is done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    pub steps: Vec<Step>,
    /// Keys that are not known or have no effect; spans point into the text that was read.
    pub warnings: Vec<Diagnostic>,
}

impl Document {
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.id.as_str() == id)
    }
}

/// Reads a cloud-config. An empty one has no steps. Spans of diagnostics point into `text`, as source 0.
pub fn parse_document(text: &str) -> Result<Document, Vec<Diagnostic>> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Document::default());
    }
    let mut sources = SourceMap::default();
    let (tree, mut found) = muster_doc::parse(&mut sources, "cloud-config", text);
    let Some(tree) = tree.filter(|_| !found.iter().any(Diagnostic::is_error)) else { return Err(found) };
    let mut document =
        read_document(&tree).map_err(|errors| found.iter().cloned().chain(errors).collect::<Vec<_>>())?;
    found.append(&mut document.warnings);
    document.warnings = found;
    Ok(document)
}

/// Reads a cloud-config that is already a tree; spans of diagnostics are the tree's own.
pub fn read_document(tree: &Tree) -> Result<Document, Vec<Diagnostic>> {
    let mut fields = Fields::default();
    let mut drafts = Vec::new();
    if let Some(entries) = fields.mapping(tree, "a cloud-config") {
        keys::check(&mut fields, entries);
        drafts = read::steps(&mut fields, tree);
    }
    if drafts.len() > STEPS_MAX {
        fields.too_many(tree, drafts.len(), STEPS_MAX);
    }
    let mut found = fields.into_diagnostics();
    found.sort_by_key(|finding| finding.span.map(|span| (span.source, span.start)));
    let (errors, warnings): (Vec<_>, Vec<_>) = found.into_iter().partition(Diagnostic::is_error);
    if !errors.is_empty() {
        return Err(errors.into_iter().chain(warnings).collect());
    }
    Ok(Document { steps: finish(drafts), warnings })
}

/// A step before its name is made unique and its neighbours are known.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) kind: StepKind,
    pub(crate) class: Class,
}

impl Draft {
    pub(crate) fn converge(name: impl Into<String>, kind: StepKind) -> Self {
        Self { name: name.into(), kind, class: Class::Converge }
    }

    pub(crate) fn once(name: impl Into<String>, kind: StepKind, rerun: bool) -> Self {
        Self { name: name.into(), kind, class: Class::Once { rerun } }
    }
}

fn finish(mut drafts: Vec<Draft>) -> Vec<Step> {
    mark_followed(&mut drafts);
    let mut taken = BTreeSet::new();
    let mut steps: Vec<Step> = Vec::with_capacity(drafts.len());
    for Draft { name, mut kind, class } in drafts {
        if let StepKind::Reload(reload) = &mut kind {
            let watched = steps.iter().filter(|step| reload.watches(&step.kind));
            reload.watched = watched.map(|step| step.hash.clone()).collect();
        }
        let hash = fingerprint::of(&kind);
        let id = StepId(unique(&name, &mut taken));
        steps.push(Step { id, hash, kind, class });
    }
    steps
}

/// The second `write_files[/etc/motd]` becomes `write_files[/etc/motd]#2`.
fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut id = name.to_owned();
    let mut count = 1;
    while !taken.insert(id.clone()) {
        count += 1;
        id = format!("{name}#{count}");
    }
    id
}

fn mark_followed(drafts: &mut [Draft]) {
    let mut later: BTreeMap<String, Followed> = BTreeMap::new();
    for draft in drafts.iter_mut().rev() {
        let StepKind::File(file) = &mut draft.kind else { continue };
        file.followed = later.get(&file.path).copied().unwrap_or(Followed::No);
        let seen = match (file.append, file.followed) {
            (true, Followed::No | Followed::ByAppend) => Followed::ByAppend,
            (true, Followed::ByWrite) | (false, _) => Followed::ByWrite,
        };
        later.insert(file.path.clone(), seen);
    }
}
