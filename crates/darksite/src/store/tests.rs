use std::collections::HashSet;

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    (directory, store)
}

#[test]
fn a_blob_has_its_name_only_when_it_is_right() {
    let (_directory, store) = store();
    let blob = Digest::of(b"hello");
    let mut partial = store.partial(&blob, 5).unwrap();
    partial.write(b"hel").unwrap();
    assert!(!store.contains(&blob, 5));
    drop(partial);

    // A later run goes on.
    let mut partial = store.partial(&blob, 5).unwrap();
    assert_eq!(partial.length(), 3);
    partial.write(b"lo").unwrap();
    partial.publish().unwrap();
    assert!(!store.contains(&blob, 5));
    store.settle().unwrap();
    assert!(store.contains(&blob, 5));
    assert!(!store.contains(&blob, 4));
    assert_eq!(store.verify(&blob).unwrap(), 5);
    assert_eq!(store.read(&blob, 5).unwrap(), b"hello");
    let mode = fs::metadata(store.path(&blob)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o444);
    assert_eq!(store.list().unwrap(), [(blob, 5)]);
    store.remove(&blob).unwrap();
    assert!(store.list().unwrap().is_empty());
}

/// Bytes that no part repeats.
fn noise(length: usize) -> Vec<u8> {
    (0_u64..).flat_map(|number| Digest::of(&number.to_be_bytes()).0).take(length).collect()
}

#[test]
fn a_large_blob_is_whole_however_it_arrives() {
    let (_directory, store) = store();
    let bytes = noise((3 << 20) + 777);
    let (blob, size) = (Digest::of(&bytes), bytes.len() as u64);
    for (chunk, stop) in [(100_003, 0), (4096, 4096), (1 << 20, 1 << 20), (7777, (1 << 20) + 13)] {
        let (first, rest) = bytes.split_at(stop);
        // Wrong from the start, and forgotten.
        let mut partial = store.partial(&blob, size).unwrap();
        partial.write(&bytes[1..]).unwrap();
        partial.restart().unwrap();
        for chunk in first.chunks(chunk) {
            partial.write(chunk).unwrap();
        }
        drop(partial);
        let mut partial = store.partial(&blob, size).unwrap();
        assert_eq!(partial.length(), stop as u64);
        for chunk in rest.chunks(chunk) {
            partial.write(chunk).unwrap();
        }
        partial.publish().unwrap();
        store.settle().unwrap();
        assert!(fs::read(store.path(&blob)).unwrap() == bytes, "{chunk} {stop}");
        store.remove(&blob).unwrap();
    }
}

#[test]
fn what_arrives_slowly_is_not_lost_with_the_process() {
    let (_directory, store) = store();
    let blob = Digest::of(b"hello");
    let mut partial = store.partial(&blob, 5).unwrap();
    let path = store.root.join(PARTIAL).join(blob.to_string());
    partial.write(b"he").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    partial.write(b"l").unwrap();
    while fs::read(&path).unwrap() != b"hel" {
        std::thread::yield_now();
    }
    partial.write(b"lo").unwrap();
    partial.publish().unwrap();
    store.settle().unwrap();
    assert_eq!(store.verify(&blob).unwrap(), 5);
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("read-only");
    fs::write(&path, "").unwrap();
    let writers = writer::Writers::default();
    let mut writer = writers.writer(File::open(&path).unwrap(), 0);
    let fill = |writer: &mut writer::Writer| {
        let length = writer.room().len();
        writer.filled(length)
    };
    fill(&mut writer).unwrap();
    assert!(writer.wait().is_err());
    // Told once, and as soon as it is known.
    writer.wait().unwrap();
    assert!((0..1000).any(|_| fill(&mut writer).is_err()));
    drop(writer);
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn wrong_content_is_never_named() {
    let (_directory, store) = store();
    let blob = Digest::of(b"hello");
    let mut partial = store.partial(&blob, 5).unwrap();
    partial.write(b"hallo").unwrap();
    assert!(matches!(partial.publish(), Err(StoreError::Damaged { .. })));
    assert!(!store.path(&blob).exists());
    assert_eq!(store.partial(&blob, 5).unwrap().length(), 0);
}

#[test]
fn two_writers_of_one_blob_do_not_disturb_each_other() {
    let (_directory, store) = store();
    let blob = Digest::of(b"hello");
    let mut first = store.partial(&blob, 5).unwrap();
    first.write(b"hel").unwrap();
    let mut second = store.partial(&blob, 5).unwrap();
    assert_eq!(second.length(), 0);
    second.write(b"hello").unwrap();
    second.publish().unwrap();
    first.write(b"lo").unwrap();
    first.publish().unwrap();
    store.settle().unwrap();
    assert_eq!(store.verify(&blob).unwrap(), 5);

    // What has links by then stays the file that it is.
    store.remove(&blob).unwrap();
    let mut late = store.partial(&blob, 5).unwrap();
    late.write(b"hello").unwrap();
    late.publish().unwrap();
    let other = Store::open(&store.root).unwrap();
    other.insert(b"hello").unwrap();
    other.settle().unwrap();
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(store.path(&blob)).unwrap());
    let first = inode();
    store.settle().unwrap();
    assert_eq!(inode(), first);
    assert_eq!(store.remove_partials(false).unwrap(), (0, 0));
    assert_eq!(fs::read_dir(store.root.join(PARTIAL)).unwrap().count(), 0);
}

