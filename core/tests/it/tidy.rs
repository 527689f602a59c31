//! Rules about the sources themselves, so that nobody has to remember them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 600;

/// Files that may be longer, each with its reason.
const LONG: &[(&str, &str)] = &[];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of ours") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// Every Rust file below `folder`: its path from the root, and its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root().join(folder), &mut found);
    found.sort();
    assert!(!found.is_empty(), "no sources in {folder}");
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let path = path.strip_prefix(root()).expect("below the root");
            (path.to_string_lossy().into_owned(), text)
        })
        .collect()
}

/// Reports everything that is wrong at once.
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_fit_in_a_head() {
    let mut wrong = Vec::new();
    for (path, text) in sources(".") {
        let lines = text.lines().count();
        let allowed = LONG.iter().any(|(long, _)| *long == path);
        if lines > LINES_MAX && !allowed {
            wrong.push(format!("{path} has {lines} lines, at most {LINES_MAX}"));
        } else if lines <= LINES_MAX && allowed {
            wrong.push(format!(
                "{path} is no longer too long: take it off the list"
            ));
        }
    }
    none(&wrong);
}

#[test]
fn every_file_says_what_it_is_for() {
    let wrong: Vec<_> = sources(".")
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| format!("{path} does not start with a //! header"))
        .collect();
    none(&wrong);
}

