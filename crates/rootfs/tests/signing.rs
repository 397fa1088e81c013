//! OpenSSL judges signatures on modules: it makes the same bytes, and verifies ours.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use rootfs::signing::{ModuleKey, PrivateKey, SigningError};

fn openssl(directory: &Path, args: &str) -> Vec<u8> {
    let output =
        Command::new("openssl").args(args.split(' ')).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn openssl_signs_alike() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let read = |name: &str| fs::read(here.join(name)).unwrap();
    let pair = |name: &str, kind: &str| {
        let new = format!("req -x509 -newkey {kind} -nodes -subj /O=Pears/CN={name}/");
        openssl(here, &format!("{new} -keyout {name}.key -out {name}.pem"));
        openssl(here, &format!("x509 -in {name}.pem -outform DER -out {name}.der"));
    };
    pair("pear", "rsa:2048");
    pair("apple", "rsa:2048");
    pair("curve", "ec -pkeyopt ec_paramgen_curve:P-256");
    openssl(here, "rsa -in pear.key -traditional -out old.key");
    openssl(here, "pkey -in pear.key -aes256 -passout pass:x -out locked.key");
    openssl(here, "rsa -in pear.key -traditional -aes256 -passout pass:x -out locked-old.key");

    let key = |name: &str| PrivateKey::parse(&read(name));
    let pear = ModuleKey::new(key("pear.key").unwrap(), &read("pear.der")).unwrap();
    let same = ModuleKey::new(key("old.key").unwrap(), &read("pear.pem")).unwrap();
    assert_eq!((&pear, pear.certificate()), (&same, &*read("pear.der")));

    let module = b"\x7fELF and so on".as_slice();
    fs::write(here.join("module"), module).unwrap();
    let sign = "cms -sign -binary -noattr -nocerts -md sha256 -in module -outform DER";
    let signature = openssl(here, &format!("{sign} -signer pear.pem -inkey pear.key"));
    let length = u32::try_from(signature.len()).unwrap().to_be_bytes();
    let kind = [0, 0, 2, 0, 0, 0, 0, 0];
    let magic = b"~Module signature appended~\n";
    let signed = pear.sign(module).unwrap();
    assert_eq!(signed, [module, &signature, &kind, &length, magic].concat());
    // Whoever signed it before.
    assert_eq!(pear.sign(&signed).unwrap(), signed);

    // It crosses the border of the sandbox, and shows itself nowhere.
    let text = serde_json::to_string(&pear).unwrap();
    assert_eq!(serde_json::from_str::<ModuleKey>(&text).unwrap(), pear);
    assert_eq!(format!("{pear:?}"), "ModuleKey(CN=pear,O=Pears)");

    for (name, problem) in [
        ("locked.key", SigningError::Encrypted),
        ("locked-old.key", SigningError::Encrypted),
        ("curve.key", SigningError::NoKey),
        ("pear.der", SigningError::NoKey),
    ] {
        assert_eq!(key(name), Err(problem), "{name}");
    }
    for (name, problem) in [
        ("apple.der", SigningError::Mismatch),
        ("curve.der", SigningError::Mismatch),
        ("pear.key", SigningError::NoCertificate),
    ] {
        let refused = ModuleKey::new(key("pear.key").unwrap(), &read(name));
        assert_eq!(refused.unwrap_err(), problem, "{name}");
    }
}
