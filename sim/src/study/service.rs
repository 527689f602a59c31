//! How long tasks take: distributions with the two or three parameters that people know.

use std::fmt;
use std::str::FromStr;

use argon_core::rng::Rng;
use serde::{Deserialize, Serialize};

use super::units::Span;

/// The distribution of run times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Service {
    /// All the same: `fixed:20ms`.
    Fixed(Span),
    /// Anything between two lengths: `uniform:10ms,30ms`.
    Uniform(Span, Span),
    /// Exponential with this mean: `exp:20ms`.
    Exp(Span),
    /// Log-normal with this median and 99th percentile: `lognormal:20ms,200ms`.
    Lognormal(Span, Span),
    /// Pareto with this median and 99th percentile, cut off at a hundred times the latter:
    /// `pareto:20ms,200ms`.
    Pareto(Span, Span),
}

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;
/// Beyond so many times its 99th percentile, a Pareto distribution is cut off.
const CUT: f64 = 100.0;

/// A number above 0 and at most 1.
pub(super) fn unit(rng: &mut Rng) -> f64 {
    ((rng.draw() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Exponential with mean 1.
pub(super) fn unit_exp(rng: &mut Rng) -> f64 {
    -unit(rng).ln()
}

/// The exponent and the least value of a Pareto distribution.
fn pareto(p50: Span, p99: Span) -> (f64, f64) {
    let exponent = 50f64.ln() / (p99.0 as f64 / p50.0 as f64).ln();
    (exponent, p50.0 as f64 / 2f64.powf(1.0 / exponent))
}

fn sigma(p50: Span, p99: Span) -> f64 {
    (p99.0 as f64 / p50.0 as f64).ln() / Z99
}

impl Service {
    /// A run time in nanoseconds.
    #[must_use]
    pub fn draw(&self, rng: &mut Rng) -> u64 {
        let nanos = match *self {
            Self::Fixed(span) => return span.0,
            Self::Uniform(low, high) => return low.0 + rng.up_to(high.0 - low.0),
            Self::Exp(mean) => mean.0 as f64 * unit_exp(rng),
            Self::Lognormal(p50, p99) => {
                // Box and Muller.
                let radius = (2.0 * unit_exp(rng)).sqrt();
                let normal = radius * (std::f64::consts::TAU * unit(rng)).cos();
                p50.0 as f64 * (sigma(p50, p99) * normal).exp()
            }
            Self::Pareto(p50, p99) => {
                let (exponent, least) = pareto(p50, p99);
                (least / unit(rng).powf(1.0 / exponent)).min(CUT * p99.0 as f64)
            }
        };
        nanos.round() as u64
    }

    /// The mean in nanoseconds.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match *self {
            Self::Fixed(span) | Self::Exp(span) => span.0 as f64,
            Self::Uniform(low, high) => (low.0 + high.0) as f64 / 2.0,
            Self::Lognormal(p50, p99) => p50.0 as f64 * (sigma(p50, p99).powi(2) / 2.0).exp(),
            Self::Pareto(p50, p99) => {
                let ((a, least), most) = (pareto(p50, p99), CUT * p99.0 as f64);
                (a * least - least.powf(a) * most.powf(1.0 - a)) / (a - 1.0)
            }
        }
    }

    fn check(self) -> Result<Self, String> {
        let wrong = |text: &str| Err(format!("`{self}`: {text}"));
        match self {
            Self::Uniform(low, high) if low > high => wrong("the second is less than the first"),
            Self::Lognormal(p50, p99) | Self::Pareto(p50, p99) if p50.0 == 0 || p50 >= p99 => {
                wrong("the 99th percentile must be above the median, and that above 0")
            }
            Self::Pareto(p50, p99) if p99.0 as f64 >= 49.0 * p50.0 as f64 => {
                wrong("from 49 times the median on, a Pareto distribution has no mean to speak of")
            }
            _ => Ok(self),
        }
    }
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a distribution; it is fixed:20ms, uniform:10ms,30ms, exp:20ms, \
                 lognormal:P50,P99 or pareto:P50,P99"
            )
        };
        let (name, rest) = text.split_once(':').ok_or_else(wrong)?;
        let spans: Result<Vec<Span>, String> = rest.split(',').map(str::parse).collect();
        let service = match (name, spans?.as_slice()) {
            ("fixed", [span]) => Self::Fixed(*span),
            ("exp", [mean]) => Self::Exp(*mean),
            ("uniform", [low, high]) => Self::Uniform(*low, *high),
            ("lognormal", [p50, p99]) => Self::Lognormal(*p50, *p99),
            ("pareto", [p50, p99]) => Self::Pareto(*p50, *p99),
            _ => return Err(wrong()),
        };
        service.check()
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(span) => write!(f, "fixed:{span}"),
            Self::Exp(mean) => write!(f, "exp:{mean}"),
            Self::Uniform(low, high) => write!(f, "uniform:{low},{high}"),
            Self::Lognormal(p50, p99) => write!(f, "lognormal:{p50},{p99}"),
            Self::Pareto(p50, p99) => write!(f, "pareto:{p50},{p99}"),
        }
    }
}

impl TryFrom<String> for Service {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Service> for String {
    fn from(service: Service) -> Self {
        service.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Service;
    use crate::rng::stream;

    #[test]
    fn draws_have_the_mean_and_percentiles_that_were_asked_for() {
        let mut rng = stream(1, &[]);
        for (text, p50, p99) in [
            ("fixed:20ms", 20.0, 20.0),
            ("uniform:10ms,30ms", 20.0, 29.8),
            ("exp:20ms", 13.86, 92.1),
            ("lognormal:20ms,200ms", 20.0, 200.0),
            ("pareto:20ms,200ms", 20.0, 200.0),
        ] {
            let service: Service = text.parse().expect("it is written well");
            let mut draws: Vec<u64> = (0..200_000).map(|_| service.draw(&mut rng)).collect();
            draws.sort_unstable();
            let near = |is: f64, should: f64| (is / should - 1.0).abs() < 0.04;
            let mean = draws.iter().sum::<u64>() as f64 / draws.len() as f64;
            assert!(
                near(mean, service.mean()),
                "{text}: {mean} {}",
                service.mean()
            );
            assert!(
                near(draws[100_000] as f64, p50 * 1e6),
                "{text}: {}",
                draws[100_000]
            );
            assert!(
                near(draws[198_000] as f64, p99 * 1e6),
                "{text}: {}",
                draws[198_000]
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "exp",
            "exp:",
            "exp:20",
            "normal:20ms",
            "fixed:1ms,2ms",
            "uniform:3ms,2ms",
            "lognormal:20ms,20ms",
            "pareto:1ms,100ms",
        ] {
            assert!(text.parse::<Service>().is_err(), "{text}");
        }
    }
}
