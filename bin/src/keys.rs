//! The keys of a process: where they are, and when they are read again.

use std::fs::File;
use std::path::PathBuf;

use argon::Keys;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};

use crate::problem::Problem;
use crate::streams::{note, say};

/// Where the keys are.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Keys")]
pub(crate) struct KeyArgs {
    /// Key file (see `argon keygen`): connections are TLS, and both sides have to show a key. Given
    /// more than once, or with commas between, the first is shown to others and those of all are
    /// accepted, so that keys can be exchanged while work goes on
    #[arg(
        long = "key",
        value_name = "FILE",
        env = "ARGON_KEY",
        value_delimiter = ',',
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    files: Vec<PathBuf>,
}

impl KeyArgs {
    /// Reads them, if there are any.
    pub(crate) fn open(&self) -> Result<Option<Keys>, Problem> {
        // An empty variable of the environment names one file without a name.
        let files = self
            .files
            .iter()
            .filter(|file| !file.as_os_str().is_empty());
        let files: Vec<PathBuf> = files.cloned().collect();
        Ok((!files.is_empty()).then(|| Keys::open(files)).transpose()?)
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

/// Whether this process has a terminal, the end of which ends it.
pub(crate) fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}
