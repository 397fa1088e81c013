//! The serving half: a repository over HTTP/1.1, for reading only.
//!
//! Answers `GET` and `HEAD`, ranges and `If-Modified-Since` included, as apt asks (RFC 9110, RFC 9112).
//! Only regular files below the root are served, and only those of a family's directories, as `dists/` and
//! `pool/`, of `upstream/`, the lock and the key; there are no listings. One thread for each connection, a bounded number of them.

pub mod request;

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use rustix::fs::{Mode, OFlags, openat};

use crate::family::has_directory;
use crate::publish::UPSTREAM;
use crate::site::{CURRENT, KEY_FILE, LOCK_FILE};
use request::Request;

/// Connections at the same time; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 128;
/// How long a client may be silent in the middle of an answer.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a client may take from one answer to the end of the next request, however it trickles.
const IDLE: Duration = Duration::from_secs(10);
/// How often a connection that waits for a request looks whether others need its place.
const LOOK: Duration = Duration::from_millis(250);
/// Longest head of a request, in bytes.
const HEAD: usize = 16 << 10;

/// What can be served.
#[derive(Debug, Clone)]
enum Root {
    /// One repository.
    Repository(PathBuf),
    /// A darksite: its newest snapshot at `/`, and all of them at `/snapshots/ID/`.
    Site(PathBuf),
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    root: Arc<Root>,
}

impl Server {
    /// Listens at `address` for requests of files in `directory`: a darksite or a repository.
    pub fn bind(address: impl ToSocketAddrs, directory: &Path) -> io::Result<Self> {
        let directory = fs::canonicalize(directory)?;
        let root = match directory.join("snapshots").is_dir() {
            true => Root::Site(directory),
            false => Root::Repository(directory),
        };
        Ok(Self { listener: TcpListener::bind(address)?, root: Arc::new(root) })
    }

    /// The address it listens at.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process ends; `log` hears of each request and its status.
    pub fn run(self, log: impl Fn(&str, u16) + Send + Sync + 'static) -> io::Result<()> {
        let (log, open) = (Arc::new(log), Arc::new(AtomicUsize::new(0)));
        for connection in self.listener.incoming() {
            let connection = match connection {
                Ok(connection) => connection,
                // Too many open files, or the client is gone already: neither is for ever.
                Err(_) => {
                    thread::sleep(Duration::from_millis(50));
                    continue;
                }
            };
            while open.load(Ordering::Acquire) >= CONNECTIONS {
                thread::sleep(Duration::from_millis(5));
            }
            open.fetch_add(1, Ordering::AcqRel);
            let (root, log, count) =
                (Arc::clone(&self.root), Arc::clone(&log), Leave(Arc::clone(&open)));
            let started = thread::Builder::new().spawn(move || {
                // A client that hangs up is no concern of ours.
                let _ = converse(&connection, &root, &*log, &count.0);
            });
            // Without a thread the connection is dropped, which the client can try again.
            drop(started);
        }
        Ok(())
    }
}

/// Counts a connection down when it ends, however it ends.
struct Leave(Arc<AtomicUsize>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Answers the requests of one connection.
fn converse(
    connection: &TcpStream,
    root: &Root,
    log: &dyn Fn(&str, u16),
    open: &AtomicUsize,
) -> io::Result<()> {
    connection.set_read_timeout(Some(LOOK))?;
    connection.set_write_timeout(Some(SILENCE))?;
    connection.set_nodelay(true)?;
    let mut unread = Vec::new();
    loop {
        let head = match read_head(connection, &mut unread, open)? {
            Some(head) => head,
            None => return Ok(()),
        };
        let request = match Request::parse(&head) {
            Ok(request) => request,
            Err(status) => {
                log("?", status);
                return Answer::error(status).send(connection, false, false);
            }
        };
        let answer = answer(root, &request);
        log(&request.path, answer.status);
        answer.send(connection, request.head_only, request.keep_alive)?;
        if !request.keep_alive {
            return Ok(());
        }
    }
}

/// The next request's head, with the empty line at its end. What follows stays in `unread`. `None` if there
/// comes none, or if nothing of it is there and others wait for a place.
fn read_head(
    mut connection: &TcpStream,
    unread: &mut Vec<u8>,
    open: &AtomicUsize,
) -> io::Result<Option<Vec<u8>>> {
    let mut chunk = [0; 4096];
    let begun = Instant::now();
    loop {
        if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = unread.split_off(end + 4);
            return Ok(Some(std::mem::replace(unread, rest)));
        }
        if unread.len() > HEAD {
            return Ok(Some(std::mem::take(unread)));
        }
        match connection.read(&mut chunk) {
            Ok(0) => return Ok(None),
            Ok(read) => unread.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if unread.is_empty() && open.load(Ordering::Acquire) >= CONNECTIONS {
                    return Ok(None);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if begun.elapsed() >= IDLE {
            return Ok(None);
        }
    }
}

/// What is answered.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    file: Option<File>,
    start: u64,
    length: u64,
    text: String,
}

impl Answer {
    fn error(status: u16) -> Self {
        let text = format!("{status} {}\n", reason(status));
        let mut headers = vec![("Content-Type", "text/plain".to_owned())];
        // RFC 9110, 15.5.6.
        if status == 405 {
            headers.push(("Allow", "GET, HEAD".to_owned()));
        }
        Self { status, headers, file: None, start: 0, length: text.len() as u64, text }
    }

    fn send(mut self, mut to: &TcpStream, head_only: bool, keep_alive: bool) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let connection = if keep_alive { "keep-alive" } else { "close" };
        head += &format!("Connection: {connection}\r\n");
        // 304 has no body, and says nothing of the length of what it does not send.
        if self.status != 304 {
            head += &format!("Content-Length: {}\r\n", self.length);
        }
        head += "\r\n";
        if !head_only && self.status != 304 && self.file.is_none() {
            head += &self.text;
        }
        to.write_all(head.as_bytes())?;
        let Some(file) = self.file.as_mut().filter(|_| !head_only && self.status != 304) else {
            return Ok(());
        };
        file.seek(SeekFrom::Start(self.start))?;
        // By 8 KiB. sendfile(2) takes half of the server's processor time, but a client on the same machine then
        // reads what no cache has, and a sync takes a tenth longer; larger pieces change nothing.
        let sent = io::copy(&mut file.take(self.length), &mut to)?;
        if sent != self.length {
            return Err(io::Error::other("the file became shorter"));
        }
        Ok(())
    }
}

