//! A limit of bytes a second, shared by all connections.

use std::num::NonZeroU64;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// Hands out time slots one after the other.
#[derive(Debug)]
pub(super) struct Limiter {
    rate: NonZeroU64,
    free_from: Mutex<Instant>,
}

impl Limiter {
    /// `rate` is in bytes a second.
    pub(super) fn new(rate: NonZeroU64) -> Self {
        Self { rate, free_from: Mutex::new(Instant::now()) }
    }

    /// How much to read at once: what a quarter of a second may bring, at most `most`.
    pub(super) fn chunk(&self, most: usize) -> usize {
        usize::try_from(self.rate.get() / 4).unwrap_or(most).clamp(1, most)
    }

    /// Waits until `bytes` more may have arrived.
    pub(super) fn wait(&self, bytes: usize) {
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate.get() as f64);
        let now = Instant::now();
        let until = {
            let mut free_from =
                self.free_from.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *free_from = (*free_from).max(now) + takes;
            *free_from
        };
        thread::sleep(until.saturating_duration_since(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time() {
        let limiter = Limiter::new(NonZeroU64::new(100_000).unwrap());
        assert_eq!(limiter.chunk(1 << 17), 25_000);
        let before = Instant::now();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| limiter.wait(5_000));
            }
        });
        assert!(before.elapsed() >= Duration::from_millis(200));
    }
}
