//! The client's loop and its completion table, around a machine that does as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use argon_core::Machine;
use argon_core::client::{self, ClientInput, ClientOutput, Delivery};
use argon_core::ids::{ConnId, Epoch, PeerId, TaskId};
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::message::{Control, FromManager, Message, ToClient, ToManager, Version, Welcome};
use argon_core::name::Name;
use argon_core::payload::Payload;
use argon_core::task::{Completion, LastAttempt, Outcome, TaskSpec};
use argon_core::time::{Deadline, Instant, Nanos};
use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;
use tokio::task::yield_now;
use tokio::time::advance;

use super::completions::{For, QueueEntry};
use super::endpoint::{ClientMachine, Taken};
use super::{ClientOptions, Handle, start_machine};
use crate::connection::Incoming;
use crate::driver::clock::Clock;
use crate::error::SubmitError;
use crate::frames::Outgoing;
use crate::link::LinkState;
use crate::transport::{MemoryTransport, Transport};

/// What a fake was told, for the test to read.
#[derive(Debug, Default)]
struct Told {
    submitted: Vec<(u64, Option<Duration>)>,
    cancelled: Vec<u64>,
    stopped: bool,
}

/// Holds as many tasks as it may; each ends when the manager sends a `Cancel` of its number,
/// with that message's payload.
struct Fake {
    told: Arc<Mutex<Told>>,
    room: usize,
    next: u64,
    held: BTreeMap<u64, TaskSpec>,
    outputs: VecDeque<ClientOutput>,
}

impl Fake {
    fn deliver(&mut self, seq: u64, outcome: Outcome, payload: Payload) {
        if self.held.remove(&seq).is_some() {
            self.outputs.push_back(ClientOutput::Deliver(vec![Delivery {
                seq,
                outcome,
                payload,
            }]));
        }
    }
}

fn completed() -> Outcome {
    Outcome::Completed(Completion {
        last: LastAttempt {
            ran: Nanos::ZERO,
            waited: Nanos::ZERO,
            worker: Name::new("w1").expect("a name"),
        },
        charged: 0,
    })
}

/// The message that ends a task at the fake machine.
fn ended(seq: u64) -> FromManager<ToClient> {
    let outcome = completed();
    FromManager::Role(ToClient::Outcome { seq, outcome })
}

impl Machine for Fake {
    type Input = ClientInput;
    type Output = ClientOutput;

    fn handle_input(&mut self, _now: Instant, input: ClientInput) {
        match input {
            ClientInput::Link(LinkInput::Received { message, .. }) => {
                if let FromManager::Role(ToClient::Outcome { seq, .. }) = message.body {
                    self.deliver(seq, completed(), message.payload);
                }
            }
            ClientInput::Link(LinkInput::Connected { conn }) => {
                let message = ToManager::Goodbye.into();
                let output = LinkOutput::Send { conn, message };
                self.outputs.push_back(ClientOutput::Link(output));
            }
            ClientInput::Link(_) | ClientInput::Stream { .. } => {}
            ClientInput::Cancel { seq } => {
                self.told.lock().unwrap().cancelled.push(seq);
                let may_have_run = false;
                self.deliver(seq, Outcome::Cancelled { may_have_run }, "".into());
            }
            ClientInput::Stop => {
                self.told.lock().unwrap().stopped = true;
                for seq in self.held.keys().copied().collect::<Vec<_>>() {
                    let may_have_run = false;
                    self.deliver(seq, Outcome::Cancelled { may_have_run }, "".into());
                }
                self.outputs.push_back(ClientOutput::Stopped);
            }
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {}
    fn settle(&mut self, _now: Instant) {}

    fn poll_output(&mut self) -> Option<ClientOutput> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        None
    }

    fn check_invariants(&self) {}
}

impl ClientMachine for Fake {
    fn check(&self, _spec: &TaskSpec) -> Result<(), client::SubmitError> {
        if self.held.len() >= self.room {
            return Err(client::SubmitError::Full);
        }
        Ok(())
    }

