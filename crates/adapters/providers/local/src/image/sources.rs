//! Where Debian's packages come from: the lines of the machine's own apt that speak of Debian 12, or a mirror.

use std::fmt;

/// The code name of Debian 12.
pub(crate) const SUITE: &str = "bookworm";
/// What follows the code name in the names of the archive's suites. Backports are the user's own choice, not ours.
const SUITES: [&str; 3] = ["", "-updates", "-security"];
const COMPONENTS: [&str; 4] = ["main", "contrib", "non-free", "non-free-firmware"];
/// Options that are understood; others say how to keep indexes that we do not fetch.
const OPTIONS: [&str; 9] = [
    "signed-by",
    "trusted",
    "check-valid-until",
    "check-date",
    "date-max-future",
    "by-hash",
    "allow-insecure",
    "allow-weak",
    "allow-downgrade-to-insecure",
];
/// Comes with the package debian-archive-keyring.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const ARCHIVE: &str = "http://deb.debian.org/debian";

/// One line of a list of sources.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    pub(crate) options: Vec<(String, String)>,
    pub(crate) uri: String,
    pub(crate) suite: String,
    pub(crate) components: Vec<String>,
    /// A key that stands in the list itself, which only the other format of lists can hold.
    pub(crate) key: Option<String>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deb ")?;
        if !self.options.is_empty() {
            let options: Vec<String> = self.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
            write!(f, "[{}] ", options.join(" "))?;
        }
        write!(f, "{} {} {}", self.uri, self.suite, self.components.join(" "))
    }
}

impl Source {
    fn new(uri: &str, suite: &str) -> Self {
        Self {
            options: vec![("signed-by".to_owned(), KEYRING.to_owned())],
            uri: uri.to_owned(),
            suite: suite.to_owned(),
            components: vec![COMPONENTS[0].to_owned()],
            key: None,
        }
    }

    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Of Debian 12's own archive, cut to the components that Debian has.
    fn of_debian(mut self) -> Option<Self> {
        let ours = |suite: &str| SUITES.iter().any(|end| suite.strip_prefix(SUITE) == Some(end));
        let suite = self.suite.trim_end_matches('/').to_owned();
        self.components.retain(|component| COMPONENTS.contains(&component.as_str()));
        (ours(&suite) && !self.components.is_empty() && !self.uri.starts_with("cdrom:")).then_some(self)
    }
}

/// The lines for Debian 12 among a machine's own; Debian's servers when it has none.
pub(crate) fn of_debian_12(all: Vec<Source>) -> Vec<Source> {
    let mut found: Vec<Source> = Vec::new();
    for source in all.into_iter().filter_map(Source::of_debian) {
        if !found.contains(&source) {
            found.push(source);
        }
    }
    if found.iter().any(|source| source.suite == SUITE) { found } else { mirror(ARCHIVE) }
}

/// A mirror of Debian's archive. Where it is called `debian`, its neighbour `debian-security` is asked too. Only the
/// first line has to be there: small mirrors do without the others.
pub(crate) fn mirror(url: &str) -> Vec<Source> {
    let url = url.trim_end_matches('/');
    let mut sources = vec![Source::new(url, SUITE), Source::new(url, &format!("{SUITE}-updates"))];
    if url.ends_with("/debian") {
        sources.push(Source::new(&format!("{url}-security"), &format!("{SUITE}-security")));
    }
    sources
}

/// The format of `sources.list`: `deb [option=value …] uri suite component…`.
pub(crate) fn one_line(text: &str) -> Vec<Source> {
    text.lines().filter_map(read_line).collect()
}

fn read_line(line: &str) -> Option<Source> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    let options = options.split_whitespace().filter_map(|option| option.split_once('='));
    let known = options.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    Some(Source {
        options: known.filter(|(name, _)| OPTIONS.contains(&name.as_str())).collect(),
        uri: uri.to_owned(),
        suite: suite.to_owned(),
        components: words.map(str::to_owned).collect(),
        key: None,
    })
}

