//! A small HTTP server that misbehaves as a test wants.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// What was asked.
pub struct Request {
    pub path: String,
    /// First byte of the range, if one was asked for.
    pub from: Option<usize>,
    /// How many requests came before.
    pub number: usize,
}

/// What is answered. The connection is closed after it.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
    /// The length that is announced, if it is not that of the body.
    pub announced: Option<usize>,
    /// Silence before the last byte.
    pub silence: Duration,
    /// Silence before each byte.
    pub drip: Duration,
}

impl Answer {
    pub fn status(status: u16) -> Self {
        let (silence, drip) = (Duration::ZERO, Duration::ZERO);
        Self { status, headers: Vec::new(), body: Vec::new(), announced: None, silence, drip }
    }

    pub fn full(body: &[u8]) -> Self {
        Self { body: body.to_vec(), ..Self::status(200) }
    }

    /// The part of `body` that was asked for.
    pub fn range(body: &[u8], request: &Request) -> Self {
        match request.from {
            None => Self::full(body),
            Some(from) if from >= body.len() => Self::status(416),
            Some(from) => Self {
                headers: vec![format!(
                    "Content-Range: bytes {from}-{}/{}",
                    body.len() - 1,
                    body.len()
                )],
                body: body[from..].to_vec(),
                ..Self::status(206)
            },
        }
    }

    /// Breaks off after `length` bytes of what is announced.
    pub fn cut(mut self, length: usize) -> Self {
        self.announced = Some(self.body.len());
        self.body.truncate(length);
        self
    }
}

pub struct Server {
    pub address: String,
    requests: Arc<AtomicUsize>,
}

impl Server {
    /// Starts one; it ends with the test.
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let (answer, counter) = (Arc::new(answer), Arc::clone(&requests));
        thread::spawn(move || {
            for connection in listener.incoming() {
                let Ok(connection) = connection else { return };
                let (answer, counter) = (Arc::clone(&answer), Arc::clone(&counter));
                thread::spawn(move || {
                    // The client may hang up at any time.
                    let _ = serve(&connection, &*answer, &counter);
                });
            }
        });
        Self { address, requests }
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(
    connection: &TcpStream,
    answer: &dyn Fn(&Request) -> Answer,
    counter: &AtomicUsize,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut from = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok();
        }
    }
    let number = counter.fetch_add(1, Ordering::SeqCst);
    let answer = answer(&Request { path, from, number });
    let mut out = connection;
    let length = answer.announced.unwrap_or(answer.body.len());
    let mut head = format!(
        "HTTP/1.1 {} x\r\nConnection: close\r\nContent-Length: {length}\r\n",
        answer.status
    );
    for header in &answer.headers {
        head += &format!("{header}\r\n");
    }
    out.write_all(format!("{head}\r\n").as_bytes())?;
    if answer.drip > Duration::ZERO {
        for byte in &answer.body {
            thread::sleep(answer.drip);
            out.write_all(&[*byte])?;
            out.flush()?;
        }
        return Ok(());
    }
    if answer.silence > Duration::ZERO {
        let (body, last) = answer.body.split_at(answer.body.len() - 1);
        out.write_all(body)?;
        out.flush()?;
        thread::sleep(answer.silence);
        return out.write_all(last);
    }
    out.write_all(&answer.body)
}
