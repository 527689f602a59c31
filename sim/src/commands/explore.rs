//! `sim explore`: all that can happen in a small world.

use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use sim::explore::{Choice, Limits, Variant, explore, replay};
use sim::report::Class;

/// What to go through.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only this one: plain, at-most-once, tiny-queue, cancel, drain-worker, drain-manager, failover
    #[arg(long, value_name = "NAME", value_parser = variant)]
    variant: Option<(&'static str, Variant)>,
    /// Most choices, one after the other
    #[arg(long, default_value_t = 12)]
    depth: u32,
    /// Most faults
    #[arg(long, default_value_t = 1)]
    faults: u32,
    /// Most passages of time
    #[arg(long, default_value_t = 2)]
    ticks: u32,
    /// Follow one way instead, as a search has printed it
    #[arg(long, value_name = "CHOICES", value_delimiter = ',')]
    replay: Option<Vec<Choice>>,
}

fn variant(name: &str) -> Result<(&'static str, Variant), String> {
    let known = Variant::ALL.into_iter().find(|(known, _)| *known == name);
    known.ok_or_else(|| {
        let names = Variant::ALL.map(|(name, _)| name).join(", ");
        format!("one of {names}")
    })
}

/// Does it.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let limits = Limits {
        depth: arguments.depth,
        faults: arguments.faults,
        ticks: arguments.ticks,
    };
    let variants = match arguments.variant {
        Some(one) => vec![one],
        None => Variant::ALL.to_vec(),
    };
    if let Some(path) = &arguments.replay {
        let (trace, wrong) = replay(variants[0].1, path);
        super::show(&format!("{trace}\n"));
        return Ok(match wrong {
            None => ExitCode::SUCCESS,
            Some(text) => {
                println!("{text}");
                ExitCode::from(Class::Safety.exit_code())
            }
        });
    }
    for (name, variant) in variants {
        let started = Instant::now();
        match explore(variant, limits) {
            Ok(counts) => println!("{name}: {counts}, {:.1?}", started.elapsed()),
            Err(found) => {
                let path: Vec<String> = found.path.iter().map(ToString::to_string).collect();
                println!(
                    "{name}: {found}\n  replay: cargo run -p sim -- explore --variant {name} \
                     --replay {}",
                    path.join(",")
                );
                return Ok(ExitCode::from(Class::Safety.exit_code()));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
