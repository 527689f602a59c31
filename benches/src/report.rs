//! What was measured, as tables and as JSON.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;

use serde_json::{Value, json};

use crate::Problem;
use crate::settings::Settings;

/// One quantity, measured several times.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The one in the middle; of nothing, nothing.
    pub(crate) fn median(&self) -> f64 {
        match self.0.len() {
            0 => f64::NAN,
            count if count % 2 == 1 => self.0[count / 2],
            count => (self.0[count / 2 - 1] + self.0[count / 2]) / 2.0,
        }
    }
}

impl From<f64> for Samples {
    fn from(value: f64) -> Self {
        Self(vec![value])
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(least), Some(most)) = (self.0.first(), self.0.last()) else {
            return write!(f, "-");
        };
        write!(f, "{}", shown(self.median()))?;
        if self.0.len() > 1 {
            write!(f, " [{}..{}]", shown(*least), shown(*most))?;
        }
        Ok(())
    }
}

/// Three digits that count, or whole thousands and millions.
pub(crate) fn shown(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "-".to_owned(),
        size if size >= 1e6 => format!("{:.2}M", value / 1e6),
        size if size >= 1e4 => format!("{:.1}k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A table for people, whose first column is a name.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(heads: &[&str]) -> Self {
        Self {
            rows: vec![heads.iter().map(ToString::to_string).collect()],
        }
    }

    pub(crate) fn row(&mut self, name: impl Into<String>, cells: &[&dyn fmt::Display]) {
        let mut row = vec![name.into()];
        row.extend(cells.iter().map(ToString::to_string));
        self.rows.push(row);
    }

    pub(crate) fn print(&self) {
        print!("{self}");
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell =
            |row: &[String], column: usize| row.get(column).map_or("", |cell| cell).to_owned();
        let width = |column| {
            let widths = self
                .rows
                .iter()
                .map(|row| cell(row, column).chars().count());
            widths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            for (column, width) in widths.iter().copied().enumerate() {
                let text = cell(row, column);
                match column {
                    0 => write!(f, "{text:<width$}")?,
                    _ => write!(f, "  {text:>width$}")?,
                }
            }
            writeln!(f)?;
            if index == 0 {
                let line = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
                writeln!(f, "{}", "-".repeat(line))?;
            }
        }
        Ok(())
    }
}

/// The figures of a benchmark that others may want: each with a name of its own.
#[derive(Default)]
pub(crate) struct Figures(Vec<(String, Samples)>);

impl Figures {
    pub(crate) fn add(&mut self, name: impl Into<String>, samples: impl Into<Samples>) {
        self.0.push((name.into(), samples.into()));
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Samples> {
        self.0
            .iter()
            .find_map(|(known, samples)| (known == name).then_some(samples))
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Appends them where the settings say.
    pub(crate) fn save(&self, bench: &str, settings: &Settings) -> Result<(), Problem> {
        let Some(file) = &settings.json else {
            return Ok(());
        };
        let mut out = OpenOptions::new().create(true).append(true).open(file)?;
        for (name, samples) in &self.0 {
            let line: Value = json!({
                "bench": bench,
                "figure": name,
                "median": samples.median(),
                "samples": samples.0,
                "quick": settings.quick,
            });
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_the_range_around_it() {
        let mut samples = Samples::default();
        assert_eq!(samples.to_string(), "-");
        [3.0, 1.0, 2.0]
            .into_iter()
            .for_each(|value| samples.add(value));
        assert_eq!(samples.to_string(), "2.00 [1.00..3.00]");
        samples.add(10.0);
        assert_eq!(samples.median(), 2.5);
        assert_eq!(Samples::from(1_234_567.0).to_string(), "1.23M");
    }

    #[test]
    fn columns_of_a_table_line_up() {
        let mut table = Table::new(&["what", "a"]);
        table.row("much", &[&"100"]);
        table.row("x", &[]);
        assert_eq!(
            table.to_string(),
            "what    a\n---------\nmuch  100\nx        \n"
        );
    }
}
