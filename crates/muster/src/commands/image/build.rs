//! `muster image build`: makes an image, or all that a cluster file needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use muster_doc::{SourceMap, Tree};
use muster_provider::{BakeRequest, BakedImage, Bakery, ProviderError};
use serde_json::{Value, json};

use super::progress::Progress;
use super::{bakery, document, permitted};
use crate::context::{Context, ReadingArgs};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::interrupt::Interrupt;
use crate::output::table::{bytes, duration};

/// Without a name and without a file.
const DEFAULT_IMAGE: &str = "debian-12";

/// Make an image: a base, a base with packages, or all that a cluster file needs
///
/// What is there already is not made again, unless with `--refresh`. Interrupted, it leaves nothing but downloads, which
/// the next build uses.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name [default: debian-12]
    #[arg(conflicts_with = "file")]
    image: Option<String>,
    /// Packages on top of it
    #[arg(long, value_name = "PACKAGE", value_delimiter = ',', conflicts_with = "file")]
    with: Vec<String>,
    /// All that this cluster file needs
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Fetch packages from this mirror of Debian's archive, not by this machine's own apt settings
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Make it anew, from what the package servers have today; machines that are there stay on what they have
    #[arg(long)]
    refresh: bool,
    /// Whose images; with a file, the provider that it names
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
}

/// What is to be made, by whom.
struct Wanted {
    bakery: Arc<dyn Bakery>,
    requests: Vec<BakeRequest>,
}

type Outcome = Result<Option<BakedImage>, ProviderError>;

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let printer = &context.printer;
    let wanted = wanted(&args, context)?;
    let start = Instant::now();
    let interrupt = Interrupt::listen(printer, "the same command".to_owned())?;
    let progress = Progress::new(printer);
    let outcomes = tokio::select! {
        outcomes = make(&wanted, &progress) => Some(outcomes),
        // Dropping a bake ends it; what it has fetched stays.
        () = interrupt.token.cancelled() => None,
    };
    progress.finish();
    let Some(outcomes) = outcomes else { return Ok(ExitStatus::INTERRUPTED) };
    report(outcomes, start, context)
}

/// The images that were made are told, also when others failed.
fn report(outcomes: Vec<Outcome>, start: Instant, context: &Context) -> Result<ExitStatus, Failure> {
    let printer = &context.printer;
    let (mut images, mut failures) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(image) => images.extend(image),
            Err(error) => failures.push(error),
        }
    }
    if printer.is_text() {
        for image in &images {
            printer.note(&format!("{}: {} ({})", title(&image.image, &image.packages), image.id, bytes(image.bytes)));
        }
        if images.is_empty() && failures.is_empty() {
            printer.note("There is nothing to make: these machines start from what is on this machine.");
        } else if failures.is_empty() {
            printer.note(&format!("done in {}", duration(start.elapsed().as_millis())));
        }
    }
    let mut failures = failures.into_iter();
    let Some(first) = failures.next() else {
        if !printer.is_text() {
            let images: Vec<Value> = images.iter().map(document).collect();
            printer.json(&json!({ "version": 1, "images": images }))?;
        }
        return Ok(ExitStatus::DONE);
    };
    // The last one is printed by whoever ends the command.
    for failure in failures {
        printer.failure(&failure.into());
    }
    Err(first.into())
}

fn wanted(args: &Args, context: &Context) -> Result<Wanted, Failure> {
    let mirror = args.mirror.as_deref();
    let Some(file) = &args.file else {
        let provider = args.provider.as_deref().unwrap_or(muster_spec::DEFAULT_PROVIDER);
        permitted(provider)?;
        let request = BakeRequest {
            image: Some(args.image.as_deref().unwrap_or(DEFAULT_IMAGE).to_owned()),
            packages: args.with.iter().map(|name| name.trim().to_owned()).collect(),
            settings: with_mirror(provider, None, mirror)?,
            refresh: args.refresh,
        };
        return Ok(Wanted { bakery: bakery(provider, context)?, requests: vec![request] });
    };
    let reading = ReadingArgs { provider: args.provider.clone(), ..ReadingArgs::default() };
    let compiled = context.compile(Some(file.as_path()), &reading)?;
    let nodes = compiled.desired(&BTreeMap::new(), &BTreeMap::new());
    let Some(provider) = nodes.first().map(|node| node.provider.clone()) else {
        return Err(Failure::usage("the file describes no node", "give a group a `count`"));
    };
    permitted(&provider)?;
    let settings = with_mirror(&provider, compiled.spec.blocks.get(&provider), mirror)?;
    let distinct: BTreeSet<_> = nodes.into_iter().map(|node| (node.image, node.packages)).collect();
    let request =
        |(image, packages)| BakeRequest { image, packages, settings: settings.clone(), refresh: args.refresh };
    Ok(Wanted { bakery: bakery(&provider, context)?, requests: distinct.into_iter().map(request).collect() })
}

/// The provider's block of the file, or the mirror of the command line in its place.
fn with_mirror(provider: &str, block: Option<&Tree>, mirror: Option<&str>) -> Result<Option<Tree>, Failure> {
    let Some(url) = mirror else { return Ok(block.cloned()) };
    let mut sources = SourceMap::default();
    // JSON is YAML, and quotes whatever the address holds.
    let text = json!({ "mirror": url }).to_string();
    let (tree, _) = muster_doc::parse(&mut sources, "--mirror", &text);
    let diagnostics = crate::registry::find(provider)?.check(tree.as_ref());
    if diagnostics.is_empty() { Ok(tree) } else { Err(Failure::Rejected { sources, diagnostics }) }
}

/// All at once: the bakery knows how many are too many.
async fn make(wanted: &Wanted, progress: &Progress) -> Vec<Outcome> {
    let one = |request: &BakeRequest| {
        let (request, bakery) = (request.clone(), Arc::clone(&wanted.bakery));
        async move {
            let title = title(request.image.as_deref().unwrap_or_default(), &request.packages);
            bakery.bake(&request, &|now| progress.show(&title, &now)).await
        }
    };
    join_all(wanted.requests.iter().map(one)).await
}

fn title(image: &str, packages: &BTreeSet<String>) -> String {
    if packages.is_empty() {
        return image.to_owned();
    }
    format!("{image} with {}", packages.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
}
