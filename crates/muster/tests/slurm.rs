//! Slurm clusters as people use them: made, worked on, grown, shrunk, broken, mended, removed. The guide's commands run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use muster_testkit::{Output, Sandbox, can_make_nodes, skipped, wait_for};

/// Where nothing is cached, a base is made and packages are fetched.
const COLD_TIMEOUT: Duration = Duration::from_mins(10);

/// Whether nodes of Debian can be made here. Says why not.
fn can_make_debian_nodes() -> bool {
    let there = std::process::Command::new("mmdebstrap").arg("--version").output().is_ok();
    if !there {
        skipped("images are made by mmdebstrap, which is not installed");
    }
    there && can_make_nodes()
}

fn sandbox() -> Sandbox {
    Sandbox::alone(env!("CARGO_BIN_EXE_muster")).with_images()
}

mod guide {
    //! The pages under `docs/guides` in one piece with the program.

    use std::process::Command;

    use super::*;

    /// A fenced block: the words after its fence, and its lines.
    struct Block<'a> {
        info: Vec<&'a str>,
        text: String,
    }

    fn blocks(page: &str) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut open: Option<Block<'_>> = None;
        for line in page.lines() {
            match (line.strip_prefix("```"), &mut open) {
                (Some(info), None) => {
                    open = Some(Block { info: info.split_whitespace().collect(), text: String::new() });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) => block.text.extend([line, "\n"]),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "a block of the page does not end");
        blocks
    }

    /// Runs commands as a reader's shell does: in the folder of the cluster file, with `muster` on the path.
    fn shell(place: &Sandbox, commands: &str) -> Output {
        let program = place.program().parent().unwrap().to_str().unwrap().to_owned();
        let mut bash = Command::new("timeout");
        bash.args([&COLD_TIMEOUT.as_secs().to_string(), "bash", "-euo", "pipefail", "-c", commands]);
        let like = place.command::<&str>(&[]);
        let environment = like.get_envs().filter_map(|(name, value)| Some((name, value?)));
        bash.current_dir(place.work()).env_clear().envs(environment);
        bash.env("PATH", format!("{program}:{}", std::env::var("PATH").unwrap()));
        let begun = std::time::Instant::now();
        let output = bash.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Output {
            command: commands.to_owned(),
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            elapsed: begun.elapsed(),
        }
    }

    /// A line that was promised and did not come: each of its words is to stand in one line of what was printed.
    fn missing<'a>(promised: &'a str, printed: &Output) -> Option<&'a str> {
        let has = |line: &str, words: &str| {
            let plain =
                |line: &str| line.split_whitespace().map(|word| word.trim_end_matches([',', ':']).to_owned()).collect();
            let (there, words): (Vec<String>, Vec<String>) = (plain(line), plain(words));
            words.iter().all(|word| there.contains(word))
        };
        let mut lines = promised.lines().filter(|line| !line.trim().is_empty());
        lines.find(|words| !printed.stdout.lines().chain(printed.stderr.lines()).any(|line| has(line, words)))
    }

    #[test]
    fn every_command_of_the_slurm_guide_does_what_the_page_says() {
        if !can_make_debian_nodes() {
            return;
        }
        let page = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/slurm.md")).unwrap();
        let place = sandbox();
        let before = place.traces();
        let blocks = blocks(&page);
        let mut ran = 0;
        for (at, block) in blocks.iter().enumerate() {
            let promised =
                blocks.get(at + 1).filter(|next| next.info == ["text"]).map_or("", |next| next.text.as_str());
            match block.info.as_slice() {
                ["yaml", file] => {
                    place.write(file.strip_prefix("file=").unwrap(), &block.text);
                }
                ["sh"] => {
                    let printed = shell(&place, &block.text).success();
                    assert_eq!(missing(promised, &printed), None, "{printed}");
                    ran += 1;
                }
                // What Slurm writes down a moment later.
                ["sh", "until"] => {
                    wait_for(&format!("{promised}after\n{}", block.text), Duration::from_secs(30), || {
                        missing(promised, &shell(&place, &block.text).success()).is_none().then_some(())
                    });
                    ran += 1;
                }
                ["text"] => {}
                other => panic!("the page has a block of an unknown kind: {other:?}"),
            }
        }
        assert!(ran > 10, "the page has commands");
        muster_testkit::Traces::assert_same(&before, &place.traces());
    }
}

