//! Drives a client or a worker: one task that owns its connection and its endpoint.

use std::future::{Future, poll_fn};
use std::ops::DerefMut;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use argon_core::Machine;
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::message::Tagged;
use argon_core::time::Instant;
use tokio::task::yield_now;
use tokio::time::{Sleep, sleep_until};

use super::clock::Clock;
use super::uplink::Uplink;
use super::{Rest, handle_timeouts};
use crate::link::LinkState;
use crate::transport::Transport;

/// Turns in one poll; then others get theirs.
const STEPS_PER_POLL: usize = 8;
/// Steps by which waiting input may delay a time-out.
const STEPS_BEFORE_TIMEOUT: usize = 16;

/// What a machine that keeps one connection is driven with besides that connection.
pub(crate) trait Endpoint {
    /// The machine.
    type Machine: Machine;
    /// What peers of its sort are told.
    type Told: Tagged;
    /// What is around it: news for it, and what its outputs are about.
    type Io;

    /// Lets the rest of the program in. True if the machine must take a step.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool;

    /// The machine, for as long as nobody else needs it, and what is around it.
    fn parts(&mut self) -> (impl DerefMut<Target = Self::Machine>, &mut Self::Io);

    /// Tells the machine what the last poll brought.
    fn tell(io: &mut Self::Io, machine: &mut Self::Machine, now: Instant);

    /// A fact about the connection.
    fn fact(input: LinkInput<Self::Told>) -> <Self::Machine as Machine>::Input;

    /// Carries out an output, unless it is about the connection. May not take long: others may
    /// wait for the machine.
    fn carry_out(io: &mut Self::Io, output: <Self::Machine as Machine>::Output) -> CarriedOut;

    /// The outputs of a step are carried out. True if that woke somebody who may have something
    /// to say.
    fn turned(&mut self, link: Option<LinkState>) -> bool;
}

/// What became of an output.
pub(crate) enum CarriedOut {
    /// It is done.
    Done,
    /// It is about the connection.
    Link(LinkOutput),
    /// It says that the machine has left.
    Stopped,
}

/// The loop.
pub(crate) struct PeerDriver<T: Transport, S: Endpoint> {
    clock: Clock,
    uplink: Uplink<T, S::Told>,
    endpoint: S,
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    /// Steps by which a time-out was delayed.
    put_off: usize,
    /// What the last step wants sent waits for this one.
    held_back: bool,
    rest: Rest,
    link_facts: Vec<LinkInput<S::Told>>,
}

enum Step {
    /// There may be more to do at once.
    Busy,
    /// Other tasks of the runtime go on before the next step.
    Yield,
    /// Whoever has news will wake us.
    Idle,
    /// The machine has left.
    Stopped,
}

impl<T: Transport, S: Endpoint> PeerDriver<T, S> {
    /// A driver for the machine of `endpoint`, which was made at the clock's zero.
    pub(crate) fn new(clock: Clock, uplink: Uplink<T, S::Told>, endpoint: S) -> Self {
        Self {
            clock,
            uplink,
            endpoint,
            sleep: Box::pin(sleep_until(clock.when(Instant::ZERO))),
            armed: None,
            put_off: 0,
            held_back: false,
            rest: Rest::default(),
            link_facts: Vec::new(),
        }
    }

    /// Drives until the machine has left.
    pub(crate) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        self.uplink.finish().await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..STEPS_PER_POLL {
            match self.step(cx) {
                Step::Busy => {}
                Step::Yield => break,
                Step::Idle => return Poll::Pending,
                Step::Stopped => return Poll::Ready(()),
            }
        }
        // Behind all that can run now, the runtime's first future and its look at sockets too, which
        // a task that only wakes itself would overtake. It wakes us.
        let _ = pin!(yield_now()).poll(cx);
        Poll::Pending
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Step {
        // Tasks of this program that the last step woke have submitted by now. Their submissions go out before more is read: otherwise
        // whoever is at the other end first has nothing to do, and then a lot.
        let held_back = std::mem::take(&mut self.held_back);
        self.uplink.poll(cx, !held_back, &mut self.link_facts);
        let news = self.endpoint.poll(cx);
        let mut fed = news || !self.link_facts.is_empty();

        let now = self.clock.now();
        let next;
        let (mut timed, mut acted, mut stopped) = (false, false, false);
        {
            let (mut machine, io) = self.endpoint.parts();
            for fact in self.link_facts.drain(..) {
                machine.handle_input(now, S::fact(fact));
            }
            // Straight from the buffer into the machine: at millions of messages a second, what
            // a list of them between the two costs is seen.
            while let Some(fact) = self.uplink.next() {
                fed = true;
                machine.handle_input(now, S::fact(fact));
            }
            if news {
                S::tell(io, &mut machine, now);
            }
            if self.uplink.has_more() && self.put_off < STEPS_BEFORE_TIMEOUT {
                self.put_off += 1;
            } else {
                self.put_off = 0;
                timed = handle_timeouts(&mut *machine, now);
            }
            if fed || timed {
                machine.settle(now);
            }
            while let Some(output) = machine.poll_output() {
                acted = true;
                match S::carry_out(io, output) {
                    CarriedOut::Done => {}
                    CarriedOut::Link(output) => self.uplink.handle(output),
                    CarriedOut::Stopped => stopped = true,
                }
            }
            if timed {
                self.rest.check(&*machine, now);
            }
            next = machine.poll_timeout().map(|next| next.at);
        }

        // Those who were waiting for an outcome often have the next task at hand. What they say
        // goes out with what this step wants sent, in one write. It waits for them once.
        let woke = self.endpoint.turned(self.uplink.take_change());
        if woke && !held_back && !stopped {
            self.held_back = true;
            return Step::Yield;
        }
        self.uplink.flush(cx, now, &mut self.link_facts);
        if stopped {
            self.endpoint.turned(self.uplink.take_change());
            return Step::Stopped;
        }
        let rung = self.poll_timer(cx, next);
        if held_back {
            return Step::Busy;
        }
        if fed || timed || acted || rung || self.uplink.has_more() || !self.link_facts.is_empty() {
            Step::Busy
        } else {
            Step::Idle
        }
    }

    /// Arms the timer for `next`, disarms it on `None`; tells whether it rang.
    fn poll_timer(&mut self, cx: &mut Context<'_>, next: Option<Instant>) -> bool {
        let Some(at) = next else {
            self.armed = None;
            return false;
        };
        if self.armed != next {
            self.armed = next;
            self.sleep.as_mut().reset(self.clock.when(at));
        }
        self.sleep.as_mut().poll(cx).is_ready()
    }
}
