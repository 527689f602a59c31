//! A lane: one system with its manager and its worker, to which loads are sent by turns with those
//! of other lanes.

use std::time::Duration;

use serde_json::Value;

use crate::Problem;
use crate::process::{Process, SLACK};
use crate::report::Samples;
use crate::settings::Settings;
use crate::systems::{Programs, Server};

/// What is behind a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    /// The floor's relay.
    Relay,
    /// The least manager and a worker that echoes.
    Least,
    /// The same with one child behind the worker.
    LeastPool,
    /// The same with so many children of so many tasks each.
    LeastChildren(usize, usize),
    /// Argon with tasks on two threads of the worker.
    Threads,
    /// Argon with so many pool processes.
    Pool(u32),
    /// gearmand with one I/O thread, and so many workers of so many grabs.
    Gearman(usize, usize),
}

impl System {
    pub(super) fn name(self) -> String {
        match self {
            Self::Relay => "floor: relay".into(),
            Self::Least => "floor: least manager".into(),
            Self::LeastPool => "floor: least manager, pool of 1 child".into(),
            Self::LeastChildren(count, tasks) => {
                format!("floor: least manager, {count} children of {tasks}")
            }
            Self::Threads => "argon, thread executor".into(),
            Self::Pool(1) => "argon, pool of 1 child".into(),
            Self::Pool(count) => format!("argon, pool of {count} children"),
            Self::Gearman(1, grabs) => format!("gearmand -t 0, 1 worker of {grabs}"),
            Self::Gearman(workers, grabs) => {
                format!("gearmand -t 0, {workers} workers of {grabs}")
            }
        }
    }

    fn client(self) -> &'static str {
        match self {
            Self::Relay | Self::Least | Self::LeastPool | Self::LeastChildren(..) => "floor-client",
            Self::Threads | Self::Pool(_) => "argon-client",
            Self::Gearman(..) => "gearman-client",
        }
    }
}

/// A system that runs, and what was measured of it.
pub(super) struct Lane {
    pub(super) system: System,
    programs: Programs,
    // Before the server: it is the first to go.
    worker: Option<Process>,
    server: Server,
    pub(super) measured: Measured,
}

/// What loads said.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    /// Tasks a second.
    pub(super) rate: Samples,
    /// Processor time of the manager for each task, in microseconds.
    pub(super) cpu: Samples,
    /// Latency, in microseconds.
    pub(super) p50: Samples,
    pub(super) p99: Samples,
    pub(super) p999: Samples,
    /// How long tasks ran, as they measured it, in seconds.
    pub(super) waited: Samples,
}

impl Lane {
    /// Starts a system; `None` if it is not installed here.
    pub(super) fn start(programs: &Programs, system: System) -> Result<Option<Self>, Problem> {
        let mut worker = None;
        let server = match system {
            System::Relay => programs.listening(&["floor-relay"])?,
            System::Least | System::LeastPool | System::LeastChildren(..) => {
                let server = programs.listening(&["floor-manager", "100000"])?;
                let address = server.address.as_str();
                worker = Some(match system {
                    System::LeastChildren(count, tasks) => {
                        let (count, tasks) = (count.to_string(), tasks.to_string());
                        programs.ready(&["floor-children", address, &count, &tasks])?
                    }
                    System::LeastPool => programs.ready(&["floor-pool", address])?,
                    _ => programs.ready(&["floor-worker", address])?,
                });
                server
            }
            System::Threads | System::Pool(_) => {
                let server = programs.manager(&["--queue-size", "100000"])?;
                let (started, slots) = match system {
                    System::Pool(count) => {
                        let children = count.to_string();
                        (programs.worker(&server.address, &children)?, count)
                    }
                    _ => (programs.part(&["argon-worker", &server.address, "2"])?, 2),
                };
                worker = Some(started);
                server.wait_capacity(u64::from(slots))?;
                server
            }
            System::Gearman(workers, grabs) => {
                let Some(server) = programs.gearmand()? else {
                    return Ok(None);
                };
                let (workers, grabs) = (workers.to_string(), grabs.to_string());
                let arguments = ["gearman-worker", &server.address, &workers, &grabs];
                worker = Some(programs.ready(&arguments)?);
                server
            }
        };
        Ok(Some(Self {
            system,
            programs: programs.clone(),
            server,
            worker,
            measured: Measured::default(),
        }))
    }

    /// Sends a load through, and takes down what it says.
    pub(super) fn measure(
        &mut self,
        in_flight: usize,
        span: Duration,
        wait: Duration,
    ) -> Result<(), Problem> {
        if self.system == System::Relay {
            // It pairs each client with a worker of its own.
            self.worker = None;
            let arguments = ["floor-worker", &self.server.address];
            self.worker = Some(self.programs.ready(&arguments)?);
        }
        let (in_flight, micros) = (in_flight.to_string(), span.as_micros().to_string());
        let wait = wait.as_micros().to_string();
        let before = self.server.process.cpu()?;
        let load = self.programs.part(&[
            self.system.client(),
            &self.server.address,
            &in_flight,
            &micros,
            &wait,
        ])?;
        let report = load.report(span + SLACK)?;
        let cpu = self.server.process.cpu()? - before;
        let number = |name: &str| report[name].as_f64().unwrap_or(f64::NAN);
        let measured = &mut self.measured;
        measured.rate.add(number("rate"));
        measured.cpu.add(cpu.as_secs_f64() * 1e6 / number("all"));
        measured.p50.add(number("p50"));
        measured.p99.add(number("p99"));
        measured.p999.add(number("p999"));
        if let Value::Number(_) = report["waited"] {
            measured.waited.add(number("waited"));
        }
        Ok(())
    }
}

/// Measures systems by turns, so that what the machine does meanwhile meets them all. Those that
/// are not installed are named and left out.
pub(super) fn by_turns(
    settings: &Settings,
    programs: &Programs,
    systems: &[System],
    in_flight: usize,
    wait: Duration,
) -> Result<Vec<Lane>, Problem> {
    let mut lanes = Vec::new();
    for system in systems {
        match Lane::start(programs, *system)? {
            Some(lane) => lanes.push(lane),
            None => println!("{} is not installed: no comparison with it", system.name()),
        }
    }
    for _ in 0..settings.reps {
        for lane in &mut lanes {
            lane.measure(in_flight, settings.span, wait)?;
        }
    }
    Ok(lanes)
}

/// What was measured of a system.
pub(super) fn of(lanes: &[Lane], system: System) -> Option<&Measured> {
    let lane = lanes.iter().find(|lane| lane.system == system)?;
    Some(&lane.measured)
}

/// How many times as much.
pub(super) fn ratio(this: Option<&Samples>, that: Option<&Samples>) -> f64 {
    match (this, that) {
        (Some(this), Some(that)) => this.median() / that.median(),
        _ => f64::NAN,
    }
}
