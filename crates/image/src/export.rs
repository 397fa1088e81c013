//! One pass: workers read and compress, one thread puts the order back, each writer has its own.
//!
//! Memory is bounded by permits: a batch of 1 MiB and its compressed form lie in the buffers of its
//! permit, which are used again: what one thread allocates and another frees, the allocator keeps. A
//! permit and the next batch are taken together, so that the batch everybody waits for
//! always has one.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use disk::export::{ImageWriter, PIECE, Piece, Runs, WriteError, Written, is_zero, verity};
use thiserror::Error;

use crate::deflate::{Deflater, Window, zero_piece};
use crate::read::{ReadError, Source};

/// Bytes read at once.
const BATCH: u64 = 1 << 20;
/// Batches that exist at the same time: 2 MiB each at most.
const PERMITS: usize = 48;

/// How the pass is made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Threads that compress: as many as there are batches at the most.
    pub jobs: usize,
    /// The window of deflate, if a writer wants that.
    pub deflate: Option<Window>,
    /// Whether a writer wants CRC-32.
    pub crc: bool,
    /// Whether a writer wants the hashes of fs-verity.
    pub leaves: bool,
}

/// Why an export failed. What is in the outputs is of no use.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The source failed.
    #[error("reading the source at offset {offset}; --skip-bad goes on with zeros there")]
    Read {
        /// Byte offset on the disk.
        offset: u64,
        /// The failure.
        source: io::Error,
    },
    /// A writer failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A fault of this program, which it has told on standard error.
    #[error("the thread for the bytes from offset {offset} on ended early: this is a bug")]
    Worker {
        /// Byte offset on the disk.
        offset: u64,
    },
    /// A fault of this program, which it has told on standard error.
    #[error("the thread of a writer ended early: this is a bug")]
    Lost,
}

impl From<ReadError> for ExportError {
    fn from(ReadError { offset, source }: ReadError) -> Self {
        Self::Read { offset, source }
    }
}

/// A piece of zeros as deflate, for [`disk::export::Gcp`].
pub fn zeros() -> Vec<u8> {
    zero_piece()
}

/// What a batch consists of.
#[derive(Debug, Default)]
struct Buffers {
    bytes: Vec<u8>,
    packed: Vec<u8>,
    leaves: Vec<u8>,
}

/// Gives its buffers back when it is dropped.
#[derive(Debug)]
struct Permit {
    buffers: Buffers,
    home: Sender<Buffers>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Nobody waits any more when the pass has ended.
        let _ = self.home.try_send(mem::take(&mut self.buffers));
    }
}

/// A read part of the disk, with its pieces.
#[derive(Debug)]
struct Batch {
    offset: u64,
    pieces: Vec<Entry>,
    permit: Permit,
}

#[derive(Debug)]
struct Entry {
    at: usize,
    deflated: Option<Range<usize>>,
    leaves: Range<usize>,
    adler: u32,
    crc: u32,
}

/// What is to be read, batch by batch.
struct Plan {
    runs: std::vec::IntoIter<Range<u64>>,
    run: Range<u64>,
    number: u64,
}

impl Plan {
    fn next(&mut self) -> Option<(u64, Range<u64>)> {
        while self.run.is_empty() {
            self.run = self.runs.next()?;
        }
        let end = self.run.end.min(self.run.start + BATCH);
        let batch = self.run.start..end;
        self.run.start = end;
        self.number += 1;
        Some((self.number - 1, batch))
    }
}

