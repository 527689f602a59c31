//! What is studied: the cluster, its load, and what goes wrong.

use std::fmt;
use std::str::FromStr;

use argon_core::task::Priority;
use serde::{Deserialize, Serialize};

use super::service::Service;
use super::units::Span;

/// The load begins when everybody has found everybody, in nanoseconds.
pub(super) const START: u64 = crate::options::S;

/// A study. Written as JSON, its fields are called as the options of the command are, with `_` for
/// `-`, and have the same words as values; those left out have the defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Study {
    /// Groups of equal workers, like `20x8`: twenty with eight slots each.
    pub workers: Vec<Group>,
    /// How many clients share the load.
    pub clients: u16,
    /// Most tasks that the manager's queue holds.
    pub queue_size: u64,
    /// How many tasks come, like `500/s`.
    pub arrivals: Rate,
    /// How long they run.
    pub service: Service,
    /// Which share has which priority, like `high:10%,normal:90%`.
    pub priorities: Shares,
    /// For how long tasks come.
    pub duration: Span,
    /// How much of the beginning is left out of the figures.
    pub warmup: Span,
    /// How long a message takes one way; each takes up to a quarter more.
    pub latency: Span,
    /// How often a client submits a rejected task again.
    pub retries: u32,
    /// Most tasks that a client holds; more are turned away by it.
    pub client_tasks: u64,
    /// Longest wait in the queue that tasks put up with.
    pub max_wait: Option<Span>,
    /// Times at which more tasks come, like `10x@20s+10s`: ten times as many for 10 s.
    pub spikes: Vec<Spike>,
    /// Workers that lose power, like `2@30s`, or `2@30s+10s` if they come back.
    pub worker_losses: Vec<Loss>,
    /// Decides every chance: the same study with the same seed has the same findings.
    pub seed: u64,
}

impl Default for Study {
    fn default() -> Self {
        Self {
            workers: vec![Group {
                workers: 4,
                slots: 8,
            }],
            clients: 4,
            queue_size: 10_000,
            arrivals: Rate {
                per_second: 1_000.0,
                even: false,
            },
            service: Service::Exp(Span(20_000_000)),
            priorities: Shares(vec![(Priority::NORMAL.level() as u8, 100)]),
            duration: Span(60_000_000_000),
            warmup: Span(0),
            latency: Span(200_000),
            retries: 10,
            client_tasks: 65_536,
            max_wait: None,
            spikes: Vec::new(),
            worker_losses: Vec::new(),
            seed: 1,
        }
    }
}

/// What is wrong with a study, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The option.
    pub field: &'static str,
    /// The sentence.
    pub text: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--{}: {}", self.field, self.text)
    }
}

impl std::error::Error for Wrong {}

/// Most workers, and most slots of one, and most clients, that a study may have.
const WORKERS_MAX: u64 = 10_000;
/// See `WORKERS_MAX`.
const SLOTS_MAX: u32 = 1_024;
/// See `WORKERS_MAX`.
const CLIENTS_MAX: u16 = 1_000;

impl Study {
    /// How many workers there are.
    #[must_use]
    pub fn worker_count(&self) -> u64 {
        let groups = self.workers.iter();
        groups.map(|group| u64::from(group.workers)).sum()
    }

    /// How many attempts they run at once.
    #[must_use]
    pub fn slots(&self) -> u64 {
        let slots = |group: &Group| u64::from(group.workers) * u64::from(group.slots);
        self.workers.iter().map(slots).sum()
    }

    /// Tasks a second at `at` nanoseconds, and until when that holds.
    pub(super) fn rate_at(&self, at: u64) -> (f64, u64) {
        let (mut rate, mut until) = (self.arrivals.per_second, self.duration.0);
        for spike in &self.spikes {
            let (from, to) = (spike.at.0, spike.at.0 + spike.span.0);
            if (from..to).contains(&at) {
                rate *= spike.times;
            }
            for edge in [from, to] {
                if edge > at {
                    until = until.min(edge);
                }
            }
        }
        (rate, until)
    }

