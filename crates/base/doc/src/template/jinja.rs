//! Templates as Jinja2 under Python renders them: what is not defined yields nothing, blocks keep the white space around
//! them, and values print as Python prints them (`True`, `None`, `['a', 1]`).
//!
//! Where a text is put together inside of an expression (`~`), lists print as the engine prints them.

use std::fmt::Write as _;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Object, ObjectRepr, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

use super::{Bounded, FUEL, fault};
use crate::{Diagnostic, SourceMap, Tree};

/// Deepest nesting that is printed.
const DEPTH_MAX: usize = 64;

/// An environment with Jinja2's defaults.
#[derive(Debug)]
pub struct Jinja {
    environment: Environment<'static>,
}

/// What one template yields.
#[derive(Debug, Clone)]
pub struct Rendering {
    pub text: String,
    /// What it sets at its top (`{% set x = 1 %}`, macros).
    pub sets: Vec<(String, Value)>,
}

/// A date of YAML.
#[derive(Debug)]
pub struct Date(pub String);

impl Object for Date {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Jinja {
    /// `configure` adds functions and filters.
    pub fn new(configure: impl FnOnce(&mut Environment<'static>)) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_debug(true);
        environment.set_fuel(Some(FUEL));
        if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
            environment.set_syntax(syntax);
        }
        environment.set_formatter(|out, _, value| out.write_str(&printed(value)).map_err(Error::from));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("string", |value: &Value| printed(value));
        environment.add_filter("join", join);
        environment.add_filter("tojson", json);
        // The engine's own write numbers and truths their way before they work on them.
        environment.add_filter("upper", |value: &Value| printed(value).to_uppercase());
        environment.add_filter("lower", |value: &Value| printed(value).to_lowercase());
        environment.add_filter("trim", |value: &Value, set: Option<String>| {
            let text = printed(value);
            set.map_or_else(|| text.trim().to_owned(), |set| text.trim_matches(|c| set.contains(c)).to_owned())
        });
        for name in ["length", "count"] {
            environment.add_filter(name, |value: &Value| value.len().map_or_else(|| length(value), Ok));
        }
        environment.add_filter("replace", |value: &Value, old: &Value, new: &Value, count: Option<usize>| {
            printed(value).replacen(&printed(old), &printed(new), count.unwrap_or(usize::MAX))
        });
        add_lenient(&mut environment);
        configure(&mut environment);
        Self { environment }
    }

    /// Renders a text to its last character.
    pub fn render(&self, source: &str, context: &Value) -> Result<Rendering, Error> {
        let mut bounded = Bounded(Vec::new());
        let template = self.environment.template_from_named_str("template", source)?;
        let captured = template.render_captured_to(context.clone(), &mut bounded)?;
        let state = captured.state();
        let sets = state.exports().into_iter();
        let sets = sets.filter_map(|name| Some((name.to_owned(), state.lookup(name)?))).collect();
        drop(captured);
        Ok(Rendering { text: String::from_utf8_lossy(&bounded.0).into_owned(), sets })
    }

    /// As Jinja2 takes a whole file: line ends become `\n`, and one at the end is left out.
    pub fn render_file(&self, source: &str, context: &Value) -> Result<Rendering, Error> {
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        self.render(source.strip_suffix('\n').unwrap_or(&source), context)
    }
}

/// An error of a template in words, at its place in the leaf that holds it.
pub fn explain(error: &Error, leaf: &Tree, sources: &SourceMap, context: &Value) -> Diagnostic {
    fault::diagnostic(error, leaf, sources, Some(context))
}

/// As Python's `str()` gives it.
pub fn printed(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::String => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        _ => {
            let mut out = String::new();
            write_repr(&mut out, value, 0);
            out
        }
    }
}

