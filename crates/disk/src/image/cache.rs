//! A few tables of an image, the last used ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// At most `capacity` values by their offset in the file.
pub(crate) struct Cache<V> {
    slots: Mutex<VecDeque<(u64, Arc<V>)>>,
    capacity: usize,
}

impl<V> Cache<V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { slots: Mutex::new(VecDeque::new()), capacity: capacity.max(1) }
    }

    /// The value of `key`, made if it is not here. Two threads may make it at the same time.
    pub(crate) fn get<E>(
        &self,
        key: u64,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<Arc<V>, E> {
        {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(index) = slots.iter().position(|(known, _)| *known == key)
                && let Some(slot) = slots.remove(index)
            {
                let value = slot.1.clone();
                slots.push_front(slot);
                return Ok(value);
            }
        }
        let value = Arc::new(make()?);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.truncate(self.capacity - 1);
        slots.push_front((key, value.clone()));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_used_stay() {
        let cache = Cache::new(2);
        let get = |key| cache.get(key, || Ok::<_, ()>(key)).map(|value| *value);
        for key in [1, 2, 1, 3] {
            assert_eq!(get(key), Ok(key));
        }
        assert_eq!(cache.get(1, || Err(())).map(|value| *value), Ok(1));
        assert_eq!(cache.get(2, || Err(())), Err(()));
    }
}
