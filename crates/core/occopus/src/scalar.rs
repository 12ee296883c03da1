//! What plain scalars mean to Occopus' reader: YAML 1.2 as ruamel.yaml has it, which takes underscores in numbers,
//! `0b101` and dates besides.

use muster_doc::template::Value;
use muster_doc::template::jinja::{Date, float};
use muster_doc::{Diagnostic, Node, Scalar, Style, Tree, codes, scalar};

/// A plain scalar's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Typed {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Date,
    Text,
}

pub(crate) fn typed(text: &str) -> Typed {
    if scalar::is_null(text) {
        return Typed::Null;
    }
    if let Some(value) = scalar::bool(text) {
        return Typed::Bool(value);
    }
    if let Some(value) = int(text) {
        return Typed::Int(value);
    }
    if let Some(value) = real(text) {
        return Typed::Float(value);
    }
    if is_date(text) { Typed::Date } else { Typed::Text }
}

fn int(text: &str) -> Option<i128> {
    let (negative, rest) = sign(text);
    let (radix, digits) = match rest.get(..2) {
        Some("0b") => (2, &rest[2..]),
        Some("0o") => (8, &rest[2..]),
        Some("0x") => (16, &rest[2..]),
        _ if rest.starts_with(|c: char| c.is_ascii_digit()) => (10, rest),
        _ => return None,
    };
    if !digits.chars().all(|c| c == '_' || c.is_digit(radix)) {
        return None;
    }
    let value = i128::from_str_radix(&digits.replace('_', ""), radix).ok()?;
    Some(if negative { -value } else { value })
}

fn real(text: &str) -> Option<f64> {
    let (negative, rest) = sign(text);
    let value = match rest {
        ".inf" | ".Inf" | ".INF" => f64::INFINITY,
        ".nan" | ".NaN" | ".NAN" if rest == text => f64::NAN,
        _ => number(rest)?,
    };
    Some(if negative { -value } else { value })
}

/// A number with a dot, an exponent, or both; an exponent behind a number that begins with its dot has a sign.
fn number(text: &str) -> Option<f64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |part: &str| part.chars().all(|c| c == '_' || c.is_ascii_digit());
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let begun = whole.starts_with(|c: char| c.is_ascii_digit());
    let bare = whole.is_empty() && fraction.is_some_and(|fraction| fraction.contains(|c: char| c.is_ascii_digit()));
    let signed = exponent.is_some_and(|exponent| exponent.starts_with(['-', '+']));
    let exponent_fits = exponent.is_none_or(|exponent| {
        let (_, rest) = sign(exponent);
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()) && (signed || !bare)
    });
    let shaped = (begun || bare) && digits(whole) && fraction.is_none_or(digits) && exponent_fits;
    if !shaped || fraction.is_none() && exponent.is_none() {
        return None;
    }
    text.replace('_', "").parse().ok()
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// `2021-11-30`, if the calendar has such a day.
fn is_date(text: &str) -> bool {
    let [year, month, day] = text.split('-').collect::<Vec<_>>()[..] else { return false };
    let shaped = [(year, 4), (month, 2), (day, 2)]
        .iter()
        .all(|(part, length)| part.len() == *length && part.bytes().all(|byte| byte.is_ascii_digit()));
    let (Ok(year), Ok(month), Ok(day)) = (year.parse::<u32>(), month.parse::<u32>(), day.parse::<u32>()) else {
        return false;
    };
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    shaped && year > 0 && (1..=12).contains(&month) && (1..=days).contains(&day)
}

/// The scalar that a plain text becomes: values in the one form that every reader of YAML takes for the same, texts as
/// texts.
pub(crate) fn read_plain(text: &str) -> Node {
    let (text, style) = match typed(text) {
        Typed::Null => return Node::Null,
        Typed::Bool(value) => (value.to_string(), Style::Plain),
        Typed::Int(value) => (value.to_string(), Style::Plain),
        Typed::Float(value) if value.is_nan() => (".nan".to_owned(), Style::Plain),
        Typed::Float(value) if value.is_infinite() => (if value > 0.0 { ".inf" } else { "-.inf" }.into(), Style::Plain),
        Typed::Float(value) => (float(value), Style::Plain),
        Typed::Date => (text.to_owned(), Style::Plain),
        Typed::Text => (text.to_owned(), Style::Quoted),
    };
    Node::Scalar(Scalar { text, style })
}

