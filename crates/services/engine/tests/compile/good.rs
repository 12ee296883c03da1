//! Files that are carried out: which nodes, which documents, which checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use muster_api::CheckKind;
use muster_engine::compile::{Member, Members, RenderFault};
use muster_types::{GroupName, NodeName};

use super::common::{compile_in, compiled, members, name, rendered};

fn example(file: &str) -> muster_engine::compile::Compiled {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples");
    let text = fs_err::read(folder.join(file)).expect("the example can be read");
    match compile_in(&folder, file, &text, None, &["local"]) {
        Ok(compiled) => compiled,
        Err(rejected) => panic!("{}", muster_doc::report(&rejected.diagnostics, &rejected.sources, false, 100)),
    }
}

/// Everything that is given to the nodes of a file, and to be read as cloud-config without a complaint.
fn everything(compiled: &muster_engine::compile::Compiled) -> String {
    let mut text = String::new();
    for node in compiled.desired(&BTreeMap::new(), &BTreeMap::new()) {
        let rendered = rendered(compiled, node.name.as_str());
        let document = muster_cloudinit::parse_document(&rendered.document).expect("it is cloud-config");
        assert_eq!(document.warnings, Vec::new(), "{}", rendered.document);
        text.extend([format!("=== {} on {} {:?} {:?}\n", node.name, node.provider, node.image, node.size)]);
        text += &rendered.document;
        for check in &rendered.checks {
            text.extend([format!("--- {:?} within {} ms\n", check.kind, check.timeout_ms)]);
        }
    }
    text
}

#[test]
fn the_quickstart() {
    let compiled = example("quickstart.yaml");
    assert_eq!(compiled.warnings, Vec::new());
    insta::assert_snapshot!(everything(&compiled));
}

#[test]
fn limits_files_and_late_addresses() {
    insta::assert_snapshot!(everything(&example("limits.yaml")));
}

#[test]
fn rendering_waits_for_the_addresses_that_templates_use_and_for_no_others() {
    let compiled = compiled(
        "cluster: demo\ngroups:\n  db: { count: 2 }\n  quiet:\n  web:\n    count: 2\n    files:\n      \
         /etc/db: \"{{ getip('db') }} {{ groups.db.nodes[1].address }} {{ node.address }}\"\n",
    );
    let mut members = members(&compiled);
    for member in members.0.values_mut() {
        member.addresses.clear();
    }
    let Err(RenderFault::Waiting(missing)) = compiled.render(&name("web-2"), &members) else { panic!("it must wait") };
    assert_eq!(missing.iter().map(NodeName::as_str).collect::<Vec<_>>(), ["db-1", "db-2", "web-2"]);
    assert!(compiled.render(&name("quiet-1"), &members).is_ok());
    for (index, node) in ["db-1", "db-2", "web-2"].into_iter().enumerate() {
        let last = u8::try_from(index + 1).unwrap();
        members.0.get_mut(&name(node)).unwrap().addresses = vec![[10, 0, 0, last].into()];
    }
    let rendered = compiled.render(&name("web-2"), &members).unwrap();
    assert!(rendered.document.contains("content: \"10.0.0.1 10.0.0.2 10.0.0.3\"\n"), "{}", rendered.document);
}

#[test]
fn rendering_is_repeatable_and_follows_its_input() {
    let compiled = example("quickstart.yaml");
    let mut members = members(&compiled);
    let first = compiled.render(&name("web-1"), &members).unwrap();
    assert_eq!(first, compiled.render(&name("web-1"), &members).unwrap());
    assert_eq!(first, example("quickstart.yaml").render(&name("web-1"), &members).unwrap());
    assert_eq!(first.hash.len(), 64);
    members.0.remove(&name("web-3"));
    let without = compiled.render(&name("web-1"), &members).unwrap();
    assert_ne!(first.hash, without.hash);
    assert!(!without.document.contains("web-3"));
}

#[test]
fn nodes_are_listed_as_people_count() {
    let compiled = compiled(
        "cluster: demo\ngroups:\n  web:\n    count: 11\n    files:\n      \
         /etc/names: \"{% for peer in group.nodes %}{{ peer.name }} {% endfor %}\"\n",
    );
    let document = rendered(&compiled, "web-1").document;
    assert!(document.contains("web-1 web-2 web-3 web-4 web-5 web-6 web-7 web-8 web-9 web-10 web-11 "), "{document}");
}

