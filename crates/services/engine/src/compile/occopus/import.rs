//! An infrastructure as a cluster file.

use std::time::Duration;

use muster_doc::{Diagnostic, Node, Tree, codes};
use muster_occopus::{Carried, Context, Import, Imported, ImportedGroup};

use super::render::{SCRIPT, config};
use super::{Origin, container};
use crate::compile::Compiled;

impl Compiled {
    /// The infrastructure as a native cluster file with the same meaning, for `provider` if that takes the place of the
    /// resource sections. `files`: long documents get files of their own. All that cannot be said is in the diagnostics.
    pub fn import(&mut self, provider: Option<&str>, files: bool) -> (Option<Imported>, Vec<Diagnostic>) {
        let Some(foreign) = &self.occopus else {
            let message = "this is a cluster file already";
            let hint = "name an infrastructure description of Occopus, or the folder that it stands in";
            return (None, vec![Diagnostic::error(codes::READ_TYPE, message, hint)]);
        };
        let mut found = Vec::new();
        let mut groups = Vec::new();
        for node in &foreign.infrastructure.nodes {
            let Some((name, Origin { ways, .. })) =
                foreign.origins.iter().find(|(name, _)| name.as_str() == node.name.value)
            else {
                continue;
            };
            if let [_, other, ..] = ways.as_slice() {
                let message = format!("the nodes of `{name}` take turns between {} implementations", ways.len());
                let hint = "give the node a `filter` that one of them passes: a cluster file makes a group in one way";
                let error = Diagnostic::error(codes::IMPORT_TEMPLATE, message, hint);
                found.push(error.at(node.name.span, "this node").related(other.span, "another implementation"));
            }
            groups.push(ImportedGroup { name: name.clone(), implementation: &ways[0] });
        }
        if found.iter().any(Diagnostic::is_error) {
            return (None, found);
        }
        let import = Import { infrastructure: &foreign.infrastructure, groups, provider, files, carry: &carry };
        let (imported, mut more) = muster_occopus::import(&import, &mut self.sources);
        found.append(&mut more);
        (imported, found)
    }
}

/// What agents do in place of Occopus, for one node.
fn carry(group: &ImportedGroup<'_>, node: &str, context: &Context) -> Carried {
    // What is wrong was said when the infrastructure was compiled.
    let mut out = Vec::new();
    let way = group.implementation;
    let mut config = config(context, node, (&group.name, way), &mut out);
    if matches!(context, Context::Text { cloud_config: None, .. }) {
        without_mark(&mut config);
    }
    let check = match context {
        Context::Container { command: Some(_), .. } => {
            Some((container::CHECK_COMMAND.map(str::to_owned).to_vec(), Duration::from_secs(1)))
        }
        _ => None,
    };
    Carried { config, check }
}

/// The command that runs a script bears the script's hash, which a template cannot make.
pub(in crate::compile) fn without_mark(tree: &mut Tree) {
    match &mut tree.node {
        Node::Null => {}
        Node::Scalar(scalar) => {
            if scalar.text.strip_prefix(SCRIPT).is_some_and(|rest| rest.starts_with(" # ")) {
                scalar.text.truncate(SCRIPT.len());
            }
        }
        Node::Seq(items) => items.iter_mut().for_each(without_mark),
        Node::Map(entries) => entries.iter_mut().for_each(|(_, value)| without_mark(value)),
    }
}
