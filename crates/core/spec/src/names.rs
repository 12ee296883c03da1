//! Names of clusters and groups.

use muster_doc::read::{Field, Findings};
use muster_doc::{Diagnostic, Key, Span, Spanned, Tree, codes};
use muster_types::{ClusterName, GroupName, NameError};

/// Room for a dash and a number up to 99999 behind the name of a group.
const GROUP_BYTES_MAX: usize = 57;

const HINT: &str = "use letters, digits and dashes between them, as in `web` or `big-data`";

pub(crate) fn cluster(field: &Field<'_>, out: &mut Findings) -> Option<Spanned<ClusterName>> {
    let text = text(field.tree, "cluster", out)?;
    let name = named("cluster", ClusterName::new(text), field.tree.span, out)?;
    Some(Spanned { value: name, span: field.tree.span })
}

pub(crate) fn group(key: &Key, out: &mut Findings) -> Option<GroupName> {
    let name = named("group", GroupName::new(key.text.as_str()), key.span, out)?;
    if key.text.len() > GROUP_BYTES_MAX {
        let message = format!("the group name `{name}` is too long: its nodes get a dash and a number on top");
        let hint = format!("use at most {GROUP_BYTES_MAX} characters");
        out.push(Diagnostic::error(codes::NAME, message, hint).at(key.span, "too long"));
        return None;
    }
    Some(name)
}

/// The name of a group that is referred to.
pub(crate) fn reference(field: &Field<'_>, out: &mut Findings) -> Option<Spanned<GroupName>> {
    let text = text(field.tree, field.name, out)?;
    let name = named("group", GroupName::new(text), field.tree.span, out)?;
    Some(Spanned { value: name, span: field.tree.span })
}

fn text<'t>(tree: &'t Tree, name: &str, out: &mut Findings) -> Option<&'t str> {
    let text = tree.as_str();
    if text.is_none() {
        Field::new(name, tree).wrong("a name", HINT, out);
    }
    text
}

fn named<T>(what: &str, name: Result<T, NameError>, span: Span, out: &mut Findings) -> Option<T> {
    name.map_err(|error| {
        let message = format!("this is not a name for a {what}: {error}");
        out.push(Diagnostic::error(codes::NAME, message, HINT).at(span, "not a name"));
    })
    .ok()
}
