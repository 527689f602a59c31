//! One call at a time: waiting for its result, or sending it off.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use argon_core::ids::TaskId;
use argon_core::name::Name;

use super::{Client, Ended, Submission};
use crate::call::{Call, Read};
use crate::error::Error;

impl Client {
    /// Runs a call somewhere and waits for its result. Dropping the future before it is ready
    /// cancels the task.
    ///
    /// ```standalone_crate
    /// #[argon::task]
    /// async fn add(x: i64, y: i64) -> i64 {
    ///     x + y
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), argon::Error> {
    /// # let local = argon::local().await?;
    /// # let client = local.client();
    /// assert_eq!(client.process(add(2, 3)).await?, 5);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If there is no result; see [`Error`].
    pub fn process<T>(
        &self,
        call: Call<T>,
    ) -> impl Future<Output = Result<T, Error>> + Send + use<T> {
        let client = self.clone();
        async move { client.defer(call).await?.cancel_on_drop().await }
    }

    /// Sends a call off, as soon as there is room, and gives a future of its result.
    ///
    /// Whatever becomes of the [`Deferred`], the task runs: dropping it only drops the result.
    /// Each takes up one of the client's places until it is awaited or dropped, so do not hold
    /// more than [`in_flight`](super::ClientBuilder::in_flight) of them: for many calls there is
    /// [`map`](Self::map).
    ///
    /// ```standalone_crate
    /// # #[argon::task]
    /// # async fn add(x: i64, y: i64) -> i64 { x + y }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), argon::Error> {
    /// # let local = argon::local().await?;
    /// # let client = local.client();
    /// let sum = client.defer(add(2, 3)).await?;
    /// // ... and meanwhile something else.
    /// assert_eq!(sum.await?, 5);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the call can never be sent, or the client is closed.
    pub async fn defer<T>(&self, call: Call<T>) -> Result<Deferred<T>, Error> {
        let (spec, read) = call.into_parts()?;
        let (name, bytes) = (spec.name.clone(), spec.payload.len());
        match self.submit(spec).await {
            Ok(submission) => Ok(Deferred::new(submission, name, bytes, read)),
            Err(error) => Err(Error::refused(name.as_str(), error)),
        }
    }
}

/// What the end of a task with `bytes` of arguments is to its caller.
pub(super) fn read_end<T>(
    ended: Ended,
    task: &Name,
    bytes: usize,
    read: Read<T>,
) -> Result<T, Error> {
    let payload = Error::of(task.as_str(), bytes, ended.outcome, ended.payload)?;
    read(payload).map_err(|problem| Error::Result {
        task: task.as_str().to_owned(),
        problem: problem.to_string(),
    })
}

/// A call that was sent off; a future of its result.
///
/// Dropping it lets the task run and drops its result; [`cancel`](Self::cancel) it first if it is
/// not to run.
#[must_use = "the result of a call whose `Deferred` is dropped is dropped too"]
pub struct Deferred<T> {
    submission: Submission,
    task: Name,
    /// Of its arguments.
    bytes: usize,
    read: Read<T>,
    cancel_on_drop: bool,
}

impl<T> fmt::Debug for Deferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred")
            .field("id", &self.id())
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}

impl<T> Deferred<T> {
    pub(super) fn new(submission: Submission, task: Name, bytes: usize, read: Read<T>) -> Self {
        Self {
            submission,
            task,
            bytes,
            read,
            cancel_on_drop: false,
        }
    }

    /// Lets the task end with this.
    pub(super) fn cancel_on_drop(mut self) -> Self {
        self.cancel_on_drop = true;
        self
    }

    /// The task's id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.submission.id()
    }

    /// Whether the task has ended, so that awaiting it does not wait.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.submission.is_finished()
    }

    /// Asks for the task's end. The future is then [`Error::Cancelled`], or whatever came sooner.
    pub fn cancel(&self) {
        self.submission.cancel();
    }
}

impl<T> Future for Deferred<T> {
    type Output = Result<T, Error>;

    /// # Panics
    /// If polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(ended) = Pin::new(&mut self.submission).poll(cx) else {
            return Poll::Pending;
        };
        Poll::Ready(read_end(ended, &self.task, self.bytes, self.read))
    }
}

impl<T> Drop for Deferred<T> {
    fn drop(&mut self) {
        if self.cancel_on_drop {
            // Of a task that has ended nothing is left to cancel.
            self.submission.cancel();
        }
    }
}
