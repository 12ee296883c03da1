//! Files as Occopus' users have them, with `--provider local` in place of their clouds.

use std::path::{Path, PathBuf};

use super::sandbox;
use muster_testkit::{Sandbox, Traces, can_make_nodes};
use serde_json::Value;

const PLUGINS: [&str; 6] = ["ec2", "nova", "azure", "cloudsigma", "cloudbroker", "docker"];

fn set(name: &str) -> PathBuf {
    let sets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/occopus/tests/files");
    fs_err::canonicalize(sets.join(name)).unwrap().join(format!("infra-{name}.yaml"))
}

/// Brings it up on `local`; every node is ready.
fn up(place: &Sandbox, file: &Path) -> Value {
    let up = place.muster(&["up", "--json", "--provider", "local", file.to_str().unwrap()]).success().json();
    assert!(up["nodes"].as_array().unwrap().iter().all(|node| node["phase"] == "ready"), "{up}");
    up
}

fn read(place: &Sandbox, (cluster, node): (&str, &str), path: &str) -> String {
    place.muster(&["-c", cluster, "exec", node, "--", "cat", path]).success().stdout
}

fn node<'v>(of: &'v Value, name: &str) -> &'v Value {
    of["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name).unwrap()
}

#[test]
fn helloworld_of_every_plug_in_builds() {
    if !can_make_nodes() {
        return;
    }
    let place = sandbox();
    for plugin in PLUGINS.into_iter().chain(["azure-aci"]) {
        up(&place, &set(&format!("{plugin}-helloworld")));
        let path = match plugin {
            "docker" => "/root/message.txt",
            "azure-aci" => "/tmp/message.txt",
            _ => "/tmp/helloworld.txt",
        };
        let node = (&*format!("{plugin}-helloworld"), "helloworld-1");
        assert_eq!(read(&place, node, path).trim_end(), "Hello World! I have been created by Occopus", "{plugin}");
    }
}

#[test]
fn ping_of_every_plug_in_builds() {
    if !can_make_nodes() {
        return;
    }
    let place = sandbox();
    for plugin in PLUGINS {
        let name = format!("{plugin}-ping");
        let up = up(&place, &set(&name));
        let address = node(&up, "ping-receiver-1")["addresses"][0].as_str().unwrap().to_owned();
        let path = if plugin == "docker" { "/var/log/container.log" } else { "/tmp/ping-result.txt" };
        let told = read(&place, (&name, "ping-sender-1"), path);
        assert!(told.contains(&format!("64 bytes from {address}")), "{plugin}: {told}");
    }
}

/// The same name, another address: Occopus leaves the old one where it is.
#[test]
fn a_replaced_node_is_known_by_its_new_address_and_nothing_is_left_in_the_end() {
    if !can_make_nodes() {
        return;
    }
    let place = Sandbox::alone(env!("CARGO_BIN_EXE_muster"));
    let before = place.traces();
    let file = set("nova-ping");
    let file = file.to_str().unwrap();
    up(&place, Path::new(file));
    let address = |of: &Value| node(of, "ping-receiver-1")["addresses"][0].as_str().unwrap().to_owned();
    let first = address(&place.muster(&["status", "--json"]).success().json());
    let args = ["up", "--json", "--yes", "--provider", "local", "--replace", "ping-receiver-1", file];
    let again = place.muster(&args).success().json();
    let second = address(&again);
    let script = read(&place, ("nova-ping", "ping-sender-1"), "/tmp/ping.sh");
    assert!(script.contains(&format!("TARGET={second}\n")), "{first} became {second}, and yet: {script}");
    let plan = place.muster(&["plan", "--detailed-exitcode", "--provider", "local", file]).success().stdout;
    assert!(plan.contains("Nothing to do"), "{plan}");
    place.muster(&["down", "--yes"]).success();
    Traces::assert_same(&before, &place.traces());
}

const INFRA: &str = "infra_name: small\nuser_id: u\nvariables: { word: one }\nnodes:\n  - { name: box, type: box }\n  \
                     - { name: ends, type: ends }\n  - { name: shut, type: shut }\n";
