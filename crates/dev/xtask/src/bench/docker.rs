//! A Docker of the bench's own: Debian's, started from a layer that has it, in namespaces of its own. Neither the machine's
//! network nor its files nor a Docker that it has are touched.

use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::shell::{command, describe, read, run};

/// Packages that the layer has.
pub(super) const PACKAGES: &str = "docker.io,iptables";
/// The cgroup that its containers are in.
const CGROUP: &str = "muster-bench-docker";
/// `docker run`s at once; more of them are no faster.
const AT_ONCE: u32 = 16;
const START_WAIT: Duration = Duration::from_secs(30);
const IMAGE: &str = "ssh-node";

/// `$1`: a folder of its own; `$2`: the layers, top first. Runs as the first process of its namespaces.
const START: &str = r#"set -e
root="$1/root"
mkdir "$root" "$1/upper" "$1/work" "$1/data"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay "$root"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$1/data" "$root/mnt"
chroot "$root" /usr/sbin/ip link set lo up
exec chroot "$root" /bin/sh -c "PATH=/usr/sbin:/usr/bin:/sbin:/bin
dockerd --data-root /mnt --host unix:///run/docker.sock --storage-driver overlay2 --oom-score-adjust 0 \
    --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent /$3 >/mnt/log 2>&1
cat >/dev/null"
"#;

/// What each container runs: what a node's commands do, and then sshd.
pub(super) const SSHD: &str = "/usr/lib/muster/ssh-host-keys; mkdir -p /run/sshd; exec /usr/sbin/sshd";

pub(super) struct Docker {
    /// `unshare`, which ends its namespaces with itself.
    holder: Child,
    /// The first process of the namespaces.
    first: u32,
    folder: PathBuf,
}

impl Docker {
    /// Started and answering, with the base as its image.
    pub(super) fn start(folder: PathBuf, layers: &[PathBuf], base: &Path) -> Result<Self> {
        fs_err::create_dir(&folder)?;
        let lower = layers.iter().map(|layer| layer.display().to_string()).collect::<Vec<_>>().join(":");
        let options = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation=private"];
        let mut unshare = command("unshare", &options);
        unshare.args(["sh", "-c", START, "sh"]).arg(&folder).args([&lower, CGROUP]);
        // An open input keeps it from its end when dockerd fails, so that its log can be read.
        let holder = unshare.stdin(Stdio::piped()).spawn().context("cannot start `unshare`")?;
        let mut docker = Self { first: 0, holder, folder };
        docker.wait()?;
        docker.import(base)?;
        Ok(docker)
    }

    fn wait(&mut self) -> Result<()> {
        let until = Instant::now() + START_WAIT;
        loop {
            if let Some(status) = self.holder.try_wait()? {
                bail!("its namespaces could not be set up: {status}");
            }
            let holder = self.holder.id();
            let children = fs_err::read_to_string(format!("/proc/{holder}/task/{holder}/children")).unwrap_or_default();
            if let Some(first) = children.split_whitespace().next().and_then(|pid| pid.parse().ok()) {
                self.first = first;
                let mut version = self.inside("docker version");
                if version.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
                    return Ok(());
                }
            }
            if Instant::now() > until {
                let log = fs_err::read_to_string(self.folder.join("data/log")).unwrap_or_default();
                let why = log.lines().last().unwrap_or("it said nothing");
                bail!("dockerd does not answer: {why}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn import(&self, base: &Path) -> Result<()> {
        let mut tar = command("tar", &["--create", "--one-file-system", "--directory"]);
        tar.arg(base).arg(".").stdout(Stdio::piped());
        let mut packing = tar.spawn().context("cannot start `tar`")?;
        let mut import = self.inside(&format!("docker import - {IMAGE}"));
        import.stdin(packing.stdout.take().context("tar has an output")?).stdout(Stdio::null());
        run(import)?;
        let packed = packing.wait()?;
        // It may end by the closed pipe when all has been read.
        if !packed.success() && packed.signal().is_none() {
            bail!("{} ended with {packed}", describe(&tar));
        }
        Ok(())
    }

    /// A line of shell beside the daemon.
    fn inside(&self, script: &str) -> Command {
        let target = format!("--target={}", self.first);
        let script = format!("PATH=/usr/sbin:/usr/bin:/sbin:/bin; {script}");
        command("nsenter", &[&target, "--mount", "--net", "--pid", "--root", "--wd", "sh", "-c", &script])
    }

    /// Runs that many containers with sshd, and returns how long it took until every one greeted.
    pub(super) fn greeted(&self, count: u32) -> Result<Duration> {
        let begun = Instant::now();
        let script = format!(
            "seq {count} | xargs -P{AT_ONCE} -I{{}} docker run --detach {IMAGE} sh -c '{SSHD} -D' >/dev/null && \
             docker inspect --format '{{{{.NetworkSettings.IPAddress}}}}' $(docker ps --quiet)"
        );
        let listed = read(self.inside(&script))?;
        let addresses: Vec<IpAddr> = listed.lines().map(str::parse).collect::<Result<_, _>>()?;
        if addresses.len() != count as usize {
            bail!("{count} containers were started and {} run", addresses.len());
        }
        super::banners::wait(self.first, &addresses)?;
        let took = begun.elapsed();
        run({
            let mut remove = self.inside("docker rm --force $(docker ps --all --quiet)");
            remove.stdout(Stdio::null());
            remove
        })?;
        Ok(took)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // With it ends everything in its namespaces, mounts included. Without containers no cgroup is left but the one
        // above them.
        self.holder.kill().and_then(|()| self.holder.wait().map(drop)).ok();
        let hierarchies = fs_err::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let own = Path::new("/sys/fs/cgroup").join(CGROUP);
        for folder in hierarchies.map(|hierarchy| hierarchy.path().join(CGROUP)).chain([own]) {
            if folder.is_dir() {
                remove_cgroups(&folder);
            }
        }
    }
}

/// Its processes have been killed, and take a moment to be gone.
fn remove_cgroups(folder: &Path) {
    let below = fs_err::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    below.filter(|path| path.is_dir()).for_each(|path| remove_cgroups(&path));
    let until = Instant::now() + Duration::from_secs(5);
    while fs_err::remove_dir(folder).is_err() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
}