    /// How many tasks are expected to come.
    #[must_use]
    pub fn expected(&self) -> f64 {
        let (mut at, mut count) = (0, 0.0);
        while at < self.duration.0 {
            let (rate, until) = self.rate_at(at);
            count += rate * Span(until - at).seconds();
            at = until;
        }
        count
    }

    /// The work that comes a second, outside of spikes, over what all slots can do.
    #[must_use]
    pub fn offered_load(&self) -> f64 {
        self.arrivals.per_second * self.service.mean() / 1e9 / self.slots() as f64
    }

    /// Checks that the parts make sense together.
    ///
    /// # Errors
    /// The first part that does not.
    pub fn validate(&self) -> Result<(), Wrong> {
        let check = |right: bool, field: &'static str, text: String| match right {
            true => Ok(()),
            false => Err(Wrong { field, text }),
        };
        let workers = self.worker_count();
        let text = format!("{workers} workers; there must be 1 to {WORKERS_MAX} in all");
        check((1..=WORKERS_MAX).contains(&workers), "workers", text)?;
        for group in &self.workers {
            let text = format!("`{group}`: a worker has 1 to {SLOTS_MAX} slots");
            check((1..=SLOTS_MAX).contains(&group.slots), "workers", text)?;
        }
        let text = format!("{}; there must be 1 to {CLIENTS_MAX}", self.clients);
        check((1..=CLIENTS_MAX).contains(&self.clients), "clients", text)?;
        let text = "0; a client holds one task at least".to_owned();
        check(self.client_tasks > 0, "client-tasks", text)?;
        let text = "0; a queue has room for one task at least".to_owned();
        check(self.queue_size > 0, "queue-size", text)?;
        let text = "0s; tasks must come for some time, 60s for example".to_owned();
        check(self.duration.0 > 0, "duration", text)?;
        let text = format!(
            "{}; it must be shorter than the duration, {}",
            self.warmup, self.duration
        );
        check(self.warmup < self.duration, "warmup", text)?;
        let text = format!(
            "{}; from 500ms on, nobody could tell it from silence",
            self.latency
        );
        check(self.latency.0 < 500_000_000, "latency", text)?;
        for spike in &self.spikes {
            let text = format!("`{spike}` begins after the duration, {}", self.duration);
            check(spike.at < self.duration, "spike", text)?;
        }
        for loss in &self.worker_losses {
            let text = format!("`{loss}` comes after the duration, {}", self.duration);
            check(loss.at < self.duration, "worker-loss", text)?;
        }
        let lost: u64 = self
            .worker_losses
            .iter()
            .map(|loss| u64::from(loss.workers))
            .sum();
        let text = format!("{lost} workers are lost in all, but there are only {workers}");
        check(lost <= workers, "worker-loss", text)
    }
}

/// Equal workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Group {
    /// How many.
    pub workers: u16,
    /// How many attempts each runs at once.
    pub slots: u32,
}

/// How many tasks come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// Tasks a second.
    pub per_second: f64,
    /// As regular as a clock, instead of independent of each other.
    pub even: bool,
}

/// Shares of priorities, in parts of a hundred; they add up to a hundred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shares(pub Vec<(u8, u64)>);

/// A time at which more tasks come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Spike {
    /// How many times as many.
    pub times: f64,
    /// When it begins.
    pub at: Span,
    /// For how long.
    pub span: Span,
}

