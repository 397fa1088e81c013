//! A bounded store of blocks that were read and checked.

use crate::sync::Mutex;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use hashbrown::HashMap;

/// What tells one block from all others: where its first copy lies, what kind of block it is, what it sums
/// to. Embedded pointers have no place of their own and must never be asked for here.
pub(crate) type Key = [u64; 4];

/// Blocks by key; the oldest go first.
#[derive(Debug)]
pub(crate) struct Cache {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blocks: HashMap<Key, Arc<[u8]>>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl Cache {
    /// A cache of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<[u8]>> {
        let state = self.state.lock();
        state.blocks.get(key).cloned()
    }

    pub(crate) fn insert(&self, key: Key, block: Arc<[u8]>) {
        if block.len() > self.limit / 8 {
            return;
        }
        let mut state = self.state.lock();
        let size = block.len();
        if state.blocks.insert(key, block).is_some() {
            return;
        }
        state.bytes += size;
        state.order.push_back(key);
        while state.bytes > self.limit {
            let Some(oldest) = state.order.pop_front() else { break };
            if let Some(gone) = state.blocks.remove(&oldest) {
                state.bytes -= gone.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_below_its_limit() {
        let cache = Cache::new(1000);
        for n in 0..100 {
            cache.insert([n, 0, 0, 0], vec![0; 100].into());
        }
        assert!(cache.get(&[0, 0, 0, 0]).is_none());
        assert!(cache.get(&[99, 0, 0, 0]).is_some());
        assert!(cache.state.lock().bytes <= 1000);
        cache.insert([1000, 0, 0, 0], vec![0; 900].into());
        assert!(cache.get(&[1000, 0, 0, 0]).is_none());
    }
}