mod story {
    use muster_testkit::Traces;
    use serde_json::Value;

    use super::*;

    /// What the head writes for the compute nodes to wait for: all nodes have one `/home`.
    const GATE: &str = "/home/student/gate";

    /// Variables that hold scripts, and as whom these run.
    const SCRIPTS: [(&str, &str); 8] = [
        ("prolog_slurmctld", "slurm"),
        ("prolog", "root"),
        ("task_prolog", "student"),
        ("srun_prolog", "student"),
        ("srun_epilog", "student"),
        ("task_epilog", "student"),
        ("epilog", "root"),
        ("epilog_slurmctld", "slurm"),
    ];

    /// The cluster file, with more lines for its variables and for the group `compute`.
    fn file(vars: &str, compute: &str) -> String {
        format!(
            "cluster: slurm
vars:
  shared_home: true
  users:
    - {{ name: student, uid: 2001 }}
    - {{ name: tutor, uid: 2002, account: physics, admin: true }}
{vars}
groups:
  head: {{ recipe: slurm/head, image: debian-12, size: {{ memory: 768M }} }}
  compute:
    recipe: slurm/compute
    image: debian-12
    count: 2..4
    size: {{ memory: 256M }}
{compute}
  login: {{ recipe: slurm/login, image: debian-12 }}
"
        )
    }

    fn exec(place: &Sandbox, node: &str, words: &[&str]) -> Output {
        place.muster(&[&["exec", node, "--"], words].concat())
    }

    /// A line for the shell of a node, as a user of it.
    fn as_user(place: &Sandbox, node: &str, user: &str, line: &str) -> Output {
        let home = format!("/home/{user}");
        place.muster(&["exec", node, "--user", user, "--cwd", &home, "--", "sh", "-c", line])
    }

    fn lines(text: &str) -> Vec<&str> {
        let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        lines.sort_unstable();
        lines
    }

    /// What the accounting says of a job and its tasks, once it says `count` things.
    fn accounted(place: &Sandbox, job: &str, count: usize) -> Vec<String> {
        wait_for(&format!("{count} records of job {job}"), Duration::from_secs(30), || {
            let words = ["sacct", "-aXn", "-P", "-j", job, "-o", "user,account,state"];
            let said = exec(place, "head-1", &words).success().stdout;
            let ended = said.lines().filter(|line| line.ends_with("|COMPLETED")).count() == count;
            ended.then(|| said.lines().map(str::to_owned).collect())
        })
    }

    /// When the machines of these nodes were made.
    fn births(place: &Sandbox, nodes: &str) -> String {
        let said = exec(place, nodes, &["stat", "-c", "%n %Y", "/proc/1"]).success().stdout;
        lines(&said).join("\n")
    }

