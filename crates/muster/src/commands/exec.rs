//! `muster exec`: a command on one node or many, and an account of every one.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use muster_api::{ExecExit, ExecRequest, Frame, FrameKind};
use muster_engine::TransportLinks;
use muster_store::NodeRecord;
use muster_transport::{AgentEndpoint, ExecReceiver, ExecSender};
use muster_types::{Candidate, ClusterName, NodeName, NodeSet, NodeSetError, natural_order, split_cluster};
use serde::Serialize;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;

use crate::context::{Context, Opened};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::output::printer::Tone;
use crate::output::{Format, Printer};

/// Output that is kept of each node for `--json`.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// The code of a node that could not be asked, as ssh has it.
const CODE_UNREACHABLE: i32 = 255;
const CODE_TIMED_OUT: i32 = 124;

/// Run a command on nodes, all at once, with an account of every one
///
/// On one node the exit code is the command's own. On several it is 0 when all succeeded, 3 when some did, 1 when none.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  muster exec web-1 -- hostname\n  muster exec 'web-[1-3],@db' -- systemctl is-active app\n  \
                        muster exec '*' --timeout 10s -- cat /etc/hello\n  tar c . | muster exec web-1 -- tar x -C /srv"
)]
pub(crate) struct Args {
    /// Nodes: web-1, web-[1-3,7], @group, '*', with commas between; CLUSTER:NODES for another cluster
    nodes: String,
    /// The command and its words
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<String>,
    /// End the command after this time
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Nodes that are asked at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    fanout: u16,
    /// Run it as this user of the node
    #[arg(short, long)]
    user: Option<String>,
    /// Run it in this folder of the node
    #[arg(long, value_name = "FOLDER")]
    cwd: Option<String>,
}

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    muster_doc::scalar::duration(text).ok_or_else(|| format!("`{text}` is not a time; write 30s, 5m or 1h30m"))
}

/// What became of the command on one node.
#[derive(Debug, Clone, Serialize)]
struct Report {
    node: NodeName,
    code: i32,
    /// Why there is no code of the command itself.
    error: Option<String>,
    stdout: String,
    stderr: String,
    truncated: bool,
    duration_ms: u128,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let (opened, chosen) = select(&args.nodes, context).await?;
    let links = Arc::new(opened.links()?);
    let request = ExecRequest {
        command: args.command.clone(),
        env: std::collections::BTreeMap::new(),
        cwd: args.cwd.clone(),
        user: args.user.clone(),
        tty: None,
    };
    let alone = chosen.len() == 1;
    let width = chosen.iter().map(|node| node.name.as_str().len()).max().unwrap_or(0);
    let limit = Arc::new(Semaphore::new(usize::from(args.fanout)));
    let mut tasks = tokio::task::JoinSet::new();
    for node in chosen {
        let job = Job {
            links: Arc::clone(&links),
            node,
            request: request.clone(),
            timeout: args.timeout,
            show: match context.printer.format {
                Format::Json => Show::Keep,
                Format::JsonLines => Show::Events,
                Format::Text if alone => Show::Raw,
                Format::Text => Show::Lines(width),
            },
            printer: context.printer.clone(),
        };
        let limit = Arc::clone(&limit);
        tasks.spawn(async move {
            // The semaphore is never closed.
            let _permit = limit.acquire().await.ok();
            job.run().await
        });
    }
    let mut reports = Vec::new();
    while let Some(report) = tasks.join_next().await {
        reports.push(report.map_err(anyhow::Error::from)?);
    }
    reports.sort_by(|a, b| natural_order(a.node.as_str(), b.node.as_str()));
    conclude(&reports, context)
}

/// The cluster that is meant and the nodes of it that the expression names.
pub(crate) async fn select(expression: &str, context: &Context) -> Result<(Opened, Vec<NodeRecord>), Failure> {
    let (cluster, expression) = split_cluster(expression).map_err(wrong)?;
    let opened = context.open(cluster.as_ref().map(ClusterName::as_str)).await?;
    let chosen = choose(expression, &opened).await?;
    Ok((opened, chosen))
}

