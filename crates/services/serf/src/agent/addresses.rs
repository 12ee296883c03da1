//! Addresses as agents are told them: what to bind to, what to tell others, whom to join.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

pub(crate) const GOSSIP_PORT: u16 = 7946;
/// Addresses that one name may stand for.
const RESOLVED_MAX: usize = 256;
const RESOLVE_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error("Invalid bind address: lookup {0}: no such host")]
    Bind(String),
    #[error("Invalid advertise address: lookup {0}: no such host")]
    Advertise(String),
    #[error("Invalid RPC address: lookup {0}: no such host")]
    Rpc(String),
    #[error("Invalid network interface: {0}")]
    Interface(String),
    #[error("Interface '{interface}' has no '{ip}' address")]
    Elsewhere { interface: String, ip: IpAddr },
    #[error("No private IP address found, and explicit IP not provided")]
    NoPrivate,
}

/// Host and port; the port may be missing. An address of the sixth version with a port stands in brackets.
pub(crate) fn split(text: &str, port: u16) -> Option<(&str, u16)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text, port));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return if after.is_empty() {
            Some((host, port))
        } else {
            Some((host, after.strip_prefix(':')?.parse().ok()?))
        };
    }
    match text.rsplit_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((text, port)),
    }
}

/// The first address that a name or a number stands for.
pub(crate) async fn resolve_one(text: &str, port: u16) -> Option<SocketAddr> {
    let (host, port) = split(text, port)?;
    if host.is_empty() {
        return Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    }
    resolve(host, port).await.ok()?.into_iter().next()
}

/// All addresses of a name; the error is why there are none.
async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::from((ip, port))]);
    }
    let looked_up = tokio::time::timeout(RESOLVE_LIMIT, tokio::net::lookup_host((host, port))).await;
    match looked_up {
        Ok(Ok(addresses)) => Ok(addresses.take(RESOLVED_MAX).collect()),
        Ok(Err(_)) => Err(format!("lookup {host}: no such host")),
        Err(_) => Err(format!("lookup {host}: i/o timeout")),
    }
}

/// `[name/]host[:port]`: every address of each, and why some stand for none.
pub(crate) async fn resolve_all(texts: &[String], port: u16) -> (Vec<SocketAddr>, Vec<String>) {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for text in texts {
        let address = text.split_once('/').map_or(text.as_str(), |(_, address)| address);
        let resolved = match split(address, port) {
            Some((host, port)) if !host.is_empty() => resolve(host, port).await,
            _ => Err(format!("address {address}: it is not of the form host:port")),
        };
        match resolved {
            Ok(addresses) => found.extend(addresses),
            Err(reason) => failures.push(format!("Failed to resolve {address}: {reason}")),
        }
    }
    (found, failures)
}

/// The address of an interface, of the fourth version if it has one.
pub(crate) fn of_interface(name: &str) -> Result<IpAddr, AddressError> {
    let interfaces: Vec<_> = addresses().into_iter().filter(|(interface, ..)| interface == name).collect();
    if interfaces.is_empty() {
        return Err(AddressError::Interface(if exists(name) {
            format!("interface '{name}' has no addresses")
        } else {
            "route ip+net: no such network interface".to_owned()
        }));
    }
    let v4 = interfaces.iter().find(|(_, ip, _)| ip.is_ipv4());
    v4.or(interfaces.first()).map(|(_, ip, _)| *ip).ok_or(AddressError::NoPrivate)
}

/// Whether an address that is bound to is one of this interface.
pub(crate) fn check_interface(name: &str, ip: IpAddr) -> Result<(), AddressError> {
    of_interface(name)?;
    let has = addresses().iter().any(|(interface, own, _)| interface == name && *own == ip);
    if has { Ok(()) } else { Err(AddressError::Elsewhere { interface: name.to_owned(), ip }) }
}

fn exists(name: &str) -> bool {
    getifaddrs().is_ok_and(|mut all| all.any(|interface| interface.interface_name == name))
}

/// What to tell others who bind to every address: one of the private ranges.
pub(crate) fn private() -> Result<IpAddr, AddressError> {
    let candidate = |(_, ip, flags): &(String, IpAddr, InterfaceFlags)| {
        let up = flags.contains(InterfaceFlags::IFF_UP) && !flags.contains(InterfaceFlags::IFF_LOOPBACK);
        up && matches!(ip, IpAddr::V4(ip) if ip.is_private())
    };
    addresses().into_iter().find(candidate).map(|(_, ip, _)| ip).ok_or(AddressError::NoPrivate)
}

fn addresses() -> Vec<(String, IpAddr, InterfaceFlags)> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    all.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        let v6 = address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
        Some((interface.interface_name, v4.or(v6)?, interface.flags))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_come_with_a_port_or_without() {
        assert_eq!(split("10.0.0.1", 7946), Some(("10.0.0.1", 7946)));
        assert_eq!(split("10.0.0.1:1", 7946), Some(("10.0.0.1", 1)));
        assert_eq!(split("::1", 7946), Some(("::1", 7946)));
        assert_eq!(split("[::1]:1", 7946), Some(("::1", 1)));
        assert_eq!(split("[::1]", 7946), Some(("::1", 7946)));
        assert_eq!(split(":1", 7946), Some(("", 1)));
        assert_eq!(split("host:port", 7946), None);
    }

    #[tokio::test]
    async fn names_of_nodes_and_mistakes_are_told_apart() {
        let texts = ["n1/127.0.0.1:1".to_owned(), "127.0.0.2".to_owned(), "a:b:c".to_owned()];
        let (found, failures) = resolve_all(&texts, 7946).await;
        assert_eq!(found, ["127.0.0.1:1".parse().unwrap(), "127.0.0.2:7946".parse().unwrap()]);
        assert_eq!(failures, ["Failed to resolve a:b:c: address a:b:c: it is not of the form host:port"]);
    }

    #[test]
    fn the_loopback_device_has_its_address() {
        assert_eq!(of_interface("lo").unwrap().to_string(), "127.0.0.1");
        let error = check_interface("lo", IpAddr::from([192, 0, 2, 1])).unwrap_err().to_string();
        assert_eq!(error, "Interface 'lo' has no '192.0.2.1' address");
        let error = of_interface("nope0").unwrap_err().to_string();
        assert_eq!(error, "Invalid network interface: route ip+net: no such network interface");
    }
}
