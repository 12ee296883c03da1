//! Habits of `Cargo.toml` files, and what gets built by them.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use toml::Table;

use super::File;
use crate::shell::{cargo, read};

/// Never built: a second library for cryptography, one that is not linked statically, and two that nobody keeps up.
const BANNED: [&str; 4] = ["ring", "openssl-sys", "serde_yaml", "bincode"];

const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

pub(super) fn complaints(manifests: &[File], sources: &[File]) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    let mut used = BTreeSet::new();
    let mut declared = BTreeSet::new();
    for file in manifests.iter().filter(|file| file.path.ends_with("Cargo.toml")) {
        let table: Table = toml::from_str(&file.text).with_context(|| format!("{} is no TOML", file.path.display()))?;
        if let Some(workspace) = table.get("workspace").and_then(|workspace| workspace.get("dependencies")) {
            declared.extend(workspace.as_table().into_iter().flat_map(Table::keys).cloned());
            continue;
        }
        complaints.extend(lints(file, &table));
        let own = dependencies(&table);
        let folder = file.path.parent().unwrap_or(Path::new(""));
        complaints.extend(unused(&file.path, &own, &text_below(folder, sources)));
        used.extend(own);
    }
    complaints.extend(declared.difference(&used).map(|name| format!("Cargo.toml: no crate uses `{name}`")));
    Ok(complaints)
}

/// The names of a crate's dependencies, as it calls them.
fn dependencies(manifest: &Table) -> BTreeSet<String> {
    let own = TABLES.iter().filter_map(|name| manifest.get(*name));
    let targets = manifest.get("target").and_then(|targets| targets.as_table()).into_iter().flatten();
    let of_targets = targets.flat_map(|(_, target)| TABLES.iter().filter_map(|name| target.get(*name)));
    own.chain(of_targets).filter_map(|table| table.as_table()).flat_map(Table::keys).cloned().collect()
}

/// A crate takes the workspace's lints, or has a table of its own with a comment that says why.
fn lints(file: &File, table: &Table) -> Option<String> {
    let path = file.path.display();
    let Some(lints) = table.get("lints") else {
        return Some(format!("{path}: no lints; write `[lints]` and `workspace = true`"));
    };
    if lints.get("workspace").and_then(toml::Value::as_bool) == Some(true) {
        return None;
    }
    let before = file.text.split("[lints").next().unwrap_or_default();
    let reason = before.trim_end().lines().next_back().is_some_and(|line| line.starts_with('#'));
    (!reason).then(|| format!("{path}: lints of its own need a comment above them that says why"))
}

fn text_below<'a>(folder: &Path, sources: &'a [File]) -> Vec<&'a str> {
    let below = sources.iter().filter(|file| file.path.starts_with(folder));
    below.map(|file| file.text.as_str()).collect()
}

/// Dependencies whose name no source of the crate says.
fn unused(manifest: &Path, dependencies: &BTreeSet<String>, sources: &[&str]) -> Vec<String> {
    let path = manifest.display();
    let says = |name: &str| sources.iter().any(|text| text.contains(&name.replace('-', "_")));
    let silent = dependencies.iter().filter(|name| !says(name));
    silent.map(|name| format!("{path}: no source of the crate says `{name}`")).collect()
}

/// What cargo would build for this machine, tests included. The lock file alone would tell too much: it also lists what
/// no feature of ours asks for.
pub(super) fn banned_crates() -> Result<Vec<String>> {
    let arguments =
        ["tree", "--workspace", "--locked", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}"];
    let tree = read(cargo(&arguments))?;
    let built: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    anyhow::ensure!(built.contains("muster"), "`cargo tree` does not even list muster:\n{tree}");
    let banned = BANNED.iter().filter(|name| built.contains(*name));
    Ok(banned.map(|name| format!("`{name}` is built: `cargo tree -i {name}` says by whom")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.to_owned() }
    }

    #[test]
    fn dependencies_must_be_used_by_some_crate_and_its_sources() {
        let root = file("Cargo.toml", "[workspace.dependencies]\nan-x = '1'\ny = '1'\n");
        let text = "[dependencies]\nan-x.workspace = true\n[dev-dependencies]\nz = '1'\n[lints]\nworkspace = true\n";
        let one = file("crates/a/Cargo.toml", text);
        let source = file("crates/a/src/lib.rs", "use an_x::X;\n");
        let elsewhere = file("crates/b/src/lib.rs", "use z::Z;\n");
        let found = complaints(&[root, one], &[source, elsewhere]).unwrap();
        assert_eq!(found, ["crates/a/Cargo.toml: no source of the crate says `z`", "Cargo.toml: no crate uses `y`"]);
    }

    #[test]
    fn lints_are_the_workspace_s_or_explained() {
        let complaints_about = |text: &str| complaints(&[file("a/Cargo.toml", text)], &[]).unwrap();
        assert!(complaints_about("[lints]\nworkspace = true\n").is_empty());
        assert_eq!(complaints_about("[package]\n").len(), 1);
        assert_eq!(complaints_about("[package]\n\n[lints.rust]\nunsafe_code = 'warn'\n").len(), 1);
        assert!(complaints_about("[package]\n\n# It has to.\n[lints.rust]\nunsafe_code = 'warn'\n").is_empty());
    }
}
