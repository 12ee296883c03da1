//! The machine's own apt: its sources and its ways out, and the configuration that a bake runs apt with.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::image::sources::{self, KEYRING, Source};
use crate::image::store::short;

/// Settings of `Acquire::` that are about what to fetch, not how; ours hold for these.
const NOT_OURS: [&str; 5] = ["IndexTargets", "CompressionTypes", "Changelogs", "Languages", "GzipIndexes"];

/// How packages are fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Apt {
    /// The text of a list of sources. With a mirror of the user's, all but the first line may be missing there.
    pub(crate) sources: String,
    pub(crate) is_mirror: bool,
    /// Lines of an apt.conf: proxies and the like; may hold passwords.
    pub(crate) acquire: String,
    /// Names the sources: lists of packages are kept for each.
    pub(crate) key: String,
    /// The lines for a node's own apt: those that work there too.
    pub(crate) for_nodes: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AptError {
    #[error("the keyring {} is missing, which tells Debian's packages from forged ones", .0.display())]
    NoKeyring(PathBuf),
    #[error("the settings of this machine's apt cannot be read")]
    Read(#[source] io::Error),
    #[error("a key of this machine's apt cannot be kept")]
    Key(#[source] io::Error),
}

impl AptError {
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::NoKeyring(path) if path == Path::new(KEYRING) => "install it: apt-get install debian-archive-keyring",
            Self::NoKeyring(_) => "`signed-by` in /etc/apt names it: put it there, or correct the name",
            Self::Read(_) | Self::Key(_) => "look at what `apt-config dump` says",
        }
    }
}

impl Apt {
    /// From the machine's settings, or a mirror in their place. `keys` is a folder that keeps keys which stand in lists.
    pub(crate) fn of_machine(mirror: Option<&str>, keys: &Path) -> Result<Self, AptError> {
        let mut found = match mirror {
            Some(url) => sources::mirror(url),
            None => sources::of_debian_12(own_sources().map_err(AptError::Read)?),
        };
        for source in &mut found {
            keep_key(source, keys).map_err(AptError::Key)?;
            check_keyring(source)?;
        }
        let acquire = acquire(&output("apt-config", &["dump"]).unwrap_or_default());
        let text = lines(&found);
        let key = short(&Sha256::digest(text.as_bytes()));
        Ok(Self { sources: text, is_mirror: mirror.is_some(), acquire, key, for_nodes: for_nodes(found) })
    }

    /// An apt.conf by which apt touches nothing of the machine's own.
    pub(crate) fn configuration(&self, places: &Places<'_>) -> String {
        let Places { folder, lists, archives, root } = *places;
        let state = root.map_or_else(|| folder.join("state"), |root| root.join("var/lib/apt"));
        let status = root.map_or_else(|| PathBuf::from("/dev/null"), |root| root.join("var/lib/dpkg/status"));
        let (folder, lists) = (folder.display(), lists.display());
        let mut text = format!(
            "APT::Sandbox::User \"root\";\nAPT::Get::Assume-Yes \"true\";\nAPT::Color \"false\";\n\
             Dir::Etc::sourcelist \"{folder}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\nDir::Etc::preferences \"/dev/null\";\n\
             Dir::State \"{}\";\nDir::State::status \"{}\";\nDir::State::lists \"{lists}\";\n\
             Dir::Cache \"{folder}/cache\";\nDir::Cache::archives \"{}\";\nDir::Log \"{folder}/log\";\n\
             {}Acquire::Languages \"none\";\nAcquire::GzipIndexes \"false\";\n",
            state.display(),
            status.display(),
            archives.display(),
            self.acquire,
        );
        if let Some(root) = root {
            text.push_str("DPkg::Options { \"--force-confdef\"; \"--force-confold\"; \"--force-unsafe-io\"; };\n");
            text.push_str("DPkg::Chroot-Directory \"");
            text.push_str(&root.to_string_lossy());
            text.push_str("\";\n");
        }
        text
    }
}

/// Where apt works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    /// Its own, for this run.
    pub(crate) folder: &'a Path,
    pub(crate) lists: &'a Path,
    pub(crate) archives: &'a Path,
    /// The system that packages are installed into; none while only lists are fetched.
    pub(crate) root: Option<&'a Path>,
}

fn lines(sources: &[Source]) -> String {
    sources.iter().flat_map(|source| [source.to_string(), "\n".to_owned()]).collect()
}

