//! Serf's commands and their flags.

use super::agent::AGENT;
use super::flags::{Flag, Kind};
use super::{Stop, Terminal, info};

pub(crate) struct Command {
    pub(crate) name: &'static str,
    pub(crate) synopsis: &'static str,
    /// What follows the name in the help.
    pub(crate) usage: &'static str,
    pub(crate) about: &'static str,
    pub(crate) own_flags: &'static [Flag],
    pub(crate) action: Action,
}

pub(crate) enum Action {
    /// Neither flags nor an agent.
    Plain(fn(&mut Terminal<'_>) -> Result<(), Stop>),
    /// One request.
    Asking,
    /// Becomes an agent.
    Agent,
    /// Goes on until it is interrupted, and says itself how it ends then.
    Watching,
}

impl Command {
    pub(crate) fn flags(&self) -> impl Iterator<Item = &'static Flag> {
        let asks = matches!(self.action, Action::Asking | Action::Watching);
        self.own_flags.iter().chain(asks.then_some(&RPC_FLAGS).into_iter().flatten())
    }
}

pub(crate) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.into_iter().find(|command| command.name == name)
}

pub(super) const fn flag(name: &'static str, kind: Kind, value: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, value, help }
}

static RPC_FLAGS: [Flag; 2] = [
    flag("rpc-addr", Kind::Text, "=127.0.0.1:7373", "Where the agent's RPC is: host:port, or the path of a socket."),
    flag("rpc-auth", Kind::Text, "=\"\"", "The agent's rpc_auth."),
];

const FORMAT: Flag = flag("format", Kind::Text, "=text", "text or json.");

/// In the order of the help.
pub(crate) static COMMANDS: [&Command; 15] = [
    &AGENT,
    &Command {
        name: "event",
        synopsis: "Send a custom event through the Serf cluster",
        usage: "[options] name [payload]",
        about: "Sends an event to all members, whose handlers for it run.",
        own_flags: &[flag(
            "coalesce",
            Kind::Bool,
            "=true",
            "Of several such events in a short time handlers see the last one only.",
        )],
        action: Action::Asking,
    },
    &Command {
        name: "force-leave",
        synopsis: "Forces a member of the cluster to enter the \"left\" state",
        usage: "[options] name",
        about: "Tells the cluster that a failed member has left and will not come back. One that is alive joins again.",
        own_flags: &[flag("prune", Kind::Bool, "", "Take the member out of the list at once.")],
        action: Action::Asking,
    },
    &Command {
        name: "info",
        synopsis: "Provides debugging information for operators",
        usage: "[options]",
        about: "Shows figures of an agent.",
        own_flags: &[FORMAT],
        action: Action::Asking,
    },
    &Command {
        name: "join",
        synopsis: "Tell Serf agent to join cluster",
        usage: "[options] address ...",
        about: "Tells an agent to join the cluster of these members; one that answers is enough.",
        own_flags: &[flag("replay", Kind::Bool, "", "Handle events that were sent before the join.")],
        action: Action::Asking,
    },
    &Command {
        name: "keygen",
        synopsis: "Generates a new encryption key",
        usage: "",
        about: "Prints a new key for `agent -encrypt`, for a file of keys, or for `keys -install`.",
        own_flags: &[],
        action: Action::Plain(info::keygen),
    },
    &Command {
        name: "keys",
        synopsis: "Manipulate the internal encryption keyring used by Serf",
        usage: "[options]...",
        about: "Changes the keys of all members. To rotate: install the new key, use it, remove the old one. Exits with 1 \
                unless every member answers and agrees.",
        own_flags: &[
            flag("install", Kind::Text, "=<key>", "Add a key, for reading only."),
            flag("use", Kind::Text, "=<key>", "Encrypt with this key, which every member must have."),
            flag("remove", Kind::Text, "=<key>", "Remove a key; the one that is used cannot be."),
            flag("list", Kind::Bool, "", "Show the keys, and how many members have each."),
        ],
        action: Action::Asking,
    },
    &Command {
        name: "leave",
        synopsis: "Gracefully leaves the Serf cluster and shuts down",
        usage: "[options]",
        about: "Tells an agent to leave the cluster and to end.",
        own_flags: &[],
        action: Action::Asking,
    },
    &Command {
        name: "members",
        synopsis: "Lists the members of a Serf cluster",
        usage: "[options]",
        about: "Lists members: name, address, status, tags. Regular expressions must match the whole of a value.",
        own_flags: &[
            flag("detailed", Kind::Bool, "", "Show versions of the protocol, too (in text)."),
            FORMAT,
            flag("name", Kind::Text, "=<regexp>", "Members with such a name."),
            flag("role", Kind::Text, "=<regexp>", "Deprecated: use -tag role=<regexp>."),
            flag("status", Kind::Text, "=<regexp>", "Members with such a status: alive, leaving, left, failed."),
            flag("tag", Kind::List, " <key>=<regexp>", "Members with such a tag; may be given several times."),
        ],
        action: Action::Asking,
    },
    &Command {
        name: "monitor",
        synopsis: "Stream logs from a Serf agent",
        usage: "[options]",
        about: "Shows an agent's log and events as they come, whatever its own level is.",
        own_flags: &[flag("log-level", Kind::Text, "=info", "trace, debug, info, warn or err.")],
        action: Action::Watching,
    },
    &Command {
        name: "query",
        synopsis: "Send a query to the Serf cluster",
        usage: "[options] name [payload]",
        about: "Asks members; what their handlers print are the responses.",
        own_flags: &[
            FORMAT,
            flag("node", Kind::List, "=NAME", "Ask this member only; may be given several times."),
            flag("tag", Kind::List, " <key>=<regexp>", "Ask members with such a tag; may be given several times."),
            flag("timeout", Kind::Duration, "=15s", "How long answers are waited for."),
            flag("no-ack", Kind::Bool, "", "Members need not say that the query has reached them."),
            flag("relay-factor", Kind::Integer, "=0", "Send answers through this number of other members, too."),
        ],
        action: Action::Watching,
    },
    &Command {
        name: "reachability",
        synopsis: "Test network reachability",
        usage: "[options]",
        about: "Asks every member for a sign, and says who gave none.",
        own_flags: &[flag("verbose", Kind::Bool, "", "Show each sign, and times.")],
        action: Action::Watching,
    },
    &Command {
        name: "rtt",
        synopsis: "Estimates network round trip time between nodes",
        usage: "[options] node1 [node2]",
        about: "Estimates how long a packet takes between two members and back; the second is the agent's own if it is \
                not given.",
        own_flags: &[],
        action: Action::Asking,
    },
    &Command {
        name: "tags",
        synopsis: "Modify tags of a running Serf agent",
        usage: "[options] ...",
        about: "Changes tags of an agent's member.",
        own_flags: &[
            flag("set", Kind::List, " key=value", "Set a tag; may be given several times."),
            flag("delete", Kind::List, " key", "Remove a tag; may be given several times."),
        ],
        action: Action::Asking,
    },
    &Command {
        name: "version",
        synopsis: "Prints the Serf version",
        usage: "",
        about: "",
        own_flags: &[],
        action: Action::Plain(info::version),
    },
];
