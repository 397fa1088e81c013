//! Dataset layout and boot environments.