    fn take_in(&mut self, _now: Instant, spec: TaskSpec) -> TaskId {
        let seq = self.next;
        self.next += 1;
        let mut told = self.told.lock().unwrap();
        told.submitted.push((seq, spec.deadline));
        self.held.insert(seq, spec);
        TaskId {
            client: PeerId(0),
            seq,
        }
    }
}

/// A client around a fake, and the manager that it talks to.
struct Stage {
    client: Arc<Handle<Fake>>,
    told: Arc<Mutex<Told>>,
    manager: <MemoryTransport as Transport>::Stream,
}

impl Stage {
    async fn new(room: usize, tasks: usize) -> Self {
        let network = MemoryTransport::new();
        let mut listener = network.bind("manager").await.unwrap();
        let told = Arc::<Mutex<Told>>::default();
        let connect = LinkOutput::Connect {
            conn: ConnId(0),
            address: 0,
        };
        let fake = Fake {
            told: Arc::clone(&told),
            room,
            next: 0,
            held: BTreeMap::new(),
            outputs: [ClientOutput::Link(connect)].into(),
        };
        let options = ClientOptions {
            tasks,
            ..ClientOptions::new(vec!["manager".to_owned()])
        };
        let client = start_machine(network.clone(), options, Clock::start(), fake);
        let manager = network.accept(&mut listener).await.unwrap();
        let mut stage = Self {
            client,
            told,
            manager,
        };
        let welcome = Welcome {
            version: Version::FIRST,
            epoch: Epoch(1),
            resumed: false,
            lease: Nanos::NONE,
            payload_max: 1 << 20,
        };
        stage
            .say(FromManager::Control(Control::Welcome(welcome)).into())
            .await;
        stage
    }

    async fn say(&mut self, message: Message<FromManager<ToClient>>) {
        let mut outgoing = Outgoing::default();
        outgoing.push(&message).unwrap();
        std::future::poll_fn(|cx| outgoing.poll_flush(cx, &mut self.manager, &mut 0))
            .await
            .unwrap();
        settle().await;
    }

    async fn complete(&mut self, seq: u64) {
        self.say(Message {
            body: ended(seq),
            payload: "result".into(),
        })
        .await;
    }

