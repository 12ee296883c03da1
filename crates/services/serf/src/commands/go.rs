//! How Go's libraries write values, as far as scripts see it: quotes, JSON, columns, numbers.

use std::collections::BTreeMap;

use serde_json::Value;

/// `%q`.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{07}' => out.push_str("\\a"),
            '\u{08}' => out.push_str("\\b"),
            '\u{0c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{0b}' => out.push_str("\\v"),
            '\0'..='\u{1f}' | '\u{7f}' => out.push_str(&escaped("\\x", 2, character)),
            '\u{80}'..='\u{9f}' | '\u{a0}' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&escaped("\\u", 4, character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

fn escaped(head: &str, digits: usize, character: char) -> String {
    format!("{head}{:0digits$x}", u32::from(character))
}

/// `%#v` of bytes.
pub(crate) fn bytes(kind: &str, bytes: &[u8]) -> String {
    let list: Vec<String> = bytes.iter().map(|byte| format!("0x{byte:x}")).collect();
    format!("[]{kind}{{{}}}", list.join(", "))
}

/// `%#v` of a number that came over the RPC: Go's decoder makes small ones signed and large ones unsigned.
pub(crate) fn number(number: u64) -> String {
    if number < 128 { number.to_string() } else { format!("0x{number:x}") }
}

/// Indented by two, with the characters escaped that mean something in HTML.
pub(crate) fn json(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        // None of these stands outside of a text.
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&escaped("\\u", 4, character)),
            _ => out.push(character),
        }
    }
    out
}

pub(crate) fn text_map(map: &BTreeMap<String, String>) -> Value {
    map.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect()
}

/// Lines whose columns are parted by `|`, aligned as the columnize library does: cells trimmed, two spaces between,
/// nothing after the last. A cell that has a `|` itself becomes two.
pub(crate) fn columns(lines: &[String]) -> String {
    let rows: Vec<Vec<&str>> = lines.iter().map(|line| line.split('|').map(str::trim).collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let aligned = rows.iter().map(|row| {
        let last = row.len() - 1;
        let cells = row.iter().zip(&widths).enumerate();
        cells.fold(
            String::new(),
            |line, (at, (cell, width))| {
                if at == last { line + cell } else { format!("{line}{cell:width$}  ") }
            },
        )
    });
    aligned.collect::<Vec<_>>().join("\n")
}

/// A whole number as Go's flags take it: decimal, or with the prefix of another base.
pub(crate) fn integer(text: &str) -> Result<i64, &'static str> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_lowercase();
    let (radix, digits) = match (lower.get(..2), lower.as_bytes()) {
        (Some("0x"), _) => (16, &lower[2..]),
        (Some("0o"), _) => (8, &lower[2..]),
        (Some("0b"), _) => (2, &lower[2..]),
        (Some(_), [b'0', ..]) => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if digits.starts_with(['+', '-']) {
        return Err("parse error");
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).map_err(|error| match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
        _ => "parse error",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_trimmed_and_parted_by_two_spaces() {
        let lines = ["n1|1.2.3.4:7946|alive|", "longer ü|1.2.3.4:7946|left|a=1"].map(str::to_owned);
        let expected = "n1        1.2.3.4:7946  alive  \nlonger ü  1.2.3.4:7946  left   a=1";
        assert_eq!(columns(&lines), expected);
        assert_eq!(columns(&["a|p=a|b".to_owned(), "b|x|c".to_owned()]), "a  p=a  b\nb  x    c");
        assert_eq!(columns(&[]), "");
    }

    #[test]
    fn numbers_have_go_s_prefixes() {
        assert_eq!(integer("255"), Ok(255));
        assert_eq!(integer("0x1f"), Ok(31));
        assert_eq!(integer("-017"), Ok(-15));
        assert_eq!(integer("0"), Ok(0));
        assert_eq!(integer("0x1z"), Err("parse error"));
        assert_eq!(integer(""), Err("parse error"));
        assert_eq!(integer("99999999999999999999"), Err("value out of range"));
    }

    #[test]
    fn text_is_escaped_as_go_does() {
        assert_eq!(quoted("a\"b\\\n\u{1}ü"), "\"a\\\"b\\\\\\n\\x01ü\"");
        assert_eq!(
            json(&serde_json::json!({"a": "<&>", "b": [], "c": {}})),
            "{\n  \"a\": \"\\u003c\\u0026\\u003e\",\n  \"b\": [],\n  \"c\": {}\n}"
        );
        assert_eq!((number(127), number(128)), ("127".to_owned(), "0x80".to_owned()));
    }
}
