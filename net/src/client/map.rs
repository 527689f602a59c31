//! Many calls, so many at a time that the cluster is busy and memory is not.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use argon_core::name::Name;
use argon_core::task::TaskSpec;
use futures_core::Stream;

use self::window::{Item, Window};
use super::{Client, Deferred, Submission, Taken};
use crate::call::{Call, Read};
use crate::error::{Error, SubmitError};

mod window;

/// Calls under way at a time, if nothing else is said: enough to hide the way there and back for
/// tasks of microseconds, and a tenth of what a manager queues.
const IN_FLIGHT: usize = 1_000;

impl Client {
    /// Runs all calls and gives their results in the order of the calls, as a stream. The calls
    /// may be a lazy iterator without end: at most [`in_flight`](Map::in_flight) of them are
    /// under way or wait to be taken. A call that fails is an error in its place, and the rest
    /// goes on. Dropping the stream cancels what has not ended.
    ///
    /// ```standalone_crate
    /// #[argon::task]
    /// fn square(x: u64) -> u64 {
    ///     x * x
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), argon::Error> {
    /// # let local = argon::local().await?;
    /// # let client = local.client();
    /// let squares = client.map((0..1_000).map(square)).try_collect().await?;
    /// assert_eq!(squares[31], 961);
    ///
    /// let mut results = client.map((0..1_000).map(square));
    /// while let Some(result) = results.next().await {
    ///     let _ = result?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn map<T, I>(&self, calls: I) -> Map<T, Calls<I::IntoIter>>
    where
        I: IntoIterator<Item = Call<T>>,
    {
        Map::new(self.clone(), Calls(calls.into_iter()))
    }

    /// The same with results as they come, whichever is first. To know which is which, let tasks
    /// return what they were about.
    pub fn map_unordered<T, I>(&self, calls: I) -> Map<T, Calls<I::IntoIter>>
    where
        I: IntoIterator<Item = Call<T>>,
    {
        self.map(calls).unordered()
    }

    /// The same with calls that come from a stream.
    pub fn map_stream<T, S>(&self, calls: S) -> Map<T, Pin<Box<S>>>
    where
        S: Stream<Item = Call<T>>,
    {
        Map::new(self.clone(), Box::pin(calls))
    }
}

/// The calls of an iterator, one at a time.
#[derive(Clone, Debug)]
pub struct Calls<I>(I);

// What is in it is never pinned.
impl<I> Unpin for Calls<I> {}

impl<I: Iterator> Stream for Calls<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }
}

/// The results of many calls; a stream. From [`Client::map`] and its like.
///
/// Dropping it cancels the tasks that have not ended.
#[must_use = "a stream does nothing until it is polled"]
pub struct Map<T, S> {
    client: Client,
    /// `None` when it has given all.
    source: Option<S>,
    window: Window<T>,
    in_flight: usize,
    /// The call that waits for room in the client.
    waiting: Option<Waiting<T>>,
}

/// A call on its way into the client.
struct Waiting<T> {
    taken: Pin<Box<dyn Future<Output = Result<Submission, SubmitError>> + Send>>,
    name: Name,
    bytes: usize,
    read: Read<T>,
}

impl<T> Waiting<T> {
    fn item(&self, result: Result<Submission, SubmitError>) -> Item<T> {
        item(result, &self.name, self.bytes, self.read)
    }
}

fn item<T>(
    result: Result<Submission, SubmitError>,
    name: &Name,
    bytes: usize,
    read: Read<T>,
) -> Item<T> {
    match result {
        Ok(submission) => {
            let deferred = Deferred::new(submission, name.clone(), bytes, read);
            Item::Running(deferred.cancel_on_drop())
        }
        Err(error) => Item::Refused(Error::refused(name.as_str(), error)),
    }
}

impl<T, S> fmt::Debug for Map<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("in_flight", &self.in_flight)
            .field("under_way", &self.window.len())
            .finish_non_exhaustive()
    }
}

impl<T, S> Map<T, S> {
    fn new(client: Client, calls: S) -> Self {
        Self {
            client,
            source: Some(calls),
            window: Window::default(),
            in_flight: IN_FLIGHT,
            waiting: None,
        }
    }

    /// Most calls under way, with those whose results wait to be taken; 1,000 if nothing is said.
    /// Fewer hold less memory where results are large; more help if one task may take as long as
    /// thousands of others and results are to be in order.
    pub fn in_flight(mut self, calls: usize) -> Self {
        self.in_flight = calls.max(1);
        self
    }

    /// From now on results come as tasks end.
    pub fn unordered(mut self) -> Self {
        self.window.forget_order();
        self
    }
}

impl<T, S: Stream<Item = Call<T>> + Unpin> Map<T, S> {
    /// The next result; `None` when there are no more.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// All results, or the first error; the calls after that are cancelled.
    ///
    /// # Errors
    /// If a call has no result.
    pub async fn try_collect(mut self) -> Result<Vec<T>, Error> {
        let mut results = Vec::new();
        while let Some(result) = self.next().await {
            results.push(result?);
        }
        Ok(results)
    }

    /// Takes calls in while there is room for them.
    fn fill(&mut self, cx: &mut Context<'_>) {
        while self.window.len() < self.in_flight {
            if let Some(waiting) = &mut self.waiting {
                let Poll::Ready(result) = waiting.taken.as_mut().poll(cx) else {
                    return;
                };
                let item = waiting.item(result);
                self.waiting = None;
                self.window.push(item);
                continue;
            }
            let Some(source) = &mut self.source else {
                return;
            };
            match Pin::new(source).poll_next(cx) {
                Poll::Ready(Some(call)) => self.take(call),
                Poll::Ready(None) => self.source = None,
                Poll::Pending => return,
            }
        }
    }

    fn take(&mut self, call: Call<T>) {
        let (spec, read) = match call.into_parts() {
            Ok(parts) => parts,
            Err(error) => return self.window.push(Item::Refused(error)),
        };
        let (name, bytes) = (spec.name.clone(), spec.payload.len());
        match self.client.try_submit(spec) {
            Ok(Taken::Now(submission)) => {
                self.window.push(item(Ok(submission), &name, bytes, read));
            }
            Ok(Taken::Later(spec)) => self.wait(spec, name, bytes, read),
            Err(error) => self.window.push(item(Err(error), &name, bytes, read)),
        }
    }

    fn wait(&mut self, spec: TaskSpec, name: Name, bytes: usize, read: Read<T>) {
        let client = self.client.clone();
        self.waiting = Some(Waiting {
            taken: Box::pin(async move { client.submit(spec).await }),
            name,
            bytes,
            read,
        });
    }
}

impl<T, S: Stream<Item = Call<T>> + Unpin> Stream for Map<T, S> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.fill(cx);
        if let Poll::Ready(result) = self.window.poll(cx) {
            return Poll::Ready(Some(result));
        }
        let over = self.source.is_none() && self.waiting.is_none() && self.window.len() == 0;
        if over {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }
}

// Nothing in it is pinned but what has a box of its own.
impl<T, S: Unpin> Unpin for Map<T, S> {}
