//! A step of the core alone, as the benchmark `manager` of this package measures it.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::Problem;
use crate::report::Figures;
use crate::settings::Settings;
use crate::systems::Programs;

const GROUP: &str = "manager_step";
const SMALL: &str = "10000_queued_1000_workers";
const LARGE: &str = "1000000_queued_100000_workers";

/// Nanoseconds a task with few tasks and workers, and how many times as long with many.
pub(super) fn run(settings: &Settings, programs: &Programs) -> Result<Figures, Problem> {
    let workspace = programs.workspace();
    let target = env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| workspace.join("target"), PathBuf::from);
    let mut figures = Figures::default();
    let mut nanos = [f64::NAN; 2];
    for (case, nanos) in [SMALL, LARGE].into_iter().zip(&mut nanos) {
        let file = target.join(format!("criterion/{GROUP}/{case}/new/estimates.json"));
        // Else a run that measured nothing would be taken for the one before.
        let _ = fs::remove_file(&file);
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args([
                "bench",
                "--quiet",
                "-p",
                "argon-benches",
                "--bench",
                "manager",
                "--",
            ])
            .arg(format!("{GROUP}/{case}"))
            .current_dir(workspace);
        if settings.quick {
            command.arg("--quick");
        }
        if !command.status()?.success() {
            return Err(format!("{GROUP}/{case} does not run").into());
        }
        let text =
            fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let found: Value = serde_json::from_str(&text)?;
        let median = &found["median"]["point_estimate"];
        *nanos = median.as_f64().ok_or("no median")?;
    }
    figures.add("core step ns", nanos[0]);
    figures.add("core step, large over small", nanos[1] / nanos[0]);
    Ok(figures)
}
