//! Secrets do not leave the engine: neither in what it tells, nor in what it writes down, nor in its account.

use muster_api::EventBody;
use muster_types::Redacted;

use crate::outcome::NodeOutcome;

/// Stands where a secret stood.
const MARK: &str = "<secret>";
/// What is shorter stands in many texts by chance; no secret that is made is.
const BYTES_MIN: usize = 8;

/// Texts that are not to be shown.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    /// The longest first: one may be a part of another.
    values: Vec<Redacted<String>>,
}

impl Redactor {
    pub fn new(mut values: Vec<Redacted<String>>) -> Self {
        values.retain(|value| value.expose().len() >= BYTES_MIN);
        values.sort_by_key(|value| std::cmp::Reverse(value.expose().len()));
        Self { values }
    }

    /// Takes the secrets out of a text.
    pub fn clean(&self, text: &mut String) {
        for value in self.values.iter().map(Redacted::expose) {
            if text.contains(value) {
                *text = text.replace(value, MARK);
            }
        }
    }

    pub(crate) fn cleaned(&self, text: &str) -> String {
        let mut text = text.to_owned();
        self.clean(&mut text);
        text
    }

    pub(crate) fn clean_event(&self, body: &mut EventBody) {
        if self.values.is_empty() {
            return;
        }
        match body {
            EventBody::Image { step, detail, .. } => {
                self.clean(step);
                self.clean(detail);
            }
            EventBody::Phase { waiting_for, reason, .. } => {
                self.clean(waiting_for);
                self.clean(reason);
            }
            EventBody::Step { step, .. } => self.clean(step),
            EventBody::Output { text, step, .. } => {
                self.clean(text);
                self.clean(step);
            }
            EventBody::Warning { message, .. } => self.clean(message),
            EventBody::Decided { reason, .. } => self.clean(reason),
            EventBody::Called { error, .. } => error.iter_mut().for_each(|error| self.clean(error)),
            EventBody::Failed { step, message, log, hint, .. } => {
                for text in step.iter_mut().chain([message, hint]).chain(log) {
                    self.clean(text);
                }
            }
            EventBody::RunStarted { .. }
            | EventBody::Ordered { .. }
            | EventBody::Planned { .. }
            | EventBody::Intent { .. }
            | EventBody::Recorded { .. }
            | EventBody::RunFinished { .. } => {}
        }
    }

    pub(crate) fn clean_outcome(&self, node: &mut NodeOutcome) {
        for text in node.step.iter_mut().chain([&mut node.reason, &mut node.hint]).chain(&mut node.log) {
            self.clean(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_give_way_to_a_mark_and_the_longer_ones_first() {
        let secrets = ["swordfish", "swordfish-and-more", "short"].map(|text| Redacted::new(text.to_owned()));
        let redactor = Redactor::new(secrets.into());
        let clean = |text| redactor.cleaned(text);
        assert_eq!(clean("key=swordfish;swordfish"), "key=<secret>;<secret>");
        assert_eq!(clean("swordfish-and-more"), "<secret>");
        assert_eq!(clean("short and sweet"), "short and sweet");
    }
}
