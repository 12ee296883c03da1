//! The examples that the guide speaks of.

use muster_testkit::can_make_nodes;

use super::sandbox;

fn example(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/occopus").join(path);
    fs_err::canonicalize(path).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn the_examples_of_the_guide_build_scale_and_go() {
    if !can_make_nodes() {
        return;
    }
    let place = sandbox();
    let (hello, ping) = (example("helloworld/infra-helloworld.yaml"), example("ping/infra-ping.yaml"));
    for file in [&hello, &ping] {
        place.muster(&["validate", "--provider", "local", file]).success();
        place.muster(&["up", "--provider", "local", file]).success();
    }
    let said = place
        .muster(&["-c", "helloworld", "exec", "helloworld-1", "--", "cat", "/tmp/helloworld.txt"])
        .success()
        .stdout;
    assert_eq!(said, "Hello World! I have been created by Occopus\n");
    // The file is found again, and so are its node definitions.
    place.muster(&["scale", "ping", "ping-sender=2"]).success();
    let status = place.muster(&["status", &ping, "--json"]).success().json();
    let address = status["nodes"].as_array().unwrap().iter().find(|node| node["group"] == "ping-receiver").unwrap();
    let address = address["addresses"][0].as_str().unwrap();
    let told =
        place.muster(&["-c", "ping", "exec", "ping-sender-2", "--", "cat", "/tmp/ping-result.txt"]).success().stdout;
    assert!(told.contains(&format!("64 bytes from {address}")), "{told}");
    // A cluster file made of it takes the running cluster over as it is.
    place.muster(&["import", "occopus", &example("ping"), "--provider", "local"]).success();
    let plan = place.muster(&["plan", "--detailed-exitcode", "cluster.yaml"]).success();
    assert!(plan.stdout.contains("Nothing to do"), "{plan}");
    place.muster(&["down", "--yes", "helloworld"]).success();
    place.muster(&["down", "--yes", "ping"]).success();
}