/// Workers that lose power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Loss {
    /// How many.
    pub workers: u16,
    /// When.
    pub at: Span,
    /// When they are back, if ever.
    pub span: Option<Span>,
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` are not workers; write 20x8 for twenty with eight slots each");
        let (workers, slots) = text.split_once('x').ok_or_else(wrong)?;
        Ok(Self {
            workers: workers.parse().map_err(|_| wrong())?,
            slots: slots.parse().map_err(|_| wrong())?,
        })
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is not a rate; write 500/s or 30/m, or even:500/s for regular ones")
        };
        let (even, rest) = match text.strip_prefix("even:") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (number, unit) = rest.split_once('/').ok_or_else(wrong)?;
        let per = match unit {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let per_second = number / per;
        if !(per_second > 0.0 && per_second <= 1e6) {
            return Err(format!(
                "`{text}`: a rate is above 0 and at most a million a second"
            ));
        }
        Ok(Self { per_second, even })
    }
}

/// A priority by its name or number.
fn priority(text: &str) -> Option<u8> {
    let known = match text {
        "high" => Priority::HIGH,
        "normal" => Priority::NORMAL,
        "low" => Priority::LOW,
        number => Priority::new(number.parse().ok()?)?,
    };
    Some(known.level() as u8)
}

/// What a priority is called.
pub(super) fn priority_name(level: u8) -> String {
    let names = [Priority::HIGH, Priority::NORMAL, Priority::LOW];
    let place = names.iter().position(|known| known.level() as u8 == level);
    place.map_or(level.to_string(), |place| {
        ["high", "normal", "low"][place].to_owned()
    })
}

impl FromStr for Shares {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` are not shares; write them like high:10%,normal:90%");
        let mut shares: Vec<(u8, u64)> = Vec::new();
        for part in text.split(',') {
            let (name, share) = part.split_once(':').ok_or_else(wrong)?;
            let level = priority(name).ok_or_else(|| {
                format!("`{name}` is not a priority; use high, normal, low, or 0 (most) to 7")
            })?;
            if shares.iter().any(|(other, _)| *other == level) {
                return Err(format!("`{text}`: {name} is there twice"));
            }
            let share = share.strip_suffix('%').ok_or_else(wrong)?;
            shares.push((level, share.parse().map_err(|_| wrong())?));
        }
        let sum = shares
            .iter()
            .try_fold(0u64, |sum, (_, share)| sum.checked_add(*share));
        match sum {
            Some(100) => Ok(Self(shares)),
            Some(sum) => Err(format!(
                "`{text}`: the shares add up to {sum}%, not to 100%"
            )),
            None => Err(wrong()),
        }
    }
}

/// The start and the length, if there is one, of `20s+10s`.
fn period(text: &str) -> Result<(Span, Option<Span>), String> {
    match text.split_once('+') {
        None => Ok((text.parse()?, None)),
        Some((at, span)) => Ok((at.parse()?, Some(span.parse()?))),
    }
}

impl FromStr for Spike {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a spike; write 10x@20s+10s for ten times at 20s for 10s");
        let (times, rest) = text.split_once("x@").ok_or_else(wrong)?;
        let times: f64 = times.parse().map_err(|_| wrong())?;
        if !(times > 0.0 && times <= 1e4) {
            return Err(format!(
                "`{text}`: a spike is more than 0 and at most 10000 times"
            ));
        }
        let (at, span) = period(rest)?;
        let span = span.ok_or_else(wrong)?;
        Ok(Self { times, at, span })
    }
}

impl FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a loss; write 2@30s for two workers at 30s, or 2@30s+10s if they come back"
            )
        };
        let (workers, rest) = text.split_once('@').ok_or_else(wrong)?;
        let (at, span) = period(rest)?;
        Ok(Self {
            workers: workers.parse().map_err(|_| wrong())?,
            at,
            span,
        })
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.workers, self.slots)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}/s",
            if self.even { "even:" } else { "" },
            self.per_second
        )
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (level, share)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}:{share}%", priority_name(*level))?;
        }
        Ok(())
    }
}

impl fmt::Display for Spike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x@{}+{}", self.times, self.at, self.span)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.workers, self.at)?;
        self.span.map_or(Ok(()), |span| write!(f, "+{span}"))
    }
}

/// As text in files.
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}

as_text!(Group, Rate, Shares, Spike, Loss);
