//! Events of the machines as lines in the log.

use std::time::Duration;

use argon_core::event::Event;
use argon_core::task::{AttemptLoss, ExitCause};
use argon_core::time::Instant;
use tracing::{debug, info, warn};

use crate::text::last_words;

/// Warnings that strangers can cause, in one period; more are counted.
const LIMITED: u32 = 10;
const PERIOD: Duration = Duration::from_secs(10);

/// Keeps warnings that strangers can cause from filling the log.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    /// When the period began.
    began: Option<Instant>,
    /// Its warnings that were said, and that were not.
    said: u32,
    unsaid: u64,
}

impl Limiter {
    /// Writes `event` down, unless strangers have caused many of its like lately.
    pub(crate) fn event(&mut self, now: Instant, event: &Event) {
        if !matches!(
            event,
            Event::PeerRefused { .. } | Event::GroupRefused { .. }
        ) {
            return self::event(event);
        }
        let over = self.began.is_none_or(|began| now.since(began) >= PERIOD);
        if over {
            if self.unsaid > 0 {
                warn!("{} more peers were refused", self.unsaid);
            }
            *self = Self {
                began: Some(now),
                ..Self::default()
            };
        }
        if self.said < LIMITED {
            self.said += 1;
            self::event(event);
        } else {
            self.unsaid += 1;
        }
    }
}

/// Writes `event` down: peers and pool processes as news, tasks only for those who look closely.
#[expect(clippy::too_many_lines, reason = "a list: what is said of each event")]
pub(crate) fn event(event: &Event) {
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
        Event::ConnClosed { conn, reason } => debug!(%conn, ?reason, "connection closed"),
        Event::TaskRejected { task, reason } => debug!(%task, %reason, "task rejected"),
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
        Event::LinkRefused { reason } => warn!(?reason, "the manager refused us"),
        Event::SlotReady { slot } => debug!(%slot, "pool process ready"),
        Event::SlotExited {
            slot,
            cause,
            asked,
            stderr,
        } => {
            if *asked || matches!(cause, ExitCause::Exit(0)) {
                debug!(%slot, %cause, "pool process ended");
            } else {
                let said = last_words(stderr);
                warn!(%slot, %cause, said, "pool process ended");
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
    use argon_core::ids::ConnId;
    use argon_core::message::RefuseReason;

    #[test]
    fn what_strangers_cause_is_said_ten_times_in_ten_seconds() {
        let mut limiter = Limiter::default();
        let event = Event::PeerRefused {
            conn: ConnId(1),
            from: None,
            holder: None,
            reason: RefuseReason::BadHello,
        };
        let at = |seconds: u64| Instant::ZERO + Duration::from_secs(seconds);
        for _ in 0..1_000 {
            limiter.event(at(1), &event);
        }
        assert_eq!((limiter.said, limiter.unsaid), (LIMITED, 990));
        limiter.event(at(10), &event);
        assert_eq!((limiter.said, limiter.unsaid), (LIMITED, 991));
        limiter.event(at(11), &event);
        assert_eq!(
            (limiter.said, limiter.unsaid),
            (1, 0),
            "the number was said"
        );
        // News of other sorts is said always.
        limiter.event(at(11), &Event::DrainStarted);
        assert_eq!(limiter.said, 1);
    }
}
