//! The table of `cargo xtask bench hooks`, in Markdown: a row for each hook of each place.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::notes::Notes;

/// Without a collector, and then its hooks, best first.
const NONE: &str = "none";
const HOOKS: [&str; 4] = ["tp_btf", "fentry", "kprobe", "cgroup"];

/// What the measuring program tells.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Line {
    /// What each call took in one round.
    Cost {
        hook: String,
        cost: BTreeMap<String, f64>,
    },
    Refused {
        hook: String,
        refused: String,
    },
    /// A machine's last.
    Over {
        code: i32,
    },
}

impl Line {
    pub(super) fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line).with_context(|| format!("what measures told `{line}`"))
    }
}

/// What was told of all places.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<String>,
    /// What each call is, the heading.
    calls: Vec<String>,
    notes: Notes,
    /// By how much rounds of the same differed at most in each place.
    differed: Vec<String>,
}

impl Table {
    pub(super) fn add(&mut self, place: &str, lines: &[Line]) -> Result<()> {
        let without = rounds(lines, NONE);
        self.calls = without.keys().map(|call| (*call).to_owned()).collect();
        let mut differed = 0.0_f64;
        let mut row = format!("| {place} | {NONE} |");
        for bare in without.values() {
            row += &format!(" {:.0} |", median(bare));
            differed = differed.max(spread(bare));
        }
        self.rows.push(row);
        for hook in HOOKS {
            let with = rounds(lines, hook);
            let mut row = format!("| {place} | {hook} |");
            if let Some(refused) = refused(lines, hook) {
                let cell = format!(" – {} |", self.notes.number(refused));
                row += &cell.repeat(without.len());
            }
            for (call, cost) in &with {
                let bare = without
                    .get(call)
                    .context("a call was not measured without a hook")?;
                let more: Vec<f64> = cost
                    .iter()
                    .zip(bare)
                    .map(|(with, without)| with - without)
                    .collect();
                let ratio: Vec<f64> = cost
                    .iter()
                    .zip(bare)
                    .map(|(with, without)| with / without)
                    .collect();
                row += &format!(" {:+.0} ({:.3}) |", median(&more), median(&ratio));
                differed = differed.max(spread(cost));
            }
            self.rows.push(row);
        }
        self.differed
            .push(format!("{place} {:.1} %", 100.0 * differed));
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| where | hook | {} |", self.calls.join(" | "))?;
        writeln!(f, "|---|---|{}", "---:|".repeat(self.calls.len()))?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        if !self.notes.is_empty() {
            write!(f, "\n{}", self.notes)?;
        }
        let differed = self.differed.join(", ");
        writeln!(f, "\nRounds of the same differed by at most: {differed}.")
    }
}

/// What each call took with a hook, in the order of the rounds.
fn rounds<'a>(lines: &'a [Line], wanted: &str) -> BTreeMap<&'a str, Vec<f64>> {
    let mut rounds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for line in lines {
        if let Line::Cost { hook, cost } = line
            && hook == wanted
        {
            for (call, cost) in cost {
                rounds.entry(call).or_default().push(*cost);
            }
        }
    }
    rounds
}

fn refused<'a>(lines: &'a [Line], wanted: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| match line {
        Line::Refused { hook, refused } if hook == wanted => Some(refused.as_str()),
        _ => None,
    })
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn spread(values: &[f64]) -> f64 {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    (most - least) / median(values)
}

#[cfg(test)]
mod tests {
    use super::{Line, Table};

    #[test]
    fn a_cell_is_what_a_hook_adds_or_the_number_of_its_refusal() {
        let lines = [
            r#"{"hook":"tp_btf","refused":"no such tracepoint"}"#,
            r#"{"hook":"fentry","refused":"no such tracepoint"}"#,
            r#"{"hook":"none","cost":{"send":1000.0,"receive":500.0}}"#,
            r#"{"hook":"kprobe","cost":{"send":1500.4,"receive":499.0}}"#,
            r#"{"hook":"kprobe","cost":{"send":1510.0,"receive":501.0}}"#,
            r#"{"hook":"none","cost":{"send":1010.0,"receive":500.0}}"#,
        ];
        let lines: Vec<Line> = lines
            .iter()
            .map(|line| Line::parse(line).unwrap())
            .collect();
        let mut table = Table::default();
        table.add("5.10", &lines).unwrap();
        let text = table.to_string();
        for row in [
            "| where | hook | receive | send |\n",
            "| 5.10 | none | 500 | 1010 |\n",
            "| 5.10 | fentry | – 1 | – 1 |\n",
            "| 5.10 | kprobe | +1 (1.002) | +500 (1.500) |\n",
            "\n1. no such tracepoint\n",
            "differed by at most: 5.10 1.0 %.",
        ] {
            assert!(text.contains(row), "no {row} in {text}");
        }
    }
}
