//! Findings over time as a picture.

use super::findings::Findings;
use super::measure::Moment;
use super::units::{figure, shown};
use crate::chart::{Band, Chart, Curve, Panel, Scale};

/// Draws findings.
#[must_use]
pub fn plot(findings: &Findings) -> String {
    let last = findings
        .moments
        .iter()
        .rev()
        .find(|moment| moment.completed > 0);
    let until = last.map_or(1.0, |moment| moment.at + moment.seconds);
    let until = until.max(findings.study.duration.seconds());
    let chart = Chart {
        title: title(findings),
        more: more(findings),
        until,
        bands: bands(findings, until),
        panels: vec![
            rates(findings),
            queue(findings),
            latencies(findings),
            slots(findings),
        ],
    };
    chart.svg()
}

fn rates(findings: &Findings) -> Panel {
    let end = findings.study.duration.seconds();
    let rate = |count: u64, moment: &Moment| Some(count as f64 / moment.seconds);
    Panel {
        title: "Tasks a second".to_owned(),
        label: figure,
        scale: Scale::Linear(None),
        curves: vec![
            curve(findings, "offered", "grey", |moment| {
                rate(moment.offered, moment).filter(|_| moment.at < end)
            }),
            curve(findings, "rejected", "red", |moment| {
                rate(moment.rejected, moment)
            }),
            filled(curve(findings, "goodput", "blue", |moment| {
                rate(moment.completed, moment)
            })),
        ],
    }
}

fn queue(findings: &Findings) -> Panel {
    Panel {
        title: "Tasks in the queue, at most".to_owned(),
        label: figure,
        scale: Scale::Linear(None),
        curves: vec![filled(curve(findings, "queued", "green", |moment| {
            Some(moment.most_queued as f64)
        }))],
    }
}

fn latencies(findings: &Findings) -> Panel {
    let latency = |nanos: u64| (nanos > 0).then_some(nanos as f64);
    Panel {
        title: "Latency of what completed".to_owned(),
        label: |nanos| shown(nanos as u64).replace(".00", "").replace(".0", ""),
        scale: Scale::Log,
        curves: vec![
            curve(findings, "99%", "amber", |moment| latency(moment.p99)),
            curve(findings, "median", "blue", |moment| latency(moment.p50)),
        ],
    }
}

fn slots(findings: &Findings) -> Panel {
    Panel {
        title: "Slots in use".to_owned(),
        label: |percent| format!("{percent:.0}%"),
        scale: Scale::Linear(Some(100.0)),
        curves: vec![filled(curve(findings, "utilisation", "green", |moment| {
            Some(moment.utilisation * 100.0)
        }))],
    }
}

/// A value of each moment, in the middle of it.
fn curve(
    findings: &Findings,
    name: &'static str,
    colour: &'static str,
    value: impl Fn(&Moment) -> Option<f64>,
) -> Curve {
    let point = |moment: &Moment| Some((moment.at + moment.seconds / 2.0, value(moment)?));
    Curve {
        name,
        colour,
        filled: false,
        points: findings.moments.iter().filter_map(point).collect(),
    }
}

fn filled(curve: Curve) -> Curve {
    Curve {
        filled: true,
        ..curve
    }
}

/// Spikes and losses.
fn bands(findings: &Findings, until: f64) -> Vec<Band> {
    let study = &findings.study;
    let spikes = study.spikes.iter().map(|spike| Band {
        from: spike.at.seconds(),
        to: spike.at.seconds() + spike.span.seconds(),
        colour: Some("amber"),
        name: format!("{}x", spike.times),
    });
    let losses = study.worker_losses.iter().map(|loss| Band {
        from: loss.at.seconds(),
        to: loss
            .span
            .map_or(until, |span| loss.at.seconds() + span.seconds()),
        colour: Some("red"),
        name: format!("{} lost", loss.workers),
    });
    spikes.chain(losses).collect()
}

fn title(findings: &Findings) -> String {
    let study = &findings.study;
    format!(
        "{} workers, {} slots: {} of {}",
        study.worker_count(),
        findings.slots,
        study.arrivals,
        study.service
    )
}

fn more(findings: &Findings) -> String {
    let study = &findings.study;
    let groups: Vec<String> = study.workers.iter().map(ToString::to_string).collect();
    let latency = findings.waits.first().map(|waits| waits.latency);
    format!(
        "{}; {} clients; queue of {}; {:.1}% of capacity offered; goodput {} a second; \
         latency {} median, {} at 99%; seed {}",
        groups.join(" + "),
        study.clients,
        figure(study.queue_size as f64),
        findings.offered_load * 100.0,
        figure(findings.goodput_per_second),
        shown(latency.map_or(0, |spread| spread.p50)),
        shown(latency.map_or(0, |spread| spread.p99)),
        study.seed
    )
}
