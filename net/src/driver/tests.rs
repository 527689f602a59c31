//! The loops around machines that only note what they are told.

mod large_frames;
mod strangers;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use argon_core::Machine;
use argon_core::access::Access;
use argon_core::codec;
use argon_core::event::CloseReason;
use argon_core::ids::{ConnId, Epoch};
use argon_core::limits::{HELLO_FRAME_MAX, WORKER_WINDOW_BYTES};
use argon_core::manager::{ManagerInput, ManagerOutput};
use argon_core::message::{
    Control, FromClient, Message, Query, ToClient, ToManager, ToPeer, VERSION, Welcome,
};
use argon_core::payload::Payload;
use argon_core::time::{Deadline, Instant, Nanos, WakeReason};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::advance;

use super::clock::Clock;
use super::manager::ManagerDriver;
use super::{STEP_LOOKS_EVERY, STEP_MESSAGES, STEP_TIME};
use crate::connection::Incoming;
use crate::keys::Keys;
use crate::secure::Channel;
use crate::transport::{MemoryTransport, Transport};

const PAYLOAD_MAX: usize = 1 << 20;
/// No bound to speak of.
const MEMORY: u64 = 1 << 40;

/// What the machine was told, and when.
type Notes = Arc<Mutex<Vec<String>>>;

/// Welcomes whoever says anything; does as the payload of a `Cancel` says.
struct Scribe {
    notes: Notes,
    outputs: VecDeque<ManagerOutput>,
    deadline: Option<Instant>,
    welcomed: Vec<ConnId>,
}

impl Scribe {
    fn note(&self, text: impl Into<String>) {
        self.notes.lock().unwrap().push(text.into());
    }

    fn send(&mut self, conn: ConnId, body: ToPeer, payload: Payload) {
        let message = Message { body, payload };
        self.outputs
            .push_back(ManagerOutput::Send { conn, message });
    }

    fn on_message(&mut self, now: Instant, conn: ConnId, message: Message<ToManager>) {
        if !self.welcomed.contains(&conn) {
            self.welcomed.push(conn);
            let welcome = Welcome {
                version: VERSION,
                epoch: Epoch(1),
                resumed: false,
                lease: Nanos::NONE,
                payload_max: PAYLOAD_MAX as u32,
            };
            self.send(
                conn,
                ToPeer::Control(Control::Welcome(welcome)),
                Payload::empty(),
            );
            return;
        }
        match &message.payload[..] {
            b"flood" => {
                // More than any window of core's allows.
                let parts = (WORKER_WINDOW_BYTES as usize + (64 << 20)) / PAYLOAD_MAX;
                for _ in 0..parts {
                    let payload = Bytes::from(vec![0; PAYLOAD_MAX]);
                    self.send(conn, word(), payload.into());
                }
            }
            b"part" => {
                for _ in 0..4 {
                    let payload = Bytes::from(vec![0; PAYLOAD_MAX]);
                    self.send(conn, word(), payload.into());
                }
            }
            b"close" => {
                self.send(conn, word(), Bytes::from_static(b"last words").into());
                let reason = CloseReason::Done;
                self.outputs
                    .push_back(ManagerOutput::Close { conn, reason });
            }
            b"quiet" => {}
            b"long" => std::thread::sleep(STEP_TIME),
            b"alarm" => self.deadline = Some(now + Duration::from_secs(5)),
            _ => self.send(conn, word(), message.payload.clone()),
        }
    }
}

impl Machine for Scribe {
    type Input = ManagerInput;
    type Output = ManagerOutput;

    fn handle_input(&mut self, now: Instant, input: ManagerInput) {
        match input {
            ManagerInput::Accepted { .. } => self.note("accepted"),
            ManagerInput::Received { conn, message } => {
                self.note(format!("received {}", message.payload.len()));
                self.on_message(now, conn, message);
            }
            ManagerInput::Progress { .. } => self.note("progress"),
            ManagerInput::Written { .. } => self.note("written"),
            ManagerInput::Paused { conn } => {
                self.note("paused");
                self.send(conn, ToPeer::Control(Control::Paused), Payload::default());
            }
            ManagerInput::Closed { .. } => self.note("closed"),
            ManagerInput::Drain => {
                self.note("drain");
                self.outputs.push_back(ManagerOutput::Drained);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|at| at <= now) {
            self.deadline = None;
            self.note("timeout");
        }
    }

    fn settle(&mut self, _now: Instant) {
        self.note("settle");
    }

    fn poll_output(&mut self) -> Option<ManagerOutput> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.deadline.map(|at| Deadline {
            at,
            reason: WakeReason::Expiry,
        })
    }

