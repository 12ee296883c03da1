//! `agent`: flags become a configuration, on top of what files say.

use std::path::PathBuf;
use std::time::Duration;

use muster_types::Redacted;

use super::flags::{self, Flag, Flags, Kind};
use super::table::{Action, Command, flag};
use super::{Stop, Terminal};
use crate::agent::{self, Config, Signals};

pub(super) static AGENT: Command = Command {
    name: "agent",
    synopsis: "Runs a Serf agent",
    usage: "[options]",
    about: "Runs an agent, a member of a cluster, until it is told to leave. Flags come on top of configuration files, whose \
            keys have other names: see the guide.",
    own_flags: &FLAGS,
    action: Action::Agent,
};

static FLAGS: [Flag; 37] = [
    flag("bind", Kind::Text, "=0.0.0.0:7946", "Where it listens for members, by TCP and UDP."),
    flag("advertise", Kind::Text, "=0.0.0.0", "The address that members are told, if it is another one."),
    flag("iface", Kind::Text, "=eth0", "Bind to this interface's address."),
    flag("config-file", Kind::List, "=FILE", "Configuration as JSON; may be given several times."),
    flag("config-dir", Kind::List, "=FOLDER", "A folder of such files, *.json, in the order of their names."),
    flag("encrypt", Kind::Text, "=KEY", "The key of the cluster, as `keygen` prints one."),
    flag("keyring-file", Kind::Text, "=FILE", "Keys of the cluster, as a JSON array; changed by `keys`."),
    flag(
        "event-handler",
        Kind::List,
        "=FILTER=SCRIPT",
        "What runs when something happens; may be given several times.",
    ),
    flag("event-handler-timeout", Kind::Text, "=10m", "Not Serf's: what runs longer is ended."),
    flag("join", Kind::List, "=ADDRESS", "Join this member at the start, or end; may be given several times."),
    flag("replay", Kind::Bool, "", "Handle events of before the join."),
    flag("retry-join", Kind::List, "=ADDRESS", "Join this member, and try again until it is there."),
    flag("retry-interval", Kind::Text, "=30s", "How long to wait before trying again."),
    flag("retry-max", Kind::Integer, "=0", "How often to try before giving up; 0 is for ever."),
    flag("rejoin", Kind::Bool, "", "Join again after a leave, with what the snapshot knows."),
    flag("snapshot", Kind::Text, "=FILE", "Remembers members and times over restarts."),
    flag("log-level", Kind::Text, "=info", "trace, debug, info, warn or err."),
    flag("syslog", Kind::Bool, "", "Log to syslog, too."),
    flag("node", Kind::Text, "=NAME", "The name, unique in the cluster; the host's name otherwise."),
    flag("profile", Kind::Text, "=lan", "Times for a lan, a wan, or local."),
    flag("protocol", Kind::Integer, "=5", "The version of the protocol to speak."),
    flag("role", Kind::Text, "=ROLE", "Deprecated: use -tag role=ROLE."),
    flag("tag", Kind::List, " key=value", "A tag; may be given several times."),
    flag("tags-file", Kind::Text, "=FILE", "Remembers tags; not together with -tag."),
    flag("rpc-addr", Kind::Text, "=127.0.0.1:7373", "Where it listens for commands."),
    flag("rpc-socket", Kind::Text, "=PATH", "Not Serf's: a Unix socket for commands, too."),
    flag("metrics-addr", Kind::Text, "=ADDRESS", "Not Serf's: where Prometheus fetches figures."),
    flag("discover", Kind::Text, "=CLUSTER", "Find members of this cluster by mDNS."),
    flag("mdns-iface", Kind::Text, "=eth0", "The interface for mDNS."),
    flag("mdns-disable-ipv4", Kind::Bool, "", "No mDNS on IPv4."),
    flag("mdns-disable-ipv6", Kind::Bool, "", "No mDNS on IPv6."),
    flag("disable-compression", Kind::Bool, "", "Send messages as they are."),
    flag("broadcast-timeout", Kind::Text, "=5s", "How long members are told of a leave."),
    flag("coalesce-period", Kind::Text, "=3s", "Not Serf's: events are held back no longer; 0 holds back none."),
    flag("coalesce-quiet", Kind::Text, "=1s", "Not Serf's: after so long without another they are told."),
    flag("leave-on-terminate", Kind::Bool, "", "Not Serf's: SIGTERM is a leave, as with the key of a file."),
    flag("rpc-auth", Kind::Text, "=KEY", "Not Serf's: commands must show this; better in a file."),
];

