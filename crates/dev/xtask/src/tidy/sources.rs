//! Habits of Rust files.

use super::File;

/// Where a file is too long to be read in one go.
const LINES_MAX: usize = 800;

/// Not in this project, anywhere. Written in two pieces, so that this file may stand.
const NOWHERE: [(&str, &str); 3] = [
    (concat!("#[", "ignore"), "a test runs, or says by `skipped` why this machine cannot run it"),
    (concat!("todo", "!("), "what is missing is not there, or is an error that says so"),
    (concat!("unimplemented", "!("), "what is missing is not there, or is an error that says so"),
];

/// Not in `crates/core`: it takes the time, randomness and everything from outside as arguments.
const NOT_IN_CORE: [&str; 16] = [
    "tokio",
    "async fn",
    "std::fs",
    "fs_err",
    "std::env",
    "std::io::std",
    "std::process",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "rand::rng",
];

pub(super) fn complaints(files: &[File]) -> Vec<String> {
    files.iter().flat_map(complaints_of).collect()
}

fn complaints_of(file: &File) -> Vec<String> {
    let mut complaints = Vec::new();
    let path = file.path.display();
    if !file.text.starts_with("//!") {
        complaints.push(format!("{path}:1: the file does not open with a `//!` line that says what it is for"));
    }
    let length = file.text.lines().count();
    if length > LINES_MAX {
        complaints.push(format!("{path}: {length} lines; split it, {LINES_MAX} are the most"));
    }
    let in_core = file.path.starts_with("crates/core") && file.path.components().any(|part| part.as_os_str() == "src");
    for (number, line) in file.text.lines().enumerate() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        let place = || format!("{path}:{}", number + 1);
        let found = NOWHERE.iter().filter(|(pattern, _)| code.contains(pattern));
        complaints.extend(found.map(|(pattern, instead)| format!("{}: `{pattern}`: {instead}", place())));
        let found = NOT_IN_CORE.iter().filter(|pattern| in_core && code.contains(*pattern));
        complaints.extend(found.map(|pattern| format!("{}: the core is pure, it does not know `{pattern}`", place())));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints_about(path: &str, text: &str) -> Vec<String> {
        complaints(&[File { path: path.into(), text: text.to_owned() }])
    }

    #[test]
    fn a_good_file_passes() {
        assert!(complaints_about("crates/core/x/src/a.rs", "//! A.\n// tokio is not here\nfn a() {}\n").is_empty());
    }

    #[test]
    fn each_breach_is_told_with_its_line() {
        let opening = complaints_about("a.rs", "fn a() {}\n");
        assert!(opening[0].starts_with("a.rs:1: the file does not open"), "{opening:?}");
        let long = complaints_about("a.rs", &format!("//! A.\n{}", "\n".repeat(LINES_MAX)));
        assert!(long[0].starts_with("a.rs: 801 lines"), "{long:?}");
        for (pattern, _) in NOWHERE {
            let found = complaints_about("a.rs", &format!("//! A.\n    {pattern}\n"));
            assert!(found.len() == 1 && found[0].starts_with(&format!("a.rs:2: `{pattern}`")), "{found:?}");
        }
        for pattern in NOT_IN_CORE {
            let text = format!("//! A.\n{pattern}\n");
            assert!(!complaints_about("crates/core/x/src/a.rs", &text).is_empty(), "{pattern}");
            assert!(complaints_about("crates/core/x/tests/a.rs", &text).is_empty(), "{pattern}");
            assert!(complaints_about("crates/services/x/src/a.rs", &text).is_empty(), "{pattern}");
        }
    }
}
