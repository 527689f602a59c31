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

/// Plays a file of a machine.
fn play_file<S: Stage>(subject: &str) {
    let file = format!("{}/{subject}.txt", S::MACHINE);
    let path = folder(S::MACHINE).join(format!("{subject}.txt"));
    let text = fs::read_to_string(&path).expect("a file of scenes");
    let new = play::<S>(&file, &text);
    if new == text {
        return;
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, new).expect("writable");
    } else {
        panic!(
            "{}\nUPDATE=1 writes what is so now",
            difference(&file, &text, &new)
        );
    }
}

fn folder(machine: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/scenarios").join(machine)
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

/// A test for each file, so that it is found by what it is about, and one that no file is left out.
macro_rules! scenes {
    ($machine:ident: $stage:ty: $($subject:ident)*) => {
        mod $machine {
            use super::Stage as _;

            $(
                #[test]
                fn $subject() {
                    super::play_file::<$stage>(stringify!($subject));
                }
            )*

            #[test]
            fn all_files_are_played() {
                let folder = super::folder(<$stage>::MACHINE);
                let files = std::fs::read_dir(folder).expect("the folder of scenes");
                let played = [$(concat!(stringify!($subject), ".txt")),*];
                for file in files {
                    let name = file.expect("readable").file_name();
                    assert!(played.iter().any(|played| name == *played), "{name:?}");
                }
            }
        }
    };
}

scenes!(of_managers: crate::scenes::manager::Stage: admission classes endings fairness false_reports handshake keys late_answers leaving max_wait nested output_order recall recovery reports requeue resubmission rules trust unread_outcomes unroutable);
scenes!(of_workers: crate::scenes::worker::Stage: answers attempts bounds pool sessions);
scenes!(of_clients: crate::scenes::client::Stage: false_answers rules);