fn desired(text: &str, existing: &[&str]) -> Vec<String> {
    let names: BTreeSet<NodeName> = existing.iter().map(|node| name(node)).collect();
    let existing = BTreeMap::from([(GroupName::new("web").expect("a name"), names)]);
    compiled(text).desired(&existing, &BTreeMap::new()).iter().map(|node| node.name.to_string()).collect()
}

#[test]
fn a_range_keeps_what_is_there() {
    let range = "cluster: demo\ngroups:\n  web: { count: 2..4 }\n";
    assert_eq!(desired(range, &[]), ["web-1", "web-2"]);
    assert_eq!(desired(range, &["web-1"]), ["web-1", "web-2"]);
    assert_eq!(desired(range, &["web-1", "web-2", "web-3"]), ["web-1", "web-2", "web-3"]);
    assert_eq!(desired(range, &["web-2", "web-7"]), ["web-2", "web-7"]);
    assert_eq!(desired(range, &["web-1", "web-2", "web-3", "web-8", "web-9"]), ["web-1", "web-2", "web-3", "web-8"]);
    // Names that this group cannot have given do not count.
    assert_eq!(desired(range, &["web-01", "db-1", "web-0", "web"]), ["web-1", "web-2"]);
    let fixed = "cluster: demo\ngroups:\n  web: { count: 2 }\n";
    assert_eq!(desired(fixed, &["web-1", "web-2", "web-3"]), ["web-1", "web-2"]);
    assert_eq!(desired(fixed, &["web-3"]), ["web-1", "web-3"]);
}

fn machine(text: &str) -> String {
    compiled(text).desired(&BTreeMap::new(), &BTreeMap::new())[0].machine_hash.clone()
}

#[test]
fn the_machine_hash_is_over_the_machine_alone() {
    let base = machine("cluster: demo\ngroups:\n  web: { image: host, size: { memory: 64M } }\n");
    for same in [
        "cluster: demo\ngroups:\n  web:\n    size: { memory: 65536K }\n    image: host\n    vars: { a: 1 }\n",
        "cluster: other\nprovider: local\ngroups:\n  db: { count: 3, image: \"host\", size: { memory: 64M } }\n",
        "cluster: demo\ngroups:\n  web: { image: host, size: { memory: 64M }, files: { /etc/a: b }, recipe: hello }\n",
    ] {
        assert_eq!(base, machine(same), "{same}");
    }
    for other in [
        "cluster: demo\ngroups:\n  web: { image: host, size: { memory: 65M } }\n",
        "cluster: demo\ngroups:\n  web: { image: debian, size: { memory: 64M } }\n",
        "cluster: demo\ngroups:\n  web: { image: host, size: { memory: 64M, cpus: 1 } }\n",
        "cluster: demo\ngroups:\n  web: { image: host, size: { memory: 64M }, local: { subnet: 10.0.0.0/8 } }\n",
        "cluster: demo\nlocal: { subnet: 10.0.0.0/8 }\ngroups:\n  web: { image: host, size: { memory: 64M } }\n",
    ] {
        assert_ne!(base, machine(other), "{other}");
    }
}

#[test]
fn one_whole_expression_keeps_its_type() {
    let compiled = compiled(
        "cluster: demo\nvars: { packages: [curl, jq], port: 8080, on: true, memory: 64M, nodes: 2 }\ngroups:\n  web:\n    \
         count: \"{{ vars.nodes }}\"\n    size: { memory: \"{{ vars.memory }}\" }\n    cloud_init:\n      \
         packages: \"{{ vars.packages }}\"\n      package_update: \"{{ vars.on }}\"\n      final_message: \"at {{ vars.port }}\"\n    \
         health: { ports: [\"{{ vars.port }}\"] }\n",
    );
    assert_eq!(compiled.desired(&BTreeMap::new(), &BTreeMap::new()).len(), 2);
    let rendered = rendered(&compiled, "web-1");
    let expected = "#cloud-config\nhostname: web-1\npackages:\n  - curl\n  - jq\npackage_update: true\n\
                    final_message: at 8080\n";
    assert_eq!(rendered.document, expected);
    let kinds: Vec<&CheckKind> = rendered.checks.iter().map(|check| &check.kind).collect();
    assert_eq!(kinds, [&CheckKind::Agent, &CheckKind::Port { port: 8080 }]);
}

