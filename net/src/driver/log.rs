//! Events of the machines as lines in the log.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use argon_core::event::{CloseReason, Event, Reached};
use argon_core::ids::{ConnId, SlotId};
use argon_core::task::{AttemptLoss, ExitCause};
use argon_core::time::Instant;
use tracing::{debug, info, warn};

use crate::error::refusal;
use crate::text::last_words;

/// Warnings of a kind in one period; more are counted.
const WARNINGS: u32 = 10;
/// News of a kind in one period: of a cluster that starts, a page.
const NEWS: u32 = 100;
/// Of pool processes that were of no use: all run the same program, and what one does the others do.
const USELESS: u32 = 3;
const PERIOD: Duration = Duration::from_secs(10);

/// Kinds of lines that peers, tasks and pool programs can cause as often as they like. Each has a bound
/// of its own: a flood of one hides no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Refused,
    BrokeProtocol,
    SaidNothing,
    DoesNotRead,
    NameTaken,
    WorkerTrouble,
    TaskLost,
    ProcessUseless,
    ProcessEnded,
    NoResources,
    CannotAccept,
    PeerJoined,
    PeerLeft,
    AttemptLost,
}

const KINDS: [Kind; 14] = [
    Kind::Refused,
    Kind::BrokeProtocol,
    Kind::SaidNothing,
    Kind::DoesNotRead,
    Kind::NameTaken,
    Kind::WorkerTrouble,
    Kind::TaskLost,
    Kind::ProcessUseless,
    Kind::ProcessEnded,
    Kind::NoResources,
    Kind::CannotAccept,
    Kind::PeerJoined,
    Kind::PeerLeft,
    Kind::AttemptLost,
];

impl Kind {
    /// That of an event which the log shows without being asked for detail.
    fn of(event: &Event) -> Option<Self> {
        match event {
            Event::PeerRefused { .. } | Event::GroupRefused { .. } => Some(Self::Refused),
            Event::ConnClosed { reason, .. } => match reason {
                CloseReason::Protocol(_) => Some(Self::BrokeProtocol),
                CloseReason::HandshakeTimeout => Some(Self::SaidNothing),
                CloseReason::Silent => Some(Self::PeerLeft),
                CloseReason::Done
                | CloseReason::Refused(_)
                | CloseReason::Superseded
                | CloseReason::MovedOn
                | CloseReason::Stopping => None,
            },
            Event::NameTaken { .. } => Some(Self::NameTaken),
            Event::WorkerLost { .. } | Event::WorkerDoubted { .. } => Some(Self::WorkerTrouble),
            Event::PoisonStopped { .. } | Event::TaskLost { .. } => Some(Self::TaskLost),
            Event::SlotExited {
                cause,
                asked,
                reached,
                ..
            } => Self::of_process(*cause, *asked, *reached),
            Event::Unavailable { .. } => Some(Self::NoResources),
            Event::PeerJoined { .. } => Some(Self::PeerJoined),
            Event::PeerDisconnected { .. } | Event::PeerGone { .. } => Some(Self::PeerLeft),
            Event::AttemptCharged { .. } => Some(Self::AttemptLost),
            Event::AllWait { .. }
            | Event::TasksRejected { .. }
            | Event::TaskReturned { .. }
            | Event::AttemptAdopted { .. }
            | Event::OrphanKept { .. }
            | Event::OrphanMatched { .. }
            | Event::StaleIgnored { .. }
            | Event::Recalled { .. }
            | Event::TaskUnclaimed { .. }
            | Event::SessionResumed { .. }
            | Event::ResultReleasedEarly { .. }
            | Event::DrainStarted
            | Event::LinkUp { .. }
            | Event::LinkDown { .. }
            | Event::LinkRefused { .. }
            | Event::SlotReady { .. }
            | Event::TimeLimitHit { .. }
            | Event::MemoryLimitHit { .. }
            | Event::Retrying { .. }
            | Event::ResultsFull => None,
        }
    }

    /// That of the end of a pool process; `None` if that is in the course of things.
    fn of_process(cause: ExitCause, asked: bool, reached: Reached) -> Option<Self> {
        match reached {
            _ if asked => None,
            Reached::Nothing | Reached::Ready => Some(Self::ProcessUseless),
            Reached::Served => (cause != ExitCause::Exit(0)).then_some(Self::ProcessEnded),
        }
    }

