//! What is charged for a message that is held or waits to be read is about what its frame takes.

use argon_core::message::{FromWorker, Message, Said, ToClient, ToManager, ToPeer};
use proptest::prelude::*;

use super::{frame, generate};

/// The most that a frame has around the texts and the payload of what it says.
const AROUND: usize = 128;

proptest! {
    #[test]
    fn the_ends_of_tasks_and_attempts_are_charged_for_all_that_they_say(
        message in generate::message(generate::body()),
    ) {
        let texts = match &message.body {
            Said::FromManager(ToPeer::Client(ToClient::Outcome { outcome, .. })) => outcome.text_bytes(),
            Said::ToManager(ToManager::Worker(FromWorker::Finished(finished))) => finished.end.text_bytes(),
            _ => return Ok(()),
        };
        let Message { payload, .. } = &message;
        let (charged, bytes) = (payload.len() + texts, frame(&message).len());
        prop_assert!(bytes <= charged + AROUND, "{bytes} bytes, charged {charged}");
        prop_assert!(charged <= bytes + AROUND, "{bytes} bytes, charged {charged}");
    }
}
