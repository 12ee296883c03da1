//! The drawing on a terminal: one line for each node that is not ready yet, and a line that sums up.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use muster_types::{Phase, natural_order};

use crate::output::Printer;
use crate::output::events::{Baking, Board, Seen, tone};
use crate::output::printer::{Tone, terminal_size};
use crate::output::table::duration;

/// Rows that stay free for the shell's own lines.
const ROWS_LEFT: usize = 4;

pub(crate) struct Live {
    bar: ProgressBar,
    printer: Printer,
}

impl Live {
    pub(crate) fn new(printer: &Printer) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // The one template is ours and right; the default would draw something else, not fail.
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self { bar, printer: printer.clone() }
    }

    /// A line above the drawing.
    pub(crate) fn say(&self, text: &str) {
        self.bar.println(text);
    }

    pub(crate) fn draw(&self, board: &Board) {
        let (columns, rows) = terminal_size();
        self.bar.set_message(drawing(board, &self.printer, columns, rows.saturating_sub(ROWS_LEFT).max(3)));
    }

    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

fn drawing(board: &Board, printer: &Printer, columns: usize, rows: usize) -> String {
    let mut busy: Vec<_> = board.nodes.iter().filter(|(_, seen)| seen.phase != Phase::Ready).collect();
    busy.sort_by(|(a, _), (b, _)| natural_order(a.as_str(), b.as_str()));
    let width = busy.iter().map(|(name, _)| name.as_str().len()).max().unwrap_or(0);
    let images = board.images.iter().take(rows.saturating_sub(2));
    let mut lines: Vec<String> = images.map(|(name, baking)| image(name, baking, printer, columns)).collect();
    let room = rows - 1 - lines.len();
    let nodes =
        busy.iter().take(room).map(|(name, seen)| line(&format!("{:<width$}", name.as_str()), seen, printer, columns));
    lines.extend(nodes);
    let ready = board.nodes.len() - busy.len();
    let more = busy.len().saturating_sub(room);
    let more = if more > 0 { format!(", {more} more not shown") } else { String::new() };
    let elapsed = duration(board.started.elapsed().as_millis());
    lines.push(printer.tone(&format!("{ready} of {} ready, {elapsed}{more}", board.nodes.len()), Tone::Strong));
    lines.join("\n")
}

/// What is wide gives way to what changes.
fn image(name: &str, baking: &Baking, printer: &Printer, columns: usize) -> String {
    let age = duration(baking.since.elapsed().as_millis());
    let name: String = name.chars().take(columns / 3).collect();
    let detail = if baking.detail.is_empty() { String::new() } else { format!(": {}", baking.detail) };
    let head = format!("image {name}");
    let used = head.chars().count() + 2 + 8 + 2;
    let words: String = format!("{}{detail}", baking.step).chars().take(columns.saturating_sub(used + 1)).collect();
    format!("{}  {age:>8}  {words}", printer.tone(&head, Tone::Busy))
}

fn line(name: &str, seen: &Seen, printer: &Printer, columns: usize) -> String {
    let age = duration(seen.since.elapsed().as_millis());
    let why = if seen.reason.is_empty() { &seen.waiting_for } else { &seen.reason };
    let phase = printer.tone(&format!("{:<11}", seen.phase), tone(seen.phase));
    let used = name.len() + 2 + 11 + 2 + 8 + 2;
    let why: String = why.chars().take(columns.saturating_sub(used + 1)).collect();
    format!("{name}  {phase}  {age:>8}  {why}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use super::*;
    use crate::output::Format;

    #[test]
    fn a_hundred_nodes_fit_a_small_terminal() {
        let seen =
            |phase| Seen { phase, since: Instant::now(), waiting_for: "its agent".repeat(30), reason: String::new() };
        let name = |index: usize| format!("web-{index}").parse().unwrap();
        let mut nodes: BTreeMap<_, _> = (1..=100).map(|index| (name(index), seen(Phase::Booting))).collect();
        nodes.insert(name(7), seen(Phase::Ready));
        let baking =
            Baking { since: Instant::now(), step: "unpacking 3 of 30".to_owned(), detail: "slurmd ".repeat(30) };
        let images = BTreeMap::from([("debian-12 with munge, slurmd and more".to_owned(), baking)]);
        let board = Board { started: Instant::now(), nodes, images };
        let printer = Printer::new(Format::Json);
        let text = drawing(&board, &printer, 60, 10);
        assert_eq!(text.lines().count(), 10);
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        assert!(text.starts_with("image debian-12 with munge"), "{text}");
        assert!(text.ends_with("91 more not shown"), "{text}");
    }
}
