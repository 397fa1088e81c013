//! Signatures: ours verified by ourselves and by gpgv, and each way in which one does not count.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::path::Path;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use pkg::distribution::Distribution;
use pkg::openpgp::{KeyError, Keyring, SignatureError, SigningKey};

const TEXT: &str = "Origin: test\n- dashed\nSuite: x  \n\nlast\n";

fn now() -> Timestamp {
    // gpgv looks at the clock.
    Timestamp::now()
}

#[test]
fn ours_by_ourselves() {
    let key = SigningKey::generate("Lab <lab@example.org>", now()).unwrap();
    let again = SigningKey::parse(&key.to_armor().unwrap()).unwrap();
    assert_eq!(again.fingerprint(), key.fingerprint());
    let keyring = Keyring::parse(key.public_armor().unwrap().as_bytes()).unwrap();
    assert_eq!(keyring.keys(), [(key.fingerprint(), "Lab <lab@example.org>".to_owned())]);
    let signed = again.clearsign(TEXT, now()).unwrap();
    let (text, signers) = keyring.verify_cleartext(signed.as_bytes(), now()).unwrap();
    assert_eq!(text, TEXT.replace("x  \n", "x\n"), "blanks at line ends are not covered");
    assert_eq!(signers[0].fingerprint, key.fingerprint());
    let detached = key.detach_sign(TEXT.as_bytes(), now()).unwrap();
    keyring.verify_detached(TEXT.as_bytes(), detached.as_bytes(), now()).unwrap();
}

#[test]
fn what_does_not_count() {
    let made = now();
    let key = SigningKey::generate("A", made).unwrap();
    let other = SigningKey::generate("B", made).unwrap();
    let signed = key.clearsign(TEXT, made).unwrap();
    let keyring = key.keyring();
    let error = other.keyring().verify_cleartext(signed.as_bytes(), made).unwrap_err();
    assert_eq!(error, SignatureError::NoKey { missing: vec![key.fingerprint()] });
    let changed = signed.replace("Suite: x", "Suite: y");
    let error = keyring.verify_cleartext(changed.as_bytes(), made).unwrap_err();
    assert_eq!(error, SignatureError::Bad { key: key.fingerprint() });
    let error = keyring.verify_cleartext(TEXT.as_bytes(), made).unwrap_err();
    assert!(matches!(error, SignatureError::NotSigned(_)));
    for damaged in [
        format!("Evil: yes\n{signed}"),
        format!("{signed}\nEvil: yes\n"),
        signed[..signed.len() / 2].to_owned(),
        signed.replace("-----BEGIN PGP SIGNATURE", "-----BEGIN PGP SIGNED"),
    ] {
        keyring.verify_cleartext(damaged.as_bytes(), made).unwrap_err();
    }
    let early = made - SignedDuration::from_hours(48);
    let error = keyring.verify_cleartext(signed.as_bytes(), early).unwrap_err().to_string();
    assert!(error.contains("from the future"), "{error}");
    let detached = key.detach_sign(TEXT.as_bytes(), made).unwrap();
    let error = keyring.verify_detached(b"other", detached.as_bytes(), made).unwrap_err();
    assert_eq!(error, SignatureError::Bad { key: key.fingerprint() });
    assert_eq!(Keyring::parse(b"").unwrap_err(), KeyError::Empty);
}

#[test]
fn ours_by_gpgv() {
    if !Path::new("/usr/bin/gpgv").exists() {
        eprintln!("skipped: gpgv is not here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let key = SigningKey::generate("Lab <lab@example.org>", now()).unwrap();
    // gpgv reads binary keyrings only: the armor without its frame.
    let armor = key.public_armor().unwrap();
    let body: String = armor
        .lines()
        .skip_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with(['-', '=']))
        .collect();
    fs::write(at("key.gpg"), base64(&body)).unwrap();
    fs::write(at("Release"), TEXT).unwrap();
    fs::write(at("Release.gpg"), key.detach_sign(TEXT.as_bytes(), now()).unwrap()).unwrap();
    fs::write(at("InRelease"), key.clearsign(TEXT, now()).unwrap()).unwrap();
    for files in [vec!["InRelease"], vec!["Release.gpg", "Release"]] {
        let output = Command::new("gpgv")
            .arg("--keyring")
            .arg(at("key.gpg"))
            .args(files.iter().map(|name| at(name)))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Decodes base64.
fn base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[test]
fn keys_of_debian() {
    let path = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
    let debian = Distribution::find("debian").unwrap();
    let mut known = Vec::new();
    for codename in debian.release.keys() {
        known.extend(debian.keyring(codename).unwrap().keys());
    }
    let Ok(bytes) = fs::read(path) else {
        eprintln!("skipped: {} is not here", path.display());
        return;
    };
    // Each key that we ship and this machine has too is the same one.
    let official = Keyring::parse(&bytes).unwrap().keys();
    let both = known.iter().filter(|key| official.contains(key)).count();
    assert!(both >= 3, "{known:?} {official:?}");
}
