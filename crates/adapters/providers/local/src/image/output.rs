//! What apt, dpkg and mmdebstrap write, read for people: how far they are, and what went wrong.

use std::collections::VecDeque;

use muster_provider::BakeProgress;

/// Lines that are kept to tell a failure from.
const KEPT_MAX: usize = 200;

/// Follows the output of a run.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    total: usize,
    fetched: usize,
    unpacked: usize,
    set_up: usize,
    step: String,
    pub(crate) tail: VecDeque<String>,
}

impl Follower {
    /// The state after a line; `None` when the line says nothing to people.
    pub(crate) fn take(&mut self, line: &str) -> Option<BakeProgress> {
        let line = line.trim_end();
        if line.is_empty() {
            return None;
        }
        if self.tail.len() == KEPT_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
        let step = self.step_of(line)?;
        self.step.clone_from(&step);
        Some(BakeProgress { step, detail: line.to_owned() })
    }

    fn step_of(&mut self, line: &str) -> Option<String> {
        let first = line.split_whitespace().next().unwrap_or_default();
        if let Some(total) = newly_installed(line).filter(|total| *total > 0) {
            (self.total, self.fetched, self.unpacked, self.set_up) = (total, 0, 0, 0);
            return Some(format!("installing {total} packages"));
        }
        let count =
            |number: usize, total: usize| if total == 0 { number.to_string() } else { format!("{number} of {total}") };
        match first {
            _ if first.starts_with("Get:") && line.ends_with(']') => {
                self.fetched += 1;
                // Fetching of lists comes before the packages are known.
                let packages = line.contains(".deb") || line.split_whitespace().count() > 6;
                Some(match (self.total, packages) {
                    (total, true) if total > 0 => {
                        format!("fetching {} packages", count(self.fetched.min(total), total))
                    }
                    _ => "fetching the lists of packages".to_owned(),
                })
            }
            // mmdebstrap handles a package of its own before the first of the archive.
            "Unpacking" | "Setting" if self.total == 0 => None,
            "Unpacking" => {
                self.unpacked += 1;
                Some(format!("unpacking {} packages", count(self.unpacked.min(self.total.max(1)), self.total)))
            }
            "Setting" if line.starts_with("Setting up ") => {
                self.set_up += 1;
                Some(format!("setting up {} packages", count(self.set_up.min(self.total.max(1)), self.total)))
            }
            "I:" => mmdebstrap_step(line),
            "Processing" => Some(self.step.clone()).filter(|step| !step.is_empty()),
            _ => None,
        }
    }
}

fn mmdebstrap_step(line: &str) -> Option<String> {
    let steps = [
        ("I: running apt-get update", "fetching the lists of packages"),
        ("I: downloading packages", "fetching the system's packages"),
        ("I: extracting archives", "unpacking the system's packages"),
        ("I: installing essential", "installing the system"),
        ("I: installing remaining", "installing the rest"),
    ];
    steps.iter().find(|(start, _)| line.starts_with(start)).map(|(_, step)| (*step).to_owned())
}

/// `0 upgraded, 34 newly installed, 0 to remove and 2 not upgraded.`
fn newly_installed(line: &str) -> Option<usize> {
    let (before, _) = line.split_once(" newly installed")?;
    before.rsplit([' ', ',']).next()?.parse().ok()
}

/// What went wrong, as far as the output tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Names of packages that the servers do not have.
    UnknownPackages(Vec<String>),
    /// A package's own script failed, or its files could not be unpacked; what was said last.
    Package {
        name: String,
        said: String,
    },
    /// The servers cannot be reached or have not what they should.
    Unreachable(String),
    /// Their signatures are not those of the keyring.
    Untrusted(String),
    DiskFull,
    /// Anything else, in its own words.
    Other(String),
}

pub(crate) fn cause(tail: &VecDeque<String>) -> Cause {
    let lines: Vec<&str> = tail.iter().map(String::as_str).collect();
    if lines.iter().any(|line| line.contains("No space left on device") || line.contains("enough free space")) {
        return Cause::DiskFull;
    }
    let unknown: Vec<String> = lines.iter().filter_map(|line| unknown_package(line)).collect();
    if !unknown.is_empty() {
        return Cause::UnknownPackages(unknown);
    }
    let untrusted = ["NO_PUBKEY", "is not signed", "BADSIG", "EXPKEYSIG", "signatures were invalid"];
    if let Some(line) = lines.iter().find(|line| untrusted.iter().any(|sign| line.contains(sign))) {
        return Cause::Untrusted(plain(line));
    }
    if let Some(found) = broken_package(&lines) {
        return found;
    }
    let far = ["Could not connect", "Failed to fetch", "Temporary failure resolving", "Could not resolve", "Err:"];
    if let Some(line) = far.iter().find_map(|sign| lines.iter().find(|line| line.contains(sign))) {
        return Cause::Unreachable(plain(line));
    }
    if let Some(line) = lines.iter().find(|line| line.contains("does not have a Release file")) {
        return Cause::Unreachable(plain(line));
    }
    let said = lines.iter().rev().find(|line| line.starts_with("E: ")).or(lines.last());
    Cause::Other(said.map_or_else(|| "it said nothing".to_owned(), |line| plain(line)))
}

