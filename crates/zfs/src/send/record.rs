//! The records of a stream.

/// Length of a record without its payload.
pub(super) const RECORD: usize = 312;
/// Where in records the running checksum is; `BEGIN` has none.
pub(super) const CHECKSUM_AT: usize = RECORD - 32;
/// `DMU_BACKUP_MAGIC`.
pub(super) const MAGIC: u64 = 0x2_f5ba_cbac;

/// What a stream makes use of (`DMU_BACKUP_FEATURE_*`).
pub mod features {
    /// Spill blocks have system attributes.
    pub const SA_SPILL: u64 = 1 << 2;
    /// Small blocks come in records of their own, as they are in block pointers.
    pub const EMBED_DATA: u64 = 1 << 16;
    /// Some are compressed with LZ4.
    pub const LZ4: u64 = 1 << 17;
    /// Blocks may be larger than 128 KiB.
    pub const LARGE_BLOCKS: u64 = 1 << 19;
    /// The stream goes on where another was broken off.
    pub const RESUMING: u64 = 1 << 20;
    /// Parts are left out on purpose.
    pub const REDACTED: u64 = 1 << 21;
    /// Blocks are compressed as they are on disk.
    pub const COMPRESSED: u64 = 1 << 22;
    /// Dnodes may be larger than 512 bytes.
    pub const LARGE_DNODE: u64 = 1 << 23;
    /// Blocks are encrypted as they are on disk.
    pub const RAW: u64 = 1 << 24;
    /// Some are compressed with zstd.
    pub const ZSTD: u64 = 1 << 25;
    /// The list of a compound stream has holds.
    pub const HOLDS: u64 = 1 << 26;
    /// Names may be longer than 255 bytes.
    pub const LONGNAME: u64 = 1 << 28;
    /// Directories may have small ZAPs of more than 128 KiB.
    pub const LARGE_MICROZAP: u64 = 1 << 29;
    /// All that OpenZFS 2.4 knows, and bit 27.
    pub const KNOWN: u64 = SA_SPILL
        | EMBED_DATA
        | LZ4
        | LARGE_BLOCKS
        | RESUMING
        | REDACTED
        | COMPRESSED
        | LARGE_DNODE
        | RAW
        | ZSTD
        | HOLDS
        | 1 << 27
        | LONGNAME
        | LARGE_MICROZAP;
}

/// The start of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Begin {
    /// Whether streams of snapshots follow, rather than one.
    pub compound: bool,
    /// See [`features`].
    pub features: u64,
    /// When the snapshot was made, in seconds since 1970.
    pub creation: u64,
    /// `dmu_objset_type_t`: 2 file system, 3 volume.
    pub objset_type: u32,
    /// `DRR_FLAG_*`: 1 of a clone, 2 without regard to case, 4 with frees in full streams, 8 spill
    /// blocks are announced.
    pub flags: u32,
    /// GUID of the snapshot.
    pub to_guid: u64,
    /// GUID of the snapshot it is the difference to, 0 for full streams.
    pub from_guid: u64,
    /// Name of the snapshot where it was sent from, at most 255 bytes.
    pub to_name: Vec<u8>,
    /// A packed list: datasets and properties, or where to resume.
    pub payload: Vec<u8>,
}

/// What encrypted blocks of raw streams need; zeros in others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CryptParameters {
    /// Salt of the block's key.
    pub salt: [u8; 8],
    /// Initialisation vector.
    pub iv: [u8; 12],
    /// MAC.
    pub mac: [u8; 16],
}

/// An object, its blocks not included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectRecord {
    /// Its number.
    pub object: u64,
    /// `dmu_object_type_t`.
    pub object_type: u32,
    /// Type of the bonus.
    pub bonus_type: u32,
    /// Size of its blocks.
    pub block_size: u32,
    /// Length of the bonus.
    pub bonus_length: u32,
    /// Its checksum property, 0 if inherited.
    pub checksum: u8,
    /// Its compression property, 0 if inherited.
    pub compression: u8,
    /// Length of its dnode in units of 512 bytes; old streams have 0 for 1.
    pub slots: u8,
    /// Flags: 2 byte order of raw streams, 4 it has a spill block.
    pub flags: u8,
    /// Length of an encrypted bonus, 0 in streams that are not raw.
    pub raw_bonus_length: u32,
    /// GUID of the snapshot.
    pub to_guid: u64,
    /// log₂ of the size of indirect blocks; raw streams only, as the next three.
    pub indirect_shift: u8,
    /// Levels of blocks.
    pub levels: u8,
    /// Number of block pointers.
    pub pointers: u8,
    /// Number of the last block.
    pub max_block: u64,
    /// The bonus, filled up to a multiple of 8 bytes.
    pub bonus: Vec<u8>,
}

