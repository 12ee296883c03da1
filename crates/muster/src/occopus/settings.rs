//! Occopus' two files of settings, found where Occopus finds them. Their tags name Python objects: nothing is made of them.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use muster_doc::read::{Findings, MapReader};
use muster_doc::{Diagnostic, SourceMap, Span, Tree, codes};

use crate::error::Failure;
use crate::occopus::voice::Voice;

const CONFIGURATION: Kind =
    Kind { file: "occopus_config.yaml", variable: "OCCOPUS_CONFIG_PATH", words: "configuration file" };
const AUTHENTICATION: Kind =
    Kind { file: "auth_data.yaml", variable: "OCCOPUS_AUTH_DATA_PATH", words: "authentication file" };

struct Kind {
    file: &'static str,
    variable: &'static str,
    words: &'static str,
}

/// What is used of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Configuration {
    /// None: there is no such file, and none is needed.
    pub(crate) path: Option<PathBuf>,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    /// Show what would be done, and do nothing.
    pub(crate) dry_run: bool,
}

pub(crate) fn configuration(named: Option<&Path>, voice: &Voice) -> Result<Configuration, Failure> {
    let Some(path) = find(&CONFIGURATION, named, voice)? else { return Ok(Configuration::default()) };
    let (tree, sources) = read(&path)?;
    let mut out = Findings::default();
    let mut found = Configuration { path: Some(path), ..Configuration::default() };
    // A reader of a mapping would tell of keys that it does not know; here most are.
    let components = tree.get("components");
    if let Some(rest) = components.and_then(|components| components.get("rest")) {
        let mut map = MapReader::new(rest, "`rest`", &mut out);
        if let Some(map) = &mut map {
            found.host = map.optional("host", &mut out);
            found.port = map.optional("port", &mut out);
        }
    }
    if let Some(components) = components
        && let Some(mut map) = MapReader::new(components, "`components`", &mut out)
    {
        found.dry_run = map.optional("dry_run", &mut out).unwrap_or_default();
    }
    if out.diagnostics.is_empty() {
        Ok(found)
    } else {
        Err(Failure::Rejected { sources, diagnostics: out.diagnostics })
    }
}

/// Reads the credentials as far as to say what is wrong with the file. No provider here asks for any; what the file holds
/// is shown to nobody.
pub(crate) fn check_credentials(named: Option<&Path>, voice: &Voice) -> Result<(), Failure> {
    let Some(path) = find(&AUTHENTICATION, named, voice)? else { return Ok(()) };
    let mode = fs_err::metadata(&path)?.permissions().mode();
    if mode & 0o077 != 0 {
        voice.note(&format!("warning: others can read {}: chmod 600 {}", path.display(), path.display()));
    }
    let (tree, sources) = read(&path)?;
    let mut out = Findings::default();
    for section in ["resource", "config_management"] {
        for item in tree.get(section).and_then(Tree::as_seq).unwrap_or_default() {
            if item.as_map().is_some() && item.get("auth_data").is_none() {
                let hint =
                    "write the credentials below `auth_data:`, and beside it what they are for, as in `type: ec2`";
                let found = Diagnostic::error(codes::READ_MISSING, "an entry has no `auth_data`", hint);
                out.push(found.at(item.span, "`auth_data` is missing here"));
            }
        }
    }
    if out.diagnostics.is_empty() { Ok(()) } else { Err(Failure::Rejected { sources, diagnostics: out.diagnostics }) }
}

/// The file that was named, else the first there is where Occopus looks.
fn find(kind: &Kind, named: Option<&Path>, voice: &Voice) -> Result<Option<PathBuf>, Failure> {
    if let Some(path) = named {
        if path.is_file() {
            return Ok(Some(path.to_owned()));
        }
        let message = format!("the {} does not exist: {}", kind.words, path.display());
        return Err(Failure::usage(message, "name a file that is there, or leave the option out"));
    }
    let variable = std::env::var_os(kind.variable);
    let found = places(kind.file, variable, std::env::home_dir()).into_iter().find(|path| path.is_file());
    if let Some(path) = &found {
        // In Occopus' own words, and quotes as Python puts them.
        voice.note(&format!("Using default {}: '{}'", kind.words, path.display()));
    }
    Ok(found)
}

