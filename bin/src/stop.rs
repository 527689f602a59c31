//! Being told to stop: Ctrl-C or SIGTERM, once politely and once more at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for signals that mean "stop". From its making on they no longer end the process.
#[derive(Debug)]
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The next one, as the exit code of a process that it ends. Cancel-safe.
    pub(crate) async fn next(&mut self) -> u8 {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}
