//! Studies of clusters: laws that findings must obey, and what queueing theory says of them.

use sim::study::{Findings, Service, Study, run};

fn study(json: &str) -> Study {
    serde_json::from_str(json).expect("a study")
}

fn findings(study: &Study) -> Findings {
    let findings = run(study).expect("it makes sense");
    assert_eq!(findings.failure, None);
    findings
}

/// What holds of any findings.
fn laws(findings: &Findings) {
    let counts = &findings.counts;
    let ends = counts.completed + counts.failed + counts.gave_up + counts.expired + counts.lost;
    assert_eq!(counts.offered, ends + counts.turned_away + counts.open);
    assert!(findings.utilisation <= 1.0, "{}", findings.utilisation);
    for moment in &findings.moments {
        assert!(moment.utilisation <= 1.0 + 1e-9, "{moment:?}");
        assert!(moment.most_queued <= findings.study.queue_size);
    }
    let slots = findings.slots as f64;
    let at_most = slots * 1e9 / findings.study.service.mean();
    assert!(findings.goodput_per_second <= 1.05 * at_most);
    assert_eq!(findings.waits[0].latency.count, counts.completed);
    // Those that ran twice are counted once; those that were lost may have waited, too.
    assert!(findings.waits[0].wait.count >= counts.completed);
    for waits in &findings.waits {
        let it = &waits.latency;
        assert!(it.p50 <= it.p90 && it.p90 <= it.p99 && it.p99 <= it.p999 && it.p999 <= it.most);
        assert!(waits.wait.mean <= it.mean);
    }
}

const OVERLOAD: &str = r#"{"workers": ["3x4", "1x2"], "clients": 3, "queue_size": 50,
    "arrivals": "500/s", "service": "lognormal:10ms,100ms", "priorities": "high:20%,normal:80%",
    "duration": "4s", "spikes": ["6x@1s+1s"], "worker_losses": ["1@2s", "1@3s+500ms"],
    "client_tasks": 200, "retries": 3}"#;

#[test]
fn the_same_study_has_the_same_findings_and_another_seed_has_others() {
    let mut study = study(OVERLOAD);
    let one = findings(&study);
    assert_eq!(one.json(), findings(&study).json());
    study.seed = 2;
    assert_ne!(one.counts, findings(&study).counts);
}

#[test]
fn the_laws_hold_in_calm_in_overload_and_in_loss() {
    let calm = study(r#"{"arrivals": "300/s", "duration": "5s"}"#);
    let calm = findings(&calm);
    laws(&calm);
    assert!(calm.checks.judged);
    assert_eq!(calm.counts.completed, calm.counts.offered);
    assert_eq!((calm.rejections, calm.repeated), (0, 0));
    let hard = findings(&study(OVERLOAD));
    laws(&hard);
    assert!(hard.checks.judged);
    assert!(hard.rejections > 0 && hard.retries > 0, "{hard}");
    assert!(hard.counts.gave_up + hard.counts.turned_away > 0, "{hard}");
    assert!(hard.repeated > 0, "{hard}");
    let limited = study(
        r#"{"workers": ["2x2"], "arrivals": "300/s", "duration": "3s", "max_wait": "50ms",
            "service": "pareto:10ms,100ms", "retries": 0, "warmup": "1s"}"#,
    );
    let limited = findings(&limited);
    laws(&limited);
    assert!(limited.counts.gave_up > 0, "{limited}");
}

/// Erlang's C: the mean wait in a queue before `slots` equal servers with independent arrivals and
/// exponential service, in units of the mean service time.
fn erlang_c(slots: u32, load: f64) -> f64 {
    let offered = load * f64::from(slots);
    // Erlang's B by its recurrence, and from it C.
    let blocked = (1..=slots).fold(1.0, |blocked, n| {
        offered * blocked / (f64::from(n) + offered * blocked)
    });
    let waits = blocked / (1.0 - load * (1.0 - blocked));
    waits / (f64::from(slots) * (1.0 - load))
}

