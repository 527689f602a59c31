//! Open files: a manager needs one for each connection, a worker a few for each pool process, and
//! many systems allow a process 1,024 unless it asks for more.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::problem::Problem;

/// Open files for each pool process.
const EACH: u64 = 4;
/// For everything else of a worker or a command: that is comfortable, and below this nothing works.
const OTHERS: u64 = 256;
const OTHERS_LEAST: u64 = 12;

/// Raises the limit on open files towards `wanted`, as far as the system allows, and tells what it is
/// then. What is not allowed shows where it matters: connections are refused, and said so.
pub(crate) fn allow(wanted: u64) -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return wanted;
    };
    if soft >= wanted {
        return soft;
    }
    let limit = wanted.min(hard);
    match setrlimit(Resource::RLIMIT_NOFILE, limit, hard) {
        Ok(()) => limit,
        Err(error) => {
            tracing::warn!("cannot raise the limit of {soft} open files: {error}");
            soft
        }
    }
}

/// The same for a pool of so many processes.
///
/// # Errors
/// If not all of them could be started.
pub(crate) fn for_pool(capacity: u32) -> Result<(), Problem> {
    let pool = EACH * u64::from(capacity);
    let limit = allow(OTHERS + pool);
    let least = OTHERS_LEAST + pool;
    if limit >= least {
        return Ok(());
    }
    Err(Problem::new(format!(
        "this process may have {limit} open files, and {capacity} pool processes need {least}: \
         raise the limit (ulimit -n), or give --workers less"
    )))
}
