//! Findings over time as a picture: SVG that any browser shows, in its light or dark colours.

use std::fmt::Write as _;

use super::findings::{Findings, Moment};
use super::units::{figure, shown};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 128.0;
const TOP: f64 = 84.0;
const PANEL: f64 = 150.0;
const GAP: f64 = 52.0;

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#fff;--ink:#1c2530;--dim:#66717f;--rule:#e3e7ec;--blue:#2563c9;\
--grey:#8b95a3;--red:#c8402f;--green:#1d8a5f;--amber:#b87a08}\
@media(prefers-color-scheme:dark){:root{--page:#12171e;--ink:#e6ebf1;--dim:#94a0ae;--rule:#29323d;\
--blue:#6ea4ff;--grey:#78838f;--red:#ff7d6b;--green:#4cc593;--amber:#e5ac45}}\
.page{fill:var(--page)}text{font:12px system-ui,sans-serif;fill:var(--dim)}.big{font-size:17px;\
font-weight:600;fill:var(--ink)}.name{font-weight:600;fill:var(--ink)}.rule{stroke:var(--rule)}\
.line{fill:none;stroke-width:2;stroke-linejoin:round}.end{text-anchor:end}.mid{text-anchor:middle}\
.num{font-variant-numeric:tabular-nums}";

/// A curve of a panel.
struct Curve<'f> {
    name: &'static str,
    colour: &'static str,
    filled: bool,
    value: &'f dyn Fn(&Moment) -> Option<f64>,
}

/// How values become heights.
enum Scale {
    /// From 0 to this.
    Linear(f64),
    /// Powers of ten, from the first to the last exponent.
    Log(i32, i32),
}

impl Scale {
    fn linear(most: f64) -> Self {
        let step = nice(most.max(1e-9) / 4.0);
        Self::Linear((most.max(1e-9) / step).ceil() * step)
    }

    /// From 0 at the bottom to 1 at the top.
    fn share(&self, value: f64) -> f64 {
        let share = match self {
            Self::Linear(most) => value / most,
            Self::Log(low, high) => {
                (value.max(1.0).log10() - f64::from(*low)) / f64::from(high - low)
            }
        };
        share.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        match self {
            Self::Linear(most) => {
                let step = nice(most / 4.0);
                let count = (most / step).round() as u32;
                (0..=count).map(|n| f64::from(n) * step).collect()
            }
            Self::Log(low, high) => (*low..=*high).map(|power| 10f64.powi(power)).collect(),
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `value`.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors
        .iter()
        .find(|factor| **factor * power >= value * 0.999_999);
    factor.unwrap_or(&10.0) * power
}

/// Draws findings.
#[must_use]
pub fn plot(findings: &Findings) -> String {
    let moments = &findings.moments;
    let rate = |count: u64, moment: &Moment| Some(count as f64 / moment.seconds);
    let latency = |nanos: u64| (nanos > 0).then_some(nanos as f64);
    let in_time = |moment: &Moment| moment.at < findings.study.duration.seconds();
    let mut picture = Picture::new(findings);
    picture.panel(
        "Tasks a second",
        &[
            Curve {
                name: "offered",
                colour: "grey",
                filled: false,
                value: &|moment| rate(moment.offered, moment).filter(|_| in_time(moment)),
            },
            Curve {
                name: "rejected",
                colour: "red",
                filled: false,
                value: &|moment| rate(moment.rejected, moment),
            },
            Curve {
                name: "goodput",
                colour: "blue",
                filled: true,
                value: &|moment| rate(moment.completed, moment),
            },
        ],
        &figure,
        None,
    );
    picture.panel(
        "Tasks in the queue, at most",
        &[Curve {
            name: "queued",
            colour: "green",
            filled: true,
            value: &|moment| Some(moment.most_queued as f64),
        }],
        &figure,
        None,
    );
    let all = moments
        .iter()
        .flat_map(|moment| [latency(moment.p50), latency(moment.p99)]);
    let all: Vec<f64> = all.flatten().collect();
    let low = all.iter().copied().fold(f64::INFINITY, f64::min);
    let high = all.iter().copied().fold(1.0, f64::max);
    let low = if low.is_finite() {
        low.log10().floor() as i32
    } else {
        0
    };
    let high = (high.log10().ceil() as i32).max(low + 1);
    picture.panel(
        "Latency of what completed",
        &[
            Curve {
                name: "99%",
                colour: "amber",
                filled: false,
                value: &|moment| latency(moment.p99),
            },
            Curve {
                name: "median",
                colour: "blue",
                filled: false,
                value: &|moment| latency(moment.p50),
            },
        ],
        &|nanos| shown(nanos as u64).replace(".00", "").replace(".0", ""),
        Some(Scale::Log(low, high)),
    );
    picture.panel(
        "Slots in use",
        &[Curve {
            name: "utilisation",
            colour: "green",
            filled: true,
            value: &|moment| Some(moment.utilisation * 100.0),
        }],
        &|percent| format!("{percent:.0}%"),
        Some(Scale::Linear(100.0)),
    );
    picture.finish()
}

struct Picture<'f> {
    findings: &'f Findings,
    /// In seconds.
    until: f64,
    top: f64,
    body: String,
}

impl<'f> Picture<'f> {
    fn new(findings: &'f Findings) -> Self {
        let last = findings
            .moments
            .iter()
            .rev()
            .find(|moment| moment.completed > 0);
        let until = last.map_or(1.0, |moment| moment.at + moment.seconds);
        Self {
            findings,
            until: until.max(findings.study.duration.seconds()),
            top: TOP,
            body: String::new(),
        }
    }

    fn x(&self, seconds: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (seconds / self.until).min(1.0)
    }

    fn panel(
        &mut self,
        title: &str,
        curves: &[Curve<'_>],
        label: &dyn Fn(f64) -> String,
        scale: Option<Scale>,
    ) {
        let (top, bottom) = (self.top, self.top + PANEL);
        let moments = &self.findings.moments;
        let scale = scale.unwrap_or_else(|| {
            let values = moments.iter().flat_map(|moment| {
                let values = curves.iter().filter_map(|curve| (curve.value)(moment));
                values.collect::<Vec<f64>>()
            });
            Scale::linear(values.fold(0.0, f64::max))
        });
        let (x0, x1) = (self.x(0.0), self.x(self.until));
        let mut text = String::new();
        let _ = writeln!(
            text,
            "<text class=\"name\" x=\"{x0}\" y=\"{:.1}\">{title}</text>",
            top - 12.0
        );
        for tick in scale.ticks() {
            let y = bottom - PANEL * scale.share(tick);
            let _ = writeln!(
                text,
                "<line class=\"rule\" x1=\"{x0}\" x2=\"{x1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"end num\" x=\"{}\" y=\"{:.1}\">{}</text>",
                x0 - 8.0,
                y + 4.0,
                label(tick)
            );
        }
        text.push_str(&self.bands(top));
        let mut labels: Vec<(f64, &Curve<'_>)> = Vec::new();
        for curve in curves {
            let point = |moment: &Moment| {
                let value = (curve.value)(moment)?;
                let middle = moment.at + moment.seconds / 2.0;
                (middle <= self.until)
                    .then(|| (self.x(middle), bottom - PANEL * scale.share(value)))
            };
            let points: Vec<(f64, f64)> = moments.iter().filter_map(point).collect();
            let (Some(first), Some(last)) = (points.first(), points.last()) else {
                continue;
            };
            let path: Vec<String> = points
                .iter()
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            let path = path.join(" ");
            let colour = curve.colour;
            if curve.filled {
                let _ = writeln!(
                    text,
                    "<polygon points=\"{:.1},{bottom} {path} {:.1},{bottom}\" \
                     style=\"fill:var(--{colour})\" opacity=\".14\"/>",
                    first.0, last.0
                );
            }
            let _ = writeln!(
                text,
                "<polyline class=\"line\" points=\"{path}\" style=\"stroke:var(--{colour})\"/>"
            );
            labels.push((last.1, curve));
        }
        // Names stand where the curves end, and do not cover each other.
        labels.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut free = top;
        let mut left = labels.len() as f64;
        for (y, curve) in labels {
            let y = y.max(free).min(bottom - 15.0 * (left - 1.0));
            let _ = writeln!(
                text,
                "<text x=\"{}\" y=\"{:.1}\" style=\"fill:var(--{})\">{}</text>",
                x1 + 10.0,
                y + 4.0,
                curve.colour,
                curve.name
            );
            free = y + 15.0;
            left -= 1.0;
        }
        self.body.push_str(&text);
        self.times(bottom);
        self.top = bottom + GAP;
    }

    /// Spikes and losses behind the curves.
    fn bands(&self, top: f64) -> String {
        let study = &self.findings.study;
        let mut text = String::new();
        let mut band = |from: f64, to: f64, colour: &str, name: &str| {
            let (x, end) = (self.x(from), self.x(to));
            let _ = writeln!(
                text,
                "<rect x=\"{x:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{PANEL}\" \
                 style=\"fill:var(--{colour})\" opacity=\".08\"><title>{name}</title></rect>",
                (end - x).max(1.0)
            );
            if top == TOP {
                let _ = writeln!(
                    text,
                    "<text x=\"{:.1}\" y=\"{:.1}\" style=\"fill:var(--{colour})\">{name}</text>",
                    x + 4.0,
                    top + 13.0
                );
            }
        };
        for spike in &study.spikes {
            let from = spike.at.seconds();
            band(
                from,
                from + spike.span.seconds(),
                "amber",
                &format!("{}x", spike.times),
            );
        }
        for loss in &study.worker_losses {
            let from = loss.at.seconds();
            let to = loss.span.map_or(self.until, |span| from + span.seconds());
            band(from, to, "red", &format!("{} lost", loss.workers));
        }
        text
    }

    fn times(&mut self, bottom: f64) {
        let step = nice(self.until / 8.0);
        for n in 0..=(self.until / step) as u32 {
            let seconds = f64::from(n) * step;
            let _ = writeln!(
                self.body,
                "<text class=\"mid num\" x=\"{:.1}\" y=\"{:.1}\">{} s</text>",
                self.x(seconds),
                bottom + 18.0,
                figure(seconds)
            );
        }
    }

    fn finish(self) -> String {
        let findings = self.findings;
        let study = &findings.study;
        let groups: Vec<String> = study.workers.iter().map(ToString::to_string).collect();
        let title = format!(
            "{} workers, {} slots: {} of {}",
            study.worker_count(),
            findings.slots,
            study.arrivals,
            study.service
        );
        let waits = findings.waits.first().map(|waits| waits.latency);
        let more = format!(
            "{}; {} clients; queue of {}; {:.1}% of capacity offered; goodput {} a second; \
             latency {} median, {} at 99%; seed {}",
            groups.join(" + "),
            study.clients,
            figure(study.queue_size as f64),
            findings.offered_load * 100.0,
            figure(findings.goodput_per_second),
            shown(waits.map_or(0, |spread| spread.p50)),
            shown(waits.map_or(0, |spread| spread.p99)),
            study.seed
        );
        let height = self.top - GAP + 36.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
             <text class=\"big\" x=\"{LEFT}\" y=\"32\">{title}</text>\n\
             <text x=\"{LEFT}\" y=\"52\">{more}</text>\n{}</svg>\n",
            self.body
        )
    }
}
