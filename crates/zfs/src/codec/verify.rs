//! Computing and judging the checksums of a pool's blocks.
//!
//! Source: OpenZFS `module/zfs/zio_checksum.c` (trailers, verifiers, what encryption leaves of a
//! checksum), `sha2_zfs.c`, `skein_zfs.c`, `edonr_zfs.c`, `blake3_zfs.c`.

use core::fmt;

use sha2::{Digest, Sha256, Sha512_256};

use super::edonr::Edonr512;
use super::fletcher::{fletcher2_more, fletcher4_more};
use super::skein::Skein512;
use super::{ByteOrder, Checksum, CodecError};
use crate::prelude::*;

/// The magic of a checksum that stands in its block (`zio_eck_t`).
pub(crate) const ECK_MAGIC: u64 = 0x0210_da7a_b10c_7a11;
/// Length of magic and checksum.
pub(crate) const ECK_SIZE: usize = 40;
/// Where they are in a block of the intent log (`zil_chain_t.zc_eck`).
const ZIL_ECK: usize = 144;
/// Where such a block tells how much of it is used.
const ZIL_NUSED: usize = 136;
/// That length is rounded up to this.
const ZIL_UNIT: u64 = 4096;

/// The checksum algorithms of one pool.
#[derive(Clone)]
pub struct Checksums {
    salted: Option<Box<Salted>>,
}

#[derive(Clone)]
struct Salted {
    skein: Skein512,
    edonr: Edonr512,
    blake3: blake3::Hasher,
}

impl fmt::Debug for Checksums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checksums").field("salted", &self.salted.is_some()).finish()
    }
}

impl Checksums {
    /// For a pool with this salt (`org.illumos:checksum_salt`). Without it Skein, Edon-R and BLAKE3
    /// cannot be computed; labels and the way to the salt itself do not need it.
    pub fn new(salt: Option<&[u8; 32]>) -> Self {
        let salted = salt.map(|salt| {
            Box::new(Salted {
                skein: Skein512::new(256, salt),
                edonr: Edonr512::salted(salt),
                blake3: blake3::Hasher::new_keyed(salt),
            })
        });
        Self { salted }
    }

    /// The checksum of `data` as a block pointer of byte order `order` holds it.
    pub fn compute(
        &self,
        checksum: Checksum,
        data: &[u8],
        order: ByteOrder,
    ) -> Result<[u64; 4], CodecError> {
        let salted = || self.salted.as_deref().ok_or(CodecError::NoSalt(checksum));
        let half = |digest: &[u8; 64]| {
            let mut half = [0; 32];
            half.copy_from_slice(&digest[..32]);
            order.words(&half)
        };
        Ok(match checksum {
            Checksum::Off | Checksum::NoParity => [0; 4],
            Checksum::Fletcher2 => fletcher2_more([0; 4], data, order),
            Checksum::Fletcher4 => fletcher4_more([0; 4], data, order),
            // This one is stored big-endian whatever the machine.
            Checksum::Sha256 => ByteOrder::Big.words(&Sha256::digest(data).into()),
            Checksum::Sha512 => order.words(&Sha512_256::digest(data).into()),
            Checksum::Skein => half(&salted()?.skein.digest(data)),
            Checksum::Edonr => half(&salted()?.edonr.digest(data)),
            Checksum::Blake3 => {
                let mut hasher = salted()?.blake3.clone();
                order.words(hasher.update(data).finalize().as_bytes())
            }
            Checksum::Label | Checksum::GangHeader | Checksum::Zilog | Checksum::Zilog2 => {
                return Err(CodecError::WrongPlace(checksum));
            }
        })
    }

    /// Judges stored bytes (before decompression and decryption) by the checksum in their block
    /// pointer. `encrypted` blocks (object sets apart) keep two words only: the others are the MAC.
    pub fn verify(
        &self,
        checksum: Checksum,
        data: &[u8],
        order: ByteOrder,
        expected: &[u64; 4],
        encrypted: bool,
    ) -> Result<(), CodecError> {
        if matches!(checksum, Checksum::Off | Checksum::NoParity) {
            return Ok(());
        }
        let actual = self.compute(checksum, data, order)?;
        compare(checksum, *expected, actual, encrypted)
    }

