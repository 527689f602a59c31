//! `sim study`: a cluster that is yet to be bought.

use std::process::ExitCode;

use sim::study::Arguments;

/// Exits with the code of a promise that was broken, if one was.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let (text, failure) = arguments.run()?;
    print!("{text}");
    Ok(failure.map_or(ExitCode::SUCCESS, |failure| {
        ExitCode::from(failure.class.exit_code())
    }))
}
