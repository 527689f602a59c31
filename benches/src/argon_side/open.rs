//! An open loop: tasks come by the clock, whatever became of those before.
//!
//! Several clients take turns. As an application would, each holds no more than so many tasks at
//! once, which keep being retried, and turns the others away at once. A few important tasks come
//! at a constant rate and are never turned away.

use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use argon::{Client, LinkState, Outcome, Priority};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::{connect, spec};
use crate::Problem;
use crate::clock::now;
use crate::parts::announce;

/// How often tasks that are due are submitted.
const TICK: Duration = Duration::from_millis(1);
/// Parts of a second in which tasks that come are counted.
const MOMENTS: f64 = 10.0;

/// So much of the capacity is asked for, for so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Phase {
    pub(crate) times: f64,
    pub(crate) seconds: f64,
}

/// What comes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) clients: usize,
    /// Tasks a second that the cluster can run.
    pub(crate) capacity: f64,
    pub(crate) wait: Duration,
    /// Most tasks that the clients hold together, each its share.
    pub(crate) held: usize,
    /// Important tasks, as a share of the capacity.
    pub(crate) important: f64,
    pub(crate) phases: Vec<Phase>,
}

impl Load {
    /// As an argument of the part that makes the load.
    pub(crate) fn json(&self) -> Value {
        let phases = self.phases.iter().map(|phase| [phase.times, phase.seconds]);
        json!({
            "clients": self.clients,
            "capacity": self.capacity,
            "wait": self.wait.as_micros() as u64,
            "held": self.held,
            "important": self.important,
            "phases": phases.collect::<Vec<_>>(),
        })
    }

    /// What [`json`](Self::json) made.
    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        let phases = value["phases"].as_array()?.iter().map(|phase| {
            Some(Phase {
                times: phase[0].as_f64()?,
                seconds: phase[1].as_f64()?,
            })
        });
        Some(Self {
            clients: value["clients"].as_u64()? as usize,
            capacity: value["capacity"].as_f64()?,
            wait: Duration::from_micros(value["wait"].as_u64()?),
            held: value["held"].as_u64()? as usize,
            important: value["important"].as_f64()?,
            phases: phases.collect::<Option<_>>()?,
        })
    }

    /// In seconds.
    pub(crate) fn span(&self) -> f64 {
        self.phases.iter().map(|phase| phase.seconds).sum()
    }

    /// Tasks of normal and of high priority that are due in the first `seconds`.
    fn due(&self, seconds: f64) -> (u64, u64) {
        let (mut from, mut all) = (0.0, 0.0);
        for phase in &self.phases {
            let span = (seconds - from).clamp(0.0, phase.seconds);
            all += (phase.times - self.important) * span;
            from += phase.seconds;
        }
        let important = self.important * seconds.min(from) * self.capacity;
        ((all * self.capacity) as u64, important as u64)
    }
}

/// A task that has ended, with times in nanoseconds since the beginning.
struct Row {
    important: bool,
    came: u64,
    ended: u64,
    waited: u64,
    ran: u64,
    completed: bool,
}

/// Makes the load, then prints what became of each task: `p priority came ended waited ran
/// completed`; and `m moment offered turned-away` for each tenth of a second.
pub(crate) async fn open(manager: &str, load: Value) -> Result<(), Problem> {
    let load = Load::from_json(&load).ok_or("that is no load")?;
    let clients = clients(manager, &load).await?;
    announce("begin");
    // Each task that is due has its place, so no row finds the channel full.
    let (normal, important) = load.due(load.span());
    let (tell, mut rows) = mpsc::channel((normal + important).max(1) as usize);
    let held: Vec<_> = clients
        .iter()
        .map(|_| Arc::new(AtomicU64::new(0)))
        .collect();
    let most = (load.held / clients.len()) as u64;
    let begun = now();
    let mut moments: Vec<[u64; 2]> = vec![[0; 2]; (load.span() * MOMENTS) as usize + 1];
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut sent = (0, 0);
    let mut turn = 0;
    loop {
        ticks.tick().await;
        let seconds = (now() - begun) as f64 / 1e9;
        if seconds >= load.span() {
            break;
        }
        let due = load.due(seconds);
        let moment = &mut moments[(seconds * MOMENTS) as usize];
        let count = (due.0 - sent.0) + (due.1 - sent.1);
        let important = due.1 - sent.1;
        sent = due;
        for number in 0..count {
            let important = number < important;
            moment[0] += 1;
            turn = (turn + 1) % clients.len();
            let held = &held[turn];
            if !important && held.load(Relaxed) >= most {
                moment[1] += 1;
                continue;
            }
            held.fetch_add(u64::from(!important), Relaxed);
            let one = one(clients[turn].clone(), load.wait, important, begun);
            let (tell, held) = (tell.clone(), Arc::clone(held));
            tokio::spawn(async move {
                let row = one.await;
                held.fetch_sub(u64::from(!important), Relaxed);
                let _ = tell.try_send(row);
            });
        }
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    for (moment, [offered, turned]) in moments.iter().enumerate() {
        writeln!(out, "m {moment} {offered} {turned}")?;
    }
    // What has not ended is of no interest: a load that ends here never will.
    while let Ok(row) = rows.try_recv() {
        let row: Row = row?;
        writeln!(
            out,
            "p {} {} {} {} {} {}",
            u8::from(row.important),
            row.came,
            row.ended,
            row.waited,
            row.ran,
            u8::from(row.completed),
        )?;
    }
    writeln!(out, "end")?;
    Ok(())
}

async fn clients(manager: &str, load: &Load) -> Result<Vec<Client>, Problem> {
    let mut clients = Vec::new();
    for _ in 0..load.clients {
        let client = connect(manager, load.held)?;
        while !matches!(client.link(), LinkState::Connected { .. }) {
            client.link_changed().await;
        }
        clients.push(client);
    }
    Ok(clients)
}

async fn one(client: Client, wait: Duration, important: bool, begun: u64) -> Result<Row, Problem> {
    let mut spec = spec(wait);
    if important {
        spec.priority = Priority::HIGH;
    }
    let came = now() - begun;
    let ended = client.submit(spec).await?.await;
    let (waited, ran, completed) = match ended.outcome {
        Outcome::Completed(how) => (how.last.waited.0, how.last.ran.0, true),
        _ => (0, 0, false),
    };
    Ok(Row {
        important,
        came,
        ended: now() - begun,
        waited,
        ran,
        completed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_survives_being_an_argument_and_comes_by_the_clock() {
        let phase = |times, seconds| Phase { times, seconds };
        let load = Load {
            clients: 3,
            capacity: 1_000.0,
            wait: Duration::from_millis(10),
            held: 7,
            important: 0.1,
            phases: vec![phase(0.5, 2.0), phase(5.0, 1.0)],
        };
        assert_eq!(Load::from_json(&load.json()), Some(load.clone()));
        assert_eq!(load.due(0.0), (0, 0));
        assert_eq!(load.due(1.0), (400, 100));
        assert_eq!(load.due(2.5), (800 + 2_450, 250));
        assert_eq!(load.due(9.0), (800 + 4_900, 300));
    }
}
