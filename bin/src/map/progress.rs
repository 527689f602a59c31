//! How far `map` is, for people.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const REDRAWS_PER_SECOND: u8 = 10;

/// A bar on standard error if that is a terminal; else nothing.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    failed: u64,
    total: bool,
}

impl Progress {
    pub(crate) fn new(wanted: bool) -> Self {
        let bar = if wanted && std::io::stderr().is_terminal() {
            let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
            let bar = ProgressBar::with_draw_target(None, target);
            bar.set_style(style("{spinner} {pos} done  {per_sec}  {elapsed}  {msg}"));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        } else {
            ProgressBar::hidden()
        };
        Self {
            bar,
            failed: 0,
            total: false,
        }
    }

    /// There are this many items; said once that is known.
    pub(crate) fn set_total(&mut self, total: u64) {
        if !self.total {
            self.total = true;
            self.bar.set_length(total);
            self.bar
                .set_style(style("{wide_bar} {pos}/{len}  {per_sec}  ETA {eta}  {msg}"));
        }
    }

    /// Some were done in an earlier run: they say nothing about the rate.
    pub(crate) fn skip(&mut self) {
        self.bar.inc(1);
        self.bar.reset_eta();
    }

    /// One more has ended.
    pub(crate) fn ended(&mut self, failed: bool) {
        self.bar.inc(1);
        if failed {
            self.failed += 1;
            self.bar.set_message(format!("{} failed", self.failed));
        }
    }

    /// Shows a line instead of a count.
    pub(crate) fn note(&self, text: String) {
        self.bar.set_style(style("{spinner} {elapsed}  {msg}"));
        self.bar.set_message(text);
    }

    /// For whoever writes beside the bar.
    pub(crate) fn screen(&self) -> Screen {
        Screen(self.bar.clone())
    }
}

impl Drop for Progress {
    /// Takes the bar away.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The terminal that the bar may be on.
#[derive(Clone, Debug)]
pub(crate) struct Screen(ProgressBar);

impl Screen {
    /// Writes around the bar, so that both can be on one terminal.
    pub(crate) fn around<R>(&self, write: impl FnOnce() -> R) -> R {
        self.0.suspend(write)
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
