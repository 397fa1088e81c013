use super::*;
use crate::blkptr::BlockPointer;
use crate::read::Objset;

fn one(kind: EntryKind, offset: u64, run: u64) -> u64 {
    u64::from(kind == EntryKind::Free) << 15 | offset << 16 | (run - 1)
}

#[test]
fn entries_of_all_kinds() {
    let words = [
        // Debugging: transaction group 5, sync pass 1.
        2 << 62 | 1 << 50 | 5,
        one(EntryKind::Allocate, 7, 3),
        3 << 62 | 99 << 24 | 2,
        1 << 63 | 1 << 40,
        2 << 62,
        one(EntryKind::Free, (1 << 47) - 1, 1 << 15),
    ];
    let found: Vec<_> = entries(words.into_iter()).map(Result::unwrap).collect();
    let entry = |kind, vdev, offset, run| Entry { kind, vdev, offset, run };
    assert_eq!(
        found,
        [
            entry(EntryKind::Allocate, None, 7, 3),
            entry(EntryKind::Free, Some(2), 1 << 40, 100),
            entry(EntryKind::Free, None, (1 << 47) - 1, 1 << 15),
        ]
    );
    assert_eq!(entries([3 << 62].into_iter()).next(), Some(Err(HalfEntry)));
}

/// All that can be reached from the uberblock, as ranges of each vdev.
struct Reached<'p> {
    pool: &'p Pool,
    vdevs: Vec<RangeSet>,
}

impl<'p> Reached<'p> {
    fn new(pool: &'p Pool) -> Self {
        let mut reached = Self { pool, vdevs: vec![RangeSet::new(); pool.vdevs.len()] };
        let mos = pool.mos().unwrap();
        reached.pointer(&pool.uberblock.root);
        reached.objset(&mos);
        for object in mos.objects().map(Result::unwrap) {
            // Datasets.
            if object.dnode.bonus_type == 16 {
                let bp = BlockPointer::from_bytes(&object.dnode.bonus[128..]).unwrap();
                if !bp.is_hole() {
                    reached.pointer(&bp);
                    let name = format!("dataset {}", object.number);
                    reached.objset(&Objset::open(&pool.blocks, name.into(), &bp).unwrap());
                }
            }
        }
        // What waits to be freed.
        for name in ["sync_bplist", "free_bpobj"] {
            let list = pool.directory_object(&mos, name).unwrap().unwrap();
            let count = list.dnode.bonus.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
            let bytes = list.read_start(128 * count, 1 << 30).unwrap();
            for bp in bytes.chunks_exact(128).filter_map(BlockPointer::from_bytes) {
                reached.pointer(&bp);
            }
        }
        reached
    }

    fn pointer(&mut self, bp: &BlockPointer) {
        let secret = bp.uses_crypt()
            && bp.level() == 0
            && crate::read::object_type::is_encrypted(bp.object_type());
        for dva in bp.copies(secret) {
            assert!(!dva.is_gang());
            self.vdevs[dva.vdev() as usize].insert(dva.offset()..dva.offset() + dva.asize());
        }
    }

    fn objset(&mut self, objset: &Objset<'p>) {
        self.dnode(&objset.meta);
        objset.accounting.iter().flatten().for_each(|dnode| self.dnode(dnode));
        for object in objset.objects() {
            self.dnode(&object.unwrap().dnode);
        }
    }

    fn dnode(&mut self, dnode: &crate::read::Dnode) {
        let mut todo: Vec<BlockPointer> = dnode.pointers.to_vec();
        todo.extend(dnode.spill);
        while let Some(bp) = todo.pop() {
            if bp.is_hole() {
                continue;
            }
            self.pointer(&bp);
            if bp.level() > 0 {
                let block = self.pool.blocks.read(&bp, None).unwrap();
                todo.extend(block.chunks_exact(128).filter_map(BlockPointer::from_bytes));
            }
        }
    }
}

/// Exported pools have no leaks: what is allocated is what can be reached, to the byte.
fn allocated_is_what_can_be_reached(images: &[&str]) {
    let Some(pool) = crate::fixture::pool(images) else { return };
    let spaces = allocated(&pool).unwrap();
    let reached = Reached::new(&pool);
    for (space, reached) in spaces.iter().zip(&reached.vdevs) {
        let mut missing = reached.clone();
        missing.subtract(&space.allocated);
        assert!(missing.is_empty(), "used but not allocated: {missing:?}");
        let mut leaked = space.allocated.clone();
        leaked.subtract(reached);
        assert!(leaked.is_empty(), "allocated but not used: {leaked:?}");
    }
    let logs = intent_logs(&pool).unwrap();
    assert!(logs.problems.is_empty(), "{:?}", logs.problems);

    let uses = used(&pool).unwrap();
    assert_eq!(uses.len(), images.len());
    for device in uses {
        assert_eq!(device.uncertain, Vec::<String>::new());
        assert!(device.used.covers(0..4 << 20));
        assert!(device.used.covers((device.size - (512 << 10))..device.size));
        assert!(device.used.bytes() < device.size * 3 / 4, "{device:?}");
    }
}

#[test]
fn one_disk() {
    allocated_is_what_can_be_reached(&["dev23"]);
}

#[test]
fn one_disk_with_old_features() {
    allocated_is_what_can_be_reached(&["dev21"]);
}

#[test]
fn mirror() {
    allocated_is_what_can_be_reached(&["devmir-a", "devmir-b"]);
}

#[test]
fn encrypted() {
    allocated_is_what_can_be_reached(&["devenc"]);
}

/// A copy of the used bytes alone is a pool that reads as the whole one.
#[test]
fn a_copy_of_what_is_used_is_the_same_pool() {
    let images = ["devrz-a", "devrz-b", "devrz-c"];
    allocated_is_what_can_be_reached(&images);
    let Some(devices) = crate::fixture::devices(&images) else { return };
    let pool = Pool::open(&devices).unwrap();
    let mut copies = Vec::new();
    for device in used(&pool).unwrap() {
        let whole = devices.iter().find(|whole| whole.name == device.name).unwrap();
        let mut copy = vec![0xdb; device.size as usize];
        for range in device.used.iter() {
            let bytes = &mut copy[range.start as usize..range.end as usize];
            whole.data.read_exact_at(bytes, range.start).unwrap();
        }
        let data = std::sync::Arc::new(blk::Memory::from(copy));
        copies.push(crate::read::Device { name: device.name, data });
    }
    let copy = Pool::open(&copies).unwrap();
    let reached = Reached::new(&copy);
    assert!(reached.vdevs[0].bytes() > 10 << 20);
    assert_eq!(copy.faults().len(), 0);
}
