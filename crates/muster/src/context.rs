//! What every command starts from: where things are, how to speak, and how to find the cluster that is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use muster_api::Event;
use muster_doc::Tree;
use muster_engine::compile::{self, Compiled, NodeDefinitions, Occopus};
use muster_engine::{AgentLinks, Drain, Engine, EngineConfig, Limits, Redactor, SystemClock, TransportLinks};
use muster_pki::{Authority, Secrets};
use muster_plan::Policy;
use muster_provider::{OpenContext, Provider};
use muster_store::{ClusterRecord, LeaseHolder, NodeRecord, Reading, Store};
use muster_store_sqlite::SqliteStore;
use muster_sys::process;
use muster_types::{ClusterName, Redacted, natural_order};
use tokio::sync::mpsc;

use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::no_agents::NoAgents;
use crate::occopus::definitions;
use crate::occopus::place::Place;
use crate::output::Printer;
use crate::paths::{self, Paths};
use crate::registry;

/// Events that may wait to be shown; a slow terminal slows the run down and loses nothing.
const EVENTS_MAX: usize = 1024;
/// The largest cluster file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) printer: Printer,
    pub(crate) paths: Paths,
    /// `-c` or `MUSTER_CLUSTER`.
    cluster: Option<String>,
}

/// What the command line says beside a cluster file.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ReadingArgs {
    /// Use this provider, whatever the file says
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// The node definitions of an Occopus infrastructure, where they are not in `nodes/node_definitions.yaml` beside it
    #[arg(long, value_name = "FILE")]
    pub(crate) nodes: Option<PathBuf>,
    /// Start the nodes from this image, whatever the file says
    #[arg(long, value_name = "NAME")]
    pub(crate) image: Option<String>,
    /// Have an agent on every node, as on this provider they have
    #[arg(long, overrides_with = "no_agent")]
    pub(crate) agent: bool,
    /// Have no agent on any node: user-data is all that they are given
    #[arg(long, overrides_with = "agent")]
    pub(crate) no_agent: bool,
}

impl ReadingArgs {
    fn agent_wish(&self) -> Option<bool> {
        (self.agent || self.no_agent).then_some(self.agent)
    }
}

impl ReadingArgs {
    /// Whether anything is said.
    pub(crate) fn is_given(&self) -> bool {
        self.provider.is_some() || self.nodes.is_some() || self.image.is_some()
    }
}

/// A cluster, with all that commands need to speak with its machines.
pub(crate) struct Opened {
    pub(crate) name: ClusterName,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) provider: Arc<dyn Provider>,
    provider_name: String,
    /// None before the first `up`.
    authority: Option<Arc<Authority>>,
    /// Values that nothing may show.
    pub(crate) secrets: Vec<Redacted<String>>,
}

impl Context {
    pub(crate) fn new(printer: Printer, cluster: Option<String>) -> Result<Self, Failure> {
        Ok(Self { printer, paths: Paths::from_environment()?, cluster })
    }

    pub(crate) fn store(&self) -> Result<Arc<dyn Store>, Failure> {
        muster_stdx::create_private_dir(&self.paths.state)?;
        Ok(Arc::new(SqliteStore::open(&self.paths.database())?))
    }

