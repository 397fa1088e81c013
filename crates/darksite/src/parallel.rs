//! Work on many things, on all cores.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How many threads work at the same time.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(2, NonZero::get)
}

/// Does `work` on each of `items`, several at a time, in about their order.
pub(crate) fn each<'a, T: Sync>(items: &'a [T], work: impl Fn(&'a T) + Sync) {
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(item);
        }
    };
    thread::scope(|scope| {
        for _ in 1..processors() {
            scope.spawn(run);
        }
        run();
    });
}
