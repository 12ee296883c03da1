//! The final message, with its variables put in.

/// Replaces `$name`, `${name}` and `{{ name }}` for each variable, in lower or upper case; anything else stays.
pub fn expand_message(message: &str, variables: &[(&str, String)]) -> String {
    let mut text = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find(['$', '{']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((value, length)) = variable(rest, variables) {
            text.push_str(value);
            rest = &rest[length..];
        } else {
            // Both characters that were looked for are one byte long.
            text.push_str(&rest[..1]);
            rest = &rest[1..];
        }
    }
    text + rest
}

/// The value and length of the variable that a text begins with.
fn variable<'a>(text: &str, variables: &'a [(&str, String)]) -> Option<(&'a str, usize)> {
    let (open, close) = match text {
        _ if text.starts_with("${") => ("${", "}"),
        _ if text.starts_with("{{") => ("{{", "}}"),
        _ if text.starts_with('$') => ("$", ""),
        _ => return None,
    };
    let inner = &text[open.len()..];
    let end = if close.is_empty() {
        inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inner.len())
    } else {
        inner.find(close)?
    };
    let name = inner[..end].trim().to_ascii_lowercase();
    let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
    Some((value, open.len() + end + close.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_and_the_rest_stays() {
        let variables = [("uptime", "12.5".to_owned()), ("version", "0.1".to_owned())];
        for (message, text) in [
            ("up $UPTIME s", "up 12.5 s"),
            ("${version}-$uptime.", "0.1-12.5."),
            ("{{ uptime }}/{{VERSION}}", "12.5/0.1"),
            ("costs $5, ${nobody}, {{ 1 }} {x} $", "costs $5, ${nobody}, {{ 1 }} {x} $"),
            ("ä$versionä", "ä0.1ä"),
            ("${open", "${open"),
        ] {
            assert_eq!(expand_message(message, &variables), text);
        }
    }
}
