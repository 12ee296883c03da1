//! `muster import`: files of other tools become a cluster file that asks for the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use muster_engine::compile::{self, Compiled, DEFINITIONS_FILE, NodeDefinitions, Occopus, Source};
use muster_occopus::Imported;
use muster_provider::Factory;
use muster_stdx::write_atomic;

use crate::context::{Context, folder, source};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::occopus::definitions;
use crate::occopus::place::Place;
use crate::{paths, registry};

/// Turn files of another tool into a cluster file that asks for the same
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  muster import occopus tutorials/slurm-cluster --provider local\n  muster import occopus \
                        infra.yaml --nodes nodes.yaml -o demo/cluster.yaml"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Occopus(OccopusArgs),
}

/// An Occopus infrastructure with its node definitions. The result is compared with them before anything is written: nodes, order,
/// checks, and what each node is given
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  muster import occopus tutorials/slurm-cluster --provider local\n  muster import occopus \
                        infra.yaml --nodes nodes.yaml -o demo/cluster.yaml\n  muster import occopus . --provider local -o -   \
                        show it only"
)]
struct OccopusArgs {
    /// The infrastructure description, or the folder that it stands in
    #[arg(value_name = "DIR|FILE")]
    from: PathBuf,
    /// The node definitions, where they are not in `nodes/node_definitions.yaml` beside it
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    /// The cluster file to write; long documents go to `cloud-init` beside it. `-` is standard output, and one document
    #[arg(short, long, value_name = "FILE", default_value = paths::DEFAULT_FILE)]
    output: PathBuf,
    /// Who makes the machines, in place of every resource section
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitStatus, Failure> {
    let Command::Occopus(args) = &args.command;
    let show = args.output == Path::new("-");
    let source = source(Some(&infrastructure(&args.from)?))?;
    let imported = imported(&source.folder, context)?;
    let definitions = match &args.nodes {
        Some(path) => NodeDefinitions::File(path),
        None => NodeDefinitions::Beside { imported: imported.as_slice() },
    };
    let factories = registry::factories()?;
    let mut original = compiled(source, definitions, args.provider.as_deref(), &factories)?;
    let (imported, found) = original.import(args.provider.as_deref(), !show);
    let warnings: Vec<_> = original.warnings.iter().cloned().chain(found.iter().cloned()).collect();
    let Some(imported) = imported else {
        return Err(Failure::Rejected { sources: original.sources, diagnostics: found });
    };
    if context.printer.is_text() && !warnings.is_empty() {
        context.printer.diagnostics(&warnings, &original.sources);
    }
    let nodes = compare(&original, &imported, &factories)?;
    if show && context.printer.is_text() {
        context.printer.data(&imported.cluster);
        return Ok(ExitStatus::DONE);
    }
    let written = if show { Vec::new() } else { write(&imported, &args.output)? };
    if !context.printer.is_text() {
        let files: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
        context.printer.json(&serde_json::json!({
            "version": 1,
            "cluster": original.spec.name.value,
            "nodes": nodes,
            "files": files,
            "text": show.then_some(&imported.cluster),
            "warnings": muster_doc::to_json(&warnings, &original.sources),
        }))?;
        return Ok(ExitStatus::DONE);
    }
    for path in &written {
        context.printer.line(&format!("wrote {}", path.display()));
    }
    let noun = if nodes == 1 { "node" } else { "nodes" };
    context.printer.line(&format!(
        "{}: the same {nodes} {noun}, in the same order, given and checked the same",
        original.spec.name.value
    ));
    context.printer.hint(&format!("`muster plan {}` shows what `muster up` would do", args.output.display()));
    Ok(ExitStatus::DONE)
}

/// What `occopus-import` stored, where there is no file of node definitions beside the infrastructure.
fn imported(folder: &Path, context: &Context) -> Result<Option<Source>, Failure> {
    if folder.join(DEFINITIONS_FILE).exists() {
        return Ok(None);
    }
    definitions::imported(&Place::open(&context.paths)?)
}

/// The only infrastructure description of a folder.
fn infrastructure(from: &Path) -> Result<PathBuf, Failure> {
    if !from.is_dir() {
        return Ok(from.to_owned());
    }
    let mut found = Vec::new();
    for entry in fs_err::read_dir(from)? {
        let path = entry?.path();
        let yaml = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        if yaml && path.is_file() && compile::is_infrastructure(&source(Some(&path))?) {
            found.push(path);
        }
    }
    found.sort();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Failure::usage(
            format!("{} has no infrastructure description (a YAML file with `infra_name:`)", from.display()),
            format!("name the file; its node definitions are looked for in {DEFINITIONS_FILE} beside it"),
        )),
        several => {
            let names: Vec<String> = several.iter().map(|path| path.display().to_string()).collect();
            Err(Failure::usage(
                format!("{} has {} infrastructure descriptions", from.display(), names.len()),
                format!("name one of them: {}", names.join(", ")),
            ))
        }
    }
}

