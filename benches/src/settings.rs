//! How long, how often, and what to print.

use std::path::PathBuf;
use std::time::Duration;

use crate::Problem;

/// What was asked for on the command line.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Only see whether everything runs; the figures mean nothing.
    pub(crate) quick: bool,
    /// How often each figure is measured.
    pub(crate) reps: usize,
    /// How long each run takes.
    pub(crate) span: Duration,
    /// Figures as JSON, one a line, appended to this file.
    pub(crate) json: Option<PathBuf>,
    /// Where pictures go.
    pub(crate) pictures: PathBuf,
}

const HELP: &str = "\
--quick         only see whether everything runs
--reps N        measure each figure so often [3]
--seconds S     each time for so long [3]
--json FILE     append the figures to this file, one JSON object a line
--pictures DIR  where pictures go [target/pictures]";

impl Settings {
    /// From arguments, of which some are cargo's and criterion's. `None`: help was asked for.
    pub(crate) fn from_arguments(
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<Option<Self>, Problem> {
        let mut settings = Self {
            quick: false,
            reps: 3,
            span: Duration::from_secs(3),
            json: None,
            pictures: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/pictures")),
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let missing = || format!("{argument} needs a value");
                arguments.next().ok_or_else(missing)
            };
            match argument.as_str() {
                "--quick" | "--test" => settings.quick = true,
                "--reps" => settings.reps = value()?.parse::<usize>()?.clamp(1, 100),
                "--seconds" => {
                    let seconds = value()?.parse::<f64>()?.clamp(0.05, 600.0);
                    settings.span = Duration::from_secs_f64(seconds);
                }
                "--json" => settings.json = Some(value()?.into()),
                "--pictures" => settings.pictures = value()?.into(),
                "--help" | "-h" => {
                    println!("{HELP}");
                    return Ok(None);
                }
                // What is meant for other benchmarks of the same command.
                _ => {}
            }
        }
        if settings.quick {
            settings.reps = 1;
            settings.span = Duration::from_millis(200);
        }
        Ok(Some(settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(texts: &[&str]) -> Result<Option<Settings>, Problem> {
        Settings::from_arguments(texts.iter().map(ToString::to_string))
    }

    #[test]
    fn foreign_arguments_are_passed_over_and_bad_ones_are_not() {
        let settings = from(&["--bench", "--quick", "a-name"]).unwrap().unwrap();
        assert!(settings.quick && settings.reps == 1);
        let settings = from(&["--reps", "5", "--seconds", "1.5"]).unwrap().unwrap();
        assert_eq!((settings.reps, settings.span.as_millis()), (5, 1_500));
        assert!(from(&["--help"]).unwrap().is_none());
        for wrong in [&["--reps"][..], &["--reps", "x"], &["--seconds", "x"]] {
            assert!(from(wrong).is_err(), "{wrong:?}");
        }
    }
}
