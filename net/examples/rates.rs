//! What the whole costs: no-op tasks of 64 bytes through client, manager and worker, over TCP.
//!
//! ```text
//! rates all IN_FLIGHT TASKS              each on a thread of this process
//! rates worker MANAGER                   a worker that runs attempts on two threads
//! rates pool MANAGER CHILDREN            one that runs them in so many pool processes
//! rates client MANAGER IN_FLIGHT TASKS   a load for a manager that is there already
//! rates idle MANAGER CLIENTS             connections that do nothing, until killed
//! rates loss                             how soon the tasks of a killed worker run on threads
//! rates loss CHILDREN                    and in pool processes
//! ```

use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use argon::executor::{Launcher, ProcessExecutor, ProcessOptions, ThreadExecutor};
use argon::runtime::builtin;
use argon::{
    Capabilities, Client, ClientOptions, LinkState, ManagerOptions, ManagerServer, Name, Outcome,
    TaskSpec, WorkerOptions, WorkerServer, guard, status,
};
use argon_core::status::StatusReport;
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    argon::yield_before_sleep(Builder::new_current_thread().enable_all())
        .build()
        .expect("a runtime")
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("guard") => return guard::main(std::env::args_os().skip(2)),
        Some("child") => return builtin::main(),
        _ => {}
    }
    let number = |index: usize| args[index].parse::<usize>().expect("a number");
    match args.first().map(String::as_str) {
        Some("all") if args.len() == 3 => {
            let address = manager();
            let workers = address.clone();
            thread::spawn(move || worker(workers));
            load(address, number(1), number(2));
        }
        Some("worker") if args.len() == 2 => worker(args[1].clone()),
        Some("client") if args.len() == 4 => load(args[1].clone(), number(2), number(3)),
        Some("pool") if args.len() == 3 => pool(args[1].clone(), number(2)),
        Some("idle") if args.len() == 3 => idle(args[1].clone(), number(2)),
        Some("stuck") if args.len() == 2 => stuck(args[1].clone()),
        Some("loss") if args.len() == 1 => loss(worker),
        Some("loss") if args.len() == 2 => {
            let children = number(1);
            loss(move |manager| pool(manager, children));
        }
        _ => {
            let usage = "rates all IN_FLIGHT TASKS | worker MANAGER | pool MANAGER CHILDREN | \
                         client MANAGER IN_FLIGHT TASKS | idle MANAGER CLIENTS | loss [CHILDREN]";
            eprintln!("usage: {usage}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Starts a manager on a thread of its own; returns where it listens.
fn manager() -> String {
    let (tell, address) = std::sync::mpsc::channel();
    thread::spawn(move || {
        runtime().block_on(async {
            let options = ManagerOptions::new("127.0.0.1:0").expect("options");
            let server = ManagerServer::bind(options).await.expect("a port");
            tell.send(server.local_addr().to_string()).expect("a taker");
            server.run().await
        })
    });
    address.recv().expect("an address")
}

fn worker(manager: String) {
    let name = Name::new("threads").expect("a name");
    let options = WorkerOptions::new(vec![manager], name, 2).expect("options");
    let executor = ThreadExecutor::new(Capabilities::anything(), |_: &Name, payload| Ok(payload));
    let worker = WorkerServer::new(options, executor).expect("a worker");
    let _ = runtime().block_on(worker.run());
}

/// A worker of child processes, each of which is this program again.
fn pool(manager: String, children: usize) {
    let name = Name::new("children").expect("a name");
    let options = WorkerOptions::new(vec![manager], name, children as u32).expect("options");
    let mut pool = ProcessOptions::new("/proc/self/exe", Launcher::this_program("guard"));
    pool.args = vec!["child".into()];
    runtime().block_on(async {
        let executor = ProcessExecutor::new(pool).expect("an executor");
        let worker = WorkerServer::new(options, executor).expect("a worker");
        let _ = worker.run().await;
    });
}

fn idle(manager: String, clients: usize) {
    runtime().block_on(async {
        let mut all = Vec::new();
        for _ in 0..clients {
            let client =
                Client::start(ClientOptions::new(vec![manager.clone()])).expect("a client");
            while !matches!(client.link(), LinkState::Connected { .. }) {
                client.link_changed().await;
            }
            all.push(client);
        }
        println!("{} connected", all.len());
        std::future::pending::<()>().await;
    });
}

/// A worker that takes as many tasks as [`loss`] has, and never ends one.
fn stuck(manager: String) {
    let name = Name::new("stuck").expect("a name");
    let options = WorkerOptions::new(vec![manager], name, HELD as u32).expect("options");
    let executor = ThreadExecutor::new(Capabilities::anything(), |_: &Name, _| {
        loop {
            thread::park();
        }
    });
    let worker = WorkerServer::new(options, executor).expect("a worker");
    let _ = runtime().block_on(worker.run());
}

/// Workers that take tasks.
fn workers(status: &StatusReport) -> usize {
    let workers = status.workers.iter();
    workers.filter(|worker| worker.window > 0).count()
}

/// Asks the manager until it is so.
async fn until(manager: &str, is_so: impl Fn(&StatusReport) -> bool) {
    while !is_so(&status(manager, None, LIMIT).await.expect("a manager")) {
        tokio::time::sleep(LOOK).await;
    }
}

/// How long a manager may take to answer.
const LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at its status.
const LOOK: Duration = Duration::from_millis(10);
/// Tasks that the killed worker holds.
const HELD: usize = 50;

fn loss(worker: impl Fn(String) + Copy + Send + 'static) {
    for _ in 0..3 {
        let address = manager();
        let mut stuck = Command::new("/proc/self/exe")
            .args(["stuck", &address])
            .spawn()
            .expect("a worker");
        runtime().block_on(async {
            until(&address, |status| workers(status) == 1).await;
            let client =
                Client::start(ClientOptions::new(vec![address.clone()])).expect("a client");
            let spec = TaskSpec::new(Name::new("noop").expect("a name"), vec![0; 64]);
            let mut tasks = Vec::new();
            for _ in 0..HELD {
                tasks.push(client.submit(spec.clone()).await.expect("accepted"));
            }
            until(&address, |status| status.manager.assigned == HELD as u64).await;
            let other = address.clone();
            thread::spawn(move || worker(other));
            until(&address, |status| workers(status) == 2).await;
            let killed = Instant::now();
            stuck.kill().expect("it runs");
            stuck.wait().expect("it was killed");
            let dead = killed.elapsed();
            let mut first = None;
            for task in tasks {
                task.await;
                first.get_or_insert_with(|| killed.elapsed());
            }
            let all = killed.elapsed();
            println!(
                "dead after {dead:?}, first task ran again after {first:?}, all after {all:?}"
            );
            client.close().await;
        });
    }
}

fn load(manager: String, in_flight: usize, tasks: usize) {
    runtime().block_on(async {
        let client = Client::start(ClientOptions::new(vec![manager])).expect("a client");
        run(&client, in_flight, tasks / 10).await;
        let start = Instant::now();
        run(&client, in_flight, tasks).await;
        let took = start.elapsed();
        println!(
            "{in_flight} in flight: {tasks} tasks in {took:?}, {:.0} a second",
            tasks as f64 / took.as_secs_f64()
        );
        client.close().await;
    });
}

/// Keeps `in_flight` tasks under way in as many loops.
async fn run(client: &Client, in_flight: usize, tasks: usize) {
    let mut loops = tokio::task::JoinSet::new();
    for index in 0..in_flight {
        let client = client.clone();
        let share = tasks / in_flight + usize::from(index < tasks % in_flight);
        loops.spawn(async move {
            let spec = TaskSpec::new(Name::new("noop").expect("a name"), vec![0; 64]);
            for _ in 0..share {
                let task = client.submit(spec.clone()).await.expect("accepted");
                let ended = task.await;
                assert!(matches!(ended.outcome, Outcome::Completed(_)), "{ended:?}");
            }
        });
    }
    while let Some(done) = loops.join_next().await {
        done.expect("no panic");
    }
}
