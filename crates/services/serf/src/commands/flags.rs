//! Flags as Go's `flag` package reads them: `-x v`, `-x=v`, `--x`, and the first other word ends them.

use std::collections::BTreeMap;

use super::go;
use crate::agent::parse_duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    /// Text that may be given several times.
    List,
    Bool,
    Integer,
    Duration,
}

/// One flag of a command.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What stands behind the name in the help, such as `=<regexp>`.
    pub(crate) value: &'static str,
    pub(crate) help: &'static str,
}

/// What was given.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    /// In the order in which they were given.
    values: Vec<(&'static str, String)>,
    /// The words after the flags.
    pub(crate) words: Vec<String>,
}

const TRUE: [&str; 6] = ["1", "t", "T", "TRUE", "true", "True"];
const FALSE: [&str; 6] = ["0", "f", "F", "FALSE", "false", "False"];

/// The error is the one line that Go writes before the help.
pub(crate) fn parse(flags: &[&'static Flag], arguments: &[String]) -> Result<Flags, String> {
    let mut parsed = Flags::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.clone().next() {
        let Some(body) = argument.strip_prefix('-').filter(|body| !body.is_empty()) else { break };
        rest.next();
        if body == "-" {
            break;
        }
        let body = body.strip_prefix('-').unwrap_or(body);
        if body.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {argument}"));
        }
        let (name, given) = body.split_once('=').map_or((body, None), |(name, value)| (name, Some(value.to_owned())));
        let Some(flag) = flags.iter().find(|flag| flag.name == name) else {
            return Err(format!("flag provided but not defined: -{name}"));
        };
        let value = match given {
            None if flag.kind == Kind::Bool => "true".to_owned(),
            None => rest.next().cloned().ok_or_else(|| format!("flag needs an argument: -{name}"))?,
            Some(value) => value,
        };
        check(flag, &value)?;
        parsed.values.push((flag.name, value));
    }
    parsed.words = rest.cloned().collect();
    Ok(parsed)
}

fn check(flag: &Flag, value: &str) -> Result<(), String> {
    let (name, given) = (flag.name, go::quoted(value));
    match flag.kind {
        Kind::Bool if !TRUE.contains(&value) && !FALSE.contains(&value) => {
            Err(format!("invalid boolean value {given} for -{name}: parse error"))
        }
        Kind::Integer => match go::integer(value) {
            Ok(_) => Ok(()),
            Err(reason) => Err(format!("invalid value {given} for flag -{name}: {reason}")),
        },
        Kind::Duration if parse_duration(value).is_err() => {
            Err(format!("invalid value {given} for flag -{name}: parse error"))
        }
        _ => Ok(()),
    }
}

impl Flags {
    /// The last one given counts, as in Go.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.any(&[name]).map(str::to_owned).collect()
    }

    /// Those of several flags, in the order in which they were given.
    pub(crate) fn any(&self, names: &[&str]) -> impl Iterator<Item = &str> {
        self.values.iter().filter(move |(given, _)| names.contains(given)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.bool(name).unwrap_or(false)
    }

    pub(crate) fn bool(&self, name: &str) -> Option<bool> {
        self.text(name).map(|value| TRUE.contains(&value))
    }

    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        self.text(name).and_then(|value| go::integer(value).ok())
    }

    pub(crate) fn duration_ns(&self, name: &str) -> Option<i64> {
        parse_duration(self.text(name)?).ok()?.as_nanos().try_into().ok()
    }
}

/// `key=value` of each; the error is the first that is not.
pub(crate) fn pairs(list: &[String]) -> Result<BTreeMap<String, String>, String> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("Invalid tag: '{text}'")),
    };
    list.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    static NAME: Flag = Flag { name: "name", kind: Kind::Text, value: "", help: "" };
    static TAG: Flag = Flag { name: "tag", kind: Kind::List, value: "", help: "" };
    static LOUD: Flag = Flag { name: "loud", kind: Kind::Bool, value: "", help: "" };
    static TIMEOUT: Flag = Flag { name: "timeout", kind: Kind::Duration, value: "", help: "" };

    fn parsed(arguments: &[&str]) -> Result<Flags, String> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        parse(&[&NAME, &TAG, &LOUD, &TIMEOUT], &arguments)
    }

    #[test]
    fn every_form_is_taken() {
        let flags = parsed(&["-name", "a", "--name=b=c", "-tag", "x", "--tag", "-loud", "-loud", "word", "-name", "d"]);
        let flags = flags.unwrap();
        assert_eq!(flags.text("name"), Some("b=c"));
        assert_eq!(flags.list("tag"), ["x", "-loud"]);
        assert!(flags.is_set("loud"));
        assert_eq!(flags.words, ["word", "-name", "d"]);
        assert_eq!(parsed(&["-loud=F", "--", "-name"]).unwrap().words, ["-name"]);
        assert_eq!(parsed(&["-loud=F"]).unwrap().bool("loud"), Some(false));
        assert_eq!(parsed(&["-", "-loud"]).unwrap().words, ["-", "-loud"]);
        assert_eq!(parsed(&["-loud", "false"]).unwrap().words, ["false"]);
    }

    #[test]
    fn mistakes_have_go_s_words() {
        for (arguments, message) in [
            (&["-nam=x"][..], "flag provided but not defined: -nam"),
            (&["-name"], "flag needs an argument: -name"),
            (&["--=x"], "bad flag syntax: --=x"),
            (&["---name"], "bad flag syntax: ---name"),
            (&["-loud=maybe"], "invalid boolean value \"maybe\" for -loud: parse error"),
            (&["-timeout=5"], "invalid value \"5\" for flag -timeout: parse error"),
        ] {
            assert_eq!(parsed(arguments).unwrap_err(), message);
        }
    }

    #[test]
    fn pairs_need_a_key() {
        assert_eq!(pairs(&["a=b=c".into(), "d=".into()]).unwrap()["a"], "b=c");
        assert_eq!(pairs(&["bad".into()]).unwrap_err(), "Invalid tag: 'bad'");
        assert_eq!(pairs(&["=x".into()]).unwrap_err(), "Invalid tag: '=x'");
    }
}
