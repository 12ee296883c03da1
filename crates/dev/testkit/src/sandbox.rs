//! A place of its own for the program: state, sockets and files in a folder that goes away, and nodes with it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::Traces;
use crate::run::{Output, Running};
use crate::traces::processes;

/// Environment that the program gets from the test; everything else of it is set here or not at all.
const PASSED_ON: [&str; 3] = ["PATH", "RUST_BACKTRACE", "MUSTER_LOG"];

/// Where one test runs the program. Clusters that are left are removed when this is dropped.
pub struct Sandbox {
    program: PathBuf,
    root: TempDir,
    /// Images and downloads of all tests; else the sandbox has its own.
    images: Option<PathBuf>,
    /// Held until the nodes are gone: declared last, dropped last.
    _turn: Flock<File>,
}

impl Sandbox {
    /// Beside other sandboxes. `program` is the binary: `env!("CARGO_BIN_EXE_muster")` in its own crate's tests.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self::with_turn(program.into(), FlockArg::LockShared)
    }

    /// With no other sandbox on this machine, in any process: for tests that compare the machine before and after, or
    /// measure.
    pub fn alone(program: impl Into<PathBuf>) -> Self {
        Self::with_turn(program.into(), FlockArg::LockExclusive)
    }

    fn with_turn(program: PathBuf, turn: FlockArg) -> Self {
        let program = fs_err::canonicalize(program).expect("the program is built");
        let turn = take_turn(turn);
        // Short, since the path of a socket has 107 bytes at most.
        let root = tempfile::Builder::new().prefix("muster-").tempdir().expect("there is a place for temporary files");
        for folder in ["state", "run", "cache", "home", "work"] {
            fs_err::create_dir(root.path().join(folder)).expect("a fresh folder takes folders");
        }
        Self { program, root, images: None, _turn: turn }
    }

    /// With the images that all tests share. They stay, so only what a test names differently is made in it.
    pub fn with_images(mut self) -> Self {
        self.images = Some(images());
        self
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The current folder of every command.
    pub fn work(&self) -> PathBuf {
        self.root().join("work")
    }

    /// The program's own folder under `$XDG_STATE_HOME`.
    pub fn state(&self) -> PathBuf {
        self.root().join("state/muster")
    }

    /// The program's own folder under `$XDG_RUNTIME_DIR`.
    pub fn runtime(&self) -> PathBuf {
        self.root().join("run/muster")
    }

    /// Writes a file into the current folder of the commands.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.work().join(name);
        fs_err::create_dir_all(path.parent().expect("it is below the work folder")).expect("folders can be made");
        fs_err::write(&path, text).expect("a file can be written");
        path
    }

    /// The program with this sandbox's environment, to be started by other means than `muster` and `start`.
    pub fn command<A: AsRef<std::ffi::OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new(&self.program);
        let passed_on = PASSED_ON.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.args(arguments).current_dir(self.work()).env_clear().envs(passed_on);
        for (name, folder) in [
            ("HOME", "home"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_RUNTIME_DIR", "run"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_CONFIG_HOME", "home/.config"),
        ] {
            command.env(name, self.root().join(folder));
        }
        if let Some(images) = &self.images {
            command.env("MUSTER_IMAGES", images.join("images")).env("XDG_CACHE_HOME", images.join("cache"));
        }
        command
    }

    /// Starts a command and leaves it running.
    pub fn start<A: AsRef<std::ffi::OsStr>>(&self, arguments: &[A]) -> Running {
        Running::start(self.command(arguments))
    }

    /// Runs a command to its end.
    pub fn muster<A: AsRef<std::ffi::OsStr>>(&self, arguments: &[A]) -> Output {
        self.start(arguments).wait()
    }

    /// What of this sandbox's clusters is on the machine now.
    pub fn traces(&self) -> Traces {
        Traces::take(&[&self.state(), &self.runtime()])
    }

    /// Clusters that the state knows, or that have a folder.
    fn clusters(&self) -> Vec<String> {
        let listed = self.start(&["ls", "--json"]).wait();
        let document: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap_or_default();
        let known = document["clusters"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<String> =
            known.iter().filter_map(|cluster| cluster["name"].as_str().map(str::to_owned)).collect();
        let folders = fs_err::read_dir(self.state().join("clusters")).into_iter().flatten().flatten();
        names.extend(folders.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        names.sort();
        names.dedup();
        names
    }

    /// Removes every cluster, then whatever lives on. Returns what should not have been necessary.
    fn clean(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.state().exists() {
            for name in self.clusters() {
                let output = self.muster(&["down", &name, "--yes"]);
                if output.code != 0 {
                    complaints.push(output.to_string());
                }
            }
        }
        let own = self.root().to_string_lossy().into_owned();
        for process in processes().into_iter().filter(|process| process.command.contains(&own)) {
            complaints.push(format!("process {} outlived its cluster: {}", process.pid, process.command));
            // Its nodes end with it. It may have ended by itself since it was listed.
            kill(Pid::from_raw(process.pid), Signal::SIGKILL).ok();
        }
        complaints
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let cleaned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.clean()));
        let complaints = cleaned.unwrap_or_else(|_| vec!["cleaning up panicked, see above".to_owned()]);
        // A second panic would end the process and hide the first.
        if !std::thread::panicking() {
            assert!(complaints.is_empty(), "the sandbox could not be cleaned:\n{}", complaints.join("\n"));
        }
    }
}

/// The folder of images that the tests of all crates share, with the downloads beside them: a base is made once. Removing
/// it is safe while no test runs.
pub fn images() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/test-images");
    fs_err::create_dir_all(&folder).expect("the target folder can be written");
    fs_err::canonicalize(folder).expect("it was just made")
}

/// One lock for all tests of the machine, in whatever process: the kernel lets it go with the process.
pub(crate) fn take_turn(turn: FlockArg) -> Flock<File> {
    let path = std::env::temp_dir().join("muster-testkit.lock");
    let file = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = file.expect("there is a place for temporary files");
    Flock::lock(file.into_parts().0, turn).map_err(|(_, error)| error).expect("a lock can be waited for")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_see_the_sandbox_and_little_else() {
        let sandbox = Sandbox::new("/bin/sh");
        let file = sandbox.write("sub/x.txt", "hello");
        assert!(file.starts_with(sandbox.root()));
        let output = sandbox.muster(&["-c", "cat sub/x.txt; env | cut -d= -f1 | sort | tr '\\n' ' '"]).success();
        assert!(output.stdout.starts_with("hello"), "{output}");
        assert!(!output.stdout.contains("CARGO"), "{output}");
        assert!(output.stdout.contains("XDG_RUNTIME_DIR XDG_STATE_HOME"), "{output}");
    }

    #[test]
    fn a_process_that_outlives_its_cluster_is_ended_and_told() {
        let sandbox = Sandbox::new("/usr/bin/tail");
        let running = sandbox.start(&["-f".as_ref(), sandbox.write("held", "").as_os_str()]);
        // A process has no command line for a moment while it is executed.
        let own = sandbox.root().to_string_lossy().into_owned();
        crate::wait_for("the process's command line", std::time::Duration::from_secs(20), || {
            processes().iter().any(|process| process.command.contains(&own)).then_some(())
        });
        let complaints = sandbox.clean();
        assert!(complaints.len() == 1 && complaints[0].contains("outlived its cluster"), "{complaints:?}");
        assert_eq!(running.wait().code, 137);
        assert_eq!(sandbox.clean(), Vec::<String>::new());
    }
}
