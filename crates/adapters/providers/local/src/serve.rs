//! The shepherd's process: becomes a daemon in a network namespace of its own and answers on its socket.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use muster_stdx::{OnError, Supervisor, chain};
use muster_sys::process;
use nix::fcntl::{Flock, FlockArg};
use nix::sched::CloneFlags;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::cgroup::Cgroups;
use crate::launch::Launcher;
use crate::layout::Layout;
use crate::network::Switch;
use crate::protocol::{Identity, LINE_BYTES_MAX, Reply, Request};
use crate::settings::Subnet;
use crate::shepherd::{OWN_GROUP, Shepherd, ShepherdOptions, remove_traces};
use crate::{record, skeleton};

/// What the starter reads on the shepherd's standard output once it listens.
pub(crate) const READY_LINE: &str = "ready";

/// Runs until the last machine is gone and somebody asks for the end. Must be called on the main thread of a process
/// with one thread: nodes die with the thread that started them.
pub fn run(options: &ShepherdOptions) -> io::Result<()> {
    // Not the child of a terminal: a Ctrl-C there is not meant for nodes. It fails only for a group leader, which the
    // provider does not start.
    nix::unistd::setsid().ok();
    nix::unistd::chdir("/")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    muster_sys::capability::close_on_exec_from(3)?;
    let layout = Layout::new(&options.scope, &options.data_dir, &options.runtime_dir);
    let lock = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(layout.lock())?;
    let Ok(_lock) = Flock::lock(lock.into_parts().0, FlockArg::LockExclusiveNonblock) else {
        // Another starter was quicker; its shepherd serves this one too.
        return say_ready();
    };
    let subnet = Subnet::parse(&options.subnet)
        .ok_or_else(|| io::Error::other(format!("`{}` is not a private network", options.subnet)))?;
    remove_traces(&layout)?;
    record::remove_left_overs(&layout)?;
    fs_err::create_dir_all(layout.machines())?;
    let cgroups = Cgroups::detect(&layout.name)?;
    cgroups.create(OWN_GROUP)?;
    cgroups.add(OWN_GROUP, std::process::id())?;
    nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    runtime.block_on(serve(options, layout, subnet, cgroups))
}

fn say_ready() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{READY_LINE}")?;
    stdout.flush()
}

async fn serve(options: &ShepherdOptions, layout: Layout, subnet: Subnet, cgroups: Cgroups) -> io::Result<()> {
    let supervisor = Supervisor::new();
    skeleton::build(&layout.skeleton())?;
    let switch = Switch::build(subnet, &supervisor).await.map_err(|error| io::Error::other(chain(&error)))?;
    let launcher = Launcher {
        program: std::env::current_exe()?,
        skeleton: layout.skeleton(),
        shared: layout.shared(),
        prefix: subnet.prefix,
        cgroups,
        switch,
    };
    let shepherd = Shepherd::new(options.scope.clone(), layout.clone(), subnet, launcher, &supervisor)?;
    let listener = listen(&layout.socket())?;
    write_identity(&layout)?;
    say_ready()?;
    // Nobody reads any more; a line written later must not fail.
    let nowhere = fs_err::OpenOptions::new().write(true).open("/dev/null")?;
    nix::unistd::dup2_stdout(nowhere.file())?;
    let token = supervisor.token();
    loop {
        tokio::select! {
            // Losing an accept loses nothing: the client is still in the queue.
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let shepherd = Arc::clone(&shepherd);
                let supervisor_of_connection = supervisor.clone();
                supervisor.spawn("connection", OnError::Log, async move {
                    answer(stream, shepherd, supervisor_of_connection).await
                });
            }
            // Everything has been said; the process ends.
            () = token.cancelled() => break,
        }
    }
    supervisor.shutdown(Duration::from_secs(2)).await;
    Ok(())
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result?,
    }
    let listener = UnixListener::bind(path)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen at {}: {error}", path.display())))?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn write_identity(layout: &Layout) -> io::Result<()> {
    let pid = std::process::id();
    let identity = Identity { pid, start_ticks: process::start_ticks(pid)?, boot_id: process::boot_id()? };
    record::write_json(&layout.identity(), &identity)
}

/// One request, one reply.
async fn answer(stream: UnixStream, shepherd: Arc<Shepherd>, supervisor: Supervisor) -> io::Result<()> {
    if stream.peer_cred()?.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::other("a stranger called"));
    }
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    let request: Request = serde_json::from_str(&line).map_err(io::Error::other)?;
    let shutdown = matches!(request, Request::Shutdown);
    let result = match request {
        Request::List => Ok(shepherd.list()),
        Request::Create(request) => shepherd.create(&request),
        Request::Machine { verb, id } => shepherd.order(verb, &id).await,
        Request::Shutdown => Ok(if shepherd.is_empty() { Reply::Done } else { Reply::Busy }),
    };
    let reply = result.unwrap_or_else(|error| Reply::Failed { message: error.to_string(), hint: String::new() });
    let ends = shutdown && matches!(reply, Reply::Done);
    if ends {
        // Removed before the reply, so that who reads it finds nothing.
        for file in [shepherd.layout.socket(), shepherd.layout.identity()] {
            fs_err::remove_file(file)?;
        }
    }
    let mut text = serde_json::to_vec(&reply).map_err(io::Error::other)?;
    text.push(b'\n');
    write.write_all(&text).await?;
    if ends {
        supervisor.token().cancel();
    }
    Ok(())
}
