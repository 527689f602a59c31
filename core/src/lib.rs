//! The core of Argon: state machines for manager, worker and client, and their wire format.
//!
//! Nothing here opens a socket, reads a clock, starts a thread, awaits, or draws a random number
//! of its own. Facts and the current time go in; things to do and the next deadline come out; the
//! same calls give the same answers, byte for byte. Drivers live in the `argon` crate, simulated
//! ones in `sim`.
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "testing"))]
extern crate std;

pub mod arena;
pub mod capabilities;
pub mod client;
pub mod codec;
pub mod durations;
pub mod event;
pub mod failure_detector;
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
pub mod queue;
pub mod receive_budget;
pub mod retry;
pub mod rng;
pub mod router;
pub mod seq_map;
pub mod status;
pub mod steps;
pub mod task;
pub mod time;
pub mod worker;

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
