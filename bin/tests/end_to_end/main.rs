//! The real binary, end to end: processes, sockets on ports that the system chose, real files.

#![expect(clippy::unwrap_used, reason = "in a test, to panic is to fail")]

mod bench;
mod cluster;
mod common;
mod here;
mod keys;
mod lost;
