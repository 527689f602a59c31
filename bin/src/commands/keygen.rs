//! `argon keygen` and `argon key`: keys are made, and say what they allow.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use argon::{KeyFacts, KeyRole};
use clap::{Args, Subcommand};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};

use crate::problem::Problem;
use crate::streams::stdout;
use crate::units::BadValue;

const HELP: &str = "\
Without --from it makes the key of a new cluster, which allows everything, and from which others can be
made: keep it where the manager runs, and a copy in a safe place. With --from it makes a key that
allows less and from which none can be made.

Keys do not expire. Who gets hold of the cluster's key can do everything: make a new one then, and
give the old one out of use everywhere.

Without --out the key goes to standard output; if that is a file, nobody else can read it from then on.

Examples:
  argon keygen --out argon.key
  argon keygen --from argon.key --role work --out worker.key
  argon keygen --from argon.key --role submit --role observe --name alice --out alice.key
  argon keygen --from argon.key --role work | ssh host 'umask 077; cat > worker.key'";

/// Make a key: who holds one that comes from a cluster's own is let in there
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct KeygenArgs {
    /// The cluster's own key, from which to make another
    #[arg(long, value_name = "FILE", requires = "roles")]
    from: Option<PathBuf>,
    /// What the other allows: submit tasks (which run as the user of the workers), work (run them),
    /// observe (see who is there and what runs), or manage (be the manager); several times for more
    #[arg(
        long = "role",
        value_name = "ROLE",
        requires = "from",
        value_delimiter = ',',
        value_parser = role
    )]
    roles: Vec<KeyRole>,
    /// Whose key it is, for status and logs: 1 to 63 of a-z, 0-9 and -
    ///
    /// Sessions can be resumed only by whoever has the same name, and of two workers with one name
    /// the older is ended only by another of the same holder.
    #[arg(long, value_name = "NAME", requires = "from")]
    name: Option<String>,
    /// New file for the key, which only you can read; one that is there already stays as it is, and that
    /// is an error
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Say what a key allows
#[derive(Debug, Args)]
pub(crate) struct KeyShowArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Print what a key file allows, without a secret
    Show {
        /// The key file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

fn role(text: &str) -> Result<KeyRole, BadValue> {
    let known = KeyRole::ALL.into_iter().find(|role| role.name() == text);
    known.ok_or_else(|| BadValue::new(text, "is no role; use submit, work, observe or manage"))
}

/// Runs `argon keygen`.
pub(crate) fn make(args: &KeygenArgs) -> Result<u8, Problem> {
    let text = match &args.from {
        None => argon::make_key()?,
        Some(from) => argon::make_lesser_key(from, &args.roles, args.name.as_deref())?,
    };
    if let Some(file) = &args.out {
        return create(file, &text).map(|()| 0);
    }
    keep_secret()?;
    let mut out = stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Problem::stdout(&error))?;
    Ok(0)
}

/// Writes a key to a file that was not there before; leaves none behind that is not whole.
fn create(file: &Path, text: &str) -> Result<(), Problem> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    let mut out = opened.map_err(|error| {
        let file = file.display();
        Problem::new(if error.kind() == io::ErrorKind::AlreadyExists {
            format!(
                "{file} is there already, and a key is not overwritten: others may depend on it; give \
                 another name, or move it away first"
            )
        } else {
            format!("cannot create {file}: {error}")
        })
    })?;
    let written = out.write_all(text.as_bytes()).and_then(|()| out.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(file);
        Problem::new(format!("cannot write {}: {error}", file.display()))
    })
}

/// Takes the file that standard output goes to away from other users, before the key is in it.
fn keep_secret() -> Result<(), Problem> {
    let out = io::stdout();
    let facts = fstat(out.as_fd()).map_err(io::Error::from)?;
    let is_file = SFlag::from_bits_truncate(facts.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
    if is_file {
        fchmod(out.as_fd(), Mode::S_IRUSR | Mode::S_IWUSR).map_err(|error| {
            Problem::new(format!(
                "cannot make standard output a file that only you can read ({error}); write the key to a \
                 file of your own"
            ))
        })?;
    }
    Ok(())
}

/// Runs `argon key`.
pub(crate) fn show(args: &KeyShowArgs) -> Result<u8, Problem> {
    let KeyCommand::Show { file } = &args.command;
    let facts = KeyFacts::read(file)?;
    let roles: Vec<_> = facts.access.roles().map(KeyRole::name).collect();
    let holder = facts
        .access
        .holder()
        .map_or("nobody named", |name| name.as_str());
    let makes = if facts.makes_keys {
        "yes: it is a cluster's own key"
    } else {
        "no"
    };
    let text = format!(
        "roles:       {}\nholder:      {holder}\nmakes keys:  {makes}\nauthority:   {}\n",
        roles.join(", "),
        facts.authority
    );
    let written = stdout().write_all(text.as_bytes());
    written.map_err(|error| Problem::stdout(&error))?;
    Ok(0)
}
