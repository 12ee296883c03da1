//! The agent's log, line by line as Serf writes it, for its output, syslog, and whoever monitors it.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

/// Lines that a new monitor is told.
const KEPT_MAX: usize = 512;
/// Lines that wait for one monitor.
const MONITOR_MAX: usize = 512;
/// Of one line: what others send stands in some of them.
const LINE_MAX: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Err,
}

const LEVELS: [(Level, &str); 5] = [
    (Level::Trace, "TRACE"),
    (Level::Debug, "DEBUG"),
    (Level::Info, "INFO"),
    (Level::Warn, "WARN"),
    (Level::Err, "ERR"),
];

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(LEVELS.iter().find(|(level, _)| level == self).map_or("", |(_, name)| name))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Unknown log level: {0}")]
pub struct UnknownLevel(pub String);

/// In any case of letters.
impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        let found = LEVELS.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        found.map(|(level, _)| *level).ok_or_else(|| UnknownLevel(text.to_uppercase()))
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    level: Level,
    output: Box<dyn Write + Send>,
    /// Lines before the banner is out.
    held: Option<Vec<String>>,
    kept: VecDeque<(Level, Arc<str>)>,
    monitors: Vec<(Level, mpsc::Sender<Arc<str>>)>,
    syslog: Option<Syslog>,
}

impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Log")
    }
}

impl Log {
    /// Lines are held back until `release`.
    pub fn new(level: Level, output: Box<dyn Write + Send>) -> Self {
        let (held, kept) = (Some(Vec::new()), VecDeque::new());
        let inner = Inner { level, output, held, kept, monitors: Vec::new(), syslog: None };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_level(&self, level: Level) {
        self.inner().level = level;
    }

    pub(crate) fn set_syslog(&self, syslog: Syslog) {
        self.inner().syslog = Some(syslog);
    }

    /// To people, before and between lines of the log. Nobody can be told that the output is gone.
    pub fn say(&self, text: &str) {
        let mut inner = self.inner();
        inner.output.write_all(format!("{text}\n").as_bytes()).and_then(|()| inner.output.flush()).ok();
    }

    /// From now on lines appear at once.
    pub fn release(&self) {
        let mut inner = self.inner();
        for line in inner.held.take().unwrap_or_default() {
            inner.write(&line);
        }
    }

    pub fn line(&self, level: Level, text: impl Into<String>) {
        let mut text = text.into();
        text.truncate(text.trim_end_matches('\n').len());
        if text.len() > LINE_MAX {
            text.truncate(text.floor_char_boundary(LINE_MAX));
        }
        let line: Arc<str> = format!("{} [{level}] {text}", jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S")).into();
        let mut inner = self.inner();
        if inner.kept.len() >= KEPT_MAX {
            inner.kept.pop_front();
        }
        inner.kept.push_back((level, line.clone()));
        // Who is too slow loses lines, and one who has gone is forgotten.
        inner.monitors.retain(|(least, monitor)| {
            level < *least || !matches!(monitor.try_send(line.clone()), Err(mpsc::error::TrySendError::Closed(_)))
        });
        if level < inner.level {
            return;
        }
        if let Some(syslog) = &inner.syslog {
            syslog.send(level, &text);
        }
        let shown = format!("    {line}");
        match &mut inner.held {
            Some(held) if held.len() < KEPT_MAX => held.push(shown),
            Some(_) => {}
            None => inner.write(&shown),
        }
    }

    /// The last lines, then those that come.
    pub(crate) fn monitor(&self, level: Level) -> mpsc::Receiver<Arc<str>> {
        let (sender, lines) = mpsc::channel(KEPT_MAX + MONITOR_MAX);
        let mut inner = self.inner();
        for (_, line) in inner.kept.iter().filter(|(of, _)| *of >= level) {
            sender.try_send(line.clone()).ok();
        }
        inner.monitors.push((level, sender));
        lines
    }
}

impl Inner {
    fn write(&mut self, line: &str) {
        self.output.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.output.flush()).ok();
    }
}

/// The machine's log.
#[derive(Debug)]
pub(crate) struct Syslog {
    socket: UnixDatagram,
    facility: u8,
}

#[derive(Debug, thiserror::Error)]
pub enum SyslogError {
    #[error("invalid syslog facility: {0}")]
    Facility(String),
    #[error("Unix syslog delivery error: {0}")]
    Connect(std::io::Error),
}

const SYSLOG: &str = "/dev/log";
const FACILITIES: [&str; 12] =
    ["KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP"];
const LOCAL_FIRST: u8 = 16;

impl Syslog {
    pub(crate) fn connect(facility: &str) -> Result<Self, SyslogError> {
        let upper = facility.to_uppercase();
        let local =
            upper.strip_prefix("LOCAL").and_then(|number| number.parse::<u8>().ok()).filter(|number| *number < 8);
        let named = (0..).zip(FACILITIES).find(|(_, name)| *name == upper).map(|(number, _)| number);
        let facility = local.map(|number| number + LOCAL_FIRST).or(named);
        let facility = facility.ok_or_else(|| SyslogError::Facility(upper.clone()))?;
        let socket = UnixDatagram::unbound().map_err(SyslogError::Connect)?;
        socket.set_nonblocking(true).map_err(SyslogError::Connect)?;
        socket.connect(SYSLOG).map_err(SyslogError::Connect)?;
        Ok(Self { socket, facility })
    }

    /// RFC 3164. What syslog does not take is lost; the output has it.
    fn send(&self, level: Level, text: &str) {
        let severity: u8 = match level {
            Level::Err => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        let priority = u32::from(self.facility) * 8 + u32::from(severity);
        let time = jiff::Zoned::now().strftime("%b %e %H:%M:%S").to_string();
        let line = format!("<{priority}>{time} serf[{}]: {text}", std::process::id());
        self.socket.send(line.as_bytes()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_wait_for_the_banner_and_monitors_hear_all_levels() {
        let output = Shared::default();
        let log = Log::new(Level::Info, Box::new(output.clone()));
        log.line(Level::Info, "agent: one");
        log.line(Level::Debug, "agent: two");
        log.say("==> Serf agent running!");
        log.release();
        log.line(Level::Err, "agent: three");
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[0], "==> Serf agent running!");
        assert!(lines[1].starts_with("    20") && lines[1].ends_with(" [INFO] agent: one"), "{text}");
        let mut monitor = log.monitor(Level::Debug);
        let told: Vec<Arc<str>> = std::iter::from_fn(|| monitor.try_recv().ok()).collect();
        assert_eq!(told.len(), 3);
        assert!(told[1].ends_with("[DEBUG] agent: two"));
        assert_eq!("warn".parse::<Level>(), Ok(Level::Warn));
        assert_eq!("foo".parse::<Level>().unwrap_err().to_string(), "Unknown log level: FOO");
    }
}
