//! The template engine's errors in words that help, at the place in the file.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use crate::{Diagnostic, OffsetMap, SourceMap, Span, Tree, codes, suggest};

/// What a template says by `fail`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

/// `fail("message; hint")`: what a template refuses is told in its own words, at its place.
pub(super) fn refuse(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "the template refuses").with_source(Refused(message)))
}

pub(super) fn diagnostic(error: &Error, leaf: &Tree, sources: &SourceMap, context: Option<&Value>) -> Diagnostic {
    let (span, label) = place(error, leaf, sources);
    if let Some(Refused(text)) = refused(error) {
        let (message, hint) = text.split_once("; ").unwrap_or((text, "change what the template is given"));
        return Diagnostic::error(codes::TEMPLATE_REFUSED, message, hint).at(span, label);
    }
    let (code, message, hint) = words(error, context);
    Diagnostic::error(code, message, hint).at(span, label)
}

fn refused(error: &Error) -> Option<&Refused> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(refused) = inner.downcast_ref() {
            return Some(refused);
        }
        source = inner.source();
    }
    None
}

fn words(error: &Error, context: Option<&Value>) -> (&'static str, String, String) {
    let detail = innermost(error);
    match error.kind() {
        ErrorKind::SyntaxError | ErrorKind::BadEscape => (
            codes::TEMPLATE_SYNTAX,
            format!("the template is not well-formed: {detail}"),
            "check the braces; text that is to keep its braces goes between {% raw %} and {% endraw %}".to_owned(),
        ),
        ErrorKind::UnknownFilter | ErrorKind::UnknownFunction | ErrorKind::UnknownTest | ErrorKind::UnknownMethod => (
            codes::TEMPLATE_FUNCTION,
            format!("the template calls something that does not exist: {detail}"),
            "functions here are members, role_members, role_nodes, getip, getprivip, getipall, cut and fail; filters are \
             those of Jinja2"
                .to_owned(),
        ),
        ErrorKind::OutOfFuel => {
            (codes::TEMPLATE_ENDLESS, "the template runs without end".to_owned(), "make its loops shorter".to_owned())
        }
        ErrorKind::WriteFailure => (
            codes::TEMPLATE_ENDLESS,
            "the template yields more than 8 MiB".to_owned(),
            "make its loops shorter".to_owned(),
        ),
        kind => match undefined(detail.as_str()) {
            Some(path) => (codes::TEMPLATE_UNDEFINED, format!("`{path}` is not defined"), hint_for(path, context)),
            None if kind == ErrorKind::MissingArgument || kind == ErrorKind::TooManyArguments => (
                codes::TEMPLATE_FAILED,
                format!("a function got the wrong number of arguments: {detail}"),
                "look at how the function is called".to_owned(),
            ),
            // Functions end their messages with what to do.
            None => match detail.split_once("; ") {
                Some((detail, hint)) if error.kind() == ErrorKind::InvalidOperation => {
                    (codes::TEMPLATE_FAILED, detail.to_owned(), hint.to_owned())
                }
                _ => (
                    codes::TEMPLATE_FAILED,
                    format!("the template cannot be rendered: {detail}"),
                    "look at what the expression works on; `default` and `if` help where a value may be missing"
                        .to_owned(),
                ),
            },
        },
    }
}

/// The words of the error that started it.
fn innermost(error: &Error) -> String {
    let mut source: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    let mut words = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    while let Some(inner) = source {
        words = inner.to_string();
        source = inner.source();
    }
    words
}

/// The path in "`vars.x` is undefined", also where it ends a longer sentence.
fn undefined(detail: &str) -> Option<&str> {
    let rest = &detail[..detail.find("` is undefined")?];
    rest.rfind('`').map(|start| &rest[start + 1..])
}

/// Walks the path as far as it leads and suggests what is there.
fn hint_for(path: &str, context: Option<&Value>) -> String {
    const SETS: &str = "set it under `vars:`, or write `| default(\"…\")` behind it";
    if path.contains('[') {
        return "the list or mapping does not have it; its `length` says how long a list is".to_owned();
    }
    let Some(context) = context else { return SETS.to_owned() };
    let mut value = context.clone();
    let mut known = String::new();
    for step in path.split('.') {
        match value.get_attr(step) {
            Ok(next) if !next.is_undefined() => {
                value = next;
                known = if known.is_empty() { step.to_owned() } else { format!("{known}.{step}") };
            }
            _ => {
                let names = keys(&value);
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let prefix = if known.is_empty() { String::new() } else { format!("{known}.") };
                return match suggest::closest(step, names.iter().copied()) {
                    Some(close) => format!("did you mean `{prefix}{close}`?"),
                    None if known.starts_with("vars") => SETS.to_owned(),
                    None if known == "secrets" => "a recipe declares what it keeps secret under `secrets:`".to_owned(),
                    None if names.is_empty() => SETS.to_owned(),
                    None => format!("known here: {}", names.join(", ")),
                };
            }
        }
    }
    SETS.to_owned()
}

fn keys(value: &Value) -> Vec<String> {
    if value.kind() != ValueKind::Map {
        return Vec::new();
    }
    value.try_iter().map(|keys| keys.map(|key| key.to_string()).collect()).unwrap_or_default()
}

/// The failing expression inside the scalar if it can be found in the file, else the whole scalar.
fn place(error: &Error, leaf: &Tree, sources: &SourceMap) -> (Span, &'static str) {
    let text = leaf.as_str().unwrap_or_default();
    // The engine counts bytes, and may end in the middle of a character.
    let floor = |at: usize| (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let ceil = |at: usize| (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let range = error.range().filter(|range| range.end <= text.len() && range.start <= range.end);
    let range = range.map(|range| floor(range.start)..ceil(range.end.max(range.start + 1)));
    let map = OffsetMap::of(sources, leaf);
    match (range, map) {
        (Some(range), Some(map)) => (map.span(range.start, range.end), "here"),
        _ => (leaf.span, "in this template"),
    }
}
