//! Curves over time as a picture: SVG that any browser shows, in its light or dark colours.

use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 84.0;
const PANEL: f64 = 150.0;
const GAP: f64 = 56.0;
/// Between two names at the right.
const LINE: f64 = 15.0;

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#fff;--ink:#1c2530;--dim:#66717f;--rule:#e3e7ec;--blue:#2563c9;\
--grey:#8b95a3;--red:#c8402f;--green:#1d8a5f;--amber:#b87a08}\
@media(prefers-color-scheme:dark){:root{--page:#12171e;--ink:#e6ebf1;--dim:#94a0ae;--rule:#29323d;\
--blue:#6ea4ff;--grey:#78838f;--red:#ff7d6b;--green:#4cc593;--amber:#e5ac45}}\
.page{fill:var(--page)}text{font:12px system-ui,sans-serif;fill:var(--dim)}.big{font-size:17px;\
font-weight:600;fill:var(--ink)}.name{font-weight:600;fill:var(--ink)}.rule{stroke:var(--rule)}\
.line{fill:none;stroke-width:2;stroke-linejoin:round}.end{text-anchor:end}.mid{text-anchor:middle}\
.num{font-variant-numeric:tabular-nums}";

/// Panels below each other, over the same span of time.
pub struct Chart {
    /// In one line.
    pub title: String,
    /// What else is to be known, in one line.
    pub more: String,
    /// Where the span ends, in seconds; it begins at 0.
    pub until: f64,
    /// Parts of the span that have a name.
    pub bands: Vec<Band>,
    /// From top to bottom.
    pub panels: Vec<Panel>,
}

/// A part of the span.
pub struct Band {
    /// Where it begins, in seconds.
    pub from: f64,
    /// Where it ends, in seconds.
    pub to: f64,
    /// A colour of the style: amber, blue, green, grey or red; without one it has a name alone.
    pub colour: Option<&'static str>,
    /// What it is called, in the first panel.
    pub name: String,
}

/// Curves over each other.
pub struct Panel {
    /// Above it.
    pub title: String,
    /// How heights are written.
    pub label: fn(f64) -> String,
    /// How values become heights.
    pub scale: Scale,
    /// The curves.
    pub curves: Vec<Curve>,
}

/// How values become heights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// From 0 to the largest value, or to this.
    Linear(Option<f64>),
    /// Powers of ten, as many as there are between the values.
    Log,
}

/// One curve.
pub struct Curve {
    /// Where it ends, at the right.
    pub name: &'static str,
    /// A colour of the style: amber, blue, green, grey or red.
    pub colour: &'static str,
    /// Whether what is below it is coloured too.
    pub filled: bool,
    /// Seconds and values, in order.
    pub points: Vec<(f64, f64)>,
}

impl Chart {
    /// The picture.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut body = String::new();
        let mut top = TOP;
        for panel in &self.panels {
            let drawn = Drawn::new(panel, top);
            self.draw(&mut body, &drawn);
            self.times(&mut body, top + PANEL);
            top += PANEL + GAP;
        }
        let height = top - GAP + 36.0;
        let (title, more) = (escaped(&self.title), escaped(&self.more));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
             <text class=\"big\" x=\"{LEFT}\" y=\"30\">{title}</text>\n\
             <text x=\"{LEFT}\" y=\"50\">{more}</text>\n{body}</svg>\n"
        )
    }

    fn x(&self, seconds: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (seconds / self.until).clamp(0.0, 1.0)
    }

    fn draw(&self, text: &mut String, drawn: &Drawn<'_>) {
        let panel = drawn.panel;
        let _ = writeln!(
            text,
            "<text class=\"name\" x=\"{LEFT}\" y=\"{:.1}\">{}</text>",
            drawn.top - 12.0,
            escaped(&panel.title)
        );
        for tick in &drawn.ticks {
            let y = drawn.y(*tick);
            let _ = writeln!(
                text,
                "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"end num\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                escaped(&(panel.label)(*tick))
            );
        }
        self.bands(text, drawn.top);
        let mut names = Vec::new();
        for curve in &panel.curves {
            if let Some(y) = self.curve(text, drawn, curve) {
                names.push((y, curve));
            }
        }
        drawn.names(text, names);
    }

    fn bands(&self, text: &mut String, top: f64) {
        for band in &self.bands {
            let (x, end) = (self.x(band.from), self.x(band.to));
            let name = escaped(&band.name);
            if let Some(colour) = band.colour {
                let _ = writeln!(
                    text,
                    "<rect x=\"{x:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{PANEL}\" \
                     style=\"fill:var(--{colour})\" opacity=\".08\"><title>{name}</title></rect>",
                    (end - x).max(1.0)
                );
            }
            if top == TOP {
                let _ = writeln!(
                    text,
                    "<text x=\"{:.1}\" y=\"{:.1}\" style=\"fill:var(--{})\">{name}</text>",
                    x + 4.0,
                    top + 13.0,
                    band.colour.unwrap_or("dim")
                );
            }
        }
    }

    /// Draws a curve; the height at which it ends.
    fn curve(&self, text: &mut String, drawn: &Drawn<'_>, curve: &Curve) -> Option<f64> {
        let within = curve.points.iter().filter(|(at, _)| *at <= self.until);
        let points: Vec<(f64, f64)> = within
            .map(|(at, value)| (self.x(*at), drawn.y(*value)))
            .collect();
        let (first, last) = (points.first()?, points.last()?);
        let path: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let (path, colour) = (path.join(" "), curve.colour);
        if curve.filled {
            let bottom = drawn.top + PANEL;
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
        Some(last.1)
    }

    fn times(&self, text: &mut String, bottom: f64) {
        let step = nice(self.until / 8.0);
        for n in 0..=(self.until / step) as u32 {
            let seconds = f64::from(n) * step;
            let _ = writeln!(
                text,
                "<text class=\"mid num\" x=\"{:.1}\" y=\"{:.1}\">{} s</text>",
                self.x(seconds),
                bottom + 18.0,
                (seconds * 1e6).round() / 1e6
            );
        }
    }
}