/// The nodes of a cluster that an expression names; at least one.
pub(crate) async fn choose(expression: &str, opened: &Opened) -> Result<Vec<NodeRecord>, Failure> {
    let set = NodeSet::parse(expression).map_err(wrong)?;
    let records = opened.nodes().await?;
    let addresses: Vec<Vec<String>> =
        records.iter().map(|record| record.addresses.iter().map(IpAddr::to_string).collect()).collect();
    let candidates: Vec<_> =
        records.iter().zip(&addresses).map(|(record, addresses)| candidate(record, addresses)).collect();
    let names = set.select_from(&candidates).map_err(|unknown| {
        let there: Vec<NodeName> = records.iter().map(|record| record.name.clone()).collect();
        let hint = format!("nodes of cluster {}: {}", opened.name, muster_types::fold(&there));
        Failure::usage(unknown, hint)
    })?;
    if names.is_empty() {
        return Err(Failure::usage("no node is meant", format!("`muster status {}` lists them", opened.name)));
    }
    let by_name: HashMap<&str, &NodeRecord> = records.iter().map(|record| (record.name.as_str(), record)).collect();
    Ok(names.into_iter().filter_map(|name| by_name.get(name).map(|record| (*record).clone())).collect())
}

/// What expressions may ask of a node.
fn candidate<'a>(record: &'a NodeRecord, addresses: &'a [String]) -> Candidate<'a> {
    let addresses = addresses.iter().map(|address| ("address", address.as_str()));
    Candidate {
        name: record.name.as_str(),
        group: record.group.as_str(),
        attributes: addresses.chain([("phase", record.phase.as_str())]).collect(),
    }
}

pub(crate) fn wrong(error: NodeSetError) -> Failure {
    let hint = error.hint.clone();
    Failure::usage(error, hint)
}

#[derive(Debug, Clone, Copy)]
enum Show {
    /// One node: its output is our output.
    Raw,
    /// Several: each line with the node's name before it.
    Lines(usize),
    /// Kept for the document at the end.
    Keep,
    /// Each line as an event.
    Events,
}

struct Job {
    links: Arc<TransportLinks>,
    node: NodeRecord,
    request: ExecRequest,
    timeout: Option<Duration>,
    show: Show,
    printer: Printer,
}

impl Job {
    async fn run(self) -> Report {
        let started = std::time::Instant::now();
        let mut report = Report {
            node: self.node.name.clone(),
            code: CODE_UNREACHABLE,
            error: None,
            stdout: String::new(),
            stderr: String::new(),
            truncated: false,
            duration_ms: 0,
        };
        let work = self.talk(&mut report);
        let result = match self.timeout {
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                Err((CODE_TIMED_OUT, format!("it did not end within {} s, and was ended", limit.as_secs_f32())))
            }),
            None => work.await,
        };
        match result {
            Ok(exit) => {
                report.code = exit.code;
                report.error = exit.error;
            }
            Err((code, reason)) => {
                report.code = code;
                report.error = Some(reason);
            }
        }
        report.duration_ms = started.elapsed().as_millis();
        report
    }

    async fn talk(&self, report: &mut Report) -> Result<ExecExit, (i32, String)> {
        let unreachable = |reason: String| (CODE_UNREACHABLE, reason);
        let address = self.node.addresses.first().ok_or_else(|| unreachable("it has no address yet".to_owned()))?;
        let endpoint =
            AgentEndpoint { node: self.node.name.clone(), address: (*address, muster_api::AGENT_PORT).into() };
        let client = self.links.clients().node(endpoint);
        let stream = client.exec(&self.request).await.map_err(|error| unreachable(muster_stdx::chain(&error)))?;
        let (sender, mut receiver) = stream.split();
        tokio::select! {
            // Its end is the end of the command.
            result = self.receive(&mut receiver, report) => result,
            // Never ends; what it has read and not sent is of no use once the command has ended.
            never = feed(sender, matches!(self.show, Show::Raw)) => match never {},
        }
    }

    async fn receive(&self, receiver: &mut ExecReceiver, report: &mut Report) -> Result<ExecExit, (i32, String)> {
        let mut out = Lines::default();
        let mut err = Lines::default();
        loop {
            let frame = receiver.recv().await.map_err(|error| (CODE_UNREACHABLE, muster_stdx::chain(&error)))?;
            let Some(frame) = frame else {
                return Err((CODE_UNREACHABLE, "the connection ended before the command did".to_owned()));
            };
            match frame.kind {
                FrameKind::Stdout => self.take(&frame, &mut out, report, false),
                FrameKind::Stderr => self.take(&frame, &mut err, report, true),
                FrameKind::Exit => {
                    self.flush(&mut out, false);
                    self.flush(&mut err, true);
                    let exit = serde_json::from_slice(&frame.payload);
                    return exit.map_err(|error| (CODE_UNREACHABLE, format!("its exit cannot be read: {error}")));
                }
                _ => {}
            }
        }
    }

    fn take(&self, frame: &Frame, lines: &mut Lines, report: &mut Report, error: bool) {
        match self.show {
            Show::Raw if error => self.printer.raw_error(&frame.payload),
            Show::Raw => self.printer.raw(&frame.payload),
            Show::Lines(_) | Show::Events => {
                lines.0.extend_from_slice(&frame.payload);
                while let Some(end) = lines.0.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = lines.0.drain(..=end).collect();
                    self.line(&line[..end], error);
                }
            }
            Show::Keep => {
                let kept = if error { &mut report.stderr } else { &mut report.stdout };
                let text = String::from_utf8_lossy(&frame.payload);
                if kept.len() + text.len() <= KEPT_BYTES_MAX {
                    kept.push_str(&text);
                } else {
                    report.truncated = true;
                }
            }
        }
    }

    /// A last line without an end is a line too.
    fn flush(&self, lines: &mut Lines, error: bool) {
        if !lines.0.is_empty() {
            let line = std::mem::take(&mut lines.0);
            self.line(&line, error);
        }
    }

    fn line(&self, line: &[u8], error: bool) {
        let text = String::from_utf8_lossy(line);
        let width = match self.show {
            Show::Lines(width) => width,
            Show::Events => {
                let (node, stream) = (&self.node.name, if error { "stderr" } else { "stdout" });
                let event = serde_json::json!({"v": 1, "type": "output", "node": node, "stream": stream, "text": text});
                return self.printer.line(&event.to_string());
            }
            Show::Raw | Show::Keep => return,
        };
        let name = format!("{:<width$}", self.node.name.as_str());
        if error {
            self.printer.note(&format!("{}  {text}", self.printer.tone(&name, Tone::Busy)));
        } else {
            self.printer.line(&format!("{}  {text}", self.printer.data_tone(&name, Tone::Busy)));
        }
    }
}

