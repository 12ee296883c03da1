//! `muster import occopus`: what is written, what is said, and what is refused. Nothing is made.

use std::path::Path;

use super::sandbox;

fn set(name: &str) -> String {
    let sets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/occopus/tests/files");
    sets.join(name).to_string_lossy().into_owned()
}

#[test]
fn a_set_becomes_a_cluster_file_that_asks_for_the_same() {
    let place = sandbox();
    let from = set("slurm-cluster");
    let done = place.muster(&["import", "occopus", &from, "--provider", "local"]).success();
    assert!(done.stdout.contains("wrote cluster.yaml") && done.stdout.contains("the same 3 nodes"), "{done}");
    place.muster(&["validate"]).success();
    // Both ask for the same documents.
    let documents = |file: &str, provider: &[&str]| {
        let args = [&["render", "--json", "--any-address", "192.0.2.1,10.0.0.1", file], provider].concat();
        let nodes = place.muster(&args).success().json()["nodes"].clone();
        let nodes = nodes.as_array().expect("nodes").iter();
        nodes.map(|node| (node["name"].to_string(), node["document"].to_string())).collect::<Vec<_>>()
    };
    let infra = format!("{from}/infra-slurm-cluster.yaml");
    assert_eq!(documents("cluster.yaml", &[]), documents(&infra, &["--provider", "local"]));
    // What is there stays.
    let refused = place.muster(&["import", "occopus", &from, "--provider", "local"]).exits(64);
    assert!(refused.stderr.contains("is there already") && refused.stderr.contains("-o FILE"), "{refused}");
    let again =
        place.muster(&["import", "occopus", &from, "--provider", "local", "-o", "two/c.yaml", "--json"]).success();
    assert_eq!(again.json()["files"].as_array().map(Vec::len), Some(3), "{again}");
    let shown = place.muster(&["import", "occopus", &infra, "--provider", "local", "-o", "-"]).success().stdout;
    assert!(shown.starts_with("cluster: slurm-cluster\n") && shown.contains("{{ vars.storage }}"), "{shown}");
}

#[test]
fn what_cannot_be_imported_is_told_with_its_place_and_nothing_is_written() {
    let place = sandbox();
    place.write("infra.yaml", "infra_name: demo\nuser_id: me\nnodes: [ { name: a, type: t } ]\n");
    place.write(
        "nodes.yaml",
        "'node_def:t':\n  - resource: { type: ec2, endpoint: e, regionname: r, image_id: i, instance_type: s }\n    contextualisation: { type: \
         cloudinit, context_template: { a: \"{{ ibget('node.find_one', name='a').node_id }}\" } }\n",
    );
    let from = ["import", "occopus", "infra.yaml", "--provider", "local"];
    // No definitions beside it; then a template that has no form.
    let missing = place.muster(&from).exits(65);
    assert!(missing.stderr.contains("--nodes FILE"), "{missing}");
    let refused = place.muster(&[&from[..], &["--nodes", "nodes.yaml"]].concat()).exits(65);
    assert!(refused.stderr.contains("M0720") && refused.stderr.contains("`ibget`"), "{refused}");
    let unknown = place.muster(&["import", "occopus", "infra.yaml", "--nodes", "nodes.yaml"]).exits(65);
    assert!(unknown.stderr.contains("`ec2`") && unknown.stderr.contains("--provider"), "{unknown}");
    let none = place.muster(&["import", "occopus", &set(""), "--provider", "local"]).exits(64);
    assert!(none.stderr.contains("no infrastructure description"), "{none}");
    assert!(!place.work().join("cluster.yaml").exists() && !place.work().join("cloud-init").exists());
}
