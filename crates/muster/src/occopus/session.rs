//! Infrastructures by their ids, carried out by the engine: a pass, a removal, a report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use muster_doc::codes;
use muster_engine::compile::{self, Compiled, NodeDefinitions, Occopus, Source, node_id};
use muster_engine::{Engine, EngineError, Exit, Outcome};
use muster_plan::{Plan, Verb};
use muster_server::occopus::{InstanceReport, NodeReport, Report};
use muster_types::{NodeName, Phase};
use tokio_util::sync::CancellationToken;

use crate::context::{Context, Opened, Orders, Ready};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::occopus::records::{Record, Records};
use crate::occopus::voice::{Voice, follow};
use crate::occopus::{definitions, place, scaling};
use crate::registry;

/// How long a pass waits for another process to let go of the cluster, and how often it looks.
const LEASE_WAIT: Duration = Duration::from_mins(1);
const LEASE_LOOK: Duration = Duration::from_millis(250);

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) context: Context,
    pub(crate) place: place::Place,
    pub(crate) records: Records,
    pub(crate) voice: Voice,
}

/// What a pass is to do.
pub(crate) struct Order {
    pub(crate) command: &'static str,
    /// A description that takes the place of the stored one, once it is clear that it destroys nothing that works.
    pub(crate) new: Option<Record>,
    /// Nodes that work may be given other machines.
    pub(crate) replace: bool,
}

impl Session {
    pub(crate) fn open(context: &Context, voice: &Voice) -> Result<Self, Failure> {
        let place = place::Place::open(&context.paths)?;
        let records = Records::new(place.clone())?;
        Ok(Self { context: context.clone(), place, records, voice: voice.clone() })
    }

    /// The node definitions that were imported, as text.
    pub(crate) fn imported(&self) -> Result<String, Failure> {
        let source = definitions::imported(&self.place)?;
        Ok(source.map(|source| String::from_utf8_lossy(&source.text).into_owned()).unwrap_or_default())
    }

    /// Makes an infrastructure what it should be: missing and broken nodes are made or mended, wishes carried out.
    pub(crate) async fn pass(&self, id: &str, order: Order, token: CancellationToken) -> Result<Outcome, Failure> {
        let record = self.records.get(id)?;
        if record.destroying {
            let message = format!("the removal of {id} was begun and is not finished");
            return Err(Failure::new(message, format!("finish it: `occopus-destroy -i {id}`"), ExitStatus::FAILED));
        }
        let mut compiled = compile_record(order.new.as_ref().unwrap_or(&record))?;
        let opened = self.context.create(&mut compiled).await?;
        let Ready { engine, events } = opened.engine(order.command, Orders::default())?;
        self.lease(&engine, &opened, &token).await?;
        let ids = |node: &NodeName| node_id(id, node);
        let working = async {
            let result = self.carry_out(id, order, (&engine, &compiled), token).await;
            // Others may be waiting for it; who holds it and ends gives it back as well.
            let released = engine.release().await;
            drop(engine);
            let outcome = result?;
            released?;
            Ok::<_, Failure>(outcome)
        };
        let (outcome, ()) = tokio::join!(working, follow(&self.voice, events, &ids));
        outcome
    }

    async fn carry_out(
        &self,
        id: &str,
        order: Order,
        (engine, compiled): (&Engine, &Compiled),
        token: CancellationToken,
    ) -> Result<Outcome, Failure> {
        let due = scaling::settle(self, id, (engine, compiled)).await?;
        let plan = engine.plan(compiled).await?;
        if order.new.is_some() && !order.replace {
            refuse_replacing(&plan)?;
        }
        if let Some(new) = &order.new {
            let mut new = new.clone();
            new.due.clone_from(&due);
            self.records.put(&new)?;
        }
        let outcome = Box::pin(engine.up(compiled, plan, token)).await?;
        // The run has written the numbers down.
        self.records.change(id, |record| {
            if record.due == due {
                record.due = crate::occopus::records::Due::default();
            }
        })?;
        Ok(outcome)
    }

    /// Waits while another process works on the cluster.
    async fn lease(&self, engine: &Engine, opened: &Opened, token: &CancellationToken) -> Result<(), Failure> {
        let begun = std::time::Instant::now();
        let mut told = false;
        loop {
            match engine.lease(&opened.name).await {
                Err(error @ EngineError::Locked { .. }) if begun.elapsed() < LEASE_WAIT && !token.is_cancelled() => {
                    if !std::mem::replace(&mut told, true) {
                        self.voice.info(&format!("Waiting: {error}"));
                    }
                }
                result => return Ok(result?),
            }
            tokio::select! {
                // The next look ends it.
                () = token.cancelled() => {}
                // The time that has passed does not matter.
                () = tokio::time::sleep(LEASE_LOOK) => {}
            }
        }
    }

    /// What a pass would do; nothing is made and nothing stored.
    pub(crate) async fn plan(&self, record: &Record) -> Result<Plan, Failure> {
        let mut compiled = compile_record(record)?;
        let opened = self.context.look_at(&mut compiled).await?;
        Ok(opened.engine("occopus-build", Orders::default())?.engine.plan(&compiled).await?)
    }

