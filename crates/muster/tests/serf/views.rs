//! What scripts and other clients see: GIS.lab's lines, Python's `serfclient`, keys for the RPC.

use std::process::Command;

use muster_testkit::Running;
use serde_json::Value;

use crate::agents::{Agent, Program, real_is_there};

/// The lines of GIS.lab's guide and of its scripts, with both programs in place of `serf`.
const LINES: &[&str] = &[
    r#"gislab-cluster members -tag role=client -status=alive | awk -F " " '{printf "%s ", $1}'"#,
    "serf members -status=alive -tag role=client -tag worker=yes | awk '{print $2}' | awk -F ':' '{print $1}'",
    r"serf members -tag role=client -status=alive | sed 's/^\(.\+\):.\+$/\1/' | sort -n",
    r#"serf info | grep "name = server.gis.lab""#,
    r#"serf reachability | grep "Successfully contacted all live nodes""#,
    r#"serf query -timeout=300ms uptime | grep "Response from 'server.gis.lab':""#,
    "gislab-cluster members -format json",
    "gislab-cluster event reboot 'c50,c51'",
    "[ -z \"$(serf members -status=alive -tag role=printer)\" ] && echo none",
];

#[test]
fn lines_of_gis_lab_run_unchanged() {
    if !real_is_there() {
        return;
    }
    for program in [Program::Real, Program::Ours] {
        lines_run_on(program);
    }
}

fn lines_run_on(program: Program) {
    let handler = "query:uptime=echo up 3 days";
    let server = Agent::start(program, "server.gis.lab", &["-tag", "role=server", "-event-handler", handler]);
    let _clients = ["c50", "c51"].map(|name| {
        Agent::start(Program::Real, name, &["-tag", "role=client", "-tag", "worker=yes", "-join", &server.bind])
    });
    server.wait_for_members(3);
    let folder = tempfile::tempdir().unwrap();
    for line in LINES {
        let said = [Program::Real, Program::Ours].map(|program| {
            for name in ["serf", "gislab-cluster"] {
                fs_err::remove_file(folder.path().join(name)).ok();
                std::os::unix::fs::symlink(program.path(), folder.path().join(name)).unwrap();
            }
            let mut shell = Command::new("sh");
            let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
            shell.args(["-c", line]).env("PATH", path).env("SERF_RPC_ADDR", &server.rpc);
            let output = Running::start(shell).wait().success();
            // The order of rows is any with the real one.
            let mut words: Vec<String> = output.stdout.split_whitespace().map(str::to_owned).collect();
            words.sort();
            words
        });
        assert_eq!(said[0], said[1], "{line}");
        assert!(!said[1].is_empty(), "{line}");
    }
}

#[test]
fn a_client_of_python_sees_the_same_members() {
    for program in [Program::Real, Program::Ours] {
        python_sees_members_of(program);
    }
}

fn python_sees_members_of(program: Program) {
    let python = match muster_testkit::python(env!("CARGO_TARGET_TMPDIR"), "serfclient-1.0", &["serfclient==1.0.0"]) {
        Ok(python) if real_is_there() => python,
        Ok(_) => return,
        Err(reason) => return muster_testkit::skipped(&format!("no serfclient: {reason}")),
    };
    let server = Agent::start(program, "server.gis.lab", &["-tag", "role=server"]);
    let _client = Agent::start(Program::Real, "c50", &["-tag", "role=client", "-join", &server.bind]);
    server.wait_for_members(2);
    let script = "
import json, sys
from serfclient.client import SerfClient
host, port = sys.argv[1].split(':')
text = lambda value: value.decode() if isinstance(value, bytes) else value
seen = []
for member in SerfClient(host=host, port=int(port)).members().body[b'Members']:
    seen.append({'name': text(member[b'Name']), 'port': member[b'Port'], 'status': text(member[b'Status']),
                 'tags': {text(key): text(value) for key, value in member[b'Tags'].items()}})
print(json.dumps(sorted(seen, key=lambda member: member['name'])))
";
    let mut command = Command::new(python);
    command.args(["-c", script, &server.rpc]);
    let theirs = Running::start(command).wait().success().json();
    let mut ours = server.ask(Program::Ours, &["members", "-format=json"]).success().json();
    let members = ours["members"].as_array_mut().unwrap();
    for member in members.iter_mut().map(|member| member.as_object_mut().unwrap()) {
        member.retain(|key, _| ["name", "port", "status", "tags"].contains(&key.as_str()));
    }
    assert_eq!(theirs, Value::Array(members.clone()));
}

