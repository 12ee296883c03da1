//! Probes that the owner sends itself: to the node's first address, one after the other, all in one round.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use muster_api::{Check, CheckKind, CheckState};
use muster_provider::Dialer;
use muster_stdx::{Backoff, chain};
use muster_transport::{http_head, resolve_and_connect};
use muster_types::Phase;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::compile::Outside;
use crate::fault::{Fault, Stop};
use crate::link::AgentLink;
use crate::node::NodeRun;

/// Something that starts is seen soon; something that takes minutes is not asked more often than each second.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);
const PING_LONGEST: Duration = Duration::from_secs(1);
const PORT_LONGEST: Duration = Duration::from_secs(5);
const URL_LONGEST: Duration = Duration::from_secs(10);

enum Probe<'a> {
    Ping,
    Port(u16),
    Url(&'a str),
}

/// The first of a round that failed.
struct Missed {
    probe: String,
    /// What the agent can be asked about it.
    seen_from_node: Option<CheckKind>,
    reason: String,
}

impl NodeRun<'_> {
    /// Returns once all of them pass in one round. Time is counted from the first failure on.
    pub(crate) async fn check_outside(&mut self, link: &Arc<dyn AgentLink>, outside: &Outside) -> Result<(), Stop> {
        if !outside.ping && outside.ports.is_empty() && outside.urls.is_empty() {
            return Ok(());
        }
        let Some(address) = self.record.addresses.first().copied() else {
            return Err(Fault::new("it has no address", "check the network settings of the provider").into());
        };
        let dialer = self.run.config.provider.dialer();
        let target = Target { name: self.name().as_str(), address, dialer: dialer.as_ref() };
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_LONGEST);
        let mut deadline: Option<Instant> = None;
        let mut told = String::new();
        loop {
            self.run.hold.check()?;
            let Some(missed) = target.round(outside).await else { return Ok(()) };
            let until = *deadline.get_or_insert_with(|| Instant::now() + outside.timeout);
            // There is a last look when time is up.
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.gave_up(missed, link, outside.timeout).await.into());
            }
            let words = format!("{}: {}", missed.probe, missed.reason);
            if told != words {
                self.enter(Phase::Checking, &words).await;
                told = words;
            }
            tokio::time::sleep(backoff.pause().min(left)).await;
        }
    }

    /// The agent is the second witness: it tells a service that is not there from a network that is not.
    async fn gave_up(&self, missed: Missed, link: &Arc<dyn AgentLink>, limit: Duration) -> Fault {
        let Missed { probe, seen_from_node, reason } = missed;
        let witness = match seen_from_node {
            Some(kind) => timeout(self.run.config.limits.ask, ask(link, kind)).await.ok().flatten(),
            None => None,
        };
        let seen = match witness {
            Some(Ok(())) => "; seen from the node itself it passes".to_owned(),
            Some(Err(reason)) => format!("; seen from the node itself: {reason}"),
            None => String::new(),
        };
        let text = format!("check {probe} did not pass from here within {} s: {reason}{seen}", limit.as_secs_f32());
        let hint = "see what the node runs with `muster exec`, or give it more time with `timeout` of its health check";
        Fault { step: Some(format!("check {probe}")), ..Fault::new(text, hint) }
    }
}

/// One look by the agent: whether it passes, or why not. None: it cannot be asked.
async fn ask(link: &Arc<dyn AgentLink>, kind: CheckKind) -> Option<Result<(), String>> {
    let mut events = link.checks(&[Check { kind, timeout_ms: 0 }]).await.ok()?;
    while let Some(Ok(event)) = events.next().await {
        match event.state {
            CheckState::Passed => return Some(Ok(())),
            CheckState::Failed => return Some(Err(event.reason.unwrap_or_default())),
            CheckState::Waiting => {}
        }
    }
    None
}

struct Target<'a> {
    name: &'a str,
    address: IpAddr,
    dialer: &'a dyn Dialer,
}

impl Target<'_> {
    /// None when all pass.
    async fn round(&self, outside: &Outside) -> Option<Missed> {
        let ping = outside.ping.then_some(Probe::Ping);
        let ports = outside.ports.iter().map(|port| Probe::Port(*port));
        let urls = outside.urls.iter().map(|url| Probe::Url(url));
        for probe in ping.into_iter().chain(ports).chain(urls) {
            let Err(reason) = self.probe(&probe).await else { continue };
            let (probe, seen_from_node) = match probe {
                Probe::Ping => ("ping".to_owned(), None),
                Probe::Port(port) => (format!("port {port}"), Some(CheckKind::Port { port })),
                Probe::Url(url) => (format!("url {url}"), Some(CheckKind::Url { url: url.to_owned() })),
            };
            return Some(Missed { probe, seen_from_node, reason });
        }
        None
    }

    async fn probe(&self, probe: &Probe<'_>) -> Result<(), String> {
        let limit = match probe {
            Probe::Ping => PING_LONGEST,
            Probe::Port(_) => PORT_LONGEST,
            Probe::Url(_) => URL_LONGEST,
        };
        let tried = async {
            match probe {
                Probe::Ping => self.dialer.ping(self.address).await.map_err(|error| in_words(&error)),
                Probe::Port(port) => {
                    let connected = self.dialer.connect((self.address, *port).into()).await;
                    connected.map(drop).map_err(|error| in_words(&error))
                }
                Probe::Url(url) => match http_head(url, |host, port| self.connect(host, port)).await {
                    Ok(200..=299) => Ok(()),
                    Ok(status) => Err(format!("it answers with status {status}")),
                    Err(error) => Err(chain(&error)),
                },
            }
        };
        timeout(limit, Box::pin(tried)).await.unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs())))
    }

    /// Nodes are where the provider's network is; other names mean what they mean on this machine.
    async fn connect(&self, host: String, port: u16) -> io::Result<TcpStream> {
        let address = if host == self.name { Some(self.address) } else { host.parse().ok() };
        match address {
            Some(address) => self.dialer.connect((address, port).into()).await,
            None => resolve_and_connect(host, port).await,
        }
    }
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        _ => error.to_string(),
    }
}
