//! Command lines that make nothing: what they say, and what they end with.

use std::os::unix::process::CommandExt as _;

use muster_testkit::{Output, Running, Sandbox};

use crate::sandbox;

/// The program, called by another name.
fn called(place: &Sandbox, line: &str) -> Output {
    let mut words = line.split(' ');
    let name = words.next().unwrap();
    let mut command = place.command(&words.collect::<Vec<_>>());
    command.arg0(name);
    Running::start(command).wait()
}

/// Command line → exit code, words on stdout, words on stderr.
#[test]
fn mistakes_are_told_as_occopus_tells_them_and_none_looks_like_success() {
    let place = sandbox();
    place.write("infra.yaml", "infra_name: x\nuser_id: y\nnodes:\n  - { name: a, type: a_node }\n");
    place.write("cluster.yaml", "cluster: x\ngroups: { a: { count: 1 } }\n");
    place.write("bad.yaml", "'node_def:a_node':\n  - resource: { type: ec2 }\n");
    place.write("broken.yaml", "a: b: c\n");
    place.write("auth.yaml", "resource:\n  - { type: ec2 }\n");
    let table = [
        ("occopus-import nothing.yaml", 1, "nothing.yaml", "hint:"),
        ("occopus-import bad.yaml", 1, "bad.yaml:2:", "endpoint"),
        ("occopus-import broken.yaml", 1, "broken.yaml:1:", ""),
        ("occopus-import", 2, "", "Usage: occopus-import"),
        ("occopus-build infra.yaml", 1, "infra.yaml:4:22: `a` is of the type `a_node`", "occopus-import"),
        ("occopus-build cluster.yaml", 1, "it has no `infra_name`", "muster up"),
        ("occopus-build infra.yaml --auth_data_path no.yaml", 1, "authentication file does not exist: no.yaml", ""),
        ("occopus-build infra.yaml --auth_data_path auth.yaml", 1, "an entry has no `auth_data`", ""),
        ("occopus-build infra.yaml --cfg no.yaml", 1, "configuration file does not exist: no.yaml", ""),
        ("occopus-build infra.yaml -i a/b", 2, "", "an id cannot hold '/'"),
        ("occopus-destroy -i x", 1, "Unknown infrastructure: \"x\"", ""),
        ("occopus-destroy", 2, "", "Usage: occopus-destroy"),
        ("occopus-maintain", 1, "ERROR: No infra_id (-i) specified! ", ""),
        ("occopus-maintain -l", 0, "No active infrastructure!", ""),
        ("occopus-maintain -i x", 1, "Unknown infrastructure: \"x\"", ""),
        ("occopus-maintain -i x -r", 1, "Unknown infrastructure: \"x\"", ""),
        ("occopus-scale -i x -n a", 1, "Too few arguments: at least -c, -s or -f must be specified!", ""),
        (
            "occopus-scale -i x -n a -c 1 -s 2",
            1,
            "Too many arguments: -c and -s must not be used at the same time!",
            "",
        ),
        (
            "occopus-scale -i x -n a -c 1 -f b",
            1,
            "Too many arguments: -c and -f must not be used at the same time!",
            "",
        ),
        (
            "occopus-scale -i x -n a -s 1 -f b",
            1,
            "Too many arguments: -s and -f must not be used at the same time!",
            "",
        ),
        ("occopus-scale -i x -n a -c 0", 1, "Incorrect argument: value for -c must be different from zero!", ""),
        ("occopus-scale -i x -n a -c b", 1, "Positive/negative number must be specified for argument -c!", ""),
        ("occopus-scale -i x -n a -s 0", 1, "Incorrect argument: value for -s must be greater than zero!", ""),
        ("occopus-scale -i x -n a -s b", 1, "Positive number must be specified for argument -s!", ""),
        ("occopus-scale -i x -n a -c -1", 1, "Unknown infrastructure: \"x\"", ""),
        ("occopus-rest-service --host nowhere.invalid", 1, "`nowhere.invalid` is no address of this machine", ""),
        ("occopus-rest-service --help", 0, "Usage: occopus-rest-service", ""),
        ("muster occopus maintain -l", 0, "No active infrastructure!", ""),
        ("muster occopus", 2, "", "occopus-build"),
    ];
    for (line, code, stdout, stderr) in table {
        let output = called(&place, line);
        assert!(output.code == code && output.stdout.contains(stdout), "{line}: {stdout}: {output}");
        assert!(output.stderr.contains(stderr), "{line}: {stderr}: {output}");
    }
    // Nothing was noted, and none of the logs of Occopus lies in the folder.
    assert!(!place.root().join("home/.occopus/infralist.yaml").exists());
    assert_eq!(fs_err::read_dir(place.work()).unwrap().count(), 5);
}

#[test]
fn a_dry_run_makes_nothing() {
    let place = sandbox();
    let nodes =
        "'node_def:a_node':\n  - resource: { type: ec2, endpoint: e, regionname: r, image_id: i, instance_type: t }\n";
    place.write("nodes.yaml", nodes);
    place.write("infra.yaml", "infra_name: x\nuser_id: y\nnodes:\n  - { name: a, type: a_node }\n");
    place.write("occopus_config.yaml", "components: { dry_run: True, uds: !UDS { protocol: redis } }\n");
    called(&place, "occopus-import nodes.yaml").success();
    let output = called(&place, "occopus-build infra.yaml --provider local").success();
    assert!(output.stdout.contains("create") && output.stdout.contains("a-1"), "{output}");
    assert!(output.stderr.contains("Using default configuration file: './occopus_config.yaml'"), "{output}");
    assert!(called(&place, "occopus-maintain -l").success().stdout.contains("No active"), "{output}");
}
