//! `bootcmd` and `runcmd`: one shell a list, one step an item.

use super::{Node, last};

#[tokio::test]
async fn items_share_a_shell_and_have_their_own_output() {
    let node = Node::new();
    let agent = node.agent();
    let words = agent.apply(
        "bootcmd: [echo boot]\n\
         runcmd:\n\
         - mkdir sub && cd sub\n\
         - export A=1; B='two words'\n\
         - [sh, -c, 'echo \"$A:$B\" >&2']\n\
         - 'echo \"$A:$B:$INSTANCE_ID:$HOME\"; pwd | sed s,.*/,,'\n\
         - printf 'no end of line'\n",
    );
    assert_eq!(
        words.await,
        [
            "bootcmd[0] 0/6",
            "bootcmd[0] > boot",
            "bootcmd[0] done",
            "runcmd[0] 1/6",
            "runcmd[0] done",
            "runcmd[1] 2/6",
            "runcmd[1] done",
            "runcmd[2] 3/6",
            "runcmd[2] > 1:",
            "runcmd[2] done",
            "runcmd[3] 4/6",
            "runcmd[3] > 1:two words:web-1:/root",
            "runcmd[3] > sub",
            "runcmd[3] done",
            "runcmd[4] 5/6",
            "runcmd[4] > no end of line",
            "runcmd[4] done",
            "Done 6/6",
        ]
    );
}

#[tokio::test]
async fn the_first_failing_command_stops() {
    let node = Node::new();
    let agent = node.agent();
    let words = agent.apply(
        "write_files: [{path: /a, content: x}]\n\
         runcmd: [echo one, 'echo out; echo err >&2; (exit 7)', touch never]\n\
         final_message: never\n",
    );
    let words = words.await;
    assert_eq!(words[5..7], ["runcmd[1] 2/5", "runcmd[1] > out"], "{words:#?}");
    assert_eq!(words[8..], ["runcmd[1] failed Some(7) the command failed [\"out\", \"err\"]", "Failed 2/5"]);
    assert!(!node.root().join("never").exists());
    let expected =
        "Failed: write_files[/a]=done runcmd[0]=done runcmd[1]=failed runcmd[2]=pending final_message=pending";
    assert_eq!(agent.outcomes(), expected);
    let state = agent.applier.state().unwrap();
    assert_eq!((state.steps[2].exit_code, state.steps[2].detail.is_some()), (Some(7), true));
    assert_eq!(agent.logged(None).await, ["one", "out", "err"]);
    assert_eq!(agent.logged(Some("runcmd[1]")).await, ["out", "err"]);
    assert!(agent.applier.logs(1, Some("runcmd[9]".to_owned()), false).await.is_err());
}

#[tokio::test]
async fn what_spans_items_runs_as_one_step() {
    let node = Node::new();
    let agent = node.agent();
    let words =
        agent.apply("runcmd: [echo a, 'for i in 1 2; do', 'echo b$i', done, 'cat <<END', 'it''s', END, echo c]\n");
    let words = words.await;
    let outputs: Vec<&str> = words.iter().filter(|word| word.contains(" > ")).map(String::as_str).collect();
    let expected = ["runcmd[0] > a", "runcmd[1] > b1", "runcmd[1] > b2", "runcmd[4] > it's", "runcmd[7] > c"];
    assert_eq!(outputs, expected);
    assert_eq!(last(&words), "Done 8/8");
    let node = Node::new();
    let agent = node.agent();
    let words = agent.apply("runcmd: [echo a, 'if true; then', echo b, '(exit 3)', fi]").await;
    let failure = "runcmd[1] failed Some(3) runcmd[1] to runcmd[4] are one piece of shell: \
                   the command failed [\"b\"]";
    assert!(words.iter().any(|word| word == failure), "{words:#?}");
    assert_eq!(
        agent.outcomes(),
        "Failed: runcmd[0]=done runcmd[1]=failed runcmd[2]=pending runcmd[3]=pending runcmd[4]=pending"
    );
}

#[tokio::test]
async fn what_is_no_shell_at_all_fails_with_the_shells_words() {
    let node = Node::new();
    let words = node.agent().apply("runcmd: [echo a, 'echo )', echo b]").await;
    assert!(words.contains(&"runcmd[0] done".to_owned()), "{words:#?}");
    assert!(
        words.iter().any(|word| word.starts_with("runcmd[1] failed Some(2)") && word.contains("yntax")),
        "{words:#?}"
    );
}

