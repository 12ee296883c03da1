//! How far bakes are: a line for each on a terminal, a line a step elsewhere, events where a program reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use muster_api::EventBody;
use muster_provider::BakeProgress;

use crate::output::printer::{Tone, terminal_size};
use crate::output::table::duration;
use crate::output::{Format, Printer};

pub(super) struct Progress {
    printer: Printer,
    start: Instant,
    bar: Option<ProgressBar>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// What each image is at.
    now: BTreeMap<String, BakeProgress>,
    /// Lines that a log has, without their counts.
    told: BTreeSet<String>,
}

impl Progress {
    pub(super) fn new(printer: &Printer) -> Self {
        let bar = printer.live.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            // The one template is ours and right; the default would draw something else, not fail.
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { printer: printer.clone(), start: Instant::now(), bar, seen: Mutex::default() }
    }

    pub(super) fn show(&self, image: &str, now: &BakeProgress) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.now.insert(image.to_owned(), now.clone());
        let elapsed = duration(self.start.elapsed().as_millis());
        if self.printer.format == Format::JsonLines {
            let (image, step, detail) = (image.to_owned(), now.step.clone(), now.detail.clone());
            // A reader that has gone away is not an error.
            self.printer.json_line(&EventBody::Image { image, step, detail }).ok();
        } else if let Some(bar) = &self.bar {
            let columns = terminal_size().0.saturating_sub(1);
            let mut lines: Vec<String> = seen.now.iter().map(|(image, now)| line(image, now, columns)).collect();
            lines.push(self.printer.tone(&elapsed, Tone::Strong));
            bar.set_message(lines.join("\n"));
        } else if seen.told.insert(words(&format!("{image}: {}", now.step))) {
            self.printer.note(&format!("{elapsed:>7}  {image}: {}", now.step));
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(image: &str, now: &BakeProgress, columns: usize) -> String {
    let text = format!("{image}: {}  {}", now.step, now.detail);
    text.trim_end().chars().take(columns).collect()
}

/// A step without its counts: a log has a line a step, not a line a package.
fn words(step: &str) -> String {
    step.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_no_steps_of_their_own() {
        assert_eq!(words("unpacking 8 of 12 packages"), words("unpacking 12 of 12 packages"));
        assert_ne!(words("unpacking 1 of 12 packages"), words("setting up 1 of 12 packages"));
        let now = BakeProgress { step: "unpacking".to_owned(), detail: "x".repeat(300) };
        assert_eq!(line("debian-12", &now, 40).chars().count(), 40);
    }
}
