//! One try of one check.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use muster_api::CheckKind;
use muster_stdx::chain;
use muster_sys::session::{End, SessionError};
use muster_transport::{UrlError, http_get, resolve_and_connect};
use tokio::net::TcpStream;

use super::command;

const NETWORK_LONGEST: Duration = Duration::from_secs(5);
/// Commands ask databases and queues, which take their time.
const COMMAND_LONGEST: Duration = Duration::from_secs(30);
const TEXT_CHARACTERS_MAX: usize = 200;
/// `getent` ends with this when it knows no such name.
const NAME_NOT_FOUND: i32 = 2;

/// Why a try did not pass, in words.
#[derive(Debug)]
pub(super) enum Miss {
    NotYet(String),
    /// Trying again cannot help.
    Never(String),
}

pub(super) fn longest(kind: &CheckKind) -> Duration {
    match kind {
        CheckKind::Command { .. } => COMMAND_LONGEST,
        CheckKind::Ping | CheckKind::Agent | CheckKind::Port { .. } | CheckKind::Url { .. } => NETWORK_LONGEST,
    }
}

/// What is checked, for people: `port 8080`.
pub(super) fn describe(kind: &CheckKind) -> String {
    match kind {
        CheckKind::Ping => "ping".to_owned(),
        CheckKind::Agent => "agent".to_owned(),
        CheckKind::Port { port } => format!("port {port}"),
        CheckKind::Url { url } => format!("url {}", one_line(url)),
        CheckKind::Command { command } => format!("command {}", one_line(&command.join(" "))),
    }
}

pub(super) async fn attempt(kind: &CheckKind, address: IpAddr) -> Result<(), Miss> {
    match kind {
        CheckKind::Ping | CheckKind::Agent => Ok(()),
        CheckKind::Port { port } => match TcpStream::connect(SocketAddr::new(address, *port)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Miss::NotYet(in_words(&error))),
        },
        CheckKind::Url { url } => ask(url).await,
        CheckKind::Command { command } => execute(command).await,
    }
}

async fn ask(url: &str) -> Result<(), Miss> {
    match http_get(url, connect).await {
        Ok(200..=399) => Ok(()),
        Ok(status) => Err(Miss::NotYet(format!("it answers with status {status}"))),
        Err(error @ UrlError::Url) => Err(Miss::Never(error.to_string())),
        Err(UrlError::Connect { source, .. }) => Err(Miss::NotYet(in_words(&source))),
        Err(error) => Err(Miss::NotYet(one_line(&chain(&error)))),
    }
}

/// Names are looked up by the node's own `getent`, which has the node's own libc and modules: the look-up inside this
/// static program could load those of another libc, and holds a thread that no time limit ends.
async fn connect(host: String, port: u16) -> io::Result<TcpStream> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return TcpStream::connect((address, port)).await;
    }
    if host.starts_with('-') {
        // It would be an option of the look-up, and is no name.
        return Err(io::Error::other(format!("`{host}` is not a host name")));
    }
    let words = ["getent", "ahosts", &host].map(str::to_owned);
    let ran = match command::run(&words).await {
        // Images without it are small ones, where there is nothing to load either.
        Err(SessionError::Program(error)) if error.kind() == io::ErrorKind::NotFound => {
            return resolve_and_connect(host, port).await;
        }
        Err(error) => return Err(io::Error::other(chain(&error))),
        Ok(ran) => ran,
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for line in String::from_utf8_lossy(&ran.output).lines() {
        let address = line.split_whitespace().next().and_then(|word| word.parse().ok());
        // It lists each address once for each kind of socket.
        addresses.extend(address.filter(|address| !addresses.contains(address)));
    }
    let targets: Vec<SocketAddr> = addresses.into_iter().map(|address| (address, port).into()).collect();
    match ran.end {
        End::Code(0) if !targets.is_empty() => TcpStream::connect(&targets[..]).await,
        End::Code(0 | NAME_NOT_FOUND) => Err(io::Error::other(format!("no address is known for the name `{host}`"))),
        end => Err(io::Error::other(format!("looking up the name `{host}` failed: getent {}", ended(end)))),
    }
}

/// One word is a line for the shell, several are a program and its arguments.
async fn execute(words: &[String]) -> Result<(), Miss> {
    let shell;
    let words = match words {
        [] => return Err(Miss::Never("no command was given".to_owned())),
        [line] => {
            shell = ["/bin/sh", "-c", line].map(str::to_owned);
            &shell[..]
        }
        words => words,
    };
    let ran = command::run(words).await.map_err(|error| Miss::NotYet(one_line(&chain(&error))))?;
    if ran.end == End::Code(0) {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&ran.output);
    let last = output.lines().rev().map(one_line).find(|line| !line.is_empty());
    Err(Miss::NotYet(last.unwrap_or_else(|| format!("it {}", ended(ran.end)))))
}

fn ended(end: End) -> String {
    match end {
        End::Code(code) => format!("ended with code {code}"),
        End::Signal(signal) => format!("was ended by signal {signal}"),
    }
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        _ => one_line(&error.to_string()),
    }
}

/// Fit for a terminal's line, whatever a program printed.
fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let clean = clean.trim();
    match clean.char_indices().nth(TEXT_CHARACTERS_MAX) {
        None => clean.to_owned(),
        Some((end, _)) => format!("{}…", &clean[..end]),
    }
}
