//! Reading and writing YAML: what is understood, what is refused and with which words, and that writing and reading
//! give the same tree.

use muster_doc::{
    Diagnostic, Node, OffsetMap, SourceMap, Style, Tree, comments, emit, parse, parse_bytes, parse_embedded,
    parse_tagged,
};
use proptest::prelude::*;

fn good(text: &str) -> (SourceMap, Tree) {
    let mut sources = SourceMap::default();
    let (tree, diagnostics) = parse(&mut sources, "t.yaml", text);
    assert_eq!(diagnostics, Vec::new(), "{text}");
    (sources, tree.expect("a text without mistakes has a tree"))
}

fn bad(text: &str) -> (SourceMap, Vec<Diagnostic>) {
    let mut sources = SourceMap::default();
    let (_, diagnostics) = parse(&mut sources, "t.yaml", text);
    assert!(!diagnostics.is_empty(), "taken: {text:?}");
    for found in &diagnostics {
        assert!(!found.hint.is_empty() && found.span.is_some() && found.is_error(), "{found:?}");
    }
    (sources, diagnostics)
}

fn written<'a>(sources: &'a SourceMap, tree: &Tree) -> &'a str {
    &sources.text(tree.span.source)[tree.span.start..tree.span.end]
}

#[test]
fn scalars_keep_text_style_and_place() {
    let (sources, tree) = good("mode: 0644\nq: \"no\"\nb: |\n  one\n  two\nn: ~\ne:\ns: !!str 12\n");
    let scalar = |key: &str| match &tree.get(key).unwrap().node {
        Node::Scalar(scalar) => (scalar.text.clone(), scalar.style),
        other => panic!("{other:?}"),
    };
    assert_eq!(scalar("mode"), ("0644".to_owned(), Style::Plain));
    assert_eq!(scalar("q"), ("no".to_owned(), Style::Quoted));
    assert_eq!(scalar("b"), ("one\ntwo\n".to_owned(), Style::Block));
    assert_eq!(scalar("s"), ("12".to_owned(), Style::Quoted));
    let (_, tagged) = good("n: !!int \"12\"\n");
    assert!(matches!(&tagged.get("n").unwrap().node, Node::Scalar(scalar) if scalar.is_plain()));
    assert!(tree.get("n").unwrap().is_null() && tree.get("e").unwrap().is_null());
    assert_eq!(written(&sources, tree.get("q").unwrap()), "\"no\"");
}

#[test]
fn spans_of_collections_end_with_their_last_value() {
    let (sources, tree) = good("a:\n  b: [1, 2]\n  c:\n    - x\n\n\nd: {e: f}\n");
    assert_eq!(written(&sources, tree.get("a").unwrap()), "b: [1, 2]\n  c:\n    - x");
    assert_eq!(written(&sources, tree.get("a").unwrap().get("b").unwrap()), "[1, 2]");
    assert_eq!(written(&sources, tree.get("d").unwrap()), "{e: f}");
}

#[test]
fn anchors_and_merge_keys_are_resolved() {
    let (_, tree) = good(
        "base: &base {image: host, size: small}\nmore: &more {size: large, ports: [1]}\n\
         a:\n  <<: *base\n  size: mine\nb:\n  <<: [*base, *more]\nc: *base\n",
    );
    let value = |group: &str, key: &str| tree.get(group).unwrap().get(key).unwrap().as_str().unwrap().to_owned();
    assert_eq!((value("a", "image"), value("a", "size")), ("host".into(), "mine".into()));
    assert_eq!(value("b", "size"), "small");
    assert!(tree.get("b").unwrap().get("ports").is_some());
    assert!(tree.get("c").unwrap().same(tree.get("base").unwrap()));
}

