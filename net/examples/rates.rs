//! What the whole costs: no-op tasks of 64 bytes through client, manager and worker, over TCP.
//!
//! ```text
//! rates all IN_FLIGHT TASKS              each on a thread of this process
//! rates worker MANAGER                   a worker that runs attempts on two threads
//! rates client MANAGER IN_FLIGHT TASKS   a load for a manager that is there already
//! ```

use std::thread;
use std::time::Instant;

use argon::executor::ThreadExecutor;
use argon::{
    Client, ClientOptions, ManagerOptions, ManagerServer, Name, Offer, Outcome, TaskSpec,
    WorkerOptions, WorkerServer,
};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
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
        _ => {
            let usage =
                "rates all IN_FLIGHT TASKS | worker MANAGER | client MANAGER IN_FLIGHT TASKS";
            eprintln!("usage: {usage}");
            std::process::exit(2);
        }
    }
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
    let executor = ThreadExecutor::new(Offer::anything(), |_: &Name, payload| Ok(payload));
    let worker = WorkerServer::new(options, executor).expect("a worker");
    runtime().block_on(worker.run());
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
