//! Templates in trees: what they yield, and where their mistakes are shown.

use muster_doc::template::{Templates, Value, to_value};
use muster_doc::{Diagnostic, Node, SourceMap, Tree, emit, parse};

const CONTEXT: &str = "vars:\n  name: web\n  port: 8080\n  mode: 0644\n  half: 0.5\n  on: true\n  none: null\n  list: [1, two]\n  \
                       map: { a: 1, b: [x] }\n";

fn render(text: &str) -> (SourceMap, Result<Tree, Vec<Diagnostic>>) {
    let mut sources = SourceMap::default();
    let (context, found) = parse(&mut sources, "context", CONTEXT);
    assert_eq!(found, Vec::new());
    let context: Value = to_value(&context.expect("a context"));
    let (tree, found) = parse(&mut sources, "t.yaml", text);
    assert_eq!(found, Vec::new());
    let mut templates = Templates::new(|_| ());
    let result = templates
        .prepare(&tree.expect("a document"), &sources)
        .and_then(|prepared| templates.render(&prepared, &context, &sources));
    (sources, result)
}

fn rendered(text: &str) -> String {
    emit(&render(text).1.expect("it renders"))
}

#[test]
fn values_keep_their_types_and_texts_stay_texts() {
    assert_eq!(rendered("a: \"{{ vars.port }}\"\n"), "a: 8080\n");
    assert_eq!(rendered("a: \"{{ vars.on }}\"\n"), "a: true\n");
    assert_eq!(rendered("a: \"{{ vars.half }}\"\n"), "a: 0.5\n");
    assert_eq!(rendered("a: \"{{ vars.none }}\"\n"), "a: null\n");
    assert_eq!(rendered("a: \"{{ vars.mode }}\"\n"), "a: \"0644\"\n");
    assert_eq!(rendered("a: \"{{ vars.list }}\"\n"), "a:\n  - 1\n  - two\n");
    assert_eq!(rendered("a: \"{{ vars.map }}\"\n"), "a:\n  a: 1\n  b:\n    - x\n");
    assert_eq!(rendered("a: \"{{ vars.port }}{{ vars.port }}\"\n"), "a: \"80808080\"\n");
    assert_eq!(rendered("a: port {{ vars.list }}\n"), "a: port [1, 'two']\n");
    assert_eq!(rendered("a: |\n  {{ vars.port }}\n"), "a: |\n  8080\n");
    assert_eq!(rendered("a: x{{ vars.none }}\n"), "a: xNone\n");
    assert_eq!(rendered("a: \"{{ 'null' }}\"\nb: \"{{ '' }}\"\n"), "a: \"null\"\nb: \"\"\n");
}

#[test]
fn what_a_template_yields_never_changes_the_shape() {
    let text = "a: \"{{ 'x\\\\n  b: injected\\\\n- c: d # e' }}\"\nb: fixed\n";
    let tree = render(text).1.unwrap();
    assert_eq!(tree.get("a").unwrap().as_str(), Some("x\n  b: injected\n- c: d # e"));
    let mut sources = SourceMap::default();
    let (again, found) = parse(&mut sources, "again", &emit(&tree));
    assert_eq!((found.len(), again.unwrap().same(&tree)), (0, true));
}

#[test]
fn blocks_vanish_from_texts_and_keys_are_templates_too() {
    let text = "\"/etc/{{ vars.name }}\": |\n  {% for item in vars.list %}\n  item {{ item }}\n  {% endfor %}\n  end\n";
    assert_eq!(rendered(text), "/etc/web: |\n  item 1\n  item two\n  end\n");
    let (_, result) = render("web: 1\n\"{{ vars.name }}\": 2\n");
    assert_eq!(result.unwrap_err()[0].code, "M0103");
}

#[test]
fn what_holds_no_template_is_left_alone() {
    let script = "a: |\n  echo ${#name} %}\n  awk '{print $1}'\nb: \"{% raw %}{{ .Go }}{% endraw %}\"\n";
    assert_eq!(rendered(script), "a: |\n  echo ${#name} %}\n  awk '{print $1}'\nb: \"{{ .Go }}\"\n");
}

#[test]
fn mistakes_are_shown_where_they_stand() {
    for (text, code, underlined, hint) in [
        ("a: see {{ vars.nam }}\n", "M0402", "vars.nam", "did you mean `vars.name`?"),
        ("a: \"{{ nope }}\"\n", "M0402", "nope", "known here: vars"),
        ("a: |\n    one\n      two {{ vars.map.c.d }}\n", "M0402", ".c.d", ""),
        ("a: >-\n    folded\n    {{ vars.lost }} over\n", "M0402", "vars.lost", ""),
        ("a: 'it''s {{ 1 + vars.list }}'\n", "M0403", "1 + vars.list", ""),
        ("a: \"tab\\t{{ vars.gone }}\"\n", "M0402", "\"tab\\t{{ vars.gone }}\"", ""),
        ("a: \"{{ vars.name\"\n", "M0401", "name", ""),
        ("a: \"{% if vars.on %}\"\n", "M0401", "%}", ""),
        ("a: \"{{ vars.name | lowr }}\"\n", "M0404", "lowr", ""),
        ("a: \"{{ launch() }}\"\n", "M0404", "launch()", ""),
        ("a: \"{% include 'x' %}\"\n", "M0403", "include 'x'", ""),
    ] {
        let (sources, result) = render(text);
        let found = result.expect_err(text).remove(0);
        let span = found.span.expect("a place");
        assert_eq!((found.code, &sources.text(span.source)[span.start..span.end]), (code, underlined), "{text}");
        assert!(found.hint.contains(hint) && !found.hint.is_empty(), "{text}: {}", found.hint);
    }
}

#[test]
fn each_leaf_is_reported_and_endless_ones_end() {
    let (_, result) = render("a: \"{{ x }}\"\nb: [\"{{ y }}\", ok]\n\"{{ z }}\": 1\n");
    assert_eq!(result.unwrap_err().len(), 3);
    let loops = "{% for i in range(90000) %}".repeat(4) + "x" + &"{% endfor %}".repeat(4);
    assert_eq!(render(&format!("a: \"{loops}\"\n")).1.unwrap_err()[0].code, "M0405");
    let large = format!("a: \"{{% for i in range(2000) %}}{}{{% endfor %}}\"\n", "x".repeat(8000));
    assert_eq!(render(&large).1.unwrap_err()[0].code, "M0405");
}

#[test]
fn trees_become_values_as_yaml_has_them() {
    let (_, result) = render("a: \"{{ vars.map.b[0] ~ vars.half ~ vars.list | length }}\"\n");
    let tree = result.unwrap();
    assert!(matches!(&tree.get("a").unwrap().node, Node::Scalar(scalar) if scalar.text == "x0.52"));
}
