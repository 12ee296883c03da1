//! Markdown pages that chores write figures into: a section for each name, found by its heading.

/// Puts a section in place of the one with this heading, or at the end.
pub(crate) fn replace_section(page: &str, heading: &str, body: &str) -> String {
    let section = format!("## {heading}\n\n{}\n", body.trim());
    match find(page, heading) {
        Some((start, end)) if end < page.len() => format!("{}{section}\n{}", &page[..start], &page[end..]),
        Some((start, _)) => format!("{}{section}", &page[..start]),
        None => format!("{}\n\n{section}", page.trim_end()),
    }
}

/// Adds a row to the table of a section. A section that is not there begins with `opening`, the table's head included.
pub(crate) fn append_row(page: &str, heading: &str, opening: &str, row: &str) -> String {
    let body = match find(page, heading) {
        Some((start, end)) => {
            let section = &page[start..end];
            section.split_once('\n').map_or("", |(_, body)| body).trim().to_owned()
        }
        None => opening.trim().to_owned(),
    };
    replace_section(page, heading, &format!("{body}\n{row}"))
}

/// From the heading to the next one of its level, or to the end.
fn find(page: &str, heading: &str) -> Option<(usize, usize)> {
    let mut start = None;
    let mut offset = 0;
    for line in page.split_inclusive('\n') {
        match (start, line.trim_end().strip_prefix("## ")) {
            (Some(start), Some(_)) => return Some((start, offset)),
            (None, Some(name)) if name == heading => start = Some(offset),
            _ => {}
        }
        offset += line.len();
    }
    start.map(|start| (start, page.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Top\n\nWords.\n\n## one\n\n1\n\n### deeper\n\n## two\n\n2\n";

    #[test]
    fn a_section_is_replaced_where_it_stands() {
        assert_eq!(replace_section(PAGE, "one", "new\n"), "# Top\n\nWords.\n\n## one\n\nnew\n\n## two\n\n2\n");
        assert_eq!(replace_section(PAGE, "two", "new"), PAGE.replace("\n2\n", "\nnew\n"));
        assert_eq!(replace_section(PAGE, "three", "3"), format!("{PAGE}\n## three\n\n3\n"));
    }

    #[test]
    fn rows_go_to_the_end_of_their_table() {
        let opening = "Why.\n\n| a |\n|---|";
        let once = append_row(PAGE, "t", opening, "| 1 |");
        assert_eq!(once, format!("{PAGE}\n## t\n\n{opening}\n| 1 |\n"));
        let twice = append_row(&once, "t", opening, "| 2 |");
        assert_eq!(twice, format!("{once}| 2 |\n"));
        let between = append_row(&replace_section(&twice, "u", "x"), "t", opening, "| 3 |");
        assert!(between.contains("| 2 |\n| 3 |\n\n## u\n"), "{between}");
    }
}