    fn check_invariants(&self) {}
}

struct Stage {
    driver: Arc<ManagerDriver<Scribe>>,
    network: MemoryTransport,
    notes: Notes,
}

impl Stage {
    async fn new() -> Self {
        Self::with_memory(MEMORY).await
    }

    async fn with_memory(memory: u64) -> Self {
        Self::with(memory, None).await
    }

    async fn with(memory: u64, keys: Option<Keys>) -> Self {
        let notes = Notes::default();
        let scribe = Scribe {
            notes: Arc::clone(&notes),
            outputs: VecDeque::new(),
            deadline: None,
            welcomed: Vec::new(),
        };
        let driver = ManagerDriver::new(scribe, Clock::start(), PAYLOAD_MAX, memory);
        let network = MemoryTransport::new();
        let mut listener = network.bind("server").await.unwrap();
        let (serving, transport) = (Arc::clone(&driver), network.clone());
        tokio::spawn(async move {
            tokio::select! {
                biased;
                result = serving.run() => result.unwrap(),
                () = serving.accept_from(&transport, &mut listener, keys.as_ref()) => {}
            }
        });
        Self {
            driver,
            network,
            notes,
        }
    }

    /// A connection, not yet welcome.
    async fn stranger(&self) -> DuplexStream {
        self.network.connect("server").await.unwrap()
    }

    async fn guest(&self) -> Guest {
        let mut guest = Guest {
            stream: self.stranger().await,
            incoming: Incoming::new(1 << 30),
        };
        guest.say("hello").await;
        assert!(matches!(
            guest.hear().await.body,
            ToPeer::Control(Control::Welcome(_))
        ));
        guest
    }

    fn notes(&self) -> Vec<String> {
        let notes = self.notes.lock().unwrap();
        notes.iter().filter(|n| *n != "settle").cloned().collect()
    }

    fn count(&self, note: &str) -> usize {
        let notes = self.notes.lock().unwrap();
        notes.iter().filter(|n| *n == note).count()
    }

    async fn until(&self, note: &str) {
        while self.count(note) == 0 {
            yield_now().await;
        }
    }
}

/// A message that carries a payload to a guest, as long as the one that a guest says.
fn word() -> ToPeer {
    ToPeer::Client(ToClient::Unknown { seqs: Vec::new() })
}

struct Guest<S = DuplexStream> {
    stream: S,
    incoming: Incoming,
}

fn frame(payload: &[u8]) -> BytesMut {
    frame_of(ToManager::Client(FromClient::Cancel { seq: 0 }), payload)
}