#[test]
fn anchors_and_variables_are_merged() {
    let compiled = compiled(
        "cluster: demo\nvars: { db: { port: 1, user: app }, list: [1, 2] }\ngroups:\n  db: &like\n    image: host\n    \
         vars: { db: { port: 2 }, list: [3] }\n    files: { /a: \"{{ vars.db.port }} {{ vars.db.user }} {{ vars.list }}\" }\n  \
         web:\n    <<: *like\n    vars: { db: { user: www } }\n",
    );
    assert!(rendered(&compiled, "db-1").document.contains("content: \"2 app [3]\"\n"));
    assert!(rendered(&compiled, "web-1").document.contains("content: \"1 www [1, 2]\"\n"));
    assert!(
        compiled.desired(&BTreeMap::new(), &BTreeMap::new()).iter().all(|node| node.image.as_deref() == Some("host"))
    );
}

#[test]
fn files_are_copied_or_rendered() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("raw"), "keep {{ this }}\n").unwrap();
    fs_err::write(folder.path().join("binary"), [0u8, 159, 146, 150]).unwrap();
    fs_err::write(folder.path().join("conf"), "name = {{ node.name }}\n").unwrap();
    fs_err::write(folder.path().join("web.yaml"), "#cloud-config\nruncmd:\n  - echo {{ node.index }}\n").unwrap();
    let text = "cluster: demo\ngroups:\n  web:\n    cloud_init: web.yaml\n    files:\n      /a: { source: raw }\n      \
                /b: { source: binary, mode: 0600, owner: root }\n      /c: { template: conf }\n      \
                /{{ node.name }}: plain\n";
    let compiled = compile_in(folder.path(), "c.yaml", text.as_bytes(), None, &["local"]).unwrap();
    let expected = "#cloud-config\nhostname: web-1\nwrite_files:\n  - path: /a\n    content: a2VlcCB7eyB0aGlzIH19Cg==\n    \
                    encoding: b64\n  - path: /b\n    content: AJ+Slg==\n    encoding: b64\n    permissions: \"0600\"\n    \
                    owner: root\n  - path: /c\n    content: |\n      name = web-1\n  - path: /web-1\n    content: plain\n\
                    runcmd:\n  - echo 1\n";
    assert_eq!(rendered(&compiled, "web-1").document, expected);
}

/// A recipe of two roles beside the cluster file.
fn recipe(folder: &Path) {
    let recipe = folder.join("recipes/pair");
    fs_err::create_dir_all(recipe.join("files")).expect("a folder can be made");
    let write = |file: &str, text: &str| fs_err::write(recipe.join(file), text).expect("a file can be written");
    let text = "name: pair\ndescription: Two roles.\nvars:\n  port: { type: number, default: 7000, help: where the head listens }\n\
                packages: [base]\nfiles:\n  /etc/pair: { template: files/pair.j2 }\n  /etc/raw: { source: files/raw }\n\
                health: { command: common }\nroles:\n  head:\n    ports: [7000]\n    packages: [head]\n    \
                health: { ports: [\"{{ vars.port }}\"] }\n  worker:\n    vars:\n      token: { type: text, help: what the head expects }\n    \
                cloud_init:\n      runcmd: [\"join {{ getip('head') }}:{{ vars.port }} {{ vars.token }}\"]\n";
    write("recipe.yaml", text);
    write("files/pair.j2", "{{ group.name }} {{ vars.port }}\n");
    write("files/raw", "{{ raw }}\n");
    write("README.md", "For people.\n");
}

