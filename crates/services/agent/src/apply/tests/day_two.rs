//! Second runs and changed documents.

use std::os::unix::fs::PermissionsExt as _;

use super::{Node, last, request};
use crate::apply::ApplyRefusal;

#[tokio::test]
async fn a_second_run_does_nothing() {
    let node = Node::new();
    let document = "write_files: [{path: /etc/a, content: a}, {path: /b, content: \"b\\n\", append: true}]\n\
                    hostname: web\nmanage_etc_hosts: true\nruncmd: [echo ran >> log]\nfinal_message: up\n";
    let agent = node.agent();
    assert_eq!(last(&agent.apply(document).await), "Done 6/6");
    let before = fs_err::metadata(node.state_dir().join("apply/journal")).unwrap().len();
    for _ in 0..2 {
        let words = agent.apply(document).await;
        assert!(words[..6].iter().all(|word| word.ends_with(" unchanged")), "{words:?}");
        assert_eq!(last(&words), "Done 0/6");
    }
    agent.end().await;
    assert_eq!(last(&node.agent().apply(document).await), "Done 0/6");
    assert_eq!((node.read("log").as_str(), node.read("b").as_str()), ("ran\n", "b\n"));
    assert_eq!(
        node.read("etc/hosts"),
        "127.0.0.1 localhost\n# muster-config: begin\n127.0.1.1 web\n# muster-config: end\n"
    );
    assert_eq!(fs_err::metadata(node.state_dir().join("apply/journal")).unwrap().len(), before, "nothing was written");
}

#[tokio::test]
async fn what_drifted_is_repaired() {
    let node = Node::new();
    let document = "write_files: [{path: /a, content: a}, {path: /m, content: m, permissions: '0600'}, \
                    {path: /p, content: \"ours\\n\", append: true}, {path: /gone/x, content: x}]\n";
    node.write("p", "theirs\n");
    let agent = node.agent();
    agent.apply(document).await;
    node.write("a", "other");
    fs_err::set_permissions(node.root().join("m"), std::fs::Permissions::from_mode(0o644)).unwrap();
    node.write("p", "theirs\nmore\n");
    fs_err::remove_dir_all(node.root().join("gone")).unwrap();
    let journal = || fs_err::read(node.state_dir().join("apply/journal")).unwrap();
    let before = journal();
    let drifted = ["write_files[/a]", "write_files[/m]", "write_files[/p]", "write_files[/gone/x]"];
    assert_eq!(agent.applier.drifted().await, drifted);
    assert_eq!((journal(), node.read("a")), (before, "other".to_owned()), "it only looks");
    assert_eq!(last(&agent.apply(document).await), "Done 4/4");
    assert_eq!(agent.applier.drifted().await, [""; 0]);
    assert_eq!((node.read("a"), node.read("p")), ("a".to_owned(), "theirs\nmore\nours\n".to_owned()));
    assert_eq!(fs_err::metadata(node.root().join("m")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(node.read("gone/x"), "x");
    assert_eq!(last(&agent.apply(document).await), "Done 0/4");
}

#[tokio::test]
async fn what_a_command_changed_is_not_put_back() {
    let node = Node::new();
    let document = |content: &str| {
        format!("write_files: [{{path: /conf, content: 'port={content}'}}]\nruncmd: [sed -i s/PORT/80/ conf]\n")
    };
    let agent = node.agent();
    let words = agent.apply(&document("PORT")).await;
    assert!(words.iter().any(|word| word.contains("a command has changed what this step made")), "{words:?}");
    assert_eq!(agent.applier.drifted().await, [""; 0], "a command of the document meant it so");
    assert_eq!(last(&agent.apply(&document("PORT")).await), "Done 0/2");
    assert_eq!(node.read("conf"), "port=80");
    assert_eq!(last(&agent.apply(&document("8080")).await), "Done 1/2", "a changed file is written all the same");
    assert_eq!(node.read("conf"), "port=8080");
}

#[tokio::test]
async fn changed_commands_follow_the_rules() {
    let node = Node::new();
    let agent = node.agent();
    let with = |items: &str| format!("write_files: [{{path: /a, content: a}}]\nruncmd: [{items}]");
    agent.apply(&with("'mkdir d; cd d', echo a >> log, {command: echo x >> ../log, rerun: true}")).await;
    for items in ["'mkdir d; cd d', echo b >> log", "'mkdir d; cd d'", "echo new, 'mkdir d; cd d', echo a >> log"] {
        let refused = agent.applier.apply(request(1, &with(items))).await.unwrap_err();
        assert!(matches!(refused, ApplyRefusal::Replace { .. }), "{items}: {refused}");
        assert!(refused.to_string().contains("runcmd["), "{refused}");
    }
    let words = agent
        .apply(&with("'mkdir d; cd d', echo a >> log, {command: echo y >> ../log, rerun: true}, echo end >> log"))
        .await;
    assert_eq!(last(&words), "Done 2/5", "{words:?}");
    assert_eq!(node.read("d/log"), "a\nend\n", "an appended command starts where the others ended");
    assert_eq!(node.read("log"), "x\ny\n");
}

#[tokio::test]
async fn a_failed_document_can_be_corrected() {
    let node = Node::new();
    let agent = node.agent();
    let words = agent.apply("runcmd: ['cd /; A=1', echo one >> /no-such-folder/log]").await;
    assert!(last(&words).starts_with("Failed 1/2"), "{words:?}");
    let root = node.root().display().to_string();
    let words = agent.apply(&format!("runcmd: ['cd /; A=1', 'echo one$A >> {root}/log', 'pwd >> {root}/log']")).await;
    assert_eq!(last(&words), "Done 2/3", "{words:?}");
    assert_eq!(node.read("log"), "one1\n/\n");
    let failing =
        "runcmd: ['cd /; A=1', 'echo one$A >> ROOT/log', 'pwd >> ROOT/log', test -e ROOT/ok]".replace("ROOT", &root);
    assert!(last(&agent.apply(&failing).await).starts_with("Failed"));
    node.write("ok", "");
    assert_eq!(last(&agent.apply(&failing).await), "Done 1/4", "the same document goes on at the step that failed");
    assert_eq!(node.read("log"), "one1\n/\n");
}

#[tokio::test]
async fn a_changed_addition_takes_the_place_of_the_old_one() {
    let node = Node::new();
    node.write("f", "head\n");
    let agent = node.agent();
    let with = |text: &str| format!("write_files: [{{path: /f, content: \"{text}\\n\", append: true}}]");
    agent.apply(&with("one")).await;
    node.write("f", &(node.read("f") + "tail\n"));
    agent.apply(&with("two lines")).await;
    assert_eq!(node.read("f"), "head\ntwo lines\ntail\n");
    node.write("f", "all new\n");
    let words = agent.apply(&with("three")).await;
    assert!(words.iter().any(|word| word.contains("the earlier addition was not found")), "{words:?}");
    assert_eq!(node.read("f"), "all new\nthree\n");
    let words = agent.apply("runcmd: ['true']").await;
    assert!(words[0].contains("write_files[/f] is no longer in the document"), "{words:?}");
    assert_eq!(node.read("f"), "all new\nthree\n");
}

#[tokio::test]
async fn warnings_of_the_document_are_told() {
    let words = Node::new().agent().apply("#cloud-config\nruncmdd: [x]\n").await;
    assert_eq!(
        words,
        ["warning 2:1: `runcmdd` is not a key of a cloud-config (hint: did you mean `runcmd`?)", "Done 0/0"]
    );
    assert_eq!(Node::new().agent().apply("#cloud-config\n").await, ["Done 0/0"]);
}
