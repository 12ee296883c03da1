//! Every command, in text and JSON, with its mistakes: equal after sorting rows and tags, exit codes too.

use std::time::Duration;

use muster_testkit::Output;
use nix::sys::signal::Signal;

use crate::agents::{Agent, Program, real_is_there};

/// Lines sorted, the tags of a row sorted, what differs between two moments taken out.
fn sorted(output: &Output) -> (i32, Vec<String>) {
    let mut lines: Vec<String> = output
        .stdout
        .lines()
        .filter(|line| !["goroutines", "_queue", "health_score"].iter().any(|moment| line.contains(moment)))
        .map(|line| {
            let mut words: Vec<&str> = line.split("  ").collect();
            for word in &mut words {
                if word.contains("rtt: ") {
                    *word = word.split("rtt: ").next().unwrap_or_default();
                }
            }
            let sort_tags = |word: &str| {
                let mut tags: Vec<&str> = word.split(',').collect();
                if tags.iter().all(|tag| tag.contains('=')) {
                    tags.sort_unstable();
                }
                tags.join(",")
            };
            // JSON's last of a list has no comma, whatever the order is.
            words.iter().map(|word| sort_tags(word)).collect::<Vec<_>>().join("  ").trim_end_matches(',').to_owned()
        })
        .collect();
    lines.sort();
    (output.code, lines)
}

/// A cluster of three real agents with a key; the first has a handler.
fn cluster() -> Vec<Agent> {
    cluster_of([Program::Real; 3])
}

fn cluster_of([server, second, third]: [Program; 3]) -> Vec<Agent> {
    let key = Program::Real.run(&["keygen"]).success().stdout;
    let key = key.trim();
    let first = Agent::start(
        server,
        "server.gis.lab",
        &["-encrypt", key, "-tag", "role=server", "-tag", "odd=<a&b>", "-event-handler", "query:up=echo ' up é'"],
    );
    let client = |program: Program, name: &str, tag: &str| {
        Agent::start(program, name, &["-encrypt", key, "-tag", "role=client", "-tag", tag, "-join", &first.bind])
    };
    let (second, third) = (client(second, "c50", "worker=yes"), client(third, "c51", "session-active=eva"));
    let agents = vec![first, second, third];
    for agent in &agents {
        agent.wait_for_members(3);
    }
    agents
}

const LONG: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
                    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
                    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
                    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
                    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
                    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Words that an agent answers; none changes for longer than a moment what another one sees.
const ASKED: &[&[&str]] = &[
    &["members"],
    &["members", "-detailed"],
    &["members", "-format", "json"],
    &["members", "-format=json", "-name", "nobody"],
    &["members", "-format", "xml"],
    &["members", "-name", "c5."],
    &["members", "--status=alive", "-tag", "role=client", "-tag", "worker=yes"],
    &["members", "-status", "failed|left"],
    &["members", "-tag", "worker="],
    &["members", "-tag", "session-active=.+", "ignored"],
    &["members", "-role", "server"],
    &["members", "-rpc-auth", "needless"],
    &["info"],
    &["info", "-format", "json"],
    &["info", "-format", "x"],
    &["event", "deploy", "a b c"],
    &["event", "-coalesce=false", "deploy"],
    &["event", "long", LONG],
    &["query", "-timeout", "700ms", "up"],
    &["query", "-timeout", "700ms", "-format", "json", "up", "payload"],
    &["query", "-timeout", "700ms", "-format", "json", "-node", "nobody", "up"],
    &["query", "-timeout=700ms", "-node", "c50", "-node", "c51", "-tag", "worker=y", "up"],
    &["query", "-timeout=700ms", "-no-ack", "-relay-factor", "1", "up"],
    &["query", "-timeout=700ms", "-format", "x", "up"],
    &["query", "-relay-factor", "256", "up"],
    &["query", "_serf_x"],
    &["keys", "-list"],
    &["keys", "-install", "abc"],
    &["keys", "-use", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],
    &["keys", "-remove", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],
    &["keys", "-list", "-use", "x"],
    &["rtt", "server.gis.lab", "c50"],
    &["rtt", "c50"],
    &["rtt", "c50", "nobody"],
    &["join", "127.0.0.1:1"],
    &["tags", "-set", "a=b", "-delete", "none"],
    &["tags", "-delete", "a"],
    &["tags", "-set", "bad"],
    &["tags", "-set", LONG],
    &["force-leave", "nobody"],
    &["force-leave", "-prune", "nobody"],
    &["reachability"],
    &["monitor", "-log-level", "loud"],
];

