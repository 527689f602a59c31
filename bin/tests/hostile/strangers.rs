//! Strangers that have no key, at a manager that asks for one.

use std::collections::VecDeque;
use std::fs;
use std::net::TcpStream;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use argon_core::limits::STRANGERS_PER_ADDRESS;

use crate::common::{Server, argon, output, text, until};
use crate::stage::{Written, listening, memory};

/// Clients that come one after the other.
const CLIENTS: u64 = 10;
/// Silent connections that are held open: more than an address may have, and fewer than files may be open.
const SILENT: usize = STRANGERS_PER_ADDRESS + 100;
/// What a manager with these connections may hold, as tests build it, in MiB.
const MEMORY_MAX: u64 = 64;

/// A manager and a worker with a key.
struct Guarded {
    _folder: tempfile::TempDir,
    key: String,
    manager: Server,
    log: Written,
    _worker: Server,
}

impl Guarded {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("own.key");
        let made = argon(&["keygen"])
            .stdout(fs::File::create(&key).unwrap())
            .status();
        assert!(made.unwrap().success());
        let key = key.display().to_string();
        let (manager, log) = listening(&mut argon(&["manager", "--key", &key]));
        let worker = Server::worker_with(&manager.address, "honest", &["--key", &key]);
        Self {
            _folder: folder,
            key,
            manager,
            log,
            _worker: worker,
        }
    }

    /// A client that comes for one task. It gives up before those that are silent have had their time.
    fn map_one(&self) -> Output {
        let mut command = argon(&["map", "--manager", &self.manager.address]);
        command.args(["--key", &self.key, "--connect-timeout", "3s"]);
        command.args(["echo", "{}", ":::", "done"]);
        output(command)
    }
}

/// Ends a flood, also where the test fails.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Connects again and again, and says nothing.
fn flood(address: &str, came: &AtomicU64, stop: &AtomicBool) {
    let mut open = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        open.extend(TcpStream::connect(address));
        if open.len() > SILENT {
            open.pop_front();
        }
        came.fetch_add(1, Ordering::Relaxed);
        // Some thousands a second, so that what is measured is not how many the system can take.
        thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn clients_with_a_key_come_in_through_a_silent_flood_from_their_own_address() {
    let guarded = Guarded::new();
    let (came, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let address = guarded.manager.address.clone();
    thread::scope(|scope| {
        scope.spawn(|| flood(&address, &came, &stop));
        let flooded = Until(&stop);
        until("a full room", || {
            came.load(Ordering::Relaxed) > 2 * SILENT as u64
        });
        let clients: Vec<Output> = (0..CLIENTS).map(|_| guarded.map_one()).collect();
        drop(flooded);
        for client in clients {
            assert!(client.status.success(), "{}", text(&client.stderr));
            assert_eq!(text(&client.stdout), "done\n");
        }
    });
    let (resting, peak) = memory(guarded.manager.child.id());
    let came = came.into_inner();
    println!("| {came} silent connections | peak {peak} MiB, at the end {resting} MiB |");
    assert!(peak <= MEMORY_MAX, "{peak} MiB were held");
    guarded.log.says("lost its place");
}
