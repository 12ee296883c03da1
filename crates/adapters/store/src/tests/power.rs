//! The power goes while the state is written: whatever of the writes since the last flush reached the disk, in whatever
//! order and torn at whatever sector, what was told to be there is there.
//!
//! A process of this test writes under `strace`; its writes and flushes are replayed into images of the disk as a loss of
//! power could leave it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use muster_store::{NodeRecord, Store as _};
use muster_testkit::{count, figure, skipped};
use muster_types::ClientToken;

use super::{Place, demo, intent, lease, node};
use crate::SqliteStore;

const CHILD: &str = "MUSTER_STORE_TEST_POWER";
/// Where this test can be found by its own binary.
const TEST: &str = "tests::power::a_loss_of_power_keeps_what_was_told";
/// What a disk writes whole.
const SECTOR: usize = 512;
/// Nodes that the child writes, with an intent before each.
const WRITES: u32 = 12;

/// What the child did to a file, in order.
#[derive(Debug, Clone)]
enum Event {
    Write {
        file: String,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: String,
        length: usize,
    },
    Flush {
        file: String,
    },
    FlushFolder,
    Remove {
        file: String,
    },
    /// It told that this node's write, and all before it, are on disk.
    Told(u32),
}

/// Writes nodes one after the other, and tells of each when it is told to be on disk.
async fn write_nodes(path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    let under = lease(&store).await.generation;
    tell(0);
    for index in 1..=WRITES {
        let id = format!("{index}-1");
        store.begin(&intent(&id, index), under).await.unwrap();
        let record = NodeRecord { reason: "x".repeat(700 * index as usize % 5000), ..node(index) };
        store.finish(&demo(), &ClientToken::new(id), Some(&record), under).await.unwrap();
        tell(index);
    }
}

/// A write that `strace` sees and that goes nowhere else.
fn tell(index: u32) {
    fs_err::write("/dev/null", format!("told {index}")).unwrap();
}

fn trace(place: &Place) -> Vec<Event> {
    let log = place.folder.path().join("trace");
    let traced = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-xx",
            "-s",
            "200000",
            "-e",
            "trace=pwrite64,write,ftruncate,fsync,fdatasync,unlink,unlinkat",
        ])
        .arg("-o")
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args([TEST, "--exact", "--nocapture"])
        .env(CHILD, place.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(traced.unwrap().success(), "the child writes its nodes");
    let text = fs_err::read_to_string(log).unwrap();
    text.lines().filter_map(|line| parse(line, &place.path())).collect()
}

/// `123 pwrite64(5</path>, "\x00"..., 32, 0) = 32`. Threads take turns in the file, so no call is cut in two by another.
fn parse(line: &str, database: &Path) -> Option<Event> {
    let (_, call) = line.split_once(' ')?;
    let (name, rest) = call.trim_start().split_once('(')?;
    let ours = |path: &str| {
        let path = PathBuf::from(String::from_utf8(unescape(path)).unwrap_or_default());
        let file = path.file_name()?.to_str()?.to_owned();
        // The shared memory beside it is made anew after a crash.
        (path.parent() == database.parent() && !file.ends_with("-shm")).then_some(file)
    };
    let path = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path);
    match name {
        "write" => {
            let (_, data) = rest.split_once('"')?;
            let text = String::from_utf8(unescape(data.split_once('"')?.0)).ok()?;
            Some(Event::Told(text.strip_prefix("told ")?.parse().ok()?))
        }
        "pwrite64" => {
            let file = ours(path?)?;
            let (_, data) = rest.split_once(", \"")?;
            let (data, numbers) = data.split_once('"')?;
            let offset = numbers.split(", ").nth(2)?.split(')').next()?.parse().ok()?;
            Some(Event::Write { file, offset, bytes: unescape(data) })
        }
        "ftruncate" => {
            let length = rest.split(", ").nth(1)?.split(')').next()?.parse().ok()?;
            Some(Event::Truncate { file: ours(path?)?, length })
        }
        "fsync" | "fdatasync" if PathBuf::from(String::from_utf8(unescape(path?)).ok()?) == database.parent()? => {
            Some(Event::FlushFolder)
        }
        "fsync" | "fdatasync" => Some(Event::Flush { file: ours(path?)? }),
        "unlink" | "unlinkat" => {
            let (_, data) = rest.split_once('"')?;
            Some(Event::Remove { file: ours(data.split_once('"')?.0)? })
        }
        _ => None,
    }
}

/// `\x41\x42`
fn unescape(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).map(|byte| u8::from_str_radix(byte.get(..2).unwrap_or("00"), 16).unwrap_or(0)).collect()
}

/// The same seed gives the same disk.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

type Files = BTreeMap<String, Vec<u8>>;

