//! What a changed document means to a node that has applied another. Pure.

use muster_cloudinit::{Change as Difference, diff, parse_document};
use muster_plan::Change;
use muster_types::{SignedDuration, Timestamp};

/// Compares the document that was applied with the one that is wanted.
pub(crate) fn between(applied: &str, wanted: &str) -> Change {
    let (Ok(applied), Ok(wanted)) = (parse_document(applied), parse_document(wanted)) else {
        // The agent says what is wrong with it.
        return Change::Apply { steps: Vec::new(), reason: "its configuration changed".to_owned() };
    };
    match diff(&applied, &wanted) {
        Difference::None => {
            Change::Apply { steps: Vec::new(), reason: "its configuration is written in another way".to_owned() }
        }
        Difference::Converge(steps) => {
            Change::Apply { steps: words(&steps), reason: "its configuration changed".to_owned() }
        }
        Difference::Replace { steps, reason } => Change::Replace { steps: words(&steps), reason },
    }
}

fn words(steps: &[impl ToString]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

/// Whether a certificate that ends then should be renewed now.
pub(crate) fn is_due(not_after: Option<Timestamp>, now: Timestamp, before: SignedDuration) -> bool {
    not_after.is_some_and(|end| now + before >= end)
}