fn unknown_package(line: &str) -> Option<String> {
    let line = line.trim_start_matches("E: ");
    if let Some(name) = line.strip_prefix("Unable to locate package ") {
        return Some(name.trim().to_owned());
    }
    let quoted = |text: &str| text.split('\'').nth(1).map(str::to_owned);
    if line.ends_with("has no installation candidate") {
        return quoted(line);
    }
    // `Version '9' for 'munge' was not found`: the name with what is asked of it.
    let mut parts = line.strip_prefix("Version '")?.split('\'');
    let (version, _, name) = (parts.next()?, parts.next()?, parts.next()?);
    line.ends_with("was not found").then(|| format!("{name}={version}"))
}

fn broken_package(lines: &[&str]) -> Option<Cause> {
    let at = lines.iter().position(|line| line.starts_with("dpkg: error processing "))?;
    let words = lines[at].trim_end_matches(':').split_whitespace();
    // `… package NAME (--configure):` and `… archive PATH (--unpack):`.
    let subject = words.skip(4).find(|word| !word.starts_with('('))?;
    let file = subject.rsplit('/').next().unwrap_or(subject);
    let name = file.split(['_', ':']).next().unwrap_or(file).to_owned();
    let why = lines.get(at + 1).map(|line| line.trim()).unwrap_or_default();
    // What its script said stands between the line that begins it and the error.
    let begin = lines[..at].iter().rposition(|line| line.starts_with("Setting up ") || line.starts_with("Unpacking "));
    let said: Vec<&str> =
        begin.map_or(Vec::new(), |begin| lines[begin + 1..at].iter().rev().take(3).rev().copied().collect());
    let said = if said.is_empty() { why.to_owned() } else { format!("{why}; it said: {}", said.join(" | ")) };
    Some(Cause::Package { name, said })
}

fn plain(line: &str) -> String {
    line.trim_start_matches("E: ").trim_start_matches("W: ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(lines: &[&str]) -> Vec<String> {
        let mut follower = Follower::default();
        lines.iter().filter_map(|line| follower.take(line)).map(|progress| progress.step).collect()
    }

    fn cause_of(lines: &[&str]) -> Cause {
        cause(&lines.iter().map(|line| (*line).to_owned()).collect())
    }

    #[test]
    fn packages_are_counted() {
        let lines = [
            "Get:1 http://deb.debian.org/debian bookworm InRelease [151 kB]",
            "Reading package lists...",
            "0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.",
            "Get:1 http://deb.debian.org/debian bookworm/main amd64 libmunge2 amd64 0.5.15-2 [19.1 kB]",
            "Unpacking libmunge2 (0.5.15-2) ...",
            "Unpacking munge (0.5.15-2) ...",
            "Setting up libmunge2 (0.5.15-2) ...",
            "Processing triggers for libc-bin (2.36-9) ...",
        ];
        let expected = [
            "fetching the lists of packages",
            "installing 2 packages",
            "fetching 1 of 2 packages",
            "unpacking 1 of 2 packages",
            "unpacking 2 of 2 packages",
            "setting up 1 of 2 packages",
            "setting up 1 of 2 packages",
        ];
        assert_eq!(steps(&lines), expected);
    }

    #[test]
    fn a_failure_has_a_cause() {
        let unknown = ["E: Unable to locate package slurmq", "E: Package 'x-old' has no installation candidate"];
        assert_eq!(cause_of(&unknown), Cause::UnknownPackages(vec!["slurmq".to_owned(), "x-old".to_owned()]));
        let version = ["E: Version '9' for 'munge' was not found"];
        assert_eq!(cause_of(&version), Cause::UnknownPackages(vec!["munge=9".to_owned()]));
        let refused = [
            "Err:1 http://127.0.0.1:9 bookworm InRelease",
            "  Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)",
            "E: Some index files failed to download.",
        ];
        let Cause::Unreachable(said) = cause_of(&refused) else { panic!("{:?}", cause_of(&refused)) };
        assert!(said.starts_with("Could not connect to 127.0.0.1:9"), "{said}");
        let full = ["dpkg: error processing archive /x/a_1_all.deb (--unpack):", " write: No space left on device"];
        assert_eq!(cause_of(&full), Cause::DiskFull);
    }

    #[test]
    fn a_package_that_fails_says_what_its_script_said() {
        let lines = [
            "Setting up broken (1.0) ...",
            "the moon is in the wrong quarter",
            "dpkg: error processing package broken (--configure):",
            " installed broken package post-installation script subprocess returned error exit status 3",
            "Errors were encountered while processing:",
            " broken",
            "E: Sub-process /usr/bin/dpkg returned an error code (1)",
        ];
        let Cause::Package { name, said } = cause_of(&lines) else { panic!("{:?}", cause_of(&lines)) };
        assert_eq!(name, "broken");
        assert!(said.contains("exit status 3; it said: the moon"), "{said}");
        let archive = ["dpkg: error processing archive /c/zap_1%3a2_all.deb (--unpack):", " corrupted"];
        assert!(matches!(cause_of(&archive), Cause::Package { name, .. } if name == "zap"));
    }
}