#[test]
fn a_key_for_the_rpc_is_asked_for() {
    if !real_is_there() {
        return;
    }
    for program in [Program::Real, Program::Ours] {
        key_is_asked_for_by(program);
    }
}

fn key_is_asked_for_by(program: Program) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("auth.json");
    fs_err::write(&config, r#"{"rpc_auth": "secret"}"#).unwrap();
    let agent = Agent::start(program, "n1", &["-config-file", config.to_str().unwrap()]);
    for words in [&["members"][..], &["info"], &["event", "x"], &["keys", "-list"], &["query", "x"], &["leave"]] {
        let (real, ours) = (agent.ask(Program::Real, words), agent.ask(Program::Ours, words));
        assert_eq!((real.code, &real.stdout), (ours.code, &ours.stdout), "{words:?}");
        assert!(ours.stderr.contains("hint: the agent has an rpc_auth"), "{ours}");
    }
    let wrong = ["members", "-rpc-auth=wrong"];
    assert_eq!(agent.ask(Program::Real, &wrong).stdout, agent.ask(Program::Ours, &wrong).exits(1).stdout);
    let by_flag = agent.ask(Program::Ours, &["members", "-rpc-auth", "secret"]).success();
    assert!(by_flag.stdout.starts_with("n1 "), "{by_flag}");
    let mut by_variable = Program::Ours.command();
    by_variable.arg("members").env("SERF_RPC_ADDR", &agent.rpc).env("SERF_RPC_AUTH", "secret");
    assert_eq!(Running::start(by_variable).wait().success().stdout, by_flag.stdout);
}

#[test]
fn a_socket_is_reached_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("rpc.sock").to_str().unwrap().to_owned();
    let agent = Agent::start(Program::Ours, "n1", &["-rpc-socket", &socket]);
    for address in [socket.clone(), format!("unix://{socket}")] {
        let said = Program::Ours.run(&["members", "-rpc-addr", &address]).success().stdout;
        assert_eq!(said, agent.ask(Program::Ours, &["members"]).success().stdout);
    }
    let nowhere = Program::Ours.run(&["members", "-rpc-addr", "/nowhere.sock"]).exits(1);
    assert!(nowhere.stdout.contains("dial unix /nowhere.sock: connect: no such file or directory"), "{nowhere}");
}

/// As the guide has it: agents leave and come back as the other program, with the same flags, keys and snapshots.
#[test]
fn machines_are_taken_over_one_at_a_time_and_given_back() {
    if !real_is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let key = Program::Real.run(&["keygen"]).success().stdout;
    let start = |name: &str, role: &str, join: Option<&str>| {
        let (keys, snapshot) = (file(&format!("{name}.keys")), file(&format!("{name}.snapshot")));
        fs_err::write(&keys, format!("[\"{}\"]\n", key.trim())).unwrap();
        let mut words = vec!["-keyring-file", &keys, "-snapshot", &snapshot, "-rejoin", "-tag", role];
        words.extend(["-log-level=err", "-event-handler", "query:who=echo $SERF_SELF_NAME"]);
        words.extend(join.map(|address| ["-retry-join", address]).into_iter().flatten());
        Agent::start(Program::Real, name, &words)
    };
    let server = start("server.gis.lab", "role=server", None);
    let clients = ["c50", "c51"].map(|name| start(name, "role=client", Some(&server.bind)));
    let [second, third] = clients;
    let mut agents = vec![second, third, server];
    // Everybody sees everybody, and the one that came last reaches all.
    let whole = |agents: &[Agent]| {
        for agent in agents {
            agent.wait_for_members(3);
        }
        let said = agents[2].ask(Program::Ours, &["query", "-timeout=1s", "who"]).success().stdout;
        let mut answers: Vec<&str> =
            said.lines().filter_map(|line| line.split_once("': ")).map(|(_, who)| who).collect();
        answers.sort_unstable();
        assert_eq!(answers, ["c50", "c51", "server.gis.lab"], "{said}");
    };
    whole(&agents);
    for program in [Program::Ours, Program::Real] {
        for _ in 0..3 {
            let agent = agents.remove(0);
            agents.push(agent.replaced_by(program));
            whole(&agents);
        }
    }
}