#[test]
fn a_recipe_beside_the_file_with_roles() {
    let folder = tempfile::tempdir().unwrap();
    recipe(folder.path());
    let text = "cluster: demo\nvars: { port: 7001 }\ngroups:\n  head: { recipe: pair/head, health: { ping: true } }\n  worker:\n    \
                recipe: pair/worker\n    vars: { token: t0 }\n    files: { /etc/pair: mine }\n    \
                cloud_init: { runcmd: [after], packages: [more] }\n";
    let compiled = compile_in(folder.path(), "c.yaml", text.as_bytes(), None, &["local"]).unwrap();
    insta::assert_snapshot!(everything(&compiled));
}

#[test]
fn a_recipe_says_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    recipe(folder.path());
    let codes = |group: &str| {
        let text = format!("cluster: demo\ngroups:\n  head: {{ recipe: pair/head }}\n  web: {group}\n");
        let rejected = compile_in(folder.path(), "c.yaml", text.as_bytes(), None, &["local"]).unwrap_err();
        rejected.diagnostics.iter().map(|found| (found.code, found.hint.clone())).collect::<Vec<_>>()
    };
    let (code, hint) = codes("{ recipe: pair }").remove(0);
    assert_eq!((code, hint.as_str()), ("M0502", "write one of `pair/head`, `pair/worker`"));
    let (code, hint) = codes("{ recipe: pair/worker }").remove(0);
    assert_eq!((code, hint.as_str()), ("M0505", "set `token` under the group's `vars` (what the head expects)"));
    let (code, hint) = codes("{ recipe: pair/wroker }").remove(0);
    assert_eq!((code, hint.as_str()), ("M0502", "did you mean `worker`?"));
    // What a recipe's own file says wrongly is shown in that file.
    fs_err::write(folder.path().join("recipes/pair/files/pair.j2"), "one\n{{ vars.prot }}\n").unwrap();
    let text = "cluster: demo\ngroups:\n  head: { recipe: pair/head }\n";
    let rejected = compile_in(folder.path(), "c.yaml", text.as_bytes(), None, &["local"]).unwrap_err();
    let found = &rejected.diagnostics[0];
    let place = found.span.unwrap();
    assert_eq!(rejected.sources.name(place.source), "recipes/pair/files/pair.j2");
    assert_eq!((rejected.sources.line_column(place), found.code), ((2, 4), "M0402"));
    assert_eq!(found.hint, "did you mean `vars.port`?");
}

const VARIANTS: &str = "cluster: demo\ngroups:\n  web:\n    image: base\n    filter: { class: a }\n    variants:\n      \
     - { provider: cloud, image: ami-1, class: a }\n      \
     - { provider: local, cloud: { class: b } }\n      \
     - { provider: local, image: host, size: small, cloud_init: { runcmd: [local] }, local: { class: a } }\n";

#[test]
fn variants_are_chosen_by_filter_and_provider() {
    // `class` is no key of a variant itself, so only what stands in a provider's block is known there.
    let text = VARIANTS.replace(", class: a }", ", cloud: { class: a } }");
    let choose = |provider: Option<&str>, known: &[&'static str]| {
        let compiled = compile_in(Path::new("/"), "c.yaml", text.as_bytes(), provider, known).unwrap_err();
        compiled.diagnostics.iter().map(|found| found.message.clone()).collect::<Vec<_>>()
    };
    // The test's own provider does not know the key `class`; that it is asked at all shows which variant was taken.
    assert_eq!(choose(None, &["local", "cloud"]), ["the provider's block has no key `class`"]);
    let text = text.replace("class", "subnet").replace("cloud: { subnet: b }", "cloud: { subnet: c }");
    let take = |provider: Option<&str>, known: &[&'static str]| {
        let compiled = compile_in(Path::new("/"), "c.yaml", text.as_bytes(), provider, known).unwrap();
        let node = compiled.desired(&BTreeMap::new(), &BTreeMap::new()).remove(0);
        (node.provider, node.image.unwrap_or_default(), node.size.name)
    };
    assert_eq!(take(None, &["local", "cloud"]), ("cloud".into(), "ami-1".into(), None));
    assert_eq!(take(Some("local"), &["local", "cloud"]), ("local".into(), "host".into(), Some("small".into())));
}

