//! Keys: made, shown, refused and exchanged, with the real binary.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::common::{Lines, Server, argon, finish, output, text};

/// Key files of one cluster, gone at the end.
struct Folder(tempfile::TempDir);

impl Folder {
    /// With the cluster's own key.
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.make("own.key", &[]);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Runs `argon keygen` into a file.
    fn make(&self, name: &str, args: &[&str]) {
        let file = fs::File::create(self.path(name)).unwrap();
        let mut command = argon(&["keygen"]);
        let made = finish(command.args(args).stdout(file).spawn().unwrap());
        assert!(made.status.success(), "{}", text(&made.stderr));
    }

    fn make_lesser(&self, name: &str, role: &str) {
        let from = self.name("own.key");
        self.make(name, &["--from", &from, "--role", role, "--name", role]);
    }

    fn manager(&self) -> Server {
        Server::listening(&["manager", "--key", &self.name("own.key")])
    }

    fn worker(&self, manager: &str, key: &str) -> Server {
        Server::worker_with(manager, "w", &["--key", &self.name(key)])
    }
}

/// `argon map` of one item on that manager, for a second at most until it is let in.
fn map_one(manager: &str, key: Option<&str>) -> Command {
    let mut command = argon(&["map", "--manager", manager, "--connect-timeout", "1s"]);
    if let Some(key) = key {
        command.args(["--key", key]);
    }
    command.args(["echo", "{}", ":::", "done"]);
    command
}

fn refused(command: Command) -> String {
    let ended = output(command);
    assert_eq!(ended.status.code(), Some(255), "{}", text(&ended.stdout));
    assert_eq!(text(&ended.stdout), "");
    text(&ended.stderr)
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_is_a_secret_file_that_says_what_it_allows() {
    let folder = Folder::new();
    assert_eq!(mode(&folder.path("own.key")), 0o600);
    folder.make_lesser("submit.key", "submit");
    let shown = output(argon(&["key", "show", &folder.name("submit.key")]));
    let shown = text(&shown.stdout);
    for line in [
        "roles:       submit\n",
        "holder:      submit\n",
        "makes keys:  no\n",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(!shown.contains("PRIVATE"));
    let own = text(&output(argon(&["key", "show", &folder.name("own.key")])).stdout);
    assert!(
        own.contains("roles:       submit, work, observe, manage\n"),
        "{own}"
    );
    let authority = |shown: &str| shown.lines().last().unwrap().to_owned();
    assert_eq!(authority(&own), authority(&shown));
}

#[test]
fn a_new_file_for_a_key_is_a_secret_and_overwrites_nothing() {
    let folder = Folder::new();
    let (own, new) = (folder.name("own.key"), folder.name("new.key"));
    let lesser = ["keygen", "--from", &own, "--role", "work", "--out", &new];
    // Whatever files of this user are else.
    let script = "umask 0; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_argon")]);
    let made = output({
        command.args(lesser).stdout(Stdio::piped());
        command
    });
    assert!(made.status.success());
    assert_eq!(text(&made.stdout), "");
    assert_eq!(mode(&folder.path("new.key")), 0o600);
    let shown = output(argon(&["key", "show", &new]));
    assert!(text(&shown.stdout).contains("roles:       work\n"));

    let before = fs::read(&new).unwrap();
    let said = refused(argon(&lesser));
    assert!(said.contains(&format!("{new} is there already")), "{said}");
    assert_eq!(fs::read(&new).unwrap(), before);
    let nowhere = folder.name("none/new.key");
    let said = refused(argon(&["keygen", "--out", &nowhere]));
    assert!(said.contains(&format!("cannot create {nowhere}")), "{said}");
}

#[test]
fn a_key_that_nobody_is_shown_is_refused() {
    let folder = Folder::new();
    let own = folder.name("own.key");
    let said = refused(argon(&["map", "--key", &own, "echo", "{}", ":::", "1"]));
    assert!(said.contains(&own) && said.contains("--manager"), "{said}");
    // What the environment names may be for other commands.
    let mut mapped = argon(&["map", "echo", "{}", ":::", "1"]);
    mapped.env("ARGON_KEY", &own);
    assert_eq!(text(&output(mapped).stdout), "1\n");
}

