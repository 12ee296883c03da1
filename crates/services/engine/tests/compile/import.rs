//! Cluster files made from Occopus' files: they ask for the same, whatever the addresses are.

use std::path::{Path, PathBuf};

use muster_doc::{Diagnostic, report};
use muster_engine::compile::{Compiled, Rejected, differences};
use muster_occopus::Imported;

use super::common::compile_in;

fn sets() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/occopus/tests/files");
    let mut sets: Vec<PathBuf> =
        fs_err::read_dir(folder).expect("sets").map(|set| set.expect("a set").path()).collect();
    sets.sort();
    sets
}

fn infrastructure(set: &Path) -> PathBuf {
    let mut files = fs_err::read_dir(set).expect("a set").map(|file| file.expect("a file").path());
    let infra = |file: &PathBuf| {
        file.is_file() && file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("infra"))
    };
    files.find(infra).expect("an infrastructure")
}

fn compiled(path: &Path) -> Result<Compiled, Box<Rejected>> {
    let text = fs_err::read(path).expect("a file");
    compile_in(path.parent().expect("a folder"), &path.display().to_string(), &text, Some("local"), &["local"])
}

fn good(result: Result<Compiled, Box<Rejected>>) -> Compiled {
    result.unwrap_or_else(|rejected| panic!("{}", report(&rejected.diagnostics, &rejected.sources, false, 100)))
}

/// Writes the files into a folder and compiles them.
fn written(imported: &Imported, folder: &Path) -> Result<Compiled, Box<Rejected>> {
    for (path, text) in &imported.files {
        let path = folder.join(path);
        fs_err::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs_err::write(path, text).expect("a file");
    }
    let path = folder.join("cluster.yaml");
    fs_err::write(&path, &imported.cluster).expect("a file");
    compiled(&path)
}

/// An infrastructure and its definitions in a folder, imported; what was found, and the differences.
fn told(infrastructure: &str, definitions: &str) -> (String, String, Vec<Diagnostic>) {
    let folder = tempfile::tempdir().expect("a folder");
    fs_err::create_dir(folder.path().join("nodes")).expect("a folder");
    let path = folder.path().join("infra.yaml");
    fs_err::write(&path, infrastructure).expect("a file");
    fs_err::write(folder.path().join("nodes/node_definitions.yaml"), definitions).expect("a file");
    let mut original = good(compiled(&path));
    let (imported, found) = original.import(Some("local"), true);
    let Some(imported) = imported else { return (String::new(), String::new(), found) };
    let other = tempfile::tempdir().expect("a folder");
    let native = good(written(&imported, other.path()));
    assert_eq!(differences(&original, &native), Vec::new(), "{}", imported.cluster);
    let files: String = imported.files.values().map(String::as_str).collect();
    (imported.cluster, files, found)
}

#[test]
fn whole_sets_ask_for_the_same_once_they_are_imported() {
    let mut count = 0;
    for set in sets() {
        for files in [true, false] {
            let mut original = good(compiled(&infrastructure(&set)));
            let (imported, found) = original.import(Some("local"), files);
            let imported = imported.unwrap_or_else(|| panic!("{}", report(&found, &original.sources, false, 100)));
            assert!(files || imported.files.is_empty());
            let folder = tempfile::tempdir().expect("a folder");
            let native = good(written(&imported, folder.path()));
            assert_eq!(differences(&original, &native), Vec::new(), "{}:\n{}", set.display(), imported.cluster);
            // What is compared is there.
            assert!(native.occopus().is_none() && !native.spec.groups.is_empty());
            count += 1;
        }
    }
    assert!(count >= 38, "{count} imports");
}

