use super::block::{DnodeBlock, split_dnodes};
use super::*;
use crate::codec::ByteOrder;

const ROOT: WrappingKeyBytes = [7; 32];
type WrappingKeyBytes = [u8; 32];

fn wrapping() -> WrappingKey {
    WrappingKey::new(&Secret::KeyFile(ROOT.to_vec()), KeyFormat::Raw, 0, 0).unwrap()
}

fn wrapped(suite: u64, version: u64) -> WrappedKeys {
    let length = Suite::from_number(suite).unwrap().key_length();
    let mut keys = WrappedKeys {
        suite,
        version,
        guid: 0x1234_5678_9abc_def0,
        iv: [3; 12],
        mac: [0; 16],
        master: Vec::new(),
        hmac: [0; 64],
    };
    keys.wrap(&wrapping(), &vec![0x11; length], &[0x22; 64]);
    keys
}

/// A block pointer with salt, IV and MAC.
fn pointer(object_type: u64, mac: [u8; 16], order: ByteOrder) -> [u64; 16] {
    let mut words = [0; 16];
    (words[0], words[1]) = (8, 8);
    (words[4], words[5], words[11]) =
        (0x0102_0304_0506_0708, 0x1112_1314_1516_1718, 0xabcd << 32 | 1);
    words[6] = object_type << 48 | 1 << 61 | 7 << 40;
    if order == ByteOrder::Little {
        words[6] |= 1 << 63;
    }
    for (word, bytes) in words[14..].iter_mut().zip(mac.as_chunks::<8>().0) {
        *word = order.u64(*bytes);
    }
    words
}

#[test]
fn keys_of_all_suites_open_with_their_wrapping_key_only() {
    for suite in 3..=8 {
        for version in [0, 1] {
            let mut keys = wrapped(suite, version);
            assert_eq!(keys.unwrap(&wrapping()).unwrap().suite().number(), suite);
            let other = Secret::KeyFile(b"00".repeat(32));
            let other = WrappingKey::new(&other, KeyFormat::Hex, 0, 0).unwrap();
            assert_eq!(keys.unwrap(&other).unwrap_err(), CryptError::WrongKey);
            keys.guid += 1;
            assert_eq!(keys.unwrap(&wrapping()).unwrap_err(), CryptError::WrongKey);
        }
    }
    assert_eq!(Suite::from_number(9), Err(CryptError::UnknownSuite(9)));
    assert_eq!(Suite::from_number(8).unwrap().to_string(), "aes-256-gcm");
}

#[test]
fn blocks_open_in_both_byte_orders() {
    for suite in [4, 8] {
        let keys = wrapped(suite, 1).unwrap(&wrapping()).unwrap();
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let words = pointer(19, [0; 16], order);
            let cipher = keys.cipher(auth::Pointer(&words).salt()).unwrap();
            let mut block = b"not for everyone".repeat(32);
            let mac = cipher.encrypt(&auth::Pointer(&words).iv(), &[], &mut block);
            let words = pointer(19, mac, order);
            keys.open(&words, &mut block).unwrap();
            assert_eq!(block, b"not for everyone".repeat(32));
            assert_eq!(keys.open(&words, &mut block), Err(CryptError::WrongMac));
        }
    }
}

