//! What a group's failure policy makes of a failed try. Pure.

use std::time::Duration;

use muster_plan::Verb;
use muster_spec::OnFailure;
use muster_stdx::Backoff;

use crate::Limits;

/// Tries more than anybody needs.
const RETRIES_MAX: u32 = 100;

/// The tries that a node has left.
pub(crate) struct Tries {
    again: u32,
    replace: bool,
    backoff: Option<Backoff>,
}

impl Tries {
    pub(crate) fn new(policy: Option<OnFailure>) -> Self {
        let (again, replace) = match policy {
            Some(OnFailure::Retry(times)) => (times.min(RETRIES_MAX), false),
            Some(OnFailure::Replace) => (0, true),
            Some(OnFailure::Keep | OnFailure::Rollback) | None => (0, false),
        };
        Self { again, replace, backoff: None }
    }

    /// What to do next after a failure; `None`: leave it as it is, for people to look at.
    pub(crate) fn after(&mut self, has_machine: bool, is_running: bool) -> Option<Verb> {
        if self.replace {
            // One new machine; a second failure is not the machine's.
            self.replace = false;
            return Some(if has_machine { Verb::Replace } else { Verb::Create });
        }
        self.again = self.again.checked_sub(1)?;
        Some(match (has_machine, is_running) {
            (false, _) => Verb::Create,
            (true, false) => Verb::Start,
            (true, true) => Verb::Configure,
        })
    }

    pub(crate) fn pause(&mut self, limits: &Limits) -> Duration {
        self.backoff.get_or_insert_with(|| Backoff::new(limits.pause_first, limits.pause_longest)).pause()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What follows on failures of a node whose machine runs, until nothing does.
    fn story(policy: Option<OnFailure>) -> Vec<&'static str> {
        let mut tries = Tries::new(policy);
        std::iter::from_fn(|| tries.after(true, true)).map(Verb::as_str).collect()
    }

    #[test]
    fn a_policy_gives_a_bounded_number_of_tries() {
        assert!(story(None).is_empty());
        assert!(story(Some(OnFailure::Keep)).is_empty());
        assert_eq!(story(Some(OnFailure::Retry(2))), ["configure", "configure"]);
        assert_eq!(story(Some(OnFailure::Replace)), ["replace"]);
        assert_eq!(story(Some(OnFailure::Retry(u32::MAX))).len(), RETRIES_MAX as usize);
    }

    #[test]
    fn a_try_goes_on_from_what_is_there() {
        let next = |has_machine, is_running| Tries::new(Some(OnFailure::Retry(1))).after(has_machine, is_running);
        assert_eq!(next(false, false), Some(Verb::Create));
        assert_eq!(next(true, false), Some(Verb::Start));
        assert_eq!(next(true, true), Some(Verb::Configure));
        assert_eq!(Tries::new(Some(OnFailure::Replace)).after(false, false), Some(Verb::Create));
    }
}
