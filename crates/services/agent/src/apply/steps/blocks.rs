//! A block of lines of ours in a file that others write too.

/// Providers have blocks of their own, under other names.
const BEGIN: &str = "# muster-config: begin";
const END: &str = "# muster-config: end";

/// The text with our block holding these lines, at its end if there was none; no lines, no block.
pub(super) fn with_block(text: &str, lines: &[String]) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut inside = false;
    for line in text.lines() {
        match line.trim_end() {
            BEGIN => inside = true,
            END if inside => inside = false,
            _ if inside => {}
            _ => {
                kept.push_str(line);
                kept.push('\n');
            }
        }
    }
    if !lines.is_empty() {
        for line in [BEGIN, &lines.join("\n"), END] {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_changes_and_goes() {
        let one = with_block("theirs\n", &["ours".to_owned()]);
        assert_eq!(one, "theirs\n# muster-config: begin\nours\n# muster-config: end\n");
        assert_eq!(with_block(&one, &["ours".to_owned()]), one);
        let more = with_block(&format!("{one}later\n"), &["a".to_owned(), "b".to_owned()]);
        assert_eq!(more, "theirs\nlater\n# muster-config: begin\na\nb\n# muster-config: end\n");
        assert_eq!(with_block(&more, &[]), "theirs\nlater\n");
        assert_eq!(with_block("no end", &[]), "no end\n");
        let other = "# muster: begin (of a provider)\n10.0.0.1 a\n# muster: end\n";
        assert_eq!(with_block(&with_block(other, &["ours".to_owned()]), &[]), other);
    }
}
