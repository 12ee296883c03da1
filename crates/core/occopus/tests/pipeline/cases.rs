//! Random infrastructures and node definitions whose templates touch everything that writing and reading again changes.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) infrastructure: Value,
    pub(crate) definitions: Value,
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    (variables(), variables(), context(), resource()).prop_map(|(shared, own, template, resource)| Case {
        infrastructure: json!({
            "infra_name": "demo", "user_id": "somebody", "variables": shared,
            "nodes": [{"name": "m", "type": "t"}, {"name": "w", "type": "t", "variables": own}],
        }),
        definitions: json!({"node_def:t": [{
            "resource": resource,
            "contextualisation": {"type": "cloudinit", "context_template": template},
        }]}),
    })
}

/// One template with given variables.
pub(crate) fn fixed(variables: &Value, template: &str) -> Case {
    Case {
        infrastructure: json!({
            "infra_name": "demo", "user_id": "somebody", "variables": variables,
            "nodes": [{"name": "m", "type": "t"}, {"name": "w", "type": "t"}],
        }),
        definitions: json!({"node_def:t": [{
            "resource": {"type": "ec2", "endpoint": "e", "regionname": "r", "image_id": "i", "instance_type": "s"},
            "contextualisation": {"type": "cloudinit", "context_template": {"a": template}},
        }]}),
    }
}

fn text() -> impl Strategy<Value = String> {
    let pieces = vec![
        "a",
        "word",
        "two words",
        "x-1",
        "0",
        "12",
        "1.50",
        "true",
        "null",
        "it's",
        "''",
        "\"q\"",
        "#no",
        " # yes",
        "k: v",
        "c:\\new",
        "\\t",
        "\\d",
        "é",
        "\u{1F600}",
        "100%",
        "[x",
        "{y}",
        ",",
        "- ",
        "\n",
        "\n\n",
        "\n  ",
        " \n",
        "-----BEGIN",
        "=",
        "*s",
        "&s",
        "!s",
        "|",
        "%",
        "@",
        "~",
        " ",
        "  ",
    ];
    proptest::collection::vec(select(pieces), 1..4).prop_map(|pieces| pieces.concat())
}

fn variables() -> impl Strategy<Value = Value> {
    let key = Just(json!("-----BEGIN KEY-----\n\nabc\n\ndef\n\n-----END KEY-----\n"));
    let scalar = prop_oneof![
        4 => text().prop_map(|text| json!(text)),
        1 => any::<i32>().prop_map(|number| json!(number)),
        1 => select(vec![json!(true), json!(false), json!(null), json!(1.5), json!(2.0), json!(1e-7), json!(1e20)]),
        1 => key,
    ];
    let list = proptest::collection::vec(scalar.clone(), 0..3).prop_map(|items| json!(items));
    let nested =
        proptest::collection::btree_map(select(vec!["p", "q"]), scalar.clone(), 0..3).prop_map(|map| json!(map));
    let value = prop_oneof![5 => scalar, 1 => list, 1 => nested];
    proptest::collection::btree_map(select(vec!["s", "t", "multi", "l", "d"]), value, 1..6).prop_map(|map| json!(map))
}

fn expression() -> impl Strategy<Value = &'static str> {
    select(vec![
        "{{ variables.s }}",
        "{{ variables.t }}",
        "{{variables.multi}}",
        "{{ variables.l }}",
        "{{ variables.d }}",
        "{{ variables.d.p }}",
        "{{ variables['s'] }}",
        "{{ variables.s | default('none') }}",
        "{{ variables.t | upper }}",
        "{{ variables.multi | replace('a', 'b') }}",
        "{{ variables.l | length }}",
        "{{ nothing }}",
        "{{ nothing | default(1) }}",
        "{{ getip('m') }}",
        "{{getip(\"m\")}}",
        "{{ getip(master) }}",
        "{{ getprivip('m') }}",
        "{{ getipall('w') }}",
        "{{ cut(infra_id, 0, 4) }}",
        "{{ name }}",
        "{{ resource.type }}",
        "{{ infra_name.upper() }}",
        "{% if variables.s %}yes{% else %}no{% endif %}",
        "{% for item in variables.l %}{{ item }},{% endfor %}",
        "{% for i in range(2) %}{{ loop.index }}{% endfor %}",
        "{% raw %}{{ range .X }}{% endraw %}",
        "{{'{{'}}",
        "{# gone #}",
        "{{ 7 // 2 }}{{ 7 / 2 }}",
        "{{ 'a' ~ 1 }}",
    ])
}

/// Words, signs that YAML cares about, and expressions.
fn template() -> impl Strategy<Value = Value> {
    let literal = select(vec![
        "a",
        "echo ",
        "two words",
        " ",
        "\n",
        "\n\n",
        "  ",
        "it's ",
        "\"q\" ",
        " # c",
        ": ",
        ":",
        "- ",
        "-",
        "\\d",
        "\\\\",
        "é",
        "#!/bin/sh\n",
        "$x ",
        "=",
        "1",
        "0",
        "%",
        "[",
        "]",
        ",",
        "{ ",
        "}",
        "a\tb",
    ]);
    let part = prop_oneof![literal.prop_map(str::to_owned), expression().prop_map(str::to_owned)];
    proptest::collection::vec(part, 1..5).prop_map(|parts| json!(parts.concat()))
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => template(),
        1 => select(vec![json!(1), json!(true), json!(null), json!("0644"), json!("yes"), json!(1.0), json!([]), json!({}), json!("")]),
    ]
}

fn context() -> impl Strategy<Value = Value> {
    let tree = leaf().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..3).prop_map(|items| json!(items)),
            proptest::collection::btree_map(select(vec!["path", "content", "é", "k{{ name }}"]), inner, 1..3)
                .prop_map(|map| json!(map)),
        ]
    });
    let mapping = proptest::collection::btree_map(select(vec!["runcmd", "write_files", "packages", "x y"]), tree, 1..4);
    // Below a key, so that colons of the template do not make keys of nothing, which are refused here.
    let file = template().prop_map(|text| {
        let text = text.as_str().unwrap_or_default().replace('\n', "\n  ");
        json!(format!("#cloud-config\nruncmd:\n- x\nk: |\n  {text}\nlast: {{{{ name }}}}\n"))
    });
    prop_oneof![6 => mapping.prop_map(|map| json!(map)), 1 => file, 1 => template()]
}

fn resource() -> impl Strategy<Value = Value> {
    let own = (leaf(), leaf(), proptest::bool::ANY);
    own.prop_map(|(first, second, nested)| {
        let mut map = Map::new();
        for key in ["endpoint", "regionname", "image_id", "instance_type"] {
            map.insert(key.to_owned(), json!("x"));
        }
        map.insert("type".to_owned(), json!("ec2"));
        let scalar = |value: Value| if value.is_array() || value.is_object() { json!("y") } else { value };
        map.insert("key_name".to_owned(), scalar(first));
        if nested {
            map.insert("tags".to_owned(), json!({"k": scalar(second)}));
        }
        Value::Object(map)
    })
}