#[test]
fn lesser_keys_do_what_they_are_for_and_their_holders_show() {
    let folder = Folder::new();
    for role in ["submit", "work", "observe"] {
        folder.make_lesser(&format!("{role}.key"), role);
    }
    let manager = folder.manager();
    let _worker = folder.worker(&manager.address, "work.key");
    let mapped = output(map_one(&manager.address, Some(&folder.name("submit.key"))));
    assert_eq!(text(&mapped.stdout), "done\n", "{}", text(&mapped.stderr));
    let ask = |key: &str| {
        let key = folder.name(key);
        output(argon(&[
            "status",
            "--manager",
            &manager.address,
            "--key",
            &key,
        ]))
    };
    let seen = text(&ask("observe.key").stdout);
    assert!(seen.contains("key of work"), "{seen}");
    // Who submits sees how the whole is doing, and nothing of others.
    let seen = text(&ask("submit.key").stdout);
    assert!(
        seen.contains("1 completed") && !seen.contains("key of"),
        "{seen}"
    );
    let refused = text(&ask("work.key").stderr);
    let work = folder.name("work.key");
    assert!(
        refused.contains(&format!("{work} allows work only")),
        "{refused}"
    );
    assert!(refused.contains("--role observe"), "{refused}");
}

#[test]
fn nobody_gets_in_without_the_right_key_and_both_sides_say_why() {
    let (folder, other) = (Folder::new(), Folder::new());
    let own = folder.name("own.key");
    let (manager, log) = Server::listening_and_logging(&["manager", "--key", &own]);

    let said = refused(map_one(&manager.address, None));
    assert!(said.contains("lets in only those who have a key"), "{said}");
    assert!(log.wait_for("not let in").contains("it has no key"));
    let said = refused(map_one(&manager.address, Some(&other.name("own.key"))));
    assert!(said.contains("we refused the manager"), "{said}");
    // It trusts the manager, and shows what the manager does not trust.
    let both = format!("{},{}", other.name("own.key"), folder.name("own.key"));
    let said = refused(map_one(&manager.address, Some(&both)));
    assert!(said.contains("the manager refused our key"), "{said}");
    // The manager is there still.
    let status = argon(&[
        "status",
        "--manager",
        &manager.address,
        "--key",
        &folder.name("own.key"),
    ]);
    assert!(output(status).status.success());
}

#[test]
fn a_manager_without_a_key_is_none_for_those_who_have_one() {
    let folder = Folder::new();
    let manager = Server::listening(&["manager"]);
    let said = refused(map_one(&manager.address, Some(&folder.name("own.key"))));
    assert!(said.contains("it was started without"), "{said}");
}

#[test]
fn keys_without_the_role_are_refused_at_the_start() {
    let folder = Folder::new();
    for role in ["submit", "work"] {
        folder.make_lesser(&format!("{role}.key"), role);
    }
    let (submit, work) = (folder.name("submit.key"), folder.name("work.key"));
    let said = refused(map_one("127.0.0.1:1", Some(&work)));
    assert!(said.contains("--role submit"), "{said}");
    let said = refused(argon(&["manager", "--key", &submit]));
    assert!(said.contains("--role manage"), "{said}");
    let said = refused(argon(&[
        "worker",
        "--manager",
        "127.0.0.1:1",
        "--key",
        &submit,
    ]));
    assert!(said.contains("--role work"), "{said}");
    let said = refused(argon(&["worker", "--key", &work]));
    assert!(said.contains("--role manage"), "{said}");
}

