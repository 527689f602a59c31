//! Many calls, so many at a time that the cluster is busy and memory is not.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use argon_core::ids::TaskId;
use futures_core::Stream;

use self::under_way::CallsUnderWay;
use super::Client;
use super::completions::For;
use crate::call::Call;
use crate::error::{Error, SubmitError};

mod under_way;

/// Calls under way at a time, if nothing else is said: enough to hide the way there and back for
/// tasks of microseconds, and a tenth of what a manager queues.
const IN_FLIGHT: usize = 1_000;
/// Most calls handed to the client at a time.
const LOT_MAX: usize = 16;

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
    window: CallsUnderWay<T>,
    in_flight: usize,
    /// Calls on their way into the client, behind the one that waits for room.
    batch: VecDeque<Call<T>>,
    /// The call that waits for room in the client.
    waiting: Option<Waiting>,
}

/// A call on its way into the client.
struct Waiting {
    token: usize,
    taken: Pin<Box<dyn Future<Output = Result<TaskId, SubmitError>> + Send>>,
}

impl<T, S> fmt::Debug for Map<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("in_flight", &self.in_flight)
            .field("under_way", &self.len())
            .finish_non_exhaustive()
    }
}

impl<T, S> Map<T, S> {
    fn new(client: Client, calls: S) -> Self {
        let window = CallsUnderWay::new(&client.handle.shared.completions);
        Self {
            client,
            source: Some(calls),
            window,
            in_flight: IN_FLIGHT,
            batch: VecDeque::new(),
            waiting: None,
        }
    }

    /// Calls that are under way, or about to be, and ends that nobody has taken.
    fn len(&self) -> usize {
        self.window.len() + self.batch.len()
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

    /// How many calls are handed over together: so many that it costs little, and so few that
    /// they could as well not be under way.
    fn lot_size(&self) -> usize {
        (self.in_flight / 8).clamp(1, LOT_MAX)
    }

    /// Takes calls in while there is room for them.
    fn fill(&mut self, cx: &mut Context<'_>) {
        loop {
            if let Some(waiting) = &mut self.waiting {
                let Poll::Ready(taken) = waiting.taken.as_mut().poll(cx) else {
                    return;
                };
                self.window.sent(waiting.token, taken);
                self.waiting = None;
            }
            if self.batch.is_empty() {
                self.gather(cx);
            }
            if self.batch.is_empty() {
                return;
            }
            self.hand_over();
        }
    }

    /// Takes the next calls from their source.
    fn gather(&mut self, cx: &mut Context<'_>) {
        let most = self.lot_size();
        while self.batch.len() < most && self.len() < self.in_flight {
            let Some(source) = &mut self.source else {
                return;
            };
            match Pin::new(source).poll_next(cx) {
                Poll::Ready(Some(call)) => self.batch.push_back(call),
                Poll::Ready(None) => self.source = None,
                Poll::Pending => return,
            }
        }
    }

    /// Hands calls to the client until one has to wait for room.
    fn hand_over(&mut self) {
        let mut submit_guard = self.client.handle.shared.submit_guard();
        while let Some(call) = self.batch.pop_front() {
            let (spec, read) = match call.into_parts() {
                Ok(parts) => parts,
                Err(error) => {
                    self.window.push_refused(error);
                    continue;
                }
            };
            let place = self.window.push(&spec, read);
            let (token, whom) = (place.token, For::CompletionQueue(place));
            let admitted = match &mut submit_guard {
                Ok(submit_guard) => submit_guard.admits(&spec),
                Err(error) => Err(*error),
            };
            match (admitted, &mut submit_guard) {
                (Ok(true), Ok(submit_guard)) => {
                    let id = submit_guard.take_in(spec, whom);
                    self.window.sent(token, Ok(id));
                }
                (Ok(_), _) => {
                    let client = self.client.clone();
                    let taken = async move { client.handle.shared.submit_for(spec, whom).await };
                    self.waiting = Some(Waiting {
                        token,
                        taken: Box::pin(taken),
                    });
                    return;
                }
                (Err(error), _) => self.window.sent(token, Err(error)),
            }
        }
    }
}

impl<T, S: Stream<Item = Call<T>> + Unpin> Stream for Map<T, S> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // One that is full is filled again when it pays, or when nothing else is to be done.
        if self.len() + self.lot_size() <= self.in_flight || !self.window.is_ready() {
            self.fill(cx);
        }
        if let Poll::Ready(result) = self.window.poll(cx) {
            return Poll::Ready(Some(result));
        }
        let over = self.source.is_none() && self.len() == 0;
        if over {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }
}

// Nothing in it is pinned but what has a box of its own.
impl<T, S: Unpin> Unpin for Map<T, S> {}
