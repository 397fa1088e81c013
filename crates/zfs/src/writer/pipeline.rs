//! Workers that encode blocks, or fetch those packed ahead, while the writer reads on; results come back in
//! the order in which blocks were given, so that what is written does not depend on timing.

use std::collections::VecDeque;
use std::io;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::block::{BlockParams, EncodedBlock, encode};
use super::packed::PackedBlock;
use crate::compress::Compressor;

/// Bytes of blocks that may be under way.
const WINDOW: usize = 32 << 20;

/// What a worker is to do.
pub(crate) enum Work {
    /// Encode a block that is born in transaction group `birth`.
    Encode { data: Vec<u8>, params: BlockParams, birth: u64 },
    /// Fetch one that was encoded before.
    Fetch(PackedBlock),
}

impl Work {
    /// Bytes of memory that the block takes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Encode { data, .. } => data.len(),
            Self::Fetch(block) => block.size(),
        }
    }

    fn run(self, compressor: &mut Compressor) -> io::Result<EncodedBlock> {
        match self {
            Self::Encode { data, params, birth } => encode(data, &params, birth, compressor),
            Self::Fetch(block) => block.read(),
        }
    }
}

struct Job {
    ticket: u64,
    work: Work,
}

/// The writer's end. Dropping it ends the workers.
pub(crate) struct Pipeline {
    jobs: Sender<Job>,
    results: Receiver<(u64, usize, io::Result<EncodedBlock>)>,
    /// Results for tickets from `next` on.
    ready: VecDeque<Option<io::Result<EncodedBlock>>>,
    next: u64,
    issued: u64,
    bytes: usize,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Pipeline {
    /// Starts one worker for each core, in `scope`.
    pub(crate) fn start<'scope>(scope: &'scope std::thread::Scope<'scope, '_>) -> Self {
        let (jobs, job_queue) = bounded::<Job>(1024);
        let (result_queue, results) = unbounded();
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..workers {
            let (job_queue, result_queue) = (job_queue.clone(), result_queue.clone());
            scope.spawn(move || {
                let mut compressor = Compressor::default();
                for job in job_queue {
                    let size = job.work.size();
                    let block = job.work.run(&mut compressor);
                    if result_queue.send((job.ticket, size, block)).is_err() {
                        return;
                    }
                }
            });
        }
        Self { jobs, results, ready: VecDeque::new(), next: 0, issued: 0, bytes: 0 }
    }

    /// Whether another block of `size` bytes should wait until one was taken back.
    pub(crate) fn is_full(&self, size: usize) -> bool {
        self.bytes > 0 && (self.bytes + size > WINDOW || self.issued - self.next >= 1000)
    }

    /// Gives a block to the workers. The caller keeps to [`Self::is_full`].
    pub(crate) fn submit(&mut self, work: Work) -> io::Result<()> {
        self.bytes += work.size();
        self.ready.push_back(None);
        let job = Job { ticket: self.issued, work };
        self.issued += 1;
        self.jobs.send(job).map_err(|_| io::Error::other("a compression worker has died"))
    }

    /// The next block in order, waiting for it if need be.
    pub(crate) fn take(&mut self) -> io::Result<EncodedBlock> {
        loop {
            match self.ready.pop_front() {
                Some(Some(block)) => {
                    self.next += 1;
                    return block;
                }
                Some(None) => self.ready.push_front(None),
                None => return Err(io::Error::other("no block is under way")),
            }
            let (ticket, size, block) = self
                .results
                .recv()
                .map_err(|_| io::Error::other("a compression worker has died"))?;
            self.bytes -= size;
            if let Some(slot) = self.ready.get_mut((ticket - self.next) as usize) {
                *slot = Some(block);
            }
        }
    }
}
