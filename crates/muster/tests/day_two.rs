//! The whole program on clusters that are there: work on single nodes, drift, plans in files, audit, sweeping, backups.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use muster_testkit::{Output, Sandbox, can_make_nodes};
use serde_json::Value;

fn sandbox() -> Sandbox {
    Sandbox::new(env!("CARGO_BIN_EXE_muster"))
}

/// A hub that knows its nodes, nodes that speak of nobody, and a file on each.
const FILE: &str = "cluster: days
groups:
  hub:
    cloud_init: |
      write_files:
        - path: /etc/nodes
          content: '{% for node in members(\"web\") %}{{ node.name }} {% endfor %}'
  web:
    count: 1..4
    needs: [hub]
    cloud_init: |
      write_files:
        - path: /etc/app
          content: hello
";

fn names(document: &Value) -> Vec<String> {
    let nodes = document["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect()
}

fn phases(output: &Output) -> Vec<(String, String)> {
    let document = output.json();
    let text = |node: &Value, key: &str| node[key].as_str().unwrap().to_owned();
    document["nodes"].as_array().unwrap().iter().map(|node| (text(node, "name"), text(node, "phase"))).collect()
}

mod nodes {
    use super::*;

    #[test]
    fn single_nodes_are_stopped_replaced_and_removed_and_no_others_are_touched() {
        if !can_make_nodes() {
            return;
        }
        let place = sandbox();
        place.write("cluster.yaml", FILE);
        place.muster(&["up"]).success();
        place.muster(&["scale", "web=3"]).success();
        let nodes = |place: &Sandbox| place.muster(&["exec", "hub-1", "--", "cat", "/etc/nodes"]).success().stdout;
        assert_eq!(nodes(&place).trim(), "web-1 web-2 web-3");
        place.muster(&["exec", "*", "--", "touch", "/srv/kept"]).success();
        // Stopped and started: data is kept, and only that node is told of.
        let stopped = place.muster(&["node", "stop", "web-2", "--json"]).success();
        assert_eq!(phases(&stopped), [("web-2".to_owned(), "stopped".to_owned())]);
        assert_eq!(stopped.json()["counts"]["untouched"], 3);
        let status = place.muster(&["status", "--json"]).exits(3);
        assert!(phases(&status).contains(&("web-2".to_owned(), "stopped".to_owned())), "{status}");
        let started = place.muster(&["node", "start", "web-2", "--json"]).success().json();
        assert_eq!(names(&started), ["web-2"]);
        place.muster(&["exec", "web-2", "--", "test", "-e", "/srv/kept"]).success();
        let boot = |node: &str| place.muster(&["exec", node, "--", "stat", "-c", "%Y", "/proc/1"]).success().stdout;
        let before = (boot("web-1"), boot("hub-1"));
        place.muster(&["node", "reboot", "web-2", "--json"]).success();
        place.muster(&["exec", "web-2", "--", "test", "-e", "/srv/kept"]).success();
        // Without a terminal nobody can be asked.
        place.muster(&["node", "rm", "web-2"]).exits(64);
        let removed = place.muster(&["node", "rm", "web-2", "--yes", "--json"]).success().json();
        assert_eq!((names(&removed), &removed["removed"][0]), (vec!["hub-1".to_owned()], &Value::from("web-2")));
        assert_eq!(nodes(&place).trim(), "web-1 web-3");
        assert!(place.muster(&["plan"]).success().stdout.contains("Nothing to do"));
        let replaced = place.muster(&["node", "replace", "web-3", "--yes"]).success();
        assert!(replaced.stderr.contains("touched 1 of 3") || replaced.stderr.contains("touched 2 of 3"), "{replaced}");
        place.muster(&["exec", "web-3", "--", "test", "-e", "/srv/kept"]).exits(1);
        place.muster(&["scale", "web=1", "--oldest", "--yes"]).success();
        assert_eq!(nodes(&place).trim(), "web-3");
        // Too few, a group of a fixed number, a node that is not there.
        let refused = place.muster(&["node", "rm", "web-3", "--yes"]).exits(65);
        assert!(refused.stderr.contains("1..4") || refused.stderr.contains("from 1 to 4"), "{refused}");
        place.muster(&["node", "rm", "hub-1", "--yes"]).exits(65);
        place.muster(&["node", "stop", "web-9"]).exits(64);
        let nothing = place.muster(&["node", "drain", "web-3"]).exits(1);
        assert!(nothing.stdout.contains("web-3") && nothing.stderr.contains("drain"), "{nothing}");
        assert_eq!(before.1, boot("hub-1"));
        // All of it off and on again.
        place.muster(&["stop"]).success();
        assert!(phases(&place.muster(&["status", "--json"]).exits(1)).iter().all(|(_, phase)| phase == "stopped"));
        let started = place.muster(&["start", "--json"]).success().json();
        assert_eq!(started["counts"]["started"], 2, "{started}");
        place.muster(&["exec", "hub-1", "--", "test", "-e", "/srv/kept"]).success();
        assert!(place.muster(&["plan"]).success().stdout.contains("Nothing to do"));
        place.muster(&["down", "--yes"]).success();
    }
}

mod plans {
    use super::*;

    #[test]
    fn what_drifts_is_told_and_put_back_and_a_kept_plan_holds_only_while_nothing_moves() {
        if !can_make_nodes() {
            return;
        }
        let place = sandbox();
        place.write("cluster.yaml", FILE);
        place.muster(&["up"]).success();
        place.muster(&["scale", "web=2"]).success();
        let none = place.muster(&["drift", "--detailed-exitcode"]).success();
        assert!(none.stdout.contains("nothing has drifted on 3 nodes"), "{none}");
        // By hand, on a node; and a machine that goes down.
        let damage = "echo other > /etc/app; echo mine > /srv/mine";
        place.muster(&["exec", "web-1", "--", "sh", "-c", damage]).success();
        let drift = place.muster(&["drift", "--detailed-exitcode", "--json"]).exits(2).json();
        let finding = &drift["findings"][0];
        assert_eq!((&finding["node"], &finding["level"]), (&Value::from("web-1"), &Value::from("configuration")));
        assert_eq!(finding["steps"], serde_json::json!(["write_files[/etc/app]"]), "{drift}");
        let plan = place.muster(&["plan", "-o", "mend.plan"]).success();
        assert!(plan.stdout.contains("write_files[/etc/app]"), "{plan}");
        let path = place.work().join("mend.plan");
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs_err::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let up = place.muster(&["up", "mend.plan", "--json"]).success().json();
        let touched: Vec<&Value> = up["nodes"].as_array().unwrap().iter().filter(|node| node["changed"] != 0).collect();
        assert_eq!((touched.len(), &touched[0]["name"]), (1, &Value::from("web-1")), "{up}");
        let text = place.muster(&["exec", "web-1", "--", "cat", "/etc/app", "/srv/mine"]).success().stdout;
        assert_eq!(text, "hellomine\n", "what the file does not speak of stays");
        place.muster(&["drift", "--detailed-exitcode"]).success();
        // It was carried out, so it does not hold any more.
        let refused = place.muster(&["up", "mend.plan"]).exits(1);
        assert!(refused.stderr.contains("agent web-1 was answers, with changes"), "{refused}");
        // An edit of the file is noticed too, and so is an edit of the plan.
        place.muster(&["plan", "-o", "none.plan"]).success();
        place.write("cluster.yaml", &FILE.replace("hello", "welcome"));
        let refused = place.muster(&["up", "none.plan"]).exits(1);
        assert!(refused.stderr.contains("was edited"), "{refused}");
        let text = fs_err::read_to_string(place.work().join("none.plan")).unwrap();
        place.write("none.plan", &text.replace("answers", "sleeps"));
        place.muster(&["up", "none.plan"]).exits(65);
        place.write("other.plan", "cluster: days\n");
        place.muster(&["up", "other.plan"]).exits(65);
        place.muster(&["plan", "-o", "plan.json"]).exits(64);
        let explained = place.muster(&["explain", "web-1", "--json"]).success().json();
        assert_eq!(explained["cause"], "nothing is wrong with it", "{explained}");
        let explained = place.muster(&["explain", "days:web-1"]).success().stdout;
        assert!(explained.contains("evidence:") && explained.contains("the provider lists machine"), "{explained}");
        place.muster(&["explain", "web-9"]).exits(64);
        assert!(place.muster(&["explain", "m0101"]).success().stdout.starts_with("M0101"));
        place.muster(&["down", "--yes"]).success();
        // Who did what outlives the cluster.
        let audit = place.muster(&["audit", "days", "--node", "web-1", "--json"]).success().json();
        let orders: Vec<&str> =
            audit["entries"].as_array().unwrap().iter().filter_map(|entry| entry["event"]["order"].as_str()).collect();
        assert!(orders.iter().any(|order| order.starts_with("create web-1 ")), "{audit}");
        assert!(orders.contains(&"destroy") && audit["entries"][0]["plan"].is_string(), "{audit}");
        let audit = place.muster(&["audit", "days"]).success().stdout;
        assert!(audit.contains("muster up") && audit.contains("decided to create: new in the file"), "{audit}");
        assert_eq!(place.muster(&["audit", "days", "--since", "0s"]).success().stdout, "");
    }
}

mod sweeping {
    use muster_testkit::Traces;

    use super::*;

    #[test]
    fn what_a_lost_state_leaves_is_found_shown_and_removed_and_what_is_known_is_not() {
        if !can_make_nodes() {
            return;
        }
        let place = Sandbox::alone(env!("CARGO_BIN_EXE_muster"));
        let before = place.traces();
        place.write("cluster.yaml", &FILE.replace("days", "lost"));
        place.muster(&["up"]).success();
        for ending in ["", "-wal", "-shm"] {
            fs_err::remove_file(place.state().join(format!("muster.db{ending}"))).ok();
        }
        place.write("kept.yaml", "cluster: kept\ngroups:\n  web: {}\n");
        place.muster(&["up", "kept.yaml"]).success();
        let old = std::fs::File::open(place.state().join("clusters/lost")).unwrap();
        old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let found = place.muster(&["sweep", "--dry-run", "--json"]).exits(2).json();
        let strays = found["found"].as_array().unwrap();
        assert_eq!((strays.len(), &strays[0]["cluster"]), (1, &Value::from("lost")), "{found}");
        assert_eq!(strays[0]["machines"].as_array().unwrap().len(), 2, "{found}");
        let refused = place.muster(&["sweep"]).exits(64);
        assert!(refused.stdout.contains("hub-1") && refused.stderr.contains("--yes"), "{refused}");
        place.muster(&["sweep", "--yes"]).success();
        assert!(place.muster(&["sweep", "--dry-run"]).success().stderr.contains("Nothing is left over"));
        place.muster(&["exec", "kept:web-1", "--", "true"]).success();
        place.muster(&["down", "kept", "--yes"]).success();
        Traces::assert_same(&before, &place.traces());
    }
}
