//! What people see of a chore. The one place that prints.

use std::time::Duration;

#[expect(clippy::print_stdout, reason = "a chore talks to the person who started it")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "a chore talks to the person who started it")]
pub(crate) fn complain(line: &str) {
    eprintln!("{line}");
}

pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
