//! Every file in `tests/bad` is refused, and what is said about it is pinned. To take over a change on purpose, run
//! with `INSTA_UPDATE=always` and read the difference.

use muster_doc::{Diagnostic, SourceMap, codes, report, to_json};

use super::common::compile_in;

const WIDTH: usize = 100;

fn check(found: &Diagnostic, sources: &SourceMap, file: &str) {
    let text = report(std::slice::from_ref(found), sources, false, WIDTH);
    assert!(codes::explanation(found.code).is_some(), "{}: no explanation of {}", file, found.code);
    assert!(text.contains(found.code), "{file}: no code in\n{text}");
    let span = found.span.unwrap_or_else(|| panic!("{file}: no place: {found:?}"));
    let (line, column) = sources.line_column(span);
    let place = format!("{}:{line}:{column}", sources.name(span.source));
    assert!(text.contains(&place), "{file}: `{place}` is not in\n{text}");
    assert!(text.contains("help: "), "{file}: no hint in\n{text}");
    assert!(!found.hint.trim().is_empty() && !found.message.trim().is_empty(), "{file}: {found:?}");
    // An underline, with its words below it.
    assert!(text.contains('┬') || text.contains("▲"), "{file}: no underline in\n{text}");
    let label = found.label.split_whitespace().next().unwrap_or_else(|| panic!("{file}: no label: {found:?}"));
    assert!(text.lines().any(|line| line.contains('╰') && line.contains(label)), "{file}: no label in\n{text}");
    let json = &to_json(std::slice::from_ref(found), sources)[0];
    assert_eq!(json["line"], line);
    assert_eq!(json["column"], column);
    assert_eq!(json["hint"], found.hint.as_str());
}

#[test]
fn bad_files_are_refused_with_a_place_and_a_hint() {
    let mut files = 0;
    insta::glob!("../bad", "*.yaml", |path| {
        let file = path.file_name().expect("a file").to_string_lossy().into_owned();
        let text = fs_err::read(path).expect("the fixture can be read");
        let folder = path.parent().unwrap_or(Path::new("/"));
        let Err(rejected) = compile_in(folder, &file, &text, None, &["local"]) else { panic!("{file} was taken") };
        for found in &rejected.diagnostics {
            check(found, &rejected.sources, &file);
        }
        let text = report(&rejected.diagnostics, &rejected.sources, false, WIDTH);
        insta::assert_snapshot!(text);
        files += 1;
    });
    assert!(files >= 35, "only {files} files");
}
