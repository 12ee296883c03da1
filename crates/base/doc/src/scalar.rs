//! What plain scalars mean: YAML 1.2's core schema, and the spans of time that people write.

use std::time::Duration;

/// Longest span of time that is taken: ten years. More is a slip of the pen.
const DURATION_MAX: Duration = Duration::from_hours(10 * 366 * 24);

/// Whether a plain scalar means "nothing".
pub fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// YAML 1.2: `yes` and `on` are texts.
pub fn bool(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A whole number: decimal, `0x…` or `0o…`. `0644` is decimal, as YAML 1.2 has it.
pub fn int(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

/// A finite number with or without a fraction.
pub fn float(text: &str) -> Option<f64> {
    let first = text.trim_start_matches(['-', '+']).chars().next()?;
    if !(first.is_ascii_digit() || first == '.') {
        return None;
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// `30s`, `5m`, `1h30m`, `500ms`, `2d`; a number alone is seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds)).filter(|span| *span <= DURATION_MAX);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        let span = Duration::try_from_secs_f64(float(number)? * seconds).ok()?;
        total = total.checked_add(span).filter(|total| *total <= DURATION_MAX)?;
        rest = tail.trim_start();
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_yaml_1_2() {
        for (text, value) in [("0", Some(0)), ("-12", Some(-12)), ("0644", Some(644)), ("0o17", Some(15))] {
            assert_eq!(int(text), value, "{text}");
        }
        assert_eq!(int("0xff"), Some(255));
        for text in ["", "-", "1_000", "1.0", "0x", "--1", "+-1", "a", "0o9", "é1"] {
            assert_eq!(int(text), None, "{text}");
        }
        assert_eq!(float("0.5"), Some(0.5));
        assert_eq!(float("1e3"), Some(1000.0));
        for text in ["nan", "inf", ".inf", "1e999", "", "x"] {
            assert_eq!(float(text), None, "{text}");
        }
        assert_eq!((bool("true"), bool("yes"), bool("on")), (Some(true), None, None));
    }

    #[test]
    fn spans_of_time() {
        for (text, ms) in
            [("30s", 30_000), ("5m", 300_000), ("1h30m", 5_400_000), ("500ms", 500), ("90", 90_000), ("1.5s", 1_500)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(duration("1h 30m"), Some(Duration::from_mins(90)));
        for text in ["", "5x", "s", "-1s", "1h30", "99999999999d", "1..5s", "5 m"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
