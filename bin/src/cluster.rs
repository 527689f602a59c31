//! Where tasks go: to a manager, or to a pool of this very process; and what is said to people
//! while that does not answer.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use argon::{
    Client, ClientOptions, Keys, LinkState, Name, Outcome, Payload, Standalone, StandaloneOptions,
    StatusReport, SubmitError, TaskSpec,
};
use tokio::time::{Instant, sleep, timeout};

use crate::files;
use crate::map::progress::Screen;
use crate::options::ClusterArgs;
use crate::pool;
use crate::problem::Problem;
use crate::stop::StopSignals;
use crate::streams::{note, say};

/// The name of the pool of this process: where there is one worker only, nobody needs to be told
/// which.
pub(crate) const LOCAL: &str = "(this process)";
/// From one look at the connection to the next.
const LOOK: Duration = Duration::from_millis(100);
/// How long something may be amiss before it is worth a line.
const PATIENCE: Duration = Duration::from_secs(1);
/// From one question for the manager's status to the next while outcomes come. They only keep
/// the number of items in flight in step with the cluster.
const ASK: Duration = Duration::from_secs(10);
/// How long the manager may take to answer it.
const ANSWER: Duration = Duration::from_secs(1);
/// How long what was given up may take to be told to the cluster.
const CLOSE: Duration = Duration::from_secs(3);

/// A client, and the pool of this process if there is no manager.
#[derive(Debug)]
pub(crate) struct Cluster {
    client: Client,
    managers: Vec<String>,
    keys: Option<Keys>,
    standalone: Option<Standalone>,
    /// Of that pool.
    capacity: Option<u32>,
}

impl Cluster {
    /// Starts a client, whose rejected tasks are submitted again so often (`None`: for ever).
    /// Does not wait for a manager.
    pub(crate) async fn open(args: &ClusterArgs, retries: Option<u32>) -> Result<Self, Problem> {
        let mut options = ClientOptions::new(args.manager.clone());
        options.retries = retries;
        let command = std::env::args().nth(1).unwrap_or_default();
        options.name = Some(argon::process_name(Some(&format!("argon {command}"))));
        if let Some(max) = args.max_payload {
            options.payload_max = max;
        }
        let managers = args.manager.clone();
        if !managers.is_empty() {
            let keys = args.keys.open()?;
            options.keys.clone_from(&keys);
            return Ok(Self {
                client: Client::start(options)?,
                managers,
                keys,
                standalone: None,
                capacity: None,
            });
        }
        args.keys.none_here()?;
        let capacity = args.workers.unwrap_or_else(pool::cpus);
        files::for_pool(capacity)?;
        let name = Name::new(LOCAL).map_err(|error| Problem::new(error.to_string()))?;
        let mut standalone = StandaloneOptions::new(name, capacity)?;
        // Nobody else can come who runs what our own pool does not.
        standalone.manager.runner_wait = Duration::ZERO;
        standalone.manager.payload_max = options.payload_max;
        let executor = pool::executor(&[], |pool| pool.payload_max = options.payload_max)?;
        let standalone = Standalone::start(standalone, executor).await?;
        Ok(Self {
            client: standalone.client(options)?,
            managers,
            keys: None,
            standalone: Some(standalone),
            capacity: Some(capacity),
        })
    }

    /// Submits a task; its end.
    pub(crate) fn run(
        &self,
        spec: TaskSpec,
    ) -> impl Future<Output = Result<(Outcome, Payload), SubmitError>> + Send + use<> {
        let client = self.client.clone();
        async move {
            let ended = client.submit(spec).await?.await;
            Ok((ended.outcome, ended.payload))
        }
    }

    /// For those who submit many tasks themselves.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// What the manager says about itself, if there is one and it answers.
    pub(crate) async fn status(&self) -> Option<StatusReport> {
        match self.client.link() {
            LinkState::Connected { address } if self.capacity.is_none() => {
                argon::status(&address, self.keys.as_ref(), ANSWER)
                    .await
                    .ok()
            }
            _ => None,
        }
    }

