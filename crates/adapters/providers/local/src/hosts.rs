//! `/etc/hosts` of nodes: every machine of the switch, in a block of ours; lines outside the block stay as they are.

use std::fmt::Write as _;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;

const BEGIN: &str = "# muster: begin (kept up to date; other lines stay as they are)";
const END: &str = "# muster: end";
const FIRST_LINES: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";

/// The block: names by themselves and with the scope's name behind them.
pub(crate) fn block<'a>(scope: &str, machines: impl Iterator<Item = (&'a str, Ipv4Addr)>) -> String {
    let mut text = format!("{BEGIN}\n");
    for (name, address) in machines {
        writeln!(text, "{address} {name} {name}.{scope}").expect("a String takes everything");
    }
    text + END + "\n"
}

/// Puts the block into the file. The file is bound into a running node, so it is written in place: one write, then the
/// new length, and a reader never sees it empty.
pub(crate) fn update(path: &Path, block: &str) -> io::Result<()> {
    let old = match fs_err::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => FIRST_LINES.to_owned(),
        Err(error) => return Err(error),
    };
    let new = replace(&old, block);
    if new == old && path.exists() {
        return Ok(());
    }
    let mut file = fs_err::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(new.as_bytes())?;
    file.set_len(new.len() as u64)
}

fn replace(text: &str, block: &str) -> String {
    let begin = text.find(BEGIN);
    let end = text.find(END).map(|at| (at + END.len() + 1).min(text.len()));
    match (begin, end) {
        (Some(begin), Some(end)) if begin < end => format!("{}{block}{}", &text[..begin], &text[end..]),
        _ if text.is_empty() || text.ends_with('\n') => format!("{text}{block}"),
        _ => format!("{text}\n{block}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_replaced_and_other_lines_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        let address = Ipv4Addr::new(10, 77, 0, 2);
        update(&path, &block("demo", [("web-1", address)].into_iter())).unwrap();
        let first = fs_err::read_to_string(&path).unwrap();
        assert!(first.contains("10.77.0.2 web-1 web-1.demo\n") && first.starts_with("127.0.0.1 localhost\n"));
        fs_err::write(&path, format!("{first}10.0.0.9 mine")).unwrap();
        update(&path, &block("demo", std::iter::empty())).unwrap();
        let second = fs_err::read_to_string(&path).unwrap();
        assert!(!second.contains("web-1") && second.ends_with("10.0.0.9 mine"), "{second}");
    }
}