fn compiled(
    source: Source,
    definitions: NodeDefinitions<'_>,
    provider: Option<&str>,
    factories: &[Arc<dyn Factory>],
) -> Result<Compiled, Failure> {
    let occopus = Occopus { definitions, ..Occopus::default() };
    compile::compile(source, &compile::Options { provider, image: None, agent: None, factories, occopus })
        .map_err(|rejected| Failure::Rejected { sources: rejected.sources, diagnostics: rejected.diagnostics })
}

/// Reads the cluster file as `up` will, and holds it against what it was made from. Gives how many nodes it describes.
fn compare(original: &Compiled, imported: &Imported, factories: &[Arc<dyn Factory>]) -> Result<usize, Failure> {
    let trial = tempfile::tempdir()?;
    put(imported, trial.path(), Path::new(paths::DEFAULT_FILE))?;
    let source = Source {
        path: "the imported file".to_owned(),
        text: imported.cluster.clone().into_bytes(),
        folder: trial.path().to_owned(),
    };
    let native = compiled(source, NodeDefinitions::Given(&[]), None, factories)?;
    let differences = compile::differences(original, &native);
    let Some(first) = differences.first() else {
        return Ok(native.desired(&BTreeMap::new(), &BTreeMap::new()).len());
    };
    let shown: Vec<String> = differences.iter().take(5).map(|found| format!("{}: {}", found.of, found.what)).collect();
    let message =
        format!("what was imported does not ask for the same in {} places: {}", differences.len(), shown.join("; "));
    let hint = format!(
        "nothing was written; make what `{}` is given simpler, or go on with the Occopus files as they are",
        first.of
    );
    Err(Failure::new(message, hint, ExitStatus::BAD_FILE))
}

/// Writes the cluster file last: once it is there, so is all that it refers to.
fn write(imported: &Imported, output: &Path) -> Result<Vec<PathBuf>, Failure> {
    let folder = folder(output);
    let beside = imported.files.keys().map(|path| folder.join(path));
    let all: Vec<PathBuf> = beside.chain([output.to_owned()]).collect();
    if let Some(taken) = all.iter().find(|path| path.exists()) {
        return Err(Failure::usage(
            format!("{} is there already; nothing was written", taken.display()),
            "remove it, or name another place with `-o FILE`",
        ));
    }
    let name = output.file_name().ok_or_else(|| {
        Failure::usage(format!("{} is not a file to write", output.display()), "name a file, as in `-o cluster.yaml`")
    })?;
    put(imported, &folder, Path::new(name))?;
    Ok(all)
}

fn put(imported: &Imported, folder: &Path, name: &Path) -> Result<(), Failure> {
    let beside = imported.files.iter().map(|(path, text)| (folder.join(path), text));
    for (path, text) in beside.chain([(folder.join(name), &imported.cluster)]) {
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        // Variables may be secrets: the files are the owner's alone, as it were with Occopus' own.
        write_atomic(&path, text.as_bytes(), 0o600)?;
    }
    Ok(())
}