    /// How many tasks run at once, where that can be learnt.
    pub(crate) async fn slots(&self) -> Option<u64> {
        match self.capacity {
            Some(capacity) => Some(capacity.into()),
            None => Some(self.status().await?.manager.capacity),
        }
    }

    /// Gives up what has not ended, and leaves. Takes a few seconds at most.
    pub(crate) async fn close(self) {
        // If time runs out, the manager notices our absence by itself, and pool processes end
        // with us.
        let _ = timeout(CLOSE, async {
            self.client.close().await;
            if let Some(standalone) = self.standalone {
                standalone.stop();
                let _ = standalone.run().await;
            }
        })
        .await;
    }

    /// Says on standard error what is being waited for. Ends only if no manager is reached in
    /// the time that was given for that.
    pub(crate) async fn watch(&self, watch: &Watch) -> Problem {
        if let Some(capacity) = self.capacity {
            watch.capacity.set(Some(capacity.into()));
            return pending().await;
        }
        let managers = self.managers.join(", ");
        let mut notice = Notice::new(&self.managers, "leave --manager out to run here");
        let mut asked: Option<Instant> = None;
        loop {
            let link = self.client.link();
            if let Some(line) = notice.look(&link) {
                watch.say(&line);
            }
            if let LinkState::Connected { address } = &link {
                let quiet = watch.heard.get().elapsed() >= PATIENCE;
                let pause = if quiet { PATIENCE } else { ASK };
                if asked.is_none_or(|asked| asked.elapsed() >= pause) {
                    asked = Some(Instant::now());
                    if let Ok(report) = argon::status(address, self.keys.as_ref(), ANSWER).await {
                        let capacity = report.manager.capacity;
                        watch.capacity.set(Some(capacity));
                        let workers = notice.workers(address, capacity);
                        // A worker that has just come has yet to say what it runs.
                        let runs = report.runs(&watch.name).filter(|_| quiet && capacity > 0);
                        let runners = notice.runners(&watch.name, runs);
                        for line in workers.iter().chain(&runners) {
                            watch.say(line);
                        }
                    }
                }
            } else if let Some(limit) = watch.connect_timeout
                && !self.client.was_let_in()
                && watch.since.elapsed() >= limit
            {
                let said = format!(
                    "no manager was reached at {managers} within {}{}",
                    crate::units::Span(limit),
                    reason(&link, &self.managers)
                );
                return Problem::new(match link {
                    LinkState::Refused { .. } => said,
                    _ => format!("{said}; start one, or leave --manager out to run here"),
                });
            }
            sleep(LOOK).await;
        }
    }
}

/// What is known and said while tasks are under way.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Of the tasks under way.
    name: Name,
    connect_timeout: Option<Duration>,
    screen: Screen,
    since: Instant,
    heard: Cell<Instant>,
    capacity: Cell<Option<u64>>,
}

impl Watch {
    /// Starts the clock for tasks of one name. Lines appear on `screen`.
    pub(crate) fn new(name: Name, connect_timeout: Option<Duration>, screen: Screen) -> Self {
        let now = Instant::now();
        Self {
            name,
            connect_timeout,
            screen,
            since: now,
            heard: Cell::new(now),
            capacity: Cell::new(None),
        }
    }

    /// Outcomes come, so all is well.
    pub(crate) fn heard(&self) {
        self.heard.set(Instant::now());
    }

    /// How many tasks the cluster runs at once, where that is known.
    pub(crate) fn capacity(&self) -> Option<u64> {
        self.capacity.get()
    }

    fn say(&self, line: &str) {
        self.screen.around(|| say(format_args!("{line}")));
    }
}

/// Says each thing once, until it changes.
#[derive(Debug)]
struct Notice<'a> {
    managers: &'a [String],
    /// What else one could do.
    otherwise: &'static str,
    /// Since when there has been no connection.
    away: Option<Instant>,
    said_away: bool,
    /// The next connection is said even if nothing was said before.
    greets: bool,
    said_no_workers: bool,
    said_nobody: bool,
}