    /// Judges a block that carries its own checksum (labels, gang headers, the intent log) and
    /// tells in which byte order it was written. `verifier` is what stood in the checksum's place
    /// when it was computed: see [`Self::label_verifier`], [`Self::gang_verifier`]; for the intent
    /// log it is the checksum of the block pointer.
    pub fn verify_in_block(
        &self,
        checksum: Checksum,
        data: &[u8],
        verifier: &[u64; 4],
        encrypted: bool,
    ) -> Result<ByteOrder, CodecError> {
        let no_trailer = |magic| CodecError::NoTrailer { checksum, length: data.len(), magic };
        let word = |at: usize, order: ByteOrder| {
            let bytes = data.get(at..)?.first_chunk::<8>()?;
            Some(order.u64(*bytes))
        };
        if !checksum.is_in_block() {
            return Err(CodecError::WrongPlace(checksum));
        }
        let at = match checksum {
            Checksum::Zilog2 => Some(ZIL_ECK),
            _ => data.len().checked_sub(ECK_SIZE),
        };
        let at = at.ok_or_else(|| no_trailer(0))?;
        let magic = word(at, ByteOrder::Little).ok_or_else(|| no_trailer(0))?;
        let order = match magic {
            ECK_MAGIC => ByteOrder::Little,
            _ if magic.swap_bytes() == ECK_MAGIC => ByteOrder::Big,
            _ => return Err(no_trailer(magic)),
        };
        let mut used = data;
        if checksum == Checksum::Zilog2 {
            let length = word(ZIL_NUSED, order)
                .and_then(|used| used.checked_next_multiple_of(ZIL_UNIT))
                .and_then(|used| usize::try_from(used).ok());
            used = length.and_then(|used| data.get(..used)).ok_or_else(|| no_trailer(magic))?;
        }
        let pieces = used.split_at_checked(at + 8).and_then(|(before, rest)| {
            let (own, after) = rest.split_first_chunk::<32>()?;
            Some((before, own, after))
        });
        let (before, own, after) = pieces.ok_or_else(|| no_trailer(magic))?;
        let mut place = [0; 32];
        for (bytes, word) in place.as_chunks_mut::<8>().0.iter_mut().zip(verifier) {
            *bytes = order.bytes(*word);
        }
        let actual = match checksum {
            Checksum::Zilog => [before, &place, after]
                .iter()
                .fold([0; 4], |state, piece| fletcher2_more(state, piece, order)),
            Checksum::Zilog2 => [before, &place, after]
                .iter()
                .fold([0; 4], |state, piece| fletcher4_more(state, piece, order)),
            _ => {
                let mut hash = Sha256::new();
                hash.update(before);
                hash.update(place);
                hash.update(after);
                ByteOrder::Big.words(&hash.finalize().into())
            }
        };
        compare(checksum, order.words(own), actual, encrypted)?;
        Ok(order)
    }

    /// What labels are salted with: where on the device the block is, in bytes.
    pub fn label_verifier(device_offset: u64) -> [u64; 4] {
        [device_offset, 0, 0, 0]
    }

    /// What gang headers are salted with: the first address in the block pointer, offset in bytes,
    /// and the transaction group of its allocation.
    pub fn gang_verifier(vdev: u64, offset: u64, birth: u64) -> [u64; 4] {
        [vdev, offset, birth, 0]
    }
}

fn compare(
    checksum: Checksum,
    mut expected: [u64; 4],
    mut actual: [u64; 4],
    encrypted: bool,
) -> Result<(), CodecError> {
    if encrypted {
        if !checksum.is_strong() {
            actual[0] ^= actual[2];
            actual[1] ^= actual[3];
        }
        for words in [&mut expected, &mut actual] {
            words[2] = 0;
            words[3] = 0;
        }
    }
    // No fuzzer guesses sums.
    if cfg!(fuzzing) || expected == actual {
        return Ok(());
    }
    Err(CodecError::Mismatch { checksum, expected, actual })
}
