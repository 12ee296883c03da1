//! What our certificates look like.

use std::time::Duration;

use aws_lc_rs::rand;
use jiff::{SignedDuration, Timestamp};
use muster_types::ClusterName;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SerialNumber,
};

use crate::PkiError;
use crate::peer::Peer;

/// Clocks of machines that have just started may be a little behind.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);
const SERIAL_BYTES: usize = 16;

pub(crate) const CA_DAYS: i64 = 3650;
pub(crate) const OPERATOR_DAYS: i64 = 365;
pub(crate) const NODE_DAYS: i64 = 30;

/// From when and until when a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl Validity {
    /// From an hour before now, for clocks that are behind, until so many days after.
    pub fn days(now: Timestamp, days: i64) -> Self {
        let length = SignedDuration::from_hours(24 * days);
        Self {
            not_before: now.saturating_sub(BACKDATED).unwrap_or(now),
            not_after: now.saturating_add(length).unwrap_or(now),
        }
    }

    /// A certificate does not outlive the CA that signed it.
    pub(crate) fn until(self, limit: Timestamp) -> Self {
        Self { not_after: self.not_after.min(limit), ..self }
    }
}

/// The certificate of a cluster's CA. It has no name constraints: identities are URIs with a scheme of our own, whose
/// constraints verifiers either ignore or refuse as a whole.
pub(crate) fn ca(cluster: &ClusterName, validity: Validity) -> Result<CertificateParams, PkiError> {
    let mut params = base("muster CA", cluster, validity)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

pub(crate) fn leaf(peer: &Peer, validity: Validity) -> Result<CertificateParams, PkiError> {
    let (common_name, cluster) = match peer {
        Peer::Operator { cluster, name } => (name.as_str(), cluster),
        Peer::Node { cluster, name } => (name.as_str(), cluster),
    };
    let sign_error = |source| PkiError::Sign { subject: common_name.to_owned(), source };
    let mut params = base(common_name, cluster, validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![SanType::URI(peer.uri().try_into().map_err(sign_error)?)];
    if let Peer::Node { name, .. } = peer {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(sign_error)?));
    }
    Ok(params)
}

/// What a node shows before it is enrolled: a key and no identity.
pub(crate) fn self_signed(common_name: &str, cluster: &ClusterName) -> Result<CertificateParams, PkiError> {
    // Nobody looks at its times: what makes it good is the proof over it, and the node's clock may be wrong.
    let validity = Validity::days(Timestamp::now(), CA_DAYS);
    let mut params = base(common_name, cluster, validity)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn base(common_name: &str, cluster: &ClusterName, validity: Validity) -> Result<CertificateParams, PkiError> {
    let mut serial = [0; SERIAL_BYTES];
    rand::fill(&mut serial).map_err(|_| PkiError::Random)?;
    // A serial number is positive and has no leading zero byte.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, cluster.as_str());
    params.distinguished_name.push(DnType::CommonName, common_name);
    // The type of these times is not exported under a name; adding to a date makes one.
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(validity.not_before);
    params.not_after = epoch + since_epoch(validity.not_after);
    Ok(params)
}

/// Certificates know no times before 1970 that are of use here.
fn since_epoch(time: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0))
}