/// Reads `runs` of `source` once and feeds all `writers`. `progress` is told how many bytes of the runs
/// are done.
pub fn export(
    source: &Source<'_>,
    runs: &Runs,
    writers: Vec<Box<dyn ImageWriter>>,
    options: Options,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Written>, ExportError> {
    let plan = Mutex::new(Plan { runs: runs.clone().into_iter(), run: 0..0, number: 0 });
    let stop = AtomicBool::new(false);
    let (permit_sender, permits) = bounded(PERMITS);
    for _ in 0..PERMITS {
        // It has room for all of them, and its receiver lives.
        let _ = permit_sender.send(Buffers::default());
    }
    thread::scope(|scope| {
        let (done, batches) = bounded(PERMITS);
        // More could only wait for permits.
        for _ in 0..options.jobs.clamp(1, PERMITS) {
            let (done, permits, permit_sender) =
                (done.clone(), permits.clone(), permit_sender.clone());
            let (plan, stop) = (&plan, &stop);
            scope.spawn(move || {
                work(source, plan, stop, options, &done, &permits, &permit_sender);
            });
        }
        drop(done);
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for writer in writers {
            let (sender, receiver) = bounded::<Arc<Batch>>(PERMITS);
            queues.push(sender);
            let stop = &stop;
            threads.push(scope.spawn(move || {
                let written = write(writer, &receiver);
                if written.is_err() {
                    stop.store(true, Ordering::Relaxed);
                    // Batches that nobody takes would keep their permits.
                    receiver.iter().for_each(drop);
                }
                written
            }));
        }
        let result = in_order(&batches, &queues, &stop, progress);
        if result.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        drop(queues);
        // Workers that wait to hand over, or for a permit, go on and see the end.
        batches.iter().for_each(drop);
        let mut written = Vec::new();
        let mut failed = None;
        for thread in threads {
            match thread.join() {
                Ok(Ok(image)) => written.push(image),
                Ok(Err(error)) => failed = failed.or(Some(ExportError::Write(error))),
                Err(_) => failed = failed.or(Some(ExportError::Lost)),
            }
        }
        match (result, failed) {
            // A writer that failed is why its queue was closed.
            (Err(ExportError::Lost) | Ok(()), Some(error)) => Err(error),
            (Err(error), _) => Err(error),
            (Ok(()), None) => Ok(written),
        }
    })
}

/// A worker: takes batches until there are no more.
fn work(
    source: &Source<'_>,
    plan: &Mutex<Plan>,
    stop: &AtomicBool,
    options: Options,
    done: &Sender<(u64, Result<Batch, ExportError>)>,
    permits: &Receiver<Buffers>,
    permit_sender: &Sender<Buffers>,
) {
    let mut deflater = options.deflate.map(Deflater::new);
    loop {
        let (permit, number, range) = {
            let mut plan = plan.lock().unwrap_or_else(PoisonError::into_inner);
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let Ok(buffers) = permits.recv() else { return };
            let permit = Permit { buffers, home: permit_sender.clone() };
            let Some((number, range)) = plan.next() else { return };
            (permit, number, range)
        };
        let offset = range.start;
        // Whoever waits for this batch must hear of it.
        let batch = catch_unwind(AssertUnwindSafe(|| {
            make(source, range, options, deflater.as_mut(), permit)
        }))
        .unwrap_or(Err(ExportError::Worker { offset }));
        if done.send((number, batch)).is_err() {
            return;
        }
    }
}

fn make(
    source: &Source<'_>,
    range: Range<u64>,
    options: Options,
    mut deflater: Option<&mut Deflater>,
    mut permit: Permit,
) -> Result<Batch, ExportError> {
    let offset = range.start;
    let Buffers { bytes, packed, leaves } = &mut permit.buffers;
    bytes.resize((range.end - offset) as usize, 0);
    source.read(bytes, offset)?;
    packed.clear();
    leaves.clear();
    let mut pieces = Vec::new();
    for (index, piece) in bytes.chunks(PIECE).enumerate() {
        if is_zero(piece) {
            continue;
        }
        let adler = zlib_rs::adler32::adler32(1, piece);
        let mut entry = Entry { at: index * PIECE, deflated: None, leaves: 0..0, adler, crc: 0 };
        if let Some(deflater) = deflater.as_deref_mut() {
            let start = packed.len();
            if deflater.deflate(piece, packed) {
                entry.deflated = Some(start..packed.len());
            }
        }
        if options.crc {
            entry.crc = crc32fast::hash(piece);
        }
        if options.leaves {
            let start = leaves.len();
            verity::leaves(piece, leaves);
            entry.leaves = start..leaves.len();
        }
        pieces.push(entry);
    }
    Ok(Batch { offset, pieces, permit })
}

/// Hands the batches to all writers in their order.
fn in_order(
    batches: &Receiver<(u64, Result<Batch, ExportError>)>,
    queues: &[Sender<Arc<Batch>>],
    stop: &AtomicBool,
    progress: &mut dyn FnMut(u64),
) -> Result<(), ExportError> {
    let (mut waiting, mut next, mut bytes) = (BTreeMap::new(), 0, 0);
    for (number, batch) in batches {
        waiting.insert(number, batch?);
        if stop.load(Ordering::Relaxed) {
            return Err(ExportError::Lost);
        }
        while let Some(batch) = waiting.remove(&next) {
            next += 1;
            bytes += batch.permit.buffers.bytes.len() as u64;
            let batch = Arc::new(batch);
            for queue in queues {
                queue.send(batch.clone()).map_err(|_| ExportError::Lost)?;
            }
            progress(bytes);
        }
    }
    Ok(())
}

fn write(
    mut writer: Box<dyn ImageWriter>,
    batches: &Receiver<Arc<Batch>>,
) -> Result<Written, WriteError> {
    for batch in batches {
        let Buffers { bytes, packed, leaves } = &batch.permit.buffers;
        for entry in &batch.pieces {
            writer.piece(&Piece {
                offset: batch.offset + entry.at as u64,
                bytes: &bytes[entry.at..entry.at + PIECE],
                deflated: entry.deflated.clone().map(|range| &packed[range]),
                adler: entry.adler,
                crc: entry.crc,
                leaves: &leaves[entry.leaves.clone()],
            })?;
        }
    }
    writer.finish()
}
