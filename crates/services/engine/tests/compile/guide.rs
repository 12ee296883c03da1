//! The page about recipes: its examples are compiled.

use std::collections::BTreeMap;

use muster_doc::{SourceMap, Tree};

use super::common::{compile_beside, members, rendered};
use super::relations::join;

/// Fenced blocks by what stands behind the language: a path, or `recipe` for a piece of one.
fn blocks() -> Vec<(String, String)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/recipes.md");
    let page = fs_err::read_to_string(page).expect("the page is there");
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                open = Some((info.split_once(' ').unwrap_or_default().1.to_owned(), String::new()));
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, text))) => text.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

#[test]
fn the_whole_example_does_what_is_said() {
    let blocks = blocks();
    let files: Vec<(&str, &str)> =
        blocks.iter().filter_map(|(path, text)| Some((path.strip_prefix("recipes/")?, text.as_str()))).collect();
    assert_eq!(files.len(), 4);
    let (_, cluster) = blocks.iter().find(|(path, _)| path == "cluster.yaml").expect("a cluster file");
    let compiled = compile_beside(&files, cluster);
    assert_eq!(compiled.warnings, []);
    let mut members = members(&compiled);
    join(&mut members, "small-2", 4);
    let head = compiled.render(&"head-1".parse().unwrap(), &members).unwrap();
    for expected in
        ["listen 10.0.0.1:7000\n", "worker small-2 10.0.0.4 cpus=4 memory=3072\n", "lane fast big\n", "lane slow *\n"]
    {
        assert!(head.document.contains(expected), "{expected}\n{}", head.document);
    }
    assert!(head.follows && head.left_out.len() == 2);
    assert!(rendered(&compiled, "big-1").document.contains("head 10.0.0.1:7000\n"));
    let drain = compiled.hooks(&"big-1".parse().unwrap(), &members).unwrap().drain.unwrap();
    assert_eq!((drain.command.as_str(), drain.timeout.as_secs()), ("queue drain --wait big-1", 1800));
}

/// The names of files that a recipe refers to.
fn referred(tree: &Tree) -> Vec<String> {
    let files = tree.get("files").and_then(Tree::as_map).unwrap_or_default();
    let names = files.iter().filter_map(|(_, file)| file.get("template").or(file.get("source"))?.as_str());
    names.map(str::to_owned).collect()
}

#[test]
fn every_key_has_an_example_that_is_right() {
    let mut keys: BTreeMap<String, usize> = BTreeMap::new();
    for (_, text) in blocks().iter().filter(|(kind, _)| kind == "recipe") {
        let (tree, found) = muster_doc::parse(&mut SourceMap::default(), "piece", text);
        let tree = tree.unwrap_or_else(|| panic!("{found:?}"));
        for (key, _) in tree.as_map().unwrap_or_default() {
            *keys.entry(key.text.clone()).or_default() += 1;
        }
        let names = referred(&tree);
        let recipe = format!("name: doc\n{text}");
        let paths: Vec<String> = names.iter().map(|name| format!("doc/{name}")).collect();
        let mut files = vec![("doc/recipe.yaml", recipe.as_str())];
        files.extend(paths.iter().map(|path| (path.as_str(), "{{ node.name }}\n")));
        let roles = tree.get("roles").and_then(Tree::as_map).unwrap_or_default();
        let mut cluster = "cluster: demo\ngroups:\n".to_owned();
        for (role, _) in roles {
            cluster.extend([format!("  {0}: {{ recipe: doc/{0} }}\n", role.text)]);
        }
        if roles.is_empty() {
            cluster += "  web: { recipe: doc, count: 2 }\n";
        }
        assert_eq!(compile_beside(&files, &cluster).warnings, [], "{text}");
    }
    let known = [
        "cloud_init",
        "files",
        "health",
        "hooks",
        "packages",
        "ports",
        "reload",
        "roles",
        "secrets",
        "shared_folders",
        "vars",
    ];
    assert_eq!(keys.keys().map(String::as_str).collect::<Vec<_>>(), known);
}
