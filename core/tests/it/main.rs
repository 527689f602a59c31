//! All that core promises, by subject: one program, so that the tests are linked once.

mod anything;
mod client;
mod codec;
mod link;
mod manager;
mod queue;
mod retry;
mod router;
mod scenes;
mod stream;
mod tidy;
mod worker;
