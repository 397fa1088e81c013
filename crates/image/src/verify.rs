//! Reads what was written and compares it with the source.

use std::io::{self, Read};

use blk::{RangeSet, ReadAt};
use disk::export::{PIECE, Runs, SparseFile, is_zero};
use thiserror::Error;

use crate::read::{ReadError, Source};

/// Bytes compared at once.
const CHUNK: usize = 1 << 20;

/// Why an image is not what it should be.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The source failed.
    #[error("reading the source at offset {offset}")]
    Source {
        /// Byte offset on the disk.
        offset: u64,
        /// The failure.
        source: io::Error,
    },
    /// The image cannot be read.
    #[error("reading the image at offset {offset} of its disk")]
    Image {
        /// Byte offset on the disk.
        offset: u64,
        /// The failure.
        source: io::Error,
    },
    /// The image holds something else.
    #[error("the image differs from the source at offset {offset}")]
    Differs {
        /// Byte offset of the first difference on the disk.
        offset: u64,
    },
    /// The image's disk is shorter.
    #[error("the image's disk has {image} bytes, the source {source_size}")]
    Size {
        /// Bytes of the image's disk.
        image: u64,
        /// Bytes of the source.
        source_size: u64,
    },
    /// The archive is not one of ours.
    #[error("the archive is not as it was written")]
    Archive,
}

impl From<ReadError> for VerifyError {
    fn from(ReadError { offset, source }: ReadError) -> Self {
        Self::Source { offset, source }
    }
}

/// Compares the disk in an image with `runs` of `source`; all else must be zeros in both. A disk that is
/// longer must end in zeros.
pub fn verify(
    source: &Source<'_>,
    runs: &Runs,
    image: &dyn ReadAt,
    progress: &mut dyn FnMut(u64),
) -> Result<(), VerifyError> {
    let fail = |offset| move |source| VerifyError::Image { offset, source };
    let size = image.size().map_err(fail(0))?;
    if size < source.size() {
        return Err(VerifyError::Size { image: size, source_size: source.size() });
    }
    let piece = PIECE as u64;
    let mut all: RangeSet = runs.iter().cloned().collect();
    let mut at = 0;
    while let Some(run) = image.next_data(at).map_err(fail(at))? {
        all.insert(run.start / piece * piece..run.end.next_multiple_of(piece));
        at = run.end;
    }
    let (mut ours, mut theirs, mut done) = (vec![0; CHUNK], vec![0; CHUNK], 0);
    for run in all.iter() {
        let mut offset = run.start;
        while offset < run.end {
            let length = (run.end - offset).min(CHUNK as u64) as usize;
            let ours = &mut ours[..length];
            source.read(ours, offset)?;
            let theirs = &mut theirs[..length];
            let there = size.saturating_sub(offset).min(length as u64) as usize;
            image.read_exact_at(&mut theirs[..there], offset).map_err(fail(offset))?;
            theirs[there..].fill(0);
            compare(ours, theirs, offset)?;
            offset += length as u64;
            done += length as u64;
            progress(done);
        }
    }
    Ok(())
}

fn compare(ours: &[u8], theirs: &[u8], offset: u64) -> Result<(), VerifyError> {
    if ours == theirs {
        return Ok(());
    }
    let at = ours.iter().zip(theirs).position(|(a, b)| a != b).unwrap_or(0);
    Err(VerifyError::Differs { offset: offset + at as u64 })
}

/// Compares the `disk.raw` in a tar.gz that was written for the same `runs`.
pub fn verify_gcp(
    source: &Source<'_>,
    runs: &Runs,
    archive: impl Read,
    progress: &mut dyn FnMut(u64),
) -> Result<(), VerifyError> {
    let fail = |offset| move |source| VerifyError::Image { offset, source };
    let mut stream = flate2::read::MultiGzDecoder::new(archive);
    let file = SparseFile::read(&mut stream, runs.len()).map_err(fail(0))?;
    let file = file.filter(|file| file.name == b"disk.raw").ok_or(VerifyError::Archive)?;
    if file.size < source.size() {
        return Err(VerifyError::Size { image: file.size, source_size: source.size() });
    }
    if let Some(at) =
        (0..runs.len().max(file.runs.len())).find(|&at| runs.get(at) != file.runs.get(at))
    {
        let starts = [runs.get(at), file.runs.get(at)].into_iter().flatten().map(|run| run.start);
        return Err(VerifyError::Differs { offset: starts.min().unwrap_or(0) });
    }
    let (mut ours, mut theirs, mut done) = (vec![0; PIECE], vec![0; PIECE], 0);
    for run in runs {
        for offset in run.clone().step_by(PIECE) {
            source.read(&mut ours, offset)?;
            stream.read_exact(&mut theirs).map_err(fail(offset))?;
            compare(&ours, &theirs, offset)?;
            done += PIECE as u64;
            progress(done);
        }
    }
    let mut rest = Vec::new();
    stream.take(1 << 20).read_to_end(&mut rest).map_err(fail(source.size()))?;
    if rest.len() >= 1024 && is_zero(&rest) { Ok(()) } else { Err(VerifyError::Archive) }
}