/// Mistakes that end without an agent; only the head of a help is Serf's, the rest is ours.
const MISTAKES: &[&[&str]] = &[
    &[],
    &["-h"],
    &["bogus"],
    &["help"],
    &["-foo", "members"],
    &["members", "-h"],
    &["members", "-foo"],
    &["members", "-name"],
    &["members", "--=x"],
    &["members", "---x"],
    &["members", "-tag", "bad"],
    &["members", "-tag", "=bad"],
    &["members", "-detailed=perhaps"],
    &["members", "-rpc-addr", "127.0.0.1:1"],
    &["members", "-rpc-addr", ":1"],
    &["members", "-rpc-addr", "nowhere"],
    &["members", "-rpc-addr", "127.0.0.1:99999"],
    &["event"],
    &["event", "a", "b", "c"],
    &["event", "a", "b", "-coalesce=false"],
    &["query"],
    &["query", "a", "b", "c"],
    &["query", "-timeout=5", "x"],
    &["query", "-relay-factor=many", "x"],
    &["query", "-relay-factor=99999999999999999999", "x"],
    &["join"],
    &["force-leave"],
    &["force-leave", "a", "b"],
    &["tags"],
    &["keys"],
    &["leave", "-rpc-addr=127.0.0.1:1"],
    &["info", "-rpc-addr=127.0.0.1:1"],
    &["reachability", "-rpc-addr=127.0.0.1:1"],
    &["monitor", "-rpc-addr=127.0.0.1:1"],
];

#[test]
fn both_say_the_same_to_the_same_agent() {
    if !real_is_there() {
        return;
    }
    for programs in [[Program::Real; 3], [Program::Ours, Program::Real, Program::Ours]] {
        let agents = cluster_of(programs);
        for words in ASKED {
            let (real, ours) = (agents[0].ask(Program::Real, words), agents[0].ask(Program::Ours, words));
            assert_eq!(sorted(&real), sorted(&ours), "{programs:?} {words:?}\n{real}\n{ours}");
        }
    }
}

/// What an agent answers, with what no two clusters have in common taken out.
fn answer(output: &Output, agents: &[Agent]) -> (i32, Vec<String>) {
    let (code, lines) = sorted(output);
    let anywhere = |line: String| {
        let known = agents.iter().fold(line, |line, agent| line.replace(&agent.bind, "ADDRESS"));
        let port = |text: &str| text.trim_end_matches(',').parse::<u16>().is_ok();
        // Times, which count messages; a key, a port, and the version of what an agent is made of.
        if known.contains("_time") {
            return String::new();
        }
        if known.contains("[3/3]") || known.contains("\"version\": \"") || known.contains("version = ") {
            return known.split_whitespace().last().filter(|word| word.contains('[')).unwrap_or_default().to_owned();
        }
        let words: Vec<&str> = known.split(' ').map(|word| if port(word) { "NUMBER" } else { word }).collect();
        // Versions of Serf differ in how messages begin.
        words.join(" ").to_lowercase()
    };
    let mut lines: Vec<String> = lines.into_iter().map(anywhere).collect();
    lines.sort();
    (code, lines)
}