/// A block of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteRecord {
    /// Number of the object.
    pub object: u64,
    /// Its type.
    pub object_type: u32,
    /// Byte offset in the object.
    pub offset: u64,
    /// Length in the object.
    pub logical_size: u64,
    /// GUID of the snapshot.
    pub to_guid: u64,
    /// `enum zio_checksum` of the block on the sender's disk, 2 if there is none.
    pub checksum: u8,
    /// Flags: 1 the checksum is good for deduplication, 2 byte order of raw streams.
    pub flags: u8,
    /// `enum zio_compress`; 0 if the payload is not compressed.
    pub compression: u8,
    /// What deduplication tables know the block by: checksum and properties.
    pub key: [u64; 5],
    /// Length of the payload if it is compressed.
    pub compressed_size: u64,
    /// For raw streams.
    pub crypt: CryptParameters,
    /// The block.
    pub data: Vec<u8>,
}

/// A spill block: system attributes that did not fit into the bonus.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpillRecord {
    /// Number of the object.
    pub object: u64,
    /// Length of the block.
    pub length: u64,
    /// GUID of the snapshot.
    pub to_guid: u64,
    /// Flags: 2 byte order of raw streams, 4 sent for old receivers only.
    pub flags: u8,
    /// `enum zio_compress`, of raw streams.
    pub compression: u8,
    /// Length of the payload in raw streams, else 0.
    pub compressed_size: u64,
    /// For raw streams.
    pub crypt: CryptParameters,
    /// Type of the block; 0 in older streams.
    pub object_type: u32,
    /// The block.
    pub data: Vec<u8>,
}

/// A small block as it is in a block pointer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EmbeddedWrite {
    /// Number of the object.
    pub object: u64,
    /// Byte offset in the object.
    pub offset: u64,
    /// Length in the object.
    pub length: u64,
    /// GUID of the snapshot.
    pub to_guid: u64,
    /// `enum zio_compress`.
    pub compression: u8,
    /// What is embedded: 0 data.
    pub kind: u8,
    /// Length before compression.
    pub logical_size: u32,
    /// Length of the payload, which is filled up to a multiple of 8 bytes in the stream.
    pub size: u32,
    /// The payload.
    pub data: Vec<u8>,
}

/// The end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct End {
    /// Sum of all before it; 0 in the last of a compound stream.
    pub checksum: [u64; 4],
    /// GUID of the snapshot.
    pub to_guid: u64,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The start.
    Begin(Begin),
    /// An object.
    Object(ObjectRecord),
    /// Objects that do not exist.
    FreeObjects {
        /// The first.
        first: u64,
        /// How many.
        count: u64,
        /// GUID of the snapshot.
        to_guid: u64,
    },
    /// A block.
    Write(WriteRecord),
    /// A part of an object that is a hole.
    Free {
        /// Number of the object.
        object: u64,
        /// Where it begins, in bytes.
        offset: u64,
        /// Its length in bytes; all ones: to the end.
        length: u64,
        /// GUID of the snapshot.
        to_guid: u64,
    },
    /// The end.
    End(End),
    /// A block like one that was sent before: deduplicated streams, which OpenZFS 2 has given up.
    WriteByReference {
        /// Number of the object.
        object: u64,
        /// Byte offset in the object.
        offset: u64,
        /// Length.
        length: u64,
        /// GUID of the snapshot.
        to_guid: u64,
        /// Snapshot, object and offset of the block that it is like.
        like: [u64; 3],
    },
    /// A spill block.
    Spill(SpillRecord),
    /// A small block.
    WriteEmbedded(EmbeddedWrite),
    /// What the dnodes of a block of dnodes are encrypted with: raw streams.
    ObjectRange {
        /// The first object.
        first: u64,
        /// Number of dnode slots.
        count: u64,
        /// GUID of the snapshot.
        to_guid: u64,
        /// Salt, vector, MAC.
        crypt: CryptParameters,
        /// Flags: 2 byte order.
        flags: u8,
    },
    /// A part of an object that was left out on purpose.
    Redact {
        /// Number of the object.
        object: u64,
        /// Where it begins, in bytes.
        offset: u64,
        /// Its length in bytes.
        length: u64,
        /// GUID of the snapshot.
        to_guid: u64,
    },
}
