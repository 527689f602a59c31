//! The keys of a process: where they are, and when they are read again.

use std::path::PathBuf;

use argon::Keys;
use clap::Args;

use crate::problem::Problem;
use crate::streams::{note, say};

/// Where the keys are.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Keys")]
pub(crate) struct KeyArgs {
    /// Key file (see `argon keygen`): connections are TLS, and both sides have to show a key. Given
    /// more than once, or with commas between, the first is shown to others and those of all are
    /// accepted, so that keys can be exchanged while work goes on [default: what ARGON_KEY names]
    #[arg(long = "key", value_name = "FILE", value_delimiter = ',')]
    files: Vec<PathBuf>,
}

impl KeyArgs {
    /// Refuses key files where there is nobody to show a key to. What the environment names may be for
    /// other commands.
    pub(crate) fn none_here(&self) -> Result<(), Problem> {
        match self.files.first() {
            None => Ok(()),
            Some(file) => Err(Problem::new(format!(
                "--key {}: without --manager everything runs in this process, and there is nobody to \
                 show a key to; say where to connect with --manager HOST:PORT, or leave --key out",
                file.display()
            ))),
        }
    }

    /// Reads them, if there are any.
    pub(crate) fn open(&self) -> Result<Option<Keys>, Problem> {
        if self.files.is_empty() {
            return Ok(Keys::from_environment()?);
        }
        Ok(Some(Keys::open(self.files.iter().cloned())?))
    }
}

/// Reads the keys again, and says what came of it.
pub(crate) fn reload(keys: &Keys) {
    match keys.reload() {
        Ok(()) => note(format_args!(
            "keys were read again; new connections use them"
        )),
        Err(error) => say(format_args!("{error}; the keys stay as they were")),
    }
}