/// With one worker, what the network takes is a constant that is measured at hardly any load. The
/// rest of the mean wait is Erlang's, to 10%: that is the spread of a few thousand waits.
#[test]
fn waits_are_those_of_queueing_theory() {
    assert!(
        (erlang_c(1, 0.5) - 1.0).abs() < 1e-9,
        "one server: load / (1 - load)"
    );
    let slots = 8;
    let measured = |load: f64| {
        let per_second = load * f64::from(slots) / 0.02;
        let study = study(&format!(
            r#"{{"workers": ["1x{slots}"], "arrivals": "{per_second}/s", "service": "exp:20ms",
                "duration": "200s", "warmup": "5s", "latency": "20us", "seed": 3}}"#
        ));
        let findings = findings(&study);
        laws(&findings);
        assert!(
            (findings.utilisation / load - 1.0).abs() < 0.03,
            "{}",
            findings.utilisation
        );
        findings.waits[0].wait.mean as f64 / 20e6
    };
    let network = measured(0.05);
    for load in [0.7, 0.8] {
        let (is, should) = (measured(load) - network, erlang_c(slots, load));
        println!("load {load}: mean wait {is:.4} of a service time, Erlang {should:.4}");
        assert!(
            (is / should - 1.0).abs() < 0.1,
            "load {load}: {is} {should}"
        );
    }
}

#[test]
fn long_studies_are_read_as_they_go() {
    // Above the number of tasks that the judge takes, nothing is kept.
    let study = study(
        r#"{"workers": ["1x4"], "arrivals": "even:20000/s", "service": "fixed:100us",
            "duration": "6s", "clients": 2}"#,
    );
    let findings = findings(&study);
    laws(&findings);
    assert!(!findings.checks.judged);
    assert!(findings.counts.completed.abs_diff(120_000) <= 1);
    assert_eq!(findings.counts.completed, findings.counts.offered);
}

#[test]
fn what_makes_no_sense_is_said_with_what_would() {
    let error = |json: &str| {
        let study: Result<Study, _> = serde_json::from_str(json);
        match study {
            Err(error) => error.to_string(),
            Ok(study) => run(&study).expect_err("it makes no sense").to_string(),
        }
    };
    for (json, said) in [
        (
            r#"{"workers": []}"#,
            "--workers: 0 workers; there must be 1 to",
        ),
        (r#"{"workers": ["8"]}"#, "write 20x8"),
        (r#"{"arrivals": "500"}"#, "write 500/s"),
        (
            r#"{"service": "exp:20"}"#,
            "write it like 200us, 20ms or 2s",
        ),
        (r#"{"service": "gauss:20ms"}"#, "it is fixed:20ms"),
        (
            r#"{"priorities": "high:10%"}"#,
            "add up to 10%, not to 100%",
        ),
        (
            r#"{"priorities": "urgent:100%"}"#,
            "use high, normal, low, or 0",
        ),
        (
            r#"{"duration": "5s", "warmup": "5s"}"#,
            "shorter than the duration",
        ),
        (r#"{"spikes": ["10x@5s"]}"#, "write 10x@20s+10s"),
        (
            r#"{"worker_losses": ["9@5s"]}"#,
            "9 workers are lost in all, but there are only 4",
        ),
        (r#"{"queue": 5}"#, "unknown field `queue`"),
    ] {
        let error = error(json);
        assert!(error.contains(said), "{json}: {error}");
    }
}

#[test]
fn a_study_is_written_as_it_is_read() {
    let study = study(OVERLOAD);
    let text = serde_json::to_string(&study).expect("plain data");
    assert_eq!(
        serde_json::from_str::<Study>(&text).expect("a study"),
        study
    );
    let service: Service = "pareto:10ms,100ms".parse().expect("a distribution");
    assert_eq!(service.to_string(), "pareto:10ms,100ms");
}