/// Keys of cloud-config that hold the mode of a file.
const MODE_KEYS: [&str; 2] = ["permissions", "mode"];

/// Gives every plain scalar of a tree its value's one form.
pub(crate) fn normalise(tree: &mut Tree, out: &mut Vec<Diagnostic>) {
    match &mut tree.node {
        Node::Scalar(scalar) if scalar.is_plain() => tree.node = read_plain(&scalar.text),
        Node::Null | Node::Scalar(_) => {}
        Node::Seq(items) => items.iter_mut().for_each(|item| normalise(item, out)),
        Node::Map(entries) => {
            for (key, value) in entries {
                if MODE_KEYS.contains(&key.text.as_str()) {
                    out.extend(mode(value));
                }
                normalise(value, out);
            }
        }
    }
}

/// Octal digits without quotes are a decimal number to YAML 1.2.
fn mode(tree: &Tree) -> Option<Diagnostic> {
    let Node::Scalar(scalar) = &tree.node else { return None };
    let octal = scalar.is_plain() && scalar.text.starts_with('0') && matches!(scalar.text.len(), 3..=5);
    if !octal || !scalar.text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimal = scalar.text.trim_start_matches('0');
    let message = format!("`{}` without quotes is the decimal number {decimal}, not a mode", scalar.text);
    let hint = format!("put quotes around it: \"{}\"", scalar.text);
    Some(Diagnostic::warning(codes::OCCOPUS_MODE, message, hint).at(tree.span, "a decimal number"))
}

/// A normalised tree as templates see it.
pub(crate) fn to_value(tree: &Tree) -> Value {
    match &tree.node {
        Node::Null => Value::from(()),
        Node::Scalar(scalar) if scalar.is_plain() => match typed(&scalar.text) {
            Typed::Null => Value::from(()),
            Typed::Bool(value) => Value::from(value),
            Typed::Int(value) => i64::try_from(value).map_or_else(|_| Value::from(value), Value::from),
            Typed::Float(value) => Value::from(value),
            Typed::Date => Value::from_object(Date(scalar.text.clone())),
            Typed::Text => Value::from(scalar.text.as_str()),
        },
        Node::Scalar(scalar) => Value::from(scalar.text.as_str()),
        Node::Seq(items) => items.iter().map(to_value).collect(),
        Node::Map(entries) => Value::from_pairs(entries.iter().map(|(key, value)| (key.text.clone(), to_value(value)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_those_of_yaml_1_2_as_ruamel_reads_it() {
        for text in
            ["yes", "no", "on", "off", "1:30", "1.2.3", "1_a", "-", ".", "e5", "0o9", "2021-13-01", "2021-02-29"]
        {
            assert_eq!(typed(text), Typed::Text, "{text}");
        }
        for (text, value) in
            [("0644", 644), ("0o17", 15), ("1_000", 1000), ("0x1F", 31), ("0b101", 5), ("-12", -12), ("+3", 3)]
        {
            assert_eq!(typed(text), Typed::Int(value), "{text}");
        }
        for (text, value) in [("1.0", 1.0), ("1e3", 1000.0), (".5", 0.5), ("1_0.5", 10.5), ("-.inf", f64::NEG_INFINITY)]
        {
            assert_eq!(typed(text), Typed::Float(value), "{text}");
        }
        assert_eq!((typed("2021-11-30"), typed("~"), typed("True")), (Typed::Date, Typed::Null, Typed::Bool(true)));
        assert_eq!((typed("2024-02-29"), typed(".5e3")), (Typed::Date, Typed::Text));
    }
}
