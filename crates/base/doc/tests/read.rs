//! Typed reading: what is taken, and with which code and hint the rest is refused.

use std::time::Duration;

use muster_doc::read::{Field, Findings, MapReader, int};
use muster_doc::{Severity, SourceMap, Spanned, Tree, parse, report, to_json};

fn tree(text: &str) -> (SourceMap, Tree) {
    let mut sources = SourceMap::default();
    let (tree, diagnostics) = parse(&mut sources, "t.yaml", text);
    assert_eq!(diagnostics, Vec::new());
    (sources, tree.expect("a document"))
}

#[test]
fn values_are_read_by_their_type() {
    let (sources, tree) = tree(
        "text: 0644\nquoted: \"12\"\nnumber: 12\nfloat: 0.5\nyes: true\nspan: 1h30m\nlist: [a, b]\none: a\nport: 080\n",
    );
    let mut out = Findings::default();
    let mut map = MapReader::new(&tree, "a thing", &mut out).unwrap();
    assert_eq!(map.optional::<String>("text", &mut out).as_deref(), Some("0644"));
    assert_eq!(map.optional::<String>("quoted", &mut out).as_deref(), Some("12"));
    assert_eq!(map.required::<u16>("number", "", &mut out), Some(12));
    assert_eq!(map.optional::<f64>("float", &mut out), Some(0.5));
    assert_eq!(map.optional::<bool>("yes", &mut out), Some(true));
    assert_eq!(map.optional::<Duration>("span", &mut out), Some(Duration::from_mins(90)));
    assert_eq!(map.list::<String>("list", false, &mut out), ["a", "b"]);
    assert_eq!(map.list::<String>("one", true, &mut out), ["a"]);
    assert_eq!(map.optional::<u64>("absent", &mut out), None);
    let port: Spanned<u32> = map.optional("port", &mut out).unwrap();
    assert_eq!((port.value, sources.line_column(port.span)), (80, (9, 7)));
    map.finish(&mut out);
    assert_eq!(out.diagnostics, Vec::new());
}

#[test]
fn every_mistake_is_found_in_one_reading() {
    let (sources, tree) = tree(
        "nothing:\nnumber: many\nquoted: \"5\"\nlarge: 70000\nflag: yes\nspan: 5 minutes\nlist: {a: b}\ntext: [a]\ncolour: gren\nextra: 1\n",
    );
    let mut out = Findings::default();
    let mut map = MapReader::new(&tree, "a thing", &mut out).unwrap();
    assert_eq!(map.optional::<String>("nothing", &mut out), None);
    assert_eq!(map.optional::<u32>("number", &mut out), None);
    assert_eq!(map.optional::<u32>("quoted", &mut out), None);
    assert_eq!(map.optional::<u16>("large", &mut out), None);
    assert_eq!(map.optional::<bool>("flag", &mut out), None);
    assert_eq!(map.optional::<Duration>("span", &mut out), None);
    assert_eq!(map.list::<String>("list", false, &mut out), Vec::<String>::new());
    assert_eq!(map.optional::<String>("text", &mut out), None);
    let colour = map.field("colour").unwrap();
    assert_eq!(colour.choice(&[("red", 1), ("green", 2)], &mut out), None);
    assert_eq!(map.required::<String>("name", "write a name", &mut out), None);
    map.get("extras");
    map.finish(&mut out);
    let found: Vec<(&str, &str)> = out.diagnostics.iter().map(|found| (found.code, found.hint.as_str())).collect();
    assert_eq!(
        found,
        [
            ("M0208", "write a value behind the key, or remove the key"),
            ("M0204", "write a whole number"),
            ("M0204", "remove the quotes"),
            ("M0204", "write a whole number from 0 to 65535"),
            ("M0209", "write `true` or `false` without quotes; YAML 1.2 takes `yes` and `on` for texts"),
            ("M0205", "write a number with its unit, as in 500ms, 30s, 5m, 1h30m or 2d"),
            ("M0201", "write a list, as in `[a, b]`"),
            ("M0201", "write one value behind the key"),
            ("M0207", "did you mean `green`?"),
            ("M0202", "write a name"),
            ("M0203", "did you mean `extras`?"),
        ]
    );
    assert!(out.diagnostics.iter().all(|found| found.span.is_some() && found.is_error()));
    let json = to_json(&out.diagnostics, &sources);
    assert_eq!((&json[1]["line"], &json[1]["column"]), (&2.into(), &9.into()));
}

#[test]
fn unknown_keys_may_be_warnings() {
    let (_, tree) = tree("a: 1\nb: 2\n");
    let mut out = Findings::default();
    let mut map = MapReader::new(&tree, "a thing", &mut out).unwrap();
    map.get("a");
    map.finish_with_warnings(&mut out);
    assert_eq!(out.diagnostics.iter().map(|found| found.severity).collect::<Vec<_>>(), [Severity::Warning]);
}

#[test]
fn templates_are_not_judged_before_they_are_rendered() {
    let (_, tree) = tree("port: \"{{ vars.port }}\"\nlist: \"{{ vars.list }}\"\nfixed: none\n");
    for (templates, expected) in [(true, 1), (false, 3)] {
        let mut out = Findings { templates, ..Findings::default() };
        let mut map = MapReader::new(&tree, "a thing", &mut out).unwrap();
        map.optional::<u16>("port", &mut out);
        map.list::<u16>("list", false, &mut out);
        map.optional::<u16>("fixed", &mut out);
        assert_eq!(out.diagnostics.len(), expected, "{:?}", out.diagnostics);
    }
}

#[test]
fn numbers_have_bounds() {
    let (_, tree) = tree("a: 5\n");
    let field = Field::new("a", tree.get("a").unwrap());
    let mut out = Findings::default();
    assert_eq!(int(&field, 5, 5, &mut out), Some(5));
    assert_eq!(int(&field, 6, 9, &mut out), None);
    assert_eq!(out.diagnostics[0].hint, "write a whole number from 6 to 9");
}

#[test]
fn reports_show_places_in_other_files_and_fit_the_width() {
    let mut sources = SourceMap::default();
    let (first, _) = parse(&mut sources, "a.yaml", "key: one\n");
    let (second, _) = parse(&mut sources, "b.yaml", "key: zwölf\nother: 2\n");
    let (first, second) = (first.unwrap(), second.unwrap());
    let found = muster_doc::Diagnostic::error("M0510", "two files disagree ".repeat(8), "make them agree")
        .at(second.get("other").unwrap().span, "this one")
        .related(first.get("key").unwrap().span, "and that one");
    let text = report(&[found], &sources, false, 60);
    assert!(text.contains("b.yaml:2:8") && text.contains("a.yaml:1:6"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
    assert!(!text.contains('\u{1b}'));
    let nowhere = muster_doc::Diagnostic::error("M0307", "there is no provider", "name one");
    assert!(report(&[nowhere], &sources, true, 80).contains("name one"));
}
