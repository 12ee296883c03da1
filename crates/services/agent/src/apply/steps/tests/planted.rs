//! What users of the node have put where steps write.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::mpsc;
use std::time::Duration;

use fs_err::os::unix::fs::symlink;

use super::Node;

const KEYS: &str = "users: [{name: old, ssh_authorized_keys: [ssh-ed25519 AAAA me]}]";

/// A home of the user 1000, and a file of root's.
fn node() -> Node {
    let node = Node::new();
    fs_err::create_dir_all(node.path("home/old")).unwrap();
    fs_err::os::unix::fs::chown(node.path("home/old"), Some(1000), Some(1000)).unwrap();
    node.write("etc/secret", "secret\n");
    node
}

fn plant(node: &Node, target: &str, link: &str) {
    symlink(node.path(target), node.path(link)).unwrap();
    fs_err::os::unix::fs::lchown(node.path(link), Some(1000), Some(1000)).unwrap();
}

/// Owner, permissions and content of something of root's.
fn state(node: &Node, path: &str) -> (u32, u32, String) {
    let found = fs_err::metadata(node.path(path)).unwrap();
    (found.uid(), found.permissions().mode() & 0o7777, node.read(path))
}

#[tokio::test]
async fn links_in_the_place_of_temporary_files_are_not_followed() {
    let node = node();
    fs_err::create_dir(node.path("home/old/.ssh")).unwrap();
    fs_err::os::unix::fs::chown(node.path("home/old/.ssh"), Some(1000), Some(1000)).unwrap();
    // The second is what a crash leaves: it goes.
    for name in [".authorized_keys.muster-new", ".authorized_keys.muster-new-0123456789abcdef"] {
        plant(&node, "etc/secret", &format!("home/old/.ssh/{name}"));
    }
    let before = state(&node, "etc/secret");
    node.apply(KEYS).await.unwrap();
    assert_eq!(state(&node, "etc/secret"), before);
    assert!(node.read("home/old/.ssh/authorized_keys").contains("AAAA"));
    assert!(!node.path("home/old/.ssh/.authorized_keys.muster-new-0123456789abcdef").is_symlink());
}

#[tokio::test]
async fn links_in_the_place_of_folders_and_files_of_a_home_are_refused() {
    let node = node();
    let (secret, folder) = (state(&node, "etc/secret"), state(&node, "etc"));
    plant(&node, "etc", "home/old/.ssh");
    let failed = node.apply(KEYS).await.unwrap_err();
    assert!(failed.contains("home/old/.ssh is a link") && failed.contains("hint"), "{failed}");
    assert!(!node.path("etc/authorized_keys").exists());
    // Who gets no keys from here may keep his folder where he likes.
    node.apply("users: [{name: old}]").await.unwrap();
    fs_err::remove_file(node.path("home/old/.ssh")).unwrap();
    node.apply(KEYS).await.unwrap();
    fs_err::remove_file(node.path("home/old/.ssh/authorized_keys")).unwrap();
    plant(&node, "etc/secret", "home/old/.ssh/authorized_keys");
    plant(&node, "etc", "home/old/.config");
    let files = ["{path: /home/old/.config/secret, content: x", "{path: /home/old/.ssh/authorized_keys, content: x"];
    for file in files {
        for more in [", owner: old}", ", owner: old, append: true}", ", owner: old, permissions: '0666'}"] {
            let failed = node.apply(&format!("write_files: [{file}{more}]")).await.unwrap_err();
            assert!(failed.contains("is a link that a user of the node may have made"), "{file}{more}: {failed}");
        }
    }
    assert!(node.apply(KEYS).await.is_err());
    assert_eq!((state(&node, "etc/secret"), state(&node, "etc")), (secret, folder));
}

#[tokio::test]
async fn another_name_of_a_file_of_root_is_not_given_away() {
    let node = node();
    let before = state(&node, "etc/secret");
    let borrow = || {
        fs_err::remove_file(node.path("home/old/mine")).ok();
        fs_err::hard_link(node.path("etc/secret"), node.path("home/old/mine")).unwrap();
    };
    borrow();
    // The content is right already, so that only the owner would change.
    node.apply("write_files: [{path: /home/old/mine, content: \"secret\\n\", owner: old}]").await.unwrap();
    assert_eq!(state(&node, "etc/secret"), before);
    assert_eq!(state(&node, "home/old/mine").0, 1000);
    borrow();
    let add = "write_files: [{path: /home/old/mine, content: more, owner: old, append: true}]";
    let failed = node.apply(add).await.unwrap_err();
    assert!(failed.contains("has other names"), "{failed}");
    assert_eq!(state(&node, "etc/secret"), before);
}

#[tokio::test]
async fn a_skeleton_is_copied_with_its_modes_and_links() {
    let node = Node::new();
    node.write("etc/skel/bin/tool", "tool");
    fs_err::set_permissions(node.path("etc/skel/bin/tool"), std::fs::Permissions::from_mode(0o750)).unwrap();
    symlink("bin/tool", node.path("etc/skel/link")).unwrap();
    fs_err::create_dir_all(node.path("home/.muster-home/half")).unwrap();
    node.apply("users: [{name: old}]").await.unwrap();
    let tool = fs_err::metadata(node.path("home/old/bin/tool")).unwrap();
    assert_eq!((tool.uid(), tool.permissions().mode() & 0o777), (1000, 0o750));
    let folder = fs_err::metadata(node.path("home/old/bin")).unwrap();
    assert_eq!((folder.uid(), folder.permissions().mode() & 0o777), (1000, 0o755));
    assert_eq!(fs_err::read_link(node.path("home/old/link")).unwrap().to_str(), Some("bin/tool"));
    assert!(!node.path("home/old/half").exists() && !node.path("home/.muster-home").exists());
}

#[test]
fn a_pipe_or_a_device_is_told_of_and_not_opened() {
    // On a thread of its own: whoever opened the pipe would wait in it for ever, with all of its runtime.
    let (sender, outcomes) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let node = node();
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&node.path("etc/pipe"), mode).unwrap();
        fs_err::create_dir(node.path("home/old/.ssh")).unwrap();
        nix::unistd::mkfifo(&node.path("home/old/.ssh/authorized_keys"), mode).unwrap();
        symlink("/dev/null", node.path("etc/null")).unwrap();
        node.write("dev/null", "");
        fs_err::remove_file(node.path("dev/null")).unwrap();
        std::os::unix::net::UnixListener::bind(node.path("dev/null")).unwrap();
        for document in [
            "write_files: [{path: /etc/pipe, content: x}]",
            "write_files: [{path: /etc/pipe, content: x, append: true}]",
            "write_files: [{path: /etc/null, content: x}]",
            KEYS,
        ] {
            assert!(!node.holds(document), "{document}");
            sender.send(runtime.block_on(node.apply(document)).unwrap_err()).unwrap();
        }
    });
    for _ in 0..4 {
        let failed = outcomes.recv_timeout(Duration::from_secs(30)).expect("nothing waits for the other end of a pipe");
        assert!(failed.contains("is neither a file nor a folder") && failed.contains("hint"), "{failed}");
    }
}
