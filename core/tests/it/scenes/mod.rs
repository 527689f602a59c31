//! Scenes: files of commands with the answers that a machine gave to them.
//!
//! `core/tests/scenarios/MACHINE/SUBJECT.txt` holds scenes. A line that starts with `===` names
//! one; a line that starts with `#` says what to look at; an indented line is an answer; any other
//! is a command. `UPDATE=1 cargo test -p argon-core --test it scenes` writes the answers anew, and
//! the difference is what a change did.

mod client;
mod command;
mod manager;
mod text;
mod worker;

use std::fs;
use std::path::{Path, PathBuf};

use argon_core::ids::Epoch;

use command::Command;

/// The manager's, in all scenes; attempts of it are written without it.
const EPOCH: Epoch = Epoch(7);
const INDENT: &str = "    ";

/// A machine and its surroundings.
trait Stage {
    /// The command that sets up a new one.
    const MACHINE: &'static str;

    /// A new one, as its first command says.
    fn new(command: &Command<'_>) -> Self;

    /// Does what a command says; what came of it, a line each.
    fn run(&mut self, command: &Command<'_>) -> Vec<String>;
}

/// Plays all scenes of a file; its text with the answers of now.
fn play<S: Stage>(file: &str, text: &str) -> String {
    let mut stage: Option<S> = None;
    let mut new = String::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with(INDENT) {
            continue;
        }
        new.push_str(line);
        new.push('\n');
        if line.starts_with("===") {
            stage = None;
        } else if !line.is_empty() && !line.starts_with('#') {
            let command = Command::parse(line, format!("{file}:{number}"));
            match &mut stage {
                None => stage = Some(S::new(&command)),
                Some(_) if command.verb == S::MACHINE => stage = Some(S::new(&command)),
                Some(stage) => {
                    for answer in stage.run(&command) {
                        new.push_str(&format!("{INDENT}{answer}\n"));
                    }
                }
            }
            command.all_used();
        }
    }
    new
}

/// Plays every file of a machine.
fn play_all<S: Stage>() {
    let machine = S::MACHINE;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/scenarios")
        .join(machine);
    let entries = fs::read_dir(&folder).expect("the folder of scenes");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no scenes in {}", folder.display());
    let mut wrong = Vec::new();
    for path in files {
        let file = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path).expect("UTF-8");
        let new = play::<S>(&file, &text);
        if new == text {
            continue;
        }
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, new).expect("writable");
        } else {
            wrong.push(difference(&file, &text, &new));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nUPDATE=1 writes what is so now",
        wrong.join("\n")
    );
}

/// The first place where a file and what is so now part.
fn difference(file: &str, old: &str, new: &str) -> String {
    let (mut old, mut new) = (old.lines(), new.lines());
    let (mut scene, mut command, mut number) = ("", "", 0);
    loop {
        number += 1;
        let (was, is) = (old.next(), new.next());
        if was != is {
            let shown = |line: Option<&str>| line.unwrap_or("(nothing)").to_owned();
            return format!(
                "{file}:{number}: {scene}\n{command}\n-{}\n+{}",
                shown(was),
                shown(is)
            );
        }
        match was {
            Some(line) if line.starts_with("===") => scene = line,
            Some(line) if !line.starts_with(INDENT) => command = line,
            _ => {}
        }
    }
}

#[test]
fn managers_answer_as_written() {
    play_all::<manager::Stage>();
}

#[test]
fn workers_answer_as_written() {
    play_all::<worker::Stage>();
}

#[test]
fn clients_answer_as_written() {
    play_all::<client::Stage>();
}
