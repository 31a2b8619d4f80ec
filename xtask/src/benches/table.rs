//! Results as a Markdown table or as JSON.

use anyhow::Result;
use serde::Serialize;

use crate::{machine::Machine, rounds::Spread};

/// What the result should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// One result.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    unit: &'static str,
    median: f64,
    min: f64,
    max: f64,
    target: Option<Target>,
    reached: Option<bool>,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, spread: Spread) -> Self {
        Self {
            what: what.into(),
            unit,
            median: spread.median,
            min: spread.min,
            max: spread.max,
            target: None,
            reached: None,
        }
    }

    pub(crate) fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self.reached = Some(target.is_reached(self.median));
        self
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

pub(crate) fn markdown(machine: &Machine, rows: &[Row]) {
    println!("{machine}\n");
    println!("| what | median | min to max | target | reached |");
    println!("|---|---:|---:|---:|---|");
    for row in rows {
        let target = match row.target {
            Some(Target::AtLeast(bound)) => format!("≥ {bound}"),
            Some(Target::AtMost(bound)) => format!("≤ {bound}"),
            None => String::new(),
        };
        let reached = match row.reached {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        println!(
            "| {} | {} {} | {} to {} | {target} | {reached} |",
            row.what,
            number(row.median),
            row.unit,
            number(row.min),
            number(row.max),
        );
    }
}

pub(crate) fn json(machine: &Machine, rows: &[Row]) -> Result<()> {
    let all = serde_json::json!({ "machine": machine, "results": rows });
    println!("{}", serde_json::to_string_pretty(&all)?);
    Ok(())
}
