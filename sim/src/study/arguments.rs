//! A study as options of a command line.

use std::fs;

use clap::Args;

use crate::report::Failure;

use super::config::{Group, Loss, Rate, Shares, Spike, Study};
use super::service::Service;
use super::units::Span;

/// What to study, and where the findings go. Options go before what the file says, and that before
/// the defaults.
#[derive(Clone, Debug, Default, Args)]
pub struct Arguments {
    /// A study as JSON, with the options' names (`_` for `-`) and words
    #[arg(long, value_name = "FILE")]
    pub file: Option<String>,
    /// Workers and their slots, like 20x8; may be repeated [default: 4x8]
    #[arg(long, value_name = "NxSLOTS")]
    pub workers: Vec<Group>,
    /// Clients that share the load [default: 4]
    #[arg(long)]
    pub clients: Option<u16>,
    /// Most tasks that the manager's queue holds [default: 10000]
    #[arg(long)]
    pub queue_size: Option<u64>,
    /// Tasks that come, like 500/s, or even:500/s [default: 1000/s]
    #[arg(long, value_name = "RATE")]
    pub arrivals: Option<Rate>,
    /// How long tasks run: fixed:20ms, uniform:LOW,HIGH, exp:MEAN, lognormal:P50,P99 or
    /// pareto:P50,P99 [default: exp:20ms]
    #[arg(long)]
    pub service: Option<Service>,
    /// Shares of priorities, like high:10%,normal:90% [default: normal:100%]
    #[arg(long, value_name = "SHARES")]
    pub priorities: Option<Shares>,
    /// For how long tasks come [default: 60s]
    #[arg(long)]
    pub duration: Option<Span>,
    /// How much of the beginning is left out of the figures [default: 0s]
    #[arg(long)]
    pub warmup: Option<Span>,
    /// How long a message takes one way [default: 200us]
    #[arg(long)]
    pub latency: Option<Span>,
    /// How often a client submits a rejected task again [default: 10]
    #[arg(long)]
    pub retries: Option<u32>,
    /// Most tasks that a client holds, the ones that it is to submit again included; it turns more
    /// away [default: 65536]
    #[arg(long)]
    pub client_tasks: Option<u64>,
    /// Longest wait in the queue that tasks put up with
    #[arg(long)]
    pub max_wait: Option<Span>,
    /// More tasks for a while, like 10x@20s+10s; may be repeated
    #[arg(long = "spike", value_name = "TIMESx@START+SPAN")]
    pub spikes: Vec<Spike>,
    /// Workers that lose power, like 2@30s, or 2@30s+10s; may be repeated
    #[arg(long = "worker-loss", value_name = "N@START[+SPAN]")]
    pub worker_losses: Vec<Loss>,
    /// Decides every chance [default: 1]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Draw the findings over time into this file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

impl Arguments {
    /// The study that they describe.
    ///
    /// # Errors
    /// If the file cannot be read or understood.
    pub fn study(&self) -> Result<Study, String> {
        let mut study = match &self.file {
            None => Study::default(),
            Some(file) => {
                let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
                serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))?
            }
        };
        fn put<T: Clone>(to: &mut T, from: &Option<T>) {
            if let Some(from) = from {
                to.clone_from(from);
            }
        }
        fn put_all<T: Clone>(to: &mut Vec<T>, from: &[T]) {
            if !from.is_empty() {
                *to = from.to_vec();
            }
        }
        put_all(&mut study.workers, &self.workers);
        put_all(&mut study.spikes, &self.spikes);
        put_all(&mut study.worker_losses, &self.worker_losses);
        put(&mut study.clients, &self.clients);
        put(&mut study.queue_size, &self.queue_size);
        put(&mut study.arrivals, &self.arrivals);
        put(&mut study.service, &self.service);
        put(&mut study.priorities, &self.priorities);
        put(&mut study.duration, &self.duration);
        put(&mut study.warmup, &self.warmup);
        put(&mut study.latency, &self.latency);
        put(&mut study.retries, &self.retries);
        put(&mut study.client_tasks, &self.client_tasks);
        put(&mut study.seed, &self.seed);
        if self.max_wait.is_some() {
            study.max_wait = self.max_wait;
        }
        Ok(study)
    }

    /// Runs the study, draws it where it is wanted, and gives back what to print; and the promise
    /// that was broken, if one was.
    ///
    /// # Errors
    /// If the study makes no sense, or a file cannot be read or written.
    pub fn run(&self) -> Result<(String, Option<Failure>), String> {
        let study = self.study()?;
        let findings = super::run(&study).map_err(|wrong| wrong.to_string())?;
        if let Some(file) = &self.svg {
            let text = super::plot(&findings);
            fs::write(file, text).map_err(|error| format!("{file}: {error}"))?;
        }
        let text = match self.json {
            true => findings.json() + "\n",
            false => findings.to_string(),
        };
        Ok((text, findings.failure))
    }
}
