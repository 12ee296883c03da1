//! How much a run of the tests does, and what it tells besides "ok".

use std::fmt::Display;
use std::io::Write as _;

/// `quick` (every run, the default) or `full` (`cargo xtask soak`).
const SCALE: &str = "MUSTER_TEST_SCALE";
/// A file that `cargo xtask test` reads afterwards: one line for each test that was skipped.
const SKIPS: &str = "MUSTER_TEST_SKIPS";

/// Picks by `$MUSTER_TEST_SCALE`: `quick` for every run, `full` for a soak.
pub fn count<T>(quick: T, full: T) -> T {
    match std::env::var(SCALE).as_deref() {
        Err(_) | Ok("quick") => quick,
        Ok("full") => full,
        Ok(other) => panic!("{SCALE} is `{other}`: it must be quick or full"),
    }
}

/// Tells a figure to `cargo xtask soak`, which writes it down with its date and commit.
pub fn figure(key: &str, value: impl Display) {
    assert!(!key.is_empty() && !key.contains(char::is_whitespace), "`{key}` is not one word");
    say(&format!("figure: {key} {value}"));
}

/// Says why a test does not run on this machine. Call it and return.
pub fn skipped(reason: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}", thread.name().unwrap_or("a test"));
    say(&line);
    if let Some(path) = std::env::var_os(SKIPS) {
        let file = fs_err::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| writeln!(file, "{line}")).expect("a skip can be counted");
    }
}

/// Past the test harness, which keeps what a passing test prints to itself.
fn say(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).expect("stdout takes a line");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_of_this_run_is_one_of_two() {
        let full = std::env::var(SCALE).is_ok_and(|scale| scale == "full");
        assert_eq!(count(3, 50), if full { 50 } else { 3 });
    }
}
