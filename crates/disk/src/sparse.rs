//! The data of a sparse source, cluster by cluster: what every image format writes.

use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use blk::ReadAt;
use thiserror::Error;

/// Bytes read at once; a multiple of every cluster size.
const CHUNK: usize = 1 << 20;
/// Chunks read ahead of the writer.
const READ_AHEAD: usize = 4;

/// The source failed.
#[derive(Debug, Error)]
#[error("reading the source at offset {offset}")]
pub struct SourceError {
    /// Byte offset in the source.
    pub offset: u64,
    /// The failure.
    pub source: io::Error,
}

/// Hands `sink` every run of neighbouring clusters that are not all zero, in ascending order and
/// at most [`CHUNK`] bytes at once. Runs start on a cluster; only the one at the end of the source
/// may end within one. `progress` is told the bytes of the source that are done.
///
/// Reading happens on a second thread, so that source and output are busy at the same time.
pub(crate) fn copy<E: From<SourceError>>(
    source: &dyn ReadAt,
    cluster: usize,
    progress: &mut dyn FnMut(u64),
    mut sink: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    debug_assert!(CHUNK.is_multiple_of(cluster));
    let size = source.size().map_err(|source| SourceError { offset: 0, source })?;
    thread::scope(|scope| {
        let (full_sender, full) = sync_channel(READ_AHEAD);
        let (empty, empty_receiver) = sync_channel(READ_AHEAD + 2);
        scope.spawn(move || {
            if let Err(error) = read(source, size, cluster as u64, &full_sender, &empty_receiver) {
                // Nobody listens any more only when the writer failed first.
                let _ = full_sender.send(Err(error));
            }
        });
        for chunk in full {
            let Chunk { offset, bytes } = chunk?;
            for run in runs(&bytes, cluster) {
                sink(offset + run.start as u64, &bytes[run])?;
            }
            progress(offset + bytes.len() as u64);
            // The reader may be done and gone; then the buffer is not needed.
            let _ = empty.send(bytes);
        }
        progress(size);
        Ok(())
    })
}

struct Chunk {
    offset: u64,
    bytes: Vec<u8>,
}

/// Reads all clusters with data in them, whole chunks where possible.
fn read(
    source: &dyn ReadAt,
    size: u64,
    cluster: u64,
    full: &SyncSender<Result<Chunk, SourceError>>,
    empty: &Receiver<Vec<u8>>,
) -> Result<(), SourceError> {
    let fail = |offset| move |source| SourceError { offset, source };
    let mut at = 0;
    while let Some(data) = source.next_data(at).map_err(fail(at))? {
        // A cluster that the last run touched was read whole; do not read it again.
        let mut offset = (data.start / cluster * cluster).max(at);
        let end = data.end.checked_next_multiple_of(cluster).map_or(size, |end| end.min(size));
        while offset < end {
            let length = (CHUNK as u64).min(end - offset) as usize;
            let mut bytes = empty.try_recv().unwrap_or_default();
            bytes.resize(length, 0);
            source.read_exact_at(&mut bytes, offset).map_err(fail(offset))?;
            if full.send(Ok(Chunk { offset, bytes })).is_err() {
                return Ok(());
            }
            offset += length as u64;
        }
        if end <= at {
            // A source that answers with nothing, or with what lies behind, would hold us forever.
            let answer = io::Error::other("next_data went backwards");
            return Err(fail(at)(answer));
        }
        at = end;
    }
    Ok(())
}

/// Neighbouring clusters of `bytes` that are not all zero.
fn runs(bytes: &[u8], cluster: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, part) in bytes.chunks(cluster).enumerate() {
        if is_zero(part) {
            continue;
        }
        let start = index * cluster;
        match runs.last_mut() {
            Some(last) if last.end == start => last.end += part.len(),
            _ => runs.push(start..start + part.len()),
        }
    }
    runs
}

/// Whether all bytes are zero: blocks without a branch inside, so that they become vector code.
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(1024).all(|block| block.iter().fold(0, |or, byte| or | byte) == 0)
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;
    use blk::Memory;

    /// Data where `next_data` says, on odd borders.
    struct Odd(Memory, Vec<Range<u64>>);

    impl ReadAt for Odd {
        fn size(&self) -> io::Result<u64> {
            self.0.size()
        }
        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            self.0.read_exact_at(buf, offset)
        }
        fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
            let run = self.1.iter().find(|run| run.end > offset);
            Ok(run.map(|run| run.start.max(offset)..run.end))
        }
    }

    fn copied(source: &dyn ReadAt, cluster: usize) -> Vec<Range<u64>> {
        let mut runs = Vec::new();
        let mut last = 0;
        let mut progress = |done| {
            assert!(done >= last);
            last = done;
        };
        copy(source, cluster, &mut progress, |offset, bytes| {
            runs.push(offset..offset + bytes.len() as u64);
            Ok::<_, SourceError>(())
        })
        .unwrap();
        assert_eq!(last, source.size().unwrap());
        runs
    }

    #[test]
    fn runs_are_whole_clusters_once() {
        let mut bytes = vec![0; 10_000];
        for at in [5, 1023, 1024, 3000, 9999] {
            bytes[at] = 1;
        }
        let odd = |runs: Vec<Range<u64>>| Odd(Memory::from(bytes.clone()), runs);
        let expected = [0..1024, 1024..2048, 2048..3072, 9216..10_000];
        assert_eq!(copied(&odd(vec![3..7, 1020..1030, 1500..3001, 9000..10_000]), 1024), expected);
        assert_eq!(copied(&Memory::from(bytes), 1024), [0..3072, 9216..10_000]);
        assert_eq!(copied(&Memory::zeroed(0), 1024), []);
        assert_eq!(copied(&Memory::zeroed(1 << 22), 1024), []);
    }

    #[test]
    fn a_failing_sink_ends_the_reader() {
        let source = Memory::from(vec![1; 64 << 20]);
        let result = copy(&source, 1024, &mut |_| (), |offset, _| {
            Err(SourceError { offset, source: io::Error::other("full") })
        });
        assert_eq!(result.unwrap_err().offset, 0);
    }

    #[test]
    fn a_failing_source_is_told() {
        let source = Odd(Memory::zeroed(10), vec![0..10]);
        let short = Odd(source.0, vec![20..30]);
        let error = copy(&short, 4, &mut |_| (), |_, _| Ok::<_, SourceError>(())).unwrap_err();
        assert_eq!(error.offset, 10);
    }
}