#[test]
fn nothing_is_left_to_do() {
    // Spelled in two parts, so that this file passes its own test.
    let markers = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("HA", "CK"),
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources(".") {
        for (number, line) in text.lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            for word in words.filter(|word| markers.contains(word)) {
                wrong.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    none(&wrong);
}

/// Identifiers that others have replaced, each with the one to use.
const RETIRED: &[(&str, &str)] = &[
    ("Rising", "SeqMap"),
    ("Bid", "Score"),
    ("Absence", "PeerTimer"),
    ("Stranger", "Peer::Pending"),
    ("Loose", "Detached"),
    ("Moot", "Obsolete"),
    ("Rare", "AttemptLog"),
    ("stranded", "unroutable"),
    ("Offer", "Capabilities"),
    ("Abilities", "CapabilityGroups"),
    ("KindStatus", "GroupStatus"),
    ("TakeBack", "Recall"),
    ("asked_back", "recalled"),
    ("hand_back", "return_unstarted"),
    ("update_ahead", "update_prefetching"),
    ("Hub", "ManagerDriver"),
    ("Pump", "ConnectionTask"),
    ("Board", "CompletionTable"),
    ("Tray", "CompletionQueue"),
    ("Desk", "Shared"),
    ("Entrance", "SubmitGuard"),
    ("Manners", "YieldBackoff"),
    ("Verdict", "StopReason"),
    ("EndKey", "OutcomeKey"),
    ("resume_window", "resume_timeout"),
    ("TaskHeld", "TaskUnclaimed"),
];

#[test]
fn retired_words_stay_away() {
    let identifier = |c: char| c.is_alphanumeric() || c == '_';
    let mut wrong = Vec::new();
    for folder in ["core/src", "net/src", "bin/src"] {
        for (path, text) in sources(folder) {
            for (number, line) in (1..).zip(text.lines()) {
                for (retired, instead) in RETIRED {
                    if line.split(|c| !identifier(c)).any(|word| word == *retired) {
                        wrong.push(format!("{path}:{number}: {retired} is {instead} here"));
                    }
                }
            }
        }
    }
    none(&wrong);
}

/// Errors are types.
#[test]
fn errors_are_no_texts() {
    let mut wrong = Vec::new();
    for folder in ["core/src", "net/src", "bin/src"] {
        for (path, text) in sources(folder) {
            for (number, line) in (1..).zip(text.lines()) {
                let shown = line.trim_start().starts_with("//");
                if !shown && line.contains(", String>") && line.contains("Result<") {
                    wrong.push(format!("{path}:{number}: an error that is a text"));
                }
            }
        }
    }
    none(&wrong);
}

/// Constants outside of `limits.rs` that end in `_MAX` and are no bounds that an operator or a peer
/// meets, each with its reason.
const TUNING: &[(&str, &str, &str)] = &[
    (
        "core/src/client/congestion.rs",
        "PAUSE_MAX",
        "of the algorithm: how rarely a client that is refused tries",
    ),
    (
        "core/src/client/congestion.rs",
        "PROBE_INTERVAL_MAX",
        "of the algorithm: how rarely it looks for more room",
    ),
    (
        "core/src/durations.rs",
        "RAN_MAX",
        "of the arithmetic: sums of averages fit into a word",
    ),
    (
        "core/src/manager/placement/similar.rs",
        "LENGTH_MAX",
        "of a suggestion, which may miss a name",
    ),
    (
        "core/src/manager/placement/trust.rs",
        "PAUSE_MAX",
        "of the algorithm: how rarely a doubted worker is tried",
    ),
    (
        "core/src/payload.rs",
        "INLINE_MAX",
        "of the layout: what fits into the record itself",
    ),
    (
        "core/src/queue/flow.rs",
        "CHARGE_MAX",
        "of the arithmetic: virtual time does not overflow",
    ),
    (
        "core/src/retry.rs",
        "HINT_MAX",
        "belongs to the policy, which is one file",
    ),
    (
        "net/src/client/map.rs",
        "LOT_MAX",
        "how many are handed over at once; a map is bounded by IN_FLIGHT",
    ),
    (
        "net/src/connection.rs",
        "PIECES_MAX",
        "of one write; the rest goes with the next",
    ),
    (
        "net/src/connection.rs",
        "READ_MAX",
        "of one read; the rest comes with the next",
    ),
    (
        "net/src/executor/process/inbox.rs",
        "SPACE_MAX",
        "of one read; the rest comes with the next",
    ),
    (
        "net/src/executor/process/printed.rs",
        "LINE_MAX",
        "of a line that is shown; longer ones are cut",
    ),
    (
        "net/src/executor/process/slot.rs",
        "LAST_WORDS_MAX",
        "of what a process leaves behind in its pipes",
    ),
    (
        "net/src/executor/process/slot.rs",
        "STDERR_LOOK_MAX",
        "of one look; the rest is seen at the next",
    ),
    (
        "net/src/executor/process/slot.rs",
        "SWEEPS_MAX",
        "of the search for what a process left running",
    ),
    (
        "net/src/executor/thread.rs",
        "DONE_MAX",
        "how many results are collected at once",
    ),
    (
        "net/src/executor/thread.rs",
        "LEFT_MAX",
        "threads that do not come back; then no more are started",
    ),
    (
        "net/src/frames.rs",
        "KEEP_MAX",
        "of a buffer that is kept for the next frame",
    ),
    (
        "net/src/guard.rs",
        "KILL_PAUSE_MAX",
        "how rarely the guard looks whether all are gone",
    ),
    (
        "net/src/observe.rs",
        "PAGES_MAX",
        "follows from the bound of workers",
    ),
    (
        "net/src/runtime/answers.rs",
        "BYTES_MAX",
        "how much is written at once",
    ),
    (
        "net/src/runtime/answers.rs",
        "LOOKS_MAX",
        "how often a thread looks before it sleeps",
    ),
    (
        "net/src/text.rs",
        "WORDS_MAX",
        "of a text that is shown; longer ones are cut",
    ),
    (
        "net/src/yielding.rs",
        "SLEEPS_MAX",
        "how rarely a thread looks whether yielding pays",
    ),
];

/// What is bounded is found in one file.
#[test]
fn bounds_are_in_one_file() {
    let mut wrong = Vec::new();
    let mut found = Vec::new();
    for folder in ["core/src", "net/src"] {
        for (path, text) in sources(folder) {
            if path.ends_with("limits.rs")
                || path.contains("/testing/")
                || path.ends_with("tests.rs")
            {
                continue;
            }
            let constant = |line: &str| {
                let (_, rest) = line.split_once("const ")?;
                let (name, rest) = rest.split_once(':')?;
                let bounds = name.ends_with("_MAX") && !rest.contains("&str");
                bounds.then(|| name.to_owned())
            };
            let code = text.split("#[cfg(test)]\nmod").next().unwrap_or("");
            for name in code.lines().filter_map(constant) {
                let listed = TUNING
                    .iter()
                    .any(|(file, known, _)| *file == path && *known == name);
                if !listed {
                    wrong.push(format!("{path}: {name} belongs in core/src/limits.rs"));
                }
                found.push((path.clone(), name));
            }
        }
    }
    for (file, name, _) in TUNING {
        if !found
            .iter()
            .any(|(path, known)| path == file && known == name)
        {
            wrong.push(format!("{file} has no {name}: take it off the list"));
        }
    }
    none(&wrong);
}

/// Structs of a machine that may have more fields, each with its reason.
const WIDE: &[(&str, &str)] = &[
    ("ManagerConfig", "a list of settings"),
    ("ManagerStatus", "a message"),
    ("WorkerStatus", "a message"),
];
const FIELDS_MAX: usize = 14;

/// More than so many fields are more than one thing.
#[test]
fn structs_of_machines_are_small() {
    let mut wrong = Vec::new();
    let mut seen = Vec::new();
    for (path, text) in sources("core/src") {
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some((_, after)) = line.split_once("struct ") else {
                continue;
            };
            if line.trim_start().starts_with("//") || !line.ends_with('{') {
                continue;
            }
            let name = after.split(|c: char| !c.is_alphanumeric()).next();
            let name = name.expect("a struct has a name");
            let indent = line.len() - line.trim_start().len();
            let end = format!("{}}}", " ".repeat(indent));
            let fields = lines.by_ref().take_while(|line| **line != end);
            let is_field = |line: &&str| {
                let line = line.trim_start();
                let is_text = line.starts_with("//") || line.starts_with('#');
                !is_text && line.split_whitespace().any(|word| word.ends_with(':'))
            };
            let count = fields.filter(is_field).count();
            let is_wide = WIDE.iter().any(|(wide, _)| *wide == name);
            if count > FIELDS_MAX && !is_wide {
                wrong.push(format!(
                    "{path}: {name} has {count} fields, at most {FIELDS_MAX}"
                ));
            } else if count > FIELDS_MAX {
                seen.push(name.to_owned());
            }
        }
    }
    for (wide, _) in WIDE {
        if !seen.iter().any(|name| name == wide) {
            wrong.push(format!("{wide} is no longer wide: take it off the list"));
        }
    }
    none(&wrong);
}

/// ARCHITECTURE.md names files from the root, or from the sources of core or net.
#[test]
fn the_map_names_files_that_exist() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("readable");
    let named = text.split('`').skip(1).step_by(2);
    let is_path = |word: &&str| word.ends_with(".rs") || word.ends_with('/');
    let paths: Vec<&str> = named.filter(is_path).collect();
    assert!(paths.len() > 50, "the map is there");
    let missing: Vec<String> = paths
        .iter()
        .filter(|path| {
            let below = ["", "core/src", "net/src"];
            !below
                .iter()
                .any(|folder| root().join(folder).join(path).exists())
        })
        .map(|path| format!("ARCHITECTURE.md names {path}, which is not there"))
        .collect();
    none(&missing);
}

