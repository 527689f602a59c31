//! `sim explore`: searches small worlds, or follows one way through one of them.

use std::process::ExitCode;
use std::time::Instant;

use super::{Choice, Setup, explore, follow};
use crate::report::Class;

/// What `sim explore` takes.
pub const USAGE: &str =
    "sim explore [--depth N] [--faults N] [--world NAME] [--follow up0,down1,...]";

/// Runs `sim explore` with these arguments.
///
/// # Errors
/// If they make no sense.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let (mut depth, mut faults, mut world, mut path) = (6, 1, None, None);
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let value = rest.next().ok_or(format!("{name}: a value is missing"))?;
        let number = || {
            let number = value.parse::<u32>();
            number.map_err(|_| format!("{name}: not a number: {value}"))
        };
        match name.as_str() {
            "--depth" => depth = number()?,
            "--faults" => faults = number()?,
            "--world" => world = Some(value),
            "--follow" => {
                let words = value.split(',').filter(|word| !word.is_empty());
                path = Some(words.map(str::parse).collect::<Result<Vec<Choice>, _>>()?);
            }
            _ => return Err(format!("{name}: no such option\nusage: {USAGE}")),
        }
    }
    let mut setups = Setup::all(faults);
    if let Some(world) = world {
        let names: Vec<&str> = setups.iter().map(|setup| setup.name).collect();
        let names = names.join(", ");
        setups.retain(|setup| setup.name == world);
        if setups.is_empty() {
            return Err(format!("--world: {world} is none of {names}"));
        }
    }
    for setup in &setups {
        if let Some(path) = &path {
            let (log, broken) = follow(setup, path);
            println!("{}", log.join("\n"));
            return Ok(verdict(broken.as_deref()));
        }
        let started = Instant::now();
        let found = explore(setup, depth);
        println!(
            "{}: {} states, {} steps, {} endings to depth {depth} with {faults} faults; {:.1} s",
            setup.name,
            found.states,
            found.steps,
            found.endings,
            started.elapsed().as_secs_f64()
        );
        if let Some((path, broken)) = found.broken {
            let words: Vec<String> = path.iter().map(ToString::to_string).collect();
            println!(
                "sim explore --world {} --faults {faults} --follow {}",
                setup.name,
                words.join(",")
            );
            return Ok(verdict(Some(&broken)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn verdict(broken: Option<&str>) -> ExitCode {
    let Some(broken) = broken else {
        println!("no promise is broken");
        return ExitCode::SUCCESS;
    };
    println!("broken: {broken}");
    let class = if broken.starts_with("panic") {
        Class::Panic
    } else if broken.starts_with("left behind") {
        Class::Leak
    } else if broken.ends_with("does not end") {
        Class::Liveness
    } else {
        Class::Safety
    };
    ExitCode::from(class.exit_code())
}