const DEFINITIONS: &str = r#"
'node_def:box':
  - resource: { type: docker, endpoint: e, origin: o, image: i, tag: t }
    contextualisation: { type: docker, env: ["word={{variables.word}}"], command: [sh, -c, "mkdir -p /srv/w/a; echo $word > /srv/w/word; cd /srv/w; exec python3 -m http.server 80"] }
    health_check: { ports: [80], urls: ["http://{{ip}}/a"] }
'node_def:ends':
  - resource: { type: docker, endpoint: e, origin: o, image: i, tag: t }
    contextualisation: { type: docker, env: [a=b], command: "/nowhere/start.sh now" }
'node_def:shut':
  - resource: { type: ec2, endpoint: e, regionname: r, image_id: i, instance_type: t }
    health_check: { ports: [81], timeout: 1 }
"#;

#[test]
fn commands_of_containers_run_follow_their_file_and_come_back_and_failures_are_told() {
    if !can_make_nodes() {
        return;
    }
    let place = sandbox();
    let file = place.write("infra.yaml", INFRA);
    let definitions = place.write("other/definitions.yaml", DEFINITIONS);
    let (file, definitions) = (file.to_str().unwrap(), definitions.to_str().unwrap());
    let args = ["up", "--json", "--provider", "local", "--nodes", definitions, file];
    let told = place.muster(&args).exits(3).json();
    assert_eq!(node(&told, "box-1")["phase"], "ready", "{told}");
    let reason = |of: &Value, name: &str| node(of, name)["reason"].as_str().unwrap().to_owned();
    let ends = reason(&told, "ends-1");
    assert!(ends.contains("ended with code 127") && ends.contains("/nowhere/start.sh"), "{ends}");
    let shut = reason(&told, "shut-1");
    assert!(shut.contains("check port 81 did not pass from here within 1 s: connection refused"), "{shut}");
    assert_eq!(read(&place, ("small", "box-1"), "/srv/w/word"), "one\n");
    // The files are found again where they were named.
    place.muster(&["node", "reboot", "box-1"]).success();
    place.muster(&["exec", "box-1", "--", "/etc/muster/container/check"]).success();
    place.write(
        "infra.yaml",
        &INFRA
            .replace("word: one", "word: two")
            .replace("  - { name: ends, type: ends }\n  - { name: shut, type: shut }\n", ""),
    );
    let told = place.muster(&[&args[..], &["--yes", "--allow-destroy=2"]].concat()).success().json();
    assert_eq!(told["removed"].as_array().unwrap().len(), 2, "{told}");
    assert_eq!(read(&place, ("small", "box-1"), "/srv/w/word"), "two\n");
}

#[test]
fn user_data_is_shown_as_occopus_would_give_it() {
    let place = sandbox();
    let file = set("ec2-ping");
    let file = file.to_str().unwrap();
    let render = |more: &[&str]| {
        place.muster(&[&["render", file, "--provider", "local", "--node", "ping-sender-1"], more].concat())
    };
    let waits = render(&[]).exits(64).stderr;
    assert!(waits.contains("needs the address of ping-receiver-1"), "{waits}");
    let shown = render(&["--address", "ping-receiver-1=192.0.2.7", "--address", "ping-sender-1=192.0.2.8"]).success();
    assert!(shown.stdout.starts_with("#cloud-config\nwrite_files:"), "{shown}");
    assert!(shown.stdout.contains("TARGET=192.0.2.7\n"), "{shown}");
    let both = render(&["--any-address", "192.0.2.7,10.0.0.7", "--json"]).success().json();
    assert_eq!(both["nodes"][0]["user_data"].as_str().unwrap(), shown.stdout);
    assert!(both["nodes"][0]["document"].as_str().unwrap().contains("hostname: ping-sender-1"), "{both}");
    let refused = place.muster(&["validate", file]).exits(65).stderr;
    assert!(refused.contains("M0307") && refused.contains("--provider"), "{refused}");
    place.muster(&["validate", file, "--provider", "local", "--nodes", "/nonexistent"]).exits(65);
    let cluster = place.write("cluster.yaml", "cluster: a\ngroups: { web: {} }\n");
    place.muster(&["validate", cluster.to_str().unwrap(), "--nodes", "/nonexistent"]).exits(64);
}