fn answer(root: &Root, request: &Request) -> Answer {
    let Some((base, path)) = file_of(root, &request.path) else { return Answer::error(404) };
    let opened = open_below(&base, path).and_then(|file| Ok((file.metadata()?, file)));
    let Ok((metadata, file)) = opened else { return Answer::error(404) };
    if !metadata.is_file() {
        return Answer::error(404);
    }
    let size = metadata.len();
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    // HTTP knows whole seconds.
    let modified = Timestamp::try_from(modified).map_or(0, Timestamp::as_second);
    let date = Timestamp::from_second(modified).unwrap_or_default();
    let mut headers = vec![
        ("Content-Type", "application/octet-stream".to_owned()),
        ("Accept-Ranges", "bytes".to_owned()),
        ("Last-Modified", http_date(date)),
    ];
    let whole = Answer {
        status: 200,
        headers: Vec::new(),
        file: None,
        start: 0,
        length: size,
        text: String::new(),
    };
    if request.range.is_none() && request.modified_since.is_some_and(|since| since >= modified) {
        return Answer { status: 304, headers, ..whole };
    }
    // A range of another state of the file would be put together with what does not belong to it.
    let same = request.if_range.is_none_or(|date| date == modified);
    let range = request.range.filter(|_| same).map(|range| range.within(size));
    match range {
        None => Answer { headers, file: Some(file), ..whole },
        Some(Some((start, length))) => {
            let last = start + length - 1;
            headers.push(("Content-Range", format!("bytes {start}-{last}/{size}")));
            Answer { status: 206, headers, file: Some(file), start, length, ..whole }
        }
        Some(None) => {
            let mut refused = Answer::error(416);
            refused.headers.push(("Content-Range", format!("bytes */{size}")));
            refused
        }
    }
}

/// Opens a file below `base` for reading. No symbolic link leads out of there, and nothing else that has
/// a name there, as a pipe, keeps us waiting.
fn open_below(base: &Path, path: &str) -> io::Result<File> {
    let mut opened = File::open(base)?;
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        let kind = if parts.peek().is_some() { OFlags::DIRECTORY } else { OFlags::NONBLOCK };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | kind;
        opened = openat(&opened, part, flags, Mode::empty())?.into();
    }
    Ok(opened)
}

/// The file that a path means, if it is one that may be served: the directory of its repository, and
/// its path below.
fn file_of<'a>(root: &Root, path: &'a str) -> Option<(PathBuf, &'a str)> {
    let path = pkg::path::check_path(path.strip_prefix('/')?).ok()?;
    let (base, path) = match root {
        Root::Repository(directory) => (directory.clone(), path),
        Root::Site(directory) => match path.strip_prefix("snapshots/") {
            Some(rest) => {
                let (id, rest) = rest.split_once('/').filter(|(id, _)| !id.starts_with('.'))?;
                (directory.join("snapshots").join(id), rest)
            }
            None => (directory.join(CURRENT), path),
        },
    };
    let first = path.split('/').next()?;
    let served = has_directory(first) || first == UPSTREAM || [LOCK_FILE, KEY_FILE].contains(&path);
    // Nothing of ours has a name like that.
    let hidden = path.split('/').any(|part| part.starts_with('.'));
    (served && !hidden).then_some((base, path))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Range Not Satisfiable",
        431 => "Request Header Fields Too Large",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

fn http_date(date: Timestamp) -> String {
    date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests;
