//! The CA on disk, and what it signs and refuses to sign.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Barrier;

use muster_pki::{Authority, NodeKey, Peer, PkiError, Validity, certificate_validity, peer_identity};
use muster_types::{ClusterName, NodeName, Redacted, SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

fn demo() -> ClusterName {
    ClusterName::new("demo").unwrap()
}

fn web_1() -> NodeName {
    NodeName::new("web-1").unwrap()
}

fn open(folder: &Path) -> Result<Authority, PkiError> {
    Authority::open_or_create(&folder.join("pki"), &demo())
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs_err::metadata(path).unwrap().permissions().mode() & 0o777
}

fn days_left(pem: &str) -> i64 {
    let (_, not_after) = certificate_validity(&der(pem)).unwrap();
    (not_after.as_second() - Timestamp::now().as_second() + 60) / (24 * 60 * 60)
}

#[test]
fn a_ca_is_private_and_stays_the_same() {
    let temporary = tempfile::tempdir().unwrap();
    let first = open(temporary.path()).unwrap();
    let operator = first.operator().unwrap();
    let folder = temporary.path().join("pki");
    assert_eq!(mode(&folder), 0o700);
    for file in ["ca.key", "ca.crt", "operator.key", "operator.crt"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
    let second = open(temporary.path()).unwrap();
    assert_eq!(first.ca_pem(), second.ca_pem());
    assert_eq!(operator.certificate_pem, second.operator().unwrap().certificate_pem);
    assert!((3649..=3650).contains(&days_left(first.ca_pem())));
}

#[test]
fn a_folder_that_was_open_to_others_is_closed() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("pki");
    fs_err::create_dir(&folder).unwrap();
    fs_err::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    open(temporary.path()).unwrap();
    assert_eq!(mode(&folder), 0o700);
}

#[test]
fn many_at_once_make_one_ca_and_one_operator() {
    let temporary = tempfile::tempdir().unwrap();
    let count = 8;
    let barrier = Barrier::new(count);
    let found: Vec<(String, String)> = std::thread::scope(|scope| {
        let start = || {
            barrier.wait();
            let authority = open(temporary.path()).unwrap();
            (authority.ca_pem().to_owned(), authority.operator().unwrap().certificate_pem)
        };
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(found.iter().all(|one| *one == found[0]));
}

#[test]
fn a_crash_between_key_and_certificate_is_mended() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("pki");
    let before = open(temporary.path()).unwrap();
    let key = NodeKey::generate().unwrap();
    let signed_before = before.sign_node(&key.csr(&web_1()).unwrap(), &web_1()).unwrap();
    fs_err::remove_file(folder.join("ca.crt")).unwrap();
    let after = open(temporary.path()).unwrap();
    assert_ne!(before.ca_pem(), after.ca_pem());
    // Who trusts the one trusts what was signed under the other.
    let signed_after = after.sign_node(&key.csr(&web_1()).unwrap(), &web_1()).unwrap();
    key.check_certificate(&signed_after, before.ca_pem(), &demo(), &web_1()).unwrap();
    key.check_certificate(&signed_before, after.ca_pem(), &demo(), &web_1()).unwrap();
}

#[test]
fn a_crash_between_the_operators_files_is_mended() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("pki");
    let authority = open(temporary.path()).unwrap();
    let first = authority.operator().unwrap();
    let half: [&dyn Fn(); 3] = [
        &|| fs_err::write(folder.join("operator.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap(),
        &|| fs_err::remove_file(folder.join("operator.crt")).unwrap(),
        &|| fs_err::write(folder.join("operator.crt"), "").unwrap(),
    ];
    for damage in half {
        damage();
        let mended = authority.operator().unwrap();
        assert_ne!(mended.certificate_pem, first.certificate_pem);
        let pair = KeyPair::from_pem(mended.key_pem.expose()).unwrap();
        let der = der(&mended.certificate_pem);
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(certificate.public_key().raw, rcgen::PublicKeyData::subject_public_key_info(&pair));
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let (temporary, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    open(temporary.path()).unwrap();
    open(other.path()).unwrap();
    let folder = temporary.path().join("pki");
    let foreign = Authority::open_or_create(&folder, &ClusterName::new("other").unwrap());
    assert!(matches!(foreign, Err(PkiError::OtherCluster { .. })), "{foreign:?}");
    fs_err::copy(other.path().join("pki/ca.key"), folder.join("ca.key")).unwrap();
    let mixed = open(temporary.path());
    assert!(matches!(mixed, Err(PkiError::KeyMismatch { .. })), "{mixed:?}");
    fs_err::remove_file(folder.join("ca.key")).unwrap();
    let keyless = open(temporary.path());
    assert!(matches!(keyless, Err(PkiError::KeyMissing { .. })), "{keyless:?}");
    fs_err::write(folder.join("ca.key"), "nonsense").unwrap();
    let damaged = open(temporary.path());
    assert!(matches!(damaged, Err(PkiError::KeyFile { .. })), "{damaged:?}");
    // Nothing of it has been replaced by something new.
    assert_eq!(fs_err::read_to_string(folder.join("ca.key")).unwrap(), "nonsense");
}

#[test]
fn an_operator_certificate_is_made_anew_near_its_end() {
    let temporary = tempfile::tempdir().unwrap();
    let authority = open(temporary.path()).unwrap();
    let now = Timestamp::now();
    let first = authority.operator_at("jane", now).unwrap();
    let same = authority.operator_at("jane", now + SignedDuration::from_hours(24 * 334)).unwrap();
    assert_eq!(first.certificate_pem, same.certificate_pem);
    let next = authority.operator_at("jane", now + SignedDuration::from_hours(24 * 336)).unwrap();
    assert_ne!(first.certificate_pem, next.certificate_pem);
}

#[test]
fn an_operator_may_ask_and_a_node_may_ask_and_answer() {
    let temporary = tempfile::tempdir().unwrap();
    let authority = open(temporary.path()).unwrap();
    let operator = authority.operator_at("jane", Timestamp::now()).unwrap();
    let operator_der = der(&operator.certificate_pem);
    let expected = Peer::Operator { cluster: demo(), name: "jane".to_owned() };
    assert_eq!(peer_identity(&operator_der), Some(expected));
    assert!((364..=365).contains(&days_left(&operator.certificate_pem)));

    let key = NodeKey::generate().unwrap();
    let node = authority.sign_node(&key.csr(&web_1()).unwrap(), &web_1()).unwrap();
    let node_der = der(&node);
    assert_eq!(peer_identity(&node_der), Some(Peer::Node { cluster: demo(), name: web_1() }));
    assert!((29..=30).contains(&days_left(&node)));
    let (not_before, _) = certificate_validity(&node_der).unwrap();
    assert!(not_before < Timestamp::now() - SignedDuration::from_mins(59), "clocks may be behind");

    for (certificate, serves) in [(&operator_der, false), (&node_der, true)] {
        let (_, parsed) = X509Certificate::from_der(certificate).unwrap();
        let usage = parsed.extended_key_usage().unwrap().unwrap().value;
        assert_eq!((usage.client_auth, usage.server_auth), (true, serves));
        assert!(!parsed.is_ca());
    }
}

#[test]
fn a_request_gets_a_certificate_for_its_key_and_nothing_else() {
    let temporary = tempfile::tempdir().unwrap();
    let authority = open(temporary.path()).unwrap();
    let pair = KeyPair::generate().unwrap();
    let mut greedy = CertificateParams::new(vec!["db-1".to_owned(), "10.0.0.1".to_owned()]).unwrap();
    greedy.subject_alt_names.push(SanType::URI("muster://demo/operator/root".try_into().unwrap()));
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let request = greedy.serialize_request(&pair).unwrap().pem().unwrap();
    let signed = der(&authority.sign_node(&request, &web_1()).unwrap());
    assert_eq!(peer_identity(&signed), Some(Peer::Node { cluster: demo(), name: web_1() }));
    let (_, parsed) = X509Certificate::from_der(&signed).unwrap();
    assert!(!parsed.is_ca());
    assert!(!parsed.extended_key_usage().unwrap().unwrap().value.code_signing);
    assert_eq!(parsed.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 2);
}

#[test]
fn bad_requests_are_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let authority = open(temporary.path()).unwrap();
    let good = NodeKey::generate().unwrap().csr(&web_1()).unwrap();
    authority.sign_node(&good, &web_1()).unwrap();
    // The last bytes of a request are its signature.
    let end = good.find("\n-----END").unwrap();
    let mut forged = good.clone().into_bytes();
    forged[end - 8] = if forged[end - 8] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let other_kind = CertificateParams::default().serialize_request(&p384).unwrap().pem().unwrap();
    let long = format!("{}{good}", "#".repeat(20_000));
    for bad in [
        &forged,
        &other_kind,
        &long,
        "",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
    ] {
        let result = authority.sign_node(bad, &web_1());
        assert!(matches!(result, Err(PkiError::Request { .. })), "{result:?}");
    }
}

#[test]
fn a_node_takes_only_the_certificate_that_it_asked_for() {
    let (temporary, foreign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (authority, stranger) = (open(temporary.path()).unwrap(), open(foreign.path()).unwrap());
    let (key, other_key) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    let request = key.csr(&web_1()).unwrap();
    let check = |certificate: &str| key.check_certificate(certificate, authority.ca_pem(), &demo(), &web_1());
    let day = Validity::days(Timestamp::now(), 1);
    let good = authority.sign_node_for(&request, &web_1(), day).unwrap();
    assert_eq!(check(&good).unwrap().not_after.as_second(), day.not_after.as_second());
    let reopened = NodeKey::from_pem(&key.pem()).unwrap();
    reopened.check_certificate(&good, authority.ca_pem(), &demo(), &web_1()).unwrap();

    let web_2 = NodeName::new("web-2").unwrap();
    for bad in [
        stranger.sign_node(&request, &web_1()).unwrap(),
        authority.sign_node(&request, &web_2).unwrap(),
        authority.sign_node(&other_key.csr(&web_1()).unwrap(), &web_1()).unwrap(),
        authority.operator().unwrap().certificate_pem,
        authority.ca_pem().to_owned(),
        key.self_signed(&demo(), &web_1()).unwrap(),
        format!("{good}{good}"),
        String::new(),
    ] {
        assert!(matches!(check(&bad), Err(PkiError::Certificate { .. })), "{bad}");
    }
    assert!(NodeKey::from_pem(&Redacted::new("nonsense".to_owned())).is_err());
}

#[test]
fn no_certificate_outlives_its_ca() {
    let temporary = tempfile::tempdir().unwrap();
    let authority = open(temporary.path()).unwrap();
    let request = NodeKey::generate().unwrap().csr(&web_1()).unwrap();
    let long = authority.sign_node_for(&request, &web_1(), Validity::days(Timestamp::now(), 9999)).unwrap();
    let (_, ca_end) = certificate_validity(&der(authority.ca_pem())).unwrap();
    assert_eq!(certificate_validity(&der(&long)).unwrap().1, ca_end);
}

#[test]
fn a_ca_and_a_self_signed_certificate_are_nobody() {
    let temporary = tempfile::tempdir().unwrap();
    let authority = open(temporary.path()).unwrap();
    assert_eq!(peer_identity(&der(authority.ca_pem())), None);
    let own = NodeKey::generate().unwrap().self_signed(&demo(), &web_1()).unwrap();
    assert_eq!(peer_identity(&der(&own)), None);
    assert_eq!(peer_identity(b"nonsense"), None);
}
