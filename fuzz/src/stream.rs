//! Streams in memory that never wait for the world: one that says what it was told to say, and a
//! pair with somebody between the two ends who changes what passes.

use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

/// Most bytes that anybody says in a handshake; more is somebody who does not stop.
const SAID_MAX: usize = 64 * 1024;

/// The other side says these bytes, some at a time, then ends; what it is told is counted.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    rest: &'a [u8],
    piece: usize,
    told: usize,
}

impl<'a> Script<'a> {
    pub(crate) fn new(bytes: &'a [u8], piece: usize) -> Self {
        Self {
            rest: bytes,
            piece: piece.max(1),
            told: 0,
        }
    }
}

impl AsyncRead for Script<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let count = this.piece.min(this.rest.len()).min(buf.remaining());
        let (now, later) = this.rest.split_at(count);
        buf.put_slice(now);
        this.rest = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.told += buf.len();
        assert!(this.told <= SAID_MAX, "it says too much to a stranger");
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// For futures that set a time limit: they need its clock, although they never wait for it.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_current_thread();
    builder
        .enable_time()
        .build()
        .expect("a clock needs no resource")
});

/// What a future comes to that has nothing to wait for.
pub(crate) fn at_once<F: Future>(future: F) -> F::Output {
    let _entered = RUNTIME.enter();
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits, although all has been said"),
    }
}

/// A change of the bytes on their way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edit {
    /// Where, in bytes from the start.
    pub(crate) at: usize,
    pub(crate) change: Change,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Xor(u8),
    Insert(u8),
    Drop(u8),
    Repeat(u8),
    End,
}

/// One direction.
#[derive(Debug, Default)]
struct Wire {
    bytes: Vec<u8>,
    taken: usize,
    /// Bytes that were put in at the other end.
    said: Vec<u8>,
    edits: Vec<Edit>,
    dropping: usize,
    ended: bool,
}

impl Wire {
    fn put(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let at = self.said.len();
            self.said.push(byte);
            if self.ended {
                continue;
            }
            let mut byte = byte;
            let mut copies = 1;
            for edit in self.edits.iter().filter(|edit| edit.at == at) {
                match edit.change {
                    Change::Xor(mask) => byte ^= mask,
                    Change::Insert(other) => self.bytes.push(other),
                    Change::Drop(count) => self.dropping = 1 + usize::from(count),
                    Change::Repeat(count) => copies += usize::from(count),
                    Change::End => self.ended = true,
                }
            }
            if self.dropping > 0 {
                self.dropping -= 1;
            } else if !self.ended {
                self.bytes.extend(std::iter::repeat_n(byte, copies));
            }
        }
        assert!(self.said.len() <= SAID_MAX, "a handshake that does not end");
    }
}

/// One end of a pair; the other sees it end when it is dropped.
#[derive(Debug)]
pub(crate) struct Pipe {
    from: Rc<RefCell<Wire>>,
    to: Rc<RefCell<Wire>>,
    piece: usize,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.to.borrow_mut().ended = true;
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.from.borrow_mut();
        let waiting = &wire.bytes[wire.taken..];
        if waiting.is_empty() {
            return if wire.ended {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            };
        }
        let count = self.piece.min(waiting.len()).min(buf.remaining());
        buf.put_slice(&waiting[..count]);
        wire.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.to.borrow_mut().put(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.to.borrow_mut().ended = true;
        Poll::Ready(Ok(()))
    }
}

/// What came of a meeting: of either side, and the bytes that each said.
pub(crate) struct Met<A, B> {
    pub(crate) left: A,
    pub(crate) right: B,
    pub(crate) left_said: Vec<u8>,
    pub(crate) right_said: Vec<u8>,
}

/// Lets two sides talk until both have come to an end, with `edits` to what the left and the right
/// one says. When both wait for the other, the connection ends.
pub(crate) fn meet<A: Future, B: Future>(
    left: impl FnOnce(Pipe) -> A,
    right: impl FnOnce(Pipe) -> B,
    edits: [Vec<Edit>; 2],
    piece: usize,
) -> Met<A::Output, B::Output> {
    let [to_right, to_left] = edits.map(|edits| {
        let wire = Wire {
            edits,
            ..Wire::default()
        };
        Rc::new(RefCell::new(wire))
    });
    let piece = piece.max(1);
    let end = |from: &Rc<RefCell<Wire>>, to: &Rc<RefCell<Wire>>| Pipe {
        from: Rc::clone(from),
        to: Rc::clone(to),
        piece,
    };
    let _entered = RUNTIME.enter();
    let mut cx = Context::from_waker(Waker::noop());
    let mut first = Box::pin(left(end(&to_left, &to_right)));
    let mut second = Box::pin(right(end(&to_right, &to_left)));
    let (mut left, mut right) = (None, None);
    let mut was = None;
    while left.is_none() || right.is_none() {
        if left.is_none()
            && let Poll::Ready(output) = first.as_mut().poll(&mut cx)
        {
            left = Some(output);
        }
        if right.is_none()
            && let Poll::Ready(output) = second.as_mut().poll(&mut cx)
        {
            right = Some(output);
        }
        let count = |wire: &RefCell<Wire>| {
            let wire = wire.borrow();
            (wire.said.len(), wire.taken, wire.ended)
        };
        let is = (
            left.is_some(),
            right.is_some(),
            count(&to_left),
            count(&to_right),
        );
        if was == Some(is) {
            let over = is.2.2 && is.3.2;
            assert!(!over, "it waits on a connection that has ended");
            to_left.borrow_mut().ended = true;
            to_right.borrow_mut().ended = true;
        }
        was = Some(is);
    }
    let said = |wire: &RefCell<Wire>| wire.borrow().said.clone();
    Met {
        left: left.expect("both have ended"),
        right: right.expect("both have ended"),
        left_said: said(&to_right),
        right_said: said(&to_left),
    }
}