#[test]
fn both_kinds_of_agents_answer_the_same() {
    if !real_is_there() {
        return;
    }
    let (theirs, ours) = (cluster_of([Program::Real; 3]), cluster_of([Program::Ours; 3]));
    for words in ASKED {
        let (real, our) = (theirs[0].ask(Program::Real, words), ours[0].ask(Program::Real, words));
        assert_eq!(answer(&real, &theirs), answer(&our, &ours), "{words:?}\n{real}\n{our}");
    }
}

#[test]
fn mistakes_get_the_same_answers() {
    if !real_is_there() {
        return;
    }
    // Blank lines and the text below the usage are not compared.
    let heads = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.is_empty());
        let upto_usage = lines.scan(false, |over, line| {
            let now = std::mem::replace(over, *over || line.starts_with("Usage:"));
            (!now).then(|| line.replace(" [payload]", " payload"))
        });
        upto_usage.collect()
    };
    for words in MISTAKES {
        let (real, ours) = (Program::Real.run(words), Program::Ours.run(words));
        assert_eq!(heads(&real.stdout), heads(&ours.stdout), "{words:?}\n{real}\n{ours}");
        assert_eq!(real.code, ours.code, "{words:?}\n{real}\n{ours}");
        // Hints are ours alone.
        let errors = heads(&ours.stderr);
        let errors: Vec<&String> = errors.iter().filter(|line| !line.starts_with("hint: ")).collect();
        assert_eq!(heads(&real.stderr).iter().collect::<Vec<_>>(), errors, "{words:?}\n{real}\n{ours}");
    }
}

/// With what agents do not start.
const AGENT_MISTAKES: &[&[&str]] = &[
    &["-bogus"],
    &["-tag", "bad"],
    &["-bind", "192.0.2.1:99"],
    &["-log-level", "loud"],
    &["-profile", "moon"],
    &["-event-handler", "foo=bar"],
    &["-config-file", "/nowhere.json"],
    &["-keyring-file", "/nowhere.json"],
    &["-encrypt", "abc"],
    &["-retry-interval", "5x"],
    &["-iface", "nowhere0"],
    &["-iface", "lo", "-bind", "192.0.2.1:99"],
    &["-tags-file", "/nowhere/tags", "-tag", "a=b"],
    &["-protocol", "1"],
    &["-protocol", "99"],
    &["-join", "127.0.0.1:1"],
];

#[test]
fn agents_of_both_kinds_refuse_the_same() {
    if !real_is_there() {
        return;
    }
    for words in AGENT_MISTAKES {
        let [real, ours] = [Program::Real, Program::Ours].map(|program| {
            let [bind, rpc] = [0; 2].map(|_| format!("127.0.0.1:{}", muster_testkit::free_port()));
            let mut all = vec!["agent", "-node", "n1", "-bind", &bind, "-rpc-addr", &rpc];
            all.extend(*words);
            let mut output = program.run(&all);
            // Each had ports of its own.
            output.stdout = output.stdout.replace(&bind, "BIND").replace(&rpc, "RPC");
            output
        });
        let head = |output: &Output| {
            let lines = output.stdout.lines().take_while(|line| !line.contains("Usage:"));
            lines.map(|line| line.trim_end().to_lowercase()).filter(|line| !line.is_empty()).collect::<Vec<_>>()
        };
        assert_eq!((real.code, head(&real)), (ours.code, head(&ours)), "{words:?}\n{real}\n{ours}");
    }
}

#[test]
fn a_wrong_filter_is_told_with_the_right_one() {
    if !real_is_there() {
        return;
    }
    let agents = cluster();
    let ask = |words: &[&str]| agents[0].ask(Program::Ours, words);
    // The line of GIS.lab's guide: misspelt, and no expression.
    let told = ask(&["members", "-tag", "sesion-active=*."]).exits(1);
    assert_eq!(
        told.stdout,
        "Error retrieving members: the expression \"*.\" of -tag sesion-active is invalid: nothing stands before \"*\"\n"
    );
    let corrected = told.stderr.lines().next().unwrap();
    assert_eq!(corrected, "hint: serf members -tag session-active=.+");
    let found = ask(&["members", "-tag", "session-active=.+"]).success();
    assert!(found.stdout.starts_with("c51 ") && found.stdout.lines().count() == 1, "{found}");
    // The real agent hangs up.
    let told = ask(&["members", "-status", "(alive"]).exits(1);
    assert!(told.stdout.contains("the expression \"(alive\" of -status is invalid: unclosed group"), "{told}");
}

