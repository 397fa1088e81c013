//! The checksums of the four labels of a vdev, which `zdb` does not look at and an import heals silently.
//!
//! OpenZFS `include/sys/vdev_impl.h`: 8 KiB nothing, 8 KiB boot environment, 112 KiB nvlist, 128 KiB ring of
//! uberblocks. Each area, and each uberblock, ends in a magic number and the SHA-256 of itself, where the
//! area's own offset on the device stands in the place of the checksum.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

const LABEL: u64 = 256 << 10;
const KIB: u64 = 1 << 10;
/// `ZEC_MAGIC`
const MAGIC: u64 = 0x0210_da7a_b10c_7a11;
/// `UBERBLOCK_MAGIC`
const UBERBLOCK: u64 = 0x00ba_b10c;
/// An uberblock of a device with sectors of 4 KiB.
const SLOT: usize = 4 << 10;

/// Wants four good labels, each with at least one uberblock, on a device with sectors of 4 KiB.
pub fn check(image: &Path) -> Result<()> {
    let file = File::open(image).with_context(|| image.display().to_string())?;
    let size = file.metadata()?.len() / LABEL * LABEL;
    let ends = size.checked_sub(2 * LABEL).context("the device is shorter than its labels")?;
    for (number, start) in [0, LABEL, ends, ends + LABEL].into_iter().enumerate() {
        let area = |what: &str, from: u64, length: u64| -> Result<Vec<u8>> {
            let mut bytes = vec![0; length as usize];
            file.read_exact_at(&mut bytes, start + from)?;
            if what != "uberblocks" && !is_good(&bytes, start + from) {
                bail!("label {number}: the checksum of the {what} is wrong");
            }
            Ok(bytes)
        };
        area("boot environment", 8 * KIB, 8 * KIB)?;
        area("nvlist", 16 * KIB, 112 * KIB)?;
        let ring = area("uberblocks", 128 * KIB, 128 * KIB)?;
        let mut found = 0;
        for (slot, bytes) in ring.chunks(SLOT).enumerate() {
            // OpenZFS initialises the ring as one area: a template with transaction group 0 at its start.
            if bytes[..8] != UBERBLOCK.to_le_bytes() || bytes[16..24] == [0; 8] {
                continue;
            }
            if !is_good(bytes, start + 128 * KIB + (slot * SLOT) as u64) {
                bail!("label {number}: the checksum of uberblock {slot} is wrong");
            }
            found += 1;
        }
        if found == 0 {
            bail!("label {number} has no uberblock");
        }
    }
    Ok(())
}

/// Whether `area`, which lies at `offset`, ends in its own checksum.
fn is_good(area: &[u8], offset: u64) -> bool {
    let (body, tail) = area.split_at(area.len() - 40);
    let (magic, stored) = tail.split_at(8);
    let mut verifier = [0; 32];
    verifier[..8].copy_from_slice(&offset.to_le_bytes());
    let digest =
        Sha256::new().chain_update(body).chain_update(magic).chain_update(verifier).finalize();
    // Four numbers, in the machine's order on disk, in the hash's order in the digest.
    let stored: Vec<u8> = stored.chunks(8).flat_map(|word| word.iter().rev().copied()).collect();
    magic == MAGIC.to_le_bytes() && stored == digest.as_slice()
}
