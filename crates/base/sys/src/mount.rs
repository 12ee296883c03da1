//! Mounts, in the few ways that sandbox nodes need.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags};

/// From linux/mount.h.
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;

/// A mount that failed, with what and where.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount {what} at {}", at.display())]
pub struct MountError {
    pub what: String,
    pub at: PathBuf,
    #[source]
    pub source: io::Error,
}

fn failed<E: Into<io::Error>>(what: &str, at: &Path) -> impl FnOnce(E) -> MountError {
    let (what, at) = (what.to_owned(), at.to_owned());
    move |source| MountError { what, at, source: source.into() }
}

/// Cuts the mounts of this namespace off from everybody else's.
pub fn make_private() -> Result<(), MountError> {
    let root = Path::new("/");
    let flags = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    nix::mount::mount(None::<&str>, root, None::<&str>, flags, None::<&str>).map_err(failed("private mounts", root))
}

/// A pseudo file system: proc, sysfs, tmpfs, devpts.
pub fn pseudo(kind: &str, at: &Path, flags: MsFlags, options: &str) -> Result<(), MountError> {
    nix::mount::mount(Some(kind), at, Some(kind), flags, Some(options)).map_err(failed(kind, at))
}

/// Stacks `upper` over the read-only `lower`.
pub fn overlay(lower: &[&Path], upper: &Path, work: &Path, at: &Path) -> Result<(), MountError> {
    overlay_with(lower, upper, work, at, "")
}

/// As `overlay`, for an `upper` that is to be a lower layer of others: folders that are renamed are copied, files that
/// are changed are copied whole, and nothing in it refers to the layers below by number. Not forced to the disk.
pub fn overlay_for_layer(lower: &[&Path], upper: &Path, work: &Path, at: &Path) -> Result<(), MountError> {
    let options = ",redirect_dir=off,metacopy=off,index=off";
    match overlay_with(lower, upper, work, at, &format!("{options},volatile")) {
        // Kernels before 5.10 do not know the last option.
        Err(error) if error.source.kind() == io::ErrorKind::InvalidInput => {
            overlay_with(lower, upper, work, at, options)
        }
        result => result,
    }
}

fn overlay_with(lower: &[&Path], upper: &Path, work: &Path, at: &Path, more: &str) -> Result<(), MountError> {
    // Colons and commas separate options, so a path that holds one has to be escaped.
    let text = |path: &Path| path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,");
    let lower: Vec<String> = lower.iter().map(|path| text(path)).collect();
    let options = format!("lowerdir={},upperdir={},workdir={}{more}", lower.join(":"), text(upper), text(work));
    nix::mount::mount(Some("overlay"), at, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(failed("overlay", at))
}

/// Shows a file or folder at a second place, with all that is mounted below it.
pub fn bind(from: &Path, at: &Path) -> Result<(), MountError> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    let what = from.display().to_string();
    nix::mount::mount(Some(from), at, None::<&str>, flags, None::<&str>).map_err(failed(&what, at))
}

/// As `bind`, and nothing can be written through it.
pub fn bind_read_only(from: &Path, at: &Path) -> Result<(), MountError> {
    bind(from, at)?;
    set_read_only(at).map_err(failed(&format!("{} read-only", from.display()), at))
}

/// A mount of a pseudo file system that has no place in the tree and lasts as long as the file: what is in it is
/// reached through `/proc/self/fd`. Needs Linux 5.2.
pub fn detached(kind: &str) -> io::Result<OwnedFd> {
    let kind = CString::new(kind).map_err(io::Error::other)?;
    // SAFETY: the text outlives the call.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    let nothing = std::ptr::null::<libc::c_char>();
    // SAFETY: an open file and no pointers but null ones.
    let created =
        unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, nothing, nothing, 0) };
    if created != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: an open file and plain numbers.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0) })
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let descriptor = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The whole tree below a mount at once, where the kernel can (5.12); else the mount itself.
fn set_read_only(at: &Path) -> io::Result<()> {
    let path = CString::new(at.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let attributes = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: both pointers outlive the call, and the size is that of the structure.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        return Ok(());
    }
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    Ok(nix::mount::mount(None::<&str>, at, None::<&str>, flags, None::<&str>)?)
}

/// Makes `root` the root of this mount namespace and lets go of the old one.
pub fn pivot(root: &Path) -> Result<(), MountError> {
    nix::unistd::chdir(root).map_err(failed("root", root))?;
    nix::unistd::pivot_root(".", ".").map_err(failed("root", root))?;
    nix::mount::umount2(".", MntFlags::MNT_DETACH).map_err(failed("old root", root))?;
    nix::unistd::chdir("/").map_err(failed("root", root))
}
