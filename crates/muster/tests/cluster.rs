//! The whole program on this machine: clusters made, used, changed, broken and removed, and nothing left of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod lifecycle {
    use muster_testkit::{Sandbox, Traces, can_make_nodes};

    fn quickstart() -> String {
        fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/quickstart.yaml")).unwrap()
    }

    fn sandbox() -> Sandbox {
        Sandbox::new(env!("CARGO_BIN_EXE_muster"))
    }

    #[test]
    fn quickstart_comes_up_sees_its_peers_and_leaves_nothing() {
        if !can_make_nodes() {
            return;
        }
        let place = Sandbox::alone(env!("CARGO_BIN_EXE_muster"));
        let file = place.write("quickstart.yaml", &quickstart());
        let file = file.to_str().unwrap();
        let before = place.traces();
        let up = place.muster(&["up", "--json", file]).success().json();
        let nodes = up["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 3, "{up}");
        assert!(nodes.iter().all(|node| node["phase"] == "ready"), "{up}");
        let during = place.traces();
        assert!(during.number("process") >= 4 && during.number("namespace") > before.number("namespace"));
        for node in nodes {
            let name = node["name"].as_str().unwrap();
            // The page that the recipe writes, and the names that every node knows.
            let page = place.muster(&["exec", name, "--", "cat", "/etc/hello"]).success().stdout;
            for peer in nodes {
                let (peer, address) = (peer["name"].as_str().unwrap(), peer["addresses"][0].as_str().unwrap());
                assert!(page.contains(peer) && page.contains(address), "{name} does not see {peer}: {page}");
                let found = place.muster(&["exec", name, "--", "getent", "hosts", peer]).success().stdout;
                assert!(found.starts_with(address), "{name} finds {peer} at {found}");
            }
        }
        place.muster(&["status", "--json"]).success();
        place.muster(&["down", "--yes", "quickstart"]).success();
        Traces::assert_same(&before, &place.traces());
        let list = place.muster(&["ls", "--json"]).success().json();
        assert_eq!(list["clusters"].as_array().unwrap().len(), 0, "{list}");
    }

    #[test]
    fn a_second_up_changes_nothing_and_says_so() {
        if !can_make_nodes() {
            return;
        }
        let place = sandbox();
        let file = place.write("quickstart.yaml", &quickstart());
        let file = file.to_str().unwrap();
        place.muster(&["plan", "--detailed-exitcode", file]).exits(2);
        place.muster(&["up", file]).success();
        let boots =
            |place: &Sandbox| place.muster(&["exec", "*", "--", "stat", "-c", "%Y", "/proc/1"]).success().stdout;
        let before = boots(&place);
        let plan = place.muster(&["plan", "--detailed-exitcode", file]).success();
        assert!(plan.stdout.contains("Nothing to do"), "{plan}");
        let up = place.muster(&["up", "--json", file]).success().json();
        assert!(up["nodes"].as_array().unwrap().iter().all(|node| node["changed"] == 0), "{up}");
        assert_eq!(sorted(&before), sorted(&boots(&place)));
        place.muster(&["down", "--yes"]).success();
    }

    fn sorted(text: &str) -> Vec<&str> {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines
    }

    /// The group `name` with this cloud-config and count, on the local provider.
    fn file(count: u32, cloud_init: &str) -> String {
        let block: String = cloud_init.lines().fold(String::new(), |text, line| text + "      " + line + "\n");
        format!("cluster: life\ngroups:\n  web:\n    count: {count}\n    cloud_init: |\n{block}")
    }

    #[test]
    fn an_edit_touches_only_what_it_changes() {
        if !can_make_nodes() {
            return;
        }
        let place = sandbox();
        let config = |text: &str| {
            format!("write_files:\n  - path: /etc/app\n    content: {text}\nruncmd:\n  - date +%s%N > /srv/ran")
        };
        place.write("cluster.yaml", &file(2, &config("one")));
        place.muster(&["up"]).success();
        let ran = place.muster(&["exec", "web-1", "--", "cat", "/srv/ran"]).success().stdout;
        place.write("cluster.yaml", &file(2, &config("two")));
        let plan = place.muster(&["plan"]).success().stdout;
        assert!(plan.contains("configure"), "{plan}");
        place.muster(&["up"]).success();
        let text = place.muster(&["exec", "*", "--", "cat", "/etc/app"]).success().stdout;
        assert_eq!(sorted(&text).iter().filter(|line| line.ends_with("two")).count(), 2, "{text}");
        assert_eq!(ran, place.muster(&["exec", "web-1", "--", "cat", "/srv/ran"]).success().stdout);
        // One more: the others are not made again.
        place.write("cluster.yaml", &file(3, &config("two")));
        let up = place.muster(&["up", "--json"]).success().json();
        let changed: Vec<u64> =
            up["nodes"].as_array().unwrap().iter().map(|node| node["changed"].as_u64().unwrap()).collect();
        assert_eq!((changed[0], changed[1]), (0, 0), "{up}");
        // Fewer: it asks, and nobody is there to answer.
        place.write("cluster.yaml", &file(1, &config("two")));
        let refused = place.muster(&["up", "--allow-destroy=2"]).exits(64);
        assert!(refused.stderr.contains("--yes") && refused.stderr.contains("web-3"), "{refused}");
        // Two of three is much: a slip of the editor is not agreed to by `--yes` alone.
        let refused = place.muster(&["up", "--yes"]).exits(64);
        assert!(refused.stderr.contains("--allow-destroy=2") && refused.stderr.contains("web-[2-3]"), "{refused}");
        let up = place.muster(&["up", "--yes", "--allow-destroy=2", "--json"]).success().json();
        assert_eq!(up["removed"].as_array().unwrap().len(), 2, "{up}");
        assert_eq!(ran, place.muster(&["exec", "web-1", "--", "cat", "/srv/ran"]).success().stdout);
        // A changed command cannot be run on a machine that has run another: it is replaced, after asking.
        place.write("cluster.yaml", &file(1, &config("two").replace("ran", "other")));
        let refused = place.muster(&["up"]).exits(64);
        assert!(refused.stderr.contains("replace"), "{refused}");
        place.muster(&["up", "--yes"]).success();
        place.muster(&["exec", "web-1", "--", "test", "-e", "/srv/other"]).success();
        place.muster(&["exec", "web-1", "--", "test", "-e", "/srv/ran"]).exits(1);
        // A new machine on request.
        place.muster(&["exec", "web-1", "--", "touch", "/srv/old"]).success();
        let refused = place.muster(&["up", "--replace", "web-1"]).exits(64);
        assert!(refused.stderr.contains("replace"), "{refused}");
        place.muster(&["up", "--replace", "web-1", "--yes"]).success();
        place.muster(&["exec", "web-1", "--", "test", "-e", "/srv/old"]).exits(1);
        place.muster(&["down", "--yes"]).success();
    }

    #[test]
    fn a_failing_step_stops_its_node_and_says_which_line() {
        if !can_make_nodes() {
            return;
        }
        let place = sandbox();
        let text = "cluster: half\ngroups:\n  good: { count: 2 }\n  bad:\n    cloud_init:\n      runcmd:\n        - echo first\n        \
                    - echo the disk is missing >&2; exit 7\n        - touch /srv/never\n  after: { needs: [bad] }\n";
        place.write("cluster.yaml", text);
        let up = place.muster(&["up", "--json"]).exits(3).json();
        let node =
            |name: &str| up["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name).unwrap().clone();
        assert_eq!(node("good-1")["phase"], "ready");
        assert_eq!(node("good-2")["phase"], "ready");
        let bad = node("bad-1");
        assert_eq!(bad["phase"], "failed");
        assert_eq!(bad["step"], "runcmd[1]", "{bad}");
        assert!(bad["log"].to_string().contains("the disk is missing"), "{bad}");
        assert_eq!(node("after-1")["phase"], "planned");
        place.muster(&["exec", "bad-1", "--", "test", "-e", "/srv/never"]).exits(1);
        let status = place.muster(&["status"]).exits(3).stdout;
        assert!(status.contains("bad-1") && status.contains("failed"), "{status}");
        let logs = place.muster(&["logs", "bad-1"]).success().stdout;
        assert!(logs.contains("the disk is missing"), "{logs}");
        // Mended, the same command goes on; what was ready is not touched.
        place.write("cluster.yaml", &text.replace("; exit 7", ""));
        place.muster(&["up", "--yes"]).success();
        place.muster(&["down", "--yes"]).success();
    }

    #[test]
    fn an_interrupted_up_says_how_to_go_on_and_does() {
        if !can_make_nodes() {
            return;
        }
        let place = sandbox();
        place.write("cluster.yaml", &file(1, "runcmd:\n  - until test -e /srv/go; do sleep 0.05; done"));
        let interrupt = |times: usize| {
            let mut running = place.start(&["up", "--jsonl"]);
            let configuring = |line: &str| line.contains("runcmd[0]");
            running.wait_line(std::time::Duration::from_mins(1), configuring).unwrap();
            for _ in 0..times {
                running.signal(nix::sys::signal::Signal::SIGINT);
                // The second is another signal only once the first has been taken.
                muster_testkit::wait_for("the answer to the signal", std::time::Duration::from_secs(20), || {
                    (!running.is_running() || running.stderr().contains("Go on later with")).then_some(())
                });
            }
            running.wait().exits(130)
        };
        assert!(interrupt(1).stderr.contains("muster up cluster.yaml"));
        interrupt(2);
        let held = place.muster(&["status", "--json"]).exits(1).json();
        assert_eq!(held["nodes"].as_array().unwrap().len(), 1, "{held}");
        place.muster(&["exec", "*", "--", "sh", "-c", "touch /srv/go"]).success();
        place.muster(&["up"]).success();
        place.muster(&["down", "--yes"]).success();
    }

    #[test]
    fn stopped_and_killed_nodes_are_started_again() {
        if !can_make_nodes() {
            return;
        }
        let place = sandbox();
        place.write("cluster.yaml", &file(2, "write_files:\n  - path: /srv/kept\n    content: x"));
        place.muster(&["up"]).success();
        // PID 1 of a node takes this for the end of the machine.
        drop(place.muster(&["exec", "web-1", "--", "kill", "-TERM", "1"]));
        let stopped = muster_testkit::wait_for("web-1 to be down", std::time::Duration::from_secs(20), || {
            let status = place.muster(&["status", "--json"]).json();
            (status["nodes"][0]["phase"] == "stopped").then_some(status)
        });
        assert_eq!(stopped["nodes"][1]["phase"], "ready", "{stopped}");
        let plan = place.muster(&["plan"]).success().stdout;
        assert!(plan.contains("start"), "{plan}");
        place.muster(&["up"]).success();
        place.muster(&["exec", "*", "--", "test", "-e", "/srv/kept"]).success();
        place.muster(&["down", "--yes"]).success();
    }
}

mod commands {
    use muster_testkit::{Sandbox, can_make_nodes};

    #[test]
    fn exec_accounts_for_every_node() {
        if !can_make_nodes() {
            return;
        }
        let place = Sandbox::new(env!("CARGO_BIN_EXE_muster"));
        place.write("cluster.yaml", "cluster: ex\ngroups:\n  web: { count: 3 }\n  db: {}\n");
        place.muster(&["up"]).success();
        assert_eq!(place.muster(&["exec", "web-2", "--", "hostname"]).success().stdout, "web-2\n");
        place.muster(&["exec", "web-2", "--", "sh", "-c", "exit 42"]).exits(42);
        place.muster(&["exec", "web-2", "--", "no-such-command"]).exits(127);
        place.muster(&["exec", "web-2", "--", "sh", "-c", "kill -9 $$"]).exits(137);
        let all = place.muster(&["exec", "@web,db-1", "--", "hostname"]).success().stdout;
        assert_eq!(all.lines().count(), 4, "{all}");
        assert!(all.contains("web-3  web-3"), "{all}");
        let some = place
            .muster(&["exec", "--json", "web-[1-3]", "--", "sh", "-c", "test $(hostname) != web-2"])
            .exits(3)
            .json();
        let codes: Vec<i64> =
            some["nodes"].as_array().unwrap().iter().map(|node| node["code"].as_i64().unwrap()).collect();
        assert_eq!(codes, [0, 1, 0], "{some}");
        let events =
            place.muster(&["exec", "--jsonl", "db-1", "--", "sh", "-c", "echo hi; exit 4"]).exits(4).json_lines();
        assert_eq!((&events[0]["text"], &events[1]["code"]), (&serde_json::json!("hi"), &serde_json::json!(4)));
        place.muster(&["exec", "*", "--", "false"]).exits(1);
        let late = place.muster(&["exec", "web-1", "--timeout", "300ms", "--", "sleep", "1000"]).exits(124);
        assert!(late.stderr.contains("did not end"), "{late}");
        let unknown = place.muster(&["exec", "wev-1", "--", "true"]).exits(64);
        assert!(unknown.stderr.contains("db-1") && unknown.stderr.contains("web-[1-3]"), "{unknown}");
        place.muster(&["exec", "-u", "nobody", "web-1", "--", "id", "-un"]).success();
        place.muster(&["down", "--yes"]).success();
        let gone = place.muster(&["status", "ex"]).exits(1);
        assert!(gone.stderr.contains("no cluster"), "{gone}");
    }

    #[test]
    fn every_help_has_an_example() {
        let place = Sandbox::new(env!("CARGO_BIN_EXE_muster"));
        let help = place.muster(&["--help"]).success().stdout;
        let commands: Vec<&str> = help
            .lines()
            .skip_while(|line| !line.starts_with("Commands:"))
            .skip(1)
            .map_while(|line| line.strip_prefix("  "))
            // A line that begins further in goes on with what the one above says.
            .filter(|line| !line.starts_with(' '))
            .filter_map(|line| line.split_whitespace().next())
            // The help of `serf` is Serf's own.
            .filter(|name| !["help", "serf"].contains(name))
            .collect();
        assert!(commands.len() >= 11, "{commands:?}");
        for name in commands {
            let help = place.muster(&[name, "--help"]).success().stdout;
            assert!(
                help.contains("Examples:\n") && help.contains(&format!("  muster {name}"))
                    || name == "exec" && help.contains("muster exec"),
                "{name}: {help}"
            );
        }
    }

    #[test]
    fn mistakes_have_their_exit_codes_and_hints() {
        let place = Sandbox::new(env!("CARGO_BIN_EXE_muster"));
        place.write("image.yaml", "cluster: x\ngroups:\n  web: { image: hots }\n");
        let cases: [(&[&str], i32, &str); 9] = [
            (&["validate", "image.yaml"], 65, "did you mean `host`?"),
            (&["up"], 64, "name the cluster file"),
            (&["up", "nowhere.yaml"], 64, "nowhere.yaml"),
            (&["status"], 64, "muster up"),
            (&["status", "nothing"], 1, "no cluster"),
            (&["up", "."], 65, "folder"),
            (&["explain", "M9999"], 64, "lists them all"),
            (&["frobnicate"], 64, "unrecognized"),
            (&["validate", "bad.yaml"], 65, "bad.yaml:"),
        ];
        place.write("bad.yaml", "cluster: x\ngroups:\n  web: { cuont: 3 }\n");
        for (arguments, code, words) in cases {
            let output = place.muster(arguments).exits(code);
            assert!(output.stderr.contains(words), "{output}");
        }
        let good = place.write("good.yaml", "cluster: x\ngroups:\n  web: { count: 3 }\n");
        place.muster(&["validate", good.to_str().unwrap()]).success();
        let json = place.muster(&["validate", "--json", "bad.yaml"]).exits(65).json();
        assert!(json.to_string().contains("bad.yaml"), "{json}");
        // Nobody is there to be asked.
        assert!(!place.state().join("clusters").exists());
    }

    #[test]
    fn render_prints_what_a_node_is_given() {
        let place = Sandbox::new(env!("CARGO_BIN_EXE_muster"));
        let text = "cluster: r\nvars: { word: hello }\ngroups:\n  db: {}\n  web:\n    count: 2\n    files:\n      /etc/app: \"{{ vars.word }} {{ getip('db') }}\\n\"\n";
        place.write("cluster.yaml", text);
        let waits = place.muster(&["render", "--node", "web-1"]).exits(64);
        assert!(waits.stderr.contains("db-1") && waits.stderr.contains("--address"), "{waits}");
        let rendered = place.muster(&["render", "--node", "web-1", "--address", "db-1=10.9.8.7"]).success().stdout;
        assert!(rendered.starts_with("#cloud-config\n") && rendered.contains("hello 10.9.8.7"), "{rendered}");
        let all = place.muster(&["render", "--any-address", "203.0.113.7,10.0.0.7"]).success().stdout;
        assert!(all.contains("--- # web-2") && all.contains("hello 203.0.113.7"), "{all}");
        place.muster(&["render", "--node", "web-9"]).exits(64);
    }
}

mod scale {
    use muster_testkit::{Sandbox, can_make_nodes};

    const FILE: &str = "cluster: sized\ngroups:\n  web: { count: 1..3 }\n  db: { count: 1 }\n";

    fn names(document: &serde_json::Value) -> Vec<&str> {
        document["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn groups_grow_and_shrink_and_up_keeps_the_number() {
        if !can_make_nodes() {
            return;
        }
        let place = Sandbox::new(env!("CARGO_BIN_EXE_muster"));
        let file = place.write("sized.yaml", FILE);
        let file = file.to_str().unwrap();
        place.muster(&["up", file]).success();
        // The file is found again, wherever one is.
        let scaled = place.muster(&["scale", "sized", "web=3", "--json"]).success().json();
        assert_eq!(names(&scaled), ["web-1", "web-2", "web-3", "db-1"], "{scaled}");
        let counts = &scaled["counts"];
        assert_eq!((&counts["created"], &counts["kept"], &counts["touched"]), (&2.into(), &2.into(), &2.into()));
        assert_eq!(names(&place.muster(&["up", "--json", file]).success().json()).len(), 4);
        let asks = place.muster(&["scale", "web=-1"]).exits(64);
        assert!(asks.stderr.contains("add `--yes`"), "{asks}");
        let scaled = place.muster(&["scale", "web=-1", "--yes"]).success();
        assert!(scaled.stderr.contains("touched 1 of 4: 1 removed"), "{scaled}");
        assert_eq!(names(&place.muster(&["status", "--json"]).success().json()), ["db-1", "web-1", "web-2"]);
        for (word, code, expected) in [
            ("web=4", 65, "choose a number from 1 to 3, or change `count`"),
            ("db=2", 65, "change `count` to a range such as 1..2"),
            ("webs=2", 64, "did you mean `web`?"),
            ("web", 64, "no group is named"),
        ] {
            let refused = place.muster(&["scale", word]).exits(code);
            assert!(refused.stderr.contains(expected), "{refused}");
        }
        assert!(place.muster(&["scale", "web=4"]).exits(65).stderr.contains("sized.yaml:3"));
        fs_err::remove_file(file).unwrap();
        assert!(place.muster(&["scale", "web=1"]).exits(64).stderr.contains("--file"));
        place.muster(&["down", "--yes", "sized"]).success();
    }
}

mod machine {
    use muster_testkit::{Sandbox, can_make_nodes};

    #[test]
    fn doctor_tells_what_this_machine_can_do_and_changes_nothing() {
        let place = Sandbox::new(env!("CARGO_BIN_EXE_muster"));
        let before = place.traces();
        let told = place.muster(&["doctor", "--json"]);
        let report = told.json();
        let local = &report["providers"][0];
        assert_eq!((&report["version"], &local["provider"]), (&1.into(), &"local".into()), "{report}");
        let can = can_make_nodes();
        assert_eq!(local["verdict"] != "bad", can, "{report}");
        let told = told.exits(i32::from(!can));
        assert_eq!(told.stderr, "");
        let findings = local["findings"].as_array().unwrap();
        for topic in ["kernel", "permission", "namespaces", "overlay", "cgroups", "inotify", "disk", "image debian-12"]
        {
            assert!(findings.iter().any(|finding| finding["topic"] == topic), "{topic}: {report}");
        }
        for trouble in findings.iter().filter(|finding| finding["verdict"] != "good") {
            assert!(trouble["costs"].is_string() && trouble["remedy"].is_string(), "{trouble}");
        }
        assert_eq!(place.traces(), before);
        assert!(!place.state().exists(), "it makes no state");
    }
}