    fn submitted(&self) -> usize {
        self.told.lock().unwrap().submitted.len()
    }
}

fn spec() -> TaskSpec {
    TaskSpec::new(Name::new("x").unwrap(), "")
}

/// Lets every other task run until it waits.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

#[tokio::test]
async fn each_submission_gets_its_own_outcome() {
    let mut stage = Stage::new(10, 10).await;
    let first = stage.client.shared.submit(spec()).await.unwrap();
    let second = stage.client.shared.submit(spec()).await.unwrap();
    stage.complete(1).await;
    let ended = second.await;
    assert_eq!(ended.outcome, completed());
    assert_eq!(ended.payload, "result".into());
    let mut first = pin!(first);
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(first.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    stage.complete(0).await;
    assert_eq!(first.await.outcome, completed());
}

#[tokio::test]
async fn submit_waits_for_room_in_the_machine() {
    let mut stage = Stage::new(2, 100).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let client = Arc::clone(&stage.client);
        waiting.spawn(async move { client.shared.submit(spec()).await.unwrap().await });
    }
    settle().await;
    for done in 0..10 {
        assert_eq!(stage.submitted(), (done as usize + 2).min(10));
        stage.complete(done).await;
    }
    while let Some(ended) = waiting.join_next().await {
        assert_eq!(ended.unwrap().outcome, completed());
    }
}

#[tokio::test]
async fn outcomes_that_nobody_takes_use_up_room_until_they_are_dropped() {
    let mut stage = Stage::new(100, 2).await;
    let untaken = stage.client.shared.submit(spec()).await.unwrap();
    let other = stage.client.shared.submit(spec()).await.unwrap();
    stage.complete(0).await;
    stage.complete(1).await;
    let mut third = tokio::spawn({
        let client = Arc::clone(&stage.client);
        async move { client.shared.submit(spec()).await.map(|_| ()) }
    });
    settle().await;
    assert_eq!(stage.submitted(), 2);
    drop(untaken);
    (&mut third).await.unwrap().unwrap();
    assert_eq!(stage.submitted(), 3);
    let fourth = tokio::spawn({
        let client = Arc::clone(&stage.client);
        async move { client.shared.submit(spec()).await.map(|_| ()) }
    });
    settle().await;
    assert_eq!(stage.submitted(), 3);
    assert_eq!(other.await.outcome, completed());
    fourth.await.unwrap().unwrap();
}

#[tokio::test]
async fn room_that_comes_at_once_is_used_at_once() {
    let mut stage = Stage::new(2, 100).await;
    for _ in 0..2 {
        drop(stage.client.shared.submit(spec()).await.unwrap());
    }
    for _ in 0..2 {
        let client = Arc::clone(&stage.client);
        tokio::spawn(async move { client.shared.submit(spec()).await.unwrap().await });
    }
    settle().await;
    assert_eq!(stage.submitted(), 2);
    let mut frames = BytesMut::new();
    for seq in 0..2 {
        let message = Message::from(ended(seq));
        argon_core::codec::encode(&message, &mut frames).unwrap();
    }
    stage.manager.write_all(&frames).await.unwrap();
    settle().await;
    assert_eq!(stage.submitted(), 4);
}

#[tokio::test]
async fn whoever_gives_up_waiting_for_room_holds_up_nobody() {
    let mut stage = Stage::new(1, 100).await;
    let first = stage.client.shared.submit(spec()).await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let client = Arc::clone(&stage.client);
        waiting.push(tokio::spawn(async move {
            client.shared.submit(spec()).await.map(|_| ())
        }));
    }
    settle().await;
    waiting[0].abort();
    stage.complete(0).await;
    assert_eq!(first.await.outcome, completed());
    waiting.pop().unwrap().await.unwrap().unwrap();
    assert_eq!(stage.submitted(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_counts_from_the_call() {
    let mut stage = Stage::new(1, 100).await;
    let first = stage.client.shared.submit(spec()).await.unwrap();
    let late = tokio::spawn({
        let client = Arc::clone(&stage.client);
        let spec = TaskSpec {
            deadline: Some(Duration::from_secs(10)),
            ..spec()
        };
        async move { client.shared.submit(spec).await.map(|_| ()) }
    });
    settle().await;
    advance(Duration::from_secs(4)).await;
    stage.complete(0).await;
    assert_eq!(first.await.outcome, completed());
    late.await.unwrap().unwrap();
    let told = stage.told.lock().unwrap();
    assert_eq!(told.submitted[1], (1, Some(Duration::from_secs(6))));
}

#[tokio::test]
async fn cancelling_asks_once_and_the_outcome_still_comes() {
    let stage = Stage::new(10, 10).await;
    let task = stage.client.shared.submit(spec()).await.unwrap();
    task.cancel();
    task.cancel();
    assert!(matches!(task.await.outcome, Outcome::Cancelled { .. }));
    assert_eq!(stage.told.lock().unwrap().cancelled, [0]);
}

#[tokio::test]
async fn stopping_ends_every_submission_and_refuses_more() {
    let stage = Stage::new(1, 10).await;
    let task = stage.client.shared.submit(spec()).await.unwrap();
    let waiting = tokio::spawn({
        let client = Arc::clone(&stage.client);
        async move { client.shared.submit(spec()).await.map(|_| ()) }
    });
    settle().await;
    stage.client.shared.completions.stop();
    stage.client.shared.completions.ended().await;
    assert!(matches!(task.await.outcome, Outcome::Cancelled { .. }));
    assert_eq!(waiting.await.unwrap(), Err(SubmitError::Stopped));
}

#[tokio::test]
async fn without_handles_the_client_leaves_after_its_last_task() {
    let mut stage = Stage::new(10, 10).await;
    let task = stage.client.shared.submit(spec()).await.unwrap();
    let dropped = stage.client.shared.submit(spec()).await.unwrap();
    drop(dropped);
    let completions = Arc::clone(&stage.client.shared.completions);
    let told = Arc::clone(&stage.told);
    stage.client = {
        // Only the driver and the submissions are left of the first one.
        let other = Stage::new(1, 1).await;
        other.client
    };
    settle().await;
    assert!(!told.lock().unwrap().stopped);
    stage.complete(0).await;
    assert_eq!(task.await.outcome, completed());
    settle().await;
    assert!(!told.lock().unwrap().stopped, "one task still runs");
    stage.complete(1).await;
    completions.ended().await;
    assert!(told.lock().unwrap().stopped);
}

#[test]
fn the_end_of_the_runtime_leaves_nobody_waiting() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let (client, task) = first.block_on(async {
        let stage = Stage::new(10, 10).await;
        let task = stage.client.shared.submit(spec()).await.unwrap();
        (stage.client, task)
    });
    drop(first);
    runtime().block_on(async {
        let may_have_run = true;
        assert_eq!(task.await.outcome, Outcome::Cancelled { may_have_run });
        let refused = client.shared.submit(spec()).await.map(|_| ());
        assert_eq!(refused, Err(SubmitError::Stopped));
        client.shared.completions.ended().await;
    });
}

#[tokio::test]
async fn the_link_tells_how_it_is_doing() {
    let mut stage = Stage::new(1, 1).await;
    let completions = &stage.client.shared.completions;
    let (link, version) = completions.link();
    let address = "manager".to_owned();
    assert_eq!(link, LinkState::Connected { address });
    drop(std::mem::replace(
        &mut stage.manager,
        tokio::io::duplex(1).0,
    ));
    completions.link_after(version).await;
    let (link, _) = completions.link();
    assert!(
        matches!(&link, LinkState::Connecting { last: Some(text), .. } if text.contains("closed")),
        "{link:?}"
    );
}

#[tokio::test]
async fn what_the_machine_says_is_sent() {
    let mut stage = Stage::new(10, 10).await;
    let mut incoming = Incoming::new(1 << 20);
    let message = loop {
        if let Some(message) = incoming.next::<ToManager>().unwrap() {
            break message;
        }
        let manager = &mut stage.manager;
        std::future::poll_fn(|cx| incoming.poll_read(cx, manager))
            .await
            .unwrap();
    };
    assert_eq!(message.body, ToManager::Goodbye);
}

#[tokio::test]
async fn a_tray_takes_what_comes_together_and_holds_its_room_until_it_is_let_go() {
    let mut stage = Stage::new(10, 2).await;
    let completions = Arc::clone(&stage.client.shared.completions);
    let owner = completions.add_queue();
    let queue = owner.queue;
    let take_in = |stage: &Stage, token| {
        let whom = For::CompletionQueue(QueueEntry { queue, token });
        let taken = stage.client.shared.try_submit(spec(), whom).unwrap();
        matches!(taken, Taken::Now(_))
    };
    let poll = || {
        let mut taken = VecDeque::new();
        let cx = &mut Context::from_waker(Waker::noop());
        let polled = completions.poll_queue(queue, cx, &mut taken);
        assert_eq!(polled.is_ready(), !taken.is_empty());
        taken
    };
    assert!(take_in(&stage, 7) && take_in(&stage, 8));
    assert!(!take_in(&stage, 9), "there is room for two");
    assert!(poll().is_empty());
    stage.complete(1).await;
    stage.complete(0).await;
    assert!(!take_in(&stage, 9), "nobody has taken them");
    let taken = poll();
    assert!(taken.iter().map(|(token, _)| *token).eq([8, 7]));
    assert!(poll().is_empty());
    for (token, ended) in &taken {
        assert_eq!(&ended.payload[..], b"result");
        assert!(!take_in(&stage, *token), "it is still held");
        completions.let_go(&owner, ended);
        assert!(take_in(&stage, *token));
    }
}

#[tokio::test]
async fn whoever_waits_for_room_has_it_when_something_is_taken_from_a_tray() {
    let mut stage = Stage::new(10, 2).await;
    let completions = Arc::clone(&stage.client.shared.completions);
    let owner = completions.add_queue();
    for token in 0..2 {
        let queue = owner.queue;
        let whom = For::CompletionQueue(QueueEntry { queue, token });
        assert!(stage.client.shared.try_submit(spec(), whom).is_ok());
    }
    stage.complete(0).await;
    stage.complete(1).await;
    let mut taken = VecDeque::new();
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(
        completions
            .poll_queue(owner.queue, cx, &mut taken)
            .is_ready()
    );
    let shared = Arc::clone(&stage.client.shared);
    let waiting = tokio::spawn(async move { shared.submit(spec()).await });
    settle().await;
    assert!(!waiting.is_finished(), "both are still held");
    completions.let_go(&owner, &taken[0].1);
    settle().await;
    assert!(waiting.is_finished(), "there is room");
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test]
async fn without_its_tray_nothing_is_held_and_what_runs_is_cancelled() {
    for taken_from_it in [false, true] {
        let mut stage = Stage::new(10, 2).await;
        let completions = Arc::clone(&stage.client.shared.completions);
        let queue = completions.add_queue().queue;
        for token in 0..2 {
            let whom = For::CompletionQueue(QueueEntry { queue, token });
            assert!(stage.client.shared.try_submit(spec(), whom).is_ok());
        }
        stage.complete(0).await;
        if taken_from_it {
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(
                completions
                    .poll_queue(queue, cx, &mut VecDeque::new())
                    .is_ready()
            );
        }
        completions.remove_queue(queue, [0, 1].into_iter());
        settle().await;
        assert_eq!(stage.told.lock().unwrap().cancelled, [1]);
        for _ in 0..2 {
            let taken = stage.client.shared.try_submit(spec(), For::Submission);
            assert!(matches!(taken, Ok(Taken::Now(_))));
        }
    }
}

#[tokio::test]
async fn what_is_for_a_tray_ends_when_the_client_does() {
    let stage = Stage::new(10, 10).await;
    let completions = Arc::clone(&stage.client.shared.completions);
    let queue = completions.add_queue().queue;
    let whom = For::CompletionQueue(QueueEntry { queue, token: 5 });
    assert!(stage.client.shared.try_submit(spec(), whom).is_ok());
    completions.end();
    let mut taken = VecDeque::new();
    let polled = completions.poll_queue(queue, &mut Context::from_waker(Waker::noop()), &mut taken);
    assert!(polled.is_ready());
    let (token, ended) = taken.pop_front().unwrap();
    let may_have_run = true;
    assert_eq!(
        (token, ended.outcome),
        (5, Outcome::Cancelled { may_have_run })
    );
}
