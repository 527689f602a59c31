//! What a study comes to, as data and as a table.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::report::Failure;

use super::config::{Study, priority_name};
use super::histogram::Histogram;
use super::measure::{Counts, Measure, Moment};
use super::units::{figure, shown};

/// What a study comes to. Figures leave the warm-up out; times are in nanoseconds unless said.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// The study.
    pub study: Study,
    /// How many attempts all workers run at once.
    pub slots: u64,
    /// The work that comes, outside of spikes, over what all slots can do.
    pub offered_load: f64,
    /// What became of the tasks that came.
    pub counts: Counts,
    /// Tasks that came a second.
    pub offered_per_second: f64,
    /// Tasks that completed a second, while tasks came.
    pub goodput_per_second: f64,
    /// The share of all slots' time that went into executions, while tasks came.
    pub utilisation: f64,
    /// How long tasks took: all together, then by priority.
    pub waits: Vec<Waits>,
    /// Submissions that the manager refused or displaced.
    pub rejections: u64,
    /// Submissions that clients planned to repeat.
    pub retries: u64,
    /// Executions of tasks that had been started before.
    pub repeated: u64,
    /// Most tasks that the queue held.
    pub most_queued: u64,
    /// How long after the last task had come the last outcome was there, in seconds.
    pub drained_after: f64,
    /// What was checked.
    pub checks: Checks,
    /// Steps of the simulation.
    pub events: u64,
    /// The same over time.
    pub moments: Vec<Moment>,
    /// A promise that the product broke.
    #[serde(serialize_with = "in_words")]
    pub failure: Option<Failure>,
}

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checks {
    /// The whole history was judged, by all promises that a history shows.
    pub judged: bool,
}

/// How long tasks of a priority took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waits {
    /// Which; `all` for all together.
    pub priority: String,
    /// From the submission to the start of the first execution.
    pub wait: Spread,
    /// From the submission to the result.
    pub latency: Spread,
}

/// Percentiles, to 1.6%; the mean and the most are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are what they are called")]
pub struct Spread {
    pub count: u64,
    pub mean: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub most: u64,
}

fn in_words<S: serde::Serializer>(failure: &Option<Failure>, to: S) -> Result<S::Ok, S::Error> {
    failure.as_ref().map(ToString::to_string).serialize(to)
}

impl From<&Histogram> for Spread {
    fn from(values: &Histogram) -> Self {
        Self {
            count: values.count(),
            mean: values.mean(),
            p50: values.percentile(500),
            p90: values.percentile(900),
            p99: values.percentile(990),
            p999: values.percentile(999),
            most: values.most(),
        }
    }
}

impl Findings {
    pub(super) fn new(study: &Study) -> Self {
        Self {
            study: study.clone(),
            slots: study.slots(),
            offered_load: study.offered_load(),
            counts: Counts::default(),
            offered_per_second: 0.0,
            goodput_per_second: 0.0,
            utilisation: 0.0,
            waits: Vec::new(),
            rejections: 0,
            retries: 0,
            repeated: 0,
            most_queued: 0,
            drained_after: 0.0,
            checks: Checks::default(),
            events: 0,
            moments: Vec::new(),
            failure: None,
        }
    }

    pub(super) fn fill(&mut self, measure: &Measure<'_>) {
        let nanos = self.study.duration.0 - self.study.warmup.0;
        let seconds = nanos as f64 / 1e9;
        self.counts = measure.counts;
        self.offered_per_second = measure.counts.offered as f64 / seconds;
        self.goodput_per_second = measure.goodput as f64 / seconds;
        self.utilisation = measure.busy as f64 / (nanos as f64 * self.slots as f64);
        self.rejections = measure.rejections;
        self.retries = measure.retries;
        self.repeated = measure.repeated;
        self.most_queued = measure.most_queued;
        let end = super::config::START + self.study.duration.0;
        self.drained_after = measure.last_delivery.saturating_sub(end) as f64 / 1e9;
        self.moments = measure.moments();
        let (mut wait, mut latency) = (Histogram::default(), Histogram::default());
        for level in measure.levels.values() {
            wait.merge(&level.wait);
            latency.merge(&level.latency);
        }
        let row = |priority: String, wait: &Histogram, latency: &Histogram| Waits {
            priority,
            wait: wait.into(),
            latency: latency.into(),
        };
        self.waits = vec![row("all".to_owned(), &wait, &latency)];
        if measure.levels.len() > 1 {
            let levels = measure.levels.iter();
            self.waits.extend(
                levels.map(|(level, values)| {
                    row(priority_name(*level), &values.wait, &values.latency)
                }),
            );
        }
    }

