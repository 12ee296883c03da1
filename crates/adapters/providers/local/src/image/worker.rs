//! The process that makes one image, as PID 1 of namespaces of its own: whatever it mounts and starts goes with it.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use muster_stdx::chain;
use muster_sys::mount::{self, MountError};
use nix::mount::MsFlags;

use crate::image::order::{Order, Said, Trouble, What};
use crate::image::output::Cause;
use crate::image::runner::Runner;
use crate::image::{base, layer, lists};

#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    #[error("cannot {operation}")]
    System {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the place to work in cannot be built")]
    Mount(#[from] MountError),
    #[error("{}", describe(.what, .cause))]
    Run { what: &'static str, cause: Cause },
    #[error("`{program}` cannot be run")]
    NoProgram {
        program: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("`{0}` has said nothing for a quarter of an hour and was ended")]
    Silent(&'static str),
    #[error("the image needs {needed_mb} MB at {}, where {free_mb} MB are free", .folder.display())]
    NoRoom { needed_mb: u64, free_mb: u64, folder: PathBuf },
}

pub(crate) fn system(operation: &'static str) -> impl FnOnce(io::Error) -> WorkError {
    move |source| WorkError::System { operation, source }
}

fn describe(what: &str, cause: &Cause) -> String {
    match cause {
        Cause::UnknownPackages(names) if names.len() == 1 => format!("Debian 12 has no package `{}`", names[0]),
        Cause::UnknownPackages(names) => format!("Debian 12 has no packages `{}`", names.join("`, `")),
        Cause::Package { name, said } => format!("the package `{name}` cannot be installed: {said}"),
        Cause::Unreachable(said) => format!("the package servers cannot be reached: {said}"),
        Cause::Untrusted(said) => format!("the package servers are not trusted: {said}"),
        Cause::DiskFull => format!("{what} failed: no space is left"),
        Cause::Other(said) => format!("{what} failed: {said}"),
    }
}

impl WorkError {
    fn is_disk_full(&self) -> bool {
        match self {
            Self::System { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            Self::Run { cause, .. } => *cause == Cause::DiskFull,
            _ => false,
        }
    }

    fn trouble(&self, order: &Order) -> Trouble {
        let log = order.log.display();
        let full = self.is_disk_full();
        let hint = match self {
            Self::NoRoom { folder, .. } => format!("make room at {}: `muster image prune`, `df -h`", folder.display()),
            _ if full => {
                let images = order.target.parent().unwrap_or(&order.target).display();
                format!("make room at {images} and {}: `muster image prune`, `df -h`", order.archives.display())
            }
            Self::NoProgram { program, .. } => format!("install it: apt-get install {program}"),
            Self::Run { cause: Cause::UnknownPackages(_), .. } => {
                format!("correct the name; packages come from: {}", first_server(&order.apt.sources))
            }
            Self::Run { cause: Cause::Unreachable(_), .. } => {
                "check the network, the proxy in this machine's apt settings, or name a mirror: \
                 `local: { mirror: URL }` in the file, or `--mirror URL`"
                    .to_owned()
            }
            Self::Run { cause: Cause::Untrusted(_), .. } => {
                "the keyring must hold the key of the server; this machine's clock must be right".to_owned()
            }
            _ => format!("the whole output: {log}"),
        };
        let temporary = matches!(self, Self::Run { cause: Cause::Unreachable(_), .. } | Self::Silent(_));
        let memory_full = full && order.memory.is_some() && !order.target.exists();
        Trouble { message: chain(self), hint, temporary, memory_full }
    }
}

fn first_server(sources: &str) -> &str {
    sources.split_whitespace().find(|word| word.contains(":/")).unwrap_or("nowhere")
}

/// Makes the image that standard input asks for; returns the exit code. The calling process must be PID 1 of a mount
/// namespace of its own, and have one thread.
pub fn run() -> io::Result<i32> {
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text)?;
    let order: Order = serde_json::from_slice(&text).map_err(io::Error::other)?;
    let (said, code) = match work(&order) {
        Ok(said) => (said, 0),
        Err(error) => {
            lists::distrust(&order);
            (Said::Failed(error.trouble(&order)), 1)
        }
    };
    say(&said)?;
    Ok(code)
}

fn say(said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_vec(said).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

pub(crate) fn tell(step: &str, detail: &str) {
    // Nobody is left to hear when this fails, and the kernel ends this process.
    say(&Said::Progress { step: step.to_owned(), detail: detail.to_owned() }).ok();
}

fn work(order: &Order) -> Result<Said, WorkError> {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    mount::make_private()?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // The processes that are seen are then those of this namespace; maintainer scripts look for theirs.
    mount::pseudo("proc", Path::new("/proc"), plain, "")?;
    if let Some(bytes) = order.memory {
        mount::pseudo("tmpfs", &order.work, MsFlags::empty(), &format!("mode=700,size={bytes}"))?;
    }
    let runner = Runner::new(order)?;
    let fetched = lists::update(order, &runner, order.refresh)?;
    let (tree, content) = match &order.what {
        What::Base => base::build(order, &runner)?,
        What::Layer { base, packages } => layer::build(order, &runner, &layer::Plan { base, packages, fetched })?,
    };
    let bytes = place(&tree, order, &runner)?;
    Ok(Said::Done { bytes, content })
}

/// Copies the result to where it stays. Hard links, extended attributes and whiteouts come along.
fn place(tree: &Path, order: &Order, runner: &Runner<'_>) -> Result<u64, WorkError> {
    let bytes = size_of(tree).map_err(system("measure the image"))?;
    let folder = order.target.parent().unwrap_or(&order.target);
    let status = nix::sys::statvfs::statvfs(folder).map_err(|error| system("measure the disk")(error.into()))?;
    let free = status.blocks_available() * status.fragment_size();
    if free < bytes {
        let (needed_mb, free_mb) = (bytes.div_ceil(1 << 20), free >> 20);
        return Err(WorkError::NoRoom { needed_mb, free_mb, folder: folder.to_owned() });
    }
    tell("placing the image", &format!("{} MB", bytes.div_ceil(1 << 20)));
    let arguments = ["-a".as_ref(), "--".as_ref(), tree.as_os_str(), order.target.as_os_str()];
    runner.run("cp", "placing the image", &arguments, &[])?;
    Ok(bytes)
}

/// Bytes on a disk with blocks of 4 KiB. A file with several names counts once.
fn size_of(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut seen = std::collections::HashSet::new();
    let mut open = vec![folder.to_owned()];
    let mut bytes = 0;
    while let Some(folder) = open.pop() {
        for entry in fs_err::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                open.push(entry.path());
            }
            if metadata.nlink() < 2 || metadata.is_dir() || seen.insert(metadata.ino()) {
                bytes += metadata.len().div_ceil(4096).max(1) * 4096;
            }
        }
    }
    Ok(bytes)
}