    fn outcome<'a>(outcome: &'a Value, node: &str) -> &'a Value {
        let nodes = outcome["nodes"].as_array().unwrap();
        nodes.iter().find(|one| one["name"] == node).unwrap_or_else(|| panic!("no {node} in {outcome}"))
    }

    #[test]
    fn mistakes_have_a_place_before_anything_is_made() {
        let place = Sandbox::new(env!("CARGO_BIN_EXE_muster"));
        let vars = "  partition: my partition
  shared_home: maybe
  partitions: [{ name: x, groups: [comptue] }]";
        let vars = file(vars, "").replacen("  shared_home: true\n", "", 1);
        place.write("cluster.yaml", &vars);
        let refused = place.muster(&["up", "--yes"]).exits(65);
        for words in [
            "cluster.yaml:6:14",
            "`partition` of the recipe `slurm` must match",
            "cluster.yaml:7:16",
            "`shared_home` of the recipe `slurm` must be true or false",
            "cluster.yaml:8:36",
            "did you mean `compute`?",
        ] {
            assert!(refused.stderr.contains(words), "`{words}` is not in {refused}");
        }
        assert_eq!(place.muster(&["ls", "--json"]).success().json()["clusters"].as_array().unwrap().len(), 0);
    }

    #[test]
    fn a_cluster_that_breaks_is_mended_works_grows_and_shrinks_under_its_jobs() {
        if !can_make_debian_nodes() {
            return;
        }
        let place = sandbox();
        let before = place.traces();
        breaks_and_is_mended(&place);
        runs_scripts_around_jobs(&place);
        works(&place);
        grows(&place);
        shrinks(&place);
        loses_a_user(&place);
        place.muster(&["down", "--yes"]).success();
        Traces::assert_same(&before, &place.traces());
    }

    /// slurmd cannot start: its message is the message. What is ready stays, and the next `up` goes on.
    fn breaks_and_is_mended(place: &Sandbox) {
        let broken = "    files: { /etc/default/slurmd: \"SLURMD_OPTIONS=--no-such-option\\n\" }";
        place.write("cluster.yaml", &file("", broken));
        let failed = place.start(&["up", "--yes"]).wait_within(COLD_TIMEOUT);
        assert_eq!(failed.code, 3, "{failed}");
        for words in [
            "failed: compute-1, reload[slurmd]",
            "slurmd does not start: /usr/sbin/slurmd: unrecognized option '--no-such-option'",
            "2 of 4 ready",
        ] {
            assert!(failed.stderr.contains(words), "`{words}` is not in {failed}");
        }
        let head = births(place, "head-1");
        place.write("cluster.yaml", &file(&scripts(), ""));
        place.muster(&["up", "--yes"]).success();
        assert_eq!(births(place, "head-1"), head);
    }

    /// Around jobs and steps: each writes down as whom it ran. And what a task's prolog prints is in the task's environment.
    fn scripts() -> String {
        let script = |(name, _): (&str, &str)| {
            let says = if name == "task_prolog" { "echo export GREETING=hello" } else { "true" };
            format!(
                "  {name}: |\n    #!/bin/sh\n    {says}\n    mkdir -p -m 1777 /tmp/who\n    touch /tmp/who/{name}-$(id -un)\n"
            )
        };
        SCRIPTS.into_iter().map(script).collect()
    }

    fn runs_scripts_around_jobs(place: &Sandbox) {
        as_user(place, "head-1", "student", "srun -w compute-1 true").success();
        for (name, user) in SCRIPTS {
            let node = if name.contains("slurmctld") || name.contains("srun") { "head-1" } else { "compute-1" };
            let file = format!("/tmp/who/{name}-{user}");
            wait_for(&format!("{file} on {node}"), Duration::from_secs(30), || {
                (exec(place, node, &["test", "-e", &file]).code == 0).then_some(())
            });
        }
    }

    fn works(place: &Sandbox) {
        let names = exec(place, "head-1", &["srun", "-N", "2", "hostname"]).success().stdout;
        assert_eq!(lines(&names), ["compute-1", "compute-2"]);
        let array = "sbatch --parsable --wait --array=1-20 --wrap 'echo $GREETING $SLURM_ARRAY_TASK_ID'";
        let job = as_user(place, "login-1", "student", array).success().stdout;
        let job = job.trim();
        assert_eq!(accounted(place, job, 20), vec!["student|users|COMPLETED"; 20]);
        let said = as_user(place, "head-1", "student", &format!("cat slurm-{job}_20.out")).success().stdout;
        assert_eq!(said, "hello 20\n", "the prolog, and the home that all nodes share");
        let nobody = exec(place, "head-1", &["runuser", "-u", "nobody", "--", "srun", "-D", "/", "true"]);
        assert!(nobody.code != 0 && nobody.stderr.contains("Invalid account"), "{nobody}");
        let admins =
            exec(place, "head-1", &["sacctmgr", "-nP", "show", "user", "tutor", "format=user,admin"]).success();
        assert_eq!(admins.stdout, "tutor|Administrator\n");
    }

    fn grows(place: &Sandbox) {
        let old = births(place, "head-1,compute-[1-2]");
        let scaled = place.muster(&["scale", "compute=4", "--yes", "--json"]).success().json();
        assert!(outcome(&scaled, "compute-4")["phase"] == "ready", "{scaled}");
        assert_eq!(outcome(&scaled, "compute-1")["changed"], 0, "{scaled}");
        let names = exec(place, "head-1", &["srun", "-N", "4", "hostname"]).success().stdout;
        assert_eq!(lines(&names), ["compute-1", "compute-2", "compute-3", "compute-4"]);
        let seen = exec(place, "login-1", &["sinfo", "-hN", "-o", "%N %T"]).success().stdout;
        assert_eq!(seen.lines().count(), 4, "{seen}");
        assert_eq!(births(place, "head-1,compute-[1-2]"), old);
    }

    /// A job on a node that leaves is named at the deadline, and waited for otherwise.
    fn shrinks(place: &Sandbox) {
        let line = format!("sbatch --parsable -w compute-4 -J held --wrap 'until test -e {GATE}; do sleep 0.1; done'");
        let job = as_user(place, "head-1", "student", &line).success().stdout;
        let job = job.trim();
        wait_for("the job to run", Duration::from_secs(30), || {
            let state = exec(place, "head-1", &["squeue", "-h", "-j", job, "-o", "%T"]).success().stdout;
            (state.trim() == "RUNNING").then_some(())
        });
        let held = place.muster(&["scale", "compute=2", "--yes", "--drain-timeout", "2s"]);
        assert_ne!(held.code, 0, "{held}");
        assert!(held.stderr.contains(&format!("job {job} of student (held): RUNNING")), "{held}");
        exec(place, "compute-4", &["true"]).success();
        let scaling = place.start(&["scale", "compute=2", "--yes"]);
        wait_for("the node to drain", Duration::from_secs(30), || {
            let state = exec(place, "head-1", &["sinfo", "-hN", "-n", "compute-4", "-o", "%T"]).success().stdout;
            (state.trim() == "draining" && scaling.is_running()).then_some(())
        });
        as_user(place, "head-1", "student", &format!("touch {GATE}")).success();
        scaling.wait().success();
        assert_eq!(accounted(place, job, 1), ["student|users|COMPLETED"]);
        for node in ["head-1", "login-1"] {
            let left = exec(place, node, &["sinfo", "-hN", "-o", "%N"]).success().stdout;
            assert_eq!(lines(&left), ["compute-1", "compute-2"], "on {node}");
        }
    }

    /// Who leaves the list may submit no more; what was used stays on record.
    fn loses_a_user(place: &Sandbox) {
        let fewer = file("", "").replacen("    - { name: student, uid: 2001 }\n", "", 1);
        place.write("cluster.yaml", &fewer);
        place.muster(&["up", "--yes"]).success();
        let refused = as_user(place, "head-1", "student", "srun true");
        assert!(refused.code != 0 && refused.stderr.contains("Invalid account"), "{refused}");
        let words = ["sacct", "-aXn", "-P", "-S", "now-1hour", "-u", "student", "-o", "state"];
        let record = exec(place, "head-1", &words).success().stdout;
        assert!(record.lines().count() >= 21, "{record}");
        let names = exec(place, "head-1", &["srun", "-N", "2", "hostname"]).success().stdout;
        assert_eq!(lines(&names), ["compute-1", "compute-2"]);
    }
}

