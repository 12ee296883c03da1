//! What templates say of other nodes: as far as they have joined, or once all have their addresses.

use std::collections::BTreeMap;

use muster_api::NodeFacts;
use muster_engine::compile::{Compiled, Members, RenderFault};
use muster_types::{GroupName, NodeName};

use super::common::{compile_beside, compiled, members, name, refused};

const PAIR: &str =
    "name: pair\nroles:\n  head:\n    files: { /etc/list: { template: list.j2 } }\n  worker: {}\n  spare: {}\n";
const LIST: &str = "{% for n in role_members('worker') %}\n{{ n.name }} {{ n.address }} {{ n.facts.cpus }} \
                    {{ n.facts.memory_mb }} {{ n.facts.memory_bytes }} {{ n.facts.architecture }}\n{% endfor %}\n\
                    {{ role_nodes('head') | length }} {{ role_members('spare') | length }}\n";
const CLUSTER: &str = "cluster: demo\ngroups:\n  top: { recipe: pair/head }\n  small: { recipe: pair/worker, count: 2, \
                       needs: [top] }\n  large: { recipe: pair/worker, needs: [top] }\n  other: { files: { /a: b } }\n";

fn pair() -> Compiled {
    compile_beside(&[("pair/recipe.yaml", PAIR), ("pair/list.j2", LIST)], CLUSTER)
}

pub(super) fn join(members: &mut Members, node: &str, cpus: u32) {
    let facts = NodeFacts { cpus, memory_bytes: 3 << 30, architecture: "x86_64".to_owned(), ..NodeFacts::default() };
    members.0.get_mut(&name(node)).expect("a node").facts = Some(facts);
}

fn names<'a>(nodes: impl IntoIterator<Item = &'a NodeName>) -> Vec<&'a str> {
    nodes.into_iter().map(NodeName::as_str).collect()
}

#[test]
fn members_are_the_nodes_that_have_joined() {
    let compiled = pair();
    let mut members = members(&compiled);
    let none = compiled.render(&name("top-1"), &members).unwrap();
    assert!(none.follows && none.document.contains("content: |\n      1 0\n"), "{}", none.document);
    assert_eq!(names(&none.left_out), ["large-1", "small-1", "small-2"]);
    join(&mut members, "small-2", 4);
    join(&mut members, "large-1", 64);
    // Facts without an address: the machine was moved.
    join(&mut members, "small-1", 1);
    members.0.get_mut(&name("small-1")).unwrap().addresses.clear();
    let some = compiled.render(&name("top-1"), &members).unwrap();
    assert_eq!(names(&some.left_out), ["small-1"]);
    let expected =
        "small-2 10.0.0.3 4 3072 3221225472 x86_64\n      large-1 10.0.0.4 64 3072 3221225472 x86_64\n      1 0\n";
    assert!(some.document.contains(expected), "{}", some.document);
    assert_ne!(none.hash, some.hash);
    let other = compiled.render(&name("other-1"), &members).unwrap();
    assert!(!other.follows && other.left_out.is_empty());
}

#[test]
fn facts_of_a_node_are_waited_for_where_it_is_asked_for_by_name() {
    let compiled = compiled(
        "cluster: demo\ngroups:\n  db: {}\n  web: { files: { /a: \"{{ groups.db.nodes[0].facts.cpus }} {{ node.facts.cpus }}\" } }\n",
    );
    let mut members = members(&compiled);
    join(&mut members, "web-1", 8);
    let Err(RenderFault::Waiting(missing)) = compiled.render(&name("web-1"), &members) else { panic!("it must wait") };
    assert_eq!(names(&missing), ["db-1"]);
    join(&mut members, "db-1", 2);
    assert!(compiled.render(&name("web-1"), &members).unwrap().document.contains("content: \"2 8\"\n"));
}

#[test]
fn members_of_a_group_and_no_circle_by_them() {
    // By addresses this would be a circle: the head is ready before a worker is made.
    let compiled = compiled(
        "cluster: demo\ngroups:\n  head: { files: { /a: \"{{ members('web') | map(attribute='address') | join(',') }} \
         {{ members(groups.web) | length }}\" } }\n  web: { needs: [head], count: 2 }\n",
    );
    let mut members = members(&compiled);
    join(&mut members, "web-1", 1);
    join(&mut members, "web-2", 1);
    assert!(
        compiled.render(&name("head-1"), &members).unwrap().document.contains("content: \"10.0.0.2,10.0.0.3 2\"\n")
    );
}

#[test]
fn mistakes_in_relations_have_a_place_and_a_hint() {
    for (template, code, hint) in [
        ("{{ members('webs') }}", "M0403", "did you mean `web`?"),
        ("{{ members(3) }}", "M0403", "quotes"),
        ("{{ role_members('head') }}", "M0403", "`members`"),
        ("{% if not members('web') %}{{ fail('nobody there; start somebody') }}{% endif %}", "M0406", "start somebody"),
        ("{{ fail('just no') }}", "M0406", "change what"),
        ("{{ secrets.key }}", "M0402", ""),
        // Nobody has joined yet when the first node is configured.
        ("{{ members('web')[0].name }}", "M0402", ""),
    ] {
        let found = refused(&format!("cluster: demo\ngroups: {{ web: {{ files: {{ /a: \"{template}\" }} }} }}\n"));
        assert_eq!(found.iter().map(|found| found.code).collect::<Vec<_>>(), [code], "{template}: {found:?}");
        assert!(found[0].hint.contains(hint) && found[0].span.is_some(), "{template}: {found:?}");
    }
}

#[test]
fn software_is_known_before_anything_is_made() {
    let compiled = compiled(
        "cluster: demo\ngroups:\n  web:\n    count: 2\n    cloud_init: { packages: [nginx, [curl, \"8.1\"], \"tool-{{ node.index }}\"] }\n  bare: {}\n",
    );
    let nodes = compiled.desired(&BTreeMap::new(), &BTreeMap::new());
    let packages: Vec<Vec<&str>> =
        nodes.iter().map(|node| node.packages.iter().map(String::as_str).collect()).collect();
    let web = ["curl=8.1", "nginx", "tool-1", "tool-2"];
    assert_eq!(packages, [&web[..], &web[..], &[]]);
}

#[test]
fn a_group_is_scaled_inside_its_range() {
    let compiled = compiled("cluster: demo\ngroups:\n  web: { count: 2..4 }\n  db: {}\n");
    let web = GroupName::new("web").unwrap();
    let existing = BTreeMap::from([(web.clone(), ["web-1", "web-2", "web-3"].into_iter().map(name).collect())]);
    for (scaled, expected) in [(3, 3), (4, 4), (2, 2), (1, 2), (9, 4)] {
        let scaled = BTreeMap::from([(web.clone(), scaled), (GroupName::new("db").unwrap(), 7)]);
        let nodes = compiled.desired(&existing, &scaled);
        let expected: Vec<String> =
            (1..=expected).map(|index| format!("web-{index}")).chain(["db-1".to_owned()]).collect();
        assert_eq!(nodes.iter().map(|node| node.name.to_string()).collect::<Vec<_>>(), expected);
    }
    assert_eq!(compiled.desired(&existing, &BTreeMap::new()).len(), 4);
}
