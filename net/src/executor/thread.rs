//! Attempts on threads of this process: for tasks of microseconds, without isolation.
//!
//! A thread cannot be stopped from outside. `Terminate` drops what has not begun, and what has begun
//! keeps its slot until it is done; only then does `Exited` answer. `Kill` leaves the thread to itself:
//! its result is dropped, and another takes its slot, so that limits of time hold. At most so many are
//! left so at a time; beyond that a slot waits for its thread. A task that panics fails; one that aborts
//! takes the worker with it.

use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use argon_core::limits::CAPACITY_MAX;
use argon_core::name::Name;
use argon_core::offer::Offer;
use argon_core::payload::Payload;
use argon_core::task::ExitCause;
use argon_core::worker::{Job, PoolInput, PoolOutput, RunEnd, SlotLife};
use nix::sys::signal::Signal;
use tokio::time::{Sleep, sleep};

use super::Executor;
use crate::runtime::{TaskFailure, catch};
use crate::text::cut_error;
use crate::yielding::before_sleep;

/// What threads run: the task's name and payload in, its result out.
pub type Handler = dyn Fn(&Name, Payload) -> Result<Payload, TaskFailure> + Send + Sync;

/// A thread calls for its results to be collected when it has nothing left to do, or has done
/// this much, or has taken this long since it last called.
const DONE_MAX: usize = 256;
const DONE_AFTER: Duration = Duration::from_micros(100);
/// Results are collected at least so often while others of their slot are to come: the next may
/// take for ever.
const COLLECT_EVERY: Duration = Duration::from_millis(1);

/// Most threads that are left to themselves at a time.
const LEFT_MAX: usize = 64;

/// The end of a slot that nobody hurries.
const RETIRED: ExitCause = ExitCause::Exit(0);

/// Runs attempts on threads, one for each slot.
pub struct ThreadExecutor {
    offer: Offer,
    handler: Arc<Handler>,
    places: Vec<Place>,
    /// Places that were given something since the last poll.
    touched: Vec<usize>,
    call: Arc<Call>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Desks of threads that were left to themselves; a thread that ends gives its hold up.
    left: Vec<Arc<Desk>>,
}

impl std::fmt::Debug for ThreadExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadExecutor")
            .field("threads", &self.places.len())
            .finish_non_exhaustive()
    }
}

/// A slot, as the executor sees it.
#[derive(Default)]
struct Place {
    /// Given since the last poll.
    orders: Vec<Order>,
    desk: Option<Arc<Desk>>,
    /// Attempts given and not known to be done.
    running: usize,
}

/// What a thread is told.
enum Order {
    Begin(SlotLife),
    Run(SlotLife, Job),
    End(SlotLife, ExitCause),
    Kill(SlotLife),
    Leave,
}

/// Where a thread gets its orders and leaves its results. As long as what core lets be outstanding at a slot.
#[derive(Default)]
struct Desk {
    orders: Mutex<VecDeque<Order>>,
    filled: Condvar,
    done: Mutex<Vec<PoolInput>>,
    /// Set when an order has come that does not wait for those before it.
    hurry: AtomicBool,
}

