//! The cluster file as a model: everything it can say, and that mistakes do not hide each other.

use std::time::Duration;

use muster_doc::{SourceMap, parse};
use muster_spec::{CloudInit, ClusterSpec, Content, Context, Count, GroupSpec, OnFailure, Population, read};
use muster_types::{ByteSize, GroupName};

fn read_text(text: &str) -> (Option<ClusterSpec>, Vec<String>) {
    let mut sources = SourceMap::default();
    let (tree, found) = parse(&mut sources, "c.yaml", text);
    assert_eq!(found, Vec::new());
    let (spec, found) = read(&tree.expect("a document"), &Context { providers: &["local", "cloud"] });
    let found = found.iter().map(|found| {
        let (line, column) = sources.line_column(found.span.expect("a place"));
        assert!(!found.hint.is_empty());
        format!("{} {line}:{column} {}", found.code, found.message)
    });
    (spec, found.collect())
}

fn group(text: &str) -> GroupSpec {
    let (spec, found) = read_text(&format!("cluster: demo\ngroups:\n  db:\n  web: {text}\n"));
    assert_eq!(found, Vec::<String>::new());
    spec.expect("a spec").group(&GroupName::new("web").expect("a name")).expect("the group").clone()
}

#[test]
fn everything_has_a_default() {
    let group = group("");
    assert_eq!(group.population, Population::Count(Count { min: 1, max: 1 }));
    assert_eq!((group.on_failure.value, group.timeout), (OnFailure::Keep, Duration::from_mins(30)));
    assert!(group.recipe.is_none() && group.needs.is_empty() && group.size.is_empty() && group.files.is_empty());
}

#[test]
fn all_that_a_group_can_say() {
    let group = group(
        "{ recipe: slurm/head, count: 2..10, needs: [db], provider: [cloud, local], image: host, tags: { role: web }, \
         size: { memory: 1.5G, cpus: 0.5 }, vars: { port: 8080 }, files: { /a: text, /b: { source: f, mode: 600, owner: www } }, \
         cloud_init: config/web.yaml, health: { ping: true }, ports: [80, \"443\"], on_failure: { retry: 3 }, timeout: 1h30m, \
         local: { any: [1] } }",
    );
    let recipe = group.recipe.unwrap().value;
    assert_eq!((recipe.name.as_str(), recipe.role.as_deref()), ("slurm", Some("head")));
    assert_eq!(group.population.bounds(), Count { min: 2, max: 10 });
    assert_eq!(group.needs[0].value.as_str(), "db");
    assert_eq!(group.providers.iter().map(|provider| provider.value.as_str()).collect::<Vec<_>>(), ["cloud", "local"]);
    assert_eq!((group.size.memory, group.size.cpus), (Some(ByteSize(3 << 29)), Some(0.5)));
    assert_eq!(group.tags["role"], "web");
    assert!(matches!(&group.files[0].content, Content::Inline(tree) if tree.as_str() == Some("text")));
    assert!(matches!(&group.files[1].content, Content::Source(path) if path.value == "f"));
    assert_eq!(group.files[1].mode.as_deref(), Some("0600"));
    assert!(matches!(&group.cloud_init, Some(CloudInit::Path(path)) if path.value == "config/web.yaml"));
    assert_eq!(group.ports, [80, 443]);
    assert_eq!((group.on_failure.value, group.timeout), (OnFailure::Retry(3), Duration::from_mins(90)));
    assert!(group.blocks["local"].get("any").is_some());
}

#[test]
fn short_and_long_forms() {
    assert_eq!(group("{ count: { min: 2, max: 5 } }").population.bounds(), Count { min: 2, max: 5 });
    assert_eq!(group("{ count: { max: 5 } }").population.bounds(), Count { min: 1, max: 5 });
    assert_eq!(group("{ count: 0..2 }").population.bounds(), Count { min: 0, max: 2 });
    assert_eq!(group("{ size: m5.large }").size.name.as_deref(), Some("m5.large"));
    assert_eq!(group("{ needs: db }").needs.len(), 1);
    assert_eq!(group("{ on_failure: retry }").on_failure.value, OnFailure::Retry(1));
    assert!(matches!(group("{ cloud_init: { runcmd: [ls] } }").cloud_init, Some(CloudInit::Mapping(_))));
    assert!(matches!(group("{ cloud_init: \"runcmd: [ls]\" }").cloud_init, Some(CloudInit::Text(_))));
    let Population::Hosts(hosts) = group("{ hosts: [ops@10.0.0.1, { address: 10.0.0.2, port: 2222 }] }").population
    else {
        panic!("hosts")
    };
    assert_eq!((hosts[0].user.as_deref(), hosts[0].address.as_str()), (Some("ops"), "10.0.0.1"));
    assert_eq!(hosts[1].port, Some(2222));
    assert!(hosts[1].ip().is_some());
}

