//! What a machine's screen shows, asked of QEMU's monitor (QMP).

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{QEMU, QemuError};

/// QEMU answers at once, unless the machine is very busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The screen of one machine, on or off.
#[derive(Debug)]
pub struct Screen {
    directory: TempDir,
}

/// A picture of a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Red, green and blue of each point.
    points: Vec<[u8; 3]>,
}

impl Picture {
    /// How many different colours it has: a text console has a few, writing on a desktop many.
    #[must_use]
    pub fn colours(&self) -> usize {
        self.points.iter().collect::<HashSet<_>>().len()
    }

    /// Reads the only kind of portable pixmap that QEMU writes.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(b"P6\n")?;
        let mut line = || {
            let (line, after) = rest.split_at(rest.iter().position(|&byte| byte == b'\n')?);
            rest = &after[1..];
            std::str::from_utf8(line).ok()
        };
        let (width, height) = line()?.split_once(' ')?;
        let count = width.parse::<usize>().ok()?.checked_mul(height.parse().ok()?)?;
        line().filter(|most| *most == "255")?;
        let (points, []) = rest.as_chunks::<3>() else { return None };
        (points.len() == count && count > 0).then(|| Self { points: points.to_vec() })
    }
}

impl Screen {
    /// For a machine that is started with [`Self::args`].
    pub fn new() -> Result<Self, QemuError> {
        // The name of a socket must be short.
        let directory = tempfile::Builder::new().prefix("kldload-screen-").tempdir();
        Ok(Self { directory: directory.map_err(QemuError::Start)? })
    }

    /// Arguments for QEMU.
    #[must_use]
    pub fn args(&self) -> [OsString; 2] {
        let mut socket = OsString::from("unix:");
        socket.push(self.socket());
        socket.push(",server=on,wait=off");
        ["-qmp".into(), socket]
    }

    /// What it shows now.
    pub fn picture(&self) -> Result<Picture, QemuError> {
        let path = self.dump("ppm")?;
        let bytes = fs::read(&path).map_err(|source| QemuError::File { path, source })?;
        Picture::read(&bytes).ok_or_else(|| wrong("its picture is no portable pixmap"))
    }

    /// What it shows now, as a PNG file.
    pub fn png(&self) -> Result<Vec<u8>, QemuError> {
        let path = self.dump("png")?;
        fs::read(&path).map_err(|source| QemuError::File { path, source })
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("monitor")
    }

    fn dump(&self, format: &str) -> Result<PathBuf, QemuError> {
        let path = self.directory.path().join(format!("screen.{format}"));
        self.ask(&path, format).map_err(QemuError::Start)?;
        Ok(path)
    }

    fn ask(&self, path: &Path, format: &str) -> io::Result<()> {
        let stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut answers = BufReader::new(&stream);
        let screendump = json!({
            "execute": "screendump",
            "arguments": {"filename": path.to_string_lossy(), "format": format},
        });
        for question in [json!({"execute": "qmp_capabilities"}), screendump] {
            (&stream).write_all(format!("{question}\n").as_bytes())?;
            loop {
                let mut line = String::new();
                if answers.read_line(&mut line)? == 0 {
                    return Err(io::Error::other("its monitor says nothing"));
                }
                let answer: Value = serde_json::from_str(&line)?;
                if let Some(error) = answer.get("error") {
                    return Err(io::Error::other(format!("no picture of the screen: {error}")));
                }
                // Greetings and events come as well.
                if answer.get("return").is_some() {
                    break;
                }
            }
        }
        Ok(())
    }
}

fn wrong(what: &str) -> QemuError {
    QemuError::Start(io::Error::new(io::ErrorKind::InvalidData, format!("{QEMU}: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures() {
        let picture = Picture::read(b"P6\n2 2\n255\nabcabcabcxyz").unwrap();
        assert_eq!(picture.colours(), 2);
        for wrong in [
            &b""[..],
            b"P6\n2 2\n255\nabcabcabcxy",
            b"P6\n2 2\n255\nabcabcabcxyzx",
            b"P6\n2 2\n65535\nabcabcabcxyz",
            b"P6\n0 2\n255\n",
            b"P6\n4294967296 4294967296\n255\n",
            b"P6\n2",
        ] {
            assert_eq!(Picture::read(wrong), None);
        }
    }
}