fn write_repr(out: &mut String, value: &Value, depth: usize) {
    if depth > DEPTH_MAX {
        out.push_str("...");
        return;
    }
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number if !value.is_integer() => {
            out.push_str(&f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float));
        }
        ValueKind::String => write_quoted(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (index, item) in value.try_iter().into_iter().flatten().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_repr(out, &item, depth + 1);
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter().into_iter().flatten().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_repr(out, &key, depth + 1);
                out.push_str(": ");
                write_repr(out, &value.get_item(&key).unwrap_or_default(), depth + 1);
            }
            out.push('}');
        }
        _ => match value.downcast_object_ref::<Date>().filter(|_| depth > 0) {
            Some(Date(text)) => {
                let parts: Vec<&str> = text.split('-').map(|part| part.trim_start_matches('0')).collect();
                out.push_str("datetime.date(");
                out.push_str(&parts.join(", "));
                out.push(')');
            }
            None => out.push_str(&value.to_string()),
        },
    }
}

/// As Python's `repr` of a text.
fn write_quoted(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => escape(out, c),
            c => out.push(c),
        }
    }
    out.push(quote);
}

fn escape(out: &mut String, c: char) {
    // Writing to a String does not fail.
    write!(out, "\\x{:02x}", u32::from(c)).unwrap_or_default();
}

/// The shortest digits that read back, with an exponent where Python has one.
pub fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let power: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&power) {
        let plain = value.to_string();
        return if plain.contains('.') { plain } else { format!("{plain}.0") };
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.abs())
}

/// Filters that yield something for everything.
fn add_lenient(environment: &mut Environment<'static>) {
    environment.add_filter("int", |value: &Value, default: Option<Value>, base: Option<u32>| {
        whole(value, base.unwrap_or(10)).map_or_else(|| default.unwrap_or_else(|| Value::from(0)), Value::from)
    });
    environment.add_filter("float", |value: &Value, default: Option<Value>| {
        real(value).map_or_else(|| default.unwrap_or_else(|| Value::from(0.0)), Value::from)
    });
    environment.add_filter("wordcount", |value: &Value| {
        printed(value).split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).count()
    });
    environment.add_filter("center", |value: &Value, width: Option<usize>| {
        let text = printed(value);
        let gap = width.unwrap_or(80).min(WIDTH_MAX).saturating_sub(text.chars().count());
        // Python puts the odd blank to the left where the width is odd too.
        let left = gap / 2 + (gap & width.unwrap_or(80) & 1);
        format!("{:left$}{text}{:right$}", "", "", right = gap - left)
    });
    environment.add_filter("truncate", truncate);
}

/// Widest text that is filled with blanks.
const WIDTH_MAX: usize = 4096;

fn whole(value: &Value, base: u32) -> Option<i128> {
    match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        ValueKind::Number => i128::try_from(value.clone()).ok().or_else(|| truncated(real(value)?)),
        ValueKind::String => {
            let text = value.as_str()?.trim().to_lowercase();
            let prefix = match base {
                16 => "0x",
                8 => "0o",
                2 => "0b",
                _ => "",
            };
            let digits = text.strip_prefix(prefix).unwrap_or(&text).replace('_', "");
            let parsed = (2..=36).contains(&base).then(|| i128::from_str_radix(&digits, base).ok()).flatten();
            parsed.or_else(|| truncated(real(value)?))
        }
        _ => None,
    }
}

fn truncated(value: f64) -> Option<i128> {
    format!("{:.0}", value.trunc()).parse().ok()
}

fn real(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        ValueKind::String => value.as_str()?.trim().parse().ok(),
        _ => None,
    }
}

/// A text that is at most five characters too long stays; else it ends at a word, unless words may be cut.
fn truncate(
    value: &Value,
    length: Option<usize>,
    cut: Option<bool>,
    end: Option<String>,
    leeway: Option<usize>,
) -> String {
    let text = printed(value);
    let (length, end) = (length.unwrap_or(255), end.unwrap_or_else(|| "...".to_owned()));
    if text.chars().count() <= length.saturating_add(leeway.unwrap_or(5)) {
        return text;
    }
    let kept: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
    let kept =
        if cut == Some(true) { kept.as_str() } else { kept.rsplit_once(' ').map_or(kept.as_str(), |(head, _)| head) };
    format!("{kept}{end}")
}