    fn is_news(self) -> bool {
        matches!(self, Self::PeerJoined | Self::PeerLeft | Self::AttemptLost)
    }

    /// Most lines of it in a period.
    fn most(self) -> u32 {
        if self == Self::ProcessUseless {
            USELESS
        } else if self.is_news() {
            NEWS
        } else {
            WARNINGS
        }
    }

    /// Says how many more there were.
    fn count(self, more: u64) {
        match self {
            Self::Refused => warn!("{more} more peers were refused"),
            Self::BrokeProtocol => warn!("{more} more connections broke the protocol"),
            Self::SaidNothing => warn!("{more} more connections said no hello in time"),
            Self::DoesNotRead => warn!("{more} more connections were closed for want of memory"),
            Self::NameTaken => warn!("{more} more workers came in under the name of another"),
            Self::WorkerTrouble => warn!("{more} more workers were lost or doubted"),
            Self::TaskLost => warn!("{more} more tasks were lost or stopped"),
            Self::ProcessUseless => {
                warn!("{more} more pool processes ended without having run a task")
            }
            Self::ProcessEnded => warn!("{more} more pool processes ended"),
            Self::NoResources => warn!("{more} more attempts could not be started"),
            Self::CannotAccept => warn!("{more} more times no connection could be accepted"),
            Self::PeerJoined => info!("{more} more peers joined"),
            Self::PeerLeft => info!("{more} more peers left"),
            Self::AttemptLost => info!("{more} more attempts were lost"),
        }
    }
}

/// Keeps what others can cause from filling the log.
#[derive(Debug, Default)]
pub(crate) struct Limiter([Period; KINDS.len()]);

/// What was written of one kind lately.
#[derive(Clone, Copy, Debug, Default)]
struct Period {
    began: Option<Instant>,
    /// Its lines that were said, and that were not.
    said: u32,
    unsaid: u64,
}

impl Limiter {
    /// Writes `event` down, unless there were many of its kind lately. A pool process is called by its
    /// `program`, if that is known.
    pub(crate) fn event(&mut self, now: Instant, event: &Event, program: Option<&Path>) {
        match Kind::of(event) {
            None => self::event(event, program),
            Some(kind) => self.say(now, kind, || self::event(event, program)),
        }
    }

    /// Has `line` written, unless there were many of its kind lately.
    pub(crate) fn say(&mut self, now: Instant, kind: Kind, line: impl FnOnce()) {
        for kind in KINDS {
            let period = &mut self.0[kind as usize];
            let is_over = period.began.is_some_and(|began| now.since(began) >= PERIOD);
            if is_over {
                if period.unsaid > 0 {
                    kind.count(period.unsaid);
                }
                *period = Period::default();
            }
        }
        let period = &mut self.0[kind as usize];
        period.began.get_or_insert(now);
        if period.said < kind.most() {
            period.said += 1;
            line();
        } else {
            period.unsaid += 1;
        }
    }
}

/// Says why a connection was closed, as a warning if the other side is to blame.
fn closed(conn: ConnId, from: Option<SocketAddr>, reason: CloseReason) {
    let from = from.map(tracing::field::display);
    match reason {
        CloseReason::Protocol(what) => warn!(%conn, from, "closed a connection: its peer {what}"),
        CloseReason::HandshakeTimeout => warn!(
            %conn, from,
            "closed a connection on which no whole hello came in time"
        ),
        // As a rule a host or a network that is gone, which is its own news at most.
        CloseReason::Silent => info!(
            %conn, from,
            "closed a connection: its peer was silent for a lease, or took nothing in"
        ),
        CloseReason::Done
        | CloseReason::Refused(_)
        | CloseReason::Superseded
        | CloseReason::MovedOn
        | CloseReason::Stopping => debug!(%conn, from, ?reason, "connection closed"),
    }
}

