//! The processes of a cluster, each on its host: the real `argon`, and clients in three languages.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::{text, wait};
use crate::hosts::Network;
use crate::keys::Keys;
use crate::load::{LEDGER, Orders, WORKER};
use crate::plan::{LANGUAGES, RUNTIMES, client, hosts, worker};
use crate::proc::minds_termination;

const PORT: u16 = 8000;
/// Between looks at a process that is to end.
const LOOK: Duration = Duration::from_millis(20);
/// Tasks at once, of each worker.
pub(crate) const POOL: usize = 2;
/// How long a drain may take: the manager waits up to 30 s for what may have run before it was
/// started, and then 30 s for clients that are gone; both may have begun later than the drain.
const DRAIN: Duration = Duration::from_secs(150);
/// Tasks under way, of each client.
pub(crate) const IN_FLIGHT: usize = 8;

/// Variables that processes get beyond what makes them what they are: the one place for what concerns
/// all of them.
fn add_variables(keys: &Keys, command: &mut Command) {
    command.env_remove("ARGON_MANAGER").env_remove("ARGON_LOG");
    keys.give(command);
}

/// A process on a host.
struct Process {
    child: Child,
    /// Has the number of its life on the host in it.
    name: String,
}

impl Process {
    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("it has not been waited for");
    }
}

/// All processes, by host.
pub(crate) struct Cluster {
    pub(crate) network: Network,
    directory: PathBuf,
    keys: Keys,
    python: PathBuf,
    running: BTreeMap<String, Mutex<Option<Process>>>,
    lives: Mutex<BTreeMap<String, u32>>,
    /// Clients that were killed, by name.
    killed: Mutex<Vec<String>>,
    /// What ended without being told to.
    pub(crate) deaths: Mutex<Vec<String>>,
    stopping: AtomicBool,
}

/// A lock whose data is whole although somebody panicked: the first panic is what matters.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chaos/load")
}

fn languages() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("a repository").join("clients")
}

impl Cluster {
    /// Hosts without processes; all that these will say goes below the directory.
    pub(crate) fn new(directory: &Path) -> Self {
        // What is found first may be a script that only starts it, which costs more than it.
        let python = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output()
            .expect("python3");
        let hosts = hosts();
        Self {
            network: Network::new(&hosts),
            directory: directory.to_owned(),
            keys: Keys::new(directory),
            python: text(&python.stdout).trim().into(),
            running: hosts
                .into_iter()
                .map(|host| (host, Mutex::default()))
                .collect(),
            lives: Mutex::default(),
            killed: Mutex::default(),
            deaths: Mutex::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Where the manager is.
    fn manager(&self) -> String {
        format!("{}:{PORT}", self.network.address("manager"))
    }

    /// A file of this run.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Files of clients, by the name of the client.
    pub(crate) fn records(&self) -> BTreeMap<String, PathBuf> {
        let lives = lock(&self.lives);
        let clients = lives.iter().filter(|(host, _)| host.starts_with("client"));
        let names = clients.flat_map(|(host, lives)| (1..=*lives).map(move |n| life(host, n)));
        names
            .map(|name| (name.clone(), self.file(&format!("{name}.record"))))
            .collect()
    }

    /// Names of clients that were killed.
    pub(crate) fn killed(&self) -> Vec<String> {
        lock(&self.killed).clone()
    }

    fn argon(&self, host: &str, subcommand: &str) -> Command {
        let mut command = self.network.command(host, env!("CARGO_BIN_EXE_argon"));
        command.arg(subcommand);
        add_variables(&self.keys, &mut command);
        command
    }

    fn manager_command(&self, host: &str) -> Command {
        let mut command = self.argon(host, "manager");
        let address = self.network.address(host);
        command.args(["--verbose", "--host", &address, "--port", &PORT.to_string()]);
        command
    }

    fn worker_command(&self, host: &str, name: &str) -> Command {
        let mut command = self.argon(host, "worker");
        command
            .args(["--verbose", "--manager", &self.manager(), "--name", name])
            .args(["--workers", &POOL.to_string()])
            .env(LEDGER, self.file("ledger"))
            .env(WORKER, name);
        match host.split('-').nth(1) {
            Some("rust") => {
                command.arg("--").arg(this_program());
            }
            Some("python") => {
                let path = env::join_paths([languages().join("python/src"), fixtures()]);
                command
                    .env("PYTHONPATH", path.expect("no colons"))
                    .env("PYTHONDONTWRITEBYTECODE", "1")
                    .arg("--")
                    .arg(&self.python)
                    .args(["-m", "argon.pool", "entries"]);
            }
            Some("perl") => {
                command
                    .arg("--")
                    .arg("perl")
                    .arg(languages().join("perl/bin/argon-pool"))
                    .arg("-I")
                    .arg(fixtures().join("lib"))
                    .args(["-M", "Chaos::Entry"]);
            }
            _ => {}
        }
        command
    }

    fn client_command(&self, host: &str, name: &str) -> Command {
        let network = &self.network;
        let mut command = match host.split('-').nth(1) {
            Some("python") => {
                let path = env::join_paths([languages().join("python/src"), fixtures()]);
                let python = self.python.to_str().expect("UTF-8");
                let mut command = network.command(host, python);
                command
                    .env("PYTHONPATH", path.expect("no colons"))
                    .env("PYTHONDONTWRITEBYTECODE", "1")
                    .arg(fixtures().join("client.py"));
                command
            }
            Some("perl") => {
                let mut command = network.command(host, "perl");
                command.arg(fixtures().join("client.pl"));
                command
            }
            _ => {
                let program = this_program();
                let mut command = network.command(host, program.to_str().expect("UTF-8"));
                command.arg(crate::CLIENT);
                command
            }
        };
        let orders = Orders {
            manager: self.manager(),
            name: name.to_owned(),
            record: self.file(&format!("{name}.record")),
            stop: self.file("stop"),
            in_flight: IN_FLIGHT,
        };
        add_variables(&self.keys, &mut command);
        command.args(orders.args());
        command
    }

    /// Starts what belongs on the host.
    pub(crate) fn start(&self, host: &str) {
        if host.starts_with("client") && self.stopping.load(Ordering::Relaxed) {
            return;
        }
        let number = {
            let mut lives = lock(&self.lives);
            let number = lives.entry(host.to_owned()).or_default();
            *number += 1;
            *number
        };
        let name = life(host, number);
        let mut command = if host == "manager" {
            self.manager_command(host)
        } else if host.starts_with("worker") {
            self.worker_command(host, &name)
        } else {
            self.client_command(host, &name)
        };
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.file(&format!("{host}.log")))
            .expect("a log");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("`ip` starts");
        *lock(&self.running[host]) = Some(Process { child, name });
    }

    /// Starts all.
    pub(crate) fn start_all(&self) {
        for host in hosts() {
            self.start(&host);
        }
    }

    /// Sends a signal to the process of the host.
    pub(crate) fn signal(&self, host: &str, signal: Signal) {
        let running = lock(&self.running[host]);
        if let Some(process) = running.as_ref() {
            process.signal(signal);
        }
    }

    /// The process of the host, if it runs.
    pub(crate) fn pid(&self, host: &str) -> Option<i32> {
        lock(&self.running[host]).as_ref().map(Process::pid)
    }

    /// Ends it at once.
    pub(crate) fn kill(&self, host: &str) {
        self.note_deaths();
        let Some(mut process) = lock(&self.running[host]).take() else {
            return;
        };
        if host.starts_with("client") {
            lock(&self.killed).push(process.name.clone());
        }
        process.signal(Signal::SIGKILL);
        wait(&mut process.child);
    }

    /// Tells it to end, starts the next at once if that is wanted, and waits until the old one has left.
    pub(crate) fn drain(&self, host: &str, next_at_once: bool) {
        self.note_deaths();
        let Some(mut process) = lock(&self.running[host]).take() else {
            return;
        };
        // One that has just been started may not be Argon yet.
        let end = Instant::now() + DRAIN;
        while !minds_termination(process.pid()) {
            assert!(Instant::now() < end, "{} does not start", process.name);
            thread::sleep(LOOK);
        }
        process.signal(Signal::SIGTERM);
        if next_at_once {
            self.start(host);
        }
        let end = Instant::now() + DRAIN;
        let status = loop {
            if let Some(status) = process.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < end, "{} drains for ever", process.name);
            thread::sleep(LOOK);
        };
        if !status.success() {
            let death = format!("{} ended with {status} when told to end", process.name);
            lock(&self.deaths).push(death);
        }
    }

