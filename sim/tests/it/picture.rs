//! Timelines and pictures of runs, and plots of studies: whole, well formed, and of their own.

use sim::history::History;
use sim::picture::picture;
use sim::study::{Study, plot};
use sim::timeline::timeline;
use sim::{Class, Failure, Plan, Report, Trace, run_watched};

fn watched(seed: u64) -> (Plan, Report, History, Trace) {
    let plan = Plan::from_seed(seed);
    let mut trace = Trace::on();
    let (report, history) = run_watched(&plan, &mut trace);
    (plan, report, history, trace)
}

/// Elements are closed in the order in which they were opened, and attributes are quoted.
fn well_formed(text: &str) {
    const EMPTY: [&str; 4] = ["meta", "input", "!doctype", "br"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        // What stands in scripts and styles is no markup.
        if let Some(raw @ ("script" | "style")) = open.last().copied() {
            let end = format!("/{raw}>");
            match rest.strip_prefix(end.as_str()) {
                Some(after) => {
                    open.pop();
                    rest = after;
                }
                None => continue,
            }
            continue;
        }
        let end = rest.find('>').expect("a tag ends");
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        let name_end = tag.find(|c: char| c.is_whitespace() || c == '/');
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "</{closed}> closes what is open");
        } else {
            assert!(tag.matches('"').count().is_multiple_of(2), "<{tag}>");
            let name = match name_end {
                Some(end) => &tag[..end],
                None => tag,
            };
            if !tag.ends_with('/') && !EMPTY.contains(&name) {
                open.push(name);
            }
        }
    }
    assert_eq!(open, Vec::<&str>::new(), "all is closed");
}

/// Nothing is fetched from anywhere; a name space is no address.
fn self_contained(text: &str) {
    let text = text.replace("http://www.w3.org/2000/svg", "");
    for word in [
        "http:", "https:", "src=", "href=", "@import", "fetch(", "XMLHttp", "import(",
    ] {
        assert!(!text.contains(word), "{word}");
    }
    for (at, _) in text.match_indices("url(") {
        assert!(text[at..].starts_with("url(#"), "{}", &text[at..at + 20]);
    }
}

fn data(page: &str) -> serde_json::Value {
    let start = page.find("id=\"data\">").expect("the data") + 10;
    let end = page[start..].find("</script>").expect("its end");
    serde_json::from_str(&page[start..start + end]).expect("the data are JSON")
}

#[test]
fn a_picture_is_one_well_formed_file_that_holds_the_whole_run() {
    for seed in [3, 5, 17] {
        let (plan, report, history, trace) = watched(seed);
        let page = picture(&plan, &history, &trace, report.failure.as_ref(), None);
        well_formed(&page);
        self_contained(&page);
        let data = data(&page);
        let count = |name: &str| data[name].as_array().expect("a list").len();
        assert_eq!(count("lanes"), usize::from(plan.options.hosts()));
        assert_eq!(count("runs"), history.executions.len());
        assert_eq!(count("bands"), history.disturbances.len());
        assert_eq!(count("messages"), trace.hops().len());
        assert!(count("messages") > 100);
        let arrived = trace
            .hops()
            .iter()
            .filter(|hop| hop.arrived.is_some())
            .count();
        assert!(arrived > count("messages") / 2, "most messages arrive");
        for hop in trace.hops() {
            assert!(hop.arrived.is_none_or(|arrived| arrived >= hop.sent));
        }
        let tasks = data["tasks"].as_object().expect("tasks by number");
        assert_eq!(tasks.len(), history.submits.len());
        assert!(data["verdict"].is_null());
    }
}

#[test]
fn the_task_of_the_verdict_is_highlighted_unless_another_is_asked_for() {
    let (plan, _, history, trace) = watched(3);
    let text = "</script><b>ends too early</b><!--";
    let failure = Failure::new(Class::Safety, "1", text).about(7);
    let page = picture(&plan, &history, &trace, Some(&failure), None);
    well_formed(&page);
    let found = data(&page);
    assert_eq!(found["task"], 7);
    assert_eq!(found["verdict"]["class"], "Safety");
    assert_eq!(found["verdict"]["text"], text);
    let page = picture(&plan, &history, &trace, Some(&failure), Some(9));
    assert_eq!(data(&page)["task"], 9);
}

#[test]
fn a_timeline_has_a_column_a_node_and_shows_each_line_and_each_change_of_a_count() {
    let (plan, _, _, trace) = watched(3);
    let log = timeline(&plan, &trace, None);
    let head = log.lines().next().expect("a head");
    let columns: Vec<&str> = head.split_whitespace().collect();
    assert_eq!(
        columns,
        ["time", "m0", "w1", "c2", "c3", "c4", "c5", "c6", "c7"]
    );
    assert!(log.lines().count() > trace.lines().len());
    let faults = |text: &str| {
        text.lines()
            .filter(|line| line.contains("  fault: "))
            .count()
    };
    let told = trace
        .lines()
        .iter()
        .filter(|line| line.who == "fault")
        .count();
    assert_eq!(faults(&log), told);
    // The last thing that each machine counted is nothing: all work has ended.
    let mut last = std::collections::BTreeMap::new();
    for gauge in trace.gauges() {
        last.insert(gauge.host, gauge.counts.map(|(_, count)| count));
    }
    assert!(last.values().all(|counts| *counts == [0, 0, 0]), "{last:?}");
    assert!(
        log.lines().any(|line| line[16..].starts_with('q')),
        "the manager queues"
    );
    let of_one = timeline(&plan, &trace, Some(58));
    assert_eq!(faults(&of_one), told);
    let submits = format!("c{} submits task 58", plan.tasks[58].client);
    assert!(of_one.lines().any(|line| line.contains(&submits)));
    assert!(!of_one.lines().any(|line| line.contains("submits task 57")));
}

#[test]
fn looking_changes_nothing() {
    let (plan, report, _, trace) = watched(5);
    let mut other = Trace::on();
    let again = sim::run(&plan, &mut other);
    assert_eq!(
        (report.failure, report.events),
        (again.failure, again.events)
    );
    assert_eq!(trace.hash(), other.hash());
}

#[test]
fn a_plot_is_well_formed_and_of_its_own() {
    let study = r#"{"arrivals": "200/s", "duration": "2s", "spikes": ["3x@1s+200ms"]}"#;
    let study: Study = serde_json::from_str(study).expect("a study");
    let findings = sim::study::run(&study).expect("it makes sense");
    let picture = plot(&findings);
    well_formed(&picture);
    self_contained(&picture);
    for name in ["goodput", "offered", "rejected", "queued", "median", "99%"] {
        assert!(picture.contains(&format!(">{name}</text>")), "{name}");
    }
    assert!(!picture.contains("NaN") && !picture.contains("inf"));
}
