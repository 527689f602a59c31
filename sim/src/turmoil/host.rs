//! What hosts are called in the network, and in traces.

use crate::options::{Host, Options};

/// The name of a host.
pub(super) fn called(options: &Options, host: Host) -> String {
    let letter = if host < options.managers {
        'm'
    } else if options.worker_hosts().contains(&host) {
        'w'
    } else if host < options.hosts() {
        'c'
    } else {
        's'
    };
    format!("{letter}{host}")
}
