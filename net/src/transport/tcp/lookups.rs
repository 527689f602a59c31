//! Names that are being looked up. A lookup goes on when the dial that wanted it is given up, and the
//! next dial has its answer. So name servers may take longer than a dial (the system waits 5 s for one
//! that is dead before it asks the next), and one thread at most sits in a lookup of each name.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon_core::limits::LOOKUPS_MAX;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long an answer that nobody waited for is good: longer than a round of dials to a few managers,
/// and short enough to learn of one that has moved.
const KEPT: Duration = Duration::from_secs(10);

/// What came of a lookup, and when.
type Found = (Instant, io::Result<Vec<SocketAddr>>);

/// Those that nobody waits for at the moment, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Lookups(Arc<Mutex<BTreeMap<String, JoinHandle<Found>>>>);

impl Lookups {
    /// The addresses of `name`: what an earlier lookup finds that is under way or has just ended, or
    /// else what `lookup` does.
    pub(super) async fn find(
        &self,
        name: &str,
        lookup: impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        if let Some(earlier) = self.change(|lookups| lookups.remove(name)) {
            let (ended, found) = self.wait(name, earlier).await?;
            if ended.elapsed() < KEPT {
                return found;
            }
        }
        let ours = tokio::spawn(async move {
            let found = lookup.await;
            (Instant::now(), found)
        });
        self.wait(name, ours).await?.1
    }

    /// Puts the lookup back if the caller goes before it ends.
    async fn wait(&self, name: &str, lookup: JoinHandle<Found>) -> io::Result<Found> {
        let mut waits = Waits {
            lookups: self,
            name,
            lookup: Some(lookup),
        };
        let Some(lookup) = &mut waits.lookup else {
            return Err(io::Error::other("there is no lookup"));
        };
        let found = lookup.await;
        waits.lookup = None;
        found.map_err(io::Error::other)
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, JoinHandle<Found>>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Somebody who waits for a lookup.
struct Waits<'a> {
    lookups: &'a Lookups,
    name: &'a str,
    lookup: Option<JoinHandle<Found>>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(lookup) = self.lookup.take() {
            self.lookups.change(|lookups| {
                if lookups.len() < LOOKUPS_MAX {
                    lookups.insert(self.name.to_owned(), lookup);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::{advance, sleep, timeout};

    /// What a dial gives its lookup.
    const DIAL: Duration = Duration::from_millis(1_500);
    const FOUND: &str = "10.0.0.1:8000";

    /// Name servers that take so long, and how often they were asked.
    struct Servers {
        take: Duration,
        asked: Arc<AtomicUsize>,
    }

    impl Servers {
        fn that_take(take: Duration) -> Self {
            let asked = Arc::default();
            Self { take, asked }
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }

        /// One dial, which gives up in time.
        async fn dial(&self, lookups: &Lookups, name: &str) -> Option<Vec<SocketAddr>> {
            let (take, asked) = (self.take, self.asked.clone());
            let lookup = async move {
                asked.fetch_add(1, Ordering::Relaxed);
                sleep(take).await;
                Ok(vec![FOUND.parse().unwrap()])
            };
            let found = timeout(DIAL, lookups.find(name, lookup)).await;
            found.ok().map(io::Result::unwrap)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_than_a_dial_is_found_by_a_later_one_and_asked_once() {
        let (lookups, servers) = (Lookups::default(), Servers::that_take(DIAL * 5 / 2));
        assert_eq!(servers.dial(&lookups, "boss").await, None);
        assert_eq!(servers.dial(&lookups, "boss").await, None);
        let found = servers.dial(&lookups, "boss").await;
        assert_eq!(found, Some(vec![FOUND.parse().unwrap()]));
        assert_eq!(servers.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn each_name_has_its_own_lookup() {
        let (lookups, servers) = (Lookups::default(), Servers::that_take(DIAL * 3 / 2));
        assert_eq!(servers.dial(&lookups, "boss").await, None);
        assert_eq!(servers.dial(&lookups, "deputy").await, None);
        assert!(servers.dial(&lookups, "boss").await.is_some());
        assert!(servers.dial(&lookups, "deputy").await.is_some());
        assert_eq!(servers.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_used_once_and_an_old_one_not_at_all() {
        let (lookups, servers) = (Lookups::default(), Servers::that_take(Duration::ZERO));
        for dials in 1..3 {
            assert!(servers.dial(&lookups, "boss").await.is_some());
            assert_eq!(servers.asked(), dials, "a manager may have moved");
        }
        let slow = Servers::that_take(DIAL * 3 / 2);
        assert_eq!(slow.dial(&lookups, "boss").await, None);
        sleep(DIAL).await;
        advance(KEPT).await;
        assert_eq!(slow.dial(&lookups, "boss").await, None);
        assert_eq!(slow.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_given_up_has_a_bound() {
        let (lookups, servers) = (Lookups::default(), Servers::that_take(DIAL * 1_000));
        for name in 0..=LOOKUPS_MAX {
            assert_eq!(servers.dial(&lookups, &name.to_string()).await, None);
        }
        assert_eq!(lookups.change(|lookups| lookups.len()), LOOKUPS_MAX);
    }
}