#[test]
fn a_key_file_that_is_none_or_no_secret_is_refused() {
    let folder = Folder::new();
    let own = folder.name("own.key");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o644)).unwrap();
    let said = refused(argon(&["manager", "--key", &own]));
    assert!(said.contains(&format!("chmod 600 {own}")), "{said}");
    fs::write(folder.path("torn.key"), "nothing").unwrap();
    fs::set_permissions(folder.path("torn.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let said = refused(argon(&["manager", "--key", &folder.name("torn.key")]));
    assert!(said.contains("has no certificate"), "{said}");
    let said = refused(argon(&["manager", "--key", &folder.name("missing.key")]));
    assert!(said.contains("missing.key cannot be read"), "{said}");
}

#[test]
fn other_hosts_are_let_in_with_a_key_or_on_purpose() {
    let said = refused(argon(&["manager", "--host", "0.0.0.0"]));
    assert!(
        said.contains("--key") && said.contains("--insecure"),
        "{said}"
    );
    let folder = Folder::new();
    let key = folder.name("own.key");
    Server::listening(&["manager", "--host", "0.0.0.0", "--key", &key]);
}

#[test]
fn keys_are_exchanged_while_work_goes_on() {
    let (old, new) = (Folder::new(), Folder::new());
    let read = |folder: &Folder| fs::read_to_string(folder.path("own.key")).unwrap();
    let (old_text, new_text) = (read(&old), read(&new));
    // What everybody shows first, and what they trust beside it.
    let first = old.path("first.key");
    let second = old.path("second.key");
    let write = |file: &Path, text: &str| {
        fs::write(file, text).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write(&first, &old_text);
    write(&second, &new_text);
    let both = format!("{},{}", first.display(), second.display());

    let (manager, manager_log) = Server::listening_and_logging(&["manager", "--key", &both]);
    let mut child = argon(&["worker", "--manager", &manager.address, "--key", &both]);
    let mut child = child.args(["--workers", "2"]).spawn().unwrap();
    let worker_log = Lines::of(child.stderr.take().unwrap());
    drop(child.stdout.take());
    let worker = Server::silent(child);

    let items: Vec<String> = (0..400).map(|item| item.to_string()).collect();
    let mut mapping = argon(&["map", "--manager", &manager.address, "--key", &both]);
    let mapping = mapping
        .args(["sh", "-c", "echo {}; sleep 0.01", ":::"])
        .args(&items);
    let mut mapping = mapping.stderr(Stdio::inherit()).spawn().unwrap();
    let outputs = Lines::of(mapping.stdout.take().unwrap());
    assert_eq!(outputs.next().as_deref(), Some("0"));

    write(&first, &new_text);
    write(&second, &old_text);
    manager.signal(Signal::SIGHUP);
    manager_log.wait_for("keys were read again");
    worker.signal(Signal::SIGHUP);
    worker_log.wait_for("keys were read again");
    // Whoever has only the new one is let in now, and the old one's work goes on.
    let status = argon(&[
        "status",
        "--manager",
        &manager.address,
        "--key",
        &new.name("own.key"),
    ]);
    assert!(output(status).status.success());
    for item in &items[1..] {
        assert_eq!(outputs.next().as_ref(), Some(item));
    }
    assert!(super::common::wait(&mut mapping).success());
    drop(worker);
    write(&second, &new_text);
    manager.signal(Signal::SIGHUP);
    manager_log.wait_for("keys were read again");
    let said = refused(map_one(&manager.address, Some(&old.name("own.key"))));
    assert!(said.contains("we refused the manager"), "{said}");
}

/// Nobody was told: the manager came back with a key that those who were here had not read yet.
#[test]
fn whoever_is_not_trusted_any_more_reads_the_keys_again() {
    let (folder, other) = (Folder::new(), Folder::new());
    let key = folder.name("own.key");
    let manager = folder.manager();
    let address = manager.address.clone();
    let _worker = folder.worker(&address, "own.key");
    let mut mapping = argon(&["map", "--manager", &address, "--key", &key]);
    let mapping = mapping.args(["sh", "-c", "echo {}; sleep 0.02", ":::"]);
    let items: Vec<String> = (0..100).map(|item| item.to_string()).collect();
    let mut mapping = mapping.args(&items).stderr(Stdio::null()).spawn().unwrap();
    let outputs = Lines::of(mapping.stdout.take().unwrap());
    assert_eq!(outputs.next().as_deref(), Some("0"));

    drop(manager);
    fs::rename(other.path("own.key"), folder.path("own.key")).unwrap();
    let port = address.rsplit(':').next().unwrap();
    let _manager = Server::listening(&["manager", "--port", port, "--key", &key]);
    for item in &items[1..] {
        assert_eq!(outputs.next().as_ref(), Some(item));
    }
    assert!(super::common::wait(&mut mapping).success());
}
