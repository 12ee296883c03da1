//! Secrets of a cluster: made once, whole or not there, and closed to others.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use muster_pki::{PkiError, SecretForm, SecretShape, Secrets};

fn wanted(names: &[(&str, usize, SecretForm)]) -> BTreeMap<String, SecretShape> {
    names.iter().map(|(name, bytes, form)| ((*name).to_owned(), SecretShape { bytes: *bytes, form: *form })).collect()
}

fn get<'s>(secrets: &'s Secrets, name: &str) -> &'s str {
    secrets.get(name).expect("a secret").expose()
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = fs_err::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn each_has_its_shape_and_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("pki");
    assert_eq!(Secrets::read(&folder).unwrap().values().count(), 0);
    assert!(!folder.exists(), "reading makes nothing");
    let some = wanted(&[("a/key", 128, SecretForm::Base64), ("a/hex", 16, SecretForm::Hex)]);
    let first = Secrets::open_or_create(&folder, &some).unwrap();
    let more = wanted(&[("a/key", 64, SecretForm::Hex), ("b/key", 1024, SecretForm::Text)]);
    let second = Secrets::open_or_create(&folder, &more).unwrap();
    let third = Secrets::read(&folder).unwrap();
    for name in ["a/key", "a/hex"] {
        assert_eq!(get(&first, name), get(&second, name));
        assert_eq!(get(&first, name), get(&third, name));
    }
    assert_eq!(get(&second, "b/key"), get(&third, "b/key"));
    assert!(first.get("b/key").is_none());
    let key = base64::engine::general_purpose::STANDARD.decode(get(&third, "a/key")).unwrap();
    assert_eq!(key.len(), 128);
    assert!(key.iter().collect::<BTreeSet<_>>().len() > 30, "it is random");
    assert!(get(&third, "a/hex").len() == 32 && get(&third, "a/hex").bytes().all(|byte| byte.is_ascii_hexdigit()));
    let text = get(&third, "b/key");
    assert!(text.len() == 1376 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(text.bytes().collect::<BTreeSet<_>>().len(), 62, "every letter comes up");
    assert_eq!(more["b/key"].placeholder().len(), 1376);
    assert_eq!(some["a/key"].placeholder().len(), get(&third, "a/key").len());
    assert_eq!(some["a/hex"].placeholder().len(), 32);
    let mode = fs_err::metadata(folder.join("secrets.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(names_in(&folder), ["lock", "secrets.json"].map(str::to_owned).into());
    assert!(!format!("{third:?}").contains(text));
}

#[test]
fn several_at_once_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let made: BTreeSet<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let wanted = wanted(&[("a/key", 32, SecretForm::Text)]);
                    get(&Secrets::open_or_create(folder, &wanted).unwrap(), "a/key").to_owned()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(made.len(), 1);
}

#[test]
fn a_damaged_file_is_told_without_what_is_in_it_and_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets.json");
    for text in ["{\"version\":1,\"secrets\":\"hush\"}", "{\"version\":1,\"secr", "{\"version\":2,\"secrets\":{}}"] {
        fs_err::write(&path, text).unwrap();
        let error = Secrets::open_or_create(folder.path(), &wanted(&[("a/b", 32, SecretForm::Hex)]))
            .expect_err("it is damaged");
        assert!(matches!(error, PkiError::SecretsFile { .. }), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("hush") && !error.hint().is_empty());
        assert_eq!(fs_err::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_crash_before_the_rename_leaves_what_was() {
    let folder = tempfile::tempdir().unwrap();
    let one = wanted(&[("a/b", 32, SecretForm::Hex)]);
    let before = Secrets::open_or_create(folder.path(), &one).unwrap();
    // What the writer leaves when it is killed between writing and renaming.
    fs_err::write(folder.path().join(".secrets.json.1.new"), "{\"version\":1,\"se").unwrap();
    let after = Secrets::open_or_create(folder.path(), &one).unwrap();
    assert_eq!(get(&before, "a/b"), get(&after, "a/b"));
}
