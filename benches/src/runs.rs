//! The benchmarks.

mod core_step;
mod lane;
mod latency;
mod loss;
mod memory;
mod overload;
mod pool;
mod scaling;
mod summary;
mod throughput;

use std::process::ExitCode;

use crate::Problem;
use crate::parts::allow_files;
use crate::report::Figures;
use crate::settings::Settings;
use crate::systems::Programs;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bench {
    /// No-op tasks a second.
    Throughput,
    /// One task at a time.
    Latency,
    /// Pool processes and commands.
    Pool,
    /// What a manager keeps.
    Memory,
    /// More workers.
    Scaling,
    /// More tasks than can run.
    Overload,
    /// A worker that is killed.
    Loss,
    /// All of them, and the figures that matter in one table.
    Summary,
}

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Pool => "pool",
            Self::Memory => "memory",
            Self::Scaling => "scaling",
            Self::Overload => "overload",
            Self::Loss => "loss",
            Self::Summary => "summary",
        }
    }

    fn run(self, settings: &Settings, programs: &Programs) -> Result<Figures, Problem> {
        println!("\n{}\n", self.name());
        let figures = match self {
            Self::Throughput => throughput::run(settings, programs),
            Self::Latency => latency::run(settings, programs),
            Self::Pool => pool::run(settings, programs),
            Self::Memory => memory::run(settings, programs),
            Self::Scaling => scaling::run(settings, programs),
            Self::Overload => overload::run(settings, programs),
            Self::Loss => loss::run(settings, programs),
            Self::Summary => summary::run(settings, programs),
        }?;
        if self != Self::Summary {
            figures.save(self.name(), settings)?;
        }
        Ok(figures)
    }
}

/// The main function of a benchmark.
#[must_use]
pub fn bench(which: Bench) -> ExitCode {
    match prepare(which) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{}: {problem}", which.name());
            ExitCode::FAILURE
        }
    }
}

fn prepare(which: Bench) -> Result<(), Problem> {
    let Some(settings) = Settings::from_arguments(std::env::args().skip(1))? else {
        return Ok(());
    };
    allow_files();
    let programs = Programs::build()?;
    which.run(&settings, &programs).map(|_| ())
}
