//! Nodes of the machine's own programs.

use muster_provider::contract::Fixture;
use muster_provider::{Size, Tags};
use muster_types::NodeName;

use crate::support::{Kind, OneNode, authority, fixture_of, is_root, request, wait_for_another_boot};

async fn fixture() -> Fixture {
    fixture_of(Kind::Plain).await
}

muster_provider::contract_suite!(fixture);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_cannot_change_the_machine_it_runs_on() {
    if !is_root() {
        return;
    }
    let node = OneNode::start(Kind::Plain, Size::default()).await;
    let tries = [
        "touch /usr/written",
        "echo 1 > /proc/sys/vm/overcommit_memory",
        "echo h > /proc/sysrq-trigger",
        "touch /sys/written",
        "date -s 2001-01-01",
    ];
    for script in tries {
        let script = format!("if {script} >/dev/null 2>&1; then echo done; else echo refused; fi");
        assert_eq!(node.sh(&script).await.trim(), "refused", "{script}");
    }
    assert_eq!(node.sh("cat /proc/1/comm").await.trim(), "muster");
    assert_eq!(node.sh("hostname; ls /home; cat /etc/shadow | cut -d: -f2 | sort -u").await, "node-1\n*\n");
    node.sh("sysctl -q -w net.ipv4.ip_forward=1 || echo 1 > /proc/sys/net/ipv4/ip_forward").await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_switch_keeps_its_address_as_nodes_come() {
    if !is_root() {
        return;
    }
    let node = OneNode::start(Kind::Plain, Size::default()).await;
    // What the node knows of the switch is what it sends to; the owner has just spoken with it.
    let known = "awk '$1 == \"10.77.0.1\" { print $4 }' /proc/net/arp";
    let before = node.sh(known).await;
    let ca = authority(node.probe.folder.path()).ca_pem().to_owned();
    for index in 2..6 {
        let name = NodeName::new(format!("node-{index}")).unwrap();
        let machine = node.provider.create(&request(Kind::Plain, &name, &ca)).await.unwrap();
        node.provider.wait_running(&machine.id).await.unwrap();
        node.sh("ip neigh flush all 2>/dev/null; true").await;
        assert_eq!(node.sh(known).await, before, "after {name} came");
    }
    for machine in node.provider.list(&Tags::new()).await.unwrap() {
        if machine.id != node.machine.id {
            node.provider.destroy(&machine.id).await.unwrap();
        }
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_name_is_refused_at_once() {
    if !is_root() {
        return;
    }
    let node = OneNode::start(Kind::Plain, Size::default()).await;
    let hosts = node.sh("cat /etc/hosts").await;
    assert!(hosts.contains(&format!("{} node-1 node-1.contract", node.machine.addresses[0])), "{hosts}");
    // A dead resolver would hold this for ten seconds, and `timeout` would end it with 124.
    assert_eq!(node.sh("timeout 2 getent hosts nowhere.example; echo $?").await.trim(), "2");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reboot_from_inside_comes_back_with_its_data() {
    if !is_root() {
        return;
    }
    let node = OneNode::start(Kind::Plain, Size::default()).await;
    node.sh("echo kept > /srv/kept").await;
    let before = node.probe.joined(node.provider.dialer().as_ref(), &node.machine).await.unwrap();
    let before = before.status().await.unwrap().boot_id;
    // The command is ended with the machine, so its exit is not looked at.
    drop(node.probe.sh(node.provider.dialer().as_ref(), &node.machine, "reboot -f").await);
    let after = wait_for_another_boot(&node, &before).await;
    assert_ne!(before, after);
    let address = node.machine.addresses[0].to_string();
    let octets: Vec<String> = address.split('.').map(|octet| format!("{:02x}", octet.parse::<u8>().unwrap())).collect();
    // What others know of the node is still right.
    assert_eq!(node.sh("cat /sys/class/net/eth0/address").await.trim(), format!("02:6d:{}", octets.join(":")));
    assert_eq!(node.sh("cat /srv/kept").await.trim(), "kept");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_limited_where_the_machine_can() {
    if !is_root() {
        return;
    }
    let size = Size { memory: Some("64M".parse().unwrap()), cpus: Some(0.5), name: None };
    let node = OneNode::start(Kind::Plain, size).await;
    // `tail` keeps what it has read since the last line's end, so this grows until it is ended.
    let script = "head -c 200000000 /dev/zero | tail | wc -c; echo survived";
    let output = node.probe.sh(node.provider.dialer().as_ref(), &node.machine, script).await;
    let output = output.unwrap_or_default();
    assert!(!output.contains("200000000"), "200 MB were kept in 64 MB: {output}");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_of_a_killed_shepherd_are_stopped_and_start_again() {
    if !is_root() {
        return;
    }
    let node = OneNode::start(Kind::Plain, Size::default()).await;
    node.sh("echo kept > /srv/kept").await;
    let identity = fs_err::read(node.probe.folder.path().join("data/shepherd.json")).unwrap();
    let identity: serde_json::Value = serde_json::from_slice(&identity).unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(identity["pid"].as_i64().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    nix::sys::wait::waitpid(pid, None).ok();
    let listed = node.provider.list(&Tags::new()).await.unwrap();
    assert_eq!(listed[0].state, muster_provider::MachineState::Stopped);
    node.provider.start(&node.machine.id).await.unwrap();
    let started = node.provider.wait_running(&node.machine.id).await.unwrap();
    assert_eq!(started.addresses, node.machine.addresses);
    assert_eq!(node.sh("cat /srv/kept").await.trim(), "kept");
    node.end().await;
}