/// A panel in its place.
struct Drawn<'p> {
    panel: &'p Panel,
    top: f64,
    /// Values with a line, lowest first; the last is the height of the panel.
    ticks: Vec<f64>,
}

impl<'p> Drawn<'p> {
    fn new(panel: &'p Panel, top: f64) -> Self {
        let values = || panel.curves.iter().flat_map(|curve| &curve.points);
        let most = values().map(|(_, value)| *value).fold(1e-9, f64::max);
        let ticks = match panel.scale {
            Scale::Linear(end) => {
                let end = end.unwrap_or(most);
                let step = nice(end / 4.0);
                let count = (end / step).ceil() as u32;
                (0..=count).map(|n| f64::from(n) * step).collect()
            }
            Scale::Log => {
                let above = values()
                    .map(|(_, value)| *value)
                    .filter(|value| *value > 0.0);
                let low = above.fold(most, f64::min).log10().floor() as i32;
                let high = (most.log10().ceil() as i32).max(low + 1);
                (low..=high).map(|power| 10f64.powi(power)).collect()
            }
        };
        Self { panel, top, ticks }
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = (self.ticks[0], self.ticks[self.ticks.len() - 1]);
        let share = match self.panel.scale {
            Scale::Linear(_) => value / high,
            Scale::Log => (value.max(low).log10() - low.log10()) / (high.log10() - low.log10()),
        };
        self.top + PANEL * (1.0 - share.clamp(0.0, 1.0))
    }

    /// Names stand where the curves end, and do not cover each other.
    fn names(&self, text: &mut String, mut names: Vec<(f64, &Curve)>) {
        names.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut free = self.top;
        let mut left = names.len() as f64;
        for (y, curve) in names {
            let y = y.max(free).min(self.top + PANEL - LINE * (left - 1.0));
            let _ = writeln!(
                text,
                "<text x=\"{:.1}\" y=\"{:.1}\" style=\"fill:var(--{})\">{}</text>",
                WIDTH - RIGHT + 10.0,
                y + 4.0,
                curve.colour,
                curve.name
            );
            free = y + LINE;
            left -= 1.0;
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `value`.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let fits = |factor: &&f64| **factor * power >= value * 0.999_999;
    factors.iter().find(fits).unwrap_or(&10.0) * power
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
