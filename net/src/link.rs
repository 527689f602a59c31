//! How the connection to the manager is doing, for people.

/// How a client's or worker's connection to its manager is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// There is no session; tries go on for ever.
    Connecting {
        /// Tries since the last session, or since the start.
        attempts: u64,
        /// What became of the last one, in words.
        last: Option<String>,
    },
    /// The manager at this address has let us in.
    Connected {
        /// As it was given.
        address: String,
    },
    /// The manager does not let us in; tries go on.
    Refused {
        /// Why, in words.
        reason: String,
    },
}

impl Default for LinkState {
    fn default() -> Self {
        Self::Connecting {
            attempts: 0,
            last: None,
        }
    }
}