    /// Reads and checks a cluster file; without a name, `cluster.yaml` of the current folder. `-` is standard input.
    pub(crate) fn compile(&self, file: Option<&Path>, reading: &ReadingArgs) -> Result<Compiled, Failure> {
        let source = source(file)?;
        let factories = registry::factories()?;
        let imported: Vec<compile::Source> = if compile::is_infrastructure(&source) {
            definitions::imported(&Place::at(&self.paths))?.into_iter().collect()
        } else {
            Vec::new()
        };
        let definitions = match &reading.nodes {
            Some(path) => NodeDefinitions::File(path),
            None => NodeDefinitions::Beside { imported: &imported },
        };
        let occopus = Occopus { definitions, ..Occopus::default() };
        if reading.nodes.is_some() && !compile::is_infrastructure(&source) {
            let message = format!("`--nodes` names node definitions of Occopus, and {} is a cluster file", source.path);
            return Err(Failure::usage(message, "leave it out, or name an Occopus infrastructure description"));
        }
        let (provider, image) = (reading.provider.as_deref(), reading.image.as_deref());
        let options = compile::Options { provider, image, agent: reading.agent_wish(), factories: &factories, occopus };
        let compiled = compile::compile(source, &options)
            .map_err(|rejected| Failure::Rejected { sources: rejected.sources, diagnostics: rejected.diagnostics })?;
        if !compiled.warnings.is_empty() && self.printer.is_text() {
            self.printer.diagnostics(&compiled.warnings, &compiled.sources);
        }
        Ok(compiled)
    }

    /// Reads the file that a cluster was made from once more, in the way in which it was read then.
    pub(crate) fn compile_again(&self, record: &ClusterRecord, file: &Path) -> Result<Compiled, Failure> {
        let Reading { definitions, image } = record.reading.clone();
        let (provider, nodes) = (Some(record.provider.clone()), definitions.map(PathBuf::from));
        self.compile(Some(file), &ReadingArgs { provider, nodes, image, ..ReadingArgs::default() })
    }

    /// The cluster that a file describes. What else is wrong with the file does not matter.
    fn described(&self, file: Option<&Path>) -> Result<ClusterName, Failure> {
        match compile::cluster_name(&source(file)?) {
            Some(name) => Ok(name),
            None => Ok(self.compile(file, &ReadingArgs::default())?.spec.name.value.clone()),
        }
    }

    /// Which cluster is meant: the argument (a name, or a cluster file), `-c`, the file of the current folder, or the
    /// only one there is.
    pub(crate) async fn choose(&self, store: &dyn Store, named: Option<&str>) -> Result<ClusterName, Failure> {
        if let Some(name) = named.or(self.cluster.as_deref()) {
            if name.contains(['/', '.']) && Path::new(name).is_file() {
                return self.described(Some(Path::new(name)));
            }
            return name.parse().map_err(|error| Failure::usage(error, "`muster ls` shows the clusters there are"));
        }
        if paths::default_file().is_some() {
            return self.described(None);
        }
        let clusters = store.clusters().await?;
        match clusters.as_slice() {
            [one] => Ok(one.name.clone()),
            [] => Err(Failure::usage("there is no cluster", "make one: `muster up FILE`")),
            several => {
                let names: Vec<String> = several.iter().map(|cluster| cluster.name.to_string()).collect();
                let hint = format!("name it with `-c NAME`; there are: {}", names.join(", "));
                Err(Failure::usage("which cluster is meant?", hint))
            }
        }
    }

    /// Opens a cluster that is in the state.
    pub(crate) async fn open(&self, named: Option<&str>) -> Result<Opened, Failure> {
        let store = self.store()?;
        let name = self.choose(store.as_ref(), named).await?;
        let Some(record) = store.cluster(&name).await? else {
            return Err(self.unknown_cluster(store.as_ref(), &name).await?);
        };
        let settings = record
            .settings
            .as_deref()
            .and_then(|text| muster_doc::parse(&mut muster_doc::SourceMap::default(), "settings", text).0);
        let provider = self.provider(&name, &record.provider, settings).await?;
        let pki = self.paths.pki(&name);
        let authority = Some(Arc::new(Authority::open_or_create(&pki, &name)?));
        let secrets = Secrets::read(&pki)?.values().cloned().collect();
        Ok(Opened { name, store, provider, provider_name: record.provider, authority, secrets })
    }

