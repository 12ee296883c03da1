//! The pieces of a Jinja2 template, and its expressions with other names in them.

/// One piece of a template. Put one behind the other, they are the template again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// Text, comments, and what stands between `raw` and `endraw` with both tags.
    Fixed(&'t str),
    /// What stands in `{{ … }}`, with the marks for white space.
    Expression(&'t str),
    /// What stands in `{% … %}`, with the marks for white space.
    Block(&'t str),
}

/// Takes a template apart; `None` if something in it is not closed.
pub(super) fn pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = opening(rest) {
        if at > 0 {
            found.push(Piece::Fixed(&rest[..at]));
        }
        let (head, tail) = rest[at..].split_at(2);
        if head == "{#" {
            let end = at + 2 + tail.find("#}")? + 2;
            found.push(Piece::Fixed(&rest[at..end]));
            rest = &rest[end..];
            continue;
        }
        let code = code(tail, if head == "{{" { "}}" } else { "%}" })?;
        let end = at + 2 + code.len() + 2;
        if head == "{{" {
            found.push(Piece::Expression(code));
        } else if word(code) == "raw" {
            let end = end + raw_end(&rest[end..])?;
            found.push(Piece::Fixed(&rest[at..end]));
            rest = &rest[end..];
            continue;
        } else {
            found.push(Piece::Block(code));
        }
        rest = &rest[end..];
    }
    if !rest.is_empty() {
        found.push(Piece::Fixed(rest));
    }
    Some(found)
}

fn opening(text: &str) -> Option<usize> {
    text.match_indices('{').map(|(at, _)| at).find(|at| matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')))
}

/// The code up to its closing mark, which does not count between quotes or inside of braces.
fn code<'t>(text: &'t str, close: &str) -> Option<&'t str> {
    let mut depth = 0_usize;
    let mut at = 0;
    for token in tokens(text) {
        if depth == 0 && text[at..].starts_with(close) {
            return Some(&text[..at]);
        }
        match token {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += token.len();
    }
    None
}

/// The first word of a block.
pub(super) fn word(code: &str) -> &str {
    code.trim_matches(|c: char| c.is_whitespace() || matches!(c, '-' | '+')).split_whitespace().next().unwrap_or("")
}

/// Where the block behind `raw` ends, with its last tag.
fn raw_end(text: &str) -> Option<usize> {
    for (at, _) in text.match_indices("{%") {
        let tail = &text[at + 2..];
        if word(tail.split("%}").next().unwrap_or("")) == "endraw" {
            return Some(at + 2 + tail.find("%}")? + 2);
        }
    }
    None
}

/// Words, numbers, texts with their quotes, white space and single characters.
fn tokens(code: &str) -> impl Iterator<Item = &str> {
    let mut rest = code;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let named = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            '\'' | '"' => text_length(rest, first),
            c if named(c) => rest.find(|c| !named(c)).unwrap_or(rest.len()),
            c if c.is_whitespace() => rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, tail) = rest.split_at(length);
        rest = tail;
        Some(token)
    })
}

fn text_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// What begins with a letter and is no text.
fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The code with other words in place of names that stand for themselves: no attributes, filters, tests or names of
/// arguments.
pub(super) fn renamed(code: &str, new: &dyn Fn(&str) -> Option<String>) -> String {
    let all: Vec<&str> = tokens(code).collect();
    let solid = |token: &&&str| !token.trim().is_empty();
    let mut out = String::with_capacity(code.len());
    for (index, token) in all.iter().enumerate() {
        let before = all[..index].iter().rev().find(solid).copied().unwrap_or("");
        let mut behind = all[index + 1..].iter().filter(solid);
        let argument = behind.next() == Some(&"=") && behind.next() != Some(&"=");
        let free = is_name(token) && !matches!(before, "." | "|" | "is") && !argument;
        match new(token).filter(|_| free) {
            Some(new) => out.push_str(&new),
            None => out.push_str(token),
        }
    }
    out
}

/// Whether the code speaks of one of these names, or of the loop that it stands in.
pub(super) fn uses(code: &str, names: &[&str]) -> bool {
    !names.is_empty() && tokens(code).any(|token| token == "loop" || names.contains(&token))
}

/// Names that the code gives itself: by `set`, `for`, `macro` and `with`.
pub(super) fn bound(code: &str) -> Vec<&str> {
    let all: Vec<&str> = tokens(code).filter(|token| !token.trim().is_empty()).collect();
    let all: &[&str] = if matches!(all.first(), Some(&("-" | "+"))) { &all[1..] } else { &all };
    let end = match all.first() {
        Some(&"for") => all.iter().position(|token| *token == "in"),
        Some(&("set" | "with")) => all.iter().position(|token| *token == "="),
        Some(&"macro") => Some(all.len()),
        _ => None,
    };
    all[1.min(all.len())..end.unwrap_or(1).min(all.len()).max(1.min(all.len()))]
        .iter()
        .copied()
        .filter(|token| is_name(token))
        .collect()
}

