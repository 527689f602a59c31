//! A copy of the workspace whose core holds all mutants, and the binaries built from it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use serde_json::Value;

use crate::edit::{Mark, Source};
use crate::find::{Mutant, find};

/// The code that decides, below `core/src`.
const DECIDES: &[&str] = &[
    "queue",
    "router.rs",
    "router",
    "retry.rs",
    "seq_map.rs",
    "durations.rs",
    "manager",
    "worker",
    "client",
    "capabilities.rs",
    "link.rs",
    "failure_detector.rs",
    "time.rs",
];

/// What only checks or reports.
const LOOKS_ON: &[&str] = &[
    "queue/check.rs",
    "manager/invariants.rs",
    "manager/status.rs",
    "worker/invariants.rs",
];

pub const PROFILE: &str = "mutants";

pub struct Scratch {
    pub root: PathBuf,
    pub folder: PathBuf,
    sources: BTreeMap<String, Source>,
    pub mutants: Vec<Mutant>,
    /// Those that do not compile.
    pub unviable: BTreeSet<u32>,
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if folder.is_file() {
        found.push(folder.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Copies what differs, so that what was built from the rest stays fresh. `own` is written later.
fn copy(from: &Path, to: &Path, own: &BTreeSet<PathBuf>) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let name = path.file_name().expect("an entry has a name").to_owned();
        if name == "target" || name.to_string_lossy().starts_with('.') {
            continue;
        }
        let there = to.join(&name);
        names.insert(name);
        if path.is_dir() {
            copy(&path, &there, own)?;
        } else if !own.contains(&there) {
            write(&there, &fs::read(&path)?)?;
        }
    }
    for entry in fs::read_dir(to)? {
        let path = entry?.path();
        let is_known = names.contains(path.file_name().expect("a name")) || own.contains(&path);
        if path.is_file() && !is_known {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// What lives too long, as a label of an error says it.
fn dropped(label: &str) -> Option<&str> {
    let (_, rest) = label.split_once("when `")?;
    let (name, rest) = rest.split_once('`')?;
    rest.starts_with(" is dropped").then_some(name)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    fs::write(path, bytes)
}

impl Scratch {
    /// Finds all mutants of the workspace at `root`; nothing is written.
    pub fn find(root: &Path) -> io::Result<Self> {
        let source = root.join("core/src");
        let mut files = Vec::new();
        for part in DECIDES {
            let path = source.join(part);
            if path.exists() {
                rust_files(&path, &mut files)?;
            }
        }
        files.sort();
        let mut scratch = Self {
            root: root.to_owned(),
            folder: root.join("target/mutants"),
            sources: BTreeMap::new(),
            mutants: Vec::new(),
            unviable: BTreeSet::new(),
        };
        for file in files {
            let name = file.strip_prefix(&source).expect("below it");
            let name = name.to_string_lossy().into_owned();
            if LOOKS_ON.contains(&&*name) {
                continue;
            }
            let text = fs::read_to_string(&file)?;
            let first = scratch.mutants.len() as u32 + 1;
            let (source, mutants) = find(&name, &text, first)
                .map_err(|error| io::Error::other(format!("{name}: {error}")))?;
            scratch.sources.insert(name, source);
            scratch.mutants.extend(mutants);
        }
        Ok(scratch)
    }

    fn workspace(&self) -> PathBuf {
        self.folder.join("workspace")
    }

    fn write_sources(&self) -> io::Result<BTreeMap<String, Vec<Mark>>> {
        let mut marks = BTreeMap::new();
        for (name, source) in &self.sources {
            let (text, found) = source.mutated(&self.unviable);
            let path = format!("core/src/{name}");
            write(&self.workspace().join(&path), text.as_bytes())?;
            marks.insert(path, found);
        }
        Ok(marks)
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or("cargo".into()));
        cargo
            .current_dir(self.workspace())
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            // A mutant may trip over lints; that is not what it is judged by.
            .env("RUSTFLAGS", "--cap-lints warn")
            .env_remove("RUSTC_WRAPPER")
            .args(arguments)
            .args(["--profile", PROFILE, "--message-format", "json", "--quiet"]);
        for setting in [
            "inherits='release'",
            "lto=false",
            "debug=false",
            "debug-assertions=true",
            "overflow-checks=true",
            "codegen-units=16",
            "opt-level=2",
        ] {
            cargo.args(["--config", &format!("profile.{PROFILE}.{setting}")]);
        }
        cargo
    }

    /// Writes the copy and leaves out mutants until the rest compiles.
    pub fn prepare(&mut self) -> io::Result<()> {
        let workspace = self.workspace();
        let core = workspace.join("core/src");
        let mutant = core.join("mutant.rs");
        let lib = core.join("lib.rs");
        let judge = workspace.join("sim/examples/judge.rs");
        let mut own: BTreeSet<PathBuf> = self.sources.keys().map(|name| core.join(name)).collect();
        own.extend([&mutant, &lib, &judge].map(Clone::clone));
        copy(&self.root, &workspace, &own)?;
        write(&mutant, include_bytes!("../scratch/mutant.rs"))?;
        let text = fs::read_to_string(self.root.join("core/src/lib.rs"))?;
        let with_mutants = "#[doc(hidden)]\npub mod mutant;\npub mod client;";
        let text = text.replacen("pub mod client;", with_mutants, 1);
        write(&lib, text.as_bytes())?;
        fs::create_dir_all(workspace.join("sim/examples"))?;
        write(&judge, include_bytes!("../scratch/judge.rs"))?;
        self.recall_unviable();
        for round in 1.. {
            let marks = self.write_sources()?;
            let arguments = ["check", "-p", "argon-core", "--lib"];
            let output = self.cargo(&arguments).output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            let errors: Vec<Value> = text
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .filter(|line| line["reason"] == "compiler-message")
                .map(|line| line["message"].clone())
                .filter(|message| message["level"] == "error")
                .collect();
            if output.status.success() {
                break;
            }
            let before = self.unviable.len();
            for error in &errors {
                let blamed = self.blame(error, &marks);
                self.unviable.extend(blamed);
            }
            let fresh = self.unviable.len() - before;
            println!("round {round}: {fresh} mutants do not compile");
            if fresh == 0 {
                let shown = errors.iter().filter_map(|error| error["rendered"].as_str());
                let shown = shown.collect::<String>();
                let stderr = String::from_utf8_lossy(&output.stderr);
                return Err(io::Error::other(format!("{shown}\n{stderr}")));
            }
        }
        let keys: Vec<String> = self
            .mutants
            .iter()
            .filter(|one| self.unviable.contains(&one.id))
            .map(Mutant::key)
            .collect();
        fs::write(self.unviable_file(), keys.join("\n") + "\n")
    }

    fn unviable_file(&self) -> PathBuf {
        self.folder.join("unviable.txt")
    }

    /// Takes what did not compile the last time from the file where it was kept.
    pub fn recall_unviable(&mut self) {
        let text = fs::read_to_string(self.unviable_file()).unwrap_or_default();
        let keys: BTreeSet<&str> = text.lines().collect();
        let known = self.mutants.iter().filter(|one| keys.contains(&*one.key()));
        self.unviable = known.map(|one| one.id).collect();
    }

    /// Builds tests and judge; gives the binaries with a name each.
    pub fn build(&self) -> io::Result<Vec<(String, PathBuf)>> {
        let mut found = Vec::new();
        for arguments in [
            &["test", "--no-run", "-p", "argon-core", "--lib", "--tests"][..],
            &["test", "--no-run", "-p", "sim", "--test", "it"],
            &["build", "-p", "sim", "--example", "judge"],
        ] {
            let output = self.cargo(arguments).output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            if !output.status.success() {
                let stderr = String::from_utf8_lossy(&output.stderr);
                return Err(io::Error::other(format!("{text}\n{stderr}")));
            }
            for line in text.lines() {
                let line: Value = serde_json::from_str(line).unwrap_or_default();
                let target = &line["target"];
                let kind = target["kind"][0].as_str().unwrap_or_default();
                let is_wanted = ["test", "lib", "example"].contains(&kind);
                if let (true, Some(file)) = (is_wanted, line["executable"].as_str()) {
                    let package = line["package_id"].as_str().unwrap_or_default();
                    let part = if package.contains("/sim#") {
                        "sim"
                    } else {
                        "core"
                    };
                    let name = target["name"].as_str().unwrap_or_default();
                    found.push((format!("{part}/{name}"), PathBuf::from(file)));
                }
            }
        }
        Ok(found)
    }

    /// Where the tests of a binary are run.
    pub fn home_of(&self, binary: &str) -> PathBuf {
        let part = binary.split('/').next().expect("split gives a first part");
        self.workspace().join(part)
    }

    /// The mutants that an error is about: those with the shortest code around its spans. If
    /// there are none, code goes on where it should have left: something between them was left
    /// out.
    fn blame(&self, error: &Value, marks: &BTreeMap<String, Vec<Mark>>) -> Vec<u32> {
        let own = error["spans"].as_array().into_iter().flatten();
        let children = error["children"].as_array().into_iter().flatten();
        let theirs = children.flat_map(|child| child["spans"].as_array().into_iter().flatten());
        let mut primary = Vec::new();
        let mut secondary = Vec::new();
        let mut all: Option<(&str, Range<usize>)> = None;
        let mut kept: Option<&str> = None;
        for span in own.chain(theirs) {
            let label = span["label"].as_str().unwrap_or_default();
            kept = kept.or(dropped(label));
            let number = |name: &str| span[name].as_u64().unwrap_or_default() as usize;
            let place = number("byte_start")..number("byte_end");
            let file = span["file_name"].as_str().unwrap_or_default();
            let around = marks
                .get(file)
                .into_iter()
                .flatten()
                .filter(|mark| mark.range.start <= place.start && place.end <= mark.range.end)
                .min_by_key(|mark| mark.range.len());
            if let Some(mark) = around {
                let is_primary = span["is_primary"] == true;
                let list = if is_primary {
                    &mut primary
                } else {
                    &mut secondary
                };
                list.extend(mark.ids.iter().copied());
            }
            let (_, all) = all.get_or_insert((file, place.clone()));
            *all = all.start.min(place.start)..all.end.max(place.end);
        }
        if let (Some(name), Some((file, all))) = (kept, &all) {
            // What should have been given away is still there because that was left out.
            let mut blamed = Vec::new();
            for mark in marks.get(*file).into_iter().flatten() {
                let between = all.start <= mark.range.start && mark.range.end <= all.end;
                blamed.extend(mark.ids.iter().copied().filter(|id| {
                    let one = &self.mutants[*id as usize - 1];
                    let gives = one.code.ends_with(&format!("({name})"));
                    between && gives && one.operator == "left out"
                }));
            }
            if !blamed.is_empty() {
                return blamed;
            }
        }
        if primary.is_empty() {
            primary = secondary;
        }
        if let (true, Some((file, all))) = (primary.is_empty(), all) {
            let between = |mark: &&Mark| all.start <= mark.range.start && mark.range.end <= all.end;
            let between = marks.get(file).into_iter().flatten().filter(between);
            primary = between.flat_map(|mark| mark.ids.iter().copied()).collect();
            primary.retain(|id| {
                let one = &self.mutants[*id as usize - 1];
                let leaves = ["return", "break", "continue"];
                one.operator == "left out" && leaves.iter().any(|word| one.code.starts_with(word))
            });
        }
        primary
    }
}
