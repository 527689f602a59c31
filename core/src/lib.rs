//! The core of Argon: state machines for manager, worker and client, and their wire format.
//!
//! Nothing here opens a socket, reads a clock, starts a thread, awaits, or draws a random number
//! of its own. Facts and the current time go in; things to do and the next deadline come out; the
//! same calls give the same answers, byte for byte. Drivers live in the `argon` crate, simulated
//! ones in `sim`.
#![no_std]
// Whoever adds a message, an input or a state is told of every place that must know it.
#![warn(clippy::wildcard_enum_match_arm)]

extern crate alloc;
#[cfg(any(test, feature = "count_steps"))]
extern crate std;

pub mod access;
pub mod capabilities;
pub mod client;
pub mod codec;
pub mod event;
pub mod ids;
pub mod limits;
pub mod link;
pub mod machine;
pub mod manager;
pub mod message;
pub mod name;
pub mod payload;
pub mod pressure;
pub mod protocol_error;
pub mod receive_budget;
pub mod rng;
pub mod seq_map;
mod seq_set;
pub mod status;
pub mod strangers;
pub mod stream;
pub mod task;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod worker;

/// Parts of the machines, which no driver needs: public for this repository's tests and benches
/// alone, which take the feature `testing`.
macro_rules! parts {
    ($($name:ident)*) => {
        $(
            #[cfg(feature = "testing")]
            pub mod $name;
            #[cfg(not(feature = "testing"))]
            #[allow(unreachable_pub, reason = "they are reachable with the feature")]
            mod $name;
        )*
    };
}
parts! { arena durations failure_detector queue retry router steps }

pub use client::Client;
pub use machine::Machine;
pub use manager::Manager;
pub use worker::Worker;

#[cfg(test)]
mod size_tests {
    use crate::message::{FromManager, Message, ToClient, ToManager, ToPeer};

    #[test]
    fn the_hot_messages_stay_small() {
        let sizes = [
            size_of::<Message<ToManager>>(),
            size_of::<Message<ToPeer>>(),
            size_of::<Message<FromManager<ToClient>>>(),
        ];
        assert!(sizes.iter().all(|size| *size <= 168), "{sizes:?}");
    }
}
