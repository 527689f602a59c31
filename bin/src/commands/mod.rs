//! One file for each command.

pub(crate) mod bench;
pub(crate) mod call;
pub(crate) mod keygen;
pub(crate) mod manager;
pub(crate) mod map;
pub(crate) mod run;
pub(crate) mod sim;
pub(crate) mod status;
pub(crate) mod worker;