#[test]
fn a_crash_before_the_disk_has_it_all_costs_nothing() {
    let (directory, store) = store();
    let blob = store.insert(b"hello").unwrap();
    drop(store);
    // Whoever goes on must be able to write, and is not always root.
    let left = directory.path().join(PARTIAL).join(blob.to_string());
    assert_eq!(fs::metadata(&left).unwrap().permissions().mode() & 0o600, 0o600);
    let store = Store::open(directory.path()).unwrap();
    assert!(!store.contains(&blob, 5));
    let partial = store.partial(&blob, 5).unwrap();
    assert_eq!(partial.length(), 5);
    partial.publish().unwrap();
    store.settle().unwrap();
    assert_eq!(store.read(&blob, 5).unwrap(), b"hello");
}

#[test]
fn many_blobs_do_not_wait_for_ever() {
    let (_directory, store) = store();
    let insert = |number: usize| store.insert(&number.to_be_bytes()).unwrap();
    let blobs: HashSet<Digest> = (0..2 * WAITING).map(insert).collect();
    // The second half may be on its way still.
    assert!(store.list().unwrap().len() >= WAITING);
    store.settle().unwrap();
    assert_eq!(store.list().unwrap().len(), blobs.len());
}

#[test]
fn what_cannot_be_named_is_an_error_later() {
    let (_directory, store) = store();
    fs::remove_dir(store.root.join(BLOBS)).unwrap();
    fs::write(store.root.join(BLOBS), "no directory").unwrap();
    for number in 0..WAITING {
        store.insert(&number.to_be_bytes()).unwrap();
    }
    assert!(matches!(store.settle(), Err(StoreError::Io { .. })));
}

#[test]
fn what_is_left_over_is_bounded_and_can_be_removed() {
    let (_directory, store) = store();
    let blob = Digest::of(b"hello");
    fs::write(store.root.join(PARTIAL).join(blob.to_string()), vec![0; 1 << 20]).unwrap();
    let mut partial = store.partial(&blob, 5).unwrap();
    assert_eq!(partial.length(), 0);
    partial.write(b"he").unwrap();
    drop(partial);
    assert_eq!(store.remove_partials(true).unwrap(), (1, 2));
    assert_eq!(store.remove_partials(false).unwrap(), (1, 2));
}

#[test]
fn damage_is_noticed() {
    let (_directory, store) = store();
    let blob = store.insert(b"hello").unwrap();
    store.settle().unwrap();
    let path = store.path(&blob);
    fs::remove_file(&path).unwrap();
    File::create(&path).unwrap().write_all(b"hallo").unwrap();
    assert!(matches!(store.verify(&blob), Err(StoreError::Damaged { .. })));
    assert!(matches!(store.read(&blob, 5), Err(StoreError::Damaged { .. })));
}
