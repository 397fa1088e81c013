use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::edonr::Edonr512;
use super::fletcher::{fletcher2_more, fletcher4, fletcher4_more};
use super::skein::Skein512;
use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Vectors of OpenZFS `tests/zfs-tests/cmd/checksum/edonr_test.c`.
#[test]
fn edonr_has_the_published_digests() {
    assert_eq!(
        hex(&Edonr512::new().digest(b"abc")),
        "1b14db155f1d406594b8cef70a4362ec6b5de6a5daf50ec999e987c19d3049e2\
         de5977bb05b1bb220050a1ea5b46a9f1740acafbf6b45032adc90c628372c22b"
    );
    let long = b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqk\
        lmnopqrlmnopqrsmnopqrstnopqrstu";
    assert_eq!(
        hex(&Edonr512::new().digest(long)),
        "5351070dc51c3b2baca5a60d0252ccb4e4921a96fe5a69e76dad48fd21a0845a\
         d57f880b3e4a907bc503151842bb949e1cba7439a6409a34b8436cb46921583c"
    );
}

/// Vectors of the Skein specification 1.3, appendix C.
#[test]
fn skein_has_the_published_digests() {
    let counting = |length: usize| (0..length).map(|n| 255 - n as u8).collect::<Vec<u8>>();
    let plain = Skein512::new(512, b"");
    assert_eq!(
        hex(&plain.digest(&counting(1))),
        "71b7bce6fe6452227b9ced6014249e5bf9a9754c3ad618ccc4e0aae16b316cc8\
         ca698d864307ed3e80b6ef1570812ac5272dc409b5a012df2a579102f340617a"
    );
    assert_eq!(
        hex(&plain.digest(&counting(64)))[..64],
        *"45863ba3be0c4dfc27e75d358496f4ac9a736a505d9313b42b2f5eada79fc17f"
    );
    assert_eq!(
        hex(&plain.digest(&counting(128)))[..64],
        *"91cca510c263c4ddd010530a3307330962863 1f308747e1bcbaa90e451cab92e".replace(' ', "")
    );
}

#[test]
fn weak_checksums_in_both_byte_orders() {
    let sums = |data: &[u8]| {
        let (mut a, mut b, mut c, mut d) = (0u64, 0u64, 0u64, 0u64);
        for word in data.as_chunks::<4>().0 {
            a = a.wrapping_add(u64::from(u32::from_le_bytes(*word)));
            b = b.wrapping_add(a);
            c = c.wrapping_add(b);
            d = d.wrapping_add(c);
        }
        [a, b, c, d]
    };
    let data: Vec<u8> = (0..1_100_000u32).map(|n| (n.wrapping_mul(n) / 77) as u8 | 0x80).collect();
    for length in [0, 4, 8, 12, 16, 20, 512, 4096, 262_144, 262_160, 1_100_000] {
        assert_eq!(fletcher4(&data[..length]), sums(&data[..length]), "{length}");
        let (first, second) = data[..length].split_at(length / 8 * 4);
        let halves = fletcher4_more([0; 4], first, ByteOrder::Little);
        assert_eq!(fletcher4_more(halves, second, ByteOrder::Little), sums(&data[..length]));
    }
    let mut swapped = data[..4096].to_vec();
    swapped.as_chunks_mut::<4>().0.iter_mut().for_each(|word| word.reverse());
    assert_eq!(fletcher4_more([0; 4], &swapped, ByteOrder::Big), fletcher4(&data[..4096]));

    let words: Vec<u8> = [1u64, 2, 3, 4].iter().flat_map(|word| word.to_be_bytes()).collect();
    assert_eq!(fletcher2_more([0; 4], &words, ByteOrder::Big), [4, 6, 5, 8]);
}

