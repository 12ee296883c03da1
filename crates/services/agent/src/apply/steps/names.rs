//! The node's own name, its line in `/etc/hosts`, and its time zone.

use std::io;
use std::path::{Path, PathBuf};

use muster_cloudinit::{EtcHosts, Hostname};

use super::blocks::with_block;
use super::files::{Ids, make_folders, resolve, write};
use super::{Machine, StepError};

const ZONES: &str = "/usr/share/zoneinfo";

pub(super) fn hostname(machine: &Machine, hostname: &Hostname) -> Result<bool, StepError> {
    let mut changed = false;
    if machine.is_live() && !is_named(&hostname.name) {
        nix::unistd::sethostname(&hostname.name)
            .map_err(|error| StepError::HostName { name: hostname.name.clone(), source: error.into() })?;
        changed = true;
    }
    let path = resolve(machine, "/etc/hostname")?;
    if hostname.create_file || path.exists() {
        changed |= write(&path, format!("{}\n", hostname.name).as_bytes(), 0o644, Ids::own())?;
    }
    Ok(changed)
}

pub(super) fn hostname_holds(machine: &Machine, hostname: &Hostname) -> Result<bool, StepError> {
    let path = resolve(machine, "/etc/hostname")?;
    let file = match read(&path)? {
        Some(text) => text.trim_end() == hostname.name,
        None => !hostname.create_file,
    };
    Ok(file && (!machine.is_live() || is_named(&hostname.name)))
}

fn is_named(name: &str) -> bool {
    nix::unistd::gethostname().is_ok_and(|found| found.to_str() == Some(name))
}

fn read(path: &Path) -> Result<Option<String>, StepError> {
    Ok(super::files::read(path)?.map(|text| String::from_utf8_lossy(&text).into_owned()))
}

/// A block at the end: where the cluster has given the name an address of the network, that one comes first.
fn hosts_text(machine: &Machine, hosts: &EtcHosts) -> Result<(PathBuf, String, String), StepError> {
    let path = resolve(machine, "/etc/hosts")?;
    let found = read(&path)?.unwrap_or_else(|| "127.0.0.1 localhost\n".to_owned());
    let names =
        if hosts.fqdn == hosts.hostname { hosts.fqdn.clone() } else { format!("{} {}", hosts.fqdn, hosts.hostname) };
    let wanted = with_block(&found, &[format!("127.0.1.1 {names}")]);
    Ok((path, found, wanted))
}

pub(super) fn etc_hosts(machine: &Machine, hosts: &EtcHosts) -> Result<bool, StepError> {
    let (path, found, wanted) = hosts_text(machine, hosts)?;
    if found == wanted {
        return Ok(false);
    }
    write(&path, wanted.as_bytes(), 0o644, Ids::own())
}

pub(super) fn etc_hosts_hold(machine: &Machine, hosts: &EtcHosts) -> Result<bool, StepError> {
    let (_, found, wanted) = hosts_text(machine, hosts)?;
    Ok(found == wanted)
}

pub(super) fn timezone(machine: &Machine, zone: &str) -> Result<bool, StepError> {
    let target = format!("{ZONES}/{zone}");
    if !machine.inside(&target).is_file() {
        return Err(StepError::Zone { zone: zone.to_owned() });
    }
    let mut changed = write(&resolve(machine, "/etc/timezone")?, format!("{zone}\n").as_bytes(), 0o644, Ids::own())?;
    let link = machine.inside("/etc/localtime");
    if !is_link_to(&link, &target) {
        make_folders(&link, Ids::own())?;
        let making = link.with_file_name(".localtime.muster-new");
        match fs_err::remove_file(&making) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(StepError::write(&making)(error)),
            _ => {}
        }
        fs_err::os::unix::fs::symlink(&target, &making).map_err(StepError::write(&making))?;
        fs_err::rename(&making, &link).map_err(StepError::write(&link))?;
        changed = true;
    }
    Ok(changed)
}

pub(super) fn timezone_holds(machine: &Machine, zone: &str) -> Result<bool, StepError> {
    let written = read(&resolve(machine, "/etc/timezone")?)?.is_some_and(|text| text.trim_end() == zone);
    Ok(written && is_link_to(&machine.inside("/etc/localtime"), &format!("{ZONES}/{zone}")))
}

fn is_link_to(link: &Path, target: &str) -> bool {
    std::fs::read_link(link).is_ok_and(|found| found == Path::new(target))
}
