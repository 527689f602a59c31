//! The parts of `argon map`.

pub(crate) mod halt;
pub(crate) mod items;
pub(crate) mod joblog;
pub(crate) mod ordered;
pub(crate) mod progress;
pub(crate) mod template;
