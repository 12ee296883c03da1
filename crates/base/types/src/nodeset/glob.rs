//! Patterns with `*` (any characters) and `?` (one).

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(String);

impl Glob {
    pub(super) fn new(pattern: String) -> Self {
        Self(pattern)
    }

    /// Whether it fits the whole of a text. Linear but for the product of both lengths at worst.
    pub(super) fn fits(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut at, mut position) = (0, 0);
        // Where to go on if what follows the last `*` does not fit.
        let mut retry: Option<(usize, usize)> = None;
        while position < text.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    retry = Some((at + 1, position));
                    at += 1;
                }
                Some(&byte) if byte == b'?' || byte == text[position] => {
                    (at, position) = (at + 1, position + 1);
                }
                _ => {
                    let Some((behind, from)) = retry else { return false };
                    retry = Some((behind, from + 1));
                    (at, position) = (behind, from + 1);
                }
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text_and_question_marks_for_one_character() {
        for (pattern, text, fits) in [
            ("web", "web", true),
            ("web", "web1", false),
            ("*", "", true),
            ("w*", "web-1", true),
            ("*-1", "web-1", true),
            ("*-1", "web-11", false),
            ("w?b-*", "web-11", true),
            ("?", "", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("**x", "aax", true),
            ("*ab", "aab", true),
        ] {
            assert_eq!(Glob::new(pattern.to_owned()).fits(text), fits, "{pattern} {text}");
        }
    }
}
