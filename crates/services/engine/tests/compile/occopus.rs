//! Infrastructure descriptions of Occopus: whole sets of files as its users have them, and what is particular to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use muster_doc::Diagnostic;
use muster_engine::compile::{
    Compiled, NodeDefinitions, Occopus, Options, Rejected, RenderFault, Source, compile, infra_id, node_id,
};
use muster_provider::Factory;
use muster_types::ClusterName;

use super::common::{Named, compile_in, members, name, rendered};

fn source(path: &Path) -> Source {
    let folder = path.parent().expect("a folder").to_owned();
    Source { path: path.display().to_string(), text: fs_err::read(path).expect("a file"), folder }
}

fn taken(result: Result<Compiled, Rejected>) -> Compiled {
    result.unwrap_or_else(|rejected| {
        panic!("{}", muster_doc::report(&rejected.diagnostics, &rejected.sources, false, 100))
    })
}

fn compile_for(source: Source, provider: Option<&str>, occopus: Occopus<'_>) -> Result<Compiled, Rejected> {
    let factories: [Arc<dyn Factory>; 1] = [Arc::new(Named("local"))];
    compile(source, &Options { provider, image: None, agent: None, factories: &factories, occopus })
}

/// A text with these node definitions, on `local`.
fn small(infrastructure: &str, definitions: &str) -> Result<Compiled, Rejected> {
    let file = |path: &str, text: &str| Source { path: path.into(), text: text.into(), folder: PathBuf::new() };
    let definitions = [file("definitions.yaml", definitions)];
    let occopus = Occopus { definitions: NodeDefinitions::Given(&definitions), ..Occopus::default() };
    compile_for(file("infra.yaml", infrastructure), Some("local"), occopus)
}

fn messages(found: &[Diagnostic]) -> String {
    found.iter().fold(String::new(), |text, found| text + found.code + " " + &found.message + "\n")
}

fn sets() -> Vec<PathBuf> {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/occopus/tests/files");
    let folders = fs_err::read_dir(files).expect("the sets").map(|entry| entry.expect("a set").path());
    let infra = |folder: PathBuf| {
        let mut files = fs_err::read_dir(folder).expect("a set").map(|file| file.expect("a file").path());
        files.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("infra-")))
    };
    let mut sets: Vec<PathBuf> = folders.filter_map(infra).collect();
    sets.sort();
    sets
}

/// Names, scaling, order and checks of every set, as one table.
#[test]
fn the_sets_of_occopus_become_clusters() {
    let mut told = String::new();
    for path in sets() {
        let compiled = taken(compile_for(source(&path), Some("local"), Occopus::default()));
        let warnings = compiled.warnings.len();
        writeln!(told, "{} ({warnings} warnings)", compiled.spec.name.value).unwrap();
        for group in &compiled.spec.groups {
            let needs: Vec<&str> = group.needs.iter().map(|need| need.value.as_str()).collect();
            let bounds = group.population.bounds();
            let first = rendered(&compiled, &format!("{}-1", group.name));
            let outside = first.outside.expect("probes");
            writeln!(
                told,
                "  {} {}..{} needs {needs:?}; ping {}, ports {:?}, urls {:?}, {} s; {} agent checks",
                group.name,
                bounds.min,
                bounds.max,
                outside.ping,
                outside.ports,
                outside.urls,
                outside.timeout.as_secs(),
                first.checks.len()
            )
            .unwrap();
        }
        let nodes = compiled.desired(&BTreeMap::new(), &BTreeMap::new());
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        writeln!(told, "  nodes {}", names.join(" ")).unwrap();
    }
    insta::assert_snapshot!(told);
}

/// What a node is given is what its user would have seen under Occopus; the agent's document says the same.
#[test]
fn user_data_is_occopus_own() {
    for path in sets() {
        let compiled = taken(compile_for(source(&path), Some("local"), Occopus::default()));
        for node in compiled.desired(&BTreeMap::new(), &BTreeMap::new()) {
            let rendered = rendered(&compiled, node.name.as_str());
            let user_data = rendered.user_data.expect("user-data");
            assert!(rendered.document.starts_with("#cloud-config\n"), "{}", rendered.document);
            if let Some(own) = user_data.strip_prefix("#cloud-config\n") {
                assert!(rendered.document.ends_with(own), "{}\n{}", rendered.document, user_data);
            }
        }
    }
}

