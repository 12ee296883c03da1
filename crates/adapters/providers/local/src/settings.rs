//! The `local:` block of a cluster file.

use std::net::Ipv4Addr;

use muster_doc::{Diagnostic, Tree};
use serde::{Deserialize, Serialize};

use crate::image::HOST;

/// The switch's network unless the file says otherwise. Each cluster has a switch of its own, so they do not collide.
const DEFAULT_SUBNET: Subnet = Subnet { network: Ipv4Addr::new(10, 77, 0, 0), prefix: 16 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub(crate) network: Ipv4Addr,
    pub(crate) prefix: u8,
}

impl Subnet {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (network, prefix) = text.split_once('/')?;
        let network: Ipv4Addr = network.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        if !(8..=29).contains(&prefix) || !(network.is_private() || is_shared(network)) {
            return None;
        }
        let subnet = Self { network, prefix };
        (subnet.address(0) == network).then_some(subnet)
    }

    /// The address with this number; 1 is the switch itself.
    pub(crate) fn address(self, index: u16) -> Ipv4Addr {
        let mask = u32::MAX << (32 - u32::from(self.prefix));
        Ipv4Addr::from((u32::from(self.network) & mask) + u32::from(index))
    }

    /// The largest number that a machine can have; the last address is the broadcast's.
    pub(crate) fn index_max(self) -> u16 {
        let addresses = 1u32 << (32 - u32::from(self.prefix)).min(16);
        u16::try_from(addresses - 2).unwrap_or(u16::MAX)
    }
}

/// 100.64.0.0/10, which carriers share and nobody routes.
fn is_shared(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 100 && (64..128).contains(&second)
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// What PID 1 of a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Init {
    /// Our own, which runs the agent and nothing else.
    Agent,
    Systemd,
}

impl Init {
    /// What an image starts with unless the file says otherwise: the programs of this machine are not set up to be
    /// started by a systemd of a node's own.
    pub(crate) fn of_image(image: &str) -> Self {
        if image == HOST { Self::Agent } else { Self::Systemd }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) subnet: Subnet,
    pub(crate) init: Option<Init>,
    /// A mirror of Debian's archive that images are made from; this machine's own sources without it.
    pub(crate) mirror: Option<String>,
}

/// Reads the block; all mistakes at once.
pub(crate) fn read(block: Option<&Tree>) -> (Settings, Vec<Diagnostic>) {
    let mut settings = Settings { subnet: DEFAULT_SUBNET, init: None, mirror: None };
    let mut diagnostics = Vec::new();
    let Some(block) = block.filter(|block| !block.is_null()) else { return (settings, diagnostics) };
    let Some(entries) = block.as_map() else {
        let diagnostic = Diagnostic::error(
            "M0901",
            format!("`local` holds {}, not a mapping", block.kind()),
            "write it as `local: { subnet: 10.77.0.0/16 }`, or leave it out",
        );
        return (settings, vec![diagnostic.at(block.span, "a mapping is expected here")]);
    };
    for (key, value) in entries {
        match key.text.as_str() {
            "subnet" => match value.as_str().and_then(Subnet::parse) {
                Some(subnet) => settings.subnet = subnet,
                None => diagnostics.push(wrong_subnet(value)),
            },
            "init" => match value.as_str() {
                Some("agent") => settings.init = Some(Init::Agent),
                Some("systemd") => settings.init = Some(Init::Systemd),
                _ => diagnostics.push(wrong_init(value)),
            },
            "mirror" => match value.as_str().filter(|url| is_mirror(url)) {
                Some(url) => settings.mirror = Some(url.to_owned()),
                None => diagnostics.push(wrong_mirror(value)),
            },
            other => {
                let message = format!("the local provider has no setting `{other}`");
                let diagnostic = Diagnostic::error("M0902", message, "its settings are `subnet`, `init` and `mirror`");
                diagnostics.push(diagnostic.at(key.span, "unknown setting"));
            }
        }
    }
    (settings, diagnostics)
}

fn wrong_subnet(value: &Tree) -> Diagnostic {
    let hint = "write a private network of 8 to 29 bits by its first address, such as 10.77.0.0/16";
    Diagnostic::error("M0903", "`subnet` is not a private IPv4 network", hint).at(value.span, "not such a network")
}

fn wrong_init(value: &Tree) -> Diagnostic {
    let hint = "write `systemd`, or `agent` for nodes that run the agent and nothing else";
    Diagnostic::error("M0904", "`init` is neither `systemd` nor `agent`", hint).at(value.span, "not an init")
}

/// What apt takes as the address of an archive, and nothing that could end its line.
fn is_mirror(url: &str) -> bool {
    let scheme = ["http://", "https://", "copy:/"].iter().find_map(|scheme| url.strip_prefix(scheme));
    scheme.is_some_and(|rest| {
        !rest.is_empty() && rest.chars().all(|letter| letter.is_ascii_graphic() && !"[]#\"".contains(letter))
    })
}

fn wrong_mirror(value: &Tree) -> Diagnostic {
    Diagnostic::error(
        "M0905",
        "`mirror` is not the address of a mirror of Debian's archive",
        "write where the folder `dists` is, such as http://deb.debian.org/debian",
    )
    .at(value.span, "not such an address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_private_and_start_at_their_first_address() {
        let subnet = Subnet::parse("10.77.0.0/16").unwrap();
        assert_eq!(subnet.address(1), Ipv4Addr::new(10, 77, 0, 1));
        assert_eq!(subnet.address(300), Ipv4Addr::new(10, 77, 1, 44));
        assert_eq!(subnet.index_max(), 65534);
        assert_eq!(Subnet::parse("192.168.5.0/29").unwrap().index_max(), 6);
        for bad in ["10.77.0.1/16", "8.8.8.0/24", "10.0.0.0/4", "10.0.0.0/30", "10.0.0.0", "x/16"] {
            assert_eq!(Subnet::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn mirrors_are_addresses_that_apt_takes() {
        for good in ["http://deb.debian.org/debian", "https://m.example:8080/d", "copy:/srv/mirror"] {
            assert!(is_mirror(good), "{good}");
        }
        for bad in ["", "http://", "deb.debian.org", "ftp://x/", "http://a b", "http://a\nb", "http://a]"] {
            assert!(!is_mirror(bad), "{bad}");
        }
    }
}
