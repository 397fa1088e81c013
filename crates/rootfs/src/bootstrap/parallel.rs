//! The same work for many things, several at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::Fault;

/// Does `work` for each of `all`. After a fault nothing more is begun.
pub(super) fn each<T: Sync>(
    all: &[T],
    work: impl Fn(&T) -> Result<(), Fault> + Sync,
) -> Result<(), Fault> {
    each_with(thread::available_parallelism().map_or(1, usize::from), all, work)
}

/// The same with so many threads.
pub(super) fn each_with<T: Sync>(
    threads: usize,
    all: &[T],
    work: impl Fn(&T) -> Result<(), Fault> + Sync,
) -> Result<(), Fault> {
    let (next, fault) = (AtomicUsize::new(0), Mutex::new(None));
    let run = || {
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(problem) = work(one) {
                next.store(all.len(), Ordering::Relaxed);
                fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(problem);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, all.len().max(1)) {
            scope.spawn(run);
        }
    });
    fault.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_done_or_the_fault_is_told() {
        let done = AtomicUsize::new(0);
        let all: Vec<usize> = (1..=1000).collect();
        let adding = |one: &usize| {
            done.fetch_add(*one, Ordering::Relaxed);
            Ok(())
        };
        each(&all, adding).unwrap();
        assert_eq!(done.into_inner(), 500_500);
        let failing = |one: &usize| match one {
            700 => Err(Fault::Told("no".to_owned())),
            _ => Ok(()),
        };
        assert!(matches!(each(&all, failing), Err(Fault::Told(told)) if told == "no"));
    }
}