#[test]
fn nobody_here_drives_the_plug_ins() {
    for path in sets() {
        let rejected = compile_for(source(&path), None, Occopus::default()).expect_err("a plug-in");
        let found = rejected.diagnostics.iter().find(|found| found.is_error()).expect("an error");
        assert_eq!(found.code, "M0307", "{}", found.message);
        assert!(found.hint.contains("--provider") && found.hint.contains("local"), "{}", found.hint);
    }
}

#[test]
fn definitions_are_looked_for_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "infra_name: a\nuser_id: u\nnodes: [{ name: n, type: t }]\n";
    let definitions = "'node_def:t':\n  - resource: { type: ec2, endpoint: e, regionname: r, image_id: i, instance_type: t }\n    \
                       contextualisation: { type: cloudinit, context_template: { bootcmd: [ID] } }\n";
    let compile_with = |definitions| {
        let source = Source { path: "infra.yaml".into(), text: text.into(), folder: folder.path().to_owned() };
        compile_for(source, Some("local"), Occopus { definitions, ..Occopus::default() })
    };
    let command = |compiled: &Compiled| {
        let text = rendered(compiled, "n-1").document;
        text.lines().last().expect("a line").trim().to_owned()
    };
    let rejected = compile_with(NodeDefinitions::Beside { imported: &[] }).expect_err("no definitions");
    let found = &rejected.diagnostics[0];
    assert!(found.code == "M0507" && found.hint.contains("--nodes FILE"), "{found:?}");
    let given = |id: &str| Source {
        path: format!("{id}.yaml"),
        text: definitions.replace("ID", id).into(),
        folder: PathBuf::new(),
    };
    let imported = [given("first"), given("last")];
    // Of two imports of one type the later stands; a file beside the infrastructure wins over both.
    assert_eq!(command(&taken(compile_with(NodeDefinitions::Beside { imported: &imported }))), "- last");
    fs_err::create_dir(folder.path().join("nodes")).expect("a folder");
    fs_err::write(folder.path().join("nodes/node_definitions.yaml"), definitions.replace("ID", "beside"))
        .expect("a file");
    assert_eq!(command(&taken(compile_with(NodeDefinitions::Beside { imported: &imported }))), "- beside");
    assert_eq!(command(&taken(compile_with(NodeDefinitions::Given(&imported[..1])))), "- first");
    let other = folder.path().join("other.yaml");
    fs_err::write(&other, definitions.replace("ID", "named")).expect("a file");
    assert_eq!(command(&taken(compile_with(NodeDefinitions::File(&other)))), "- named");
}

#[test]
fn infrastructures_of_one_name_live_side_by_side() {
    let definitions = "'node_def:t':\n  - resource: { type: ec2, endpoint: e, regionname: r, image_id: i, instance_type: t }\n    \
                       contextualisation: { type: cloudinit, context_template: { bootcmd: ['{{infra_name}} {{infra_id}} {{node_id}}'] } }\n";
    let file = |path: &str, text: &str| Source { path: path.into(), text: text.into(), folder: PathBuf::new() };
    let definitions = [file("definitions.yaml", definitions)];
    let compile_as = |cluster: Option<&ClusterName>, infra_id: Option<&str>| {
        let definitions = NodeDefinitions::Given(&definitions);
        let source = file("infra.yaml", "infra_name: a\nuser_id: u\nnodes: [{ name: n, type: t }]\n");
        taken(compile_for(source, Some("local"), Occopus { definitions, cluster, infra_id }))
    };
    let plain = compile_as(None, None);
    let id = infra_id(&ClusterName::new("a").unwrap());
    assert_eq!(plain.occopus().expect("an infrastructure").infra_id, id);
    let text = rendered(&plain, "n-1").document;
    assert!(text.contains(&format!("a {id} {}", node_id(&id, &name("n-1")))), "{text}");
    let other = ClusterName::new("other").unwrap();
    let named = compile_as(Some(&other), Some("micado_worker_infra"));
    assert_eq!(named.spec.name.value, other);
    let text = rendered(&named, "n-1").document;
    assert!(
        text.contains(&format!("a micado_worker_infra {}", node_id("micado_worker_infra", &name("n-1")))),
        "{text}"
    );
    assert_ne!(infra_id(&other), id);
}

const CLOUD: &str = "resource: { type: ec2, endpoint: e, regionname: r, image_id: i, instance_type: t }";

