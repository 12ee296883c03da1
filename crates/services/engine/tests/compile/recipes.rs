//! Recipes in full: what their parts become, and what is said of variables and recipes that are wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_doc::Diagnostic;
use muster_engine::compile::{Compiled, Hook, Members, RenderFault};
use muster_pki::{SecretForm, SecretShape, Secrets};
use muster_types::Redacted;

use super::common::{compile_beside, members, name, rendered, try_beside};
use super::relations::join;

pub(super) const QUEUE: &str = r#"
name: queue
vars:
  port: { type: number, default: 6817, min: 1, max: 65535, help: where the head listens }
  mode: { type: text, choices: [fast, safe], default: safe }
  home: { type: bool, default: false }
  prolog: { type: text, default: "" }
  lanes:
    type: list
    default: [{ name: all }]
    help: lanes of the queue
    items:
      type: mapping
      keys:
        name: { type: text, pattern: "[a-z]+", help: a short word }
        groups: { type: list, items: { type: group }, default: [] }
        depth: { type: number, default: 3, min: 1 }
secrets:
  key: { bytes: 16, as: hex, help: what nodes know each other by }
shared_folders:
  /home: { when: home }
  /srv/data:
packages: [common]
files:
  /etc/queue.conf: { template: queue.conf, mode: "0600" }
  /etc/prolog: { template: prolog, when: prolog }
reload:
  - { name: queue, files: [/etc/queue.conf, /etc/prolog], command: restart queue }
  - { name: prolog, files: [/etc/prolog], command: restart prolog }
hooks:
  drain: { on: head, command: "drain {{ node.name }} {{ vars.port }}", timeout: 1h }
roles:
  head:
    packages: ["head-{{ vars.mode }}"]
    secrets: { password: }
    files: { /etc/head: { template: head } }
    reload:
      - { name: queue, files: [/etc/queue.conf, /etc/head], command: restart all }
    hooks:
      resume: { command: "resume {{ node.name }}" }
  worker:
    needs: [head]
    vars: { port: { type: number, default: 1 } }
"#;
const CONF: &str = "port {{ vars.port }} key {{ secrets.key }}\n{% for lane in vars.lanes %}\n\
                    {{ lane.name }} {{ lane.groups | join('+') }} {{ lane.depth }}\n{% endfor %}\n";

pub(super) fn recipe() -> Vec<(&'static str, &'static str)> {
    vec![
        ("queue/recipe.yaml", QUEUE),
        ("queue/queue.conf", CONF),
        ("queue/prolog", "{{ vars.prolog }}\n"),
        ("queue/head", "{{ secrets.password }}\n"),
    ]
}

fn queue(text: &str) -> Compiled {
    compile_beside(&recipe(), text)
}

pub(super) const TWO: &str =
    "cluster: demo\ngroups:\n  top: { recipe: queue/head }\n  low: { recipe: queue/worker, count: 2 }\n";

#[test]
fn parts_become_a_cloud_config() {
    let mut compiled = queue(TWO);
    let password = "correct horse".to_owned();
    compiled.give_secrets(Secrets::from_iter([("queue/password".to_owned(), Redacted::new(password))]));
    let mut text = rendered(&compiled, "top-1").document;
    text += &rendered(&compiled, "low-2").document;
    insta::assert_snapshot!(text);
    let nodes = compiled.desired(&BTreeMap::new(), &BTreeMap::new());
    let packages: Vec<Vec<&str>> =
        nodes.iter().map(|node| node.packages.iter().map(String::as_str).collect()).collect();
    assert_eq!(packages, [&["common", "head-safe"][..], &["common"], &["common"]]);
    assert_eq!(nodes[1].needs.iter().map(muster_types::GroupName::as_str).collect::<Vec<_>>(), ["top"]);
    assert!(nodes[0].needs.is_empty());
    assert_eq!(nodes[0].shared_folders, BTreeSet::from(["/srv/data".into()]));
}

#[test]
fn variables_switch_files_reloads_and_folders() {
    let off = queue(TWO);
    let on = queue(&format!("vars: {{ home: true, prolog: \"echo hi\" }}\n{TWO}"));
    let document = rendered(&on, "low-1").document;
    assert!(document.contains("path: /etc/prolog\n") && document.contains("command: restart prolog\n"), "{document}");
    let document = rendered(&off, "low-1").document;
    assert!(!document.contains("prolog"), "{document}");
    let nodes = |compiled: &Compiled| compiled.desired(&BTreeMap::new(), &BTreeMap::new());
    assert_eq!(nodes(&on)[0].shared_folders, BTreeSet::from(["/home".into(), "/srv/data".into()]));
    assert_ne!(nodes(&on)[0].machine_hash, nodes(&off)[0].machine_hash);
    let more = queue(&format!("vars: {{ mode: fast }}\n{TWO}"));
    assert_eq!(nodes(&more)[0].machine_hash, nodes(&off)[0].machine_hash, "software is not what a machine is made of");
    assert_ne!(nodes(&more)[0].packages, nodes(&off)[0].packages);
}

