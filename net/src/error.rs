//! What can go wrong when something is started, submitted or asked for. Every text says what was
//! wrong and what would be right.

mod task;

use std::fmt;
use std::io;
use std::net::SocketAddr;

use argon_core::limits;
use argon_core::manager::ConfigError;
use argon_core::message::RefuseReason;
use argon_core::name::{Name, NameError};

use crate::keys::KeyError;

pub use self::task::{Error, Failed};

/// Why a manager, worker or client was not started.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The list of managers is empty.
    NoManager,
    /// This is not an address.
    Address {
        /// What was given.
        given: String,
    },
    /// The name of the host could not be resolved.
    Resolve {
        /// What was given.
        given: String,
        /// What the system says.
        error: io::Error,
    },
    /// Others could reach this address, and nothing would keep strangers out.
    NotLoopback {
        /// What the given address stands for.
        address: SocketAddr,
    },
    /// The address could not be listened on.
    Bind {
        /// What was given.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// The settings contradict each other.
    Config(ConfigError),
    /// A worker cannot run this many attempts at once.
    Capacity(u32),
    /// A name that cannot be one.
    Name(NameError),
    /// The program's own tasks cannot be run.
    Tasks(String),
    /// A thread could not be started.
    Thread(io::Error),
    /// There is no tokio runtime to run on.
    NoRuntime,
    /// The system has no random numbers to give.
    Entropy,
    /// A key cannot be used.
    Key(KeyError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoManager => {
                write!(f, "no manager is named; give the HOST:PORT of at least one")
            }
            Self::Address { given } => write!(
                f,
                "{given:?} is not an address; give HOST:PORT, as in 127.0.0.1:8000"
            ),
            Self::Resolve { given, error } => write!(
                f,
                "{given:?} cannot be resolved ({error}); give HOST:PORT with a host that exists"
            ),
            Self::NotLoopback { address } => write!(
                f,
                "{address} can be reached from other hosts, and whoever connects could run tasks; \
                 use a key (`argon keygen > argon.key`, then --key argon.key here and at all \
                 others), or allow it with --insecure if every host that can reach it is trusted; \
                 a loopback address such as 127.0.0.1 needs neither"
            ),
            Self::Bind { address, error } => write!(
                f,
                "cannot listen on {address} ({error}); give an address of this host and a port \
                 that is free, or port 0 to let the system choose"
            ),
            Self::Config(error) => write!(f, "{error}"),
            Self::Capacity(given) => write!(
                f,
                "a worker runs from 1 to {} attempts at once, not {given}",
                limits::CAPACITY_MAX
            ),
            Self::Name(error) => write!(f, "{error}"),
            Self::Tasks(problem) => write!(f, "{problem}"),
            Self::Thread(error) => write!(f, "a thread could not be started ({error})"),
            Self::NoRuntime => write!(
                f,
                "there is no tokio runtime here; call this from within one, or use what is in \
                 argon::blocking"
            ),
            Self::Entropy => write!(f, "the system gives no random numbers (getrandom failed)"),
            Self::Key(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve { error, .. } | Self::Bind { error, .. } | Self::Thread(error) => {
                Some(error)
            }
            Self::Config(error) => Some(error),
            Self::Key(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a manager ended without being told to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunError {
    /// Its state machine panicked: a defect of Argon. A new process recovers what peers report.
    Broken,
    /// Another worker has come in under the name of this one, which has left: its tasks are tried
    /// elsewhere, and it must not come back under that name.
    Replaced {
        /// The name.
        name: Name,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replaced { name } => write!(
                f,
                "another worker has come in under the name {name}, so this one has left; give each \
                 worker a name of its own (--name), or none"
            ),
            Self::Broken => write!(
                f,
                "the state machine panicked, which is a defect; start the process again: workers \
                 and clients will come back to it by themselves"
            ),
        }
    }
}

impl std::error::Error for RunError {}

/// Why a task was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitError {
    /// The payload is larger than may be sent. Trying again is of no use.
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The bytes allowed.
        limit: usize,
    },
    /// `max_attempts` is out of range.
    Attempts(u8),
    /// The client is closed.
    Stopped,
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, limit } => write!(
                f,
                "a payload of {bytes} bytes, where at most {limit} are allowed"
            ),
            Self::Attempts(given) => write!(
                f,
                "max_attempts is {given}, but must be from 1 to {}",
                limits::ATTEMPTS_MAX
            ),
            Self::Stopped => write!(f, "the client is closed; start another to submit tasks"),
        }
    }
}

