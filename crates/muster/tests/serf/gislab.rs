//! The recipe `gislab`: a cluster from a file whose members are our agents, with GIS.lab's handlers.

use std::time::Duration;

use muster_testkit::{Output, Sandbox, Traces, can_make_nodes, wait_for};

const PATIENCE: Duration = Duration::from_mins(1);
const CLUSTER: &str = "cluster: lab
vars:
  handlers: [{ on: 'query:where', run: hostname }]
groups:
  server: { recipe: gislab/server }
  client: { recipe: gislab/client, count: 2..4 }
";

fn on(place: &Sandbox, node: &str, line: &str) -> Output {
    // A log-in shell: on nodes over the machine's own /usr only that knows where the program is.
    place.muster(&["exec", node, "--", "sh", "-lc", line])
}

/// What a line prints on the server, once it does.
fn until(place: &Sandbox, line: &str, expected: &str) {
    wait_for(&format!("{expected:?} of {line}"), PATIENCE, || {
        let said = on(place, "server-1", line);
        (said.code == 0 && said.stdout.trim() == expected).then_some(())
    });
}

const ALIVE: &str = "gislab-cluster members -tag role=client -status=alive | awk '{printf \"%s \", $1}'";
const WORKERS: &str = "wc -l < /etc/gislab/workers";

#[test]
fn machines_follow_the_events_of_gis_lab() {
    if !can_make_nodes() {
        return;
    }
    let place = Sandbox::alone(env!("CARGO_BIN_EXE_muster"));
    let before = place.traces();
    place.write("cluster.yaml", CLUSTER);
    place.muster(&["up", "--yes"]).success();
    until(&place, ALIVE, "client-1 client-2");
    until(&place, WORKERS, "2");
    let said = on(&place, "server-1", "gislab-cluster query where").success().stdout;
    for name in ["client-1", "client-2"] {
        assert!(said.contains(&format!("Response from '{name}': {name}")), "{said}");
    }
    let keys = on(&place, "client-1", "serf keys -list").success().stdout;
    assert!(keys.contains("[3/3]"), "{keys}");

    // Somebody logs in: the tag is everywhere, and that machine stays when all are told to reboot.
    on(&place, "client-2", "gislab-session start eva").success();
    until(
        &place,
        "gislab-cluster members -tag session-active=.+ | awk '{print $1, $4}' | cut -d, -f1-3",
        "client-2 role=client,session-active=eva,worker=yes",
    );
    on(&place, "client-2", "gislab-agent restart").success();
    until(&place, "gislab-cluster members -status=alive -tag session-active=eva | awk '{print $1}'", "client-2");
    let boot = |node: &str| on(&place, node, "stat -c %Y /proc/1").success().stdout;
    let (first, second) = (boot("client-1"), boot("client-2"));
    on(&place, "server-1", "gislab-cluster event -coalesce=false reboot 'client-2, nobody'").success();
    on(&place, "server-1", "gislab-cluster event -coalesce=false reboot").success();
    wait_for("the reboot of client-1", PATIENCE, || {
        let said = on(&place, "client-1", "stat -c %Y /proc/1");
        (said.code == 0 && said.stdout != first).then_some(())
    });
    // It is a member again, though nobody configures it.
    until(&place, ALIVE, "client-1 client-2");
    assert_eq!(boot("client-2"), second, "a session was running");
    on(&place, "client-2", "gislab-session end").success();
    until(&place, "gislab-cluster members -tag session-active=.+", "");

    // One is shut down: the load balancer goes on without it.
    on(&place, "server-1", "gislab-cluster event -coalesce=false shutdown client-2").success();
    until(&place, ALIVE, "client-1");
    until(&place, WORKERS, "1");
    place.muster(&["down", "--yes"]).success();
    Traces::assert_same(&before, &place.traces());
}
