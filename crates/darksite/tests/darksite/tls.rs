//! An HTTPS server that is none of ours: `openssl s_server`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

pub struct TlsServer {
    directory: TempDir,
    child: Child,
    pub address: String,
}

impl TlsServer {
    /// Serves `content` at `path`, under a certificate for 127.0.0.1 that vouches for itself. `None`, with a
    /// loud word, if there is no openssl.
    pub fn start(path: &str, content: &[u8]) -> Option<Self> {
        let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", content.len());
        Self::answering(path, &[head.as_bytes(), content].concat())
    }

    /// Answers at `path` with these bytes, head and all.
    pub fn answering(path: &str, answer: &[u8]) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let openssl = |args: &[&str]| {
            let mut command = Command::new("openssl");
            command.args(args).current_dir(directory.path()).stderr(Stdio::null());
            command
        };
        let certificate = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=kldload \
                           -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
                           -keyout key.pem -out certificate.pem";
        let certificate: Vec<&str> = certificate.split_whitespace().collect();
        if !openssl(&certificate).status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: no openssl that makes certificates here");
            return None;
        }
        let file = directory.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, answer).unwrap();
        let serve = [
            "s_server",
            "-HTTP",
            "-accept",
            "127.0.0.1:0",
            "-cert",
            "certificate.pem",
            "-key",
            "key.pem",
        ];
        let mut child =
            openssl(&serve).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // "ACCEPT 127.0.0.1:40123"
        let address =
            lines.by_ref().find_map(|line| line.strip_prefix("ACCEPT ").map(str::to_owned));
        // It must not wait for somebody to read what it says.
        thread::spawn(move || lines.for_each(drop));
        let address = format!("https://{}", address.unwrap());
        Some(Self { directory, child, address })
    }

    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