/// The format of `*.sources`: paragraphs of fields, as deb822(5) has them.
pub(crate) fn deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            sources.extend(paragraph(&std::mem::take(&mut fields)));
        } else if line.starts_with('#') {
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                // A blank line in a value is written as a dot.
                let line = line.trim();
                value.push_str(if line == "." { "" } else { line });
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

fn paragraph(fields: &[(String, String)]) -> Vec<Source> {
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    let words = |name: &str| field(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let off = ["no", "false", "0", "off", "without", "disable"].contains(&field("enabled"));
    if off || !words("types").iter().any(|kind| kind == "deb") {
        return Vec::new();
    }
    let key = field("signed-by").contains("-----BEGIN").then(|| field("signed-by").trim().to_owned());
    let kept = fields.iter().filter(|(name, value)| OPTIONS.contains(&name.as_str()) && !value.contains("-----BEGIN"));
    let options: Vec<(String, String)> =
        kept.map(|(name, value)| (name.clone(), value.split_whitespace().collect::<Vec<_>>().join(","))).collect();
    let mut sources = Vec::new();
    for uri in words("uris") {
        for suite in words("suites") {
            let (options, components, key) = (options.clone(), words("components"), key.clone());
            sources.push(Source { options, uri: uri.clone(), suite, components, key });
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(sources: &[Source]) -> Vec<String> {
        sources.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn debian_s_lines_are_found_among_others() {
        let text = "# mine\n\
                    deb http://ftp.example/debian bookworm main contrib  # a comment\n\
                    deb-src http://ftp.example/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/etc/k.gpg] https://s.example/ bookworm-security/ main own\n\
                    deb http://ftp.example/debian bookworm-backports main\n\
                    deb https://docker.example/linux/debian bookworm stable\n\
                    deb cdrom:[Debian 12]/ bookworm main\n\
                    deb http://ftp.example/debian bookworm main contrib\n";
        let expected = [
            "deb http://ftp.example/debian bookworm main contrib",
            "deb [signed-by=/etc/k.gpg] https://s.example/ bookworm-security/ main",
        ];
        assert_eq!(lines(&of_debian_12(one_line(text))), expected);
    }

    #[test]
    fn paragraphs_are_lines_for_each_suite() {
        let text = "# http://snapshot\nTypes: deb deb-src\nURIs: http://a/debian http://b/debian\n\
                    Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n\n\
                    Types: deb\nEnabled: no\nURIs: http://off\nSuites: bookworm\nComponents: main\n\n\
                    Types: deb\nURIs: http://c\nSuites: bookworm\nComponents: main\nSigned-By:\n \
                    -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQIN\n -----END PGP PUBLIC KEY BLOCK-----\n";
        let sources = of_debian_12(deb822(text));
        let expected = [
            "deb [signed-by=/k.gpg] http://a/debian bookworm main",
            "deb [signed-by=/k.gpg] http://a/debian bookworm-updates main",
            "deb [signed-by=/k.gpg] http://b/debian bookworm main",
            "deb [signed-by=/k.gpg] http://b/debian bookworm-updates main",
            "deb http://c bookworm main",
        ];
        assert_eq!(lines(&sources), expected);
        let key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQIN\n-----END PGP PUBLIC KEY BLOCK-----";
        assert_eq!(sources[4].key.as_deref(), Some(key));
    }

    #[test]
    fn other_machines_use_debian_s_servers_and_mirrors_win() {
        let ubuntu = "deb http://archive.ubuntu.com/ubuntu noble main\n";
        let found = of_debian_12(one_line(ubuntu));
        assert_eq!(found, mirror(ARCHIVE));
        assert_eq!(found.len(), 3);
        assert_eq!(found[2].uri, "http://deb.debian.org/debian-security");
        let small = mirror("http://127.0.0.1:9/");
        assert_eq!(small.len(), 2);
        assert_eq!((small[0].uri.as_str(), small[0].option("signed-by")), ("http://127.0.0.1:9", Some(KEYRING)));
    }
}
