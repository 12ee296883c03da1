//! Folders that nodes of a cluster share: kept beside the machines and bound into each that asks for them.

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Folders whose content belongs to one machine.
const OWN: [&str; 13] =
    ["bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "sys", "usr", "var"];
/// Nothing below them can be shared either.
const OWN_WITH_ALL_BELOW: [&str; 5] = ["/dev", "/proc", "/run", "/sys", "/var/lib/muster"];

/// One of them, as a node is started with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SharedFolder {
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
}

/// Why a folder cannot be shared; `None` when it can.
pub(crate) fn refusal(path: &Path) -> Option<&'static str> {
    let mut parts = path.components();
    if parts.next() != Some(Component::RootDir) {
        return Some("is not an absolute path");
    }
    let names: Vec<Component<'_>> = parts.collect();
    if names.iter().any(|part| !matches!(part, Component::Normal(_))) {
        return Some("holds `..`");
    }
    let own = match &names[..] {
        [] => true,
        [Component::Normal(name)] => OWN.iter().any(|own| name == own),
        _ => false,
    };
    let own = own || OWN_WITH_ALL_BELOW.iter().any(|own| path.starts_with(own) || Path::new(own).starts_with(path));
    own.then_some("is a machine's own")
}

/// The name under which a folder is kept: `home`, `srv%2Fdata`.
fn escaped(path: &Path) -> String {
    let text = path.strip_prefix("/").unwrap_or(path).to_string_lossy();
    text.trim_end_matches('/').replace('%', "%25").replace('/', "%2F")
}

/// Makes a shared folder unless it is there, with the mode and owner that it has in the image (`lower`, top first).
pub(crate) fn ensure(shared: &Path, target: &Path, lower: &[PathBuf]) -> io::Result<SharedFolder> {
    let source = shared.join(escaped(target));
    let folder = SharedFolder { source: source.clone(), target: target.to_owned() };
    if source.is_dir() {
        return Ok(folder);
    }
    let inside = target.strip_prefix("/").unwrap_or(target);
    let model =
        lower.iter().find_map(|layer| layer.join(inside).symlink_metadata().ok().filter(std::fs::Metadata::is_dir));
    let (mode, owner) = model.map_or((0o755, (0, 0)), |model| (model.mode() & 0o7777, (model.uid(), model.gid())));
    // Seen whole or not at all: another start of a node may be cut off here.
    let making = shared.join(format!(".making-{}", escaped(target)));
    fs_err::create_dir_all(&making)?;
    std::os::unix::fs::chown(&making, Some(owner.0), Some(owner.1))?;
    fs_err::set_permissions(&making, std::fs::Permissions::from_mode(mode))?;
    fs_err::rename(making, source)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_machine_is_not_shared() {
        for good in ["/home", "/srv/data", "/var/spool/shared", "/etc/shared", "/opt", "/home/"] {
            assert_eq!(refusal(Path::new(good)), None, "{good}");
        }
        for bad in [
            "/",
            "home",
            "",
            "/srv/../etc",
            "/etc",
            "/usr",
            "/proc/x",
            "/run/x",
            "/var",
            "/var/lib",
            "/var/lib/muster/a",
        ] {
            assert!(refusal(Path::new(bad)).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_folder_is_made_once_as_the_image_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let (shared, layer) = (folder.path().join("shared"), folder.path().join("layer"));
        fs_err::create_dir_all(layer.join("srv/data")).unwrap();
        fs_err::set_permissions(layer.join("srv/data"), std::fs::Permissions::from_mode(0o1777)).unwrap();
        let lower = [folder.path().join("without"), layer];
        let made = ensure(&shared, Path::new("/srv/data"), &lower).unwrap();
        assert_eq!(made.source, shared.join("srv%2Fdata"));
        assert_eq!(fs_err::metadata(&made.source).unwrap().mode() & 0o7777, 0o1777);
        fs_err::write(made.source.join("kept"), "").unwrap();
        assert_eq!(ensure(&shared, Path::new("/srv/data/"), &lower).unwrap().source, made.source);
        assert!(made.source.join("kept").exists());
        let other = ensure(&shared, Path::new("/home"), &lower).unwrap();
        assert_eq!(fs_err::metadata(&other.source).unwrap().mode() & 0o7777, 0o755);
    }
}
