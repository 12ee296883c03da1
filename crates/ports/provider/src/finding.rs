//! What a provider finds when it looks at this machine, for people who ask what it can do.

use serde::Serialize;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub topic: &'static str,
    pub verdict: Verdict,
    /// What is there, in words.
    pub found: String,
    /// What cannot be done because of it.
    pub costs: Option<String>,
    /// What mends it: a command where there is one.
    pub remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Good,
    /// Machines can be made, and something else cannot.
    Gap,
    /// No machine can be made.
    Bad,
}

impl Finding {
    pub fn good(topic: &'static str, found: impl Into<String>) -> Self {
        Self { topic, verdict: Verdict::Good, found: found.into(), costs: None, remedy: None }
    }

    pub fn gap(topic: &'static str, found: impl Into<String>, costs: impl Into<String>) -> Self {
        let costs = Some(costs.into());
        Self { topic, verdict: Verdict::Gap, found: found.into(), costs, remedy: None }
    }

    pub fn bad(topic: &'static str, found: impl Into<String>, costs: impl Into<String>) -> Self {
        Self { verdict: Verdict::Bad, ..Self::gap(topic, found, costs) }
    }

    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}
