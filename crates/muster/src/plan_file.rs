//! Plans in files: what `plan -o` writes, and `up FILE.plan` carries out if nothing has moved since.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use muster_doc::SourceMap;
use muster_engine::Reality;
use muster_plan::Plan;
use muster_types::{ClusterName, NodeName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::context::ReadingArgs;
use crate::error::Failure;
use crate::exit::ExitStatus;

const VERSION: u32 = 1;
/// What such a file ends with.
const ENDING: &str = "plan";
/// The largest file of a plan that is read.
const BYTES_MAX: u64 = 64 << 20;
/// Differences of the file that are told.
const ACTIONS_SHOWN_MAX: usize = 10;

/// Holds no secrets; private all the same, since it says how a cluster is made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PlanFile {
    muster_plan: u32,
    made_at: Timestamp,
    cluster: ClusterName,
    provider: String,
    /// The cluster file, absolute.
    pub(crate) file: PathBuf,
    /// As for `--nodes` and `--image`.
    nodes: Option<PathBuf>,
    image: Option<String>,
    /// Nodes that get another machine because somebody asked for it.
    pub(crate) replace: BTreeSet<NodeName>,
    /// SHA-256 of the cluster file and all that it is made of.
    sources: String,
    /// SHA-256 of `reality`.
    reality_hash: String,
    reality: Reality,
    /// SHA-256 of the plan.
    hash: String,
    /// As `plan --json` has it.
    plan: serde_json::Value,
}

/// A plan as it is made now.
pub(crate) struct Made<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) reality: &'a Reality,
    pub(crate) sources: &'a SourceMap,
}

/// `up` knows a plan by the ending of its name.
pub(crate) fn check_name(path: &Path) -> Result<(), Failure> {
    if path.extension().is_some_and(|ending| ending == ENDING) {
        return Ok(());
    }
    let hint = format!("name it for example {}.{ENDING}", path.with_extension("").display());
    Err(Failure::usage(format!("the name of a plan ends with `.{ENDING}`, and this is {}", path.display()), hint))
}

impl PlanFile {
    pub(crate) fn new(
        (file, reading): (&Path, &ReadingArgs),
        replace: BTreeSet<NodeName>,
        made: &Made<'_>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            muster_plan: VERSION,
            made_at: Timestamp::now(),
            cluster: made.plan.cluster().clone(),
            provider: made.plan.provider().to_owned(),
            file: std::path::absolute(file)?,
            nodes: reading.nodes.as_deref().map(std::path::absolute).transpose()?,
            image: reading.image.clone(),
            replace,
            sources: muster_engine::sources_hash(made.sources),
            reality_hash: made.reality.hash(),
            reality: made.reality.clone(),
            hash: made.plan.hash().to_owned(),
            plan: serde_json::to_value(made.plan).map_err(anyhow::Error::from)?,
        })
    }

    /// How the cluster file is read.
    pub(crate) fn reading(&self) -> ReadingArgs {
        let (provider, nodes, image) = (Some(self.provider.clone()), self.nodes.clone(), self.image.clone());
        ReadingArgs { provider, nodes, image, ..ReadingArgs::default() }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(self).map_err(anyhow::Error::from)?;
        muster_stdx::write_atomic(&std::path::absolute(path)?, &text, 0o600)?;
        Ok(())
    }

    /// `None` for another file than a plan.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Failure> {
        if path.extension().is_none_or(|ending| ending != ENDING) {
            return Ok(None);
        }
        let bad =
            |message: String| Failure::new(message, "make it anew: `muster plan -o FILE.plan`", ExitStatus::BAD_FILE);
        if fs_err::metadata(path)?.len() > BYTES_MAX {
            return Err(bad(format!("{} is larger than any plan", path.display())));
        }
        let text = fs_err::read(path)?;
        let version = serde_json::from_slice::<serde_json::Value>(&text)
            .ok()
            .and_then(|document| document.get("muster_plan").and_then(serde_json::Value::as_u64));
        match version {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => {
                let known =
                    format!("{} was written in version {version}; this program reads {VERSION}", path.display());
                return Err(bad(known));
            }
            None => return Err(bad(format!("{} is not a plan that `muster plan -o` wrote", path.display()))),
        }
        let plan: Self = serde_json::from_slice(&text)
            .map_err(|error| bad(format!("{} cannot be read: {error}", path.display())))?;
        if plan.reality.hash() != plan.reality_hash {
            return Err(bad(format!("{} was changed after it was written", path.display())));
        }
        Ok(Some(plan))
    }

    /// Refuses when anything that the plan was made from is another way now.
    pub(crate) fn check(&self, now: &Made<'_>) -> Result<(), Failure> {
        let mut moved = Vec::new();
        if muster_engine::sources_hash(now.sources) != self.sources {
            moved.push(format!("{} or a file that belongs to it was edited", self.file.display()));
        }
        moved.extend(self.reality.moved(now.reality));
        if now.plan.hash() != self.hash && moved.is_empty() {
            moved = self.other_actions(now.plan);
        }
        if moved.is_empty() {
            return Ok(());
        }
        let message = format!(
            "the plan of {} does not hold any more:\n  {}",
            self.made_at.strftime("%Y-%m-%d %H:%M:%S UTC"),
            moved.join("\n  ")
        );
        Err(Failure::new(
            message,
            "look at a new one: `muster plan`, with `-o FILE.plan` to keep it",
            ExitStatus::FAILED,
        ))
    }

    /// How the actions differ, where nothing else says it.
    fn other_actions(&self, plan: &Plan) -> Vec<String> {
        let line = |node: &str, verb: &str, reason: &str| format!("{node}: {verb}: {reason}");
        let now: Vec<String> = plan
            .actions()
            .iter()
            .map(|action| line(action.node.as_str(), action.verb.as_str(), &action.reason))
            .collect();
        let text = |action: &serde_json::Value, key: &str| {
            action.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
        };
        let actions = self.plan.get("actions").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
        let before: Vec<String> = actions
            .iter()
            .map(|action| line(&text(action, "node"), &text(action, "verb"), &text(action, "reason")))
            .collect();
        let gone = before.iter().filter(|line| !now.contains(line)).map(|line| format!("no more: {line}"));
        let new = now.iter().filter(|line| !before.contains(line)).map(|line| format!("now: {line}"));
        let mut other: Vec<String> = gone.chain(new).take(ACTIONS_SHOWN_MAX).collect();
        if other.is_empty() {
            other.push("the order or the images of the plan changed".to_owned());
        }
        other
    }
}
