//! Recipes: what a folder can say, and what is wrong with one that is broken.

use std::collections::BTreeMap;

use muster_doc::{SourceMap, Span, Tree, parse};
use muster_recipe::{Recipe, RoleFault, Surroundings};

fn read(files: &[(&str, &str)]) -> (SourceMap, Option<Recipe>, Vec<(&'static str, String)>) {
    let files: BTreeMap<String, String> =
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let mut sources = SourceMap::default();
    let (recipe, found) = Recipe::read("pair", "recipes/pair", &files, &mut sources);
    let found = found.into_iter().map(|found| {
        assert!(!found.hint.is_empty());
        (found.code, found.message)
    });
    (sources, recipe, found.collect())
}

fn vars(sources: &mut SourceMap, text: &str) -> Tree {
    parse(sources, "vars", text).0.expect("a mapping")
}

const GOOD: &str = "name: pair\ndescription: Two.\nvars:\n  port: { type: number, default: 7000 }\n\
                    files: { /etc/a: { template: a.j2, mode: \"0600\" } }\nroles:\n  head: { packages: [h] }\n  \
                    worker:\n    vars: { port: { type: number, default: 1 }, token: { type: text, help: a word } }\n";

#[test]
fn roles_share_what_the_recipe_says() {
    let (mut sources, recipe, found) = read(&[("recipe.yaml", GOOD), ("a.j2", "{{ x }}\n"), ("README.md", "notes")]);
    assert_eq!(found, []);
    let recipe = recipe.unwrap();
    let span: Span = recipe.common.files[0].path.span;
    let head = recipe.function(Some("head")).unwrap();
    let worker = recipe.function(Some("worker")).unwrap();
    assert_eq!((head.parts.len(), head.vars().len(), worker.vars().len()), (2, 1, 2));
    assert_eq!(worker.defaults(span).get("port").unwrap().as_str(), Some("1"));
    let content = &recipe.common.files[0].content;
    assert_eq!((sources.name(content.span.source), content.as_str()), ("recipes/pair/a.j2", Some("{{ x }}\n")));
    assert!(matches!(recipe.function(None), Err(RoleFault::Needed { roles, .. }) if roles == ["head", "worker"]));
    assert!(matches!(recipe.function(Some("tail")), Err(RoleFault::Unknown { .. })));

    let given = vars(&mut sources, "port: high\nother: 1\n");
    let found = worker.check_vars(&given, Some(&given), span, Surroundings::default());
    assert_eq!(found.iter().map(|found| found.code).collect::<Vec<_>>(), ["M0504", "M0505", "M0503"]);
    assert!(found[1].hint.contains("a word"));
    let given = vars(&mut sources, "port: 0x10\ntoken: 5\nother: 1\n");
    assert_eq!(worker.check_vars(&given, None, span, Surroundings::default()), []);
}

#[test]
fn types_of_variables() {
    let (mut sources, recipe, found) = read(&[(
        "recipe.yaml",
        "vars:\n  t: { type: text }\n  n: { type: number }\n  b: { type: bool }\n  l: { type: list }\n  m: { type: mapping }\n  \
         a: { default: ~ }\n",
    )]);
    assert_eq!(found, []);
    let recipe = recipe.unwrap();
    let function = recipe.function(None).unwrap();
    let good = vars(&mut sources, "{ t: x, n: 1.5, b: false, l: [], m: {}, a: [1] }");
    assert_eq!(function.check_vars(&good, Some(&good), good.span, Surroundings::default()), []);
    let bad = vars(&mut sources, "{ t: [], n: \"1\", b: yes, l: {}, m: [] }");
    let found = function.check_vars(&bad, Some(&bad), bad.span, Surroundings::default());
    assert_eq!(found.iter().map(|found| found.code).collect::<Vec<_>>(), ["M0504"; 5]);
}

#[test]
fn limits_of_variables() {
    let (mut sources, recipe, found) = read(&[(
        "recipe.yaml",
        "vars:\n  p: { type: text, default: ~, pattern: \"a|b+\" }\n  c: { type: text, default: x, choices: [x, y] }\n  \
         n: { type: number, default: 1, min: -1.5, max: 16 }\n  g: { type: group, default: ~ }\n  \
         l: { type: list, default: [], items: { type: list, items: { type: mapping, keys: { a: {}, b: { default: \
         { k: 1 }, type: mapping, keys: { k: {}, z: { default: 2 } } } } } } }\n",
    )]);
    assert_eq!(found, []);
    let recipe = recipe.unwrap();
    let function = recipe.function(None).unwrap();
    let groups = ["web", "db"];
    let mut codes = |text: &str| {
        let given = vars(&mut sources, text);
        let surroundings = Surroundings { groups: Some(&groups) };
        let found = function.check_vars(&given, Some(&given), given.span, surroundings);
        found.into_iter().map(|found| found.code).collect::<Vec<_>>()
    };
    for good in
        ["{ p: a }", "{ p: bbb }", "{ p: ~, g: ~ }", "{ n: -1.5 }", "{ n: 16 }", "{ g: db }", "{ l: [[{ a: 1 }]] }"]
    {
        assert_eq!(codes(good), [""; 0], "{good}");
    }
    // The whole text is matched, whatever the pattern's branches are; a line break at its end counts.
    for (bad, code) in [
        ("{ p: ab }", "M0512"),
        ("{ p: xa }", "M0512"),
        ("{ p: \"b\\n\" }", "M0512"),
        ("{ c: z }", "M0512"),
        ("{ c: ~ }", "M0504"),
        ("{ n: -1.6 }", "M0512"),
        ("{ n: 17 }", "M0512"),
        ("{ g: wbe }", "M0302"),
        ("{ l: [[{}]] }", "M0505"),
        ("{ l: [[{ a: 1, b: { z: 1 } }]] }", "M0505"),
        ("{ l: [[{ a: 1, c: 1 }]] }", "M0503"),
        ("{ l: [{ a: 1 }] }", "M0504"),
    ] {
        assert_eq!(codes(bad), [code], "{bad}");
    }
    let given = vars(&mut sources, "{ l: [[{ a: 1 }, { b: { k: 5 }, a: 2 }]], other: [1] }");
    let completed = function.completed(&function.defaults(given.span).merged(&given));
    let expected = vars(
        &mut sources,
        "{ c: x, g: ~, l: [[{ a: 1, b: { k: 1, z: 2 } }, { b: { k: 5, z: 2 }, a: 2 }]], n: 1, p: ~, other: [1] }",
    );
    assert!(completed.same(&expected), "{}", muster_doc::emit(&completed));
}

#[test]
fn a_role_lies_over_what_is_shared() {
    let (_, recipe, found) = read(&[(
        "recipe.yaml",
        "secrets: { a: }\nshared_folders: { /home: , /srv: }\nneeds: [x]\nports: [1]\nhooks: { drain: { command: all }, \
         resume: { command: all } }\nroles:\n  x: {}\n  y:\n    needs: [x, z]\n    ports: [2, 1]\n    secrets: { b: { as: hex } }\n    \
         shared_folders: { /home: { when: v } }\n    vars: { v: { type: bool, default: false } }\n    \
         hooks: { drain: { command: own, on: x, timeout: 5s } }\n  z: { secrets: { b: { as: hex } } }\n",
    )]);
    assert_eq!(found, []);
    let recipe = recipe.unwrap();
    let function = recipe.function(Some("y")).unwrap();
    let drain = function.drain().unwrap();
    assert_eq!((drain.command.as_str(), drain.timeout.as_secs()), (Some("own"), 5));
    assert_eq!(drain.on.as_ref().map(|on| on.value.as_str()), Some("x"));
    assert_eq!(function.resume().unwrap().command.as_str(), Some("all"));
    assert_eq!(function.needs().iter().map(|need| need.value.as_str()).collect::<Vec<_>>(), ["x", "z"]);
    assert_eq!(function.ports(), [1, 2].into());
    assert_eq!(function.secrets().keys().copied().collect::<Vec<_>>(), ["a", "b"]);
    let folders = function.shared_folders();
    let folders: Vec<_> = folders.iter().map(|folder| (folder.path.to_str().unwrap(), folder.when.is_some())).collect();
    assert_eq!(folders, [("/home", true), ("/srv", false)]);
}

#[test]
fn broken_recipes_are_told() {
    for (files, expected) in [
        (&[("a.j2", "")][..], "M0506"),
        (&[("recipe.yaml", "name: other\n")], "M0506"),
        (&[("recipe.yaml", "name: pair\nfiles: { /a: { template: lost.j2 } }\n"), ("last.j2", "")], "M0507"),
        (&[("recipe.yaml", "name: pair\nfiles: { /a: { mode: 1 } }\n")], "M0506"),
        (&[("recipe.yaml", "name: pair\n"), ("a.j2", "")], "M0506"),
        (&[("recipe.yaml", "name: pair\nvars: { a: { type: number, default: x } }\n")], "M0506"),
        (&[("recipe.yaml", "name: pair\nvars: { a: { type: nummer } }\n")], "M0207"),
        (&[("recipe.yaml", "name: pair\npackages: [a]\ncloudinit: {}\n")], "M0203"),
        (&[("recipe.yaml", "name: pair\ncloud_init: text\n")], "M0201"),
        (&[("recipe.yaml", "a: b: c\n")], "M0101"),
        (
            &[("recipe.yaml", "secrets: { a: { bytes: 16 } }\nroles: { b: { secrets: { a: { bytes: 17 } } } }\n")],
            "M0506",
        ),
        (&[("recipe.yaml", "vars: { a: { type: list, keys: {} } }\n")], "M0506"),
        (&[("recipe.yaml", "shared_folders: { /a/../b: }\n")], "M0506"),
        (&[("recipe.yaml", "shared_folders: { /: }\n")], "M0506"),
        (&[("recipe.yaml", "needs: [lost]\n")], "M0506"),
    ] {
        let (_, _, found) = read(files);
        assert!(found.iter().any(|(code, _)| *code == expected), "{files:?}: {found:?}");
    }
}