#[test]
fn mistakes_have_codes_and_places() {
    for (text, code, line_column) in [
        ("a: b: c\n", "M0101", (1, 5)),
        ("a: 1\n b: 2\n", "M0101", (2, 3)),
        ("a: [1, 2\nb: 3\n", "M0101", (2, 2)),
        ("a: \"x\nb: 3\n", "M0101", (2, 1)),
        ("a: @x\n", "M0101", (1, 4)),
        ("a: b\n\tc: d\n", "M0102", (2, 1)),
        ("a:\n\t- d\n", "M0102", (2, 1)),
        ("a: 1\nb: 2\na: 3\n", "M0103", (3, 1)),
        ("a: *no\n", "M0104", (1, 4)),
        ("? [a]\n: b\n", "M0106", (1, 3)),
        ("a:\n  <<: text\n", "M0107", (2, 7)),
        ("a: 1\n---\nb: 2\n", "M0108", (2, 1)),
        ("", "M0109", (1, 1)),
        ("# only a comment\n", "M0109", (1, 1)),
        ("a: !yaml_import {url: x}\n", "M0111", (1, 17)),
        ("a: &a [*a]\n", "M0112", (1, 8)),
        ("a: {{ x }}\n", "M0113", (1, 4)),
        ("a: {% if x %}b{% endif %}\n", "M0113", (1, 4)),
    ] {
        let (sources, diagnostics) = bad(text);
        assert_eq!(diagnostics[0].code, code, "{text:?}: {diagnostics:?}");
        assert_eq!(sources.line_column(diagnostics[0].span.unwrap()), line_column, "{text:?}: {diagnostics:?}");
    }
}

#[test]
fn independent_mistakes_are_found_in_one_reading() {
    let (_, diagnostics) = bad("a: *x\nb: *y\nc: 1\nc: 2\n");
    assert_eq!(diagnostics.iter().map(|found| found.code).collect::<Vec<_>>(), ["M0104", "M0104", "M0103"]);
}

#[test]
fn alias_bombs_and_giants_are_refused_quickly() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb.extend([format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(", "))]);
    }
    assert_eq!(bad(&bomb).1[0].code, "M0105");
    let large = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(1 << 20), ["*a"; 200].join(", "));
    assert_eq!(bad(&large).1[0].code, "M0105");
    assert_eq!(bad(&format!("a: {}\n", "x".repeat(5 << 20))).1[0].code, "M0105");
    assert_eq!(bad(&"[".repeat(10_000)).1[0].code, "M0105");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let mut sources = SourceMap::default();
    let (tree, diagnostics) = parse_bytes(&mut sources, "t.yaml", b"a: 1\nb: \xff\xfe\n");
    assert!(tree.is_none());
    assert_eq!(diagnostics[0].code, "M0110");
    assert_eq!(sources.line_column(diagnostics[0].span.unwrap()), (2, 4));
}

#[test]
fn embedded_yaml_points_into_the_outer_file() {
    let outer = "cloud_init: |\n    #cloud-config\n    runcmd:\n      - echo hi\n    bad: *nix\n";
    let (mut sources, tree) = good(outer);
    let scalar = tree.get("cloud_init").unwrap();
    let (inner, diagnostics) = parse_embedded(&mut sources, scalar, "cloud_init");
    let item = &inner.unwrap().get("runcmd").unwrap().as_seq().unwrap()[0].clone();
    assert_eq!(written(&sources, item), "echo hi");
    assert_eq!(sources.line_column(diagnostics[0].span.unwrap()), (5, 10));
}

#[test]
fn offsets_reach_through_quotes_folds_and_indentation() {
    for (text, needle) in [
        ("a: see {{ x }} there\n", "{{ x }}"),
        ("a: 'it''s {{ x }}'\n", "{{ x }}"),
        ("a: \"it is {{ x }}\"\n", "{{ x }}"),
        ("a: |\n    first\n      second {{ x }}\n\n    third\n", "{{ x }}"),
        ("a: >-\n    folded\n    over {{ x }}\n    lines\n", "{{ x }}"),
        ("a: plain\n  over {{ x }}\n  lines\n", "{{ x }}"),
    ] {
        let (sources, tree) = good(text);
        let scalar = tree.get("a").unwrap();
        let at = scalar.as_str().unwrap().find(needle).unwrap();
        let span = OffsetMap::of(&sources, scalar).unwrap().span(at, at + needle.len());
        assert_eq!(&text[span.start..span.end], needle, "{text}");
    }
    let (sources, tree) = good("a: \"tab\\t{{ x }}\"\n");
    assert!(OffsetMap::of(&sources, tree.get("a").unwrap()).is_none());
}

