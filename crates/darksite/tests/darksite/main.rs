//! What holds for the darksite as a whole.
#![allow(clippy::unwrap_used)]

mod apt;
mod archive;
mod fetch;
mod lost;
mod server;
mod source;
mod spdx;
mod tls;