mod speed {
    use std::time::Instant;

    use super::*;

    const ROUNDS: u32 = 3;
    /// From the command to the first job.
    const WARM_MAX: Duration = Duration::from_secs(5);
    /// On a machine that others keep busy.
    const BUSY_MAX: Duration = Duration::from_mins(1);

    /// Whether more wants to run than the machine has processors for, twice over: then a time says little.
    fn is_busy() -> bool {
        let load: f64 = fs_err::read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap().parse().unwrap();
        let processors = u32::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
        load > 2.0 * f64::from(processors)
    }

    #[test]
    fn the_example_runs_its_first_job_within_seconds_of_the_command() {
        if !can_make_debian_nodes() {
            return;
        }
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/slurm.yaml");
        let place = sandbox();
        place.write("slurm.yaml", &fs_err::read_to_string(example).unwrap());
        let first_job = || {
            let begun = Instant::now();
            place.start(&["up", "slurm.yaml", "--yes"]).wait_within(COLD_TIMEOUT).success();
            let names = place.muster(&["exec", "head-1", "--", "srun", "-N", "2", "hostname"]).success();
            let took = begun.elapsed();
            assert_eq!(names.stdout.lines().count(), 2, "{names}");
            place.muster(&["down", "slurm", "--yes"]).success();
            took
        };
        first_job();
        let best = (0..ROUNDS).map(|_| first_job()).min().unwrap();
        muster_testkit::figure("slurm_warm_first_job_ms", best.as_millis());
        let limit = if is_busy() { BUSY_MAX } else { WARM_MAX };
        assert!(best < limit, "the first job came after {best:?}");
    }
}