#[test]
fn writing_is_readable() {
    let (_, tree) = good(
        "runcmd:\n- [sh, -c, 'echo \"a: b\"']\n- |\n  set -e\n\n  echo x\nempty: []\nnone: {}\nmode: 0644\n\
         text: '0644'\nno: 'no'\nnothing: ~\nmap:\n  k: v\n  list: [{a: 1, b: 2}]\n/etc/motd: ' pad'\n",
    );
    let expected = "runcmd:\n  - - sh\n    - -c\n    - \"echo \\\"a: b\\\"\"\n  - |\n    set -e\n\n    echo x\nempty: []\n\
                    none: {}\nmode: 0644\ntext: \"0644\"\n\"no\": \"no\"\nnothing: null\nmap:\n  k: v\n  list:\n    \
                    - a: 1\n      b: 2\n/etc/motd: \" pad\"\n";
    assert_eq!(emit(&tree), expected);
}

fn trees() -> impl Strategy<Value = Tree> {
    let text = prop_oneof![
        "[ -~]{0,12}",
        "[a-z]{1,6}(\n{1,2} {0,3}[a-z:#-]{0,5}){0,4}\n{0,3}",
        "\\PC{0,8}",
        "[\\x00-\\x20\u{85}\u{2028}\u{feff}'\"\\\\:#-]{0,8}",
        Just("null".to_owned()),
        Just("0x10".to_owned()),
        Just("1e3".to_owned()),
        Just("<<".to_owned()),
        Just("---".to_owned()),
    ];
    let span = good("x").1.span;
    let scalar = prop_oneof![
        Just(Tree::null(span)),
        text.clone().prop_map(move |text| Tree::text(text, span)),
        any::<i64>().prop_map(move |number| Tree::plain(number.to_string(), span)),
        any::<bool>().prop_map(move |value| Tree::plain(value.to_string(), span)),
    ];
    scalar.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(move |items| Tree::seq(items, span)),
            prop::collection::btree_map(text.clone(), inner, 0..5).prop_map(move |entries| Tree::map(entries, span)),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(tree in trees()) {
        let text = emit(&tree);
        let mut sources = SourceMap::default();
        let (read, diagnostics) = parse(&mut sources, "t.yaml", &text);
        prop_assert!(diagnostics.is_empty(), "{diagnostics:?}\n{text}");
        let read = read.unwrap();
        prop_assert!(tree.same(&read), "{text}\n{tree:?}\n{read:?}");
        prop_assert_eq!(emit(&read), text);
    }

    #[test]
    fn no_text_panics(text in "[ -~\n\t]{0,60}|\\PC{0,40}|([a-c&*<!|>'\":,{}\\[\\]%#? -]|\n|\t){0,60}") {
        let mut sources = SourceMap::default();
        let (tree, diagnostics) = parse(&mut sources, "t.yaml", &text);
        prop_assert!(tree.is_some() || !diagnostics.is_empty());
        for span in diagnostics.iter().filter_map(|found| found.span) {
            sources.line_column(span);
            prop_assert!(sources.text(span.source).get(span.start..span.end).is_some(), "{span:?}");
        }
    }
}

#[test]
fn tags_of_an_application_are_told_with_their_places() {
    let mut sources = SourceMap::default();
    let text = "a: &X !include { url: b }\nc: [!include d, *X]\ne: !other f\n";
    let id = sources.add("t.yaml", text);
    let (tree, tagged, found) = parse_tagged(&sources, id, &["!include"]);
    let tree = tree.expect("a tree");
    let told: Vec<&str> = tagged.iter().map(|tagged| &text[tagged.span.start..tagged.span.end]).collect();
    assert_eq!((told.len(), told[1]), (2, "d"));
    assert_eq!(tagged[0].span, tree.get("a").unwrap().span);
    let alias = &tree.get("c").unwrap().as_seq().unwrap()[1];
    assert_eq!((alias.span, tagged[0].tag.as_str()), (tagged[0].span, "!include"));
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("!other"), "{found:?}");
}

#[test]
fn comments_are_found_where_they_are_comments() {
    let mut sources = SourceMap::default();
    let text = "# first\na: 1 # one\nb: \"x # no\"\nc: |\n  # no\n  text\n# before d\nd:\n  - # item\n    e # last\n";
    let id = sources.add("f", text);
    let found: Vec<&str> = comments(&sources, id).iter().map(|span| &text[span.start..span.end]).collect();
    assert_eq!(found, ["# first", "# one", "# before d", "# item", "# last"]);
}