#[test]
fn templates_see_complete_items() {
    let compiled = queue(&format!(
        "vars: {{ lanes: [{{ name: a, groups: [low, top] }}, {{ name: b, depth: 7 }}], port: 80 }}\n{TWO}"
    ));
    let document = rendered(&compiled, "top-1").document;
    let key = "0".repeat(32);
    assert!(document.contains(&format!("port 80 key {key}\n      a low+top 3\n      b  7\n")), "{document}");
}

#[test]
fn secrets_are_seen_by_their_recipe_alone_and_by_nobody_else() {
    let mut compiled = queue(&format!("{TWO}  other: {{ files: {{ /a: \"{{{{ secrets | length }}}}\" }} }}\n"));
    let wanted = compiled.wanted_secrets();
    assert_eq!(wanted.keys().collect::<Vec<_>>(), ["queue/key", "queue/password"]);
    assert_eq!(wanted["queue/key"], SecretShape { bytes: 16, form: SecretForm::Hex });
    assert_eq!(wanted["queue/password"], SecretShape { bytes: 32, form: SecretForm::Text });
    assert!(compiled.secrets().is_empty());
    let placeholder = rendered(&compiled, "top-1");
    let secrets = ["queue/key", "queue/password", "else/where"]
        .map(|name| (name.to_owned(), Redacted::new(format!("hush-{name}"))));
    compiled.give_secrets(Secrets::from_iter(secrets));
    let real = rendered(&compiled, "top-1");
    assert!(real.document.contains("key hush-queue/key\n") && real.document.contains("hush-queue/password"));
    assert_ne!(real.hash, placeholder.hash);
    let other = rendered(&compiled, "other-1").document;
    assert!(other.contains("content: 0\n"), "{other}");
    assert_eq!(compiled.secrets().len(), 2);
    assert!(!format!("{compiled:?}").contains("hush"));
}

#[test]
fn a_message_about_a_value_does_not_show_a_secret() {
    let recipe = "name: leak\nsecrets: { key: }\ncloud_init:\n  timezone: \"{% if secrets.key[0] != 'x' %}\
                  {{ fail('bad: ' ~ secrets.key) }}{% endif %}UTC\"\n";
    let mut compiled =
        compile_beside(&[("leak/recipe.yaml", recipe)], "cluster: demo\ngroups: { web: { recipe: leak } }\n");
    compiled.give_secrets(Secrets::from_iter([("leak/key".to_owned(), Redacted::new("hush".to_owned()))]));
    let Err(RenderFault::Bad(found)) = compiled.render(&name("web-1"), &members(&compiled)) else {
        panic!("it refuses")
    };
    let text = format!("{found:?}");
    assert!(text.contains("<secret>") && !text.contains("hush"), "{text}");
}

#[test]
fn what_stands_in_lists_of_processes_sees_no_secret() {
    for part in
        ["health: { command: \"test {{ secrets.key }}\" }", "hooks: { drain: { command: \"{{ secrets.key }}\" } }"]
    {
        let recipe = format!("name: open\nsecrets: {{ key: }}\n{part}\n");
        let found = said(&[("open/recipe.yaml", &recipe)], "cluster: demo\ngroups: { web: { recipe: open } }\n");
        assert_eq!(found.iter().map(|found| found.code).collect::<Vec<_>>(), ["M0402"], "{found:?}");
    }
}

#[test]
fn variables_of_the_file_that_no_recipe_knows_are_told() {
    let vars = "vars: { prt: 1, mode: fast }\n";
    let warnings = queue(&format!("{vars}{TWO}")).warnings;
    assert_eq!(warnings.iter().map(|found| found.code).collect::<Vec<_>>(), ["M0503"], "{warnings:?}");
    assert_eq!(warnings[0].hint, "did you mean `port`?");
    // Templates of the file itself may look at it.
    assert_eq!(queue(&format!("{vars}{TWO}  own: {{ files: {{ /a: \"{{{{ vars.prt }}}}\" }} }}\n")).warnings, []);
}