    /// Has everybody show another key, and those who run read it.
    pub(crate) fn exchange_keys(&self) {
        self.keys.exchange();
        for running in self
            .running
            .iter()
            .filter(|(host, _)| !host.starts_with("client"))
        {
            let running = lock(running.1);
            // One that has just been started reads the new one anyway.
            if let Some(process) = running.as_ref().filter(|one| minds_termination(one.pid())) {
                process.signal(Signal::SIGHUP);
            }
        }
    }

    /// Whoever ended without being told to.
    pub(crate) fn note_deaths(&self) {
        for running in self.running.values() {
            let mut running = lock(running);
            let Some(process) = running.as_mut() else {
                continue;
            };
            let Some(status) = process.child.try_wait().expect("a child") else {
                continue;
            };
            let leaves = self.stopping.load(Ordering::Relaxed) && status.success();
            if !leaves {
                let death = format!("{} ended with {status} by itself", process.name);
                lock(&self.deaths).push(death);
            }
            *running = None;
        }
    }

    /// Tells the clients to submit no more.
    pub(crate) fn stop_clients(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        fs::write(self.file("stop"), "").expect("a file");
    }

    /// Whether the process of the host has ended by itself.
    pub(crate) fn has_left(&self, host: &str) -> bool {
        self.note_deaths();
        lock(&self.running[host]).is_none()
    }

    /// What the manager says of itself; `None` if it does not.
    pub(crate) fn status(&self) -> Option<Value> {
        let output = self
            .argon("manager", "status")
            .args(["--json", "--manager", &self.manager()])
            .output()
            .expect("`ip` starts");
        serde_json::from_slice(&output.stdout).ok()
    }

    /// How many tasks the manager's workers run at once, and what it says of itself and them.
    pub(crate) fn capacity(&self) -> (usize, String) {
        self.note_deaths();
        let Some(status) = self.status() else {
            return (0, "no answer".to_owned());
        };
        let capacity = status["manager"]["capacity"].as_u64().unwrap_or_default();
        let capacity = usize::try_from(capacity).expect("64 bits");
        (capacity, status.to_string())
    }
}

/// The hosts of all workers, or of all clients.
pub(crate) fn workers() -> Vec<String> {
    let both = |of: &&str| [worker(of, 1), worker(of, 2)];
    RUNTIMES.iter().flat_map(both).collect()
}

/// The hosts of all clients.
pub(crate) fn clients() -> Vec<String> {
    let both = |of: &&str| [client(of, 1), client(of, 2)];
    LANGUAGES.iter().flat_map(both).collect()
}

fn life(host: &str, number: u32) -> String {
    format!("{host}.{number}")
}

/// The host of a name.
pub(crate) fn host_of(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(host, _)| host)
}

fn this_program() -> PathBuf {
    env::current_exe().expect("a path")
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.running.values().filter_map(|of| lock(of).take()) {
            let mut process = process;
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}
