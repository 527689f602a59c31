//! Curves over time as a picture: SVG that any browser shows, in its light or dark colours.

use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 84.0;
const PANEL: f64 = 150.0;
const GAP: f64 = 56.0;

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#fff;--ink:#1c2530;--dim:#66717f;--rule:#e3e7ec;--blue:#2563c9;\
--grey:#8b95a3;--red:#c8402f;--amber:#b87a08}\
@media(prefers-color-scheme:dark){:root{--page:#12171e;--ink:#e6ebf1;--dim:#94a0ae;--rule:#29323d;\
--blue:#6ea4ff;--grey:#78838f;--red:#ff7d6b;--amber:#e5ac45}}\
.page{fill:var(--page)}text{font:12px system-ui,sans-serif;fill:var(--dim)}.big{font-size:17px;\
font-weight:600;fill:var(--ink)}.name{font-weight:600;fill:var(--ink)}.rule{stroke:var(--rule)}\
.line{fill:none;stroke-width:2;stroke-linejoin:round}.end{text-anchor:end}.mid{text-anchor:middle}";

/// One curve: points of seconds and values.
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    /// A name of the style above.
    pub(crate) colour: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Curves over each other.
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    /// Powers of ten instead of equal steps.
    pub(crate) log: bool,
    pub(crate) curves: Vec<Curve>,
}

/// Draws panels below each other, all from 0 to `until` seconds; `marks` names spans of time.
pub(crate) fn draw(
    title: &str,
    more: &str,
    until: f64,
    marks: &[(f64, f64, String)],
    panels: &[Panel],
) -> String {
    let x = |seconds: f64| LEFT + (WIDTH - LEFT - RIGHT) * (seconds / until).clamp(0.0, 1.0);
    let mut body = String::new();
    let mut top = TOP;
    for panel in panels {
        draw_panel(&mut body, panel, top, &x, marks);
        let bottom = top + PANEL;
        let step = nice(until / 8.0);
        for tick in 0..=(until / step) as u32 {
            let seconds = f64::from(tick) * step;
            let _ = writeln!(
                body,
                "<text class=\"mid\" x=\"{:.1}\" y=\"{:.1}\">{seconds} s</text>",
                x(seconds),
                bottom + 18.0
            );
        }
        top = bottom + GAP;
    }
    let height = top - GAP + 36.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text class=\"big\" x=\"{LEFT}\" y=\"30\">{title}</text>\n\
         <text x=\"{LEFT}\" y=\"50\">{more}</text>\n{body}</svg>\n"
    )
}

fn draw_panel(
    body: &mut String,
    panel: &Panel,
    top: f64,
    x: &dyn Fn(f64) -> f64,
    marks: &[(f64, f64, String)],
) {
    let bottom = top + PANEL;
    let values = || panel.curves.iter().flat_map(|curve| &curve.points);
    let most = values().map(|(_, value)| *value).fold(1e-9, f64::max);
    let ticks = ticks(most, panel.log, values().map(|(_, value)| *value));
    let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
    let share = |value: f64| match panel.log {
        true => (value.max(low).log10() - low.log10()) / (high.log10() - low.log10()),
        false => value / high,
    };
    let y = |value: f64| bottom - PANEL * share(value).clamp(0.0, 1.0);
    for (index, (from, to, name)) in marks.iter().enumerate() {
        if index % 2 == 0 {
            let _ = writeln!(
                body,
                "<rect x=\"{:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{PANEL}\" \
                 style=\"fill:var(--amber)\" opacity=\".08\"/>",
                x(*from),
                x(*to) - x(*from)
            );
        }
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
            x(*from) + 4.0,
            top + 13.0
        );
    }
    let _ = writeln!(
        body,
        "<text class=\"name\" x=\"{LEFT}\" y=\"{:.1}\">{}</text>",
        top - 10.0,
        panel.title
    );
    for tick in ticks {
        let at = y(tick);
        let _ = writeln!(
            body,
            "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{tick}{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            panel.unit
        );
    }
    let mut names = Vec::new();
    for curve in &panel.curves {
        let place = |(seconds, value): &(f64, f64)| format!("{:.1},{:.1}", x(*seconds), y(*value));
        let path: Vec<String> = curve.points.iter().map(place).collect();
        let _ = writeln!(
            body,
            "<polyline class=\"line\" points=\"{}\" style=\"stroke:var(--{})\"/>",
            path.join(" "),
            curve.colour
        );
        if let Some((_, value)) = curve.points.last() {
            names.push((y(*value), curve));
        }
    }
    // Names stand where the curves end, and do not cover each other.
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut least = top;
    for (place, curve) in names {
        let place = place.max(least);
        least = place + 15.0;
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{:.1}\" style=\"fill:var(--{})\">{}</text>",
            WIDTH - RIGHT + 8.0,
            place + 4.0,
            curve.colour,
            curve.name
        );
    }
}

/// Values with a line, lowest first.
fn ticks(most: f64, log: bool, values: impl Iterator<Item = f64>) -> Vec<f64> {
    if !log {
        let step = nice(most / 4.0);
        return (0..=(most / step).ceil() as u32)
            .map(|tick| f64::from(tick) * step)
            .collect();
    }
    let least = values.filter(|value| *value > 0.0).fold(most, f64::min);
    let low = least.log10().floor() as i32;
    let high = (most.log10().ceil() as i32).max(low + 1);
    (low..=high).map(|power| 10_f64.powi(power)).collect()
}

/// 1, 2 or 5 times a power of ten, at least `value`.
fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let fits = |factor: &&f64| **factor * power >= value * 0.999_999;
    factors.iter().find(fits).unwrap_or(&10.0) * power
}
