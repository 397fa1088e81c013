//! Objects as `zdb -Pddddd` prints them: to compare the two, and to look into a pool.
//!
//! The lines are those of zdb, apart from their spaces, with what zdb prints of the contents of
//! ZAPs and lists, times and checksums left out. One line for each block, with its first copy.
//!
//! Source: OpenZFS `cmd/zdb/zdb.c` (`dump_object`, `dump_znode`, `dump_indirect`).

use core::fmt::Write;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::blkptr::{BLKPTR_SIZE, BlockPointer};
use crate::dnode::{
    DNODES_PER_BLOCK, FLAG_SPILL_BLKPTR, FLAG_USED_BYTES, FLAG_USEROBJUSED_ACCOUNTED,
    FLAG_USERUSED_ACCOUNTED,
};
use crate::nvlist::decode_xdr;
use crate::prelude::*;
use crate::read::walking::is_encrypted;
use crate::read::{
    Dataset, Filesystem, Inode, InodeKind, Object, Objset, ObjsetKind, Pool, ReadError,
    object_type::name,
};

/// `zio_checksum_table`, `zio_compress_table`.
const CHECKSUMS: [&str; 15] = [
    "inherit",
    "on",
    "off",
    "label",
    "gang_header",
    "zilog",
    "fletcher2",
    "fletcher4",
    "sha256",
    "zilog2",
    "noparity",
    "sha512",
    "skein",
    "edonr",
    "blake3",
];
const COMPRESSIONS: [&str; 17] = [
    "inherit",
    "on",
    "uncompressed",
    "lzjb",
    "empty",
    "gzip-1",
    "gzip-2",
    "gzip-3",
    "gzip-4",
    "gzip-5",
    "gzip-6",
    "gzip-7",
    "gzip-8",
    "gzip-9",
    "zle",
    "lz4",
    "zstd",
];

/// What stands above each object.
const HEADER: &str = "\n    Object  lvl   iblk   dblk  dsize  dnsize  lsize   %full  type\n";

