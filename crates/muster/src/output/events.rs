//! What a run tells, for people: one line a change, or a drawing that keeps up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use muster_api::{Event, EventBody, StepOutcome};
use muster_types::{NodeName, Phase};
use tokio::sync::mpsc;

use crate::error::Failure;
use crate::output::live::Live;
use crate::output::printer::Tone;
use crate::output::table::duration;
use crate::output::{Format, Printer};

/// How often ages are drawn anew; what happens is drawn at once.
const TICK: Duration = Duration::from_millis(200);

/// What is known of one node in this run.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) phase: Phase,
    pub(crate) since: Instant,
    pub(crate) waiting_for: String,
    pub(crate) reason: String,
}

/// All nodes of a run, as far as it has told.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    pub(crate) started: Instant,
    pub(crate) nodes: BTreeMap<NodeName, Seen>,
    /// Images that are being made.
    pub(crate) images: BTreeMap<String, Baking>,
}

/// What is known of an image that is being made.
#[derive(Debug, Clone)]
pub(crate) struct Baking {
    pub(crate) since: Instant,
    pub(crate) step: String,
    pub(crate) detail: String,
}

impl Board {
    fn new() -> Self {
        Self { started: Instant::now(), nodes: BTreeMap::new(), images: BTreeMap::new() }
    }

    /// Takes an event in. True when somebody looking would want to see it; who reads a log wants to see less of them
    /// than who looks at a drawing.
    fn take(&mut self, event: &EventBody, live: bool) -> bool {
        match event {
            EventBody::Phase { node, phase, waiting_for, reason } => {
                let seen = self.nodes.entry(node.clone()).or_insert_with(|| Seen {
                    phase: *phase,
                    since: Instant::now(),
                    waiting_for: String::new(),
                    reason: String::new(),
                });
                if seen.phase != *phase {
                    seen.phase = *phase;
                    seen.since = Instant::now();
                }
                seen.waiting_for.clone_from(waiting_for);
                seen.reason.clone_from(reason);
                true
            }
            EventBody::Step { node, step, outcome, index, total } => {
                let Some(seen) = self.nodes.get_mut(node) else { return false };
                if *outcome == StepOutcome::Running {
                    seen.waiting_for = format!("step {} of {total}: {step}", index + 1);
                }
                true
            }
            EventBody::Image { image, step, .. } if step.is_empty() => {
                self.images.remove(image);
                true
            }
            EventBody::Image { image, step, detail } => {
                let new = || Baking { since: Instant::now(), step: String::new(), detail: String::new() };
                let baking = self.images.entry(image.clone()).or_insert_with(new);
                let is_news = without_numbers(&baking.step) != without_numbers(step);
                baking.step.clone_from(step);
                baking.detail.clone_from(detail);
                is_news || live
            }
            EventBody::RunFinished { .. } | EventBody::Warning { .. } | EventBody::Failed { .. } => true,
            _ => false,
        }
    }
}

/// `unpacking 3 of 30` and `unpacking 4 of 30` are one line of a log.
fn without_numbers(step: &str) -> String {
    step.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

pub(crate) fn tone(phase: Phase) -> Tone {
    match phase {
        Phase::Ready => Tone::Good,
        Phase::Failed => Tone::Bad,
        Phase::Planned | Phase::Stopped => Tone::Quiet,
        _ => Tone::Busy,
    }
}

/// Shows events until the sender is gone.
pub(crate) async fn show(mut events: mpsc::Receiver<Event>, printer: Printer) -> Result<(), Failure> {
    let mut board = Board::new();
    let mut live = printer.live.then(|| Live::new(&printer));
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            // Losing a receive loses no event: it stays in the channel.
            event = events.recv() => {
                let Some(event) = event else { break };
                if printer.format == Format::JsonLines {
                    printer.json_line(&event)?;
                    continue;
                }
                let news = board.take(&event.body, live.is_some());
                match &mut live {
                    Some(live) => {
                        if let Some(text) = aside(&event.body, &printer) {
                            live.say(&text);
                        }
                        // A burst is drawn once, with its last state.
                        if news && events.is_empty() {
                            live.draw(&board);
                        }
                    }
                    None if news || !matches!(event.body, EventBody::Image { .. }) => {
                        plain(&event.body, &board, &printer);
                    }
                    None => {}
                }
            }
            // A tick only redraws.
            _ = tick.tick() => {
                if let Some(live) = &mut live {
                    live.draw(&board);
                }
            }
        }
    }
    if let Some(live) = live {
        live.finish();
    }
    Ok(())
}

/// What stands above the drawing for good.
fn aside(event: &EventBody, printer: &Printer) -> Option<String> {
    match event {
        EventBody::Warning { node, message } => {
            let node = node.as_ref().map(|node| format!("{node}: ")).unwrap_or_default();
            Some(format!("{} {node}{message}", printer.tone("warning:", Tone::Busy)))
        }
        _ => None,
    }
}

/// One line a change, for logs and pipes.
fn plain(event: &EventBody, board: &Board, printer: &Printer) {
    let elapsed = duration(board.started.elapsed().as_millis());
    match event {
        EventBody::Phase { node, phase, waiting_for, reason } => {
            let phase = printer.tone(&format!("{phase:<11}"), tone(*phase));
            let why = if reason.is_empty() { waiting_for } else { reason };
            printer.note(format!("{elapsed:>7}  {node}  {phase}  {why}").trim_end());
        }
        EventBody::Image { image, step, .. } => {
            let step = if step.is_empty() { "there" } else { step };
            printer.note(&format!("{elapsed:>7}  image {image}  {step}"));
        }
        EventBody::Step { node, step, outcome: StepOutcome::Failed, .. } => {
            printer.note(&format!("{elapsed:>7}  {node}  {}  {step}", printer.tone("step failed", Tone::Bad)));
        }
        other => {
            if let Some(text) = aside(other, printer) {
                printer.note(&format!("{elapsed:>7}  {text}"));
            }
        }
    }
}
