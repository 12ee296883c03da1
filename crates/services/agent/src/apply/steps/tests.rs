//! Steps on a folder that stands for a node: users by file and by tool, packages by a stand-in for apt.

mod planted;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use muster_cloudinit::{Document, parse_document};
use muster_types::NodeName;

use super::{Applied, Context, Machine, StepError, apply, holds};
use crate::apply::journal::Memo;
use crate::apply::log::Logs;
use crate::apply::run::Run;
use crate::apply::tool::StepLog;

struct Node {
    folder: tempfile::TempDir,
    machine: Machine,
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nold:x:1000:1000:Old:/home/old:/bin/sh\n";
const GROUP: &str = "root:x:0:\nadm:x:4:\nold:x:1000:\nusers:x:100:\n";
const SHADOW: &str = "root:*:19000:0:99999:7:::\nold:$6$a$b:19000:0:99999:7:::\n";

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::new(folder.path().join("root"), NodeName::new("n-1").unwrap());
        let node = Self { folder, machine };
        node.write("etc/passwd", PASSWD);
        node.write("etc/group", GROUP);
        node.write("etc/shadow", SHADOW);
        node.write("etc/gshadow", "root:*::\nadm:*::\n");
        fs_err::set_permissions(node.path("etc/shadow"), std::fs::Permissions::from_mode(0o640)).unwrap();
        node
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs_err::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs_err::write(self.path(path), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs_err::read_to_string(self.path(path)).unwrap_or_default()
    }

    /// The line of an entry of passwd and its like.
    fn entry(&self, file: &str, name: &str) -> String {
        let text = self.read(file);
        text.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap_or_default().to_owned()
    }

    fn document(text: &str) -> Document {
        parse_document(text).unwrap_or_else(|found| panic!("{found:?}"))
    }

    /// Does every step of a document; true where one changed something.
    async fn apply(&self, text: &str) -> Result<Vec<bool>, String> {
        let document = Self::document(text);
        let mut changed = Vec::new();
        for index in 0..document.steps.len() {
            changed.push(self.step(&document, index, Memo::default(), false).await.map_err(|e| e.tell())?.changed);
        }
        Ok(changed)
    }

    async fn step(
        &self,
        document: &Document,
        index: usize,
        memo: Memo,
        interrupted: bool,
    ) -> Result<Applied, StepError> {
        let run = Arc::new(Run::new(String::new(), document, Vec::new()));
        let logs = Logs::new(self.folder.path().join("logs"));
        let mut log = StepLog::new(logs.writer(document.steps[index].id.as_str()).unwrap(), run, index);
        let mut note = |_| Ok(());
        let mut running = |_| Ok(());
        let mut context = Context {
            machine: &self.machine,
            log: &mut log,
            scratch: self.folder.path(),
            memo,
            interrupted,
            left_over: interrupted,
            running: &mut running,
            note: &mut note,
        };
        apply(&document.steps[index], &mut context).await
    }

    fn holds(&self, text: &str) -> bool {
        Self::document(text).steps.iter().all(|step| holds(&self.machine, &step.kind, &Memo::default()))
    }

    /// Gives the node a program of the machine.
    fn borrow(&self, program: &str) -> bool {
        let there = std::path::Path::new("/usr/sbin").join(program);
        fs_err::create_dir_all(self.path("usr/sbin")).unwrap();
        there.is_file() && fs_err::os::unix::fs::symlink(there, self.path("usr/sbin").join(program)).is_ok()
    }

