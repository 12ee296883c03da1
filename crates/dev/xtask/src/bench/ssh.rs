//! Local nodes of Debian against containers of the same files: from the command until every one greets over SSH.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use muster_testkit::{Output, Sandbox};
use serde::Deserialize;

use super::docker::{self, Docker};
use super::measure::{median, milliseconds, processes};
use super::{banners, nodes};
use crate::out::say;

const CLUSTER: &str = "bench-ssh";
const IMAGE: &str = "debian-12";
const BUILD_LIMIT: Duration = Duration::from_mins(5);

const METHOD: &str = "Method: the same files, the base `debian-12`, and the same commands, which make host keys and start \
    sshd. *muster* is from starting `up` until every node's banner has been read, with `init: agent`; `up` ends when every \
    node has joined, been configured and checked. *docker* is from the first `docker run --detach` (16 at once) until \
    every container's banner has been read: Debian's docker.io with overlay2 and its default network, in a network \
    namespace of its own. Images are made and imported before.\n\n\
    Aims: three times Docker's speed at 20 nodes, twice at 100.";

/// What the tables need of a layer's own record.
#[derive(Debug, Deserialize)]
struct Layer {
    image: String,
    base: Option<String>,
    packages: Vec<String>,
}

/// The times at one number of nodes.
struct Column {
    nodes: u32,
    muster: Vec<Duration>,
    docker: Vec<Duration>,
}

pub(super) fn run(args: &nodes::Args, program: &Path) -> Result<String> {
    let sandbox = Sandbox::alone(program);
    say("making the images");
    let built = build(&sandbox, &[]);
    if built.code != 0 {
        return Ok(skipped(&format!("the image {IMAGE} cannot be made: {}", first_line(&built.stderr))));
    }
    // Given away to be dropped before the sandbox, in whose folder it works.
    let docker = start_docker(&sandbox);
    if let Err(reason) = &docker {
        say(&format!("Docker: skipped: {reason:#}"));
    }
    let mut columns = Vec::new();
    for &nodes in &args.nodes {
        let mut column = Column { nodes, muster: Vec::new(), docker: Vec::new() };
        for number in 1..=args.runs {
            let took = greeted(&sandbox, nodes).with_context(|| format!("run {number} with {nodes} nodes"))?;
            say(&format!("{nodes} nodes, run {number}: every banner after {}", milliseconds(took)));
            column.muster.push(took);
            if let Ok(docker) = &docker {
                let took = docker.greeted(nodes).with_context(|| format!("run {number} with {nodes} containers"))?;
                say(&format!("{nodes} containers, run {number}: every banner after {}", milliseconds(took)));
                column.docker.push(took);
            }
        }
        columns.push(column);
    }
    table(&columns, docker.as_ref().err().map(|reason| format!("{reason:#}")).as_deref())
}

fn build(sandbox: &Sandbox, more: &[&str]) -> Output {
    sandbox.start(&[&["image", "build", IMAGE], more].concat()).wait_within(BUILD_LIMIT)
}

fn skipped(reason: &str) -> String {
    format!("### SSH\n\nskipped: {reason}")
}

fn first_line(text: &str) -> &str {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing")
}

fn start_docker(sandbox: &Sandbox) -> Result<Docker> {
    let built = build(sandbox, &["--with", docker::PACKAGES]);
    anyhow::ensure!(built.code == 0, "its packages cannot be installed: {}", first_line(&built.stderr));
    let (mut base, mut software) = (None, None);
    for entry in fs_err::read_dir(sandbox.state().join("images/layers"))? {
        let folder = entry?.path();
        let layer: Layer = serde_json::from_slice(&fs_err::read(folder.join("layer.json"))?)?;
        match layer.base {
            None if layer.image == IMAGE => base = Some(folder.join("root")),
            Some(_) if layer.packages.join(",") == docker::PACKAGES => software = Some(folder.join("root")),
            _ => {}
        }
    }
    let layers: Vec<PathBuf> = software.into_iter().chain(base.clone()).collect();
    let base = base.context("the base is nowhere")?;
    Docker::start(sandbox.root().join("docker"), &layers, &base)
}

/// One life of a cluster, up to the last banner.
fn greeted(sandbox: &Sandbox, nodes: u32) -> Result<Duration> {
    let file = format!(
        "cluster: {CLUSTER}\ngroups:\n  node:\n    count: {nodes}\n    image: {IMAGE}\n    local: {{ init: agent }}\n    \
         cloud_init:\n      runcmd: [ '{}' ]\n",
        docker::SSHD.replace("exec ", "")
    );
    sandbox.write("ssh.yaml", &file);
    let begun = Instant::now();
    sandbox.muster(&["up", "ssh.yaml"]).success();
    let status = sandbox.muster(&["status", CLUSTER, "--json"]).success().json();
    let listed = status["nodes"].as_array().context("status lists nodes")?;
    let addresses = listed.iter().filter_map(|node| node["addresses"][0].as_str());
    let addresses: Vec<IpAddr> = addresses.map(str::parse).collect::<Result<_, _>>()?;
    anyhow::ensure!(addresses.len() == nodes as usize, "{nodes} nodes were made and {} are listed", addresses.len());
    let shepherd = processes(nodes::SHEPHERD)?.first().copied().context("the shepherd runs")?;
    banners::wait(shepherd, &addresses)?;
    let took = begun.elapsed();
    sandbox.muster(&["down", CLUSTER, "--yes"]).success();
    Ok(took)
}

fn table(columns: &[Column], no_docker: Option<&str>) -> Result<String> {
    let mut text = String::from("### Until every SSH banner has been read\n\n| nodes |");
    for column in columns {
        write!(text, " {} |", column.nodes)?;
    }
    write!(text, "\n|---|{}\n", "--:|".repeat(columns.len()))?;
    let middle = |times: &[Duration]| median(times.to_vec());
    let row = |name: &str, value: &dyn Fn(&Column) -> Option<String>| {
        let cells: Vec<String> = columns.iter().map(|column| value(column).unwrap_or_else(|| "-".to_owned())).collect();
        format!("| {name} | {} |\n", cells.join(" | "))
    };
    text += &row("muster", &|column| middle(&column.muster).map(milliseconds));
    text += &row("docker", &|column| middle(&column.docker).map(milliseconds));
    text += &row("docker takes", &|column| {
        let (ours, theirs) = (middle(&column.muster)?, middle(&column.docker)?);
        Some(format!("{:.1}×", theirs.as_secs_f64() / ours.as_secs_f64()))
    });
    if let Some(reason) = no_docker {
        writeln!(text, "\nDocker: skipped: {reason}")?;
    }
    write!(text, "\n{METHOD}")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_how_much_longer_docker_takes() {
        let times = |times: &[u64]| times.iter().copied().map(Duration::from_millis).collect::<Vec<_>>();
        let columns = [
            Column { nodes: 1, muster: times(&[100, 300, 200]), docker: times(&[500, 500, 900]) },
            Column { nodes: 20, muster: times(&[1000]), docker: times(&[3100]) },
        ];
        let text = table(&columns, None).unwrap();
        assert!(text.contains("| muster | 200 ms | 1.00 s |\n| docker | 500 ms | 3.10 s |\n"), "{text}");
        assert!(text.contains("| docker takes | 2.5× | 3.1× |\n"), "{text}");
        let alone = [Column { nodes: 1, muster: times(&[100]), docker: Vec::new() }];
        let text = table(&alone, Some("no network")).unwrap();
        assert!(text.contains("| docker takes | - |\n\nDocker: skipped: no network\n"), "{text}");
    }
}
