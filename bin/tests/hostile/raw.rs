//! A peer that says whatever a test wants said, in whole frames or in raw bytes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use argon_core::codec;
use argon_core::ids::{Epoch, PeerId};
use argon_core::message::{
    Beat, Control, FromClient, FromWorker, Hello, MAGIC, Message, RefuseReason, Report, Role,
    Submit, ToManager, ToPeer, Version, Welcome,
};
use argon_core::name::Name;
use argon_core::payload::Payload;
use argon_core::task::Priority;
use argon_core::time::Nanos;
use bytes::BytesMut;

use crate::common::DEADLINE;

/// More than any frame here has.
const FRAME_MAX: usize = 256 * 1024 * 1024;

static PEERS: AtomicU64 = AtomicU64::new(1);

/// An id that no other peer of these tests has.
pub(crate) fn new_id() -> PeerId {
    PeerId(0xbad0_0000_0000 + PEERS.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn hello(role: Role) -> Hello {
    let peer = new_id();
    Hello {
        magic: MAGIC,
        version: Version::FIRST,
        role,
        peer,
        connection: 1,
        session: None,
        name: name(&format!("stranger {}", peer.0)),
    }
}

/// A task that anybody could submit.
pub(crate) fn submit(seq: u64, task: &str) -> Submit {
    Submit {
        seq,
        priority: Priority::NORMAL,
        max_attempts: 3,
        at_most_once: false,
        may_have_run: false,
        deadline: Nanos(u64::MAX),
        max_wait: Nanos(u64::MAX),
        time_limit: Nanos(u64::MAX),
        name: name(task),
    }
}

/// A message as its bytes.
pub(crate) fn frame(said: impl Into<ToManager>, payload: Payload) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let body = said.into();
    codec::encode(&Message { body, payload }, &mut bytes).unwrap();
    bytes.to_vec()
}

/// One connection to a manager.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    buffer: BytesMut,
    pub(crate) epoch: Epoch,
    /// Messages taken in, as heartbeats tell.
    received: u64,
}

impl Raw {
    pub(crate) fn connect(manager: &str) -> Self {
        let stream = TcpStream::connect(manager).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self {
            stream,
            buffer: BytesMut::new(),
            epoch: Epoch(0),
            received: 0,
        }
    }

    /// Comes in with this hello.
    pub(crate) fn with_hello(manager: &str, hello: Hello) -> Self {
        Self::knock(manager, hello).unwrap()
    }

    /// The same; the answer may be a refusal.
    pub(crate) fn knock(manager: &str, hello: Hello) -> Result<Self, RefuseReason> {
        let mut raw = Self::connect(manager);
        raw.say(ToManager::Hello(hello)).unwrap();
        match raw.hear().map(|message| message.body) {
            Some(ToPeer::Control(Control::Welcome(Welcome { epoch, .. }))) => {
                raw.epoch = epoch;
                Ok(raw)
            }
            Some(ToPeer::Control(Control::Refuse(reason))) => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    /// Whether the manager lets one in with this hello.
    pub(crate) fn is_let_in(manager: &str, hello: Hello) -> bool {
        let mut raw = Self::connect(manager);
        let said = raw.say(ToManager::Hello(hello));
        let answer = said.ok().and_then(|()| raw.hear());
        let answer = answer.map(|message| message.body);
        matches!(answer, Some(ToPeer::Control(Control::Welcome(_))))
    }

    pub(crate) fn client(manager: &str) -> Self {
        Self::with_hello(manager, hello(Role::Client))
    }

    pub(crate) fn observer(manager: &str) -> Self {
        Self::with_hello(manager, hello(Role::Observer))
    }

    /// A worker that has reported and may be given tasks once it says what it runs.
    pub(crate) fn worker(manager: &str, capacity: u32) -> Self {
        let mut raw = Self::with_hello(manager, hello(Role::Worker { capacity }));
        raw.say(FromWorker::Report(Report {
            running: Vec::new(),
            finished: Vec::new(),
            last: true,
        }))
        .unwrap();
        raw
    }

    pub(crate) fn say(&mut self, said: impl Into<ToManager>) -> io::Result<()> {
        self.say_with(said, Payload::empty())
    }

    pub(crate) fn say_with(
        &mut self,
        said: impl Into<ToManager>,
        payload: Payload,
    ) -> io::Result<()> {
        self.stream.write_all(&frame(said, payload))
    }

    pub(crate) fn submit(&mut self, seq: u64, task: &str) -> io::Result<()> {
        self.say(FromClient::Submit(submit(seq, task)))
    }

    /// A sign of life that says how much was taken in.
    pub(crate) fn ping(&mut self) -> io::Result<()> {
        self.ping_with(self.received)
    }

    pub(crate) fn ping_with(&mut self, received: u64) -> io::Result<()> {
        self.say(ToManager::Ping(Beat { nonce: 1, received }))
    }

    /// The next message; `None` when the manager has closed the connection.
    pub(crate) fn hear(&mut self) -> Option<Message<ToPeer>> {
        let mut bytes = [0; 16 * 1024];
        loop {
            if let Some(message) = codec::decode::<ToPeer>(&mut self.buffer, FRAME_MAX).unwrap() {
                self.received += u64::from(!matches!(message.body, ToPeer::Control(_)));
                return Some(message);
            }
            let count = self.read(&mut bytes);
            if count == 0 {
                return None;
            }
            self.buffer.extend_from_slice(&bytes[..count]);
        }
    }

    /// 0 when the connection is closed, in whatever way.
    fn read(&mut self, bytes: &mut [u8]) -> usize {
        match self.stream.read(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                panic!("the manager keeps the connection open")
            }
            Err(_) => 0,
        }
    }

    /// Waits until the manager has closed the connection, whatever it says before.
    pub(crate) fn until_closed(&mut self) {
        let mut bytes = [0; 64 * 1024];
        while self.read(&mut bytes) > 0 {}
    }

    /// Whether the manager still keeps it: it answers a heartbeat.
    pub(crate) fn is_kept(&mut self) -> bool {
        if self.ping().is_err() {
            return false;
        }
        loop {
            match self.hear().map(|message| message.body) {
                Some(ToPeer::Control(Control::Pong(_))) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }

    /// Says more and more until the manager has closed the connection; `part` is told how often it was
    /// asked before.
    pub(crate) fn say_until_closed(&mut self, mut part: impl FnMut(u64) -> Vec<u8>) {
        let begun = Instant::now();
        let mut round = 0;
        while self.stream.write_all(&part(round)).is_ok() {
            round += 1;
            assert!(begun.elapsed() < DEADLINE, "it is kept for ever");
        }
    }

    /// Hangs up for writing; the manager may still answer.
    pub(crate) fn hang_up(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

/// Bytes that look like nothing, the same in each run.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}