#[test]
fn the_core_is_pure() {
    let banned = [
        "std::net",
        "std::thread::",
        "std::time",
        "std::env",
        "std::process",
        "std::fs",
        "SystemTime",
        "HashMap",
        "HashSet",
        "tokio",
        "async fn",
        "thread_rng",
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources("core/src") {
        for (number, line) in text.lines().enumerate() {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    none(&wrong);
    let lib = fs::read_to_string(root().join("core/src/lib.rs")).expect("readable");
    assert!(lib.contains("#![no_std]"), "the strongest guard of all");
}

/// The limits that docs/protocol.md states for clients in all languages are this one's.
#[test]
fn the_limits_in_the_protocols_description_are_ours() {
    use argon_core::{limits, message, retry};
    let text = fs::read_to_string(root().join("docs/protocol.md")).expect("a text of ours");
    let ms = |span: std::time::Duration| span.as_millis() as u64;
    for (limit, ours) in [
        ("frame of the handshake", limits::HELLO_FRAME_MAX as u64),
        ("header", limits::HEADER_MAX as u64),
        (
            "payload, whatever `Welcome` says",
            limits::PAYLOAD_MAX_CEILING as u64,
        ),
        ("ids in one message", limits::IDS_MAX as u64),
        ("text of an error", limits::ERROR_TEXT_MAX as u64),
        ("shortest lease", ms(limits::LEASE_MIN)),
        ("longest lease", ms(limits::LEASE_MAX)),
        ("longest advice in `Reject`", ms(retry::HINT_MAX)),
        (
            "pages of status",
            limits::WORKERS_MAX.div_ceil(limits::STATUS_PAGE) as u64,
        ),
        ("major version", u64::from(message::VERSION.major)),
    ] {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| {limit} |")));
        let stated = row.and_then(|row| row.split(['|', ' ']).find_map(|word| word.parse().ok()));
        assert_eq!(stated, Some(ours), "{limit}: {row:?}");
    }
}

/// The workspace, and what has one of its own.
const CRATES: &[&str] = &[
    "core", "macros", "net", "bin", "examples", "sim", "benches", "fuzz", "mutants",
];

/// What a `Cargo.toml` says: the name of its package, and its direct dependencies on others.
fn manifest(text: &str) -> (String, BTreeSet<String>) {
    let mut table = "";
    let mut name = String::new();
    let mut dependencies = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_matches(['[', ']']);
            // A dependency may have a table to itself.
            if let Some((before, dependency)) = table.split_once("dependencies.") {
                assert!(before.is_empty() || before.ends_with(['-', '.']), "{line}");
                dependencies.insert(dependency.to_owned());
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let key = key.trim();
        if table == "package" && key == "name" {
            name = value.trim().trim_matches('"').to_owned();
        }
        if table.ends_with("dependencies") {
            let dependency = key.split('.').next().unwrap_or(key);
            dependencies.insert(dependency.trim_matches('"').to_owned());
        }
    }
    (name, dependencies)
}

/// The page's lines, by the folder that they are below: what is there, and why.
fn explained(page: &str) -> BTreeMap<String, Vec<(String, String)>> {
    let mut folder = String::new();
    let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for line in page.lines() {
        if let Some(header) = line.strip_prefix("## ") {
            folder = header.to_owned();
        } else if let Some(line) = line.strip_prefix("- `") {
            let (name, why) = line.split_once("`: ").unwrap_or((line, ""));
            let lines = found.entry(folder.clone()).or_default();
            lines.push((name.to_owned(), why.to_owned()));
        }
    }
    found
}

/// Each dependency has a reason, in one line of docs/dependencies.md.
#[test]
fn every_dependency_has_a_reason() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("a text of ours");
    let folders = fs::read_dir(root()).expect("a folder of ours");
    let with_manifest = folders.filter(|entry| {
        let folder = entry.as_ref().expect("readable").path();
        folder.join("Cargo.toml").exists()
    });
    assert_eq!(with_manifest.count(), CRATES.len(), "CRATES names them all");
    let manifests: BTreeMap<&str, _> = CRATES
        .iter()
        .map(|folder| (*folder, manifest(&read(&format!("{folder}/Cargo.toml")))))
        .collect();
    let ours: BTreeSet<&String> = manifests.values().map(|(name, _)| name).collect();
    let mut explained = explained(&read("docs/dependencies.md"));
    let mut wrong = Vec::new();
    for (folder, (_, dependencies)) in &manifests {
        let lines = explained.remove(*folder).unwrap_or_default();
        for dependency in dependencies.iter().filter(|name| !ours.contains(name)) {
            match lines.iter().filter(|(name, _)| name == dependency).count() {
                1 => {}
                count => wrong.push(format!(
                    "{folder}: {dependency} has {count} lines in docs/dependencies.md, not one"
                )),
            }
        }
        for (name, why) in &lines {
            if !dependencies.contains(name) || ours.contains(name) {
                wrong.push(format!(
                    "docs/dependencies.md: {folder} does not depend on {name}"
                ));
            }
            if why.trim().is_empty() {
                wrong.push(format!("docs/dependencies.md: {folder}, {name}: why?"));
            }
        }
    }
    for folder in explained.keys() {
        wrong.push(format!("docs/dependencies.md: there is no crate {folder}"));
    }
    none(&wrong);
}
