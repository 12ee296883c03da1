//! The plan as people read it.

use std::fmt;

use crate::{Action, Plan, Summary, Verb};

/// Steps named in a line; the rest are counted.
const STEPS_SHOWN_MAX: usize = 4;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return match self.summary().keep {
                0 => write!(f, "Nothing to do: cluster {} has no nodes.", self.cluster()),
                1 => write!(f, "Nothing to do: the one node of cluster {} is as the file says.", self.cluster()),
                n => write!(f, "Nothing to do: all {n} nodes of cluster {} are as the file says.", self.cluster()),
            };
        }
        writeln!(f, "Plan for cluster {} on {}: {}.", self.cluster(), self.provider(), self.summary())?;
        for image in self.images() {
            write!(f, "\n  *   image {image} is made first: it is not there yet")?;
        }
        let shown = || self.actions().iter().filter(|action| action.verb != Verb::Keep);
        let width = shown().map(|action| action.node.as_str().len()).max().unwrap_or(0);
        for action in shown() {
            write!(f, "\n  {:<3} {:<width$}  ", mark(action.verb), action.node)?;
            line(f, action)?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("create", self.create),
            ("start", self.start),
            ("configure", self.configure),
            ("replace", self.replace),
            ("remove", self.remove),
            ("keep", self.keep),
        ];
        let words: Vec<String> =
            counts.iter().filter(|(_, count)| *count > 0).map(|(verb, count)| format!("{verb} {count}")).collect();
        if words.is_empty() { f.write_str("nothing") } else { f.write_str(&words.join(", ")) }
    }
}

fn mark(verb: Verb) -> &'static str {
    match verb {
        Verb::Keep => "=",
        Verb::Create => "+",
        Verb::Start => ">",
        Verb::Configure => "~",
        Verb::Replace => "-/+",
        Verb::Remove => "-",
    }
}

fn line(f: &mut fmt::Formatter<'_>, action: &Action) -> fmt::Result {
    write!(f, "{}: {}", action.verb.as_str(), action.reason)?;
    let mut notes = Vec::new();
    if let (true, Some(machine)) = (action.verb.is_destructive(), &action.machine) {
        notes.push(format!("machine {machine}"));
    }
    if !action.needs.is_empty() {
        notes.push(format!("after {}", join(&action.needs)));
    }
    if !action.waits_for.is_empty() {
        notes.push(format!("once there is an address of {}", join(&action.waits_for)));
    }
    if !action.steps.is_empty() {
        let shown = &action.steps[..action.steps.len().min(STEPS_SHOWN_MAX)];
        let rest = action.steps.len() - shown.len();
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        notes.push(format!("runs {}{more}", shown.join(", ")));
    }
    if notes.is_empty() { Ok(()) } else { write!(f, " ({})", notes.join("; ")) }
}

fn join(names: &[impl fmt::Display]) -> String {
    let shown: Vec<String> = names.iter().take(STEPS_SHOWN_MAX).map(ToString::to_string).collect();
    let rest = names.len() - shown.len();
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