fn one(rest: &str) -> Result<Compiled, Rejected> {
    small("infra_name: a\nuser_id: u\nnodes: [{ name: n, type: t }]\n", &format!("'node_def:t':\n  - {CLOUD}\n{rest}"))
}

#[test]
fn what_nobody_carries_out_is_refused_by_name() {
    let chef = "    config_management: { type: chef, endpoint: e, run_list: [r] }\n";
    let login = "    health_check: { mysqldbs: [{ name: n, user: u, pass: p }] }\n";
    for (rest, words) in [(chef, "`n` is configured by Chef"), (login, "logins to databases")] {
        let rejected = one(rest).expect_err("refused");
        assert!(messages(&rejected.diagnostics).contains(words), "{}", messages(&rejected.diagnostics));
        assert!(rejected.diagnostics.iter().all(|found| found.span.is_some()));
    }
    let text = |text: &str| format!("    contextualisation: {{ type: cloudinit, context_template: \"{text}\" }}\n");
    let rejected = one(&text("#include\\nhttp://a/b\\n")).expect_err("refused");
    assert!(messages(&rejected.diagnostics).contains("begins with `#include`"), "{}", messages(&rejected.diagnostics));
    let rejected = one(&text("#!/bin/sh\\necho {{cmd('id')}}\\n")).expect_err("refused");
    assert!(messages(&rejected.diagnostics).contains("no command is run on this machine"));
    // All that puppet_solo does is to hand variables to templates.
    let puppet = "    config_management: { type: puppet_solo, manifests: [m, n] }\n    contextualisation: { type: cloudinit, \
                  context_template: { runcmd: ['puppet {{puppet.manifests}}'] } }\n";
    let compiled = taken(one(puppet));
    assert!(rendered(&compiled, "n-1").document.contains("puppet m n"));
}

#[test]
fn scripts_are_run_once_and_other_texts_are_put_where_cloud_init_puts_them() {
    let text = |text: &str| {
        taken(one(&format!("    contextualisation: {{ type: cloudinit, context_template: \"{text}\" }}\n")))
    };
    let compiled = text("#!/bin/sh\\necho {{name}} > /root/name\\n");
    let script = rendered(&compiled, "n-1");
    assert_eq!(
        script.user_data.as_deref(),
        Some("#!/bin/sh\necho n > /root/name"),
        "a last line break goes, as Jinja2 has it"
    );
    assert!(script.document.contains("/var/lib/cloud/instance/scripts/part-001 # "), "{}", script.document);
    let other = rendered(&text("#!/bin/sh\\necho other\\n"), "n-1");
    let command = |document: &str| document.lines().find(|line| line.contains("part-001 #")).map(str::to_owned);
    assert_ne!(command(&script.document), command(&other.document), "another script is another command");
    let plain = text("hello {{name}}");
    assert!(messages(&plain.warnings).contains("neither a cloud-config nor a script"), "{}", messages(&plain.warnings));
    assert!(rendered(&plain, "n-1").document.contains("hello n"));
}

#[test]
fn several_ways_to_make_a_node_take_turns() {
    let way = |word: &str, region: &str| {
        format!(
            "  - {}\n    contextualisation: {{ type: cloudinit, context_template: {{ runcmd: [{word}] }} }}\n",
            CLOUD.replace("regionname: r", &format!("regionname: {region}"))
        )
    };
    let definitions = format!("'node_def:t':\n{}{}{}", way("one", "r"), way("two", "r"), way("other", "s"));
    let infra =
        "infra_name: a\nuser_id: u\nnodes: [{ name: n, type: t, scaling: { min: 4 }, filter: { regionname: r } }]\n";
    let compiled = taken(small(infra, &definitions));
    let words = (1..=4).map(|index| {
        let text = rendered(&compiled, &format!("n-{index}")).document;
        text.lines().last().expect("a line").trim().to_owned()
    });
    assert_eq!(words.collect::<Vec<_>>(), ["- one", "- two", "- one", "- two"]);
}

