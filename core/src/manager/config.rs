//! What an operator may set, and the relations between the settings.

use core::fmt;
use core::time::Duration;

use crate::ids::Epoch;
use crate::limits;

/// Settings of a manager.
#[derive(Clone, Debug)]
pub struct ManagerConfig {
    /// This life of the manager, drawn at random at its start.
    pub epoch: Epoch,
    /// Most tasks that wait.
    pub queue_tasks: usize,
    /// Most bytes (names and payloads) that wait.
    pub queue_bytes: u64,
    /// Most tasks assigned, returning or adopted.
    pub in_flight_tasks: usize,
    /// Most bytes of tasks assigned, returning or adopted.
    pub in_flight_bytes: u64,
    /// Most tasks of one client: queued, running and unacknowledged.
    pub client_tasks: usize,
    /// Result bytes that a client may leave unacknowledged before its tasks wait.
    pub client_result_bytes: u64,
    /// Bytes of results that all clients together may leave unacknowledged before the tasks of those wait
    /// that leave more than an even share of it.
    pub unread_bytes: u64,
    /// Most bytes that may be held for all peers together beside the queue, see
    /// [`Pressure`](crate::pressure::Pressure), which the driver keeps.
    pub memory: u64,
    /// Largest payload, in bytes.
    pub payload_max: usize,
    /// How long a closed connection's attempts wait before they go elsewhere.
    pub reconnect_grace: Duration,
    /// How long silence is trusted.
    pub lease: Duration,
    /// How long resubmitted tasks that may have run wait to be claimed.
    pub restart_grace: Duration,
    /// How long sessions, their tasks and orphans are kept.
    pub resume_timeout: Duration,
    /// How long a task that no worker can run waits for one that can.
    pub runner_wait: Duration,
    /// Run time of the tasks of one client that a worker is given in one turn, at most; one task is
    /// always let through. 0: turns of one task.
    pub turn_time: Duration,
    /// Bounds that need no setting.
    pub inner: limits::Inner,
}

impl ManagerConfig {
    /// The defaults, for the life `epoch`.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            queue_tasks: limits::QUEUE_TASKS_DEFAULT,
            queue_bytes: limits::QUEUE_BYTES_DEFAULT,
            in_flight_tasks: limits::IN_FLIGHT_TASKS_DEFAULT,
            in_flight_bytes: limits::IN_FLIGHT_BYTES_DEFAULT,
            client_tasks: limits::CLIENT_TASKS_DEFAULT,
            client_result_bytes: limits::CLIENT_RESULT_BYTES_DEFAULT,
            unread_bytes: limits::MEMORY_DEFAULT,
            memory: limits::MEMORY_DEFAULT,
            payload_max: limits::PAYLOAD_MAX_DEFAULT,
            reconnect_grace: limits::RECONNECT_GRACE,
            lease: limits::LEASE,
            restart_grace: limits::RESTART_GRACE,
            resume_timeout: limits::RESUME_TIMEOUT,
            runner_wait: limits::RUNNER_WAIT,
            turn_time: limits::TURN_TIME,
            inner: limits::Inner::default(),
        }
    }

    /// Checks that the settings can keep the promises together.
    ///
    /// # Errors
    /// Names the first relation that does not hold, and both sides of it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let return_time = limits::RECONNECT_DELAY_MAX + limits::HANDSHAKE;
        for (what, value) in [
            ("queue size", self.queue_tasks as u64),
            ("queue bytes", self.queue_bytes),
            ("in-flight tasks", self.in_flight_tasks as u64),
            ("in-flight bytes", self.in_flight_bytes),
            ("tasks of a client", self.client_tasks as u64),
            ("largest payload", self.payload_max as u64),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero(what));
            }
        }
        if self.payload_max > limits::PAYLOAD_MAX_CEILING {
            return Err(ConfigError::PayloadMax(self.payload_max));
        }
        if self.lease < limits::LEASE_MIN || self.lease > limits::LEASE_MAX {
            return Err(ConfigError::Lease(self.lease));
        }
        for (shorter, short, longer, long) in [
            ("reconnect grace", self.reconnect_grace, "lease", self.lease),
            (
                "reconnect delay and handshake",
                return_time,
                "restart grace",
                self.restart_grace,
            ),
            (
                "restart grace",
                self.restart_grace,
                "resume timeout",
                self.resume_timeout,
            ),
            ("lease", self.lease, "resume timeout", self.resume_timeout),
        ] {
            if short >= long {
                return Err(ConfigError::Clocks {
                    shorter,
                    short,
                    longer,
                    long,
                });
            }
        }
        Ok(())
    }
}

/// Settings that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// This bound must be at least 1.
    Zero(&'static str),
    /// The largest payload is above the ceiling.
    PayloadMax(usize),
    /// The lease is not one that peers live by.
    Lease(Duration),
    /// One clock must run out before the other.
    Clocks {
        /// What must be shorter.
        shorter: &'static str,
        /// How long it is.
        short: Duration,
        /// Than this.
        longer: &'static str,
        /// How long that is.
        long: Duration,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero(what) => write!(f, "{what} must be at least 1"),
            Self::PayloadMax(bytes) => write!(
                f,
                "largest payload is {bytes} bytes, but may be at most {}",
                limits::PAYLOAD_MAX_CEILING
            ),
            Self::Lease(lease) => write!(
                f,
                "lease ({lease:?}) must be from {:?} to {:?}",
                limits::LEASE_MIN,
                limits::LEASE_MAX
            ),
            Self::Clocks {
                shorter,
                short,
                longer,
                long,
            } => {
                write!(
                    f,
                    "{shorter} ({short:?}) must be shorter than {longer} ({long:?})"
                )
            }
        }
    }
}

impl core::error::Error for ConfigError {}