/// A node `m` without a configuration, and nodes `w` that depend on it, with this template, and these lines of the
/// infrastructure.
fn template(more: &str, template: &str) -> (String, String, Vec<Diagnostic>) {
    const RESOURCE: &str = "resource: { type: ec2, endpoint: e, regionname: r, image_id: ami-1, instance_type: small }";
    let infrastructure = format!(
        "infra_name: demo\nuser_id: me\nnodes:\n  - &M {{ name: m, type: b }}\n  - &W {{ name: w, type: t, scaling: {{ min: 2, max: \
         4 }} }}\ndependencies: [ [ *W, *M ] ]\n{more}"
    );
    let lines = template.lines().fold(String::new(), |all, line| all + "        " + line + "\n");
    let template = if template.starts_with('|') { format!(" {}", lines.trim_start()) } else { format!("\n{lines}") };
    let definitions = format!(
        "'node_def:b':\n  - {RESOURCE}\n    health_check: {{ ping: False }}\n'node_def:t':\n  - {RESOURCE}\n    contextualisation:\n      \
         type: cloudinit\n      context_template:{template}    health_check: {{ ping: False }}\n"
    );
    told(&infrastructure, &definitions)
}

fn codes(found: &[Diagnostic]) -> Vec<&str> {
    found.iter().map(|found| found.code).collect()
}

#[test]
fn values_print_as_python_prints_them() {
    let (cluster, _, found) = template(
        "variables: { flag: True, none: null, list: [a, 1], text: word, number: 5, half: 0.5, huge: 1.0e20 }\n",
        "runcmd:\n  - echo {{variables.flag}} {{variables.none}} {{variables.list}} {{variables.text}} {{variables.number}}\n  \
         - \"{{variables.number}}\"\n  - echo {{ getipall('w') }} {{variables.half}} {{ variables.huge }} {{variables.missing}} {{not_there}}.",
    );
    assert_eq!(codes(&found), Vec::<&str>::new());
    for part in [
        "{{ vars.text }} {{ vars.number }}",
        "{{ vars.number | string }}",
        "{{ vars.huge | python }}",
        "{{ vars.missing | default('') }}",
    ] {
        assert!(cluster.contains(part), "{part} in\n{cluster}");
    }
}

#[test]
fn names_have_other_names_in_cluster_files() {
    let (cluster, _, found) = template(
        "variables: { port: 80 }\n",
        "runcmd:\n  - a {{infra_name}} {{ infra_id }} {{name}} {{node_id}} {{variables['port']}}\n  - b {{type}} {{scaling.min}} \
         {{resource.image_id}} {{user_id}}\n  - c {{getip(m)}} {{ getprivip('m') }} {{ cut(node_id, 0, 4) }} {{find_node_id('m').node_id}}",
    );
    assert!(codes(&found).is_empty(), "{found:?}");
    for part in [
        "a {{ cluster }} {{ cluster_id }} {{ node.group }} {{ node.id }} {{ vars['port'] }}",
        "ami-1 me",
        "{{ getip('m') }}",
        ".id }}",
    ] {
        assert!(cluster.contains(part), "{part} in\n{cluster}");
    }
}

#[test]
fn white_space_around_blocks_stays() {
    let (cluster, _, found) = template(
        "variables: { names: [a, b] }\n",
        "write_files:\n  - path: /x\n    content: |\n      head\n        {% for n in variables.names %}\n      {{n}} {{ loop.index }}\n      \
         {% endfor %}\n      {% raw %}{{ go }}{% endraw %}\n      tail\n  - path: /y\n    content: ${#names[@]}",
    );
    assert!(codes(&found).is_empty(), "{found:?}");
    assert!(cluster.contains("for n in vars.names +%}") && cluster.contains("${#names[@]}"), "{cluster}");
}

#[test]
fn what_has_no_form_is_written_out_or_refused() {
    // A backslash is read once more between double quotes, as Occopus has it.
    let (cluster, _, found) = template(
        "variables: { path: 'c:\\new' }\n",
        "write_files:\n  - path: /x\n    content: |\n      a\n      {{variables.path}}",
    );
    assert_eq!(codes(&found), ["M0721"], "{cluster}");
    assert!(cluster.contains("c:\n"), "{cluster}");
    // The result is the same, but it does not follow the variable any more.
    let (cluster, _, found) =
        template("variables: { word: hi }\n", "runcmd:\n  - echo {{ variables.word | center(9) }}");
    assert_eq!(codes(&found), ["M0721"], "{cluster}");
    let (_, _, found) = template("", "runcmd: [ \"echo {{ ibget('node.find_one', name='m').node_id }}\" ]");
    assert_eq!(codes(&found), ["M0720"]);
    assert!(found[0].message.contains("`ibget`") && found[0].span.is_some(), "{found:?}");
}

