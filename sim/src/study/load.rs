//! The load of a study: when tasks come, and what each of them is.

use std::ops::Range;

use argon_core::rng::Rng;

use crate::options::{Host, S};
use crate::rng::{Draw, stream};
use crate::workload::{Book, Submission};

use super::config::Study;
use super::service::unit_exp;

/// Tasks by their number. Each is drawn again whenever somebody asks, so that none has to be kept.
pub(super) struct Load<'s> {
    study: &'s Study,
    clients: Range<Host>,
}

impl<'s> Load<'s> {
    pub(super) fn new(study: &'s Study, clients: Range<Host>) -> Self {
        Self { study, clients }
    }
}

impl Book for Load<'_> {
    fn task(&self, number: usize) -> Option<Submission> {
        let mut rng = stream(self.study.seed, &[31, number as u64]);
        let client = rng.between(
            u64::from(self.clients.start),
            u64::from(self.clients.end) - 1,
        );
        let run = self.study.service.draw(&mut rng);
        let mut task = Submission::plain(0, client as Host, run);
        let mut share = rng.up_to(99);
        for (level, percent) in &self.study.priorities.0 {
            if share < *percent {
                task.priority = *level;
                break;
            }
            share -= percent;
        }
        task.max_wait = self.study.max_wait.map(|span| span.0);
        Some(task)
    }
}

/// When tasks come, in nanoseconds from the start of the load.
pub(super) struct Arrivals<'s> {
    study: &'s Study,
    rng: Rng,
    at: f64,
}

impl<'s> Arrivals<'s> {
    pub(super) fn new(study: &'s Study) -> Self {
        let rng = stream(study.seed, &[30]);
        Self {
            study,
            rng,
            at: 0.0,
        }
    }
}

impl Iterator for Arrivals<'_> {
    type Item = u64;

    /// Goes on by one unit of expected tasks, or by an exponential number of them, through
    /// stretches of time in which the rate stays the same.
    fn next(&mut self) -> Option<u64> {
        let mut units = match self.study.arrivals.even {
            true => 1.0,
            false => unit_exp(&mut self.rng),
        };
        while self.at < self.study.duration.0 as f64 {
            let (rate, until) = self.study.rate_at(self.at as u64);
            let left = (until as f64 - self.at) * rate / S as f64;
            if units < left {
                self.at += units * S as f64 / rate;
                return Some(self.at as u64);
            }
            units -= left;
            self.at = until as f64;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrivals, Load};
    use crate::study::Study;
    use crate::workload::Book;

    fn study(arrivals: &str) -> Study {
        Study {
            arrivals: arrivals.parse().expect("a rate"),
            duration: "10s".parse().expect("a span"),
            spikes: vec!["10x@2s+1s".parse().expect("a spike")],
            priorities: "high:10%,normal:90%".parse().expect("shares"),
            ..Study::default()
        }
    }

    #[test]
    fn as_many_come_as_were_asked_for_in_and_out_of_the_spike() {
        for (arrivals, tolerance) in [("even:1000/s", 1), ("1000/s", 400)] {
            let study = study(arrivals);
            assert_eq!(study.expected(), 19_000.0);
            let all: Vec<u64> = Arrivals::new(&study).collect();
            assert!(all.is_sorted());
            assert!(all.len().abs_diff(19_000) <= tolerance, "{}", all.len());
            let spike = 2_000_000_000..3_000_000_000;
            let inside = all.iter().filter(|at| spike.contains(*at)).count();
            assert!(inside.abs_diff(10_000) <= tolerance, "{inside}");
        }
    }

    #[test]
    fn priorities_have_their_shares_and_a_task_is_always_the_same() {
        let study = study("1000/s");
        let load = Load::new(&study, 5..9);
        let high = (0..10_000).filter(|number| {
            let task = load.task(*number);
            assert_eq!(task, load.task(*number));
            task.is_some_and(|task| task.priority == 2 && (5..9).contains(&task.client))
        });
        assert!(high.count().abs_diff(1_000) < 100);
    }
}
