//! The page of kernels, hooks and data paths, in Markdown.

use std::collections::BTreeMap;
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
of that number. An empty cell: it was not run there; a test that does not ask by hook runs with the first one.

The hook `cgroup` counts packets and no calls, so it has no column: `packets-alone` compares it with the hook of each
column, packets to the byte and payload as a lower bound, and `refusal-…` and `switch-…` are the hosts that need it.

Seconds are those from switching a machine on to the end of its tests, with whatever else the host did meanwhile.
";

const ABOUT_COUNTS: &str = "\
In brackets, where the kernel does not tell (before 5.16): the instructions of the program as it runs. The kernel
keeps 15 bytes of a name.

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

/// The whole page. `listed` is what the live tests print for `--list`, `asked_for` says
/// which of them were not run.
pub(super) fn page(all: &[Tested], listed: &str, asked_for: &str) -> String {
    let tables = tables(all);
    let mut page = format!("# Which kernels was it tested on?\n\n{ABOUT}\n");
    if !asked_for.is_empty() {
        let _ = writeln!(page, "{asked_for}\n");
    }
    let _ = writeln!(page, "{tables}\n## What each test does\n");
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
    page.push_str(ABOUT_COUNTS);
    page.push_str(&programs(all));
    page
}

fn kernels(all: &[Tested]) -> String {
    let mut table =
        String::from("| kernel | Debian's package | hooks | seconds |\n|---|---|---|---:|\n");
    for tested in all {
        let kernel = &tested.kernel;
        let packages: Vec<&str> = kernel.packages.lines().collect();
        let runs = tested.lines.iter().filter_map(|line| match line {
            Line::Run { run } => Some(run),
            _ => None,
        });
        let hooks: Vec<&str> = runs.clone().map(|run| run.hook.as_str()).collect();
        let seconds = match &tested.cut_off {
            Some(cut_off) => format!("**cut off**: {}", first_line(cut_off)),
            None => {
                let last = runs.map(|run| run.uptime).next_back();
                format!("{:.0}", last.unwrap_or_default())
            }
        };
        let _ = writeln!(
            table,
            "| {} | {} | {} | {seconds} |",
            kernel.kernel.name,
            packages.join(", "),
            hooks.join(", "),
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
    heading(&mut table, &columns);
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
    let mut columns: Vec<(&str, &str)> = Vec::new();
    let mut cells: BTreeMap<&str, BTreeMap<(&str, &str), Vec<String>>> = BTreeMap::new();
    for tested in all {
        for line in &tested.lines {
            if let Line::Program(program) = line {
                let column = (tested.kernel.kernel.name, program.hook.as_str());
                if !columns.contains(&column) {
                    columns.push(column);
                }
                let of_program = cells.entry(&program.program).or_default();
                of_program.entry(column).or_default().push(count(program));
            }
        }
    }
    let mut table = String::from("| program |");
    heading(&mut table, &columns);
    for (program, of_program) in cells {
        let _ = write!(table, "| `{program}` |");
        for column in &columns {
            let counts = of_program.get(column).map(|counts| counts.join(", "));
            let _ = write!(table, " {} |", counts.unwrap_or_default());
        }
        table.push('\n');
    }
    table
}

fn count(program: &Program) -> String {
    match (program.verified, program.translated) {
        (Some(verified), _) => verified.to_string(),
        (None, Some(translated)) => format!("({translated})"),
        (None, None) => "not told".to_owned(),
    }
}

/// The rest of a table's heading, a column for each hook of each kernel.
fn heading(table: &mut String, columns: &[(&str, &str)]) {
    for (kernel, hook) in columns {
        let _ = write!(table, " {kernel} {hook} |");
    }
    let _ = writeln!(table, "\n|---|{}", "---:|".repeat(columns.len()));
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::Tested;
    use super::super::kernels::KERNELS;
    use super::super::prepared::Prepared;
    use super::super::report::Line;
    use super::tables;

    fn tested(lines: &[&str]) -> Tested {
        let [oldest, ..] = &KERNELS;
        Tested {
            kernel: Prepared {
                kernel: oldest,
                release: "5.10.0-1".to_owned(),
                packages: "linux-image 5.10.1\n".to_owned(),
                image: PathBuf::new(),
                modules: Vec::new(),
            },
            lines: lines
                .iter()
                .map(|line| Line::parse(line).unwrap())
                .collect(),
            cut_off: None,
        }
    }

    fn line(test: &str, hook: &str, outcome: &str, reason: &str, off: u64) -> String {
        format!(
            "{{\"test\":\"{test}\",\"hook\":\"{hook}\",\"outcome\":\"{outcome}\",\"reason\":\"{reason}\",\
             \"process_bytes_off\":{off},\"socket_bytes_off\":1,\"figures_off\":2,\"seconds\":0.1}}"
        )
    }

    #[test]
    fn a_cell_is_bytes_off_or_the_number_of_its_reason() {
        let lines = [
            line("bulk", "kprobe", "differs", "table", 41),
            line("ktls", "kprobe", "unavailable", "no TLS", 0),
            line("mptcp", "kprobe", "unavailable", "no TLS", 0),
            line("mptcp", "fentry", "exact", "", 0),
            line("rtt", "fentry", "failed", "late\\nmore", 0),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let tables = tables(&[tested(&lines)]);
        for expected in [
            "| 5.10 | linux-image 5.10.1 |",
            "| test | 5.10 kprobe | 5.10 fentry |\n|---|---:|---:|\n",
            "| `bulk` | **42** |  |\n| `ktls` | – 1 |  |\n| `mptcp` | – 1 | 0 |\n",
            "| `rtt` |  | **failed** 2 |\n\n1. no TLS\n2. late\n",
        ] {
            assert!(tables.contains(expected), "{expected}\n{tables}");
        }
    }

    #[test]
    fn programs_show_what_the_kernel_tells() {
        let tables = tables(&[tested(&[
            "{\"program\":\"egress\",\"hook\":\"kprobe\",\"verified\":430,\"translated\":99}",
            "{\"program\":\"ingress\",\"hook\":\"kprobe\",\"verified\":null,\"translated\":99}",
        ])]);
        assert!(
            tables.contains("| `egress` | 430 |\n| `ingress` | (99) |\n"),
            "{tables}"
        );
    }
}