fn apply(files: &mut Files, event: &Event) {
    match event {
        Event::Write { file, offset, bytes } => {
            let content = files.entry(file.clone()).or_default();
            let end = offset + bytes.len();
            content.resize(content.len().max(end), 0);
            content[*offset..end].copy_from_slice(bytes);
        }
        Event::Truncate { file, length } => files.entry(file.clone()).or_default().resize(*length, 0),
        Event::Remove { file } => drop(files.remove(file)),
        Event::Flush { .. } | Event::FlushFolder | Event::Told(_) => {}
    }
}

/// What of a write reached the disk: all, nothing, or some of its sectors.
fn tear(event: &Event, dice: &mut Dice) -> Vec<Event> {
    let Event::Write { file, offset, bytes } = event else { return vec![event.clone()] };
    match dice.roll(3) {
        0 => Vec::new(),
        1 => vec![event.clone()],
        _ => {
            let mut parts = Vec::new();
            let mut at = 0;
            while at < bytes.len() {
                let end = bytes.len().min(at + SECTOR - (offset + at) % SECTOR);
                if dice.roll(2) == 0 {
                    let bytes = bytes[at..end].to_vec();
                    parts.push(Event::Write { file: file.clone(), offset: offset + at, bytes });
                }
                at = end;
            }
            parts
        }
    }
}

/// The disk after the first `until` events: what was flushed is there, the rest came in any order, torn, or not at all.
/// Also the last node that was told.
fn disk_after(events: &[Event], until: usize, dice: &mut Dice) -> (Files, Option<u32>) {
    let mut files = Files::new();
    let mut pending: Vec<&Event> = Vec::new();
    let mut told = None;
    for event in &events[..until] {
        match event {
            Event::Told(index) => told = Some(*index),
            Event::Flush { .. } | Event::FlushFolder => {
                let of = |pending: &&Event| match (pending, event) {
                    (Event::Write { file, .. } | Event::Truncate { file, .. }, Event::Flush { file: flushed }) => {
                        file == flushed
                    }
                    (Event::Remove { .. }, Event::FlushFolder) => true,
                    _ => false,
                };
                for event in pending.iter().filter(|event| of(event)) {
                    apply(&mut files, event);
                }
                pending.retain(|event| !of(event));
            }
            other => pending.push(other),
        }
    }
    // Later writes may reach the disk before earlier ones, or without them.
    while !pending.is_empty() {
        let event = pending.remove(dice.roll(pending.len()));
        for part in tear(event, dice) {
            apply(&mut files, &part);
        }
    }
    (files, told)
}

async fn assert_whole(files: &Files, (told, words): (Option<u32>, &str)) {
    let place = Place::new();
    let folder = place.path().parent().unwrap().to_owned();
    fs_err::create_dir_all(&folder).unwrap();
    for (name, content) in files {
        fs_err::write(folder.join(name), content).unwrap();
    }
    let Some(told) = told else { return };
    let store = place.open();
    let nodes = store.nodes(&demo()).await.unwrap();
    let there: Vec<u32> = nodes.iter().filter_map(|node| node.name.index()).collect();
    for index in 1..=told {
        assert!(there.contains(&index), "{words}: node {index} was told to be there, and there are {there:?}");
    }
    // Beyond what was told there may be the next one, whole, or its intent.
    assert!(nodes.len() <= told as usize + 1, "{words}: {there:?}");
    for node in &nodes {
        assert_eq!(node.reason.len(), 700 * node.name.index().unwrap() as usize % 5000, "{words}");
    }
    let open = store.open_intents(&demo()).await.unwrap();
    assert!(open.len() <= 1 && (open.is_empty() || nodes.len() == told as usize), "{words}: {open:?}");
    let mine = lease(&store).await;
    store.put_node(&node(99), mine.generation).await.unwrap();
}

#[tokio::test]
async fn a_loss_of_power_keeps_what_was_told() {
    if let Some(path) = std::env::var_os(CHILD) {
        return write_nodes(Path::new(&path)).await;
    }
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return skipped("strace is not installed; `cargo xtask setup` installs it");
    }
    let events = trace(&Place::new());
    let last = events.iter().rev().find_map(|event| if let Event::Told(index) = event { Some(*index) } else { None });
    assert_eq!(last, Some(WRITES), "the trace is whole: {} events", events.len());
    assert!(events.iter().filter(|event| matches!(event, Event::Flush { .. })).count() >= WRITES as usize);
    let disks: u64 = count(200, 20_000);
    for seed in 1..=disks {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let until = dice.roll(events.len() + 1);
        let (files, told) = disk_after(&events, until, &mut dice);
        assert_whole(&files, (told, &format!("disk {seed}, after {until} of {} events", events.len()))).await;
    }
    figure("power-cuts", disks);
}
