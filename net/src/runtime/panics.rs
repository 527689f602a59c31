//! Tasks that panic fail, and say where.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use argon_core::task::{ErrorKind, TaskError};

thread_local! {
    /// Where the last panic of this thread was, if [`remember_places`] was called.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on, errors made of panics say where they happened. Changes the panic hook of the
/// process (and calls the earlier one), so this is only for programs that run tasks.
pub(crate) fn remember_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let earlier = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PLACE.set(place(info));
            earlier(info);
        }));
    });
}

fn place(info: &PanicHookInfo<'_>) -> String {
    let mut place = info.location().map(ToString::to_string).unwrap_or_default();
    // Taken only if RUST_BACKTRACE asks for it.
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        place = format!("{place}\n{trace}");
    }
    place
}

/// Runs `task`; a panic in it becomes its error.
pub(crate) fn catch<T, E: From<TaskError>>(task: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    // What a task leaves half done when it panics is its own: nothing of ours is in it.
    panic::catch_unwind(AssertUnwindSafe(task)).unwrap_or_else(|panic| {
        let kind = ErrorKind::Raised("panic".to_owned());
        let mut error = TaskError::new(kind, message(&*panic));
        error.backtrace = PLACE.take();
        Err(error.into())
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}
