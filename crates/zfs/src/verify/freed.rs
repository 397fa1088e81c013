//! Blocks that no object set reaches any more and whose space is still allocated.
//!
//! ```text
//! sync_bplist, free_bpobj   frees that wait: lists of pointers, and of more lists
//! deleted_clones            livelists of destroyed clones: what was allocated and not freed since
//! ```
//!
//! The livelists of clones that exist hold nothing: whatever they name is in the clone's tree.
//!
//! Source: OpenZFS `include/sys/bpobj.h`, `module/zfs/dsl_deadlist.c`.

use std::collections::HashMap;

use crate::blkptr::{BLKPTR_SIZE, BlockPointer};
use crate::read::walking::{is_encrypted, u64_at};
use crate::read::{Object, Objset, Pool, ReadError, zap};
use crate::zap::OwnedValue;

/// Nested lists of freed blocks.
const MAX_LISTS: usize = 1 << 16;
/// Pointers in one list; OpenZFS begins another livelist after 500,000.
const MAX_POINTERS: u64 = 1 << 28;

/// Gives every freed block to `note`, and what could not be read.
pub(super) fn each(
    pool: &Pool,
    mos: &Objset<'_>,
    note: &mut dyn FnMut(&BlockPointer),
) -> Vec<ReadError> {
    let mut problems = Vec::new();
    let mut todo = Vec::new();
    for name in ["sync_bplist", "free_bpobj"] {
        match pool.directory_object(mos, name) {
            Ok(object) => todo.extend(object),
            Err(error) => problems.push(error),
        }
    }
    let mut seen = 0;
    while let Some(list) = todo.pop() {
        seen += 1;
        if seen > MAX_LISTS {
            problems.push(list.damaged("there are too many lists of freed blocks"));
            break;
        }
        if let Err(error) = pointers(&list, &mut |bp| note(&bp)) {
            problems.push(error);
        }
        match sublists(mos, &list) {
            Ok(lists) => todo.extend(lists),
            Err(error) => problems.push(error),
        }
    }
    if let Err(error) = deleted_clones(pool, mos, note) {
        problems.push(error);
    }
    problems
}

/// The pointers in a `bpobj`, the last one first.
fn pointers(list: &Object<'_>, note: &mut dyn FnMut(BlockPointer)) -> Result<(), ReadError> {
    let count = u64_at(&list.dnode.bonus, 0);
    let size = BLKPTR_SIZE as u64;
    if count > MAX_POINTERS || count.saturating_mul(size) > list.dnode.capacity() {
        return Err(list.damaged("it counts more blocks than it has"));
    }
    for at in (0..count).rev() {
        let mut bytes = [0; BLKPTR_SIZE];
        list.read_at(at * size, &mut bytes)?;
        BlockPointer::from_bytes(&bytes)
            .filter(|bp| !bp.is_hole())
            .into_iter()
            .for_each(&mut *note);
    }
    Ok(())
}

/// The lists that a `bpobj` names.
fn sublists<'p>(mos: &Objset<'p>, list: &Object<'p>) -> Result<Vec<Object<'p>>, ReadError> {
    let word = |at: usize| u64_at(&list.dnode.bonus, 8 * at);
    let (lists, count) = (word(4), word(5));
    if lists == 0 || count == 0 {
        return Ok(Vec::new());
    }
    let bytes = mos.object(lists)?.read_start(count.saturating_mul(8), 8 << 20)?;
    let numbers = bytes.as_chunks::<8>().0.iter().map(|number| u64::from_le_bytes(*number));
    numbers.map(|number| mos.object(number)).collect()
}

/// What clones that were destroyed have not freed yet.
fn deleted_clones(
    pool: &Pool,
    mos: &Objset<'_>,
    note: &mut dyn FnMut(&BlockPointer),
) -> Result<(), ReadError> {
    let Some(clones) = pool.directory_object(mos, "com.delphix:deleted_clones")? else {
        return Ok(());
    };
    for clone in zap::entries(&clones)? {
        let OwnedValue::U64(livelist) = clone.value else { continue };
        for part in zap::entries(&mos.object(livelist)?)? {
            let OwnedValue::U64(list) = part.value else { continue };
            still_allocated(&mos.object(list)?, note)?;
        }
    }
    Ok(())
}

/// The blocks of a part of a livelist that were allocated and not freed: read backwards, each
/// freeing is met before the allocation it ends.
fn still_allocated(
    list: &Object<'_>,
    note: &mut dyn FnMut(&BlockPointer),
) -> Result<(), ReadError> {
    let mut freed: HashMap<(u64, u64), u64> = HashMap::new();
    pointers(list, &mut |bp| {
        let Some(first) = bp.copies(is_encrypted(&bp)).next() else { return };
        let place = (first.vdev(), first.offset());
        // The lowest bit of the fill count marks a freeing (`BP_GET_FREE`).
        if bp.words()[11] & 1 != 0 {
            *freed.entry(place).or_default() += 1;
            return;
        }
        match freed.get_mut(&place) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => {
                freed.remove(&place);
            }
            None => note(&bp),
        }
    })
}
