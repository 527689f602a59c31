//! Events of the machines as lines in the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon_core::event::Event;
use argon_core::task::ExitCause;
use tracing::{debug, info, warn};

/// Warnings that strangers can cause, in one period; more are counted.
const LIMITED: u32 = 10;
const PERIOD: Duration = Duration::from_secs(10);

/// The period that began last, and how many of its warnings were said and not said.
static SAID: Mutex<Option<(Instant, u32, u64)>> = Mutex::new(None);

/// Says it, unless so much was said of its like lately.
fn limited(say: impl FnOnce()) {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let (began, count, unsaid) = said.get_or_insert((now, 0, 0));
    if now.duration_since(*began) >= PERIOD {
        if *unsaid > 0 {
            warn!("{unsaid} more peers were refused");
        }
        (*began, *count, *unsaid) = (now, 0, 0);
    }
    if *count < LIMITED {
        *count += 1;
        say();
    } else {
        *unsaid += 1;
    }
}

/// Writes `event` down: peers and pool processes as news, tasks only for those who look closely.
pub(crate) fn event(event: &Event) {
    match event {
        Event::PeerJoined {
            peer,
            name,
            resumed,
        } => {
            if *resumed {
                info!(%name, %peer, "peer is back");
            } else {
                info!(%name, %peer, "peer joined");
            }
        }
        Event::PeerDisconnected { peer } => info!(%peer, "peer disconnected"),
        Event::PeerGone { peer, name, why } => info!(%name, %peer, why, "peer is gone"),
        Event::NameTaken { name, by, from } => warn!(
            %name, %by, %from,
            "two workers have one name: the older was shown out; give each a name of its own"
        ),
        Event::WorkerDoubted { name } => warn!(
            worker = %name,
            "tasks fail there that do well elsewhere: it gets one at a time until one completes"
        ),
        Event::KindRefused { name } => limited(|| {
            warn!(
                worker = %name,
                "refused: there are as many kinds of workers, which run different names, as may be"
            );
        }),
        Event::PeerRefused { conn, reason } => {
            limited(|| warn!(%conn, ?reason, "peer refused"));
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
        Event::TakenBack { task, attempt } => debug!(%task, %attempt, "attempt taken back"),
        Event::TaskHeld { task } => debug!(%task, "task held until a worker claims it"),
        Event::PoisonStopped { task } => warn!(%task, "task stopped after killing its processes"),
        Event::TaskLost { task } => warn!(%task, "task lost"),
        Event::SessionResumed { peer } => debug!(%peer, "session resumed"),
        Event::ResultConfirmedEarly { task } => {
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
                warn!(%slot, %cause, stderr = stderr.trim_end(), "pool process ended");
            }
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
        // Machines learn to say more; the log need not know all of it.
        #[allow(unreachable_patterns, reason = "new events are merged from elsewhere")]
        other => debug!(event = ?other),
    }
}
