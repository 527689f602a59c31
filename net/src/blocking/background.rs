//! A thread that looks after connections while others wait for them.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::runtime::{Builder, Handle};

use crate::error::{Error, StartError};
use crate::yielding::yield_before_sleep;

/// The runtime of that thread, once there is one. It lives as long as the process.
static RUNTIME: Mutex<Option<Handle>> = Mutex::new(None);

/// The runtime of the thread in the background, which is started if need be.
fn runtime() -> Result<Handle, Error> {
    let mut slot = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*slot {
        return Ok(handle.clone());
    }
    let runtime = yield_before_sleep(Builder::new_current_thread().enable_all())
        .build()
        .map_err(StartError::Thread)?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("argon-background".to_owned())
        .spawn(move || runtime.block_on(pending::<()>()))
        .map_err(StartError::Thread)?;
    *slot = Some(handle.clone());
    Ok(handle)
}

/// Runs something in the background, and waits for it here.
pub(super) fn run<F>(future: F) -> Result<F::Output, Error>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (sender, receiver) = mpsc::channel();
    runtime()?.spawn(async move {
        // Whoever asked waits below.
        let _ = sender.send(future.await);
    });
    // Only if it panicked does nothing come.
    receiver.recv().map_err(|_| Error::Closed)
}

/// Waits for something here that needs no runtime, since it is looked after in the background.
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        thread::park();
    }
}
