//! Keys: who may connect, and as what.
//!
//! A key is one text, mostly a file: a certificate with its private key, and the certificate of the
//! small authority that signed it. All keys of a cluster come from one authority, whose private key is
//! in the cluster's own key file and nowhere else. What a key allows stands in its certificate as names
//! below `argon`, which the TLS library checks: `submit.argon`, `work.argon`, `observe.argon`,
//! `manager.argon`, and `alice.holder.argon` for whose it is. Hosts' names and clocks play no part.
//!
//! Owns: keys, and what TLS is configured with. Never: opens a connection.

mod bundle;
mod error;
mod make;

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use argon_core::access::{Access, KeyRole};
use argon_core::limits::{KEY_FILE_MAX, KEYS_MAX};
use rustls::{ClientConfig, ServerConfig};

use self::bundle::{Bundle, client_config, server_config};
pub(crate) use self::bundle::{MANAGER_NAME, access_of};
pub use self::error::{KeyError, KeyProblem};
pub use self::make::{make_key, make_lesser_key};

/// What names the key files of a process that is not told otherwise.
const ENVIRONMENT: &str = "ARGON_KEY";

/// The keys of a process. The first is shown to others; whoever shows one that comes from the
/// authority of any of them is accepted. Copies share what is read again.
#[derive(Clone)]
pub struct Keys {
    files: Arc<Vec<PathBuf>>,
    loaded: Arc<RwLock<Loaded>>,
}

/// What was read last.
struct Loaded {
    access: Access,
    client: Arc<ClientConfig>,
    server: Option<Arc<ServerConfig>>,
    #[cfg(test)]
    forced: Arc<ServerConfig>,
}

impl fmt::Debug for Keys {
    /// Shows no secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("files", &self.files)
            .field("access", &self.access())
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads key files.
    ///
    /// # Errors
    /// If there is none, one cannot be read, is no key, or can be read by other users.
    pub fn open<P: Into<PathBuf>>(files: impl IntoIterator<Item = P>) -> Result<Self, KeyError> {
        let files: Vec<PathBuf> = files.into_iter().map(Into::into).collect();
        let loaded = load(&files)?;
        Ok(Self {
            files: Arc::new(files),
            loaded: Arc::new(RwLock::new(loaded)),
        })
    }