    /// Removes an infrastructure, and forgets it when nothing of it is left.
    pub(crate) async fn destroy(&self, id: &str, token: CancellationToken) -> Result<(), Failure> {
        // Whoever looks after it sees that it is to go.
        let record = self.records.change(id, |record| record.destroying = true)?;
        let store = self.context.store()?;
        if store.cluster(&record.cluster).await?.is_some() {
            let opened = self.context.open(Some(record.cluster.as_str())).await?;
            let Ready { engine, events } = opened.engine("occopus-destroy", Orders::default())?;
            self.lease(&engine, &opened, &token).await?;
            let ids = |node: &NodeName| node_id(id, node);
            let working = async {
                let result = engine.down(&opened.name, token).await;
                let released = engine.release().await;
                drop(engine);
                result.and_then(|outcome| released.map(|()| outcome))
            };
            let (outcome, ()) = tokio::join!(working, follow(&self.voice, events, &ids));
            left_over(id, &outcome?)?;
        }
        crate::commands::down::finish(&self.context, &record.cluster)?;
        self.records.remove(id)
    }

    /// Every node with its instances. Nodes are ready only if they say so now.
    pub(crate) async fn report(&self, id: &str) -> Result<Report, Failure> {
        let record = self.records.get(id)?;
        let mut compiled = compile_record(&record)?;
        let opened = self.context.look_at(&mut compiled).await?;
        let engine = opened.engine("report", Orders::default())?.engine;
        let status = engine.status(&opened.name).await?;
        let mut instances: BTreeMap<String, Vec<InstanceReport>> = BTreeMap::new();
        for node in status.nodes.iter().filter(|node| !node.id.is_empty()) {
            instances.entry(node.group.to_string()).or_default().push(InstanceReport {
                id: node_id(id, &node.name),
                addresses: node.addresses.clone(),
                state: state(node.phase),
                machine: node.id.clone(),
            });
        }
        let numbers = engine.numbers(&compiled).await?;
        let mut report = Report::default();
        for group in &compiled.spec.groups {
            let Some(instances) = instances.remove(group.name.as_str()) else { continue };
            let bounds = group.population.bounds();
            let now = numbers.get(&group.name).copied().unwrap_or_default();
            let target = scaling::target(&record, group.name.as_str(), now).clamp(bounds.min, bounds.max);
            report.nodes.push(NodeReport {
                name: group.name.to_string(),
                instances,
                target,
                min: bounds.min,
                max: bounds.max,
            });
        }
        Ok(report)
    }

    /// The names of an infrastructure's nodes.
    pub(crate) fn node_names(&self, id: &str) -> Result<BTreeSet<String>, Failure> {
        let compiled = compile_record(&self.records.get(id)?)?;
        Ok(compiled.spec.groups.iter().map(|group| group.name.to_string()).collect())
    }
}

/// An infrastructure as it was described, with the node definitions of that time.
pub(crate) fn compile_record(record: &Record) -> Result<Compiled, Failure> {
    let folder = record.folder.clone().unwrap_or_default();
    let source = Source { path: record.path.clone(), text: record.description.clone().into_bytes(), folder };
    if !compile::is_infrastructure(&source) {
        let message = format!("{} describes no infrastructure: it has no `infra_name`", record.path);
        let hint = "cluster files are built by `muster up`";
        return Err(Failure::new(message, hint, ExitStatus::BAD_FILE));
    }
    let definitions = Source {
        path: "the imported node definitions".to_owned(),
        text: record.definitions.clone().into_bytes(),
        folder: PathBuf::new(),
    };
    let given = [definitions];
    let given: &[Source] = if record.definitions.is_empty() { &[] } else { &given };
    let definitions = NodeDefinitions::Given(given);
    let occopus = Occopus { definitions, infra_id: Some(&record.id), cluster: Some(&record.cluster) };
    let factories = registry::factories()?;
    let provider = record.provider.as_deref();
    let options = compile::Options { provider, image: None, agent: None, factories: &factories, occopus };
    compile::compile(source, &options).map_err(|rejected| {
        let mut diagnostics = rejected.diagnostics;
        for found in diagnostics.iter_mut().filter(|found| found.code == codes::OCCOPUS_NODE_TYPE) {
            found.hint =
                format!("import its definition first: `occopus-import nodes/node_definitions.yaml`; {}", found.hint);
        }
        Failure::Rejected { sources: rejected.sources, diagnostics }
    })
}

/// A reconfiguration does not cost anybody a node that works.
fn refuse_replacing(plan: &Plan) -> Result<(), Failure> {
    let replaced: Vec<String> = plan
        .actions()
        .iter()
        .filter(|action| action.verb == Verb::Replace && !action.extra)
        .map(|action| format!("{} ({})", action.node, action.reason))
        .collect();
    if replaced.is_empty() {
        return Ok(());
    }
    let message = format!("nothing was changed: these nodes would lose their machines: {}", replaced.join(", "));
    let hint = "agree with `--replace`, or import the node definitions as they were and build again";
    Err(Failure::new(message, hint, ExitStatus::FAILED))
}

fn left_over(id: &str, outcome: &Outcome) -> Result<(), Failure> {
    if outcome.exit == Exit::Done {
        return Ok(());
    }
    let nodes = outcome.nodes.iter().map(|node| format!("{}: {}", node.name, node.reason));
    let left: Vec<String> = outcome.leftovers.iter().cloned().chain(nodes).collect();
    let status = if outcome.exit == Exit::Interrupted { ExitStatus::INTERRUPTED } else { ExitStatus::FAILED };
    let message = format!("not everything of {id} is gone: {}", left.join("; "));
    Err(Failure::new(message, format!("run it again, it goes on: `occopus-destroy -i {id}`"), status))
}

/// In Occopus' words.
fn state(phase: Phase) -> &'static str {
    match phase {
        Phase::Ready => "ready",
        Phase::Failed => "failed",
        Phase::Stopped => "temp_failed",
        Phase::Draining | Phase::Removing => "shutdown",
        Phase::Planned | Phase::Creating | Phase::Booting | Phase::Joining | Phase::Configuring | Phase::Checking => {
            "pending"
        }
    }
}
