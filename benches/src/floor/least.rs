//! The least that a manager must do, and a worker's pool as the same thing once more.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};

use super::frames::{Inbox, WORKER, dial, each};
use super::relay::start_child;
use crate::parts::announce;

/// Tasks that the manager sends ahead to a worker.
const WINDOW: usize = 1_024;
const PRIORITIES: usize = 3;
/// Where a task says its priority.
const PRIORITY: usize = 8;

/// A task that waits, and who asked for it.
struct Waiting {
    client: usize,
    body: Box<[u8]>,
}

/// Tasks, clients, workers.
struct Desk {
    queues: [VecDeque<Waiting>; PRIORITIES],
    queued: usize,
    queued_max: usize,
    /// By number: kept until the result is there, so that a lost worker's tasks could run again.
    running: Vec<Option<Waiting>>,
    unused: Vec<usize>,
    peers: Vec<Peer>,
    workers: Vec<usize>,
}

struct Peer {
    out: Vec<u8>,
    wake: Rc<Notify>,
    room: usize,
}

impl Peer {
    fn send(&mut self, number: Option<usize>, body: &[u8]) {
        let number = number.map(|number| (number as u64).to_be_bytes());
        let number = number.as_ref().map_or(&[][..], |number| &number[..]);
        let length = (number.len() + body.len()) as u32;
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(number);
        self.out.extend_from_slice(body);
    }
}

impl Desk {
    fn new(queued_max: usize) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            queues: Default::default(),
            queued: 0,
            queued_max,
            running: Vec::new(),
            unused: Vec::new(),
            peers: Vec::new(),
            workers: Vec::new(),
        }))
    }

    fn submit(&mut self, client: usize, body: &[u8]) {
        if self.queued >= self.queued_max {
            self.peers[client].send(None, b"D");
            return self.peers[client].wake.notify_one();
        }
        let priority = usize::from(body.get(PRIORITY).copied().unwrap_or(1));
        self.queues[priority.min(PRIORITIES - 1)].push_back(Waiting {
            client,
            body: body.into(),
        });
        self.queued += 1;
    }

    fn dispatch(&mut self) {
        for &worker in &self.workers {
            let peer = &mut self.peers[worker];
            let mut any = false;
            while peer.room > 0
                && let Some(task) = self.queues.iter_mut().find_map(VecDeque::pop_front)
            {
                self.queued -= 1;
                let number = self.unused.pop().unwrap_or_else(|| {
                    self.running.push(None);
                    self.running.len() - 1
                });
                peer.room -= 1;
                peer.send(Some(number), &task.body);
                self.running[number] = Some(task);
                any = true;
            }
            if any {
                peer.wake.notify_one();
            }
        }
    }

    fn result(&mut self, worker: usize, answer: &[u8]) {
        let Some((number, result)) = answer.split_first_chunk() else {
            return;
        };
        let number = u64::from_be_bytes(*number) as usize;
        let Some(task) = self.running.get_mut(number).and_then(Option::take) else {
            return;
        };
        self.unused.push(number);
        self.peers[worker].room += 1;
        let client = &mut self.peers[task.client];
        client.send(None, result);
        client.wake.notify_one();
    }
}

/// Takes a peer in and serves it both ways. A worker has room for `room` tasks, a client none.
fn attach<R, W>(desk: &Rc<RefCell<Desk>>, mut read: R, mut write: W, room: usize)
where
    R: AsyncRead + Unpin + 'static,
    W: AsyncWrite + Unpin + 'static,
{
    let wake = Rc::new(Notify::new());
    let peer = {
        let mut desk = desk.borrow_mut();
        let peer = desk.peers.len();
        desk.peers.push(Peer {
            out: Vec::new(),
            wake: Rc::clone(&wake),
            room,
        });
        if room > 0 {
            desk.workers.push(peer);
        }
        peer
    };
    let writers = Rc::clone(desk);
    spawn_local(async move {
        let mut batch = Vec::new();
        loop {
            mem::swap(&mut batch, &mut writers.borrow_mut().peers[peer].out);
            if batch.is_empty() {
                wake.notified().await;
            } else if write.write_all(&batch).await.is_err() {
                return;
            }
            batch.clear();
        }
    });
    let readers = Rc::clone(desk);
    spawn_local(async move {
        let mut inbox = Inbox::default();
        while let Ok(frames) = inbox.read(&mut read).await {
            if frames.is_empty() {
                break;
            }
            let mut desk = readers.borrow_mut();
            let taken = each(frames, |body| match room {
                0 => desk.submit(peer, body),
                _ => desk.result(peer, body),
            });
            if taken.is_err() {
                break;
            }
            desk.dispatch();
        }
        readers.borrow_mut().workers.retain(|other| *other != peer);
    });
}

/// The least manager, with room for so many tasks.
pub(crate) async fn manager(queued_max: usize) -> io::Result<()> {
    let desk = Desk::new(queued_max);
    let serve = async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        announce(&listener.local_addr()?.to_string());
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let Ok(who) = stream.read_u8().await else {
                continue;
            };
            let (read, write) = stream.into_split();
            attach(&desk, read, write, if who == WORKER { WINDOW } else { 0 });
        }
    };
    LocalSet::new().run_until(serve).await
}

/// A worker with so many children, each of which has `tasks` at most.
pub(crate) async fn children(address: &str, count: usize, tasks: usize) -> io::Result<()> {
    let desk = Desk::new(usize::MAX);
    let serve = async {
        let mut running = Vec::new();
        for _ in 0..count {
            let (child, stream) = start_child()?;
            running.push(child);
            let (read, write) = stream.into_split();
            attach(&desk, read, write, tasks);
        }
        let (read, write) = dial(address, WORKER).await?.into_split();
        attach(&desk, read, write, 0);
        announce("ready");
        std::future::pending().await
    };
    LocalSet::new().run_until(serve).await
}
