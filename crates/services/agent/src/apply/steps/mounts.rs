//! Lines of fstab, and the mounts that they describe.

use muster_cloudinit::Mount;

use super::files::{Ids, make_folders, resolve, write};
use super::{Applied, Context, Machine, StepError};
use crate::apply::tool;

const FSTAB: &str = "/etc/fstab";

pub(super) async fn apply(mount: &Mount, context: &mut Context<'_>) -> Result<Applied, StepError> {
    let machine = context.machine;
    let path = resolve(machine, FSTAB)?;
    let found = read_fstab(machine)?;
    let wanted = with_line(&found, mount);
    let mut applied = Applied::default();
    let rewritten = found != wanted;
    if rewritten {
        write(&path, wanted.as_bytes(), 0o644, Ids::own())?;
        applied.changed = true;
    }
    if !is_swap(mount) {
        let point = machine.inside(&mount.point);
        if !point.exists() {
            make_folders(&point.join("x"), Ids::own())?;
        }
    }
    if !machine.is_live() {
        return Ok(applied);
    }
    if rewritten && machine.has_systemd() {
        // It has made units of the old table, and would mount and unmount by those.
        run(context, "systemctl", &["daemon-reload"]).await?;
    }
    if is_mounted(mount) {
        if !rewritten || is_swap(mount) {
            return Ok(applied);
        }
        // Something else is mounted there, or in another way.
        run(context, "umount", &["--", &mount.point]).await?;
    }
    if may_be_absent(mount) {
        let message = format!("{} is not there, so {} is not mounted; fstab has it", mount.device, mount.point);
        applied.warnings.push(message);
        return Ok(applied);
    }
    if is_swap(mount) {
        run(context, "swapon", &["--", &mount.device]).await?;
    } else {
        run(context, "mount", &["--", &mount.point]).await?;
    }
    applied.changed = true;
    Ok(applied)
}

async fn run(context: &mut Context<'_>, name: &str, arguments: &[&str]) -> Result<(), StepError> {
    let Some(program) = context.machine.find(name) else {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(StepError::Program { program: name.to_owned(), source });
    };
    match tool::run(context, tool::command(&program, arguments)).await? {
        0 => Ok(()),
        code => Err(StepError::Exit { program: name.to_owned(), code }),
    }
}

pub(super) fn holds(machine: &Machine, mount: &Mount) -> Result<bool, StepError> {
    let found = read_fstab(machine)?;
    let there = !machine.is_live() || is_mounted(mount) || may_be_absent(mount);
    Ok(found == with_line(&found, mount) && there)
}

fn read_fstab(machine: &Machine) -> Result<String, StepError> {
    let path = resolve(machine, FSTAB)?;
    let found = super::files::read(&path)?.unwrap_or_default();
    String::from_utf8(found).map_err(std::io::Error::other).map_err(StepError::read(&path))
}

fn is_swap(mount: &Mount) -> bool {
    mount.filesystem == "swap"
}

/// `nofail` forgives a device that is not there, and nothing else.
fn may_be_absent(mount: &Mount) -> bool {
    let forgiving = mount.options.split(',').any(|option| option == "nofail");
    let by_tag =
        [("LABEL=", "by-label"), ("UUID=", "by-uuid"), ("PARTLABEL=", "by-partlabel"), ("PARTUUID=", "by-partuuid")];
    let tagged = by_tag.iter().find_map(|(tag, folder)| {
        Some(format!("/dev/disk/{folder}/{}", mount.device.strip_prefix(tag)?.trim_matches('"')))
    });
    let device = tagged.unwrap_or_else(|| mount.device.clone());
    forgiving && device.starts_with("/dev/") && !std::path::Path::new(&device).exists()
}

fn is_mounted(mount: &Mount) -> bool {
    if is_swap(mount) {
        lists("/proc/swaps", 0, &mount.device)
    } else {
        lists("/proc/self/mountinfo", 4, mount.point.trim_end_matches('/'))
    }
}

pub(super) fn is_mount_point(path: &std::path::Path) -> bool {
    path.to_str().is_some_and(|path| lists("/proc/self/mountinfo", 4, path))
}

fn lists(file: &str, column: usize, name: &str) -> bool {
    let name = escape(name);
    let text = fs_err::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| line.split_whitespace().nth(column) == Some(&name))
}

/// Blanks and backslashes as fstab and mountinfo write them.
fn escape(text: &str) -> String {
    text.replace('\\', r"\134").replace(' ', r"\040").replace('\t', r"\011")
}

/// The text with the mount's line in the place of the one for the same mount point (of swap: the same device).
fn with_line(text: &str, mount: &Mount) -> String {
    let fields = [&mount.device, &mount.point, &mount.filesystem, &mount.options, &mount.dump, &mount.pass];
    let fields: Vec<String> = fields.iter().map(|field| escape(field)).collect();
    let column = usize::from(!is_swap(mount));
    let line = fields.join("\t");
    let mut placed = false;
    let mut out = String::new();
    for old in text.lines() {
        let comment = old.trim_start().starts_with('#');
        if !comment && old.split_whitespace().nth(column) == Some(&fields[column]) {
            if !placed {
                out.push_str(&line);
                out.push('\n');
            }
            placed = true;
        } else {
            out.push_str(old);
            out.push('\n');
        }
    }
    if !placed {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_added_once_and_replaced() {
        let mut mount = Mount {
            device: "/dev/sdb1".to_owned(),
            point: "/my data".to_owned(),
            filesystem: "ext4".to_owned(),
            options: "defaults".to_owned(),
            dump: "0".to_owned(),
            pass: "2".to_owned(),
        };
        let one = with_line("# comment /my\\040data\nproc /proc proc\n", &mount);
        let tail = "/dev/sdb1\t/my\\040data\text4\tdefaults\t0\t2\n";
        assert_eq!(one, format!("# comment /my\\040data\nproc /proc proc\n{tail}"));
        assert_eq!(with_line(&one, &mount), one);
        mount.device = "server:/x".to_owned();
        assert!(with_line(&one, &mount).ends_with("server:/x\t/my\\040data\text4\tdefaults\t0\t2\n"));
        assert_eq!(with_line(&one, &mount).lines().count(), 3);
    }

    #[test]
    fn nofail_forgives_a_missing_device_only() {
        let mount = |device: &str, options: &str| Mount {
            device: device.to_owned(),
            point: "/x".to_owned(),
            filesystem: "auto".to_owned(),
            options: options.to_owned(),
            dump: String::new(),
            pass: String::new(),
        };
        assert!(may_be_absent(&mount("/dev/no-such", "defaults,nofail")));
        assert!(may_be_absent(&mount("LABEL=no-such", "nofail")));
        assert!(!may_be_absent(&mount("/dev/no-such", "defaults")));
        assert!(!may_be_absent(&mount("/dev/null", "nofail")));
        assert!(!may_be_absent(&mount("server:/x", "nofail")));
    }
}
