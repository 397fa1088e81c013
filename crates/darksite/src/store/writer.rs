//! Writing files while more of them arrives: in large pieces, by threads of their own, past the page cache.
//!
//! Copying into the page cache takes as long as receiving, and the disk hears of it late. With `O_DIRECT`
//! (open(2)) it takes a piece as it is, while the next one is received and hashed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SendError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Bytes of a piece.
const PIECE: usize = 1 << 20;
/// After so long a piece is written as it is: what is only in memory is lost with the process.
const LATE: Duration = Duration::from_secs(1);
/// A file that is shorter goes through the page cache.
const SMALL: usize = 1 << 16;
/// What addresses, offsets and lengths have to be multiples of, past the page cache.
const ALIGNMENT: usize = 4096;
/// Threads that write; each of them does it for some of the files, in order.
const THREADS: usize = 4;
/// Pieces that wait for each thread.
const QUEUE: usize = 2;

/// A part of a file.
#[derive(Debug)]
struct Piece {
    memory: Vec<u8>,
    /// Where in the memory it begins.
    start: usize,
    length: usize,
    /// Where in the file it begins.
    offset: u64,
    /// When its first byte was waited for.
    begun: Instant,
}

impl Piece {
    fn new() -> Self {
        let memory = vec![0; PIECE + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, start, length: 0, offset: 0, begun: Instant::now() }
    }

    fn bytes(&self) -> &[u8] {
        self.memory.get(self.start..self.start + self.length).unwrap_or_default()
    }

    fn room(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start + self.length..self.start + PIECE).unwrap_or_default()
    }
}

/// Pieces that nobody uses now: to make one takes longer than to fill it.
type Free = Arc<Mutex<Vec<Piece>>>;

/// Writes the files of a store.
#[derive(Debug, Default)]
pub(super) struct Writers {
    /// They begin with the first file.
    threads: OnceLock<Vec<SyncSender<Job>>>,
    next: AtomicUsize,
    free: Free,
}

impl Writers {
    /// Writes `file` from `offset` on.
    pub(super) fn writer(&self, file: File, offset: u64) -> Writer {
        let threads =
            self.threads.get_or_init(|| (0..THREADS).filter_map(|_| start(&self.free)).collect());
        let number = self.next.fetch_add(1, Ordering::Relaxed) % threads.len().max(1);
        let (thread, free) = (threads.get(number).cloned(), self.free.clone());
        Writer { file: Arc::new(file), thread, free, progress: Arc::default(), offset, piece: None }
    }
}

/// Starts a thread that writes; without it, whoever fills a piece writes it too.
fn start(free: &Free) -> Option<SyncSender<Job>> {
    let (sender, jobs) = sync_channel::<Job>(QUEUE);
    let free = free.clone();
    let work = move || jobs.into_iter().for_each(|job| job.run(&free));
    thread::Builder::new().name("writer".to_owned()).spawn(work).ok().map(|_| sender)
}

/// A piece, the file that it belongs to, and how far that is.
#[derive(Debug)]
struct Job {
    file: Arc<File>,
    progress: Arc<Progress>,
    piece: Piece,
}

#[derive(Debug, Default)]
struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Pieces that are not written yet.
    pieces: usize,
    failed: Option<io::Error>,
}

/// What a thread that panicked left is as good as before.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    /// Writes the piece, if all before it could be.
    fn run(self, free: &Free) {
        let Self { file, progress, piece } = self;
        let failed = lock(&progress.state).failed.is_some();
        let written = if failed { Ok(()) } else { write(&file, &piece) };
        // Whoever waits may open and lock it again.
        drop(file);
        lock(free).push(piece);
        let mut state = lock(&progress.state);
        state.pieces -= 1;
        if let Err(error) = written {
            state.failed = Some(error);
        }
        progress.changed.notify_all();
    }
}

/// Writes a piece. What is aligned goes past the page cache, if all before it did.
fn write(file: &File, piece: &Piece) -> io::Result<()> {
    let direct = if piece.offset == 0 {
        let wanted = if piece.length >= SMALL { OFlags::DIRECT } else { OFlags::empty() };
        // Not every file system has it.
        fcntl_setfl(file, wanted).is_ok() && wanted == OFlags::DIRECT
    } else {
        fcntl_getfl(file)?.contains(OFlags::DIRECT)
    };
    let (mut rest, mut offset) = (piece.bytes(), piece.offset);
    if direct {
        let (aligned, more) = rest.split_at(rest.len() - rest.len() % ALIGNMENT);
        match file.write_all_at(aligned, offset) {
            Ok(()) => (rest, offset) = (more, offset + aligned.len() as u64),
            // It wants more of it than that.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => return Err(error),
        }
        if rest.is_empty() {
            return Ok(());
        }
        fcntl_setfl(file, OFlags::empty())?;
    }
    file.write_all_at(rest, offset)
}

/// Writes a file in order. Dropping it waits until all that was given is written.
#[derive(Debug)]
pub(super) struct Writer {
    file: Arc<File>,
    thread: Option<SyncSender<Job>>,
    free: Free,
    progress: Arc<Progress>,
    /// Where in the file the next byte goes.
    offset: u64,
    piece: Option<Piece>,
}

impl Writer {
    /// What is written.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// How far the file goes, in bytes, once all that was added is written.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the next bytes go; some room there always is.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let take = || {
            let piece = lock(&self.free).pop().unwrap_or_else(Piece::new);
            Piece { length: 0, offset: self.offset, begun: Instant::now(), ..piece }
        };
        self.piece.get_or_insert_with(take).room()
    }

    /// Adds the first `length` bytes of the room. An error may be that of bytes added before.
    pub(super) fn filled(&mut self, length: usize) -> io::Result<()> {
        let Some(piece) = &mut self.piece else { return Ok(()) };
        piece.length += length;
        self.offset += length as u64;
        let enough = piece.length >= PIECE || piece.begun.elapsed() >= LATE;
        if enough { self.hand_on() } else { Ok(()) }
    }

    /// Has what was added written, without waiting for that.
    pub(super) fn hand_on(&mut self) -> io::Result<()> {
        let Some(piece) = self.piece.take() else { return Ok(()) };
        if lock(&self.progress.state).failed.is_some() {
            return self.wait();
        }
        lock(&self.progress.state).pieces += 1;
        let job = Job { file: self.file.clone(), progress: self.progress.clone(), piece };
        let unsent = match &self.thread {
            Some(thread) => thread.send(job).err().map(|SendError(job)| job),
            None => Some(job),
        };
        if let Some(job) = unsent {
            job.run(&self.free);
        }
        Ok(())
    }

    /// Waits until all that was added is written.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        self.hand_on()?;
        let mut state = lock(&self.progress.state);
        while state.pieces > 0 {
            state = self.progress.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failed.take().map_or(Ok(()), Err)
    }

    /// Forgets all that was written.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.wait()?;
        self.offset = 0;
        self.file.set_len(0)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // What is not written will be missing, and fetched again.
        let _ = self.wait();
    }
}
