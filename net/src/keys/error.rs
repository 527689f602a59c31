//! What can be wrong with a key.

use std::fmt;
use std::path::PathBuf;

use argon_core::access::KeyRole;
use argon_core::limits::HOLDER_MAX;

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// The file that it is in, if it is in one.
    pub file: Option<PathBuf>,
    /// What is wrong.
    pub problem: KeyProblem,
}

/// What is wrong with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyProblem {
    /// No key was given.
    None,
    /// More keys than one process may have.
    TooMany {
        /// How many it may have.
        limit: usize,
    },
    /// The file cannot be read; what the system says.
    Unreadable(String),
    /// It is no regular file, so it cannot be read again.
    NotAFile,
    /// There is nothing in it.
    Empty,
    /// Other users can read the file.
    Exposed {
        /// Its mode.
        mode: u32,
    },
    /// The file is too long for a key.
    TooLong {
        /// Most bytes of one.
        limit: u64,
    },
    /// A part that every key has is not there.
    Missing(&'static str),
    /// A part is not what it should be.
    Broken(&'static str),
    /// The certificate was not signed by the authority beside it.
    Foreign,
    /// The key has no role at all.
    NoRole,
    /// The key does not have a role that it needs.
    Role {
        /// The one.
        wanted: KeyRole,
        /// Those that it has.
        roles: Vec<KeyRole>,
    },
    /// Other keys cannot be made from this one.
    NoAuthority,
    /// This is no name of a holder.
    Holder(String),
    /// It could not be made; what the library says.
    Make(String),
}

impl From<KeyProblem> for KeyError {
    fn from(problem: KeyProblem) -> Self {
        Self {
            file: None,
            problem,
        }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_ref().map_or_else(
            || "the key".to_owned(),
            |file| format!("key file {}", file.display()),
        );
        match &self.problem {
            KeyProblem::None => write!(
                f,
                "no key is given; make one with `argon keygen > argon.key`"
            ),
            KeyProblem::TooMany { limit } => write!(f, "a process has at most {limit} keys"),
            KeyProblem::Unreadable(error) => write!(f, "{file} cannot be read ({error})"),
            KeyProblem::NotAFile => write!(
                f,
                "{file} is no regular file, so it cannot be read again; put the key into a file"
            ),
            KeyProblem::Empty => write!(
                f,
                "{file} is empty, as an `argon keygen` that failed leaves it; make the key again"
            ),
            KeyProblem::Exposed { mode } => {
                let name = self.file.as_ref().map(|file| file.display().to_string());
                write!(
                    f,
                    "{file} can be read by other users (mode {mode:03o}), so it is no secret; run \
                     `chmod 600 {}`, and make a new one if somebody else may have read it",
                    name.unwrap_or_default()
                )
            }
            KeyProblem::TooLong { limit } => write!(
                f,
                "{file} has more than {limit} bytes, so it is no key; make one with `argon keygen`"
            ),
            KeyProblem::Missing(part) => write!(
                f,
                "{file} has no {part}; it should be what `argon keygen` wrote, whole"
            ),
            KeyProblem::Broken(part) => write!(
                f,
                "{file} has a {part} that cannot be used; it should be what `argon keygen` wrote, \
                 unchanged"
            ),
            KeyProblem::Foreign => write!(
                f,
                "{file} has a certificate that was not signed by the authority in it; it should be \
                 what `argon keygen` wrote, not put together from two keys"
            ),
            KeyProblem::NoRole => write!(
                f,
                "{file} has no role that there is; make one with `argon keygen --from KEY --role ROLE`"
            ),
            KeyProblem::Role { wanted, roles } => {
                let roles: Vec<_> = roles.iter().map(|role| role.name()).collect();
                write!(
                    f,
                    "{file} allows {} only, but this needs the role {wanted}; whoever has the cluster's \
                     own key can make one with `argon keygen --from KEY --role {wanted}`",
                    roles.join(" and ")
                )
            }
            KeyProblem::NoAuthority => write!(
                f,
                "{file} was made from another key, and no key can be made from it; use the one that \
                 `argon keygen` wrote without --from"
            ),
            KeyProblem::Holder(name) => write!(
                f,
                "{name:?} is no name for a key's holder; use 1 to {HOLDER_MAX} of a-z, 0-9 and -"
            ),
            KeyProblem::Make(error) => write!(f, "the key could not be made ({error})"),
        }
    }
}

impl std::error::Error for KeyError {}