/// The unfinished last line of a stream.
#[derive(Default)]
struct Lines(Vec<u8>);

/// Standard input of the command: ours, or none.
async fn feed(mut sender: ExecSender, ours: bool) -> std::convert::Infallible {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 32 << 10];
    loop {
        let length = if ours { stdin.read(&mut buffer).await.unwrap_or(0) } else { 0 };
        let frame = match length {
            0 => Frame::new(FrameKind::StdinClosed, ""),
            length => Frame::new(FrameKind::Stdin, buffer[..length].to_vec()),
        };
        if sender.send(frame).await.is_err() || length == 0 {
            // Dropping the sender would end the command's connection.
            std::future::pending::<()>().await;
        }
    }
}

fn conclude(reports: &[Report], context: &Context) -> Result<ExitStatus, Failure> {
    let good = reports.iter().filter(|report| report.code == 0).count();
    let status = match reports {
        [one] => ExitStatus(u8::try_from(one.code).unwrap_or(u8::MAX)),
        _ if good == reports.len() => ExitStatus::DONE,
        _ if good > 0 => ExitStatus::PARTLY,
        _ => ExitStatus::FAILED,
    };
    match context.printer.format {
        Format::Json => {
            context.printer.json(&serde_json::json!({ "version": 1, "exit": status.0, "nodes": reports }))?;
            return Ok(status);
        }
        Format::JsonLines => {
            for Report { node, code, error, duration_ms, .. } in reports {
                let event = serde_json::json!({
                    "v": 1, "type": "exit", "node": node, "code": code, "error": error, "duration_ms": duration_ms,
                });
                context.printer.line(&event.to_string());
            }
            return Ok(status);
        }
        Format::Text => {}
    }
    std::io::stdout().flush().ok();
    for report in reports.iter().filter(|report| report.error.is_some() || (report.code != 0 && reports.len() > 1)) {
        let code = format!("exit {}", report.code);
        let why = report.error.as_deref().unwrap_or(&code);
        context.printer.note(&format!("{} {}: {why}", context.printer.tone("error:", Tone::Bad), report.node));
    }
    if reports.len() > 1 && good < reports.len() {
        context.printer.note(&format!("{good} of {} succeeded", reports.len()));
    }
    Ok(status)
}