    /// As JSON.
    ///
    /// # Panics
    /// Never: everything in it can be written.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data")
    }

    fn head(&self) -> String {
        let study = &self.study;
        let groups: Vec<String> = study.workers.iter().map(ToString::to_string).collect();
        let mut text = format!(
            "{} workers ({}): {} slots; {} clients; queue of {}\n\
             {} of {}: {:.1}% of capacity; for {}, seed {}\n",
            figure(study.worker_count() as f64),
            groups.join(" + "),
            figure(self.slots as f64),
            study.clients,
            figure(study.queue_size as f64),
            study.arrivals,
            study.service,
            self.offered_load * 100.0,
            study.duration,
            study.seed,
        );
        for spike in &study.spikes {
            let _ = writeln!(text, "spike {spike}");
        }
        for loss in &study.worker_losses {
            let _ = writeln!(text, "workers lost {loss}");
        }
        text
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.head())?;
        let counts = &self.counts;
        writeln!(f, "{:<22}{:>12}{:>12}", "", "tasks", "a second")?;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, count: u64, rate: Option<f64>| {
            let rate = rate.map_or(String::new(), |rate| format!("{:>12}", figure(rate)));
            writeln!(f, "{name:<22}{:>12}{rate}", figure(count as f64))
        };
        row(f, "offered", counts.offered, Some(self.offered_per_second))?;
        row(
            f,
            "completed (goodput)",
            counts.completed,
            Some(self.goodput_per_second),
        )?;
        for (name, count) in [
            ("failed", counts.failed),
            ("gave up (rejected)", counts.gave_up),
            ("expired", counts.expired),
            ("lost", counts.lost),
            ("turned away", counts.turned_away),
            ("open at the end", counts.open),
        ] {
            if count > 0 {
                row(f, name, count, None)?;
            }
        }
        writeln!(f)?;
        let queue = self.study.queue_size as f64;
        let figures = [
            ("utilisation", format!("{:.1}%", self.utilisation * 100.0)),
            (
                "worst queue",
                format!("{} of {}", figure(self.most_queued as f64), figure(queue)),
            ),
            ("rejections", figure(self.rejections as f64)),
            ("retries", figure(self.retries as f64)),
            ("attempts repeated", figure(self.repeated as f64)),
            ("drained after", format!("{:.2} s", self.drained_after)),
        ];
        for (name, value) in figures {
            writeln!(f, "{name:<22}{value:>12}")?;
        }
        let titles = ["mean", "p50", "p90", "p99", "p99.9", "most"];
        let titles: String = titles.iter().map(|title| format!("{title:>10}")).collect();
        writeln!(f, "\n{:<22}{:>12}{titles}", "", "tasks")?;
        for waits in &self.waits {
            for (what, spread) in [("wait", &waits.wait), ("latency", &waits.latency)] {
                let name = format!("{what}, {}", waits.priority);
                write!(f, "{name:<22}{:>12}", figure(spread.count as f64))?;
                for nanos in [
                    spread.mean,
                    spread.p50,
                    spread.p90,
                    spread.p99,
                    spread.p999,
                    spread.most,
                ] {
                    write!(f, "{:>10}", shown(nanos))?;
                }
                writeln!(f)?;
            }
        }
        let events = figure(self.events as f64);
        match (&self.failure, self.checks.judged) {
            (Some(failure), _) => writeln!(f, "\nBROKEN PROMISE after {events} events: {failure}"),
            (None, true) => writeln!(f, "\n{events} events; all promises held"),
            (None, false) => writeln!(
                f,
                "\n{events} events; outcomes, executions, slots and machines were checked as they \
                 came (order is judged in studies of up to 100,000 tasks)"
            ),
        }
    }
}
