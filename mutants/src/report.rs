//! The figures, and the survivors that nobody has explained yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::find::Mutant;
use crate::results::{Results, Verdict};
use crate::scratch::Scratch;

/// Keys of the survivors that are explained in `mutants/SURVIVORS.md`: the indented lines there.
pub fn explained(root: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(root.join("mutants/SURVIVORS.md")).unwrap_or_default();
    let is_key = |line: &&str| line.starts_with("    ") && line.matches(" | ").count() >= 3;
    text.lines()
        .filter(is_key)
        .map(|line| line.trim().to_owned())
        .collect()
}

/// The part of core that a mutant belongs to.
pub fn part(mutant: &Mutant) -> &str {
    match mutant.file.as_str() {
        "worker/pool.rs" => "pool",
        file => file.split(['/', '.']).next().unwrap_or(file),
    }
}

#[derive(Default)]
struct Row {
    unviable: u32,
    viable: u32,
    verdicts: BTreeMap<Verdict, u32>,
    explained: u32,
    open: u32,
}

impl Row {
    fn add(&mut self, other: &Self) {
        self.unviable += other.unviable;
        self.viable += other.viable;
        self.explained += other.explained;
        self.open += other.open;
        for (verdict, count) in &other.verdicts {
            *self.verdicts.entry(*verdict).or_default() += count;
        }
    }

    fn print(&self, name: &str) {
        let count = |verdict| self.verdicts.get(&verdict).copied().unwrap_or(0);
        let (core, simulation) = (count(Verdict::Core), count(Verdict::Simulation));
        let timed_out = count(Verdict::TimedOut);
        let killed = core + simulation + timed_out;
        let judged: u32 = self.verdicts.values().sum();
        let rate = |of: u32| match of {
            0 => "-".to_owned(),
            of => format!("{:.1}%", f64::from(killed) * 100.0 / f64::from(of)),
        };
        println!(
            "{name:<10} {:>6} {:>8} {core:>6} {simulation:>5} {timed_out:>8} {:>10} {:>6} {:>7} {:>7} {:>12}",
            self.viable,
            self.unviable,
            self.explained,
            self.open,
            self.viable - judged,
            rate(judged),
            rate(judged - self.explained),
        );
    }
}

/// Prints the table and what is open; gives the number of open survivors.
pub fn print(scratch: &Scratch, results: &Results, wanted: impl Fn(&Mutant) -> bool) -> usize {
    let explained = explained(&scratch.root);
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    let mut open = Vec::new();
    let mut stale = explained.clone();
    for mutant in &scratch.mutants {
        let key = mutant.key();
        let verdict = results.all.get(&key).map(|(verdict, _)| *verdict);
        if verdict.is_none_or(|verdict| !verdict.is_killed()) {
            stale.remove(&key);
        }
        if !wanted(mutant) {
            continue;
        }
        let row = rows.entry(part(mutant)).or_default();
        if scratch.unviable.contains(&mutant.id) {
            row.unviable += 1;
            continue;
        }
        row.viable += 1;
        if let Some(verdict) = verdict {
            *row.verdicts.entry(verdict).or_default() += 1;
            if !verdict.is_killed() {
                if explained.contains(&key) {
                    row.explained += 1;
                } else {
                    row.open += 1;
                    open.push((mutant, verdict));
                }
            }
        }
    }
    for (mutant, verdict) in &open {
        let (file, line) = (&mutant.file, mutant.line);
        println!(
            "{verdict}: core/src/{file}:{line} (MUTANT={})\n    {}",
            mutant.id,
            mutant.key()
        );
    }
    for key in &stale {
        println!("explained, but killed or gone:\n    {key}");
    }
    println!(
        "\n{:<10} {:>6} {:>8} {:>6} {:>5} {:>8} {:>10} {:>6} {:>7} {:>7} {:>12}",
        "part",
        "viable",
        "unviable",
        "core",
        "sim",
        "timeout",
        "explained",
        "open",
        "not run",
        "killed",
        "of the rest"
    );
    let mut total = Row::default();
    for (name, row) in &rows {
        row.print(name);
        total.add(row);
    }
    total.print("all");
    open.len()
}
