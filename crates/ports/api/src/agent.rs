//! Requests and answers of the agent's API. Streams are one JSON document a line.

use std::collections::BTreeMap;
use std::fmt;

use muster_types::{ClusterName, Generation, NodeName, Redacted, Timestamp};
use serde::{Deserialize, Serialize};

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    pub code: String,
    pub message: String,
    #[serde(default)]
    pub hint: String,
}

/// `GET /v1/status`; with `?drift=true` the node also compares what was configured with what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    pub version: String,
    pub cluster: ClusterName,
    pub node: NodeName,
    /// New with every start of the machine.
    pub boot_id: String,
    pub booted_at: Timestamp,
    pub enrolled: bool,
    pub certificate_not_after: Option<Timestamp>,
    /// The newest generation whose orders this node took.
    pub generation: Generation,
    pub config: Option<ConfigState>,
    /// Uses of the enrolment token after the first.
    pub token_reuses: u32,
    #[serde(default)]
    pub facts: NodeFacts,
    /// Steps of a finished configuration whose result is not there any more, such as `write_files[/etc/motd]`. Empty
    /// where nobody asked.
    #[serde(default)]
    pub drifted: Vec<String>,
}

/// What a node says of itself: what it may use, not what the hardware under it has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeFacts {
    pub cpus: u32,
    pub memory_bytes: u64,
    /// As `uname -m` says: `x86_64`.
    pub architecture: String,
    pub kernel: String,
    /// `ID` and `VERSION_ID` of os-release: `debian 12`.
    pub os: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfigPhase {
    Applying,
    Done,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigState {
    /// SHA-256 of the document, lower-case hex.
    pub hash: String,
    pub phase: ConfigPhase,
    pub steps: Vec<StepState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepOutcome {
    Pending,
    Running,
    /// It was done and may have changed something.
    Done,
    /// An earlier run had done just this.
    Unchanged,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepState {
    /// `runcmd[2]`, `write_files[/etc/motd]`: unique within a document.
    pub id: String,
    pub hash: String,
    pub outcome: StepOutcome,
    /// Exit code of a command that failed.
    pub exit_code: Option<i32>,
    pub duration_ms: Option<u64>,
    /// Why it failed.
    pub detail: Option<String>,
}

/// `GET /v1/enrol`, asked with an operator certificate while the node shows a certificate of its own making.
/// `proof` binds the key seen in the handshake to the user-data: HMAC-SHA-256 with the 32 bytes of `token_sha256` as
/// key, over the DER of the certificate that the node showed; lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolOffer {
    pub node: NodeName,
    /// Certificate signing request, PEM.
    pub csr: String,
    pub proof: String,
}

/// `POST /v1/enrol`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnrolRequest {
    pub token: Redacted<String>,
    /// The certificate that the owner signed, PEM.
    pub certificate: String,
}

/// `GET /v1/renew`: a request for a fresh certificate, with a fresh key that the node keeps until it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewOffer {
    pub csr: String,
}

/// `POST /v1/renew`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRequest {
    pub certificate: String,
}

/// `POST /v1/config`: apply a cloud-config document. Answers with a stream of `ApplyEvent`. The same document again,
/// while it is applied, joins the stream from its start. A lower generation than the newest is refused (409).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyRequest {
    pub generation: Generation,
    pub hash: String,
    pub document: String,
}

impl fmt::Debug for ApplyRequest {
    /// Documents hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplyRequest")
            .field("generation", &self.generation)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ApplyEvent {
    Warning {
        message: String,
    },
    Started {
        step: String,
        index: usize,
        total: usize,
    },
    Output {
        step: String,
        stream: LogStream,
        text: String,
    },
    Done {
        step: String,
        outcome: StepOutcome,
        duration_ms: u64,
    },
    Failed {
        step: String,
        exit_code: Option<i32>,
        message: String,
        /// The last lines of its output.
        log: Vec<String>,
    },
    /// The last of a stream. `changed` counts the steps that were run.
    Finished {
        hash: String,
        phase: ConfigPhase,
        changed: usize,
        total: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// `GET /v1/logs?lines=N&step=ID&follow=true`: a stream of what the configuration steps printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub at: Timestamp,
    pub step: String,
    pub stream: LogStream,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum CheckKind {
    /// An ICMP echo to the node's address, asked by the owner.
    Ping,
    /// The agent answers, asked by the owner.
    Agent,
    /// A TCP connection to the node's own address.
    Port { port: u16 },
    /// A GET that answers 2xx or 3xx.
    Url { url: String },
    /// A command that exits 0.
    Command { command: Vec<String> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    #[serde(flatten)]
    pub kind: CheckKind,
    /// How long it may go on failing before the node has failed.
    pub timeout_ms: u64,
}

/// `POST /v1/checks` takes `Vec<Check>` and answers with a stream of these; it ends when every check has passed or
/// one has failed for good. A check is tried again when it fails, with growing pauses, until its time is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckEvent {
    pub index: usize,
    /// What is checked, for people: `port 8080`.
    pub check: String,
    pub state: CheckState,
    /// Why it does not pass yet, or did not: `connection refused`. Does not repeat what is checked.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    Waiting,
    Passed,
    Failed,
}

/// The first frame after the upgrade of `POST /v1/exec` (`Upgrade: muster-exec`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    pub command: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    pub cwd: Option<String>,
    pub user: Option<String>,
    /// With a terminal of this size; without one, three pipes.
    pub tty: Option<WindowSize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    pub columns: u16,
    pub rows: u16,
}

/// The last frame of an exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecExit {
    /// The exit code; 128 + n for an end by signal n; 127 when the command is not there, 126 when it cannot be run.
    pub code: i32,
    /// Why it could not be started.
    pub error: Option<String>,
}