    /// Gives the node a script as a program.
    fn script(&self, program: &str, text: &str) {
        self.write(&format!("usr/bin/{program}"), &format!("#!/bin/sh\n{text}"));
        let path = self.path("usr/bin").join(program);
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

const USERS: &str = "\
groups: [ops, {adm: [old, deploy]}]
users:
- name: deploy
  gecos: The deployer
  groups: [ops, fresh]
  shell: /bin/sh
  sudo: [ALL=(ALL) NOPASSWD:ALL]
  lock_passwd: false
  hashed_passwd: $6$salt$hash
  ssh_authorized_keys: [ssh-ed25519 AAAA me]
  expiredate: 2030-12-31
- {name: daemon-x, system: true, homedir: /srv/x, primary_group: ops}
- {name: old, gecos: New, lock_passwd: true}
";

async fn users_are_made_and_stay(node: &Node) {
    node.write("etc/skel/.profile", "umask 022\n");
    let changed = node.apply(USERS).await.unwrap();
    // Members that the document makes get the group with themselves; a new user has a locked password already.
    assert_eq!(changed, [true, false, true, true, true, false, true, true]);
    assert!(node.holds(USERS));
    let (passwd, group, shadow) = (node.read("etc/passwd"), node.read("etc/group"), node.read("etc/shadow"));
    assert!(node.entry("etc/passwd", "deploy").ends_with(":The deployer:/home/deploy:/bin/sh"), "{passwd}");
    assert!(node.entry("etc/passwd", "old").contains(":1000:1000:New:"), "{passwd}");
    assert!(node.entry("etc/group", "adm").ends_with(":deploy,old"), "{group}");
    for name in ["ops", "fresh"] {
        assert!(node.entry("etc/group", name).ends_with(":deploy"), "{group}");
    }
    let ops = node.entry("etc/group", "ops").split(':').nth(2).unwrap().to_owned();
    assert_eq!(node.entry("etc/passwd", "daemon-x").split(':').nth(3), Some(ops.as_str()), "{passwd}");
    assert!(node.entry("etc/shadow", "deploy").starts_with("deploy:$6$salt$hash:"), "{shadow}");
    assert_eq!(node.entry("etc/shadow", "deploy").split(':').nth(7), Some("22279"), "{shadow}");
    assert!(node.entry("etc/shadow", "daemon-x").starts_with("daemon-x:!"), "{shadow}");
    assert!(node.entry("etc/shadow", "old").starts_with("old:!$6$a$b:"), "{shadow}");
    assert_eq!(fs_err::metadata(node.path("etc/shadow")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(node.read("home/deploy/.profile"), "umask 022\n");
    let home = fs_err::metadata(node.path("home/deploy")).unwrap();
    let uid: u32 = node.entry("etc/passwd", "deploy").split(':').nth(2).unwrap().parse().unwrap();
    assert_eq!((home.uid(), home.permissions().mode() & 0o777), (uid, 0o700));
    assert!(!node.path("srv/x").exists());
    let keys = fs_err::metadata(node.path("home/deploy/.ssh/authorized_keys")).unwrap();
    assert_eq!((keys.uid(), keys.permissions().mode() & 0o777), (uid, 0o600));
    assert_eq!(node.read("etc/sudoers.d/90-muster-deploy"), "deploy ALL=(ALL) NOPASSWD:ALL\n");
    let before = (passwd, group, shadow);
    let changed = node.apply(USERS).await.unwrap();
    // A password is set whenever its step is done; the journal sees to it that this is once.
    assert!(changed.iter().all(|changed| !changed), "{changed:?}");
    assert_eq!(before, (node.read("etc/passwd"), node.read("etc/group"), node.read("etc/shadow")));
}

#[tokio::test]
async fn users_are_made_in_the_files_of_an_image_without_tools() {
    let node = Node::new();
    users_are_made_and_stay(&node).await;
    assert_eq!(node.entry("etc/group", "deploy").split(':').nth(2), Some("1003"));
    assert_eq!(node.entry("etc/gshadow", "adm"), "adm:*::deploy,old");
    let number: u32 = node.entry("etc/passwd", "daemon-x").split(':').nth(2).unwrap().parse().unwrap();
    assert!((100..1000).contains(&number));
}

#[tokio::test]
async fn users_are_made_by_the_tools_of_an_image_that_has_them() {
    let node = Node::new();
    if !(node.borrow("useradd") && node.borrow("groupadd")) {
        muster_testkit::skipped("this machine has no useradd");
        return;
    }
    node.write("etc/login.defs", "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nUSERGROUPS_ENAB yes\n");
    users_are_made_and_stay(&node).await;
}

#[tokio::test]
async fn a_name_is_never_an_option_of_a_tool() {
    let node = Node::new();
    node.script("groupadd", "echo \"$@\" > \"${0%/*}/calls\"\n");
    node.apply("groups: [ops]").await.unwrap();
    assert!(node.read("usr/bin/calls").ends_with(" -- ops\n"), "{}", node.read("usr/bin/calls"));
}

#[tokio::test]
async fn keys_and_rules_that_are_taken_back_go() {
    let node = Node::new();
    let with = |more: &str| format!("users: [{{name: old{more}}}]");
    node.apply(&with(", sudo: ALL=(ALL) ALL, ssh_authorized_keys: [ssh-rsa A, ssh-rsa B]")).await.unwrap();
    let path = "home/old/.ssh/authorized_keys";
    node.write(path, &format!("ssh-rsa theirs\n{}", node.read(path)));
    assert!(!node.holds(&with("")));
    node.apply(&with(", ssh_authorized_keys: [ssh-rsa B]")).await.unwrap();
    assert_eq!(node.read(path), "ssh-rsa theirs\n# muster-config: begin\nssh-rsa B\n# muster-config: end\n");
    assert!(!node.path("etc/sudoers.d/90-muster-old").exists());
    node.apply(&with("")).await.unwrap();
    assert_eq!(node.read(path), "ssh-rsa theirs\n");
    assert!(node.holds(&with("")));
}

#[tokio::test]
async fn passwords_are_hashed_and_only_first_ones_wait_for_new_users() {
    let node = Node::new();
    node.apply("chpasswd: {list: 'old:secret', expire: true}").await.unwrap();
    let entry = node.entry("etc/shadow", "old");
    assert!(entry.starts_with("old:$6$") && entry.split(':').nth(2) == Some("0"), "{entry}");
    assert!(!entry.starts_with("old:$6$a$b"), "{entry}");
    node.apply("users: [{name: old, passwd: $6$first$x, lock_passwd: false}, {name: new, passwd: $6$first$x}]")
        .await
        .unwrap();
    assert_eq!(node.entry("etc/shadow", "old"), entry);
    assert!(node.entry("etc/shadow", "new").starts_with("new:!$6$first$x:"));
    let failed = node.apply("chpasswd: {list: 'nobody-here:x'}").await.unwrap_err();
    assert!(failed.contains("there is no user `nobody-here`"), "{failed}");
    let failed = node.apply("users: [{name: old, uid: 7}]").await.unwrap_err();
    assert!(failed.contains("has the number 1000, not 7") && failed.contains("hint"), "{failed}");
}

#[tokio::test]
async fn a_bad_sudo_rule_never_reaches_sudo() {
    let node = Node::new();
    node.write("usr/sbin/visudo", "#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\n! grep NONSENSE \"$1\"\n");
    fs_err::set_permissions(node.path("usr/sbin/visudo"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let failed = node.apply("users: [{name: old, sudo: NONSENSE}]").await.unwrap_err();
    assert!(failed.contains("sudo does not accept"), "{failed}");
    assert_eq!(fs_err::read_dir(node.path("etc/sudoers.d")).unwrap().count(), 0);
    node.apply("users: [{name: old, sudo: ALL=(ALL) ALL}]").await.unwrap();
    assert_eq!(fs_err::metadata(node.path("etc/sudoers.d/90-muster-old")).unwrap().permissions().mode() & 0o777, 0o440);
}

#[tokio::test]
async fn files_have_owners_modes_and_follow_links() {
    let node = Node::new();
    fs_err::os::unix::fs::symlink("/real/target", node.path("etc/link")).unwrap();
    let text = "write_files: [{path: /etc/link, content: x}, {path: /new/deep/f, content: y, owner: 'old:adm', permissions: '4755'}]";
    assert_eq!(node.apply(text).await.unwrap(), [true, true]);
    assert_eq!(node.apply(text).await.unwrap(), [false, false]);
    assert_eq!(node.read("real/target"), "x");
    assert!(node.path("etc/link").is_symlink());
    let found = fs_err::metadata(node.path("new/deep/f")).unwrap();
    assert_eq!((found.uid(), found.gid(), found.permissions().mode() & 0o7777), (1000, 4, 0o4755));
    assert_eq!(fs_err::metadata(node.path("new/deep")).unwrap().uid(), 1000);
    let failed = node.apply("write_files: [{path: /a, owner: later}]").await.unwrap_err();
    assert!(failed.contains("there is no user `later`") && failed.contains("defer: true"), "{failed}");
    let failed = node.apply("write_files: [{path: /etc, content: x}]").await.unwrap_err();
    assert!(failed.contains("is a folder"), "{failed}");
    assert_eq!(fs_err::read_dir(node.path("new/deep")).unwrap().count(), 1, "no scraps are left");
}

#[tokio::test]
async fn an_addition_that_a_crash_cut_is_made_whole_once() {
    let document = Node::document("write_files: [{path: /f, content: \"addition\\n\", append: true}]");
    for (left, expected) in [
        ("head\n", "head\naddition\n"),
        ("head\naddi", "head\naddition\n"),
        ("head\naddition\n", "head\naddition\n"),
        ("head\naddition\nlater\n", "head\naddition\nlater\n"),
        ("head\nother\n", "head\nother\naddition\n"),
    ] {
        let node = Node::new();
        node.write("f", "head\n");
        let mut noted = Memo::default();
        {
            // The first try writes down what it is about to do.
            let run = Arc::new(Run::new(String::new(), &document, Vec::new()));
            let logs = Logs::new(node.folder.path().join("logs"));
            let mut log = StepLog::new(logs.writer("x").unwrap(), run, 0);
            let mut note = |memo| {
                noted = memo;
                Ok(())
            };
            let mut context = Context {
                machine: &node.machine,
                log: &mut log,
                scratch: node.folder.path(),
                memo: Memo::default(),
                interrupted: false,
                left_over: false,
                running: &mut |_| Ok(()),
                note: &mut note,
            };
            apply(&document.steps[0], &mut context).await.unwrap();
        }
        node.write("f", left);
        let applied = node.step(&document, 0, noted, true).await.unwrap();
        assert_eq!(node.read("f"), expected, "{left:?}");
        assert!(holds(&node.machine, &document.steps[0].kind, &applied.memo));
    }
}

#[tokio::test]
async fn packages_are_looked_up_and_installed() {
    let node = Node::new();
    let status = "Package: curl\nStatus: install ok installed\nVersion: 7.88\n\n\
                  Package: mawk\nStatus: install ok installed\nProvides: awk, other (= 1)\nVersion: 1.3\n\n\
                  Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
    node.write("var/lib/dpkg/status", status);
    assert!(node.holds("packages: [curl, awk, 'curl:amd64', [curl, '7.88']]"));
    for missing in ["gone", "absent", "[curl, '8']"] {
        assert!(!node.holds(&format!("packages: [{missing}]")), "{missing}");
    }
    assert_eq!(node.apply("packages: [curl]").await.unwrap(), [false], "there is no apt, and none is needed");
    let failed = node.apply("packages: [curl, absent]").await.unwrap_err();
    assert!(failed.contains("absent cannot be installed: this node has no apt-get"), "{failed}");
    node.script(
        "apt-get",
        "echo \"$@\" >> \"${0%/*}/calls\"; echo $DEBIAN_FRONTEND; case \"$*\" in *broken*) exit 100;; esac\n",
    );
    node.apply("packages: [curl, absent, [more, '1.0']]").await.unwrap();
    let calls = node.read("usr/bin/calls");
    let calls: Vec<&str> = calls.lines().map(|line| line.split("--quiet ").nth(1).unwrap()).collect();
    assert_eq!(calls, ["update", "install absent more=1.0"]);
    let failed = node.apply("packages: [broken]").await.unwrap_err();
    assert!(failed.contains("apt-get install failed"), "{failed}");
    node.write("proc/net/route", "Iface\tDestination\tGateway\n");
    let failed = node.apply("packages: [broken]").await.unwrap_err();
    assert!(failed.contains("broken cannot be installed: this node cannot reach the package servers"), "{failed}");
    assert!(failed.contains("muster up --replace"), "{failed}");
    assert!(node.read("usr/bin/calls").trim_end().ends_with("Error-Mode=any install broken"));
    fs_err::remove_file(node.path("proc/net/route")).unwrap();
    node.apply("package_upgrade: true").await.unwrap();
    assert!(node.read("usr/bin/calls").trim_end().ends_with("dist-upgrade"));
}

#[test]
fn a_program_that_leaves_a_noisy_process_behind_ends() {
    let (sender, ended) = std::sync::mpsc::channel();
    // On a thread of its own: whoever listened to the end would never give it back.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let node = Node::new();
        node.script("apt-get", "yes & yes >&2 & echo 'the end'\n");
        runtime.block_on(node.apply("package_update: true")).unwrap();
        sender.send(()).unwrap();
    });
    ended.recv_timeout(std::time::Duration::from_secs(30)).expect("the step ends with its program");
}

#[tokio::test]
async fn names_zone_and_mounts() {
    let node = Node::new();
    node.write("usr/share/zoneinfo/Europe/Budapest", "TZif");
    node.write("etc/hosts", "10.0.0.1 web\n");
    let text = "hostname: web\nfqdn: web.example.com\nmanage_etc_hosts: localhost\ntimezone: Europe/Budapest\n\
                mounts: [[/dev/sdb1, /data, ext4]]\n";
    assert_eq!(node.apply(text).await.unwrap(), [true; 4]);
    assert_eq!(node.apply(text).await.unwrap(), [false; 4]);
    assert!(node.holds(text));
    assert_eq!(node.read("etc/hostname"), "web\n");
    assert_eq!(
        node.read("etc/hosts"),
        "10.0.0.1 web\n# muster-config: begin\n127.0.1.1 web.example.com web\n# muster-config: end\n"
    );
    assert_eq!(
        fs_err::read_link(node.path("etc/localtime")).unwrap().to_str(),
        Some("/usr/share/zoneinfo/Europe/Budapest")
    );
    assert_eq!(node.read("etc/fstab"), "/dev/sdb1\t/data\text4\tdefaults,nofail\t0\t2\n");
    assert!(node.path("data").is_dir());
    let failed = node.apply("timezone: Mars/Base").await.unwrap_err();
    assert!(failed.contains("there is no time zone `Mars/Base`") && failed.contains("hint"), "{failed}");
}