#[test]
fn nodes_wait_for_addresses_and_follow_them() {
    let definitions = format!(
        "'node_def:m':\n  - {CLOUD}\n'node_def:w':\n  - {CLOUD}\n    contextualisation: {{ type: cloudinit, context_template: \
         {{ runcmd: [\"join {{{{getip('m')}}}} {{{{getipall('m')}}}}\"] }} }}\n"
    );
    let infra = "infra_name: a\nuser_id: u\nnodes:\n  - &M { name: m, type: m, scaling: { min: 2 } }\n  - &W { name: w, type: w }\n\
                 dependencies: [[ *W, *M ]]\n";
    let compiled = taken(small(infra, &definitions));
    let mut members = members(&compiled);
    let document = |members: &_| compiled.render(&name("w-1"), members).map(|rendered| rendered.document);
    let before = document(&members).expect("addresses");
    assert!(before.contains("join 10.0.0.1 ['10.0.0.1', '10.0.0.2']"), "{before}");
    members.0.get_mut(&name("m-1")).unwrap().addresses.clear();
    match document(&members) {
        Err(RenderFault::Waiting(names)) => assert_eq!(names, BTreeSet::from([name("m-1")])),
        other => panic!("{other:?}"),
    }
    members.0.get_mut(&name("m-1")).unwrap().addresses.push([10, 0, 0, 9].into());
    assert_eq!(document(&members).expect("addresses"), before.replace("10.0.0.1", "10.0.0.9"));
}

/// An address of a node that is made only later would never come.
#[test]
fn a_circle_of_addresses_is_told() {
    let definitions = format!(
        "'node_def:m':\n  - {CLOUD}\n    contextualisation: {{ type: cloudinit, context_template: \
         {{ runcmd: [\"see {{{{getip('w')}}}}\"] }} }}\n'node_def:w':\n  - {CLOUD}\n"
    );
    let infra = "infra_name: a\nuser_id: u\nnodes:\n  - &M { name: m, type: m }\n  - &W { name: w, type: w }\n\
                 dependencies: [[ *W, *M ]]\n";
    let rejected = small(infra, &definitions).expect_err("a circle");
    assert!(messages(&rejected.diagnostics).contains("M0318"), "{}", messages(&rejected.diagnostics));
}

#[test]
fn containers_run_their_command_with_its_environment() {
    let definitions = "'node_def:t':\n  - resource: { type: docker, endpoint: e, origin: o, image: hello, tag: latest }\n    \
                       contextualisation: { type: docker, env: [\"message=it's {{variables.word}}\", nothing], command: \"echo 'a b'  c\" }\n";
    let infra = "infra_name: a\nuser_id: u\nvariables: { word: me }\nnodes: [{ name: n, type: t }]\n";
    let compiled = taken(small(infra, definitions));
    let told = messages(&compiled.warnings);
    assert!(told.contains("without the image `hello`") && told.contains("this sets no variable"), "{told}");
    let given = rendered(&compiled, "n-1");
    assert!(
        given.document.contains(r"'message=it'\\''s me' 'echo' 'a b' 'c'")
            || given.document.contains(r"'message=it'\''s me' 'echo' 'a b' 'c'"),
        "{}",
        given.document
    );
    let user_data = given.user_data.expect("what Docker would be told");
    assert!(user_data.contains("message=it's me"), "{user_data}");
    assert_eq!(given.checks.len(), 1);
    let bad = definitions.replace("echo 'a b'  c", "echo 'a");
    let rejected = small(infra, &bad).expect_err("no command");
    assert!(messages(&rejected.diagnostics).contains("cannot be run as the command"));
}

#[test]
fn cluster_files_are_not_taken_for_infrastructures() {
    let text = "cluster: infra\nvars: { infra_name: x }\ngroups: { web: {} }\n";
    let compiled = compile_in(Path::new("/nonexistent"), "cluster.yaml", text.as_bytes(), None, &["local"]);
    assert!(compiled.expect("a cluster file").occopus().is_none());
}

#[test]
fn nodes_without_agents_are_refused_whoever_says_it() {
    let factories: [Arc<dyn Factory>; 1] = [Arc::new(Named("local"))];
    let compile_with = |text: &str, agent| {
        let source = Source { path: "cluster.yaml".into(), text: text.into(), folder: PathBuf::new() };
        let occopus = Occopus::default();
        compile(source, &Options { provider: None, image: None, agent, factories: &factories, occopus })
    };
    let (plain, without) = ("cluster: a\ngroups: { web: {} }\n", "cluster: a\ngroups: { web: { agent: false } }\n");
    taken(compile_with(plain, None));
    taken(compile_with(plain, Some(true)));
    taken(compile_with(without, Some(true)));
    for (text, agent) in [(plain, Some(false)), (without, None)] {
        let rejected = compile_with(text, agent).expect_err("refused");
        let told = messages(&rejected.diagnostics);
        assert!(told.contains("`web` is to have no agent, and `local` makes no nodes without one yet"), "{told}");
    }
}