/// The code with what `new` makes of the arguments of calls of functions. The function's name and the argument's code are
/// given.
pub(super) fn with_arguments(code: &str, new: &dyn Fn(&str, &str) -> Option<String>) -> String {
    let all: Vec<&str> = tokens(code).collect();
    let mut out = String::with_capacity(code.len());
    let mut index = 0;
    while index < all.len() {
        out.push_str(all[index]);
        index += 1;
        if !is_name(all[index - 1]) || all.get(index) != Some(&"(") {
            continue;
        }
        let Some(length) = closing(&all[index + 1..]) else { continue };
        let inside = all[index + 1..index + 1 + length].concat();
        if let Some(inside) = new(all[index - 1], &inside) {
            out.push('(');
            out.push_str(&inside);
            index += 1 + length;
        }
    }
    out
}

fn closing(tokens: &[&str]) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match *token {
            "(" | "[" | "{" => depth += 1,
            ")" if depth == 0 => return Some(index),
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Whether a filter behind the code would work on all of it: a name with attributes and calls.
pub(super) fn is_simple(code: &str) -> bool {
    let mut depth = 0_usize;
    tokens(code.trim()).all(|token| {
        match token {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > 0
            || is_name(token) && !matches!(token, "if" | "else" | "and" | "or" | "not" | "in" | "is")
            || matches!(token, "." | ")" | "]")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_taken_apart_and_put_together() {
        let text = "a {{ '}}' ~ x }} b {%- if y %}{# c }} #}{% raw %}{{ z }}{% endraw %}{{ {'a': {}} }}{{1}}";
        let found = pieces(text).expect("pieces");
        let expected = [
            Piece::Fixed("a "),
            Piece::Expression(" '}}' ~ x "),
            Piece::Fixed(" b "),
            Piece::Block("- if y "),
            Piece::Fixed("{# c }} #}"),
            Piece::Fixed("{% raw %}{{ z }}{% endraw %}"),
            Piece::Expression(" {'a': {}} "),
            Piece::Expression("1"),
        ];
        assert_eq!(found, expected);
        for open in ["{{ x", "{% x", "{# x", "{% raw %} {{ x }}", "{{ 'x }}"] {
            assert_eq!(pieces(open), None, "{open}");
        }
    }

    #[test]
    fn names_change_where_they_stand_for_themselves() {
        let new = |name: &str| (name == "x").then(|| "vars.y".to_owned());
        for (code, changed) in [
            ("x", "vars.y"),
            ("x.x + a.x", "vars.y.x + a.x"),
            ("f(x, x=x)", "f(vars.y, x=vars.y)"),
            ("x|x", "vars.y|x"),
            ("'x' ~ \"x\" ~ x == x", "'x' ~ \"x\" ~ vars.y == vars.y"),
            ("a is x", "a is x"),
            ("x2 if x else xx", "x2 if vars.y else xx"),
        ] {
            assert_eq!(renamed(code, &new), changed, "{code}");
        }
        assert_eq!(bound("- for a, b in c "), ["a", "b"]);
        assert_eq!(bound("set q = x"), ["q"]);
        assert_eq!(bound("if a = b"), Vec::<&str>::new());
        assert_eq!(bound(""), Vec::<&str>::new());
    }

    #[test]
    fn arguments_of_calls_change() {
        let new = |name: &str, argument: &str| (name == "f").then(|| format!("<{argument}>"));
        assert_eq!(with_arguments("g(f(a[')'], (1)), 2) ~ f ~ f()", &new), "g(f(<a[')'], (1)>), 2) ~ f ~ f(<>)");
        assert!(is_simple(" a.b['c'](1, 2).d ") && !is_simple("a ~ b") && !is_simple("a if b") && !is_simple("1 + a"));
    }

    proptest::proptest! {
        #[test]
        fn taking_apart_never_panics(text in "[{}%#a '\"()=\\-.|]{0,40}") {
            if let Some(found) = pieces(&text) {
                let text_of = |piece: &Piece<'_>| match piece {
                    Piece::Fixed(text) => (*text).to_owned(),
                    Piece::Expression(code) => format!("{{{{{code}}}}}"),
                    Piece::Block(code) => format!("{{%{code}%}}"),
                };
                proptest::prop_assert_eq!(found.iter().map(text_of).collect::<String>(), text.clone());
            }
            bound(&text);
            with_arguments(&text, &|_, _| Some(String::new()));
            renamed(&text, &|_| None);
        }
    }
}