fn frame_of<B: bincode::Encode>(body: B, payload: &[u8]) -> BytesMut {
    let mut frame = BytesMut::new();
    let message = Message {
        body,
        payload: Bytes::copy_from_slice(payload).into(),
    };
    codec::encode(&message, &mut frame).unwrap();
    frame
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guest<S> {
    async fn say(&mut self, payload: &str) {
        self.stream
            .write_all(&frame(payload.as_bytes()))
            .await
            .unwrap();
    }

    async fn hear(&mut self) -> Message<ToPeer> {
        self.try_hear().await.expect("the connection is open")
    }

    async fn try_hear(&mut self) -> Option<Message<ToPeer>> {
        loop {
            if let Some(message) = self.incoming.next().unwrap() {
                return Some(message);
            }
            let (incoming, stream) = (&mut self.incoming, &mut self.stream);
            if poll_fn(|cx| incoming.poll_read(cx, stream)).await.ok()? == 0 {
                return None;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_together_is_decided_together() {
    let stage = Stage::new().await;
    let mut guest = stage.guest().await;
    stage.notes.lock().unwrap().clear();
    let mut frames = BytesMut::new();
    for _ in 0..100 {
        frames.extend_from_slice(&frame(b"x"));
    }
    guest.stream.write_all(&frames).await.unwrap();
    for _ in 0..100 {
        assert_eq!(guest.hear().await.payload, "x".into());
    }
    assert_eq!(stage.count("received 1"), 100);
    assert_eq!(stage.count("settle"), 1);
}

/// Most messages that were handled before what they ask for was decided.
async fn longest_batch(frames: &[u8]) -> usize {
    let stage = Stage::new().await;
    let mut guest = stage.guest().await;
    stage.notes.lock().unwrap().clear();
    let all = [frames, &frame(b"last")].concat();
    guest.stream.write_all(&all).await.unwrap();
    while guest.hear().await.payload != "last".into() {}
    let notes = stage.notes.lock().unwrap();
    let batches = notes.split(|note| note == "settle");
    batches.map(<[String]>::len).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn a_step_ends_after_so_many_messages() {
    let most = STEP_MESSAGES as usize;
    assert_eq!(longest_batch(&frame(b"").repeat(99)).await, 100);
    assert_eq!(longest_batch(&frame(b"").repeat(3 * most)).await, most);
}

#[tokio::test]
async fn a_step_ends_when_it_takes_long() {
    let most = STEP_LOOKS_EVERY as usize;
    assert!(longest_batch(&frame(b"long").repeat(3 * most)).await <= most);
}

#[tokio::test(start_paused = true)]
async fn a_step_ends_with_a_page() {
    let query = frame_of(ToManager::Query(Query::StatusQuery { page: 0 }), b"");
    assert_eq!(longest_batch(&query.repeat(10)).await, 1);
}

#[tokio::test]
async fn garbage_ends_the_connection_and_no_other() {
    let stage = Stage::new().await;
    let mut guest = stage.guest().await;
    let mut vandal = stage.guest().await;
    vandal.stream.write_all(&[255; 64]).await.unwrap();
    assert!(vandal.try_hear().await.is_none());
    assert_eq!(stage.count("closed"), 1);
    guest.say("still here").await;
    assert_eq!(guest.hear().await.payload, "still here".into());
}

#[tokio::test]
async fn a_strangers_large_frame_is_not_waited_for() {
    let stage = Stage::new().await;
    let mut stranger = stage.stranger().await;
    let frame = frame(&[0; HELLO_FRAME_MAX]);
    stranger.write_all(&frame[..100]).await.unwrap();
    assert_eq!(stranger.read(&mut [0; 10]).await.unwrap(), 0);
    assert_eq!(stage.notes(), ["accepted", "closed"]);
    let mut guest = stage.guest().await;
    guest.stream.write_all(&frame).await.unwrap();
    assert_eq!(guest.hear().await.payload.len(), HELLO_FRAME_MAX);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off() {
    let stage = Stage::new().await;
    let mut sleeper = stage.guest().await;
    let mut guest = stage.guest().await;
    sleeper.say("flood").await;
    stage.until("closed").await;
    guest.say("still here").await;
    assert_eq!(guest.hear().await.payload, "still here".into());
    while sleeper.try_hear().await.is_some() {}
    assert_eq!(stage.count("closed"), 1);
}

#[tokio::test]
async fn what_waits_for_all_peers_together_has_a_bound() {
    let stage = Stage::with_memory(10 * PAYLOAD_MAX as u64).await;
    let mut sleepers = Vec::new();
    for _ in 0..3 {
        let mut sleeper = stage.guest().await;
        sleeper.say("part").await;
        sleepers.push(sleeper);
    }
    stage.until("closed").await;
    let mut guest = stage.guest().await;
    guest.say("still here").await;
    assert_eq!(guest.hear().await.payload, "still here".into());
    assert_eq!(stage.count("closed"), 1, "one was enough");
}

#[tokio::test]
async fn last_words_are_sent_before_the_connection_is_closed() {
    let stage = Stage::new().await;
    let mut guest = stage.guest().await;
    guest.say("close").await;
    guest.say("ignored").await;
    assert_eq!(guest.hear().await.payload, "last words".into());
    assert!(guest.try_hear().await.is_none());
    drop(guest);
    yield_now().await;
    assert_eq!(stage.count("closed"), 0, "the machine knows already");
}

#[tokio::test(start_paused = true)]
async fn moving_bytes_count_as_progress_now_and_then() {
    let stage = Stage::new().await;
    let mut guest = stage.guest().await;
    let frame = frame(&[7; PAYLOAD_MAX]);
    for part in frame.chunks(1 << 12) {
        advance(Duration::from_millis(10)).await;
        guest.stream.write_all(part).await.unwrap();
        for _ in 0..3 {
            yield_now().await;
        }
    }
    assert_eq!(guest.hear().await.payload.len(), PAYLOAD_MAX);
    // 256 parts at 10 ms each, and one report in 100 ms.
    let reports = stage.count("progress");
    assert!((20..=30).contains(&reports), "{reports} reports");
}

#[tokio::test(start_paused = true)]
async fn input_that_waits_goes_in_before_a_timeout() {
    let stage = Stage::new().await;
    let mut guest = stage.guest().await;
    guest.say("alarm").await;
    stage.until("received 5").await;
    for _ in 0..10 {
        yield_now().await;
    }
    stage.notes.lock().unwrap().clear();
    // Both are there when the driver comes to run again, and its timer was first.
    let writer = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(50)).await;
        guest.stream.write_all(&frame(b"in time")).await.unwrap();
        guest
    });
    yield_now().await;
    advance(Duration::from_secs(60)).await;
    let _guest = writer.await.unwrap();
    stage.until("timeout").await;
    assert_eq!(stage.notes()[..2], ["received 7", "timeout"]);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_comes_once() {
    let stage = Stage::new().await;
    let mut guest = stage.guest().await;
    guest.say("alarm").await;
    stage.until("received 5").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(stage.count("timeout"), 0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.count("timeout"), 1);
}

#[tokio::test]
async fn stopping_closes_every_connection() {
    let stage = Stage::new().await;
    let mut guests = Vec::new();
    for _ in 0..10 {
        guests.push(stage.guest().await);
    }
    stage.driver.stop();
    for guest in &mut guests {
        assert!(guest.try_hear().await.is_none());
    }
    let late = stage.network.connect("server").await;
    if let Ok(mut late) = late {
        assert_eq!(late.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
}

#[tokio::test]
async fn a_busy_peer_does_not_starve_the_others() {
    let stage = Stage::new().await;
    let mut guest = stage.guest().await;
    let Guest { stream, .. } = stage.guest().await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let drain = tokio::spawn(async move {
        let mut rest = vec![0; 1 << 16];
        while matches!(reader.read(&mut rest).await, Ok(count) if count > 0) {}
    });
    let busy = tokio::spawn(async move {
        let frames = frame(b"busy").repeat(1 << 12);
        while writer.write_all(&frames).await.is_ok() {}
    });
    for _ in 0..10 {
        guest.say("ping").await;
        assert_eq!(guest.hear().await.payload, "ping".into());
    }
    busy.abort();
    drain.abort();
}

#[tokio::test]
async fn peers_that_always_have_more_let_the_sockets_of_others_be_looked_at() {
    let stage = Stage::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let driver = Arc::clone(&stage.driver);
    tokio::spawn(async move {
        while let Ok((stream, from)) = listener.accept().await {
            tokio::spawn(Arc::clone(&driver).serve(
                Channel::Plain(stream),
                Some(from),
                Access::everything(),
            ));
        }
    });
    let stream = TcpStream::connect(to).await.unwrap();
    let incoming = Incoming::new(1 << 20);
    let mut guest = Guest { stream, incoming };
    guest.say("hello").await;
    guest.hear().await;
    for _ in 0..4 {
        // Until the connection is closed, at the end of this test.
        std::thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(to).unwrap();
            let frames = frame(b"quiet").repeat(1 << 12);
            while stream.write_all(&frames).is_ok() {}
        });
    }
    let mut answers = Vec::new();
    while answers.len() < 50 {
        stage.notes.lock().unwrap().clear();
        guest.say("ping").await;
        assert_eq!(guest.hear().await.payload, "ping".into());
        // Not before they are at it.
        if stage.count("received 5") >= 4 * STEP_MESSAGES as usize {
            answers.push(stage.count("settle"));
        }
    }
    // Two or three rounds of five each. Sockets that are looked at now and then make it 160 steps.
    assert!(answers.iter().sum::<usize>() <= 50 * 40, "{answers:?}");
}

#[tokio::test]
async fn a_panic_in_the_machine_ends_the_manager() {
    struct Bomb;
    impl Machine for Bomb {
        type Input = ManagerInput;
        type Output = ManagerOutput;
        fn handle_input(&mut self, _: Instant, input: ManagerInput) {
            assert!(!matches!(input, ManagerInput::Received { .. }), "boom");
        }
        fn handle_timeout(&mut self, _: Instant) {}
        fn settle(&mut self, _: Instant) {}
        fn poll_output(&mut self) -> Option<ManagerOutput> {
            None
        }
        fn poll_timeout(&self) -> Option<Deadline> {
            None
        }
        fn check_invariants(&self) {}
    }
    let driver = ManagerDriver::new(Bomb, Clock::start(), PAYLOAD_MAX, MEMORY);
    let (mut near, far) = tokio::io::duplex(1 << 10);
    let served =
        tokio::spawn(Arc::clone(&driver).serve(Channel::Plain(far), None, Access::everything()));
    near.write_all(&frame(b"x")).await.unwrap();
    assert_eq!(driver.run().await, Err(crate::RunError::Broken));
    assert!(served.await.is_err());
}

#[tokio::test]
async fn draining_ends_the_loop() {
    let driver = {
        let stage = Stage::new().await;
        stage.driver.drain();
        stage.driver
    };
    driver.run().await.unwrap();
}
