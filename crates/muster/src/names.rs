//! The names that the program can be started by besides its own: what it does then is what the program of that name does.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::exit::ExitStatus;
use crate::{occopus, serf};

/// One line a name. `muster setup-links` makes the links.
pub(crate) const NAMES: &[Name] = &[
    Name { word: "occopus-import", about: "store Occopus' node definitions", run: occopus::run },
    Name { word: "occopus-build", about: "build an infrastructure of Occopus", run: occopus::run },
    Name { word: "occopus-scale", about: "ask for another number of instances", run: occopus::run },
    Name { word: "occopus-maintain", about: "look after an infrastructure", run: occopus::run },
    Name { word: "occopus-destroy", about: "remove an infrastructure", run: occopus::run },
    Name { word: "occopus-rest-service", about: "serve Occopus' REST interface", run: occopus::run },
    Name { word: "gislab-cluster", about: "Serf's command line, by the name that GIS.lab gives it", run: serf::run },
    Name { word: "serf", about: "Serf's command line", run: serf::run },
];

#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) word: &'static str,
    pub(crate) about: &'static str,
    /// Takes the name and the arguments behind it. Starts its own runtime.
    pub(crate) run: fn(&str, Vec<OsString>) -> ExitStatus,
}

/// Whose name it is, if it is not our own; `called` is the first word of the command line.
pub(crate) fn called(called: Option<&OsStr>) -> Option<&'static Name> {
    let file = Path::new(called?).file_name()?;
    NAMES.iter().find(|name| file == name.word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_last_part_of_a_path() {
        let name = |text: &str| called(Some(OsStr::new(text))).map(|name| name.word);
        assert_eq!(name("/usr/local/bin/occopus-import"), Some("occopus-import"));
        assert_eq!(name("occopus-import"), Some("occopus-import"));
        assert_eq!(name("/opt/occopus-import/muster"), None);
        assert_eq!(name("muster"), None);
        assert_eq!(called(None).map(|name| name.word), None);
    }

    #[test]
    fn names_are_told_apart() {
        let mut names: Vec<&str> = NAMES.iter().map(|name| name.word).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NAMES.len());
        assert!(!names.contains(&"muster"));
    }
}
