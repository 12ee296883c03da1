//! Nodes of Debian whose first process is systemd.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use muster_provider::contract::Fixture;
use muster_provider::{Machine, MachineBatch, MachineState, Size, Tags};

use crate::support::{Kind, OneNode, context, fixture_of, is_root, open_with, wait_for_another_boot};

async fn fixture() -> Fixture {
    fixture_of(Kind::Systemd).await
}

muster_provider::contract_suite!(fixture);

async fn node() -> Option<OneNode> {
    if is_root() { Some(OneNode::start(Kind::Systemd, Size::default()).await) } else { None }
}

/// Asks with growing pauses until it is so; the last answer is in the failure.
async fn until(what: &str, mut so: impl AsyncFnMut() -> Result<(), String>) {
    let mut pauses = muster_stdx::Backoff::new(Duration::from_millis(5), Duration::from_millis(500));
    let mut last = String::new();
    for _ in 0..60 {
        match so().await {
            Ok(()) => return,
            Err(found) => last = found,
        }
        tokio::time::sleep(pauses.pause()).await;
    }
    panic!("waited in vain for {what}: {last}");
}

impl OneNode {
    async fn listed(&self) -> Machine {
        self.provider.list(&Tags::new()).await.unwrap().remove(0)
    }

    async fn becomes(&self, state: MachineState) -> Machine {
        until(&format!("{state:?}"), async || {
            let listed = self.listed().await;
            if listed.state == state { Ok(()) } else { Err(format!("{listed:?}")) }
        })
        .await;
        self.listed().await
    }

    async fn console(&self) -> String {
        self.provider.console(&self.machine.id, 1000).await.unwrap().join("\n")
    }

