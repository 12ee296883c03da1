//! What a member writes down to find its way back after a restart, in the format of Serf's snapshot file. Only text: the
//! file belongs to the driver.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::config::Resume;
use crate::members::Member;
use crate::output::{Event, MemberEvent};

/// Below this size a file is not compacted.
const SIZE_MIN: u64 = 128 * 1024;
/// Per member, a file may have twice this.
const SIZE_PER_MEMBER: u64 = 128;

/// The content of a snapshot, and what was written last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    alive: BTreeMap<String, SocketAddr>,
    clocks: Resume,
}

impl Snapshot {
    /// Reads a file. Lines that say nothing are passed over: a crash may have cut the last one.
    pub fn replay(text: &str, rejoin_after_leave: bool) -> Self {
        let mut snapshot = Self::default();
        for line in text.lines() {
            snapshot.line(line, rejoin_after_leave);
        }
        snapshot
    }

    fn line(&mut self, line: &str, rejoin_after_leave: bool) {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        if let Some(entry) = line.strip_prefix("alive: ") {
            // Names may contain spaces; addresses do not.
            if let Some((name, address)) = entry.rsplit_once(' ')
                && let Ok(address) = address.parse()
            {
                self.alive.insert(name.to_owned(), address);
            }
        } else if let Some(name) = line.strip_prefix("not-alive: ") {
            self.alive.remove(name);
        } else if let Some(time) = line.strip_prefix("clock: ").and_then(number) {
            self.clocks.clock = time;
        } else if let Some(time) = line.strip_prefix("event-clock: ").and_then(number) {
            self.clocks.event_clock = time;
        } else if let Some(time) = line.strip_prefix("query-clock: ").and_then(number) {
            self.clocks.query_clock = time;
        } else if line == "leave" && !rejoin_after_leave {
            *self = Self::default();
        }
    }

    /// Where to look for others.
    pub fn alive(&self) -> &BTreeMap<String, SocketAddr> {
        &self.alive
    }

    /// For `Config::resume`.
    pub fn resume(&self) -> Resume {
        self.clocks
    }

    /// The lines that an event adds to the file.
    pub fn record(&mut self, event: &Event) -> String {
        let mut lines = String::new();
        match event {
            Event::Members { kind, members } => {
                for member in members {
                    self.record_member(*kind, member, &mut lines);
                }
            }
            Event::Left => lines.push_str("leave\n"),
            _ => {}
        }
        lines
    }

    fn record_member(&mut self, kind: MemberEvent, member: &Member, lines: &mut String) {
        let name = member.name.to_string();
        match kind {
            // A line must stay a line.
            MemberEvent::Join if !name.contains('\n') => {
                line(lines, "alive", &format!("{name} {}", member.address));
                self.alive.insert(name, member.address);
            }
            MemberEvent::Leave | MemberEvent::Failed | MemberEvent::Reap => {
                if self.alive.remove(&name).is_some() {
                    line(lines, "not-alive", &name);
                }
            }
            MemberEvent::Join | MemberEvent::Update => {}
        }
    }

    /// The lines for clocks that went on. To be called now and then, such as each half second.
    pub fn record_clocks(&mut self, clocks: Resume) -> String {
        let mut lines = String::new();
        let old = std::mem::replace(&mut self.clocks, clocks);
        for (key, old, new) in [
            ("clock", old.clock, clocks.clock),
            ("event-clock", old.event_clock, clocks.event_clock),
            ("query-clock", old.query_clock, clocks.query_clock),
        ] {
            if new != old {
                line(&mut lines, key, &new.to_string());
            }
        }
        lines
    }

    /// Whether a file of this size is to be replaced by `compacted`.
    pub fn is_too_long(&self, bytes: u64) -> bool {
        bytes > SIZE_MIN.max(2 * SIZE_PER_MEMBER * self.alive.len() as u64)
    }

    /// All of it, in the order in which Serf writes it.
    pub fn compacted(&self) -> String {
        let mut lines = String::new();
        for (name, address) in &self.alive {
            line(&mut lines, "alive", &format!("{name} {address}"));
        }
        line(&mut lines, "clock", &self.clocks.clock.to_string());
        line(&mut lines, "event-clock", &self.clocks.event_clock.to_string());
        line(&mut lines, "query-clock", &self.clocks.query_clock.to_string());
        lines
    }
}

fn line(lines: &mut String, key: &str, value: &str) {
    // Writing to a string cannot fail.
    writeln!(lines, "{key}: {value}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "alive: n1 127.0.0.1:7946\nclock: 3\nalive: a name 127.0.0.2:7946\nevent-clock: 7\n# comment\n\
                        coordinate: {}\nnot-alive: n1\nquery-clock: 2\nalive: broken\nclo";

    #[test]
    fn a_file_is_read_as_serf_writes_it() {
        let snapshot = Snapshot::replay(FILE, false);
        assert_eq!(snapshot.alive().keys().collect::<Vec<_>>(), ["a name"]);
        assert_eq!(snapshot.resume(), Resume { clock: 3, event_clock: 7, query_clock: 2 });
        assert_eq!(Snapshot::replay(&snapshot.compacted(), false), snapshot);
    }

    #[test]
    fn who_left_forgets_all_unless_told_otherwise() {
        let text = format!("{FILE}\nleave\n");
        assert_eq!(Snapshot::replay(&text, false), Snapshot::default());
        assert_eq!(Snapshot::replay(&text, true).alive().len(), 1);
    }

    #[test]
    fn only_clocks_that_went_on_are_written() {
        let mut snapshot = Snapshot::replay(FILE, false);
        assert_eq!(snapshot.record_clocks(Resume { clock: 4, event_clock: 7, query_clock: 2 }), "clock: 4\n");
        assert!(!snapshot.is_too_long(100_000));
        assert!(snapshot.is_too_long(140_000));
    }
}
