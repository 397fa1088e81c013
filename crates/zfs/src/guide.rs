//! How a pool lies on its disks, a page for each layer, from the disk upwards.
//!
//! ```text
//!  disk ── label ── uberblock                 [labels]: which pool, and where its root is
//!                       │ block pointer       [blocks]: up to three addresses, checksum, sizes
//!                       ▼
//!                  objset "MOS"               [objects]: numbered objects below dnodes
//!                   ├─ object directory ──► config, features, space maps, root_dataset ──┐
//!                   ├─ DSL dir ◄─────────────────────────────────────────────────────────┘
//!                   │    ├─ child map ──► DSL dir …     [datasets]: the tree of names
//!                   │    ├─ props                       what `zfs set` sets
//!                   │    └─ head dataset ──► previous snapshot ──► …
//!                   │           │ block pointer
//!                   │           ▼
//!                   │      objset of a file system      [files]
//!                   │       ├─ master node ──► root directory, SA registry, delete queue
//!                   │       ├─ directory   ──► name → object
//!                   │       └─ file        ──► bonus: attributes; blocks: content
//!                   └─ array of space maps              [crate::space]: what is allocated
//! ```
//!
//! Every arrow is either a block pointer, which carries the checksum of what it points to, or the number of
//! an object in the same object set. So the uberblock's checksum vouches for all of the pool. Nothing is
//! ever overwritten: a transaction group writes what changed, and all that points to it, to free places, and
//! last an uberblock. What the pages tell of, [`crate::read`] reads and [`crate::write_pool`] writes.

/// Labels and uberblocks: what a device says of itself, and where a pool begins.
///
/// ```text
/// 0        256K     512K             4M                                     end − 512K  end − 256K
/// ├ label 0 ┼ label 1 ┼ boot area ────┼ allocatable: DVA offset 0 is here ───┼ label 2 ───┼ label 3 ┤
///   │
///   └─ 8K empty │ 8K for boot loaders │ 112K name-value list │ 128K ring of uberblocks
/// ```
///
/// The end counts as rounded down to 256 KiB. All four labels hold the same, and each part of them ends in a
/// SHA-256 that includes its own place on the device; two are written before, two after a change, so that two
/// are always whole. The list ([`crate::nvlist`]) describes one top-level vdev with all its disks, the
/// pool's name, its state, and the features without which it cannot be read.
///
/// A slot of the ring is as large as a sector, 1 KiB at least and 8 KiB at most. The uberblock of the largest
/// transaction group, of all labels of all devices, is the pool. It has the sum of the GUIDs of all vdevs: if
/// that is another, a device is missing of which nobody knows.
///
/// A label of transaction group 0 is of a device that was about to join. Spares and cache devices have labels
/// that name no pool. [`crate::read::probe`] tells them apart.
pub mod labels {}

/// Vdevs: from an address to bytes on devices.
///
/// An address (DVA) is the number of a top-level vdev and an offset in it. A pool stripes its blocks over its
/// top-level vdevs; each stands for itself:
///
/// - **disk, file**: offset 0 is byte 4 MiB of the device.
/// - **mirror**, and `replacing` and `spare` below it: every child holds the same bytes.
/// - **raidz**: [`crate::raidz`] has the geometry. Each block is a stripe with parity of its own; a block
///   smaller than the stripe takes fewer disks.
/// - **indirect**: a vdev that was removed. A list in the MOS says to where each range was moved, possibly in
///   pieces, and possibly onto a vdev that was removed later.
/// - **hole**: where a log vdev was.
///
/// Some are kept for something: `log` for the intent log, `special` for metadata and small blocks, `dedup` for
/// tables. A reader need not know: block pointers name the vdev by number.
///
/// Which copy is right, only the block's checksum tells. So a vdev is read with somebody to judge: one
/// copy after the other, and for raidz one combination of wrong columns after the other, until the sum is right.
pub mod vdevs {}

/// Block pointers and blocks.
///
/// ```text
/// words  0 …  5   three DVAs: vdev, offset, allocated size; bit "gang"
///        6        byte order, dedup, level, type, checksum, compression, embedded, sizes
///        7 …  8   (of an encrypted block DVA 3 is salt and IV)
///        9        physical birth, if it is not the other
///       10        birth: the transaction group in which it was written
///       11        fill: how many blocks with data, or objects, are below
///       12 … 15   checksum; of an encrypted block half of it is a MAC
/// ```
///
/// - A **hole** has no address: all zeros, as long as its level and size say.
/// - An **embedded** block has its content in the pointer, up to 112 bytes.
/// - A **gang** block, made when free space is in splinters, is a sector of pointers to its parts.
/// - Metadata has two addresses, that of the pool three: `copies=` adds to a file's one.
///
/// What lies on the disk is compressed ([`crate::codec`]), then encrypted ([`crate::crypt`]), then summed; the
/// sum is of what lies there, so that a scrub needs no key. Birth times are what makes snapshots cheap: whatever
/// was born before a snapshot belongs to it as well, and need not be walked again.
pub mod blocks {}

/// Dnodes, objects and object sets.
///
/// An **object** is a row of blocks of one size below a dnode of 512 bytes or a multiple. The dnode has one
/// to three block pointers; with more blocks they point to indirect blocks full of pointers, `levels − 1` deep.
/// Its **bonus** area holds what belongs to the object but is no content; a **spill** block takes what is
/// too large for it.
///
/// An **object set** is an object whose content is dnodes, and its header: the meta-dnode, the intent log, user
/// accounting. Object *n* is the dnode at byte 512·*n*. The pool's own is the meta object set (MOS); each
/// dataset has one.
///
/// Most small tables are **ZAPs**, objects that map names to values ([`crate::zap`]).
pub mod objects {}

/// Datasets: the tree of names, snapshots, clones and what they own.
///
/// A **DSL dir** is a name in the tree: its children, its properties, its quota, and how much is used below it.
/// Its head **dataset** is what `zfs list` shows; snapshots are datasets too, linked from the head backwards
/// through `prev_snap`. A clone is a DSL dir whose head has the snapshot of another as its `prev_snap`.
///
/// A snapshot costs one copied block pointer. What the head no longer needs, but the snapshot before it does,
/// goes to the head's **deadlist**; when a snapshot is destroyed, its neighbour's deadlist says what nobody
/// needs any more.
///
/// Properties are inherited: the nearest dir upwards that has one wins. Those that came with a stream have a
/// name of their own beside those that were set.
pub mod datasets {}

/// Files: directories, attributes, extended attributes.
///
/// Object 1 of a file system is the **master node**, a ZAP with the numbers of the root directory, of the
/// registry of attributes, and of the queue of files that were removed while open. A **directory** is a ZAP: name
/// → number of the inode's object, and its kind in the uppermost four bits.
///
/// An inode's attributes are in the bonus area of its object, packed by a **layout** ([`crate::sa`]): the
/// registry says which attributes there are and how long, a layout in which order they lie. File systems before
/// version 5 have a fixed structure instead.
///
/// Extended attributes are either one packed list among the attributes (`xattr=sa`) or files in a hidden
/// directory (`xattr=dir`); POSIX ACLs are extended attributes, NFSv4 ones an attribute.
///
/// What must agree, and what [`crate::verify`] compares: names and link counts, entries and sizes of
/// directories, parents, the space of dnodes and of users, the queue of removed files.
pub mod files {}
