//! What the whole costs: no-op tasks through client, manager and worker, each on a thread with a
//! runtime of its own, over TCP on this host.
//!
//! `cargo run --release -p argon --example rates -- [IN_FLIGHT] [TASKS]`

use std::thread;
use std::time::Instant;

use argon::executor::ThreadExecutor;
use argon::{
    Client, ClientOptions, ManagerOptions, ManagerServer, Name, Outcome, TaskSpec, WorkerOptions,
    WorkerServer,
};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<usize>());
    let mut next = |default| args.next().map_or(default, |n| n.expect("a number"));
    let (in_flight, tasks) = (next(1_000), next(200_000));

    let (tell, address) = std::sync::mpsc::channel();
    thread::spawn(move || {
        runtime().block_on(async {
            let options = ManagerOptions::new("127.0.0.1:0").expect("options");
            let server = ManagerServer::bind(options).await.expect("a port");
            tell.send(server.local_addr().to_string()).expect("a taker");
            server.run().await
        })
    });
    let manager = address.recv().expect("an address");
    let managers = vec![manager];
    let workers = managers.clone();
    thread::spawn(move || {
        let name = Name::new("worker").expect("a name");
        let options = WorkerOptions::new(workers, name, 2).expect("options");
        let executor = ThreadExecutor::new(|_: &Name, payload| Ok(payload));
        let worker = WorkerServer::new(options, executor).expect("a worker");
        runtime().block_on(worker.run());
    });
    runtime().block_on(async {
        let client = Client::start(ClientOptions::new(managers)).expect("a client");
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
            let spec = TaskSpec::new(Name::new("noop").expect("a name"), vec![0; 64].into());
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
