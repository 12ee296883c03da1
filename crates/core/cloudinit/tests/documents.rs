//! Documents in, steps and findings out.

use std::fmt::Write as _;

use muster_cloudinit::{Class, Document, StepKind, parse_document};
use muster_doc::{Diagnostic, SourceMap};

#[test]
fn documents_become_steps() {
    insta::glob!("documents/*.yaml", |path| {
        let text = fs_err_read(path);
        let document = parse_document(&text).unwrap_or_else(|found| panic!("{}", findings(&text, &found)));
        insta::assert_snapshot!(show(&text, &document));
    });
}

#[test]
fn bad_documents_say_what_is_wrong() {
    insta::glob!("bad/*.yaml", |path| {
        let text = fs_err_read(path);
        let found = parse_document(&text).expect_err("the document is bad");
        assert!(found.iter().any(Diagnostic::is_error));
        insta::assert_snapshot!(findings(&text, &found));
    });
}

#[expect(clippy::disallowed_methods, reason = "fixtures are read with std, which this crate has anyway")]
fn fs_err_read(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).expect("a fixture")
}

fn show(text: &str, document: &Document) -> String {
    let mut shown = findings(text, &document.warnings);
    for step in &document.steps {
        let class = match step.class {
            Class::Converge => "converge",
            Class::Once { rerun: false } => "once",
            Class::Once { rerun: true } => "rerun",
        };
        writeln!(shown, "{} ({class}) {}", step.id, &step.hash.as_str()[..12]).expect("a String takes everything");
        match &step.kind {
            StepKind::Command(command) => writeln!(shown, "    {:?}", command.text).expect("a String takes everything"),
            kind => writeln!(shown, "    {kind:?}").expect("a String takes everything"),
        }
    }
    shown
}

fn findings(text: &str, found: &[Diagnostic]) -> String {
    let mut sources = SourceMap::default();
    sources.add("document", text);
    let mut shown = String::new();
    for finding in found {
        assert!(!finding.hint.is_empty(), "{finding:?}");
        let place = finding.span.map(|span| sources.line_column(span)).unwrap_or_default();
        let severity = if finding.is_error() { "error" } else { "warning" };
        let (code, message, hint) = (finding.code, &finding.message, &finding.hint);
        writeln!(shown, "{severity} {code} {}:{} {message} ({hint})", place.0, place.1)
            .expect("a String takes everything");
    }
    shown
}
