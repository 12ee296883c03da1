//! A repository of small packages, with the release, components and settings of apt that the program looks for.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub(crate) struct Repository {
    folder: TempDir,
}

/// What is in a package besides its name.
#[derive(Default)]
pub(crate) struct Package<'a> {
    pub(crate) version: &'a str,
    /// Runs when it is set up.
    pub(crate) script: &'a str,
    /// Bytes of a file that cannot be compressed.
    pub(crate) noise_bytes: usize,
}

impl Repository {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("deb [trusted=yes] file:{} bookworm main\n", folder.path().display());
        fs_err::write(folder.path().join("sources.list"), text).unwrap();
        let text = format!(
            "Dir::Etc::sourcelist \"{}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n",
            folder.path().display()
        );
        fs_err::write(folder.path().join("apt.conf"), text).unwrap();
        let repository = Self { folder };
        repository.index();
        repository
    }

    /// For `APT_CONFIG`.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.path("apt.conf")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds a package, or a newer version of it.
    pub(crate) fn add(&self, name: &str, package: &Package<'_>) {
        let tree = tempfile::tempdir().unwrap();
        let inside = |path: &str| tree.path().join(path);
        for folder in ["DEBIAN", "usr/lib/muster-tests"] {
            fs_err::create_dir_all(inside(folder)).unwrap();
        }
        fs_err::set_permissions(tree.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let version = if package.version.is_empty() { "1" } else { package.version };
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Tests <tests@example.org>\n\
             Description: made by a test\n"
        );
        fs_err::write(inside("DEBIAN/control"), &control).unwrap();
        if !package.script.is_empty() {
            fs_err::write(inside("DEBIAN/postinst"), format!("#!/bin/sh\n{}\n", package.script)).unwrap();
            fs_err::set_permissions(inside("DEBIAN/postinst"), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs_err::write(inside(&format!("usr/lib/muster-tests/{name}")), noise(package.noise_bytes)).unwrap();
        let file = self.path(&format!("{name}_{version}_all.deb"));
        let built = Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Znone", "--build"])
            .args([tree.path(), &file])
            .output()
            .unwrap();
        assert!(built.status.success(), "{built:?}");
        fs_err::write(file.with_extension("control"), control).unwrap();
        self.index();
    }

    /// Packages, and a Release that names their list.
    fn index(&self) {
        let mut packages = String::new();
        for entry in fs_err::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "control") {
                continue;
            }
            let file = path.with_extension("deb");
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let (size, hash) = (file.metadata().unwrap().len(), sha256(&file));
            let control = fs_err::read_to_string(&path).unwrap();
            write!(packages, "{control}Filename: {name}\nSize: {size}\nSHA256: {hash}\n\n").unwrap();
        }
        let architecture = Command::new("dpkg").arg("--print-architecture").output().unwrap().stdout;
        let architecture = String::from_utf8(architecture).unwrap().trim().to_owned();
        let list = format!("main/binary-{architecture}/Packages");
        let path = self.path(&format!("dists/bookworm/{list}"));
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, &packages).unwrap();
        let (size, hash) = (packages.len(), sha256(&path));
        let release = format!(
            "Suite: bookworm\nCodename: bookworm\nComponents: main\nArchitectures: {architecture}\n\
             SHA256:\n {hash} {size} {list}\n"
        );
        fs_err::write(self.path("dists/bookworm/Release"), release).unwrap();
    }
}

fn sha256(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().unwrap().stdout;
    String::from_utf8(output).unwrap().split_whitespace().next().unwrap().to_owned()
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 20_261_120_u64;
    let mut next = || {
        // xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..bytes).map(|_| next()).collect()
}