impl<'a> Notice<'a> {
    fn new(managers: &'a [String], otherwise: &'static str) -> Self {
        Self {
            managers,
            otherwise,
            away: None,
            said_away: false,
            greets: false,
            said_no_workers: false,
            said_nobody: false,
        }
    }

    /// A line about the connection, if there is something new to say.
    fn look(&mut self, link: &LinkState) -> Option<String> {
        if let LinkState::Connected { address } = link {
            self.away = None;
            let said = std::mem::take(&mut self.said_away);
            let greets = std::mem::take(&mut self.greets);
            return (said || greets).then(|| format!("connected to the manager at {address}"));
        }
        let away = *self.away.get_or_insert_with(Instant::now);
        let reason = reason(link, self.managers);
        // The first try takes up to 1.5 s, and says why.
        let patience = if reason.is_empty() {
            2 * PATIENCE
        } else {
            PATIENCE
        };
        if self.said_away || away.elapsed() < patience {
            return None;
        }
        self.said_away = true;
        let port = match self.managers {
            [manager] => manager.rsplit_once(':').map(|(_, port)| port),
            _ => None,
        };
        let waiting = format!(
            "waiting for a manager at {}{}",
            self.managers.join(" or "),
            reason
        );
        if let LinkState::Refused { .. } = link {
            // One is there.
            return Some(waiting);
        }
        let start = match port {
            Some(port) => format!("`argon manager --port {port}`"),
            None => "`argon manager`".to_owned(),
        };
        let otherwise = match self.otherwise {
            "" => String::new(),
            otherwise => format!(", or {otherwise}"),
        };
        Some(format!("{waiting}; start one with {start}{otherwise}"))
    }

    /// A line about the workers, if there is something new to say.
    fn workers(&mut self, address: &str, capacity: u64) -> Option<String> {
        if capacity > 0 {
            let said = std::mem::take(&mut self.said_no_workers);
            return said.then(|| format!("the manager at {address} has workers now"));
        }
        if self.said_no_workers {
            return None;
        }
        self.said_no_workers = true;
        Some(format!(
            "the manager at {address} has no workers; start one with `argon worker --manager \
             {address}`"
        ))
    }

    /// A line about those that run tasks of a name, if there is something new to say.
    fn runners(&mut self, name: &Name, known: Option<bool>) -> Option<String> {
        let said = std::mem::replace(&mut self.said_nobody, known == Some(false));
        match known {
            Some(false) if !said => Some(format!(
                "no worker runs {name:?}; waiting for one that does",
                name = name.as_str()
            )),
            Some(true) if said => Some(format!("a worker runs {:?} now", name.as_str())),
            _ => None,
        }
    }
}

fn reason(link: &LinkState, managers: &[String]) -> String {
    match link {
        LinkState::Connecting {
            last: Some(last), ..
        } => {
            // The address is in the line already.
            let last = managers
                .iter()
                .find_map(|manager| last.strip_prefix(&manager[..])?.strip_prefix(": "))
                .unwrap_or(last);
            format!(": {last}")
        }
        LinkState::Refused { reason } => format!(": {reason}"),
        _ => String::new(),
    }
}

/// Says on standard error that a worker has found its manager, and what it waits for.
pub(crate) async fn watch_worker(managers: &[String], link: impl Fn() -> LinkState) -> Infallible {
    let mut notice = Notice::new(managers, "");
    // A worker is left to itself: whoever started it is to see once that it works.
    notice.greets = true;
    loop {
        if let Some(line) = notice.look(&link()) {
            note(format_args!("{line}"));
        }
        sleep(LOOK).await;
    }
}

/// How the only task of a command ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Outcome(Outcome, Payload),
    /// We were told to stop; the exit code that says so.
    Stopped(u8),
}