    /// Reads the key files that the environment's `ARGON_KEY` names, with commas between them; `None`
    /// if it names none.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn from_environment() -> Result<Option<Self>, KeyError> {
        let named = std::env::var_os(ENVIRONMENT).unwrap_or_default();
        let files: Vec<PathBuf> = named
            .as_bytes()
            .split(|byte| *byte == b',')
            .filter(|name| !name.is_empty())
            .map(|name| PathBuf::from(OsStr::from_bytes(name)))
            .collect();
        (!files.is_empty()).then(|| Self::open(files)).transpose()
    }

    /// Takes keys that are at hand as texts: for programs that keep their secrets elsewhere.
    ///
    /// # Errors
    /// If there is none, or one is no key.
    pub fn from_texts<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Self, KeyError> {
        let bundles = texts.into_iter().map(|text| Bundle::parse(text.as_ref()));
        let bundles = bundles.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            files: Arc::default(),
            loaded: Arc::new(RwLock::new(Loaded::new(&bundles)?)),
        })
    }

    /// Reads the files again. Connections from now on use what is in them; those that are open go on.
    ///
    /// # Errors
    /// As for [`open`](Self::open); then what was there before stays.
    pub fn reload(&self) -> Result<(), KeyError> {
        if self.files.is_empty() {
            return Ok(());
        }
        let loaded = load(&self.files)?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// What the first key allows.
    #[must_use]
    pub fn access(&self) -> Access {
        self.read(|loaded| loaded.access.clone())
    }

    /// Checks that the first key has this role.
    ///
    /// # Errors
    /// If it does not.
    pub fn require(&self, role: KeyRole) -> Result<(), KeyError> {
        let access = self.access();
        if access.allows(role) {
            return Ok(());
        }
        Err(KeyError {
            file: self.files.first().cloned(),
            problem: KeyProblem::Role {
                wanted: role,
                roles: access.roles().collect(),
            },
        })
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.read(|loaded| Arc::clone(&loaded.client))
    }

    /// What a peer with a lesser key would use to be a manager.
    #[cfg(test)]
    pub(crate) fn server_whatever_it_is(&self) -> Arc<ServerConfig> {
        self.read(|loaded| Arc::clone(&loaded.forced))
    }

    /// For a manager; `None` if the first key is none of a manager.
    pub(crate) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.read(|loaded| loaded.server.clone())
    }

    fn read<T>(&self, read: impl FnOnce(&Loaded) -> T) -> T {
        read(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Loaded {
    fn new(bundles: &[Bundle]) -> Result<Self, KeyError> {
        let first = bundles.first().ok_or(KeyError {
            file: None,
            problem: KeyProblem::None,
        })?;
        if bundles.len() > KEYS_MAX {
            return Err(KeyError {
                file: None,
                problem: KeyProblem::TooMany { limit: KEYS_MAX },
            });
        }
        let is_manager = first.access.allows(KeyRole::Manage);
        let server = is_manager.then(|| server_config(bundles)).transpose()?;
        Ok(Self {
            access: first.access.clone(),
            client: Arc::new(client_config(bundles)?),
            server: server.map(Arc::new),
            #[cfg(test)]
            forced: Arc::new(server_config(bundles)?),
        })
    }
}

/// What a key file says about itself, without a secret: for `argon key show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// What it allows.
    pub access: Access,
    /// Whether other keys can be made from it.
    pub makes_keys: bool,
    /// Which authority it comes from: the first bytes of the hash of that's certificate.
    pub authority: String,
}

impl KeyFacts {
    /// Reads a key file.
    ///
    /// # Errors
    /// If it cannot be read, is no key, or can be read by other users.
    pub fn read(file: &Path) -> Result<Self, KeyError> {
        read_bundle(file).map(Self::of)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn of_text(text: &str) -> Result<Self, KeyError> {
        Bundle::parse(text).map(Self::of)
    }

    fn of(bundle: Bundle) -> Self {
        Self {
            authority: bundle.fingerprint(),
            makes_keys: bundle.authority_key.is_some(),
            access: bundle.access,
        }
    }
}

fn load(files: &[PathBuf]) -> Result<Loaded, KeyError> {
    let bundles = files.iter().map(|file| read_bundle(file));
    let bundles = bundles.collect::<Result<Vec<_>, _>>()?;
    // What is wrong now is so with the one that is shown.
    Loaded::new(&bundles).map_err(|error| KeyError {
        file: error.file.or_else(|| files.first().cloned()),
        ..error
    })
}

fn read_bundle(file: &Path) -> Result<Bundle, KeyError> {
    let named = |problem| KeyError {
        file: Some(file.to_owned()),
        problem,
    };
    let text = read_text(file).map_err(named)?;
    Bundle::parse(&text).map_err(|error| named(error.problem))
}

/// The text of a key file that nobody else can read.
pub(crate) fn read_text(file: &Path) -> Result<String, KeyProblem> {
    let unreadable = |error: std::io::Error| KeyProblem::Unreadable(error.to_string());
    let opened = fs::File::open(file).map_err(unreadable)?;
    let facts = opened.metadata().map_err(unreadable)?;
    // A pipe is for its two ends alone, whatever its mode says.
    let mode = facts.permissions().mode() & 0o777;
    if facts.is_file() && mode & 0o077 != 0 {
        return Err(KeyProblem::Exposed { mode });
    }
    let mut text = String::new();
    let read = opened.take(KEY_FILE_MAX + 1).read_to_string(&mut text);
    read.map_err(unreadable)?;
    if text.len() as u64 > KEY_FILE_MAX {
        return Err(KeyProblem::TooLong {
            limit: KEY_FILE_MAX,
        });
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
