//! Programs that outlive the agent that started them.

use std::os::unix::fs::PermissionsExt as _;

use super::{Node, last, until, within, word};

impl Node {
    fn script(&self, program: &str, text: &str) {
        let path = format!("usr/bin/{program}");
        self.write(&path, &format!("#!/bin/sh\ncd {}\n{text}", self.root().display()));
        fs_err::set_permissions(self.root().join(path), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A node with the disk of this one, as it is at this moment: what an agent that is killed now leaves.
    fn killed_now(&self) -> Node {
        let other = Node::new();
        fs_err::remove_dir_all(other.root()).unwrap();
        fs_err::os::unix::fs::symlink(self.root(), other.root()).unwrap();
        fs_err::create_dir_all(other.state_dir().join("apply")).unwrap();
        fs_err::copy(self.state_dir().join("apply/journal"), other.state_dir().join("apply/journal")).unwrap();
        other
    }
}

#[tokio::test]
async fn packages_of_an_agent_that_was_killed_are_waited_for_and_finished() {
    let node = Node::new();
    let mut gate = node.gate("gate");
    // The first install waits at the gate.
    node.script(
        "apt-get",
        "case \"$*\" in *update*) exit;; esac; echo begin >> calls\n\
         mkdir once 2> /dev/null && read x < gate\n\
         echo end >> calls\n",
    );
    node.script("dpkg", "echo \"$*\" >> calls\n");
    let document = "packages: [absent]";
    let agent = node.agent();
    drop(agent.start(document).await);
    until(async || node.read("calls") == "begin\n" && super::exists(&node.root().join("once"))).await;
    let later = node.killed_now();
    let next = later.agent();
    let mut events = next.start(document).await;
    let first = within(events.recv()).await.as_ref().map(word).unwrap_or_default();
    assert!(first.contains("waiting for what was begun"), "{first}");
    assert_eq!(node.read("calls"), "begin\n");
    gate.open();
    assert_eq!(last(&super::told(events).await), "Done 1/1");
    let finish = "--force-confold --force-confdef --configure -a";
    assert_eq!(node.read("calls"), format!("begin\nend\n{finish}\nbegin\nend\n"));
    next.end().await;
    agent.end().await;
}
