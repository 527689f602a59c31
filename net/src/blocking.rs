//! The same for programs without async: every call waits on the thread that makes it.
//!
//! Needs no tokio runtime of the program: connections are looked after by a thread in the
//! background, which all blocking clients share. Not for use inside of async code, whose thread it
//! would hold up.
//!
//! ```no_run
//! #[argon::task]
//! fn square(x: u64) -> u64 {
//!     x * x
//! }
//!
//! fn main() -> Result<(), argon::Error> {
//!     let client = argon::blocking::Client::connect("127.0.0.1:8000")?;
//!     assert_eq!(client.process(square(3))?, 9);
//!     let squares: Result<Vec<u64>, _> = client.map((0..1_000).map(square)).collect();
//!     assert_eq!(squares?[31], 961);
//!     Ok(())
//! }
//! ```

mod background;

use std::fmt;
use std::future::{Future, IntoFuture};

use argon_core::ids::TaskId;

use self::background::{run, wait};
use crate::call::Call;
use crate::client::{self, Addresses, Calls, ClientBuilder};
use crate::error::Error;
use crate::link::LinkState;
use crate::tasks::Tasks;

/// Sends tasks to a manager, and waits on the calling thread. Clones are handles of the same
/// client. See [`argon::Client`](crate::Client), which it is built on.
#[derive(Clone, Debug)]
pub struct Client {
    inner: client::Client,
}

impl ClientBuilder {
    /// Connects, for programs without async.
    ///
    /// # Errors
    /// If the settings make no sense, or no manager lets us in in time.
    pub fn connect_blocking(self) -> Result<Client, Error> {
        let inner = run(self.connect())??;
        Ok(Client { inner })
    }
}

impl Client {
    /// Connects to a manager at `host:port`, or to the first that answers of several, and fails
    /// over to the others when that is lost. For other settings there is
    /// [`ClientBuilder::connect_blocking`].
    ///
    /// # Errors
    /// If that makes no sense, or no manager lets us in within ten seconds.
    pub fn connect(managers: impl Into<Addresses>) -> Result<Self, Error> {
        client::Client::builder()
            .managers(managers)
            .connect_blocking()
    }

    /// Runs a call somewhere and waits for its result.
    ///
    /// # Errors
    /// If there is no result; see [`Error`].
    pub fn process<T>(&self, call: Call<T>) -> Result<T, Error> {
        wait(self.inner.process(call))
    }

    /// Sends a call off, as soon as there is room, to wait for its result later. Whatever becomes
    /// of the [`Deferred`], the task runs: dropping it only drops the result. Do not hold more of
    /// them than [`ClientBuilder::in_flight`] says.
    pub fn defer<T>(&self, call: Call<T>) -> Deferred<T> {
        Deferred(wait(self.inner.defer(call)))
    }

    /// Runs all calls and gives their results in the order of the calls, as an iterator. The
    /// calls may be a lazy iterator without end: at most [`Map::in_flight`] of them are under way
    /// or wait to be taken. A call that fails is an error in its place, and the rest goes on.
    /// Dropping the iterator cancels what has not ended.
    pub fn map<T, I>(&self, calls: I) -> Map<T, I::IntoIter>
    where
        I: IntoIterator<Item = Call<T>>,
    {
        Map(self.inner.map(calls))
    }

    /// The same with results as they come, whichever is first.
    pub fn map_unordered<T, I>(&self, calls: I) -> Map<T, I::IntoIter>
    where
        I: IntoIterator<Item = Call<T>>,
    {
        Map(self.inner.map_unordered(calls))
    }

    /// How the connection to the manager is doing.
    #[must_use]
    pub fn link(&self) -> LinkState {
        self.inner.link()
    }

    /// The client for async code; it lives on the thread in the background.
    #[must_use]
    pub fn to_async(&self) -> client::Client {
        self.inner.clone()
    }

    /// Leaves: what has no outcome yet ends as cancelled, here and at the manager.
    pub fn close(self) {
        wait(self.inner.close());
    }
}

/// A call that was sent off: [`wait`](Self::wait) for its result, or await it in async code.
///
/// Dropping it lets the task run and drops its result.
#[must_use = "the result of a call whose `Deferred` is dropped is dropped too"]
#[derive(Debug)]
pub struct Deferred<T>(Result<client::Deferred<T>, Error>);

impl<T> Deferred<T> {
    pub(crate) fn refused(error: Error) -> Self {
        Self(Err(error))
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// If there is none; see [`Error`].
    pub fn wait(self) -> Result<T, Error> {
        wait(self.0?)
    }

    /// Whether the task has ended, so that [`wait`](Self::wait) does not.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.as_ref().map_or(true, client::Deferred::is_finished)
    }

    /// The task's id, if it was sent.
    #[must_use]
    pub fn id(&self) -> Option<TaskId> {
        self.0.as_ref().ok().map(client::Deferred::id)
    }

    /// Asks for the task's end. Its result is then [`Error::Cancelled`], or whatever came sooner.
    pub fn cancel(&self) {
        if let Ok(deferred) = &self.0 {
            deferred.cancel();
        }
    }
}

impl<T: 'static> IntoFuture for Deferred<T> {
    type Output = Result<T, Error>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.0?.await })
    }
}

/// The results of many calls; an iterator. From [`Client::map`] and [`Client::map_unordered`].
#[must_use = "an iterator does nothing until it is asked"]
pub struct Map<T, I>(client::Map<T, Calls<I>>);

impl<T, I> fmt::Debug for Map<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T, I> Map<T, I> {
    /// Most calls under way, with those whose results wait to be taken; 1,000 if nothing is said.
    pub fn in_flight(self, calls: usize) -> Self {
        Self(self.0.in_flight(calls))
    }
}

impl<T, I: Iterator<Item = Call<T>>> Iterator for Map<T, I> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        wait(self.0.next())
    }
}

/// A whole Argon in this process, as [`argon::Local`](crate::Local), without async.
#[derive(Debug)]
pub struct Local {
    inner: crate::Local,
    client: Client,
}

/// Starts a [`Local`] with all tasks of this program.
///
/// ```standalone_crate
/// #[argon::task]
/// fn add(x: i64, y: i64) -> i64 {
///     x + y
/// }
///
/// # fn main() -> Result<(), argon::Error> {
/// let local = argon::blocking::local()?;
/// assert_eq!(local.client().process(add(2, 3))?, 5);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the program has no tasks, or two with the same name.
pub fn local() -> Result<Local, Error> {
    Local::start(Tasks::all())
}

impl Local {
    /// Starts one with these tasks; see [`tasks!`](crate::tasks).
    ///
    /// # Errors
    /// If there are none, or two with the same name.
    pub fn start(tasks: Tasks) -> Result<Self, Error> {
        let inner = run(crate::Local::start(tasks))??;
        let client = Client {
            inner: inner.client().clone(),
        };
        Ok(Self { inner, client })
    }

    /// The client. Clones of it are of no use when this is dropped.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The same for async code.
    #[must_use]
    pub fn to_async(&self) -> &crate::Local {
        &self.inner
    }
}