/// Runs one task, then leaves the cluster.
pub(crate) async fn end_of_one(
    cluster: Cluster,
    watch: &Watch,
    spec: TaskSpec,
    stop: &mut StopSignals,
) -> Result<Ended, Problem> {
    let ended = {
        let running = cluster.run(spec);
        tokio::select! {
            biased;
            code = stop.next() => Ok(Ended::Stopped(code)),
            problem = cluster.watch(watch) => Err(problem),
            ended = running => {
                let (outcome, payload) = ended?;
                Ok(Ended::Outcome(outcome, payload))
            }
        }
    };
    tokio::select! {
        biased;
        code = stop.next() => Ok(Ended::Stopped(code)),
        () = cluster.close() => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_is_said_once_after_a_while_with_what_to_do() {
        let managers = ["127.0.0.1:8000".to_owned()];
        let mut notice = Notice::new(&managers, "leave it");
        let away = LinkState::Connecting {
            attempts: 3,
            last: Some("Connection refused".to_owned()),
        };
        assert_eq!(notice.look(&away), None);
        tokio::time::advance(PATIENCE).await;
        assert_eq!(
            notice.look(&away).as_deref(),
            Some(
                "waiting for a manager at 127.0.0.1:8000: Connection refused; start one with \
                 `argon manager --port 8000`, or leave it"
            )
        );
        assert_eq!(notice.look(&away), None);
        let address = managers[0].clone();
        assert!(notice.look(&LinkState::Connected { address }).is_some());
        assert_eq!(notice.look(&away), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_reason_is_waited_for_a_little_before_waiting_is_said() {
        let managers = ["boss:8000".to_owned()];
        let mut notice = Notice::new(&managers, "");
        let away = |last: Option<&str>| LinkState::Connecting {
            attempts: 1,
            last: last.map(str::to_owned),
        };
        assert_eq!(notice.look(&away(None)), None);
        tokio::time::advance(PATIENCE).await;
        assert_eq!(notice.look(&away(None)), None);
        let line = notice.look(&away(Some("it is not known"))).unwrap();
        assert!(line.contains("boss:8000: it is not known"), "{line}");
        let mut notice = Notice::new(&managers, "");
        assert_eq!(notice.look(&away(None)), None);
        tokio::time::advance(2 * PATIENCE).await;
        assert!(notice.look(&away(None)).is_some(), "it never becomes known");
    }

    #[test]
    fn the_first_connection_of_a_worker_is_said_and_no_short_absence() {
        let address = "a:1".to_owned();
        let here = LinkState::Connected { address };
        let mut notice = Notice::new(&[], "");
        assert_eq!(notice.look(&here), None);
        notice.greets = true;
        let line = notice.look(&here).unwrap();
        assert_eq!(line, "connected to the manager at a:1");
        let away = LinkState::Connecting {
            attempts: 1,
            last: None,
        };
        assert_eq!(notice.look(&away), None);
        assert_eq!(notice.look(&here), None);
    }

    #[test]
    fn a_manager_without_workers_is_said_once() {
        let mut notice = Notice::new(&[], "");
        assert!(notice.workers("a:1", 0).unwrap().contains("--manager a:1"));
        assert_eq!(notice.workers("a:1", 0), None);
        assert!(notice.workers("a:1", 2).is_some());
        assert_eq!(notice.workers("a:1", 2), None);
    }

    #[test]
    fn a_name_that_nobody_runs_is_said_once() {
        let mut notice = Notice::new(&[], "");
        let name = Name::new("resize").unwrap();
        assert_eq!(notice.runners(&name, None), None);
        assert_eq!(notice.runners(&name, Some(true)), None);
        let line = notice.runners(&name, Some(false)).unwrap();
        assert_eq!(line, "no worker runs \"resize\"; waiting for one that does");
        assert_eq!(notice.runners(&name, Some(false)), None);
        assert!(notice.runners(&name, Some(true)).is_some());
        assert_eq!(notice.runners(&name, Some(true)), None);
    }
}
