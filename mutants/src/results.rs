//! What became of each mutant: one line each in a file, so that a run can be resumed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Core,
    Simulation,
    TimedOut,
    Survived,
    NotReached,
}

const WORDS: &[(Verdict, &str)] = &[
    (Verdict::Core, "core"),
    (Verdict::Simulation, "sim"),
    (Verdict::TimedOut, "timeout"),
    (Verdict::Survived, "survived"),
    (Verdict::NotReached, "not-reached"),
];

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS.iter().find(|(verdict, _)| verdict == self);
        f.write_str(word.map_or("", |(_, word)| word))
    }
}

impl Verdict {
    pub fn is_killed(self) -> bool {
        matches!(self, Self::Core | Self::Simulation | Self::TimedOut)
    }
}

/// The newest verdict of each mutant, by key.
pub struct Results {
    path: PathBuf,
    pub all: BTreeMap<String, (Verdict, String)>,
}

impl Results {
    pub fn load(folder: &Path) -> Self {
        let path = folder.join("results.tsv");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut all = BTreeMap::new();
        for line in text.lines() {
            let mut parts = line.split('\t');
            if let (Some(key), Some(word), Some(by)) = (parts.next(), parts.next(), parts.next())
                && let Some((verdict, _)) = WORDS.iter().find(|(_, known)| *known == word)
            {
                all.insert(key.to_owned(), (*verdict, by.to_owned()));
            }
        }
        Self { path, all }
    }

    pub fn forget(&mut self) -> io::Result<()> {
        self.all.clear();
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub fn add(&mut self, key: String, verdict: Verdict, by: &str) -> io::Result<()> {
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        file.write_all(format!("{key}\t{verdict}\t{by}\n").as_bytes())?;
        self.all.insert(key, (verdict, by.to_owned()));
        Ok(())
    }
}
