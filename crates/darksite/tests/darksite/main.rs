//! What holds for the darksite as a whole.
#![allow(clippy::unwrap_used)]

mod fetch;
mod server;