#[test]
fn texts_are_taken_over_where_their_shape_is_fixed() {
    let (cluster, _, found) = template(
        "variables: { n: 5, names: [a, b] }\n",
        "|\n  #cloud-config\n  # What it does.\n  write_files:\n    - path: /x\n      content: |\n        {% for n in variables.names %}{{n}} \
         {% endfor %}\n  runcmd:\n    - echo {{getip('m')}}  # who\n    - [echo, {{variables.n}}]",
    );
    assert!(codes(&found).is_empty(), "{found:?}");
    for part in ["{% for n in vars.names %}", "echo {{ getip('m') }}  # who", "# What it does."] {
        assert!(cluster.contains(part), "{part} in\n{cluster}");
    }
    let (_, _, found) = template(
        "",
        "|\n  #cloud-config\n  runcmd:\n  {% for ip in getipall('w') %}\n    - ping {{ip}}\n  {% endfor %}",
    );
    assert_eq!(codes(&found), ["M0720"], "{found:?}");
    // A script is put where cloud-init puts it, and run.
    let (cluster, _, found) =
        template("variables: { n: 5 }\n", "|\n  #!/bin/sh\n  echo {{variables.n}} {{getip('m')}}");
    assert!(codes(&found).is_empty(), "{found:?}");
    assert!(
        cluster.contains("echo {{ vars.n }} {{ getip('m') }}") && cluster.contains("scripts/part-001"),
        "{cluster}"
    );
}

