//! The parts of `argon map`.

pub(crate) mod engine;
pub(crate) mod halt;
pub(crate) mod items;
pub(crate) mod joblog;
pub(crate) mod ordered;
pub(crate) mod printer;
pub(crate) mod progress;
pub(crate) mod template;
