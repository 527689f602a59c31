//! What became of the tasks of an open loop.

use crate::Problem;

/// Which tasks, and which part of their life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Select {
    /// Normal ones: from the manager's acceptance to the end of the run.
    Admitted,
    /// Important ones, from submission to the result at the client.
    Important,
    /// Normal ones, from submission to the result at the client.
    EndToEnd,
}

/// A task that completed; times in seconds from the beginning.
struct Row {
    important: bool,
    came: f64,
    ended: f64,
    admitted: f64,
}

/// A tenth of a second.
#[derive(Clone, Copy, Default)]
struct Moment {
    offered: f64,
    turned_away: f64,
}

const MOMENTS: f64 = 10.0;

#[derive(Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    moments: Vec<Moment>,
}

/// Latencies, in order.
pub(super) struct Latencies(Vec<f64>);

impl Latencies {
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let last = self.0.len().checked_sub(1)?;
        let index = (share * self.0.len() as f64) as usize;
        self.0.get(index.min(last)).copied()
    }
}

impl Rows {
    /// Takes a line of the load.
    pub(super) fn take(&mut self, line: &str) -> Result<(), Problem> {
        let mut words = line.split(' ');
        let kind = words.next();
        let numbers = words.map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        match (kind, &numbers[..]) {
            (Some("m"), [_, offered, turned_away]) => self.moments.push(Moment {
                offered: *offered as f64,
                turned_away: *turned_away as f64,
            }),
            (Some("p"), [important, came, ended, waited, ran, 1]) => self.rows.push(Row {
                important: *important == 1,
                came: *came as f64 / 1e9,
                ended: *ended as f64 / 1e9,
                admitted: (waited + ran) as f64 / 1e9,
            }),
            (Some("p"), [.., 0]) => {}
            _ => return Err(format!("what is `{line}`?").into()),
        }
        Ok(())
    }

    fn ended(&self, from: f64, to: f64) -> impl Iterator<Item = &Row> {
        self.rows
            .iter()
            .filter(move |row| (from..to).contains(&row.ended))
    }

    /// Tasks a second that completed in that time.
    pub(super) fn goodput(&self, from: f64, to: f64) -> f64 {
        self.ended(from, to).count() as f64 / (to - from)
    }

    /// Of tasks that completed in that time; important ones that came before it do not count,
    /// since they were not there for what happened in it.
    pub(super) fn latencies(&self, select: Select, from: f64, to: f64) -> Latencies {
        let latency = |row: &Row| match select {
            Select::Admitted if !row.important => Some(row.admitted),
            Select::EndToEnd if !row.important => Some(row.ended - row.came),
            Select::Important if row.important && row.came >= from => Some(row.ended - row.came),
            _ => None,
        };
        let mut all: Vec<f64> = self.ended(from, to).filter_map(latency).collect();
        all.sort_by(f64::total_cmp);
        Latencies(all)
    }

    /// When latency is below `limit` and stays there: the beginning of the first fiftieth of a
    /// second from which on the median of the tasks that come is, and most of them complete.
    pub(super) fn back_below(&self, limit: f64, from: f64, to: f64, capacity: f64) -> Option<f64> {
        let mut back = None;
        let part = 0.02;
        // The last tasks that come have no time to complete.
        let count = ((to - from) / part) as usize;
        for index in 0..count.saturating_sub(5) {
            let begin = from + index as f64 * part;
            let mut latencies: Vec<f64> = self
                .rows
                .iter()
                .filter(|row| !row.important && (begin..begin + part).contains(&row.came))
                .map(|row| row.ended - row.came)
                .collect();
            latencies.sort_by(f64::total_cmp);
            let few = (latencies.len() as f64) < 0.1 * capacity * part;
            let median = Latencies(latencies).quantile(0.5);
            if few || median.is_none_or(|median| median > limit) {
                back = None;
            } else if back.is_none() {
                back = Some(begin);
            }
        }
        back
    }

    fn moments(&self, from: f64, to: f64) -> impl Iterator<Item = (&Moment, f64)> {
        self.moments
            .iter()
            .enumerate()
            .filter_map(move |(index, moment)| {
                let begin = index as f64 / MOMENTS;
                let inside = (to.min(begin + 1.0 / MOMENTS) - from.max(begin)) * MOMENTS;
                (inside > 0.0).then_some((moment, inside))
            })
    }

    /// Tasks that came in that time.
    pub(super) fn offered(&self, from: f64, to: f64) -> f64 {
        self.moments(from, to)
            .map(|(moment, inside)| moment.offered * inside)
            .sum()
    }

    /// Tasks that their client turned away in that time.
    pub(super) fn turned_away(&self, from: f64, to: f64) -> f64 {
        self.moments(from, to)
            .map(|(moment, inside)| moment.turned_away * inside)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(lines: &[String]) -> Rows {
        let mut rows = Rows::default();
        lines.iter().for_each(|line| rows.take(line).unwrap());
        rows
    }

    #[test]
    fn lines_become_rates_and_latencies() {
        let ms = 1_000_000_u64;
        let line = |important, came: u64, ended: u64| {
            format!(
                "p {important} {} {} {} {ms} 1",
                came * ms,
                ended * ms,
                2 * ms
            )
        };
        let rows = rows(&[
            "m 0 100 30".to_owned(),
            "m 1 50 0".to_owned(),
            line(0, 0, 10),
            line(0, 20, 90),
            line(1, 10, 15),
            "p 0 1 2 0 0 0".to_owned(),
        ]);
        assert!((rows.goodput(0.0, 0.1) - 30.0).abs() < 1e-9);
        assert!((rows.offered(0.05, 0.2) - 100.0).abs() < 1e-9);
        assert!((rows.turned_away(0.0, 0.05) - 15.0).abs() < 1e-9);
        let near = |latencies: Latencies, share, seconds: f64| {
            (latencies.quantile(share).unwrap() - seconds).abs() < 1e-9
        };
        assert!(near(rows.latencies(Select::EndToEnd, 0.0, 1.0), 0.99, 0.07));
        assert!(near(
            rows.latencies(Select::Important, 0.0, 1.0),
            0.5,
            0.005
        ));
        assert!(near(rows.latencies(Select::Admitted, 0.0, 1.0), 0.5, 0.003));
        assert!(
            rows.latencies(Select::Important, 0.5, 1.0)
                .quantile(0.5)
                .is_none()
        );
        assert!(Rows::default().take("x 1").is_err());
    }

    #[test]
    fn latency_is_back_when_it_stays_so() {
        let mut lines = Vec::new();
        // One task each millisecond: slow ones in the first 100 ms and once more at 200 ms.
        for came in 0..400_u64 {
            let slow = came < 100 || (200..220).contains(&came);
            let latency = if slow { 50 } else { 10 };
            let (came, ended) = (came * 1_000_000, (came + latency) * 1_000_000);
            lines.push(format!("p 0 {came} {ended} 0 0 1"));
        }
        let rows = rows(&lines);
        let back = rows.back_below(0.02, 0.0, 0.4, 1_000.0).unwrap();
        assert!((back - 0.22).abs() < 1e-9, "{back}");
        assert_eq!(rows.back_below(0.001, 0.0, 0.4, 1_000.0), None);
        // Nothing comes at all: that is not health.
        assert_eq!(rows.back_below(0.02, 0.5, 1.0, 1_000.0), None);
    }
}