#[test]
fn words_of_containers_keep_their_quotes() {
    let (cluster, files, found) = told(
        "infra_name: demo\nuser_id: me\nnodes:\n  - &M { name: m, type: t }\n  - &W { name: w, type: t, variables: { word: \"it's\" } }\n\
         dependencies: [ [ *W, *M ] ]\nvariables: { word: plain }\n",
        "'node_def:t':\n  - resource: { type: docker, endpoint: e, origin: local, image: i, tag: x }\n    contextualisation:\n      type: \
         docker\n      env: [ \"WORD={{variables.word}}\", \"HEAD={{getip('m')}}\" ]\n      command: sh -c \"echo '{{variables.word}}'; sleep \
         infinity\"\n",
    );
    assert_eq!(codes(&found), Vec::<&str>::new());
    assert!(files.contains(r#"WORD={{ vars.word | replace("'", "'\\''") }}"#), "{cluster}\n{files}");
    assert!(files.contains("WORD={{ vars.word }}'"), "{cluster}\n{files}");
}

#[test]
fn comments_come_along() {
    let (cluster, _, found) = told(
        "# Two machines that greet.\n\ninfra_name: demo\nuser_id: me # whoever\nnodes:\n  # The first.\n  - &M\n    name: m  # short\n    type: t\n  \
         - &W { name: w, type: t }\nvariables:\n  # What they say.\n  word: hello # kind\n# Order matters.\ndependencies:\n  # w waits.\n  - [ *W, *M ]\n# The end.\n",
        "# One type.\n'node_def:t':\n  -\n    resource: # where from\n      type: ec2\n      endpoint: e\n      regionname: r\n      image_id: i # ours\n      \
         instance_type: small\n    contextualisation:\n      type: cloudinit\n      context_template:\n        runcmd:\n          # Say it.\n          \
         - echo {{variables.word}} # aloud\n    health_check:\n      # From here.\n      ping: True\n",
    );
    assert!(codes(&found).is_empty(), "{found:?}");
    insta::assert_snapshot!(cluster);
}

/// Sets that are imported once more in pieces: what was imported is no infrastructure.
#[test]
fn cluster_files_are_not_imported() {
    let mut native = super::common::compiled("cluster: demo\ngroups: { web: {} }\n");
    let (imported, found) = native.import(None, true);
    assert!(imported.is_none() && found[0].message.contains("already"), "{found:?}");
}

#[test]
fn differences_are_found() {
    let one = |text: &str| super::common::compiled(text);
    let base = "cluster: demo\ngroups: { m: {}, w: { needs: [m], count: 2..3, cloud_init: { runcmd: [a] }, health: { outside: { ports: [80] } } } }\n";
    assert_eq!(differences(&one(base), &one(base)), Vec::new());
    for (from, to, what) in [
        ("needs: [m]", "needs: []", "waits for"),
        ("2..3", "2..4", "how many"),
        ("[a]", "[b]", "the document at `runcmd[0]`"),
        ("ports: [80]", "ports: [81]", "from outside"),
        ("health: {", "health: { ports: [1],", "on the node"),
        ("m: {}", "m: { image: debian-12 }", "the machine"),
        ("w: {", "x: {}, w: {", "only one"),
    ] {
        let found = differences(&one(base), &one(&base.replace(from, to)));
        assert!(found.iter().any(|found| found.what.contains(what)), "{from}: {found:?}");
    }
}

/// The files of a small case of `core/occopus`, in a folder.
fn case(text: &str, folder: &Path) -> Option<PathBuf> {
    const INFRASTRUCTURE: &str = "infra_name: demo\nuser_id: somebody\nnodes:\n  - &M { name: m, type: b }\n  - &W { name: w, type: t, scaling: { min: 2 } }\ndependencies: \
         [ [ *W, *M ] ]\n";
    const RESOURCE: &str = "resource: { type: ec2, endpoint: e, regionname: r, image_id: i, instance_type: small }";
    let tree = muster_doc::parse(&mut muster_doc::SourceMap::default(), "case", text).0?;
    let of = |key: &str| tree.get(key).and_then(|tree| tree.as_str()).map(str::to_owned);
    let indented = |text: &str| text.lines().fold(String::new(), |all, line| all + "        " + line + "\n");
    let infrastructure = of("infrastructure").unwrap_or_else(|| {
        let variables = tree.get("variables").map(muster_doc::emit).unwrap_or_default();
        format!("{INFRASTRUCTURE}variables:\n{}", indented(&variables))
    });
    let definitions = of("definitions").or_else(|| {
        let template = of("template")?;
        let one = template.starts_with('!') || template.trim_end().lines().count() == 1 && template.starts_with('"');
        let template = if one { format!(" {}", indented(&template).trim()) } else { format!("\n{}", indented(&template)) };
        Some(format!(
            "'node_def:b':\n  - {RESOURCE}\n'node_def:t':\n  - {RESOURCE}\n    contextualisation:\n      type: cloudinit\n      \
             context_template:{template}\n"
        ))
    })?;
    let mut files =
        vec![("infra.yaml".to_owned(), infrastructure), ("nodes/node_definitions.yaml".to_owned(), definitions)];
    let own = tree.get("files").and_then(|files| files.as_map()).unwrap_or_default().iter();
    files.extend(own.filter_map(|(path, text)| Some((path.text.clone(), text.as_str()?.to_owned()))));
    for (path, text) in files {
        let path = folder.join(path);
        fs_err::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs_err::write(path, text).expect("a file");
    }
    Some(folder.join("infra.yaml"))
}

/// Every oddity of Occopus' templates is taken over so that documents are the same, or refused.
#[test]
fn small_cases_are_taken_over_or_refused() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/occopus/tests/fixtures/cases");
    let mut cases: Vec<PathBuf> =
        fs_err::read_dir(cases).expect("cases").map(|case| case.expect("a case").path()).collect();
    cases.sort();
    let (mut same, mut told) = (0, String::new());
    for path in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let text = fs_err::read_to_string(&path).expect("a case");
        // Half of the cases are mistakes, which is told when they are compiled.
        let Some(Ok(mut original)) = case(&text, folder.path()).map(|path| compiled(&path)) else { continue };
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let (imported, found) = original.import(Some("local"), true);
        let codes = codes(&found).join(" ");
        let outcome = match imported {
            None => "refused",
            Some(imported) => {
                let other = tempfile::tempdir().expect("a folder");
                let native = good(written(&imported, other.path()));
                assert_eq!(differences(&original, &native), Vec::new(), "{name}:\n{}", imported.cluster);
                same += 1;
                "the same"
            }
        };
        told += format!("{name}: {outcome} {codes}").trim_end();
        told += "\n";
    }
    assert!(same >= 40, "{same} are the same:\n{told}");
    insta::assert_snapshot!(told);
}