impl std::error::Error for SubmitError {}

/// Why a manager's status could not be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum StatusError {
    /// No connection came about.
    Connect {
        /// The address.
        manager: String,
        /// What the system says.
        error: io::Error,
    },
    /// The connection broke.
    Connection {
        /// The address.
        manager: String,
        /// What the system says.
        error: io::Error,
    },
    /// The manager does not let us in.
    Refused {
        /// The address.
        manager: String,
        /// The reason, in words.
        reason: String,
    },
    /// Whoever listens there does not speak our protocol.
    Protocol {
        /// The address.
        manager: String,
        /// What is spoken there instead, if it is something well known.
        speaks: Option<&'static str>,
    },
    /// No answer came in time.
    TimedOut {
        /// The address.
        manager: String,
    },
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { manager, error } => write!(
                f,
                "cannot connect to a manager at {manager} ({error}); start one there or give the \
                 HOST:PORT of one that runs"
            ),
            Self::Connection { manager, error } => write!(
                f,
                "the connection to {manager} broke before the status came ({error}); try again"
            ),
            Self::Refused { manager, reason } => {
                write!(
                    f,
                    "there is no way in to the manager at {manager}: {reason}"
                )
            }
            Self::Protocol {
                manager,
                speaks: Some(name),
            } => write!(
                f,
                "what listens at {manager} speaks {name}, not Argon's protocol; give the HOST:PORT of \
                 a manager"
            ),
            Self::Protocol { manager, .. } => write!(
                f,
                "what listens at {manager} is not an Argon manager of this version; give the \
                 HOST:PORT of one"
            ),
            Self::TimedOut { manager } => write!(
                f,
                "no answer came from {manager} in time; see whether the manager runs and can be \
                 reached"
            ),
        }
    }
}

impl std::error::Error for StatusError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { error, .. } | Self::Connection { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Why a manager did not let a peer in, in words.
pub(crate) fn refusal(reason: RefuseReason) -> String {
    match reason {
        RefuseReason::Version(theirs) => format!(
            "it speaks version {}.{} of the protocol and we speak {}.{}; run the same release on \
             both sides",
            theirs.major,
            theirs.minor,
            argon_core::message::VERSION.major,
            argon_core::message::VERSION.minor
        ),
        RefuseReason::OldConnection => {
            "a newer connection of this process is already in".to_owned()
        }
        RefuseReason::Full => {
            "it has as many sessions as it may; sessions end when their peers leave".to_owned()
        }
        RefuseReason::BadHello => "it did not understand our greeting".to_owned(),
        RefuseReason::Replaced => "another worker has its name".to_owned(),
        RefuseReason::KeyRequired => {
            "it lets in only those who have a key, and we have none; give one that comes from its own \
             (--key FILE or ARGON_KEY)"
                .to_owned()
        }
        RefuseReason::NotAllowed => {
            "our key does not have the role that this needs (see `argon key show`); whoever has the \
             cluster's own key can make one that has, with `argon keygen --from KEY --role ROLE`"
                .to_owned()
        }
        RefuseReason::OtherHolder => {
            "our session, or the worker of our name, belongs to another holder of a key; use that \
             key, or another name"
                .to_owned()
        }
        RefuseReason::BadCapacity => format!(
            "a worker runs from 1 to {} attempts at once",
            limits::CAPACITY_MAX
        ),
    }
}
