//! A small pool with any bytes in some places of it. Each change has three bytes that say which place, one that
//! says how long it is, and as many bytes.
//!
//! Sums are not looked at when fuzzing, so the changes reach what lies behind them. Errors are fine; panics,
//! hangs and memory far above the size of the pool are bugs.
#![no_main]

use std::io;
use std::sync::{Arc, LazyLock};

use blk::ReadAt;
use libfuzzer_sys::fuzz_target;
use zfs::read::{DatasetKind, Device, Pool};

static DEVICE: LazyLock<Arc<Vec<u8>>> = LazyLock::new(|| Arc::new(fuzz::small_pool().into_bytes()));
/// Where sectors of the device are that hold something, but for the labels: only one of them counts.
static SECTORS: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let sectors = DEVICE.chunks(512).enumerate().skip(256 << 1);
    sectors.filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0)).map(|(at, _)| at).collect()
});

/// The device, changed.
struct Changed {
    changes: Vec<(usize, Vec<u8>)>,
}

impl ReadAt for Changed {
    fn size(&self) -> io::Result<u64> {
        Ok(DEVICE.len() as u64)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let end = at.checked_add(buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(DEVICE.get(at..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        for (place, bytes) in &self.changes {
            for (place, byte) in (*place..).zip(bytes) {
                if (at..end).contains(&place) {
                    buf[place - at] = *byte;
                }
            }
        }
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let (mut rest, mut changes) = (data, Vec::new());
    while let [high, low, within, length, bytes @ ..] = rest {
        let sector = SECTORS[(usize::from(*high) << 8 | usize::from(*low)) % SECTORS.len()];
        let (bytes, behind) = bytes.split_at(usize::from(*length).min(bytes.len()));
        changes.push((sector * 512 + usize::from(*within) * 2, bytes.to_vec()));
        rest = behind;
    }
    let device = Device { name: "fuzz".to_owned(), data: Arc::new(Changed { changes }) };
    let Ok(pool) = Pool::open(&[device]) else { return };
    let _ = zfs::verify::verify(&pool);
    let _ = zfs::space::used(&pool);
    let _ = zfs::space::intent_logs(&pool);
    let Ok(found) = pool.datasets() else { return };
    for dataset in found.datasets.iter().take(8) {
        let _ = pool.properties(&found, dataset);
        let _ = match dataset.kind {
            DatasetKind::Volume => pool.volume(dataset).map(drop),
            _ => pool.filesystem(dataset).and_then(|it| it.tree(it.root).map(drop)),
        };
    }
});
