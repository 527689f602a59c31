//! What a worker makes of a pool process's bytes, without the process. With the feature `testing`
//! alone.

use std::time::Duration;

use argon_core::capabilities::Capabilities;
use argon_core::payload::Payload;
use argon_core::worker::RunEnd;

use super::inbox::{Answer, Inbox};
use crate::text::Tail;

/// The ears of a worker at the pipes of a pool process.
#[derive(Debug)]
pub struct PoolEars {
    inbox: Inbox,
    tail: Tail,
    begun: u64,
}

/// What it understands.
#[derive(Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in the pool protocol")]
pub enum PoolHeard {
    Ready(Capabilities),
    Done {
        id: u64,
        ran: Duration,
        end: RunEnd,
        payload: Payload,
    },
}

/// How a process broke the protocol, in words.
#[derive(Debug, PartialEq, Eq)]
pub struct PoolBroke(pub String);

impl PoolEars {
    /// For results of at most `payload_max` bytes.
    #[must_use]
    pub fn new(payload_max: usize) -> Self {
        Self {
            inbox: Inbox::new(payload_max),
            tail: Tail::default(),
            begun: 0,
        }
    }

    /// Takes what came on standard error.
    pub fn stderr(&mut self, bytes: &[u8]) {
        self.tail.push(bytes);
    }

    /// Takes as much of what came on standard output as one read would; returns how much.
    pub fn stdout(&mut self, bytes: &[u8]) -> usize {
        let space = self.inbox.space();
        let count = bytes.len().min(space.capacity() - space.len());
        self.inbox.push(&bytes[..count]);
        count
    }

    /// Room that is held for what comes.
    pub fn room(&mut self) -> usize {
        self.inbox.space().capacity()
    }

    /// The next answer that has wholly come.
    ///
    /// # Errors
    /// If the process broke the protocol: what is said of it.
    #[expect(
        clippy::should_implement_trait,
        reason = "it fails, and more may come after none"
    )]
    pub fn next(&mut self) -> Result<Option<PoolHeard>, PoolBroke> {
        let answer = self
            .inbox
            .next()
            .map_err(|violation| PoolBroke(violation.to_string()))?;
        Ok(answer.map(|answer| match answer {
            Answer::Ready(capabilities) => PoolHeard::Ready(capabilities),
            Answer::Done {
                id,
                ran,
                end,
                payload,
            } => {
                let end = end.with_stderr(|| self.tail.text_since(self.begun));
                self.begun = self.tail.mark();
                PoolHeard::Done {
                    id,
                    ran,
                    end,
                    payload,
                }
            }
        }))
    }

    /// Why the program was not started, if its guard said so.
    #[must_use]
    pub fn not_started(&self) -> Option<String> {
        self.inbox.not_started()
    }
}