#[tokio::test]
async fn the_ways_in_which_a_shell_ends() {
    let run = async |commands: &str| Node::new().agent().apply(&format!("runcmd: [{commands}]")).await;
    let words = run("'exit 0', 'echo no'").await;
    assert_eq!(
        words,
        [
            "runcmd[0] 0/2",
            "warning runcmd[0] ended the script, so the 1 commands after it did not run",
            "runcmd[0] done",
            "runcmd[1] unchanged",
            "Done 1/2"
        ]
    );
    let words = run("set -e, 'false; echo no', echo no").await;
    assert!(words.contains(&"runcmd[1] failed Some(1) the command failed []".to_owned()), "{words:?}");
    let words = run("'kill -9 $$'").await;
    assert!(
        last(&words).starts_with("Failed") && words[1].contains("Some(137) the command was ended by signal 9"),
        "{words:?}"
    );
    let words = run("trap 'echo bye' EXIT, echo a").await;
    assert!(words.contains(&"runcmd[1] > bye".to_owned()), "{words:?}");
    assert_eq!(last(&words), "Done 2/2");
    let words = run("trap 'echo bye >&2' EXIT, 'false', echo no").await;
    assert!(words.contains(&"runcmd[1] > bye".to_owned()), "{words:?}");
    let words = run("no-such-command").await;
    assert!(words[1].starts_with("runcmd[0] > runcmd: "), "the shell's complaint names the list: {words:?}");
    let words = run("exec echo gone").await;
    assert_eq!(words, ["runcmd[0] 0/1", "runcmd[0] > gone", "runcmd[0] done", "Done 1/1"]);
    let words = run("set -x, echo a, 'set -u -C; IFS=gox', cat, echo b").await;
    let outputs = words.iter().filter(|word| word.contains(" > "));
    assert_eq!(outputs.clone().count(), 7, "{words:?}");
    assert!(outputs.clone().all(|word| !word.contains("muster") && !word.ends_with("+ :")), "{words:?}");
    assert_eq!(last(&words), "Done 5/5", "our own lines are not traced, and nothing is there to be read: {words:?}");
}

#[tokio::test]
async fn a_background_process_neither_holds_up_nor_loses_its_output() {
    let node = Node::new();
    let mut gate = node.gate("gate");
    let agent = node.agent();
    let words = agent.apply("runcmd: ['{ read x < gate; echo late; echo $$ > ended; } &', echo now]").await;
    assert_eq!(last(&words), "Done 2/2");
    gate.open();
    super::until(async || agent.logged(None).await.contains(&"late".to_owned())).await;
    super::until(async || !node.read("ended").is_empty()).await;
}

#[test]
fn a_background_process_that_prints_without_pause_holds_nothing_up() {
    // On a thread of its own: whoever listened to the end would never give it back.
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let node = Node::new();
            let agent = node.agent();
            let document = "runcmd: ['yes & echo $! > pid', 'yes >&2 & echo $! >> pid', echo next > log]";
            drop(agent.start(document).await);
            super::until(async || agent.outcomes().starts_with("Done")).await;
            assert_eq!(node.read("log"), "next\n");
            agent.end().await;
            for pid in node.read("pid").lines() {
                // Nobody listens any more.
                super::until(async || muster_sys::process::start_ticks(pid.parse().unwrap()).is_err()).await;
            }
        });
        sender.send(()).unwrap();
    });
    ended.recv_timeout(super::LIMIT).expect("the steps end");
}

#[tokio::test]
async fn late_output_is_heard_to_its_end_and_stays_out_of_the_next_log() {
    let node = Node::new();
    let mut gate = node.gate("gate");
    let agent = node.agent();
    let with = |text: &str| format!("runcmd: [{{command: '{text}', rerun: true}}]");
    let late = "{ read x < gate; echo late; read x < gate; seq 1 200000; echo > survived; } &";
    assert_eq!(last(&agent.apply(&with(late)).await), "Done 1/1");
    gate.open();
    super::until(async || agent.logged(None).await.contains(&"late".to_owned())).await;
    assert_eq!(last(&agent.apply(&with("echo new")).await), "Done 1/1");
    gate.open();
    super::until(async || super::exists(&node.root().join("survived"))).await;
    assert_eq!(agent.logged(None).await, ["new"]);
    agent.end().await;
}