#[test]
fn bonus_areas_of_dnodes_are_secret_and_the_rest_is_covered() {
    let keys = wrapped(8, 1).unwrap(&wrapping()).unwrap();
    let mut block = vec![0; 16384];
    for (slot, extra, spill) in [(0, 0, 0), (1, 1, 4), (4, 0, 0)] {
        let dnode = &mut block[slot * 512..];
        // Type, pointers, bonus type (system attributes), flags, bonus length, extra slots.
        (dnode[0], dnode[3], dnode[4], dnode[7]) = (19, 1, 44, spill | 3);
        (dnode[10], dnode[12]) = (100, extra);
        dnode[192..292].fill(0x77);
    }
    let plain = block.clone();
    let words = pointer(10, [0; 16], ByteOrder::Little);
    let DnodeBlock { mut secret, extra, places } =
        split_dnodes(&block, ByteOrder::Little, 1).ok().unwrap();
    assert_eq!(places.iter().map(|place| place.start).collect::<Vec<_>>(), [192, 704, 2240]);
    assert_eq!(places[1].len(), 1024 - 192 - 128);
    let cipher = keys.cipher(auth::Pointer(&words).salt()).unwrap();
    let mac = cipher.encrypt(&auth::Pointer(&words).iv(), &extra, &mut secret);
    block::put_back(&mut block, &secret, &places);
    assert_ne!(block, plain);

    let words = pointer(10, mac, ByteOrder::Little);
    // What is not carried over between pools may change: space used, other flags.
    block[24] = 9;
    block[7] ^= 1;
    let mut opened = block.clone();
    keys.open(&words, &mut opened).unwrap();
    assert_eq!(opened[192..292], plain[192..292]);
    block[8] ^= 1;
    assert_eq!(keys.open(&words, &mut block), Err(CryptError::WrongMac));
    // The last dnode would reach out of the block.
    block[31 * 512 + 12] = 1;
    assert!(matches!(keys.open(&words, &mut block), Err(CryptError::Block(_))));
}

#[test]
fn key_files_and_passphrases() {
    let hex = |text: &str| {
        WrappingKey::new(&Secret::KeyFile(text.into()), KeyFormat::Hex, 0, 0).map(|_| ())
    };
    assert_eq!(hex(&format!("{}\n", "aF".repeat(32))), Ok(()));
    assert!(hex(&"aF".repeat(31)).is_err() && hex(&"xF".repeat(32)).is_err());
    let phrase = |secret: Secret, rounds| {
        WrappingKey::new(&secret, KeyFormat::Passphrase, 1, rounds).map(|_| ())
    };
    assert_eq!(phrase(Secret::Passphrase(b"password".to_vec()), 2), Ok(()));
    assert_eq!(phrase(Secret::KeyFile(b"password\n".to_vec()), 2), Ok(()));
    assert!(phrase(Secret::Passphrase(b"short".to_vec()), 2).is_err());
    assert!(phrase(Secret::Passphrase(b"password".to_vec()), u64::MAX).is_err());
    assert!(
        WrappingKey::new(&Secret::Passphrase(b"password".to_vec()), KeyFormat::Raw, 0, 0).is_err()
    );
}

/// Every block of every object of a dataset opens: their MACs are right.
#[test]
fn a_dataset_of_the_kernel_opens_to_the_last_block() {
    let Some(mut pool) = crate::fixture::pool(&["devenc"]) else { return };
    let datasets = pool.datasets().unwrap();
    let secret = datasets.get("devenc/secret").unwrap().clone();
    pool.set_secrets(vec![Secret::Passphrase(b"not-the-passphrase".to_vec())]);
    let error = pool.objset(&secret).unwrap_err().to_string();
    assert!(error.contains("passphrase"), "{error}");

    pool.set_secrets(vec![Secret::KeyFile(b"correct-horse-battery\n".to_vec())]);
    let mut blocks = 0;
    for dataset in datasets.datasets.iter().filter(|dataset| dataset.encrypted) {
        let objset = pool.objset(dataset).unwrap();
        for object in objset.objects() {
            let object = object.unwrap();
            for found in object.pointers() {
                let (_, bp) = found.unwrap();
                object.data(&bp).unwrap();
                blocks += 1;
            }
            if let Some(spill) = object.dnode.spill {
                object.data(&spill).unwrap();
            }
        }
        // The sums of MACs in indirect blocks.
        let mut todo = objset.meta.pointers.to_vec();
        while let Some(bp) = todo.pop() {
            if bp.level() > 0 && !bp.is_hole() {
                let block = pool.blocks.read(&bp, None).unwrap();
                verify_indirect(bp.words(), &block).unwrap();
                let below = block.chunks_exact(128);
                todo.extend(below.filter_map(crate::blkptr::BlockPointer::from_bytes));
            }
        }
    }
    assert!(blocks > 1000, "{blocks}");
}