    fn upper(&self) -> std::path::PathBuf {
        let machines = self.probe.folder.path().join("data/machines");
        machines.join(self.machine.id.as_str()).join("upper")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_boot_is_whole_and_units_can_be_worked_with_from_the_first_moment() {
    let Some(node) = node().await else { return };
    // All of this is asked while the boot still goes on.
    let unit = "[Service]\nType=notify\nNotifyAccess=all\nExecStart=/bin/sh -c 'systemd-notify --ready; sleep infinity'\n\
                [Install]\nWantedBy=multi-user.target\n";
    node.sh(&format!("printf '%s' \"{unit}\" > /etc/systemd/system/notify.service")).await;
    node.sh("timeout 60 systemctl enable --now notify && timeout 60 systemctl restart ssh notify").await;
    assert_eq!(node.sh("timeout 60 systemctl is-system-running --wait").await.trim(), "running");
    assert_eq!(node.sh("systemctl list-units --failed --no-legend; systemctl list-jobs --no-legend").await, "");
    assert_eq!(node.sh("systemctl is-active notify ssh dbus systemd-logind muster-agent").await, "active\n".repeat(5));
    assert_eq!(node.sh("cat /proc/1/comm; systemd-detect-virt; hostname").await, "systemd\ncontainer-other\nnode-1\n");
    assert_eq!(node.sh("systemd-run --quiet --wait --pipe echo through-the-bus").await, "through-the-bus\n");
    assert_eq!(node.sh("stat -c %a /run/muster /run/muster/context.json").await, "711\n600\n");
    assert_eq!(node.sh("cat /etc/machine-id | wc -c; wc -c < /etc/resolv.conf").await, "33\n0\n");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_under_systemd_cannot_change_the_machine_it_runs_on() {
    let Some(node) = node().await else { return };
    let tries = [
        "echo 1 > /proc/sys/vm/overcommit_memory",
        "echo h > /proc/sysrq-trigger",
        "touch /sys/written",
        "date -s 2001-01-01",
        "touch /run/muster/bin/muster",
        // Above its own cgroup there is nothing to see.
        "ls -d /sys/fs/cgroup/muster",
    ];
    for script in tries {
        let script = format!("if {script} >/dev/null 2>&1; then echo done; else echo refused; fi");
        assert_eq!(node.sh(&script).await.trim(), "refused", "{script}");
    }
    node.sh("mkdir /sys/fs/cgroup/own && echo $$ > /sys/fs/cgroup/own/cgroup.procs").await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reboots_and_a_power_off_from_inside_are_told_apart() {
    let Some(node) = node().await else { return };
    node.sh("echo kept > /srv/kept").await;
    for command in ["systemctl reboot", "reboot -f"] {
        let client = node.probe.joined(node.provider.dialer().as_ref(), &node.machine).await.unwrap();
        let before = client.status().await.unwrap().boot_id;
        // The command is ended with the machine, so its exit is not looked at.
        drop(node.probe.sh(node.provider.dialer().as_ref(), &node.machine, command).await);
        wait_for_another_boot(&node, &before).await;
        assert_eq!(
            node.sh("cat /srv/kept; grep -o 'from_inside\":[a-z]*' /run/muster/context.json").await,
            "kept\nfrom_inside\":true\n"
        );
    }
    node.becomes(MachineState::Running).await;
    node.provider.reboot(&node.machine.id).await.unwrap();
    node.provider.wait_running(&node.machine.id).await.unwrap();
    assert_eq!(node.sh("grep -o 'from_inside\":[a-z]*' /run/muster/context.json").await, "from_inside\":false\n");
    drop(node.probe.sh(node.provider.dialer().as_ref(), &node.machine, "poweroff").await);
    assert_eq!(node.becomes(MachineState::Stopped).await.detail.as_deref(), Some("powered off from inside"));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_services_finish() {
    let Some(node) = node().await else { return };
    let unit =
        "[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sh -c 'sleep 0.2; echo finished > /srv/finished'\n";
    node.sh(&format!("printf '%s' \"{unit}\" > /etc/systemd/system/slow.service; systemctl start slow")).await;
    node.provider.stop(&node.machine.id).await.unwrap();
    assert_eq!(node.listed().await.detail.as_deref(), Some("stopped"));
    assert_eq!(fs_err::read_to_string(node.upper().join("srv/finished")).unwrap(), "finished\n");
    node.provider.start(&node.machine.id).await.unwrap();
    node.provider.wait_running(&node.machine.id).await.unwrap();
    assert_eq!(node.sh("cat /srv/finished").await, "finished\n");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_has_what_systemd_and_the_agent_say_also_after_a_hangup() {
    let Some(node) = node().await else { return };
    until("the boot on the console", async || {
        let console = node.console().await;
        let whole = [
            "Welcome to Debian",
            "Reached target basic.target",
            "the agent listens",
            "Reached target multi-user.target",
        ];
        if whole.iter().all(|words| console.contains(words)) { Ok(()) } else { Err(console) }
    })
    .await;
    // 0x5437 is TIOCVHANGUP: what a login at the console does to begin with.
    node.sh("perl -e 'open(my $console, \"+<\", \"/dev/console\") or die; ioctl($console, 0x5437, 0) or die $!'; true")
        .await;
    node.sh("echo after the hangup > /dev/console; test -t 0 < /dev/console").await;
    until("a word after the hangup", async || {
        let console = node.console().await;
        if console.ends_with("after the hangup") { Ok(()) } else { Err(console) }
    })
    .await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_ends_comes_back_and_what_it_started_goes_on() {
    let Some(node) = node().await else { return };
    let client = node.probe.joined(node.provider.dialer().as_ref(), &node.machine).await.unwrap();
    let before = client.status().await.unwrap().boot_id;
    node.sh("setsid sleep 4321 </dev/null >/dev/null 2>&1 &").await;
    drop(
        node.probe
            .sh(node.provider.dialer().as_ref(), &node.machine, "systemctl kill -s KILL --kill-whom=main muster-agent")
            .await,
    );
    until("the agent's return", async || match client.status().await {
        Ok(status) if status.boot_id == before => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(node.sh("systemctl show -P NRestarts muster-agent; pgrep -fc '^sleep 4321'").await, "1\n1\n");
    // Five ends within a minute are enough, and the machine says so.
    let broken = "mkdir /run/systemd/system/muster-agent.service.d
                  printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' > /run/systemd/system/muster-agent.service.d/x.conf
                  systemctl daemon-reload
                  systemctl kill -s KILL --kill-whom=main muster-agent";
    drop(node.probe.sh(node.provider.dialer().as_ref(), &node.machine, broken).await);
    let failed = node.becomes(MachineState::Failed).await;
    assert_eq!(failed.detail.as_deref(), Some("its agent ended five times within a minute"));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_systemd_that_dies_is_told_with_the_console() {
    let Some(node) = node().await else { return };
    node.provider.stop(&node.machine.id).await.unwrap();
    let folder = node.upper().join("usr/lib/systemd");
    fs_err::create_dir_all(&folder).unwrap();
    fs_err::write(folder.join("systemd"), "#!/bin/sh\necho no such luck today\nexit 3\n").unwrap();
    fs_err::set_permissions(folder.join("systemd"), std::fs::Permissions::from_mode(0o755)).unwrap();
    node.provider.start(&node.machine.id).await.unwrap();
    let failed = node.provider.wait_running(&node.machine.id).await.unwrap();
    assert_eq!(failed.state, MachineState::Failed);
    let detail = failed.detail.unwrap();
    assert!(detail.contains("ended before its agent listened") && detail.contains("no such luck today"), "{detail}");
    fs_err::remove_file(folder.join("systemd")).unwrap();
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_from_outside_hold_under_systemd() {
    if !is_root() {
        return;
    }
    let size = Size { memory: Some("128M".parse().unwrap()), cpus: Some(0.5), name: None };
    let node = OneNode::start(Kind::Systemd, size).await;
    let script = "head -c 200000000 /dev/zero | tail | wc -c; echo survived";
    let output = node.probe.sh(node.provider.dialer().as_ref(), &node.machine, script).await.unwrap_or_default();
    assert!(!output.contains("200000000"), "200 MB were kept in 128 MB: {output}");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_nodes_end_with_their_shepherd_and_start_again() {
    let Some(node) = node().await else { return };
    node.sh("echo kept > /srv/kept").await;
    let identity = fs_err::read(node.probe.folder.path().join("data/shepherd.json")).unwrap();
    let identity: serde_json::Value = serde_json::from_slice(&identity).unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(identity["pid"].as_i64().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    nix::sys::wait::waitpid(pid, None).ok();
    assert_eq!(node.listed().await.state, MachineState::Stopped);
    node.provider.start(&node.machine.id).await.unwrap();
    node.provider.wait_running(&node.machine.id).await.unwrap();
    assert_eq!(node.sh("cat /srv/kept").await.trim(), "kept");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_nodes_than_the_machine_can_hold_are_refused_before_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let provider = open_with(env!("CARGO_BIN_EXE_muster").into(), context(folder.path())).await.unwrap();
    let batch = |count, image: &str| MachineBatch {
        count,
        image: Some(image.to_owned()),
        size: Size::default(),
        shared_folders: std::collections::BTreeSet::new(),
        settings: None,
    };
    provider.preflight(&[batch(2, "host"), batch(1, "debian-12")]).await.unwrap();
    let error = provider.preflight(&[batch(2, "host"), batch(1_000_000, "debian-12")]).await.unwrap_err();
    assert!(error.message.contains("1000002 nodes need 8000000 inotify instances"), "{}", error.message);
    assert!(error.hint.contains("run: sysctl -w fs.inotify.max_user_instances=8388608"), "{}", error.hint);
    assert!(!folder.path().join("data").exists());
}

/// A machine whose mounts of cgroups are others than here, as far as a mount namespace can make one.
async fn boots_where(umount: &str) {
    if !is_root() {
        return;
    }
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let program = folder.path().join("muster");
    let muster = env!("CARGO_BIN_EXE_muster");
    let script = format!("#!/bin/sh\nexec unshare --mount sh -c '{umount}; exec \"$0\" \"$@\"' {muster} \"$@\"\n");
    write_program(&program, &script);
    let provider = open_with(program, context(folder.path())).await.unwrap();
    let node = OneNode::start_on(Kind::Systemd, provider, folder, |_| ()).await;
    assert_eq!(node.sh("timeout 60 systemctl is-system-running --wait").await.trim(), "running");
    assert_eq!(node.sh("stat -f -c %T /sys/fs/cgroup").await.trim(), "cgroup2fs");
    node.end().await;
}

fn write_program(path: &Path, text: &str) {
    fs_err::write(path, text).unwrap();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_runs_where_only_the_first_version_of_cgroups_is_mounted() {
    boots_where("for at in $(findmnt -rn -t cgroup2 -o TARGET); do umount $at || exit; done").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_runs_where_only_the_second_version_of_cgroups_is_mounted() {
    boots_where("for at in $(findmnt -rn -t cgroup -o TARGET); do umount $at || exit; done").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_runs_where_no_cgroups_are_mounted() {
    boots_where("for at in $(findmnt -rn -t cgroup,cgroup2 -o TARGET); do umount $at || exit; done").await;
}
