//! Who shows a certificate. Only to be asked of certificates that were verified against the cluster's CA.

use muster_types::{ClusterName, NodeName, Timestamp};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

const SCHEME: &str = "muster://";

/// What a certificate makes of its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// May give orders.
    Operator { cluster: ClusterName, name: String },
    /// Proves which node it is, and may give none.
    Node { cluster: ClusterName, name: NodeName },
}

impl Peer {
    pub(crate) fn uri(&self) -> String {
        match self {
            Self::Operator { cluster, name } => format!("{SCHEME}{cluster}/operator/{name}"),
            Self::Node { cluster, name } => format!("{SCHEME}{cluster}/node/{name}"),
        }
    }

    fn parse(uri: &str) -> Option<Self> {
        let (cluster, rest) = uri.strip_prefix(SCHEME)?.split_once('/')?;
        let (role, name) = rest.split_once('/')?;
        let cluster = ClusterName::new(cluster).ok()?;
        match role {
            "operator" if is_operator_name(name) => Some(Self::Operator { cluster, name: name.to_owned() }),
            "node" => Some(Self::Node { cluster, name: NodeName::new(name).ok()? }),
            _ => None,
        }
    }
}

/// The one identity in a certificate. A certificate with none, with two, or with a CA's powers is nobody's.
pub fn peer_identity(certificate_der: &[u8]) -> Option<Peer> {
    let (rest, certificate) = X509Certificate::from_der(certificate_der).ok()?;
    if !rest.is_empty() || certificate.is_ca() {
        return None;
    }
    identity_of(&certificate)
}

/// From when and until when a certificate holds.
pub fn certificate_validity(certificate_der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (_, certificate) = X509Certificate::from_der(certificate_der).ok()?;
    let validity = certificate.validity();
    let not_before = Timestamp::from_second(validity.not_before.timestamp()).ok()?;
    let not_after = Timestamp::from_second(validity.not_after.timestamp()).ok()?;
    Some((not_before, not_after))
}

pub(crate) fn identity_of(certificate: &X509Certificate<'_>) -> Option<Peer> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let uri = uris.next()?;
    if uris.next().is_some() {
        return None;
    }
    Peer::parse(uri)
}

/// Names that stay themselves inside a URI.
pub(crate) fn is_operator_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 64 && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_survive_being_written() {
        let cluster = ClusterName::new("demo").unwrap();
        let operator = Peer::Operator { cluster: cluster.clone(), name: "jane.doe".to_owned() };
        let node = Peer::Node { cluster, name: NodeName::new("web-1").unwrap() };
        assert_eq!(operator.uri(), "muster://demo/operator/jane.doe");
        for peer in [operator, node] {
            assert_eq!(Peer::parse(&peer.uri()), Some(peer));
        }
    }

    #[test]
    fn what_is_not_exact_is_nobody() {
        for bad in [
            "",
            "muster://",
            "muster://demo",
            "muster://demo/operator",
            "muster://demo/operator/",
            "muster://demo/operator/a/b",
            "muster://demo/Operator/a",
            "muster://demo/node/-a",
            "muster://de mo/node/a",
            "muster:///operator/a",
            "https://demo/operator/a",
            "muster://demo/operator/a?x",
            "muster://demo/other/a",
        ] {
            assert_eq!(Peer::parse(bad), None, "{bad}");
        }
    }
}
