//! Recipes of the user's own through the whole program: looked at, built, and their secrets kept.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use muster_testkit::{Sandbox, can_make_nodes};
use serde_json::Value;

const RECIPE: &str = r#"
name: vault
description: Nodes that share a key.
vars:
  motto: { type: text, default: hush, pattern: "[a-z]+", help: one word }
secrets:
  key: { bytes: 24, as: text, help: what nodes know each other by }
files:
  /etc/vault/key: { template: key.j2, mode: "0600" }
reload:
  - { name: note, files: [/etc/vault/key], command: "cat /etc/vault/key; date +%s%N >> /etc/vault/taken" }
health: { command: test -s /etc/vault/taken }
hooks: { drain: { command: "true" } }
roles:
  head: { description: Keeps it., ports: [7000] }
  guest: { needs: [head] }
"#;
const CLUSTER: &str =
    "cluster: vault\ngroups:\n  head: { recipe: vault/head }\n  guest: { recipe: vault/guest, count: 2..4 }\n";

fn place() -> Sandbox {
    let place = Sandbox::new(env!("CARGO_BIN_EXE_muster"));
    place.write("recipes/vault/recipe.yaml", RECIPE);
    place.write("recipes/vault/key.j2", "{{ secrets.key }} {{ vars.motto }}\n");
    place.write("cluster.yaml", CLUSTER);
    place
}

/// The secret, as it lies on disk.
fn secret(place: &Sandbox) -> String {
    let text = fs_err::read_to_string(place.state().join("clusters/vault/pki/secrets.json")).unwrap();
    let stored: Value = serde_json::from_str(&text).unwrap();
    stored["secrets"]["vault/key"].as_str().unwrap().to_owned()
}

#[test]
fn recipes_are_listed_and_shown() {
    let place = place();
    let list = place.muster(&["recipe", "ls"]).success().stdout;
    assert!(list.contains("vault") && list.contains("recipes/vault") && list.contains("built-in"), "{list}");
    let list = place.muster(&["recipe", "ls", "--json"]).success().json();
    let names: Vec<&str> =
        list["recipes"].as_array().unwrap().iter().map(|recipe| recipe["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"hello") && names.contains(&"vault"), "{list}");
    let page = place.muster(&["recipe", "show", "vault/guest"]).success().stdout;
    for expected in ["motto", "hush", "one word ([a-z]+)", "24 bytes as text", "/etc/vault/key", "drain", "head"] {
        assert!(page.contains(expected), "{expected}\n{page}");
    }
    let shown = place.muster(&["recipe", "show", "vault/head", "--json"]).success().json();
    assert_eq!((&shown["description"], &shown["ports"][0]), (&"Keeps it.".into(), &7000.into()), "{shown}");
    assert_eq!(shown["vars"][0]["pattern"], "[a-z]+", "{shown}");
    assert!(place.muster(&["recipe", "show", "vualt"]).exits(64).stderr.contains("did you mean `vault`?"));
    assert!(place.muster(&["recipe", "show", "vault/gust"]).exits(64).stderr.contains("did you mean `guest`?"));
    place.write("recipes/vault/recipe.yaml", "name: vault\nvras: {}\n");
    assert!(place.muster(&["recipe", "show", "vault"]).exits(65).stderr.contains("did you mean `vars`?"));
    assert!(place.muster(&["recipe", "ls"]).success().stdout.contains("cannot be used"));
}

#[test]
fn a_wrong_variable_is_shown_where_it_stands_and_nothing_is_made() {
    let place = place();
    place.write("cluster.yaml", &format!("{CLUSTER}vars: {{ motto: Two words }}\n"));
    let refused = place.muster(&["up", "--yes"]).exits(65);
    assert!(refused.stderr.contains("cluster.yaml:5:16") && refused.stderr.contains("motto: one word"), "{refused}");
    assert!(!place.state().join("clusters").exists(), "nothing was made");
}

#[test]
fn a_secret_is_made_once_reaches_the_nodes_and_shows_nowhere() {
    if !can_make_nodes() {
        return;
    }
    let place = place();
    let planned = place.muster(&["plan", "--json"]).success();
    assert!(!place.state().join("clusters/vault/pki/secrets.json").exists(), "a plan makes nothing");
    let up = place.muster(&["up", "--jsonl"]).success();
    let key = secret(&place);
    assert_eq!(key.len(), 33);
    let seen = place.muster(&["exec", "*", "--", "cat", "/etc/vault/key"]).success().stdout;
    assert_eq!(seen.matches(&format!("{key} hush")).count(), 3, "{seen}");
    let again = place.muster(&["up", "--json"]).success();
    assert!(again.json()["nodes"].as_array().unwrap().iter().all(|node| node["changed"] == 0), "{again}");
    assert_eq!(secret(&place), key);
    // Another word in the file: the reload runs once more, and the secret stays.
    let before = place.muster(&["exec", "head-1", "--", "cat", "/etc/vault/taken"]).success().stdout;
    place.write("cluster.yaml", &format!("{CLUSTER}vars: {{ motto: quiet }}\n"));
    let plan = place.muster(&["plan"]).success();
    let changed = place.muster(&["up", "--jsonl", "--verbose"]).success();
    let after = place.muster(&["exec", "head-1", "--", "cat", "/etc/vault/taken"]).success().stdout;
    assert_eq!((before.lines().count(), after.lines().count()), (1, 2));
    assert_eq!(secret(&place), key);
    let render = place.muster(&["render"]).success();
    assert!(render.stdout.contains("<secret vault/key> quiet"), "{render}");
    let status = place.muster(&["status", "--json"]).success();
    let events = place.muster(&["logs"]).success();
    let logs = place.muster(&["logs", "head-1"]).success();
    let recipe = place.muster(&["recipe", "show", "vault", "--json"]).success();
    for said in [&planned, &up, &again, &plan, &changed, &render, &status, &events, &logs, &recipe] {
        assert!(!said.stdout.contains(&key) && !said.stderr.contains(&key), "{said}");
    }
    // What a command prints of it is taken out.
    assert!(up.stdout.contains("<secret> hush") && logs.stdout.contains("<secret> quiet"), "{up}\n{logs}");
    // One more node: the others keep what they have, and `render` knows of it.
    let scaled = place.muster(&["scale", "guest=3", "--json"]).success();
    assert_eq!(scaled.json()["nodes"].as_array().unwrap().len(), 4, "{scaled}");
    let seen = place.muster(&["exec", "guest-3", "--", "cat", "/etc/vault/key"]).success().stdout;
    assert!(seen.contains(&key), "{seen}");
    assert!(place.muster(&["render", "--node", "guest-3"]).success().stdout.contains("<secret vault/key> quiet"));
    assert!(place.muster(&["render", "--show-secrets", "--node", "head-1"]).success().stdout.contains(&key));
    place.muster(&["down", "--yes"]).success();
    assert!(!place.state().join("clusters/vault").exists(), "the secret is gone with the cluster");
}
