//! Links to the program, and what it is when it is started by one.

use std::process::Command;

use crate::sandbox;

const DEFINITIONS: &str = "'node_def:web_node':\n  - resource: { type: ec2, endpoint: e, regionname: r, image_id: i, \
                           instance_type: t }\n";

#[test]
fn links_are_made_once_and_start_the_program_of_their_name() {
    let place = sandbox();
    place.write("nodes.yaml", DEFINITIONS);
    fs_err::create_dir(place.work().join("bin")).unwrap();
    let made = place.muster(&["setup-links", "bin", "--json"]).success().json();
    let again = place.muster(&["setup-links", "bin", "--json"]).success().json();
    let links = made["links"].as_array().unwrap();
    assert!(links.iter().all(|link| link["state"] == "made") && !links.is_empty(), "{made}");
    assert!(again["links"].as_array().unwrap().iter().all(|link| link["state"] == "there"), "{again}");
    let mut command = Command::new(place.work().join("bin/occopus-import"));
    command.arg("nodes.yaml").current_dir(place.work()).env_clear().env("HOME", place.root().join("home"));
    let output = command.env("XDG_STATE_HOME", place.root().join("state")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Successfully imported nodes: web_node\n", "{output:?}");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_is_not_ours_stays_and_then_no_link_is_made() {
    let place = sandbox();
    let other = place.write("bin/occopus-import", "#!/bin/sh\n");
    let refused = place.muster(&["setup-links", "bin"]).exits(1);
    assert!(refused.stderr.contains("bin/occopus-import"), "{refused}");
    assert_eq!(fs_err::read_to_string(&other).unwrap(), "#!/bin/sh\n");
    assert_eq!(fs_err::read_dir(place.work().join("bin")).unwrap().count(), 1);
    // One of a muster that was moved is ours, and led to where it is now.
    fs_err::remove_file(&other).unwrap();
    fs_err::os::unix::fs::symlink("/nowhere/muster", &other).unwrap();
    place.muster(&["setup-links", "bin", "occopus-import"]).success();
    assert_eq!(fs_err::canonicalize(&other).unwrap(), place.program());
    place.muster(&["setup-links", "bin", "occopus-nothing"]).exits(64);
    place.muster(&["setup-links", "nowhere"]).exits(1);
}