#[test]
fn keys_are_rotated_and_members_leave_through_either() {
    if !real_is_there() {
        return;
    }
    let agents = cluster_of([Program::Real, Program::Ours, Program::Real]);
    for (program, agent) in [(Program::Real, &agents[0]), (Program::Ours, &agents[1])] {
        let old = agent.ask(Program::Real, &["keys", "-list"]).success().stdout;
        let old = old.lines().last().unwrap().split(' ').next().unwrap();
        let new = program.run(&["keygen"]).success().stdout;
        let steps = [("-install", new.trim()), ("-use", new.trim()), ("-remove", old)];
        let said: Vec<String> =
            steps.iter().map(|(step, key)| agent.ask(program, &["keys", step, key]).success().stdout).collect();
        assert_eq!(said.concat().lines().filter(|line| line.starts_with("==> Success")).count(), 3, "{said:?}");
        let list = agent.ask(Program::Real, &["keys", "-list"]).success().stdout;
        assert!(list.ends_with(&format!("{}  [3/3]\n", new.trim())) && !list.contains(old), "{list}");
    }
    let mut agents = agents.into_iter();
    let (first, second, third) = (agents.next().unwrap(), agents.next().unwrap(), agents.next().unwrap());
    for (agent, program) in [(second, Program::Real), (third, Program::Ours)] {
        let left = agent.ask(program, &["leave"]).success();
        assert_eq!(left.stdout, "Graceful leave complete\n");
        agent.running.wait().success();
    }
    first.wait_for_members(1);
}

#[test]
fn what_comes_is_shown_as_it_comes() {
    if !real_is_there() {
        return;
    }
    for server in [Program::Real, Program::Ours] {
        watched(cluster_of([server, Program::Ours, Program::Real]));
    }
}

fn watched(mut agents: Vec<Agent>) {
    let watches =
        [Program::Real, Program::Ours].map(|program| agents[0].watch(program, &["monitor", "-log-level=debug"]));
    let shown = watches.map(|mut watch| {
        // The log of before is there; then the events come.
        watch.wait_line(Duration::from_secs(10), |line| line.contains("Serf agent starting")).unwrap();
        watch
    });
    agents[1].ask(Program::Ours, &["event", "-coalesce=false", "deploy", "a b"]).success();
    let shown = shown.map(|mut watch| {
        // Fields of one event come in any order from the real one. That members have joined may be told meanwhile.
        let mut lines: Vec<String> = Vec::new();
        watch.wait_line(Duration::from_secs(10), |line| {
            let ours = line.starts_with('\t') && !line.contains("Members") && !line.contains("member-join");
            lines.extend(ours.then(|| line.trim_end().to_owned()));
            lines.len() == 5
        });
        watch.signal(Signal::SIGINT);
        watch.wait().success();
        lines.sort();
        lines
    });
    assert_eq!(shown[0], shown[1]);
    assert!(shown[1].contains(&"\tPayload: []byte{0x61, 0x20, 0x62}".to_owned()), "{:?}", shown[1]);
    // An agent that goes away ends the watch.
    let agent = agents.remove(0);
    let watches = [Program::Real, Program::Ours].map(|program| {
        let mut watch = agent.watch(program, &["monitor"]);
        watch.wait_line(Duration::from_secs(10), |line| line.contains("Serf agent starting")).unwrap();
        watch
    });
    agent.running.kill();
    for watch in watches {
        let ended = watch.wait().exits(1);
        assert!(ended.stdout.contains("Remote side ended the monitor!"), "{ended}");
    }
}