#[test]
fn providers_are_taken_in_order_of_preference() {
    let text = "cluster: demo\nprovider: [moon, cloud, local]\ngroups:\n  web:\n  db: { provider: local }\n";
    let compiled = compile_in(Path::new("/"), "c.yaml", text.as_bytes(), None, &["local", "cloud"]).unwrap();
    let providers: Vec<String> =
        compiled.desired(&BTreeMap::new(), &BTreeMap::new()).into_iter().map(|node| node.provider).collect();
    assert_eq!(providers, ["cloud", "local"]);
    assert_eq!(compiled.warnings.iter().map(|found| found.code).collect::<Vec<_>>(), ["M0307"]);
    let all = compile_in(Path::new("/"), "c.yaml", text.as_bytes(), Some("cloud"), &["local", "cloud"]).unwrap();
    assert!(all.desired(&BTreeMap::new(), &BTreeMap::new()).iter().all(|node| node.provider == "cloud"));
    let rejected = compile_in(Path::new("/"), "c.yaml", text.as_bytes(), Some("loca"), &["local"]).unwrap_err();
    assert!(rejected.diagnostics.iter().any(|found| found.hint == "did you mean `local`?"));
}

#[test]
fn machines_that_exist_are_handed_to_their_provider() {
    let text = "cluster: demo\ngroups:\n  web:\n    vars: { rack: a, slot: 0 }\n    hosts:\n      \
                - { address: 10.0.0.7, user: ops, port: 2222, vars: { slot: 4 } }\n      - root@cn8\n    \
                files: { /etc/slot: \"{{ vars.rack }}{{ vars.slot }}\" }\n";
    let compiled = compile_in(Path::new("/"), "c.yaml", text.as_bytes(), None, &["ssh"]).unwrap();
    let nodes = compiled.desired(&BTreeMap::new(), &BTreeMap::new());
    let settings: Vec<String> = nodes.iter().map(|node| muster_doc::emit(node.settings.as_ref().unwrap())).collect();
    assert_eq!(settings[0], "host:\n  address: \"10.0.0.7\"\n  user: ops\n  port: 2222\n");
    assert_eq!(settings[1], "host:\n  address: cn8\n  user: root\n");
    assert_ne!(nodes[0].machine_hash, nodes[1].machine_hash);
    assert!(rendered(&compiled, "web-1").document.contains("content: a4\n"));
    assert!(rendered(&compiled, "web-2").document.contains("content: a0\n"));
}

#[test]
fn functions_look_up_nodes() {
    let compiled = compiled(
        "cluster: demo\ngroups:\n  db: { count: 2 }\n  web:\n    files:\n      \
         /a: \"{{ getip('db') }} {{ getip(groups.db) }} {{ getip('db-2') }} {{ getip(nodes[1]) }}\"\n      \
         /b: \"{{ getprivip('db') }} {{ getprivip('web') }}\"\n      /c: \"all {{ getipall('db') }} {{ cut('abcdef', 1, 3) }}\"\n      \
         /d: \"{{ 'hi' | b64encode }} {{ group.ports }} {{ groups.db.count }}\"\n    ports: [80, 443]\n",
    );
    let mut members = members(&compiled);
    members.0.insert(
        name("db-1"),
        Member {
            group: GroupName::new("db").unwrap(),
            addresses: vec![[1, 2, 3, 4].into(), [10, 0, 0, 9].into()],
            facts: None,
        },
    );
    let document = compiled.render(&name("web-1"), &members).unwrap().document;
    for expected in [
        "content: 1.2.3.4 1.2.3.4 10.0.0.2 10.0.0.2\n".to_owned(),
        "content: 10.0.0.9 10.0.0.3\n".to_owned(),
        "content: all ['1.2.3.4', '10.0.0.2'] bc\n".to_owned(),
        "content: aGk= [80, 443] 2\n".to_owned(),
    ] {
        assert!(document.replace('"', "").contains(&expected), "{expected}\n{document}");
    }
}

#[test]
fn a_host_name_that_is_given_stays() {
    let compiled = compiled("cluster: demo\ngroups:\n  web: { cloud_init: { hostname: www } }\n");
    assert_eq!(rendered(&compiled, "web-1").document, "#cloud-config\nhostname: www\n");
    let empty = Members::default();
    assert!(matches!(compiled.render(&name("web-1"), &empty), Err(RenderFault::Bad(_))));
}