/// Says why the end of a pool process is none that it should have.
fn slot_exited(
    slot: SlotId,
    cause: ExitCause,
    reached: Reached,
    stderr: &str,
    program: Option<&Path>,
) {
    let program = program.map(|program| tracing::field::display(program.display()));
    // What it did wrong comes before what it said.
    let fault = stderr
        .lines()
        .next()
        .filter(|_| cause == ExitCause::Protocol);
    let said = Some(last_words(stderr)).filter(|said| !said.is_empty() && Some(*said) != fault);
    match (reached, cause) {
        (Reached::Nothing, ExitCause::NotStarted) => {
            warn!(%slot, program, said, "cannot start a pool process; it is tried again");
        }
        (Reached::Nothing, _) => warn!(
            %slot, program, %cause, fault, said,
            "a pool process ended before it said that it is ready: its program must speak the pool \
             protocol on standard input and output; it is started again after a pause"
        ),
        (Reached::Ready, _) => warn!(
            %slot, program, %cause, fault, said,
            "a pool process ended without having run a task; it is started again after a pause"
        ),
        (Reached::Served, _) => warn!(%slot, %cause, fault, said, "pool process ended"),
    }
}

/// Writes `event` down: peers and pool processes as news, tasks only for those who look closely.
#[expect(clippy::too_many_lines, reason = "a list: what is said of each event")]
pub(crate) fn event(event: &Event, program: Option<&Path>) {
    match event {
        Event::PeerJoined {
            peer,
            name,
            holder,
            resumed,
        } => {
            let holder = holder.as_ref().map(tracing::field::display);
            if *resumed {
                info!(%name, %peer, holder, "peer is back");
            } else {
                info!(%name, %peer, holder, "peer joined");
            }
        }
        Event::PeerDisconnected { peer } => info!(%peer, "peer disconnected"),
        Event::PeerGone { peer, name, why } => info!(%name, %peer, why, "peer is gone"),
        Event::NameTaken { name, by, from } => warn!(
            %name, %by, %from,
            "two workers have one name: the older one was disconnected; give each a name of its own"
        ),
        Event::WorkerDoubted { name } => warn!(
            worker = %name,
            "tasks fail there that do well elsewhere: it gets one at a time until one completes"
        ),
        Event::WorkerLost { name, loss } => {
            let why = match loss {
                AttemptLoss::WorkerSilent => "it was silent for longer than the lease",
                AttemptLoss::WorkerGone
                | AttemptLoss::WorkerReplaced
                | AttemptLoss::WorkerDrained
                | AttemptLoss::ChildCrashed(_) => {
                    "its connection ended, and it did not come back in time"
                }
            };
            warn!(worker = %name, why, "worker lost: its tasks are tried elsewhere");
        }
        Event::GroupRefused { name } => warn!(
            worker = %name,
            "refused: there are as many groups of workers, which run different names, as may be"
        ),
        Event::AllWait { processes } => warn!(
            processes,
            "all processes wait for tasks of their own, and none is left to run these: start more \
             workers, or give such tasks workers of their own"
        ),
        Event::PeerRefused {
            conn,
            from,
            holder,
            reason,
        } => {
            let from = from.map(tracing::field::display);
            let holder = holder.as_ref().map(tracing::field::display);
            warn!(%conn, from, holder, ?reason, "peer refused");
        }
        Event::ConnClosed { conn, from, reason } => closed(*conn, *from, *reason),
        Event::TasksRejected {
            first,
            count,
            reason,
        } => debug!(%first, count, %reason, "tasks rejected"),
        Event::AttemptCharged {
            task,
            attempt,
            loss,
        } => info!(%task, %attempt, ?loss, "attempt lost"),
        Event::TaskReturned { task } => debug!(%task, "task queued again"),
        Event::AttemptAdopted { task, attempt } => debug!(%task, %attempt, "attempt adopted"),
        Event::OrphanKept { task, attempt } => {
            debug!(%task, %attempt, "attempt kept until its client returns");
        }
        Event::OrphanMatched { task, attempt } => {
            debug!(%task, %attempt, "attempt matched with its task");
        }
        Event::StaleIgnored { task, attempt } => debug!(%task, %attempt, "stale attempt ignored"),
        Event::Recalled { task, attempt } => debug!(%task, %attempt, "attempt recalled"),
        Event::TaskUnclaimed { task } => debug!(%task, "task waits for a worker to claim it"),
        Event::PoisonStopped { task } => warn!(%task, "task stopped after killing its processes"),
        Event::TaskLost { task } => warn!(%task, "task lost"),
        Event::SessionResumed { peer } => debug!(%peer, "session resumed"),
        Event::ResultReleasedEarly { task } => {
            debug!(%task, "result acknowledged before its client did");
        }
        Event::DrainStarted => info!("draining"),
        Event::LinkUp {
            epoch,
            resumed,
            address,
        } => info!(manager = address, %epoch, resumed, "connected"),
        Event::LinkDown { reason } => debug!(?reason, "not connected"),
        Event::LinkRefused { reason } => {
            info!(reason = refusal(*reason), "the manager refused us");
        }
        Event::SlotReady { slot } => debug!(%slot, "pool process ready"),
        Event::SlotExited {
            slot,
            cause,
            asked,
            reached,
            stderr,
        } => {
            if Kind::of_process(*cause, *asked, *reached).is_some() {
                slot_exited(*slot, *cause, *reached, stderr, program);
            } else {
                debug!(%slot, %cause, "pool process ended");
            }
        }
        Event::Unavailable { slot, message } => {
            warn!(%slot, message, "cannot start an attempt; it goes elsewhere or waits");
        }
        Event::TimeLimitHit { task } => debug!(%task, "task broke its time limit"),
        Event::MemoryLimitHit { task, bytes } => {
            debug!(%task, bytes, "task broke its memory limit");
        }
        Event::Retrying {
            task,
            reason,
            retries,
        } => debug!(%task, %reason, retries, "task submitted again"),
        Event::ResultsFull => warn!("results wait to be acknowledged; nothing new is taken"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon_core::message::RefuseReason;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn counts(limiter: &Limiter, kind: Kind) -> (u32, u64) {
        let period = limiter.0[kind as usize];
        (period.said, period.unsaid)
    }

    #[test]
    fn every_kind_has_a_place_of_its_own() {
        for (place, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }

    #[test]
    fn what_strangers_cause_is_said_ten_times_in_ten_seconds() {
        let mut limiter = Limiter::default();
        let event = Event::PeerRefused {
            conn: ConnId(1),
            from: None,
            holder: None,
            reason: RefuseReason::BadHello,
        };
        for _ in 0..1_000 {
            limiter.event(at(1), &event, None);
        }
        assert_eq!(counts(&limiter, Kind::Refused), (WARNINGS, 990));
        limiter.event(at(10), &event, None);
        assert_eq!(counts(&limiter, Kind::Refused), (WARNINGS, 991));
        limiter.event(at(11), &event, None);
        assert_eq!(
            counts(&limiter, Kind::Refused),
            (1, 0),
            "the number was said"
        );
    }

    #[test]
    fn a_flood_of_one_kind_hides_no_other_and_its_number_is_said_with_the_next_of_any() {
        let mut limiter = Limiter::default();
        for _ in 0..1_000 {
            limiter.say(at(1), Kind::BrokeProtocol, || ());
        }
        let mut said = false;
        limiter.say(at(1), Kind::NameTaken, || said = true);
        assert!(said);
        assert_eq!(counts(&limiter, Kind::BrokeProtocol), (WARNINGS, 990));
        limiter.say(at(11), Kind::PeerJoined, || ());
        assert_eq!(counts(&limiter, Kind::BrokeProtocol), (0, 0));
        limiter.event(at(11), &Event::DrainStarted, None);
        assert_eq!(counts(&limiter, Kind::PeerJoined), (1, 0));
    }

    #[test]
    fn processes_that_end_in_the_course_of_things_are_no_news() {
        let ended = Kind::of_process;
        let (done, crashed) = (ExitCause::Exit(0), ExitCause::Signal(11));
        assert_eq!(ended(done, false, Reached::Served), None);
        assert_eq!(ended(crashed, true, Reached::Nothing), None);
        let useless = Some(Kind::ProcessUseless);
        for reached in [Reached::Nothing, Reached::Ready] {
            assert_eq!(ended(done, false, reached), useless);
        }
        let told = ended(crashed, false, Reached::Served);
        assert_eq!(told, Some(Kind::ProcessEnded));
    }
}
