//! A small archive as a distribution has it, with whatever is wrong with it that a test wants.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use darksite::Location;
use darksite::deb::source::SuiteState;
use darksite::fetch::{Fetcher, Options};
use darksite::seen::Seen;
use darksite::source::{Reader, SourceError, SuiteSource};
use darksite::store::Store;
use jiff::{Timestamp, ToSpan};
use pkg::deb::{IndexFile, Release};
use pkg::openpgp::SigningKey;
use tree::Digest;

pub fn now() -> Timestamp {
    "2025-05-20T12:00:00Z".parse().unwrap()
}

/// What an archive's suite is like.
pub struct Suite {
    pub name: String,
    pub suite: String,
    pub component: String,
    pub date: Timestamp,
    pub valid_until: Option<Timestamp>,
    pub by_hash: bool,
    pub inline: bool,
    pub compressions: Vec<&'static str>,
    /// Name, version, architecture, content.
    pub packages: Vec<(String, String, String, Vec<u8>)>,
}

impl Suite {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            suite: "stable".to_owned(),
            component: "main".to_owned(),
            date: now() - 1.hour(),
            valid_until: Some(now() + 168.hours()),
            by_hash: true,
            inline: true,
            compressions: vec!["", ".xz", ".gz"],
            packages: Vec::new(),
        }
    }

    #[must_use]
    pub fn with(mut self, name: &str, version: &str) -> Self {
        let content = format!("the package {name} {version}").repeat(100).into_bytes();
        self.packages.push((name.to_owned(), version.to_owned(), "amd64".to_owned(), content));
        self
    }

    /// Writes the suite into the archive at `root`.
    pub fn write(&self, root: &Path, key: &SigningKey) {
        let mut index = String::new();
        for (name, version, architecture, content) in &self.packages {
            let path = format!("pool/main/{name}_{version}_{architecture}.deb");
            write(&root.join(&path), content);
            index += &format!(
                "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: Some One \
                 <one@example.org>\nDescription: a package\n of a test\nFilename: {path}\nSize: {}\nSHA256: \
                 {}\n\n",
                content.len(),
                Digest::of(content)
            );
        }
        let dists = root.join("dists").join(&self.name);
        let mut files = Vec::new();
        for compression in &self.compressions {
            let bytes = compress(index.as_bytes(), compression);
            let path = format!("{}/binary-amd64/Packages{compression}", self.component);
            let file = IndexFile { path, size: bytes.len() as u64, sha256: Digest::of(&bytes) };
            write(&dists.join(&file.path), &bytes);
            if self.by_hash {
                write(&dists.join(file.by_hash()), &bytes);
            }
            files.push(file);
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let release = Release {
            origin: "Test".to_owned(),
            suite: self.suite.clone(),
            codename: self.name.clone(),
            date: Some(self.date),
            valid_until: self.valid_until,
            architectures: vec!["amd64".to_owned()],
            components: vec![if self.name.ends_with("-security") {
                format!("updates/{}", self.component)
            } else {
                self.component.clone()
            }],
            acquire_by_hash: self.by_hash,
            files,
            ..Release::default()
        };
        let text = release.to_text();
        let signed = self.date.min(now());
        for name in ["InRelease", "Release", "Release.gpg"] {
            // The first time there is none.
            let _ = fs::remove_file(dists.join(name));
        }
        if self.inline {
            write(&dists.join("InRelease"), key.clearsign(&text, signed).unwrap().as_bytes());
        } else {
            write(&dists.join("Release"), text.as_bytes());
            let signature = key.detach_sign(text.as_bytes(), signed).unwrap();
            write(&dists.join("Release.gpg"), signature.as_bytes());
        }
    }
}

fn compress(bytes: &[u8], compression: &str) -> Vec<u8> {
    match compression {
        "" => bytes.to_vec(),
        ".xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        ".gz" => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        ".zst" => zstd::encode_all(bytes, 1).unwrap(),
        other => panic!("{other}"),
    }
}

pub fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// An archive, a store beside it, and a key.
pub struct Bench {
    pub directory: tempfile::TempDir,
    pub key: SigningKey,
    pub store: Store,
}

impl Bench {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        Self { directory, key: test_key(), store }
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("archive")
    }

    pub fn location(&self) -> Location {
        format!("file:{}", self.root().display()).parse().unwrap()
    }

    pub fn write(&self, suite: &Suite) {
        suite.write(&self.root(), &self.key);
    }

    pub fn source(&self, name: &str) -> SuiteSource {
        SuiteSource {
            name: name.to_owned(),
            mirrors: vec![self.location()],
            components: vec!["main".to_owned()],
            check_valid_until: true,
            check_rollback: true,
        }
    }

    pub fn read(&self, source: &SuiteSource) -> Result<SuiteState, SourceError> {
        let options =
            Options { rounds: 2, pause: std::time::Duration::from_millis(1), ..Options::default() };
        let fetcher = Fetcher::new(options).unwrap();
        let keyring = self.key.keyring();
        let seen = Seen::new(self.directory.path().join("seen"), "test");
        let reader = Reader {
            fetcher: &fetcher,
            store: &self.store,
            keyring: &keyring,
            seen: &seen,
            architecture: "amd64",
            now: now(),
        };
        reader.suite(source, &|_| {})
    }
}

/// A key made for this test run, older than everything it signs.
pub fn test_key() -> SigningKey {
    SigningKey::generate("A test <test@example.org>", now() - 8760.hours()).unwrap()
}