#[test]
fn strong_checksums_verify_and_tell_what_differs() {
    let salt = [7; 32];
    let pool = Checksums::new(Some(&salt));
    let data = vec![0x5a; 4096];
    for number in 2..=14 {
        let checksum = Checksum::from_number(number).unwrap();
        assert_eq!(checksum.number(), number);
        if checksum.is_in_block() {
            assert!(pool.compute(checksum, &data, ByteOrder::Little).is_err());
            continue;
        }
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let sum = pool.compute(checksum, &data, order).unwrap();
            pool.verify(checksum, &data, order, &sum, false).unwrap();
            let mut cut = sum;
            if !checksum.is_strong() {
                cut[0] ^= cut[2];
                cut[1] ^= cut[3];
            }
            (cut[2], cut[3]) = (1, 2);
            pool.verify(checksum, &data, order, &cut, true).unwrap();
            let wrong = pool.verify(checksum, &data, order, &[9; 4], false);
            assert_eq!(wrong.is_ok(), matches!(checksum, Checksum::Off | Checksum::NoParity));
        }
    }
    assert_eq!(
        Checksums::new(None).compute(Checksum::Blake3, &data, ByteOrder::Little),
        Err(CodecError::NoSalt(Checksum::Blake3))
    );
    // SHA-512/256("abc") = 53048e2681941ef9..., SHA-256 is stored big-endian always.
    let sum = pool.compute(Checksum::Sha512, b"abc", ByteOrder::Little).unwrap();
    assert_eq!(sum[0].to_le_bytes(), [0x53, 0x04, 0x8e, 0x26, 0x81, 0x94, 0x1e, 0xf9]);
    let sum = pool.compute(Checksum::Sha256, b"abc", ByteOrder::Little).unwrap();
    assert_eq!(sum[0], 0xba78_16bf_8f01_cfea);
}

#[test]
fn checksums_inside_blocks() {
    let pool = Checksums::new(None);
    let verifier = Checksums::label_verifier(0x4000);
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let mut block = vec![3; 1024];
        block[984..992].copy_from_slice(&order.bytes(verify::ECK_MAGIC));
        block[992..1000].copy_from_slice(&order.bytes(0x4000));
        block[1000..].fill(0);
        let digest = Sha256::digest(&block);
        for (slot, word) in
            block[992..].as_chunks_mut::<8>().0.iter_mut().zip(digest.as_chunks::<8>().0)
        {
            *slot = order.bytes(u64::from_be_bytes(*word));
        }
        assert_eq!(pool.verify_in_block(Checksum::Label, &block, &verifier, false), Ok(order));
        block[5] ^= 1;
        assert!(pool.verify_in_block(Checksum::Label, &block, &verifier, false).is_err());

        // The intent log's: fletcher-4 over the used part, in the header.
        let mut block = vec![0; 12288];
        block[136..144].copy_from_slice(&order.bytes(5000));
        block[144..152].copy_from_slice(&order.bytes(verify::ECK_MAGIC));
        for at in 0..4 {
            block[152 + 8 * at..][..8].copy_from_slice(&order.bytes(at as u64 + 11));
        }
        let sum = fletcher4_more([0; 4], &block[..8192], order);
        for (at, word) in sum.into_iter().enumerate() {
            block[152 + 8 * at..][..8].copy_from_slice(&order.bytes(word));
        }
        block[9000] = 1;
        let verifier = [11, 12, 13, 14];
        assert_eq!(pool.verify_in_block(Checksum::Zilog2, &block, &verifier, false), Ok(order));
        block[136..144].copy_from_slice(&order.bytes(u64::MAX));
        assert!(pool.verify_in_block(Checksum::Zilog2, &block, &verifier, false).is_err());
    }
    for length in [0, 39, 40, 183, 184] {
        let block = vec![0; length];
        for checksum in [Checksum::Label, Checksum::Zilog, Checksum::Zilog2] {
            assert!(pool.verify_in_block(checksum, &block, &[0; 4], false).is_err());
        }
    }
}