#[test]
fn what_an_occopus_description_says_has_a_place() {
    let group = group(
        "{ count: 2..4, vars: { db: { name: app } }, filter: { type: ec2 }, variants: [\
         { provider: cloud, image: ami-1, size: m5, tags: { a: b }, cloud: { type: ec2, regionname: eu }, cloud_init: web.yaml, \
         health: { ping: false, ports: [80], urls: [\"http://{{ node.address }}/\"], \
         mysqldbs: [{ name: app, user: u, pass: p }], timeout: 600 } },\
         { provider: cloud, cloud: { type: nova } } ] }",
    );
    assert_eq!(group.variants.len(), 2);
    let chosen: Vec<_> = group.candidates().collect();
    assert_eq!((chosen.len(), chosen[0].image.as_deref()), (1, Some("ami-1")));
    let mut out = muster_doc::read::Findings { templates: true, ..Default::default() };
    let health = muster_spec::read_health(chosen[0].health.as_ref().unwrap(), &mut out).unwrap();
    assert_eq!((health.ports, health.timeout, health.databases.len()), (vec![80], Duration::from_mins(10), 1));
    assert!(!format!("{:?}", health.databases).contains("\"p\""), "a password must not be printed");
}

#[test]
fn mistakes_do_not_hide_each_other() {
    let (spec, found) = read_text(
        "cluster: demo\nprovider: clod\ngroups:\n  web:\n    count: 5..1\n    needs: [bd, web]\n    size: { memory: 1 }\n    \
         timeout: never\n    colour: red\n  db:\n    count: 2\n    hosts: [a b]\n",
    );
    assert!(spec.is_some());
    assert_eq!(
        found,
        [
            "M0307 2:11 there is no provider `clod`",
            "M0306 5:12 a count cannot go from 5 down to 1",
            "M0206 7:21 1 bytes of memory are too little for a node",
            "M0205 8:14 `timeout` is not a span of time: `never`",
            "M0203 9:5 the group `web` has no key `colour`",
            "M0305 12:5 a group has either a count or hosts",
            "M0302 6:13 `web` needs the group `bd`, which the file does not have",
            "M0303 6:17 the group `web` needs itself",
        ]
    );
}

#[test]
fn circles_are_found_wherever_they_are() {
    let circles = |needs: &[(&str, &str)]| {
        let groups = needs.iter().map(|(name, needs)| format!("  {name}: {{ needs: [{needs}] }}\n"));
        let (_, found) = read_text(&format!("cluster: demo\ngroups:\n{}", groups.collect::<String>()));
        found.into_iter().map(|found| found.rsplit(": ").next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(circles(&[("a", "b"), ("b", "c"), ("c", "")]), Vec::<String>::new());
    assert_eq!(circles(&[("a", "b, c"), ("b", "d"), ("c", "d"), ("d", "")]), Vec::<String>::new());
    assert_eq!(circles(&[("a", "b"), ("b", "a")]), ["a → b → a"]);
    assert_eq!(circles(&[("x", "a"), ("a", "b"), ("b", "c"), ("c", "a")]), ["a → b → c → a"]);
    assert_eq!(circles(&[("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")]), ["a → b → a", "c → d → c"]);
}

#[test]
fn names_leave_room_for_numbers_and_differ_by_more_than_capitals() {
    let long = "g".repeat(58);
    let (_, found) = read_text(&format!("cluster: demo\ngroups:\n  {long}:\n  web:\n  Web:\n"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("M0301 3:3") && found[1].starts_with("M0317 5:3"), "{found:?}");
}