/// Whom threads wake when there is something to collect.
#[derive(Default)]
struct Call {
    waker: Mutex<Option<Waker>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Call {
    fn call(&self) {
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn register(&self, cx: &Context<'_>) {
        match &mut *lock(&self.waker) {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
    }
}

impl ThreadExecutor {
    /// An executor of `handler`, which runs what `offer` says. Threads are started as slots are.
    pub fn new(
        offer: Offer,
        handler: impl Fn(&Name, Payload) -> Result<Payload, TaskFailure> + Send + Sync + 'static,
    ) -> Self {
        Self {
            offer,
            handler: Arc::new(handler),
            places: Vec::new(),
            touched: Vec::new(),
            call: Arc::default(),
            timer: None,
            left: Vec::new(),
        }
    }

    fn order(&mut self, slot: SlotLife, order: Order) {
        let index = slot.slot.0 as usize;
        debug_assert!(slot.slot.0 < CAPACITY_MAX, "no slot {}", slot.slot);
        if self.places.len() <= index {
            self.places.resize_with(index + 1, Place::default);
        }
        let place = &mut self.places[index];
        place.running += usize::from(matches!(order, Order::Run(..)));
        let orders = &mut place.orders;
        if orders.is_empty() {
            self.touched.push(index);
        }
        orders.push(order);
    }

    /// The desk of a place, with a thread at it.
    fn desk(&mut self, index: usize) -> std::io::Result<&Desk> {
        let place = &mut self.places[index];
        if place.desk.is_none() {
            let desk = Arc::<Desk>::default();
            let (handler, call) = (Arc::clone(&self.handler), Arc::clone(&self.call));
            let hand = Hand {
                offer: self.offer.clone(),
                desk: Arc::clone(&desk),
                handler,
                call,
            };
            thread::Builder::new()
                .name(format!("argon-slot-{index}"))
                .spawn(|| hand.work())?;
            place.desk = Some(desk);
        }
        Ok(place.desk.as_ref().expect("made above"))
    }

    fn hand_out(&mut self, events: &mut Vec<PoolInput>) {
        for index in mem::take(&mut self.touched) {
            let mut orders = mem::take(&mut self.places[index].orders);
            self.kill(index, &mut orders, events);
            if orders.is_empty() {
                self.places[index].orders = orders;
                continue;
            }
            match self.desk(index) {
                Ok(desk) => {
                    let ends = |order: &Order| matches!(order, Order::End(..));
                    let hurry = orders.iter().any(ends);
                    lock(&desk.orders).extend(orders.drain(..));
                    if hurry {
                        desk.hurry.store(true, Ordering::Release);
                    }
                    desk.filled.notify_one();
                }
                Err(error) => {
                    self.places[index].running = 0;
                    events.extend(orders.drain(..).filter_map(|order| match order {
                        Order::Begin(slot) => Some(PoolInput::Exited {
                            slot,
                            cause: ExitCause::NotStarted,
                            stderr: format!("cannot start a thread: {error}"),
                        }),
                        _ => None,
                    }));
                }
            }
            // Given back for its space.
            self.places[index].orders = orders;
        }
    }
}

impl ThreadExecutor {
    /// Carries the kill among these orders out, if there is one: what comes before it is dropped.
    fn kill(&mut self, index: usize, orders: &mut Vec<Order>, events: &mut Vec<PoolInput>) {
        let is_kill = |order: &Order| matches!(order, Order::Kill(_));
        let Some(at) = orders.iter().rposition(is_kill) else {
            return;
        };
        let Order::Kill(slot) = orders[at] else {
            return;
        };
        let place = &mut self.places[index];
        // It may have done it, or ended, meanwhile.
        place.collect(events);
        self.left.retain(|desk| Arc::strong_count(desk) > 1);
        if place.running == 0 || self.left.len() >= LEFT_MAX {
            orders[at] = Order::End(slot, ExitCause::Signal(Signal::SIGKILL as i32));
            return;
        }
        orders.drain(..=at);
        place.running = 0;
        if let Some(desk) = place.desk.take() {
            desk.dismiss();
            self.left.push(desk);
        }
        events.push(PoolInput::Exited {
            slot,
            cause: ExitCause::Signal(Signal::SIGKILL as i32),
            stderr: String::new(),
        });
    }

    fn collect(&mut self, events: &mut Vec<PoolInput>) {
        for place in &mut self.places {
            place.collect(events);
        }
    }
}

impl Place {
    fn collect(&mut self, events: &mut Vec<PoolInput>) {
        let Some(desk) = &self.desk else {
            return;
        };
        let start = events.len();
        events.append(&mut lock(&desk.done));
        for event in &events[start..] {
            match event {
                PoolInput::Done { .. } => self.running = self.running.saturating_sub(1),
                // What had not begun never will.
                PoolInput::Exited { .. } => self.running = 0,
                PoolInput::Ready { .. } | PoolInput::Memory { .. } => {}
            }
        }
    }
}

impl Desk {
    /// The thread ends when it has done what it is at.
    fn dismiss(&self) {
        let mut orders = lock(&self.orders);
        orders.clear();
        orders.push_back(Order::Leave);
        self.hurry.store(true, Ordering::Release);
        self.filled.notify_one();
    }
}

impl Executor for ThreadExecutor {
    fn execute(&mut self, action: PoolOutput) {
        let signal = |signal| ExitCause::Signal(signal as i32);
        match action {
            PoolOutput::Spawn { slot } => self.order(slot, Order::Begin(slot)),
            PoolOutput::Run { slot, job } => self.order(slot, Order::Run(slot, job)),
            PoolOutput::Terminate { slot } => {
                self.order(slot, Order::End(slot, signal(Signal::SIGTERM)));
            }
            PoolOutput::Kill { slot } => self.order(slot, Order::Kill(slot)),
            PoolOutput::Retire { slot } => self.order(slot, Order::End(slot, RETIRED)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<PoolInput>) -> Poll<()> {
        let before = events.len();
        self.hand_out(events);
        // Before collecting, so that what is done meanwhile is called for.
        self.call.register(cx);
        self.collect(events);
        // One attempt alone has none before it that waits.
        if self.places.iter().any(|place| place.running > 1) {
            let new = || Box::pin(sleep(COLLECT_EVERY));
            while self
                .timer
                .get_or_insert_with(new)
                .as_mut()
                .poll(cx)
                .is_ready()
            {
                self.timer = None;
            }
        } else {
            self.timer = None;
        }
        if events.len() > before {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for ThreadExecutor {
    /// Threads end when they have done what they are at; nobody waits for them.
    fn drop(&mut self) {
        for desk in self.places.iter().filter_map(|place| place.desk.as_ref()) {
            desk.dismiss();
        }
    }
}

/// A thread's own things.
struct Hand {
    offer: Offer,
    desk: Arc<Desk>,
    handler: Arc<Handler>,
    call: Arc<Call>,
}

impl Hand {
    fn work(self) {
        let mut life = None;
        let mut orders = VecDeque::new();
        let mut now = Instant::now();
        let mut told = now;
        let mut untold = 0;
        loop {
            if orders.is_empty() {
                self.call.call();
                untold = 0;
                self.wait(&mut orders);
                now = Instant::now();
                told = now;
            }
            if self.desk.hurry.swap(false, Ordering::Acquire) {
                self.hurry(life, &mut orders);
            }
            match orders.pop_front() {
                Some(Order::Begin(slot)) => {
                    life = Some(slot);
                    self.tell(PoolInput::Ready {
                        slot,
                        offer: self.offer.clone(),
                    });
                }
                Some(Order::Run(slot, job)) if life == Some(slot) => {
                    let begun = now;
                    let attempt = job.attempt;
                    let (end, payload) = self.run(job);
                    now = Instant::now();
                    let ran = now - begun;
                    self.tell(PoolInput::Done {
                        slot,
                        attempt,
                        ran,
                        end,
                        payload,
                    });
                }
                Some(Order::End(slot, cause)) if life == Some(slot) => {
                    life = None;
                    let stderr = String::new();
                    self.tell(PoolInput::Exited {
                        slot,
                        cause,
                        stderr,
                    });
                }
                Some(Order::Leave) => return,
                // Of a life that has ended; kills are carried out before they come here.
                Some(Order::Run(..) | Order::End(..) | Order::Kill(_)) | None => {}
            }
            untold += 1;
            if untold >= DONE_MAX || now - told >= DONE_AFTER {
                untold = 0;
                told = now;
                self.call.call();
            }
        }
    }

    fn tell(&self, event: PoolInput) {
        lock(&self.desk.done).push(event);
    }

    fn wait(&self, orders: &mut VecDeque<Order>) {
        before_sleep();
        let mut desk = lock(&self.desk.orders);
        while desk.is_empty() {
            desk = self
                .desk
                .filled
                .wait(desk)
                .unwrap_or_else(PoisonError::into_inner);
        }
        mem::swap(&mut *desk, orders);
    }

    fn run(&self, job: Job) -> (RunEnd, Payload) {
        match catch(|| (self.handler)(&job.name, job.payload)) {
            Ok(result) => (RunEnd::Completed, result),
            Err(TaskFailure { mut error, detail }) => {
                cut_error(&mut error);
                (RunEnd::Failed(error), detail)
            }
        }
    }

    /// Lets an end overtake what has not begun.
    fn hurry(&self, life: Option<SlotLife>, orders: &mut VecDeque<Order>) {
        orders.append(&mut lock(&self.desk.orders));
        let end = orders.iter().position(|order| match order {
            Order::End(slot, cause) => Some(*slot) == life && *cause != RETIRED,
            Order::Leave => true,
            Order::Begin(_) | Order::Run(..) | Order::Kill(_) => false,
        });
        orders.drain(..end.unwrap_or(0));
    }
}