/// What a node's own apt finds: servers by HTTP with keys that are in the image. Debian's where there is none.
fn for_nodes(sources: Vec<Source>) -> String {
    let everywhere = |source: &Source| {
        source.uri.starts_with("http")
            && source.options.iter().all(|(name, value)| name == "signed-by" && value == KEYRING)
    };
    let kept: Vec<Source> = sources.into_iter().filter(everywhere).collect();
    if kept.is_empty() { lines(&sources::of_debian_12(Vec::new())) } else { lines(&kept) }
}

/// Writes down a key that stands in a list, and names its file instead.
fn keep_key(source: &mut Source, keys: &Path) -> io::Result<()> {
    let Some(key) = source.key.take() else { return Ok(()) };
    fs_err::create_dir_all(keys)?;
    let path = keys.join(format!("{}.asc", short(&Sha256::digest(key.as_bytes()))));
    muster_stdx::write_atomic(&path, key.as_bytes(), 0o644)?;
    source.options.push(("signed-by".to_owned(), path.display().to_string()));
    Ok(())
}

fn check_keyring(source: &Source) -> Result<(), AptError> {
    for path in source.option("signed-by").unwrap_or_default().split(',').map(Path::new) {
        // A fingerprint names a key of the trusted ones.
        if path.is_absolute() && !path.exists() {
            return Err(AptError::NoKeyring(path.to_owned()));
        }
    }
    Ok(())
}

/// Every line of the machine's lists. A machine without apt has none.
fn own_sources() -> io::Result<Vec<Source>> {
    let arguments = ["shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"];
    let Ok(text) = output("apt-config", &arguments) else { return Ok(Vec::new()) };
    let path = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| PathBuf::from(value.trim_matches('\'')))
    };
    let mut files: Vec<PathBuf> = path("LIST").into_iter().filter(|list| list.is_file()).collect();
    if let Some(parts) = path("PARTS").filter(|parts| parts.is_dir()) {
        let mut entries = fs_err::read_dir(parts)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        files.extend(entries);
    }
    let mut sources = Vec::new();
    for file in files {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => sources.extend(sources::deb822(&fs_err::read_to_string(file)?)),
            Some("list") => sources.extend(sources::one_line(&fs_err::read_to_string(file)?)),
            _ => {}
        }
    }
    // From inside a bake a folder is not at the same place: apt copies the packages out of it instead of using them there.
    for source in &mut sources {
        if let Some(path) = source.uri.strip_prefix("file:") {
            source.uri = format!("copy:{path}");
        }
    }
    Ok(sources)
}

/// The lines of `apt-config dump` that say how to fetch.
fn acquire(dump: &str) -> String {
    let ours = |line: &&str| {
        line.strip_prefix("Acquire::").is_some_and(|rest| !NOT_OURS.iter().any(|name| rest.starts_with(name)))
    };
    dump.lines().filter(ours).flat_map(|line| [line, "\n"]).collect()
}

fn output(program: &str, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("{program} ended with {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_out_are_kept_and_the_rest_is_not() {
        let dump = "APT::Install-Recommends \"0\";\nAcquire::http::Proxy \"http://u:p@proxy:3128\";\n\
                    Acquire::IndexTargets::deb::Packages::Optional \"0\";\nAcquire::Languages:: \"none\";\n\
                    Acquire::Check-Date \"false\";\n";
        assert_eq!(acquire(dump), "Acquire::http::Proxy \"http://u:p@proxy:3128\";\nAcquire::Check-Date \"false\";\n");
    }

    #[test]
    fn nodes_get_lines_that_work_there() {
        let own = "deb [trusted=yes] copy:/repo bookworm main\n";
        assert!(for_nodes(sources::one_line(own)).starts_with("deb [signed-by=/usr/share/keyrings/debian-archive"));
        let mirror = sources::mirror("http://mirror.example/debian");
        assert_eq!(for_nodes(mirror.clone()), lines(&mirror));
    }

    #[test]
    fn a_missing_keyring_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none.gpg");
        let line = format!("deb [signed-by={}] http://x bookworm main", missing.display());
        let source = sources::one_line(&line).remove(0);
        assert!(matches!(check_keyring(&source), Err(AptError::NoKeyring(path)) if path == missing));
        let mut inline = sources::deb822(
            "Types: deb\nURIs: http://x\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN\n x\n",
        );
        keep_key(&mut inline[0], folder.path()).unwrap();
        check_keyring(&inline[0]).unwrap();
    }
}
