//! `packages`, `package_update` and `package_upgrade`.

use muster_doc::{Node, Tree};

use crate::document::Draft;
use crate::fields::{Fields, present};
use crate::step::{Package, Packages, StepKind};

/// Package lists are fetched when something is missing, so an update of its own is a step only when nothing is asked
/// for that would bring one.
pub(crate) fn read(fields: &mut Fields, tree: &Tree) -> Vec<Draft> {
    let update = fields.flag(tree, "package_update", false) | fields.flag(tree, "apt_update", false);
    let upgrade = fields.flag(tree, "package_upgrade", false) | fields.flag(tree, "apt_upgrade", false);
    let mut packages = Vec::new();
    if let Some(items) = present(tree, "packages").and_then(|tree| fields.list(tree, "`packages`")) {
        for item in items.iter().filter(|item| !item.is_null()) {
            add(fields, item, &mut packages);
        }
    }
    let mut drafts = Vec::new();
    if upgrade {
        drafts.push(Draft::once("package_upgrade", StepKind::Upgrade, true));
    } else if update && packages.is_empty() {
        drafts.push(Draft::once("package_update", StepKind::UpdateIndex, true));
    }
    if !packages.is_empty() {
        drafts.push(Draft::converge("packages", StepKind::Packages(Packages { packages })));
    }
    drafts
}

fn add(fields: &mut Fields, item: &Tree, packages: &mut Vec<Package>) {
    match &item.node {
        Node::Scalar(_) => packages.extend(package(fields, item, None)),
        Node::Seq(pair) => match pair.as_slice() {
            [name] => packages.extend(package(fields, name, None)),
            [name, version] => packages.extend(package(fields, name, Some(version))),
            _ => fields.wrong(item, "an item of `packages`", "a name, or a name and a version"),
        },
        Node::Map(managers) => {
            fields.unknown_keys(managers, "an item of `packages`", &["apt"], &["snap"]);
            for (_, list) in managers.iter().filter(|(key, _)| key.text == "apt") {
                for item in fields.list(list, "`apt`").unwrap_or_default() {
                    if item.as_map().is_some() {
                        fields.wrong(item, "a package", "a name, or a name and a version");
                    } else {
                        add(fields, item, packages);
                    }
                }
            }
        }
        Node::Null => {}
    }
}

fn package(fields: &mut Fields, name: &Tree, version: Option<&Tree>) -> Option<Package> {
    let text = fields.text(name, "a package")?;
    let (base, pinned) = match text.split_once('=') {
        Some((base, version)) => (base.to_owned(), Some(version.to_owned())),
        None => (text.clone(), None),
    };
    let version = match version.filter(|tree| !tree.is_null()) {
        Some(tree) => Some(fields.text(tree, "a version")?),
        None => pinned,
    };
    let good = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.:~_/".contains(c))
    };
    if !good(&base) || version.as_deref().is_some_and(|version| !good(version)) {
        fields.unsuitable(name, format!("`{text}` is not the name of a package"), "write it as in apt-get install");
        return None;
    }
    Some(Package { name: base, version })
}
