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
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use argon_core::access::{Access, KeyRole};
use argon_core::limits::{KEY_FILE_MAX, KEYS_MAX};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::CertificateDer;

use self::bundle::{Bundle, client_config, server_config};
pub(crate) use self::bundle::{MANAGER_NAME, access_of};
pub use self::error::{KeyError, KeyProblem};
pub use self::make::{make_key, make_lesser_key};

/// How long the other end of a pipe may take, in milliseconds.
const PIPE_WAIT_MILLIS: u16 = 5_000;
/// What names the key files of a process that is not told otherwise.
const ENVIRONMENT: &str = "ARGON_KEY";

/// The keys of a process. The first is shown to others; whoever shows one that comes from the
/// authority of any of them is accepted. Copies share what is read again.
#[derive(Clone)]
pub struct Keys {
    files: Arc<Vec<PathBuf>>,
    loaded: Arc<RwLock<Loaded>>,
    /// Roles that the first key needs for what it is used for.
    needed: Arc<Mutex<Vec<KeyRole>>>,
}

/// What was read last.
struct Loaded {
    access: Access,
    authorities: Vec<CertificateDer<'static>>,
    client: Arc<ClientConfig>,
    server: Option<Arc<ServerConfig>>,
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
        let loaded = load(&files, Reading::First)?;
        Ok(Self {
            files: Arc::new(files),
            loaded: Arc::new(RwLock::new(loaded)),
            needed: Arc::default(),
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
            needed: Arc::default(),
        })
    }

    /// Reads the files again. Connections from now on use what is in them; those that are open go on.
    ///
    /// # Errors
    /// As for [`open`](Self::open), if a file is none that can be read again, or if the first key lacks a
    /// role that it was [required](Self::require) to have; then what was there before stays.
    pub fn reload(&self) -> Result<(), KeyError> {
        if self.files.is_empty() {
            return Ok(());
        }
        let loaded = load(&self.files, Reading::Again)?;
        for role in self.needed().iter() {
            self.check(*role, &loaded.access)?;
        }
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// What the first key allows.
    #[must_use]
    pub fn access(&self) -> Access {
        self.read(|loaded| loaded.access.clone())
    }

    /// Checks that the first key has this role, now and whenever it is read again.
    ///
    /// # Errors
    /// If it does not have it now.
    pub fn require(&self, role: KeyRole) -> Result<(), KeyError> {
        self.check(role, &self.access())?;
        let mut needed = self.needed();
        if !needed.contains(&role) {
            needed.push(role);
        }
        Ok(())
    }

    fn needed(&self) -> MutexGuard<'_, Vec<KeyRole>> {
        self.needed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `access`, of the first key, has this role; if not, what would be right.
    pub(crate) fn check(&self, role: KeyRole, access: &Access) -> Result<(), KeyError> {
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

    /// Whether this is the certificate of an authority that is accepted.
    pub(crate) fn trusts(&self, certificate: &CertificateDer<'_>) -> bool {
        self.read(|loaded| loaded.authorities.contains(certificate))
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.read(|loaded| Arc::clone(&loaded.client))
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
            authorities: bundles.iter().map(|one| one.authority.clone()).collect(),
            client: Arc::new(client_config(bundles)?),
            server: server.map(Arc::new),
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
        read_bundle(file, Reading::First).map(Self::of)
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

/// Whether a file is read for the first time. Then it may be a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    First,
    Again,
}

fn load(files: &[PathBuf], reading: Reading) -> Result<Loaded, KeyError> {
    let bundles = files.iter().map(|file| read_bundle(file, reading));
    let bundles = bundles.collect::<Result<Vec<_>, _>>()?;
    // What is wrong now is so with the one that is shown.
    Loaded::new(&bundles).map_err(|error| KeyError {
        file: error.file.or_else(|| files.first().cloned()),
        ..error
    })
}

fn read_bundle(file: &Path, reading: Reading) -> Result<Bundle, KeyError> {
    let named = |problem| KeyError {
        file: Some(file.to_owned()),
        problem,
    };
    let text = read_text(file, reading).map_err(named)?;
    Bundle::parse(&text).map_err(|error| named(error.problem))
}

/// The text of a key file that nobody else can read.
fn read_text(file: &Path, reading: Reading) -> Result<String, KeyProblem> {
    let unreadable = |error: std::io::Error| KeyProblem::Unreadable(error.to_string());
    // Nobody waits for the other end of a pipe for ever.
    let mut options = fs::OpenOptions::new();
    let options = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
    let opened = options.open(file).map_err(unreadable)?;
    let facts = opened.metadata().map_err(unreadable)?;
    if reading == Reading::Again && !facts.is_file() {
        return Err(KeyProblem::NotAFile);
    }
    if facts.is_file() && facts.len() == 0 {
        return Err(KeyProblem::Empty);
    }
    // A pipe is for its two ends alone, whatever its mode says.
    let mode = facts.permissions().mode() & 0o777;
    if facts.is_file() && mode & 0o077 != 0 {
        return Err(KeyProblem::Exposed { mode });
    }
    let mut bytes = Vec::new();
    let mut opened = opened.take(KEY_FILE_MAX + 1);
    while let Err(error) = opened.read_to_end(&mut bytes) {
        if error.kind() != std::io::ErrorKind::WouldBlock {
            return Err(unreadable(error));
        }
        let mut ready = [PollFd::new(opened.get_ref().as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PIPE_WAIT_MILLIS) == Ok(0) {
            return Err(KeyProblem::Unreadable("nothing comes out of it".to_owned()));
        }
    }
    if bytes.len() as u64 > KEY_FILE_MAX {
        return Err(KeyProblem::TooLong {
            limit: KEY_FILE_MAX,
        });
    }
    String::from_utf8(bytes).map_err(|_| KeyProblem::Broken("byte that is no text"))
}

/// What a peer would use to be a manager, whatever its key allows.
#[cfg(test)]
pub(crate) fn server_whatever_it_is(text: &str) -> Arc<ServerConfig> {
    let bundle = Bundle::parse(text).expect("a key");
    Arc::new(server_config(&[bundle]).expect("a key"))
}

#[cfg(test)]
mod tests;
