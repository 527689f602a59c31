//! Tasks of a simulated process: each gets its turns only while its process is neither paused nor
//! dead.
//!
//! Death drops the task at its next turn, inside its own runtime, so that what its destructors do
//! (connections close, the driver forgets them) happens at a virtual instant and in an order that
//! depends on nothing but the seed. turmoil's own `crash` drops tasks outside of any runtime.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::scene::{Mode, Scene};
use crate::options::Host;

thread_local! {
    /// Whose turn it is.
    static CURRENT: Cell<Option<Host>> = const { Cell::new(None) };
}

/// The host whose turn it is on this thread.
pub(super) fn current() -> Option<Host> {
    CURRENT.with(Cell::get)
}

type Inside = Pin<Box<dyn Future<Output = ()>>>;

/// A task of one life of a process.
pub(super) struct Guarded {
    scene: Arc<Scene>,
    host: Host,
    life: usize,
    number: u64,
    /// Goes on while the process stands still, as its pool processes do.
    pausable: bool,
    inside: Option<Inside>,
}

impl Guarded {
    pub(super) fn new(
        scene: &Arc<Scene>,
        host: Host,
        life: usize,
        pausable: bool,
        task: impl Future<Output = ()> + 'static,
    ) -> Self {
        let number = scene.lock().process(host, life).map_or(0, |process| {
            process.next_task += 1;
            process.next_task
        });
        Self {
            scene: Arc::clone(scene),
            host,
            life,
            number,
            pausable,
            inside: Some(Box::pin(task)),
        }
    }

    fn mode(&self, cx: &Context<'_>) -> Mode {
        let mut inner = self.scene.lock();
        let Some(process) = inner.process(self.host, self.life) else {
            return Mode::Dead;
        };
        if process.mode != Mode::Dead {
            let waker = process.wakers.entry(self.number);
            waker
                .or_insert_with(|| cx.waker().clone())
                .clone_from(cx.waker());
        }
        process.mode
    }

    fn finish(&mut self) {
        self.inside = None;
        if let Some(process) = self.scene.lock().process(self.host, self.life) {
            process.wakers.remove(&self.number);
        }
    }
}

impl Future for Guarded {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let _turn = Turn::of(self.host);
        match self.mode(cx) {
            Mode::Dead => {
                self.finish();
                return Poll::Ready(());
            }
            Mode::Paused(_) if self.pausable => return Poll::Pending,
            Mode::Paused(_) | Mode::Running => {}
        }
        let polled = match &mut self.inside {
            Some(inside) => inside.as_mut().poll(cx),
            None => Poll::Ready(()),
        };
        if polled.is_ready() {
            self.finish();
        }
        polled
    }
}

/// Says whose turn it is, until it is over.
pub(super) struct Turn(Option<Host>);

impl Turn {
    pub(super) fn of(host: Host) -> Self {
        Self(CURRENT.with(|current| current.replace(Some(host))))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        CURRENT.with(|current| current.set(self.0));
    }
}