#[test]
fn hooks_are_rendered_for_one_node() {
    let compiled = queue(TWO);
    let mut members = members(&compiled);
    let hook = |on: &[&str], command: &str, minutes| Hook {
        on: on.iter().map(|node| name(node)).collect(),
        command: command.to_owned(),
        timeout: Duration::from_mins(minutes),
    };
    let hooks = compiled.hooks(&name("low-2"), &members).unwrap();
    assert_eq!((hooks.drain, hooks.resume), (Some(hook(&[], "drain low-2 1", 60)), None));
    join(&mut members, "top-1", 1);
    let hooks = compiled.hooks(&name("top-1"), &members).unwrap();
    assert_eq!(hooks.drain, Some(hook(&["top-1"], "drain top-1 6817", 60)));
    assert_eq!(hooks.resume, Some(hook(&["top-1"], "resume top-1", 10)));
    // One that is not desired any more, and one that never was of this file.
    let hooks = compiled.hooks(&name("low-9"), &members).unwrap();
    assert_eq!(hooks.drain, Some(hook(&["top-1"], "drain low-9 1", 60)));
    assert_eq!(compiled.hooks(&name("alien-1"), &members).unwrap(), muster_engine::compile::Hooks::default());
    assert!(matches!(compiled.hooks(&name("low-1"), &Members::default()), Ok(hooks) if hooks.drain.is_some()));
}

#[test]
fn a_hook_that_speaks_of_an_address_waits_for_it() {
    let recipe = "name: one\nhooks: { drain: { command: \"bye {{ node.address }}\" } }\n";
    let compiled = compile_beside(&[("one/recipe.yaml", recipe)], "cluster: demo\ngroups: { web: { recipe: one } }\n");
    let Err(RenderFault::Waiting(missing)) = compiled.hooks(&name("web-7"), &members(&compiled)) else {
        panic!("it must wait")
    };
    assert_eq!(missing, BTreeSet::from([name("web-7")]));
    assert_eq!(compiled.hooks(&name("web-1"), &members(&compiled)).unwrap().drain.unwrap().command, "bye 10.0.0.1");
}

fn said(recipes: &[(&str, &str)], text: &str) -> Vec<Diagnostic> {
    match try_beside(recipes, text) {
        Ok(_) => panic!("it was taken:\n{text}"),
        Err(rejected) => {
            for found in &rejected.diagnostics {
                let span = found.span.expect("a place");
                assert!(rejected.sources.text(span.source).get(span.start..span.end).is_some(), "{found:?}");
            }
            rejected.diagnostics
        }
    }
}

#[test]
fn variables_of_one_host_are_looked_at_too() {
    let text = "cluster: demo\ngroups:\n  top: { recipe: queue/head }\n  low:\n    recipe: queue/worker\n    hosts: [{ address: 10.0.0.1, vars: { port: high } }]\n";
    let found = said(&recipe(), text);
    assert!(found.iter().any(|found| found.code == "M0504" && found.message.contains("`port`")), "{found:?}");
}

#[test]
fn a_role_that_is_needed_must_be_there_and_not_wait_in_turn() {
    let found = said(&recipe(), "cluster: demo\ngroups: { low: { recipe: queue/worker } }\n");
    assert_eq!(found.iter().map(|found| found.code).collect::<Vec<_>>(), ["M0513"], "{found:?}");
    assert!(found[0].hint.contains("head: { recipe: queue/head }"));
    let circle =
        "cluster: demo\ngroups:\n  top: { recipe: queue/head, needs: [low] }\n  low: { recipe: queue/worker }\n";
    let found = said(&recipe(), circle);
    assert!(found.iter().any(|found| found.code == "M0303"), "{found:?}");
    // A need that the file gives as well is one need, without a word about it.
    let both =
        queue("cluster: demo\ngroups:\n  top: { recipe: queue/head }\n  low: { recipe: queue/worker, needs: [top] }\n");
    assert_eq!(both.warnings, []);
    assert_eq!(both.desired(&BTreeMap::new(), &BTreeMap::new())[1].needs.len(), 1);
}

#[test]
fn a_recipe_beside_the_file_wins() {
    let recipe = "name: hello\nfiles: { /etc/mine: { template: a } }\n";
    let compiled = compile_beside(
        &[("hello/recipe.yaml", recipe), ("hello/a", "mine\n")],
        "cluster: demo\ngroups: { web: { recipe: hello } }\n",
    );
    let document = rendered(&compiled, "web-1").document;
    assert!(document.contains("/etc/mine") && !document.contains("/etc/hello"), "{document}");
}
