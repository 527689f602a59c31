//! Names of tasks and processes.

use argon_core::name::Name;

use crate::options::{Host, Options};

/// A name that is always valid.
pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("short and printable")
}

/// The name of a host's process, which may change with each start (`count`).
pub(crate) fn called(options: &Options, what: &str, host: Host, count: u64) -> Name {
    if options.same_names {
        name(&format!("{what}{host}"))
    } else {
        name(&format!("{what}{host}.{count}"))
    }
}