/// What is not defined has no items.
fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() {
        return Ok(0);
    }
    let message = format!("a value of this kind ({}) has no length; give it a text, a list or a mapping", value.kind());
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn join(value: &Value, glue: Option<String>) -> Result<String, Error> {
    let items: Vec<String> = value.try_iter()?.map(|item| printed(&item)).collect();
    Ok(items.join(&glue.unwrap_or_default()))
}

/// `json.dumps` with sorted keys, and with what HTML would take for markup escaped, as Jinja2 does.
fn json(value: &Value) -> Result<Value, Error> {
    let mut out = String::new();
    write_json(&mut out, value, 0)?;
    for (plain, escaped) in [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\'', "\\u0027")] {
        out = out.replace(plain, escaped);
    }
    Ok(Value::from_safe_string(out))
}

fn write_json(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::new(ErrorKind::InvalidOperation, "the value is nested too deeply for JSON"));
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&printed(value)),
        ValueKind::String => json_text(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (index, item) in value.try_iter()?.enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_json(out, &item, depth + 1)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            keys.sort_by_key(ToString::to_string);
            out.push('{');
            for (index, key) in keys.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                json_text(out, &printed(key));
                out.push_str(": ");
                write_json(out, &value.get_item(key)?, depth + 1)?;
            }
            out.push('}');
        }
        kind => {
            let message = format!("JSON has no form for this value ({kind}); choose a part of it");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
    }
    Ok(())
}

fn json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").unwrap_or_default();
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(source: &str) -> String {
        let context = Value::from_pairs([
            ("t", Value::from(true)),
            ("n", Value::from(())),
            ("l", Value::from_iter([Value::from("it's"), Value::from(1), Value::from(1.0), Value::from(false)])),
            ("m", Value::from_pairs([("k", Value::from("v\n")), ("d", Value::from_object(Date("2020-01-02".into())))])),
            ("s", Value::from("text")),
            ("day", Value::from_object(Date("2020-01-02".into()))),
        ]);
        Jinja::new(|_| {}).render_file(source, &context).map_or_else(|error| error.to_string(), |done| done.text)
    }

    #[test]
    fn values_print_as_python_prints_them() {
        for (source, text) in [
            ("{{ t }} {{ n }} {{ nothing }}.", "True None ."),
            ("{{ l }}", "[\"it's\", 1, 1.0, False]"),
            ("{{ m }}", "{'k': 'v\\n', 'd': datetime.date(2020, 1, 2)}"),
            ("{{ day }} {{ l | join('-') }}", "2020-01-02 it's-1-1.0-False"),
            ("{{ l | tojson }} {{ 'é' | tojson }}", "[\"it\\u0027s\", 1, 1.0, false] \"\\u00e9\""),
            ("{{ s.upper() }} {{ s[1:3] }} {{ 7 / 2 }} {{ 7 // 2 }}", "TEXT ex 3.5 3"),
            ("{% if t %}\n  a\n{% endif %}\n", "\n  a\n"),
            ("a\n\n", "a\n"),
        ] {
            assert_eq!(show(source), text, "{source}");
        }
        assert!(show("{{ nothing.at.all }}").contains("undefined"));
    }

    #[test]
    fn floats_have_pythons_exponents() {
        let cases = [(1.0, "1.0"), (1e16, "1e+16"), (1.5e-5, "1.5e-05"), (0.0001, "0.0001"), (123_456.75, "123456.75")];
        for (value, text) in cases {
            assert_eq!(float(value), text);
        }
        assert_eq!(float(f64::NEG_INFINITY), "-inf");
    }
}
