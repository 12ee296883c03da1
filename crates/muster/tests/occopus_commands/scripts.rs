//! Scripts that use the commands as people and programs do who come from Occopus.

use std::process::Command;

use muster_testkit::{Running, Sandbox, Traces, can_make_nodes};

const INFRA: &str = "infra_name: commands
user_id: somebody
nodes:
  - &M { name: master, type: master_node }
  - &W { name: worker, type: worker_node, scaling: { min: 2, max: 4 } }
dependencies:
  - [ *W, *M ]
";

const DEFINITIONS: &str = "'node_def:master_node':
  - resource: { type: ec2, endpoint: e, regionname: r, image_id: i, instance_type: t }
    contextualisation:
      type: cloudinit
      context_template: !yaml_import { url: file://cloud_init.yaml }
    health_check: { ping: False }
'node_def:worker_node':
  - resource: { type: ec2, endpoint: e, regionname: r, image_id: i, instance_type: t }
    contextualisation:
      type: cloudinit
      context_template:
        write_files:
          - { path: /srv/master, content: \"{{getip('master')}}\" }
    health_check: { ping: False }
";

const CLOUD_INIT: &str = "write_files:
  - { path: /srv/name, content: \"{{infra_id}} {{name}}\" }
runcmd:
  - touch /srv/made
";

fn run(script: &str) {
    if !can_make_nodes() {
        return;
    }
    let place = Sandbox::alone(env!("CARGO_BIN_EXE_muster"));
    place.write("infra.yaml", INFRA);
    place.write("nodes/node_definitions.yaml", DEFINITIONS);
    place.write("nodes/cloud_init.yaml", CLOUD_INIT);
    place.write("auth_data.yaml", "resource:\n  - { type: ec2, auth_data: { accesskey: a, secretkey: hush } }\n");
    fs_err::create_dir(place.work().join("bin")).unwrap();
    place.muster(&["setup-links", "bin"]).success();
    // What was imported stays, as it should; here something else was before.
    let other = DEFINITIONS.replace("_node", "_of_others");
    let other = place.write("nodes/others.yaml", &other);
    place.muster(&["occopus", "import", other.to_str().unwrap()]).success();
    place.muster(&["occopus", "maintain", "-l"]).success();
    let before = place.traces();
    let own = place.command(&[""; 0]);
    let mut python = Command::new("python3");
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/occopus_commands/").to_owned() + script);
    python.current_dir(place.work()).env_clear();
    python.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let path = std::env::var("PATH").unwrap();
    python.env("PATH", format!("{}:{path}", place.work().join("bin").display()));
    python.env("MUSTER_OCCOPUS_PROVIDER", "local");
    let output = Running::start(python).wait().success();
    assert!(!format!("{output}").contains("hush"), "{output}");
    Traces::assert_same(&before, &place.traces());
    let list = fs_err::read_to_string(place.root().join("home/.occopus/infralist.yaml")).unwrap();
    assert_eq!(list, "[]\n");
}

#[test]
fn the_commands_do_what_the_tutorials_ask_of_them() {
    run("tutorial.py");
}

#[test]
fn the_rest_service_does_what_its_manual_says_and_micado_asks() {
    run("rest.py");
}