/// An object set whose objects are to be shown.
#[derive(Debug)]
enum Content<'p> {
    Filesystem(Filesystem<'p>),
    Other(Objset<'p>),
}

/// Tells the lines of every object of a dataset, or of the MOS, one object after the other.
pub fn objects(
    pool: &Pool,
    dataset: Option<&Dataset>,
    tell: &mut dyn FnMut(&str),
) -> Result<(), ReadError> {
    let objset = match dataset {
        Some(dataset) => pool.objset(dataset)?,
        None => pool.mos()?,
    };
    let kind = match objset.kind {
        ObjsetKind::Meta => "META",
        ObjsetKind::Filesystem => "ZPL",
        ObjsetKind::Volume => "ZVOL",
        ObjsetKind::Other(_) => "UNKNOWN",
    };
    tell(&match dataset {
        None => format!("Dataset mos [{kind}], ID 0\n"),
        Some(dataset) => format!(
            "Dataset {} [{kind}], ID {}, cr_txg {}, {}, {} objects\n",
            dataset.name,
            dataset.object,
            dataset.creation_txg,
            dataset.referenced,
            fill(&objset.pointer)
        ),
    });
    let content = match objset.kind {
        ObjsetKind::Filesystem => Content::Filesystem(Filesystem::open(objset)?),
        _ => Content::Other(objset),
    };
    let (objset, paths) = match &content {
        Content::Filesystem(filesystem) => (&filesystem.objset, paths(filesystem)?),
        Content::Other(objset) => (objset, HashMap::new()),
    };
    let others = objset.accounting_objects();
    let all = core::iter::once(Ok(objset.meta_object())).chain(others.map(Ok));
    for object in all.chain(objset.objects()) {
        let object = object?;
        let mut text = String::from(HEADER);
        dnode(&object, &mut text);
        if let Content::Filesystem(filesystem) = &content
            && Filesystem::is_inode(&object)
        {
            let path = paths.get(&object.number).map(String::as_str);
            inode(&filesystem.inode_of(object.clone())?, path, &mut text);
        }
        blocks(&object, &mut text)?;
        tell(&text);
    }
    Ok(())
}

/// The paths of all inodes that have one, as zdb writes them.
fn paths(filesystem: &Filesystem<'_>) -> Result<HashMap<u64, String>, ReadError> {
    let mut paths = HashMap::from([(filesystem.root, "/".to_owned())]);
    let mut todo = vec![(filesystem.root, String::new())];
    while let Some((number, path)) = todo.pop() {
        let inode = filesystem.inode(number)?;
        let mut below = Vec::new();
        if inode.kind() == InodeKind::Directory {
            for entry in filesystem.entries_of(&inode.object)? {
                let name = String::from_utf8_lossy(&entry.name).into_owned();
                below.push((entry.object, format!("{path}/{name}")));
            }
        }
        below.extend(inode.attributes.xattr_dir.map(|at| (at, format!("{path}/<xattrdir>"))));
        for (number, path) in below {
            // Each once, however many links there are, and no circle is walked for ever.
            if let Entry::Vacant(entry) = paths.entry(number) {
                entry.insert(path.clone());
                todo.push((number, path));
            }
        }
    }
    Ok(paths)
}

fn fill(bp: &BlockPointer) -> u64 {
    if is_encrypted(bp) { bp.fill() & 0xffff_ffff } else { bp.fill() }
}

/// What the dnode says. Writing to a string does not fail.
fn dnode(object: &Object<'_>, text: &mut String) {
    let dnode = &object.dnode;
    let (size, length) = (u64::from(dnode.block_size), dnode.capacity());
    let filled: u64 = dnode.pointers.iter().filter(|bp| !bp.is_hole()).map(fill).sum();
    let shared = if object.number == 0 { DNODES_PER_BLOCK as f64 } else { 1.0 };
    let full = 100.0 * filled as f64 * size as f64 / shared / length as f64;
    // Those that count space by owner have numbers below zero.
    let number = object.number as i64;
    let used = dnode.used.saturating_add(256) / 512 * 512;
    let indirect = 1u64.checked_shl(u32::from(dnode.indirect_shift)).unwrap_or(0);
    let slots = 512 * u64::from(dnode.slots);
    let _ = write!(
        text,
        "{number:10}  {:3}  {indirect:5}  {size:5}  {used:5}  {slots:6}  {length:5}  {full:6.2}  {}",
        dnode.levels,
        type_name(dnode.object_type)
    );
    for (letter, names, value) in
        [('K', &CHECKSUMS[..], dnode.checksum), ('Z', &COMPRESSIONS, dnode.compression)]
    {
        if value != 0 {
            let name = names.get(usize::from(value)).unwrap_or(&"unknown");
            let _ = write!(text, " ({letter}={name})");
        }
    }
    text.push('\n');
    if dnode.bonus_type != 0 {
        let (length, name) = (dnode.bonus.len(), type_name(dnode.bonus_type));
        let _ = writeln!(text, "{length:46}   bonus  {name}");
    }
    text.push_str("\tdnode flags:");
    for (flag, name) in [
        (FLAG_USED_BYTES, "USED_BYTES"),
        (FLAG_USERUSED_ACCOUNTED, "USERUSED_ACCOUNTED"),
        (FLAG_USEROBJUSED_ACCOUNTED, "USEROBJUSED_ACCOUNTED"),
        (FLAG_SPILL_BLKPTR, "SPILL_BLKPTR"),
    ] {
        if dnode.flags & flag != 0 {
            let _ = write!(text, " {name}");
        }
    }
    let _ = writeln!(text, "\n\tdnode maxblkid: {}", dnode.max_block);
}

/// What zdb calls a type here; elsewhere it tells metadata of the new types from data.
fn type_name(object_type: u8) -> String {
    let name = name(object_type);
    match name.strip_prefix("bswap ") {
        None => name,
        Some(swap) => swap.split(' ').next().unwrap_or_default().to_owned(),
    }
}

/// What the inode says.
fn inode(inode: &Inode<'_>, path: Option<&str>, text: &mut String) {
    let attributes = &inode.attributes;
    let _ = write!(
        text,
        "\tpath\t{}\n\tuid     {}\n\tgid     {}\n\tgen\t{}\n\tmode\t{:o}\n\tsize\t{}\n\tparent\t{}\n\
         \tlinks\t{}\n\tpflags\t{:x}\n",
        path.unwrap_or("on delete queue"),
        attributes.uid,
        attributes.gid,
        attributes.generation,
        attributes.mode,
        attributes.size,
        attributes.parent,
        attributes.links,
        attributes.flags,
    );
    if let Some(number) = attributes.xattr_dir {
        let _ = writeln!(text, "\txattr\t{number}");
    }
    if matches!(inode.kind(), InodeKind::CharDevice | InodeKind::BlockDevice) {
        let _ = writeln!(text, "\trdev\t0x{:016x}", attributes.rdev);
    }
    if let Some(packed) = attributes.dxattr.as_deref().filter(|packed| !packed.is_empty()) {
        let entries = decode_xdr(packed).map_or(0, |list| list.iter().count());
        let _ = writeln!(text, "\tSA xattrs: {} bytes, {entries} entries", packed.len());
    }
}

/// Every block that was ever written, holes of which it is known when they came to be included.
fn blocks(object: &Object<'_>, text: &mut String) -> Result<(), ReadError> {
    if let Some(spill) = &object.dnode.spill {
        let _ = writeln!(text, "Spill block: {}", pointer(spill));
    }
    text.push_str("Indirect blocks:\n");
    let dnode = &object.dnode;
    let top = dnode.levels - 1;
    let mut left = object.source.blocks.room();
    let mut stack: Vec<(u8, u64, BlockPointer)> =
        dnode.pointers.iter().enumerate().map(|(at, bp)| (top, at as u64, *bp)).rev().collect();
    while let Some((level, number, bp)) = stack.pop() {
        if bp.birth() == 0 {
            continue;
        }
        let span = u32::from(level) * dnode.pointers_shift();
        let block = number.checked_shl(span).unwrap_or(0);
        let offset = block.wrapping_mul(u64::from(dnode.block_size));
        let _ = writeln!(text, "{offset:16x} L{level:x} {}", pointer(&bp));
        if level == 0 || bp.is_hole() {
            continue;
        }
        if !left.take(&bp) {
            return Err(object.has_too_many_blocks());
        }
        let content = object.source.read(&bp)?;
        let below = content.chunks_exact(BLKPTR_SIZE).filter_map(BlockPointer::from_bytes);
        let first = number.saturating_mul(1 << dnode.pointers_shift());
        let below: Vec<_> = (first..).zip(below).map(|(at, bp)| (level - 1, at, bp)).collect();
        stack.extend(below.into_iter().rev());
    }
    Ok(())
}

/// A pointer in short, with the first of its copies.
fn pointer(bp: &BlockPointer) -> String {
    if bp.is_embedded() {
        let (kind, length) = (bp.embedded_type(), bp.embedded_payload().len());
        return format!(
            "EMBEDDED et={kind} {:x}L/{length:x}P B={}",
            bp.embedded_lsize(),
            bp.birth()
        );
    }
    if bp.is_hole() {
        return format!("0:0:0 {:x}L B={}", bp.lsize(), bp.birth());
    }
    let copy = bp.copies(is_encrypted(bp)).next();
    let gang = if copy.is_some_and(|dva| dva.is_gang()) { "G" } else { "" };
    let place = copy.map(|dva| format!("{dva}{gang}")).unwrap_or_default();
    format!(
        "{place} {:x}L/{:x}P F={} B={}/{}",
        bp.lsize(),
        bp.psize(),
        fill(bp),
        bp.birth(),
        bp.physical_birth()
    )
}
