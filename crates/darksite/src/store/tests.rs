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
    assert_eq!(store.remove_partials(false).unwrap(), 0);
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
    let blobs: Vec<Digest> =
        (0..WAITING).map(|number| store.insert(&number.to_be_bytes()).unwrap()).collect();
    assert_eq!(store.list().unwrap().len(), blobs.len());
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
    assert_eq!(store.remove_partials(true).unwrap(), 2);
    assert_eq!(store.remove_partials(false).unwrap(), 2);
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