/// In the order of Occopus; the folder of its scripts, which comes last there, holds a program only.
fn places(file: &str, variable: Option<OsString>, home: Option<PathBuf>) -> Vec<PathBuf> {
    let named = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = home.map(|home| home.join(".occopus").join(file));
    let further = [Path::new(".").join(file), Path::new("/etc/occopus").join(file)];
    named.into_iter().chain(home).chain(further).collect()
}

fn read(path: &Path) -> Result<(Tree, SourceMap), Failure> {
    let text = fs_err::read_to_string(path)?;
    let mut sources = SourceMap::default();
    let id = sources.add(path.display().to_string(), text);
    let (tree, _, mut found) = muster_doc::parse_tagged(&sources, id, &[]);
    // An empty file says nothing, as one that is not there.
    found.retain(|found| found.is_error() && ![codes::YAML_TAG, codes::YAML_EMPTY].contains(&found.code));
    match tree.or_else(|| found.is_empty().then(|| Tree::null(Span { source: id, start: 0, end: 0 }))) {
        Some(tree) if found.is_empty() && (tree.as_map().is_some() || tree.is_null()) => Ok((tree, sources)),
        Some(tree) if found.is_empty() => {
            let diagnostic = Diagnostic::error(codes::READ_TYPE, "the file is no mapping", "write `key: value` lines");
            Err(Failure::Rejected { sources, diagnostics: vec![diagnostic.at(tree.span, "this")] })
        }
        _ => Err(Failure::Rejected { sources, diagnostics: found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, Printer};

    fn configured(text: &str) -> Result<Configuration, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("occopus_config.yaml");
        fs_err::write(&path, text).unwrap();
        let found = configuration(Some(&path), &Voice::new(Printer::new(Format::Text)));
        found.map(|found| Configuration { path: None, ..found })
    }

    #[test]
    fn the_published_configuration_is_read_and_its_tags_make_nothing() {
        let text = "plugins: !python_import\n  - os\ncomponents:\n  rest:\n    host: 127.0.0.1\n    port: 5001\n  \
                    resourcehandler: !ResourceHandler &rh\n    protocol: null\n  \
                    uds: !UDS\n    protocol: redis\n    host: localhost\n  infobroker: !InfoRouter\n    sub_providers:\n      \
                    - !ResourceHandlerProvider\n        resource_handler: *rh\n  dry_run: True\n\
                    odd: !!python/object/apply:os.system [\"touch /nonexistent/x\"]\nlogging:\n  version: 1\n";
        let expected = Configuration { host: Some("127.0.0.1".into()), port: Some(5001), dry_run: true, path: None };
        assert_eq!(configured(text).unwrap(), expected);
        assert_eq!(configured("components: {}\n").unwrap(), Configuration::default());
        assert_eq!(configured("").unwrap(), Configuration::default());
    }

    #[test]
    fn a_wrong_value_is_told_of() {
        for text in ["components: { rest: { port: many } }", "components: { dry_run: perhaps }", "- a", "a: b: c"] {
            let found = configured(text);
            assert!(matches!(found, Err(Failure::Rejected { .. })), "{text}: {found:?}");
        }
    }

    #[test]
    fn files_are_looked_for_in_the_order_of_occopus() {
        let found = places("auth_data.yaml", Some("/x/y.yaml".into()), Some("/home/u".into()));
        let expected =
            ["/x/y.yaml", "/home/u/.occopus/auth_data.yaml", "./auth_data.yaml", "/etc/occopus/auth_data.yaml"];
        assert_eq!(found, expected.map(PathBuf::from));
    }
}