    /// Opens the cluster of a file, whether it is there or not. Makes nothing: templates see the secrets that are there.
    pub(crate) async fn look_at(&self, compiled: &mut Compiled) -> Result<Opened, Failure> {
        let name = compiled.spec.name.value.clone();
        let store = self.store()?;
        let provider_name = provider_of(compiled)?;
        let settings = compiled.spec.blocks.get(&provider_name).cloned();
        let provider = self.provider(&name, &provider_name, settings).await?;
        let pki = self.paths.pki(&name);
        let authority =
            if pki.join("ca.crt").exists() { Some(Arc::new(Authority::open_or_create(&pki, &name)?)) } else { None };
        let secrets = Secrets::read(&pki)?;
        let values = secrets.values().cloned().collect();
        compiled.give_secrets(secrets);
        Ok(Opened { name, store, provider, provider_name, authority, secrets: values })
    }

    /// As `look_at`, for those who may make machines, and makes the cluster's CA and secrets where there are none.
    pub(crate) async fn create(&self, compiled: &mut Compiled) -> Result<Opened, Failure> {
        let factory = registry::find(&provider_of(compiled)?)?;
        factory.permitted().map_err(|error| Failure::Error {
            hint: error.hint.clone(),
            error: error.into(),
            status: ExitStatus::NO_PERMISSION,
        })?;
        let mut opened = self.look_at(compiled).await?;
        if opened.authority.is_none() {
            let authority = Authority::open_or_create(&self.paths.pki(&opened.name), &opened.name)?;
            opened.authority = Some(Arc::new(authority));
        }
        let secrets = Secrets::open_or_create(&self.paths.pki(&opened.name), compiled.wanted_secrets())?;
        opened.secrets = secrets.values().cloned().collect();
        compiled.give_secrets(secrets);
        Ok(opened)
    }

    pub(crate) async fn unknown_cluster(&self, store: &dyn Store, name: &ClusterName) -> Result<Failure, Failure> {
        let names: Vec<String> = store.clusters().await?.iter().map(|cluster| cluster.name.to_string()).collect();
        let hint = if names.is_empty() {
            "there is none yet: make one with `muster up FILE`".to_owned()
        } else {
            format!("there are: {}", names.join(", "))
        };
        Ok(Failure::new(format!("there is no cluster `{name}`"), hint, ExitStatus::FAILED))
    }

    pub(crate) async fn provider(
        &self,
        cluster: &ClusterName,
        name: &str,
        settings: Option<Tree>,
    ) -> Result<Arc<dyn Provider>, Failure> {
        let context = OpenContext {
            scope: cluster.to_string(),
            data_dir: self.paths.provider(cluster, name),
            runtime_dir: self.paths.runtime.clone(),
            settings,
            images: self.paths.images(),
        };
        Ok(registry::find(name)?.open(context).await?)
    }
}

impl Opened {
    /// How the cluster's agents are reached.
    pub(crate) fn links(&self) -> Result<TransportLinks, Failure> {
        let authority = self.authority.as_ref().ok_or_else(|| {
            Failure::new("the cluster has no keys yet", "make it: `muster up FILE`", ExitStatus::FAILED)
        })?;
        Ok(TransportLinks::new(Arc::clone(authority), self.provider.dialer())?)
    }

    /// An engine for this cluster, and what it tells.
    pub(crate) fn engine(&self, command: &str, orders: Orders) -> Result<Ready, Failure> {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let (ca_pem, links): (String, Arc<dyn AgentLinks>) = match &self.authority {
            Some(authority) => (authority.ca_pem().to_owned(), Arc::new(self.links()?)),
            None => (String::new(), Arc::new(NoAgents)),
        };
        let engine = Engine::new(EngineConfig {
            store: Arc::clone(&self.store),
            provider: Arc::clone(&self.provider),
            provider_name: self.provider_name.clone(),
            ca_pem,
            links,
            holder: holder(&format!("muster {command}"))?,
            concurrency_max: orders.parallel,
            events: sender,
            limits: Limits::default(),
            clock: Arc::new(SystemClock),
            policy: orders.policy,
            drain: orders.drain,
            redact: self.secrets.clone(),
        });
        Ok(Ready { engine, events })
    }

