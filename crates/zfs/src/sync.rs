//! Locks, with the standard library's or without.

#[cfg(not(feature = "std"))]
pub(crate) use spin::Mutex;
#[cfg(feature = "std")]
pub(crate) use with_std::Mutex;

#[cfg(feature = "std")]
mod with_std {
    use std::sync::{MutexGuard, PoisonError};

    /// A lock around values that are whole at every moment: a thread that panicked does not spoil them.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
