//! The page of kernels, hooks and data paths, in Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::Command;

use super::Tested;
use super::report::{Line, Outcome, Program, Test};
use crate::command;

/// Where the page is, from the workspace's root.
pub(super) const PATH: &str = "docs/kernel-matrix.md";

const ABOUT: &str = "\
Written by `cargo xtask vm-test`, which boots each kernel under software emulation and runs the live
tests in it, once for each hook that can count payload there.

A cell is how many bytes the collector was off, in processes and in sockets together; 0 also says that
every name, owner, address and direction was right. `–` with a number: cannot run there, for the reason
of that number. An empty cell: the test does not ask by hook, and ran with another.
";

/// What is said of the cells that hold no number of bytes.
#[derive(Default)]
struct Notes {
    reasons: Vec<String>,
}

impl Notes {
    fn number(&mut self, reason: &str) -> usize {
        let known = self.reasons.iter().position(|known| known == reason);
        let at = known.unwrap_or_else(|| {
            self.reasons.push(reason.to_owned());
            self.reasons.len() - 1
        });
        at + 1
    }

    fn cell(&mut self, test: &Test) -> String {
        let off = test.process_bytes_off + test.socket_bytes_off;
        match test.outcome {
            Outcome::Exact => "0".to_owned(),
            Outcome::Differs if off == 0 => format!("0, {} names", test.figures_off),
            Outcome::Differs => format!("**{off}**"),
            Outcome::Unavailable => {
                let reason = test.reason.as_deref().unwrap_or("not told");
                format!("– {}", self.number(reason))
            }
            Outcome::Failed => {
                let reason = test.reason.as_deref().unwrap_or("not told");
                format!("**failed** {}", self.number(first_line(reason)))
            }
        }
    }
}

/// The whole page. `listed` is what the live tests print for `--list`.
pub(super) fn page(all: &[Tested], listed: &str) -> String {
    let tables = tables(all);
    let mut page = format!(
        "# Which kernels was it tested on?\n\n{ABOUT}\n{tables}\n## What each test does\n\n"
    );
    for line in listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
    {
        if let Some((name, about)) = line.split_once(": ") {
            let _ = writeln!(page, "- `{name}`: {about}");
        }
    }
    page
}

/// What was tested when, and how it went.
pub(super) fn tables(all: &[Tested]) -> String {
    let date = command::output(Command::new("date").args(["--utc", "+%Y-%m-%d"]));
    let mut page = format!("On {}:\n\n", date.unwrap_or_default().trim());
    page.push_str(&kernels(all));
    page.push_str("\n## Bytes off\n\n");
    page.push_str(&outcomes(all));
    page.push_str("\n## Instructions that the verifier went through\n\n");
    page.push_str(&programs(all));
    page
}

fn kernels(all: &[Tested]) -> String {
    let mut table = String::from("| kernel | Debian's package | hooks |\n|---|---|---|\n");
    for tested in all {
        let kernel = &tested.kernel;
        let packages: Vec<&str> = kernel.packages.lines().collect();
        let _ = writeln!(
            table,
            "| {} | {} | {} |",
            kernel.kernel.name,
            packages.join(", "),
            kernel.kernel.hooks.join(", ")
        );
    }
    table
}

fn outcomes(all: &[Tested]) -> String {
    let mut columns: Vec<(&str, &str)> = Vec::new();
    let mut cells: BTreeMap<&str, BTreeMap<(&str, &str), &Test>> = BTreeMap::new();
    for tested in all {
        let kernel = tested.kernel.kernel.name;
        for line in &tested.lines {
            if let Line::Test(test) = line {
                let column = (kernel, test.hook.as_str());
                if !columns.contains(&column) {
                    columns.push(column);
                }
                cells.entry(&test.test).or_default().insert(column, test);
            }
        }
    }
    let mut notes = Notes::default();
    let mut table = String::from("| test |");
    for (kernel, hook) in &columns {
        let _ = write!(table, " {kernel} {hook} |");
    }
    let _ = writeln!(table, "\n|---|{}", "---:|".repeat(columns.len()));
    for (test, of_test) in cells {
        let _ = write!(table, "| `{test}` |");
        for column in &columns {
            let cell = of_test.get(column).map(|test| notes.cell(test));
            let _ = write!(table, " {} |", cell.unwrap_or_default());
        }
        table.push('\n');
    }
    table.push('\n');
    for (at, reason) in notes.reasons.iter().enumerate() {
        let _ = writeln!(table, "{}. {reason}", at + 1);
    }
    table
}

fn programs(all: &[Tested]) -> String {
    let of = |tested: &Tested| -> BTreeMap<String, Program> {
        let programs = tested.lines.iter().filter_map(|line| match line {
            Line::Program(program) => Some((program.program.clone(), program.clone())),
            _ => None,
        });
        programs.collect()
    };
    let counted: Vec<(&str, BTreeMap<String, Program>)> = all
        .iter()
        .map(|tested| (tested.kernel.kernel.name, of(tested)))
        .collect();
    let names: BTreeSet<&String> = counted.iter().flat_map(|(_, of)| of.keys()).collect();
    let mut table = String::from(
        "Those of the program as it runs, in brackets, where the kernel does not tell (before 5.16).\n\n| program |",
    );
    for (kernel, _) in &counted {
        let _ = write!(table, " {kernel} |");
    }
    let _ = writeln!(table, "\n|---|{}", "---:|".repeat(counted.len()));
    for name in names {
        let _ = write!(table, "| `{name}` |");
        for (_, of_kernel) in &counted {
            let program = of_kernel.get(name);
            let cell = program.map(|program| match (program.verified, program.translated) {
                (Some(verified), _) => verified.to_string(),
                (None, Some(translated)) => format!("({translated})"),
                (None, None) => "not told".to_owned(),
            });
            let _ = write!(table, " {} |", cell.unwrap_or_default());
        }
        table.push('\n');
    }
    table
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