    /// Takes the cluster's secrets out of what is shown.
    pub(crate) fn redactor(&self) -> Redactor {
        Redactor::new(self.secrets.clone())
    }

    pub(crate) async fn nodes(&self) -> Result<Vec<NodeRecord>, Failure> {
        let mut nodes = self.store.nodes(&self.name).await?;
        nodes.sort_by(|a, b| natural_order(a.name.as_str(), b.name.as_str()));
        Ok(nodes)
    }
}

/// How an engine is to work.
pub(crate) struct Orders {
    /// Machines at work at once.
    pub(crate) parallel: usize,
    pub(crate) policy: Policy,
    pub(crate) drain: Drain,
}

impl Default for Orders {
    fn default() -> Self {
        Self { parallel: 32, policy: Policy::default(), drain: Drain::default() }
    }
}

/// An engine, and what it tells.
pub(crate) struct Ready {
    pub(crate) engine: Engine,
    pub(crate) events: mpsc::Receiver<Event>,
}

/// The one provider of a file's nodes.
fn provider_of(compiled: &Compiled) -> Result<String, Failure> {
    let nodes = compiled.desired(&BTreeMap::new(), &BTreeMap::new());
    let names: BTreeSet<&str> = nodes.iter().map(|node| node.provider.as_str()).collect();
    match names.into_iter().collect::<Vec<_>>().as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Ok(muster_spec::DEFAULT_PROVIDER.to_owned()),
        several => Err(Failure::new(
            format!("the groups of {} are spread over providers: {}", compiled.spec.name.value, several.join(", ")),
            "one cluster has one provider for now; choose it with `--provider NAME`",
            ExitStatus::BAD_FILE,
        )),
    }
}

/// This process, so that others can tell whether it still lives.
pub(crate) fn holder(command: &str) -> Result<LeaseHolder, Failure> {
    let pid = std::process::id();
    let host = nix::unistd::gethostname().map_err(std::io::Error::from)?;
    Ok(LeaseHolder {
        host: host.to_string_lossy().into_owned(),
        boot_id: process::boot_id()?,
        pid,
        start_ticks: process::start_ticks(pid)?,
        command: command.to_owned(),
    })
}

/// The text of a cluster file; without a name, `cluster.yaml` of the current folder. `-` is standard input.
pub(crate) fn source(file: Option<&Path>) -> Result<compile::Source, Failure> {
    let path = match file {
        Some(path) => path,
        None => paths::default_file().ok_or_else(|| {
            Failure::usage(
                format!("no file was named, and there is no {} here", paths::DEFAULT_FILE),
                "name the cluster file, as in `muster up examples/quickstart.yaml`",
            )
        })?,
    };
    Ok(compile::Source { path: path.display().to_string(), text: read(path)?, folder: folder(path) })
}

/// The folder that a cluster file is in.
pub(crate) fn folder(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    } else {
        let wrong = |error: std::io::Error| {
            let status = match error.kind() {
                std::io::ErrorKind::PermissionDenied => ExitStatus::NO_PERMISSION,
                std::io::ErrorKind::NotFound => ExitStatus::USAGE,
                _ => ExitStatus::BAD_FILE,
            };
            Failure::new(error, "name a cluster file, such as examples/quickstart.yaml", status)
        };
        let file = fs_err::File::open(path).map_err(wrong)?;
        if file.metadata().map_err(wrong)?.is_dir() {
            let hint = format!("name the file in it, such as {}/cluster.yaml", path.display());
            return Err(Failure::new(format!("{} is a folder", path.display()), hint, ExitStatus::BAD_FILE));
        }
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(wrong)?;
    }
    if text.len() as u64 > FILE_BYTES_MAX {
        let message = format!("{} is larger than {} MiB", path.display(), FILE_BYTES_MAX >> 20);
        return Err(Failure::new(
            message,
            "a cluster file is a few lines; is this the right one?",
            ExitStatus::BAD_FILE,
        ));
    }
    Ok(text)
}