#[test]
fn what_the_writer_compresses_comes_back() {
    use crate::compress::{Compression, Compressor};
    let data: Vec<u8> = (0..131_072u32).map(|n| (n / 97) as u8).collect();
    let mut compressor = Compressor::default();
    for (level, kind) in [
        (Compression::Lz4, BlockCompression::Lz4),
        (Compression::Zstd(3), BlockCompression::Zstd),
        (Compression::Zstd(19), BlockCompression::Zstd),
    ] {
        let mut stored = compressor.compress(&data, level).unwrap().unwrap().to_vec();
        stored.resize(stored.len().next_multiple_of(4096), 0);
        let mut block = vec![1; data.len()];
        decompress(kind, &stored, &mut block).unwrap();
        assert_eq!(block, data);
        for wrong in [data.len() - 1, data.len() + 1, 0] {
            assert!(decompress(kind, &stored, &mut vec![0; wrong]).is_err(), "{kind} {wrong}");
        }
    }
}

#[test]
fn gzip_lzjb_zle_and_empty() {
    use std::io::Write;
    let data: Vec<u8> = b"one two one two ".iter().copied().cycle().take(1 << 20).collect();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
    zlib.write_all(&data).unwrap();
    let mut stored = zlib.finish().unwrap();
    stored.resize(stored.len().next_multiple_of(512), 0);
    let mut block = vec![0; data.len()];
    decompress(BlockCompression::Gzip(6), &stored, &mut block).unwrap();
    assert_eq!(block, data);
    assert!(decompress(BlockCompression::Gzip(6), &stored, &mut block[1..]).is_err());

    // Four bytes of their own, then a copy of 6 from 4 back, then one of its own.
    let stored = [0b0001_0000, b'a', b'b', b'c', b'd', 3 << 2, 4, b'x', 0, 0];
    let mut block = [0; 11];
    decompress(BlockCompression::Lzjb, &stored, &mut block).unwrap();
    assert_eq!(&block, b"abcdabcdabx");
    assert!(decompress(BlockCompression::Lzjb, &[1, 0, 1, 0], &mut block).is_err());
    assert!(decompress(BlockCompression::Lzjb, &[2, 9, 0, 0], &mut block).is_err());

    let mut block = [9; 12];
    decompress(BlockCompression::Zle, &[2, 7, 8, 9, 64 + 7, 0, 5, 0, 0], &mut block).unwrap();
    assert_eq!(block, [7, 8, 9, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
    assert!(decompress(BlockCompression::Zle, &[255], &mut block).is_err());
    decompress(BlockCompression::Empty, &[], &mut block).unwrap();
    assert_eq!(block, [0; 12]);
}

#[test]
fn embedded_payloads_are_what_the_writer_put_there() {
    use crate::blkptr::{BlockKind, BlockPointer};
    let payload: Vec<u8> = (1..=100).collect();
    let kind = BlockKind { object_type: 19, level: 0 };
    let bytes = BlockPointer::embedded(kind, &payload, 512, 15, 4).to_bytes();
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    assert_eq!(embedded_payload(&words).unwrap().as_slice(), payload);
    words[6] |= 0x7f << 25;
    assert_eq!(embedded_payload(&words), Err(CodecError::EmbeddedSize(128)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn hostile_bytes_give_errors_only(
        input in proptest::collection::vec(any::<u8>(), 0..600),
        size in 0usize..3000,
        number in 0u8..20,
    ) {
        let mut block = vec![0; size];
        if let Ok(compression) = BlockCompression::from_number(number) {
            let _ = decompress(compression, &input, &mut block);
        }
        if let Ok(checksum) = Checksum::from_number(number) {
            let pool = Checksums::new(Some(&[1; 32]));
            let _ = pool.verify_in_block(checksum, &input, &[1; 4], true);
            let _ = pool.verify(checksum, &input, ByteOrder::Big, &[1; 4], true);
        }
    }
}
