//! Tasks through the whole of it: client, manager and worker, over TCP and in memory.

use std::time::Duration;

use crate::clusters::{echo_worker, echoes, manager, name, threads, worker};
use argon::{
    Call, Client, ClientOptions, LinkState, ManagerOptions, ManagerServer, Outcome, Standalone,
    StandaloneOptions, TaskSpec,
};

#[tokio::test]
async fn a_standalone_runs_tasks_and_leaves_nothing_behind() {
    let options = StandaloneOptions::new(name("alone"), 2).unwrap();
    let standalone = Standalone::start(options, threads()).await.unwrap();
    let client = standalone.client(ClientOptions::new(vec![])).unwrap();
    echoes(&client, 1_000, 64).await;
    client.close().await;
    standalone.stop();
    standalone.run().await.unwrap();
}

#[tokio::test]
async fn a_map_of_more_calls_than_its_client_holds_goes_through() {
    let options = StandaloneOptions::new(name("alone"), 2).unwrap();
    let standalone = Standalone::start(options, threads()).await.unwrap();
    let client = standalone
        .client(ClientOptions {
            tasks: 3,
            ..ClientOptions::new(vec![])
        })
        .unwrap();
    let calls = || (0..100).map(|x: u32| Call::raw("echo", x.to_string()));
    let whole = async {
        let results = client.map(calls()).try_collect().await.unwrap();
        let numbers = results.iter().map(|text| str::from_utf8(text).unwrap());
        assert!(numbers.eq((0..100).map(|x| x.to_string())));
        let results = client.map_unordered(calls()).try_collect().await.unwrap();
        assert_eq!(results.len(), 100);
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), whole).await;
    ended.expect("room comes back with each result");
}

#[tokio::test]
async fn whoever_takes_a_result_of_a_map_may_call_something_else_before_the_next() {
    let options = StandaloneOptions::new(name("alone"), 2).unwrap();
    let standalone = Standalone::start(options, threads()).await.unwrap();
    for tasks in [1, 24] {
        let mut options = ClientOptions::new(vec![]);
        options.tasks = tasks;
        let client = standalone.client(options).unwrap();
        let calls = (0..100).map(|x: u32| Call::raw("echo", x.to_string()));
        let mut results = client.map_unordered(calls);
        let all = async {
            let mut taken = 0;
            while let Some(result) = results.next().await {
                let again = client.process(Call::raw("echo", result.unwrap())).await;
                again.unwrap();
                taken += 1;
            }
            taken
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), all).await;
        assert_eq!(ended.expect("its place is free"), 100);
    }
}

#[tokio::test]
async fn tasks_cross_real_sockets() {
    let (server, address) = manager().await;
    let manager = server.handle();
    let running = tokio::spawn(server.run());
    let worker = worker(&address, "w1", 2);
    let handle = worker.handle();
    let worked = tokio::spawn(worker.run());
    let client = Client::start(ClientOptions::new(vec![address.clone()])).unwrap();
    echoes(&client, 2_000, 64).await;
    assert_eq!(client.link(), LinkState::Connected { address });
    client.close().await;
    handle.drain();
    worked.await.unwrap().unwrap();
    manager.stop();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn large_payloads_come_back_whole() {
    let (server, address) = manager().await;
    let manager = server.handle();
    let running = tokio::spawn(server.run());
    let _worked = echo_worker(&address, "w1", 1);
    let client = Client::start(ClientOptions::new(vec![address])).unwrap();
    for size in [4_095, 4_097, 32_767, 32_768, 1_000_000, 20_000_000] {
        echoes(&client, 3, size).await;
    }
    client.close().await;
    manager.stop();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_and_a_worker_outlive_their_manager() {
    let (server, address) = manager().await;
    let first = server.handle();
    let running = tokio::spawn(server.run());
    let _worked = echo_worker(&address, "w1", 1);
    let client = Client::start(ClientOptions::new(vec![address.clone()])).unwrap();
    echoes(&client, 100, 64).await;
    first.stop();
    running.await.unwrap().unwrap();
    let waiting = client
        .submit(TaskSpec::new(name("echo"), "later"))
        .await
        .unwrap();
    while matches!(client.link(), LinkState::Connected { .. }) {
        client.link_changed().await;
    }
    let again = ManagerOptions::new(address).unwrap();
    let server = ManagerServer::bind(again).await.unwrap();
    let second = server.handle();
    let running = tokio::spawn(server.run());
    let ended = waiting.await;
    assert!(
        matches!(ended.outcome, Outcome::Completed(_)),
        "{:?}",
        ended.outcome
    );
    assert_eq!(ended.payload, "later".into());
    echoes(&client, 100, 64).await;
    client.close().await;
    second.stop();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drained_manager_finishes_and_ends() {
    let (server, address) = manager().await;
    let manager = server.handle();
    let running = tokio::spawn(server.run());
    let _worked = echo_worker(&address, "w1", 1);
    let client = Client::start(ClientOptions::new(vec![address])).unwrap();
    echoes(&client, 10, 64).await;
    manager.drain();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn tasks_of_a_closed_client_end_as_cancelled() {
    let (server, address) = manager().await;
    let running = tokio::spawn(server.run());
    let client = Client::start(ClientOptions::new(vec![address])).unwrap();
    let task = client
        .submit(TaskSpec::new(name("echo"), ""))
        .await
        .unwrap();
    client.clone().close().await;
    assert!(matches!(task.await.outcome, Outcome::Cancelled { .. }));
    let refused = client.submit(TaskSpec::new(name("echo"), "")).await;
    assert_eq!(refused.unwrap_err(), argon::SubmitError::Stopped);
    running.abort();
}

#[tokio::test]
async fn a_cancelled_task_says_so() {
    let (server, address) = manager().await;
    let running = tokio::spawn(server.run());
    let _worked = echo_worker(&address, "w1", 1);
    let client = Client::start(ClientOptions::new(vec![address])).unwrap();
    echoes(&client, 1, 1).await;
    let spec = TaskSpec::new(name("block"), "");
    let blocking = client.submit(spec.clone()).await.unwrap();
    let waiting = client.submit(spec).await.unwrap();
    waiting.cancel();
    assert!(matches!(waiting.await.outcome, Outcome::Cancelled { .. }));
    drop(blocking);
    client.close().await;
    running.abort();
}

#[tokio::test]
async fn status_tells_who_is_there() {
    let (server, address) = manager().await;
    let running = tokio::spawn(server.run());
    let _worked = echo_worker(&address, "w1", 3);
    let client = Client::start(ClientOptions::new(vec![address.clone()])).unwrap();
    echoes(&client, 10, 64).await;
    let limit = Duration::from_secs(60);
    let report = argon::status(&address, None, limit).await.unwrap();
    assert_eq!(report.workers.len(), 1);
    assert_eq!(report.workers[0].name, name("w1"));
    assert_eq!(report.manager.capacity, 3);
    assert_eq!(report.clients.len(), 1);
    running.abort();
}

#[tokio::test]
async fn only_loopback_is_listened_on_unless_told_otherwise() {
    let mut options = ManagerOptions::new("0.0.0.0:0").unwrap();
    let refused = ManagerServer::bind(options.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("--insecure"), "{refused}");
    options.insecure = true;
    assert!(ManagerServer::bind(options).await.is_ok());
    for wrong in ["", "127.0.0.1", ":80", "127.0.0.1:http"] {
        let refused = ManagerServer::bind(ManagerOptions::new(wrong).unwrap()).await;
        assert!(refused.unwrap_err().to_string().contains("HOST:PORT"));
    }
}
