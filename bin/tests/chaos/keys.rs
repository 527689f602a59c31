//! The keys of a run: two, of two authorities. Everybody shows the same one and accepts both, and now
//! and then the other is the one that is shown.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::common::text;

/// What names the key files of a process.
const VARIABLE: &str = "ARGON_KEY";

/// The key files of a run.
pub(crate) struct Keys {
    folder: PathBuf,
    texts: [String; 2],
    /// Which is shown.
    shown: Mutex<usize>,
}

impl Keys {
    /// Makes both.
    pub(crate) fn new(folder: &Path) -> Self {
        let texts = [(); 2].map(|()| {
            let made = Command::new(env!("CARGO_BIN_EXE_argon"))
                .arg("keygen")
                .stdin(Stdio::null())
                .output()
                .expect("argon");
            assert!(made.status.success(), "{}", text(&made.stderr));
            text(&made.stdout)
        });
        let keys = Self {
            folder: folder.to_owned(),
            texts,
            shown: Mutex::new(0),
        };
        keys.write("a.key", 0);
        keys.write("b.key", 1);
        keys.write("shown.key", 0);
        keys
    }

    /// Has a process use them.
    pub(crate) fn give(&self, command: &mut Command) {
        let files = ["shown.key", "a.key", "b.key"];
        let files = files.map(|name| self.folder.join(name).display().to_string());
        command.env(VARIABLE, files.join(","));
    }

    /// Shows the other from now on. Whoever reads the files at any moment has both.
    pub(crate) fn exchange(&self) {
        let mut shown = self.shown.lock().expect("nobody panicked");
        *shown = 1 - *shown;
        self.write("next.key", *shown);
        let renamed = fs::rename(self.folder.join("next.key"), self.folder.join("shown.key"));
        renamed.expect("in one folder");
    }

    fn write(&self, name: &str, which: usize) {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(self.folder.join(name));
        let written = file.and_then(|mut file| {
            std::io::Write::write_all(&mut file, self.texts[which].as_bytes())
        });
        written.expect("a file");
    }
}