/// Runs an agent to its end.
pub(super) async fn run(flags: &Flags, program: &str, terminal: &mut Terminal<'_>) -> Result<(), Stop> {
    if !flags.words.is_empty() {
        // Serf runs, and without what follows the word.
        terminal
            .error_line(&format!("hint: flags after `{}` are not read: a flag's name has a dash", flags.words[0]))?;
        terminal.error_line(&format!("hint: {program} agent -h lists them"))?;
    }
    let given = match config(flags) {
        Ok(config) => config,
        Err(mistake) => {
            terminal.line(format!("==> Error: {mistake}"))?;
            return Err(Stop::Exit(1));
        }
    };
    let paths: Vec<PathBuf> = flags.any(&["config-file", "config-dir"]).map(PathBuf::from).collect();
    let read = move || Ok(Config::read_paths(&paths)?.merge(given.clone()));
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            terminal.line(format!("==> Error: no signals can be received: {error}"))?;
            return Err(Stop::Exit(1));
        }
    };
    match Box::pin(agent::run(read, Box::new(std::io::stdout()), signals)).await {
        0 => Ok(()),
        code => Err(Stop::Exit(code)),
    }
}

fn config(flags: &Flags) -> Result<Config, String> {
    let text = |name| flags.text(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let path = |name| text(name).map(PathBuf::from);
    let secret = |name| text(name).map(Redacted::new);
    let duration = |name| -> Result<Option<Duration>, String> {
        text(name).map(|text| agent::parse_duration(&text).map_err(|error| error.to_string())).transpose()
    };
    let mut config = Config {
        node_name: text("node"),
        role: text("role"),
        tags: flags::pairs(&flags.list("tag"))?,
        tags_file: path("tags-file"),
        bind: text("bind"),
        advertise: text("advertise"),
        encrypt_key: secret("encrypt"),
        keyring_file: path("keyring-file"),
        log_level: text("log-level"),
        rpc_addr: text("rpc-addr"),
        rpc_auth: secret("rpc-auth"),
        // A version beyond the largest that can be told is refused as one that is too high.
        protocol: flags.integer("protocol").filter(|version| *version >= 0).map(|v| u8::try_from(v).unwrap_or(u8::MAX)),
        replay_on_join: flags.is_set("replay"),
        start_join: flags.list("join"),
        event_handlers: flags.list("event-handler"),
        profile: text("profile"),
        snapshot_path: path("snapshot"),
        leave_on_terminate: flags.is_set("leave-on-terminate"),
        discover: text("discover"),
        interface: text("iface"),
        enable_syslog: flags.is_set("syslog"),
        retry_join: flags.list("retry-join"),
        retry_max_attempts: flags.integer("retry-max").filter(|max| *max > 0).and_then(|max| max.try_into().ok()),
        retry_interval: duration("retry-interval")?,
        rejoin_after_leave: flags.is_set("rejoin"),
        // The flag overrules the key of a file, whether it is given or not.
        enable_compression: Some(!flags.is_set("disable-compression")),
        broadcast_timeout: duration("broadcast-timeout")?,
        rpc_socket: path("rpc-socket"),
        metrics_addr: text("metrics-addr"),
        event_handler_timeout: duration("event-handler-timeout")?,
        coalesce_period: duration("coalesce-period")?,
        coalesce_quiet: duration("coalesce-quiet")?,
        ..Config::default()
    };
    config.mdns.interface = text("mdns-iface");
    config.mdns.disable_ipv4 = flags.is_set("mdns-disable-ipv4");
    config.mdns.disable_ipv6 = flags.is_set("mdns-disable-ipv6");
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Config, String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        config(&flags::parse(&AGENT.flags().collect::<Vec<_>>(), &words)?)
    }

    /// As GIS.lab's units start them.
    #[test]
    fn flags_are_put_where_files_have_them() {
        let config = read(&[
            "-iface",
            "eth0",
            "-keyring-file",
            "/etc/gislab_serf.key",
            "-event-handler",
            "user:reboot=/handlers/reboot.sh",
            "-event-handler",
            "query:uptime=uptime",
            "-node=server.gis.lab",
            "-tag",
            "role=client",
            "-log-level=err",
            "-syslog",
            "-retry-interval=1m",
        ])
        .unwrap();
        assert_eq!(config.interface.as_deref(), Some("eth0"));
        assert_eq!(config.event_handlers, ["user:reboot=/handlers/reboot.sh", "query:uptime=uptime"]);
        assert_eq!(config.node_name.as_deref(), Some("server.gis.lab"));
        assert_eq!(config.tags["role"], "client");
        assert!(config.enable_syslog && config.enable_compression == Some(true));
        assert_eq!(config.retry_interval, Some(Duration::from_mins(1)));
        assert!(config.bind.is_none() && config.protocol.is_none() && !config.rejoin_after_leave);
    }

    #[test]
    fn mistakes_are_serf_s() {
        assert_eq!(read(&["-tag", "bad"]).unwrap_err(), "Invalid tag: 'bad'");
        assert_eq!(read(&["-retry-interval", "5x"]).unwrap_err(), "time: unknown unit \"x\" in duration \"5x\"");
        assert_eq!(
            read(&["-retry-max", "many"]).unwrap_err(),
            "invalid value \"many\" for flag -retry-max: parse error"
        );
    }
}
