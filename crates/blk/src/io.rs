//! Errors where there is no `std`: what the traits of this room need of `std::io`, under the same names.

use alloc::string::{String, ToString};
use core::fmt;

/// A result of reading or writing.
pub type Result<T> = core::result::Result<T, Error>;

/// What kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// An argument makes no sense.
    InvalidInput,
    /// Reading reached the end.
    UnexpectedEof,
    /// Writing reached the end.
    WriteZero,
    /// Anything else.
    Other,
}

/// Why reading or writing failed.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    text: String,
}

impl Error {
    /// An error of a kind; `reason` says what happened.
    pub fn new(kind: ErrorKind, reason: impl ToString) -> Self {
        Self { kind, text: reason.to_string() }
    }

    /// An error of no certain kind.
    pub fn other(reason: impl ToString) -> Self {
        Self::new(ErrorKind::Other, reason)
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl core::error::Error for Error {}
