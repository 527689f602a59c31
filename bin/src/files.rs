//! Open files: a manager needs one for each connection, a worker a few for each pool process, and
//! many systems allow a process 1,024 unless it asks for more.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit on open files towards `wanted`, as far as the system allows. What is not
/// allowed shows where it matters: connections are refused, or processes not started, and said
/// so.
pub(crate) fn allow(wanted: u64) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    if soft < wanted
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard)
    {
        tracing::warn!("cannot raise the limit of {soft} open files: {error}");
    }
}
