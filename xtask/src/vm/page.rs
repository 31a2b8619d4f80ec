//! The page of kernels, hooks and data paths, in Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;

use super::part::Part;
use super::report::{Line, Outcome, Program, Test};
use super::{Reported, Tested};
use crate::command;
use crate::notes::Notes;

/// Where the page is, from the workspace's root.
pub(super) const PATH: &str = "docs/kernel-matrix.md";

const ABOUT: &str = "\
Written by `cargo xtask vm-test`, which boots each kernel under software emulation and runs the live
tests in it, once for each hook that can count payload there.

A cell is how many bytes the collector was off, in processes and in sockets together; 0 also says that
every name, owner, address and direction was right, and everything else that the test asks. `–` with a number: cannot
run there, for the reason of that number.

The hook `cgroup` counts packets and no calls, so it has no column: `packets-alone` compares it with the best hook of the
kernel, packets to the byte and payload as a lower bound, and `refusal-…` and `switch-…` are the hosts that need it.

A kernel is given a machine for each hook and two for what does not depend on the hook, all at the same time.
Seconds are those from switching them on to the end of the last test, with whatever else the host did meanwhile.
";

const ABOUT_COUNTS: &str = "\
In brackets, where the kernel does not tell (before 5.16): the instructions of the program as it runs. The kernel
keeps 15 bytes of a name.

";

fn cell(notes: &mut Notes, test: &Test) -> String {
    let off = test.process_bytes_off + test.socket_bytes_off;
    match test.outcome {
        Outcome::Exact => "0".to_owned(),
        Outcome::Differs if off == 0 => format!("0, {} names", test.figures_off),
        Outcome::Differs => format!("**{off}**"),
        Outcome::Unavailable => {
            let reason = test.reason.as_deref().unwrap_or("not told");
            format!("– {}", notes.number(reason))
        }
        Outcome::Failed => {
            let reason = test.reason.as_deref().unwrap_or("not told");
            format!("**failed** {}", notes.number(first_line(reason)))
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
    let mut notes = Notes::default();
    let by_hook = outcomes(all, &mut notes, |part| matches!(part, Part::Hook(_)));
    let once = outcomes(all, &mut notes, |part| !matches!(part, Part::Hook(_)));
    for (title, table) in [
        ("Bytes off", by_hook),
        ("Bytes off, asked once a kernel", once),
    ] {
        if let Some(table) = table {
            let _ = writeln!(page, "\n## {title}\n\n{table}");
        }
    }
    let _ = write!(page, "{notes}");
    page.push_str("\n## Instructions that the verifier went through\n\n");
    page.push_str(ABOUT_COUNTS);
    page.push_str(&programs(all));
    page
}

fn kernels(all: &[Tested]) -> String {
    let mut table =
        String::from("| kernel | Debian's package | machines | seconds |\n|---|---|---|---:|\n");
    for tested in all {
        let kernel = &tested.kernel;
        let packages: Vec<&str> = kernel.packages.lines().collect();
        let parts: Vec<String> = tested
            .machines
            .iter()
            .map(|machine| machine.part.to_string())
            .collect();
        let mut cut_off = tested
            .machines
            .iter()
            .filter_map(|machine| machine.cut_off.as_ref());
        let seconds = match cut_off.next() {
            Some(cut_off) => format!("**cut off**: {}", first_line(cut_off)),
            None => format!("{:.0}", tested.seconds()),
        };
        let _ = writeln!(
            table,
            "| {} | {} | {} | {seconds} |",
            kernel.kernel.name,
            packages.join(", "),
            parts.join(", "),
        );
    }
    table
}

/// The outcomes of some machines; none where none of them ran.
fn outcomes(all: &[Tested], notes: &mut Notes, of: impl Fn(Part) -> bool) -> Option<String> {
    let mut columns: Vec<String> = Vec::new();
    let mut cells: BTreeMap<&str, BTreeMap<usize, &Test>> = BTreeMap::new();
    for (kernel, machine) in machines(all).filter(|(_, machine)| of(machine.part)) {
        // Two machines of a kernel share one.
        let column = column(kernel, machine.part);
        if columns.last() != Some(&column) {
            columns.push(column);
        }
        for line in &machine.lines {
            if let Line::Test(test) = line {
                cells
                    .entry(&test.test)
                    .or_default()
                    .insert(columns.len(), test);
            }
        }
    }
    if columns.is_empty() {
        return None;
    }
    let mut table = heading("test", &columns);
    for (test, of_test) in cells {
        let _ = write!(table, "| `{test}` |");
        for at in 1..=columns.len() {
            let cell = of_test.get(&at).map(|test| cell(notes, test));
            let _ = write!(table, " {} |", cell.unwrap_or_default());
        }
        table.push('\n');
    }
    Some(table)
}

fn programs(all: &[Tested]) -> String {
    let mut columns: Vec<String> = Vec::new();
    let mut cells: BTreeMap<&str, BTreeMap<usize, Vec<String>>> = BTreeMap::new();
    for (kernel, machine) in machines(all) {
        let mut programs = machine.lines.iter().filter_map(|line| match line {
            Line::Program(program) => Some(program),
            _ => None,
        });
        for (nth, program) in programs.by_ref().enumerate() {
            if nth == 0 {
                columns.push(column(kernel, machine.part));
            }
            let of_program = cells.entry(&program.program).or_default();
            let counts = of_program.entry(columns.len()).or_default();
            counts.push(count(program));
        }
    }
    let mut table = heading("program", &columns);
    for (program, of_program) in cells {
        let _ = write!(table, "| `{program}` |");
        for at in 1..=columns.len() {
            let counts = of_program.get(&at).map(|counts| counts.join(", "));
            let _ = write!(table, " {} |", counts.unwrap_or_default());
        }
        table.push('\n');
    }
    table
}

/// Every machine, with its kernel's name.
fn machines(all: &[Tested]) -> impl Iterator<Item = (&'static str, &Reported)> {
    all.iter().flat_map(|tested| {
        let kernel = tested.kernel.kernel.name;
        tested.machines.iter().map(move |machine| (kernel, machine))
    })
}

fn column(kernel: &str, part: Part) -> String {
    match part {
        Part::Hook(hook) => format!("{kernel} {hook}"),
        Part::Once(_) | Part::Events(_) | Part::WithoutHook => kernel.to_owned(),
    }
}

fn count(program: &Program) -> String {
    match (program.verified, program.translated) {
        (Some(verified), _) => verified.to_string(),
        (None, Some(translated)) => format!("({translated})"),
        (None, None) => "not told".to_owned(),
    }
}

fn heading(first: &str, columns: &[String]) -> String {
    format!(
        "| {first} | {} |\n|---|{}\n",
        columns.join(" | "),
        "---:|".repeat(columns.len())
    )
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::kernels::KERNELS;
    use super::super::part::Part;
    use super::super::prepared::Prepared;
    use super::super::report::Line;
    use super::super::{Reported, Tested};
    use super::tables;

    fn tested(machines: &[(Part, &[String])]) -> Tested {
        let [oldest, ..] = &KERNELS;
        let machines = machines.iter().map(|(part, lines)| Reported {
            part: *part,
            lines: lines
                .iter()
                .map(|line| Line::parse(line).unwrap())
                .collect(),
            cut_off: None,
        });
        Tested {
            kernel: Prepared {
                kernel: oldest,
                release: "5.10.0-1".to_owned(),
                packages: "linux-image 5.10.1\n".to_owned(),
                image: PathBuf::new(),
                modules: Vec::new(),
            },
            machines: machines.collect(),
        }
    }

    fn line(test: &str, outcome: &str, reason: &str, off: u64) -> String {
        format!(
            "{{\"test\":\"{test}\",\"hook\":\"any\",\"outcome\":\"{outcome}\",\"reason\":\"{reason}\",\
             \"process_bytes_off\":{off},\"socket_bytes_off\":1,\"figures_off\":2,\"seconds\":0.1}}"
        )
    }

    #[test]
    fn a_cell_is_bytes_off_or_the_number_of_its_reason() {
        let kprobe = [
            line("bulk", "differs", "table", 41),
            line("ktls", "unavailable", "no TLS", 0),
            line("mptcp", "unavailable", "no TLS", 0),
        ];
        let fentry = [
            line("mptcp", "exact", "", 0),
            line("rtt", "failed", "late\\nmore", 0),
        ];
        let once = [
            line("dns", "exact", "", 0),
            "{\"run\":{\"code\":0,\"uptime\":12.3}}".to_owned(),
        ];
        let tables = tables(&[tested(&[
            (Part::Hook("kprobe"), &kprobe),
            (Part::Hook("fentry"), &fentry),
            (Part::Once("kprobe"), &once),
        ])]);
        for expected in [
            "| 5.10 | linux-image 5.10.1 | kprobe, fentry, once | 12 |",
            "| test | 5.10 kprobe | 5.10 fentry |\n|---|---:|---:|\n",
            "| `bulk` | **42** |  |\n| `ktls` | – 1 |  |\n| `mptcp` | – 1 | 0 |\n",
            "| `rtt` |  | **failed** 2 |\n",
            "| test | 5.10 |\n|---|---:|\n| `dns` | 0 |\n\n1. no TLS\n2. late\n",
        ] {
            assert!(tables.contains(expected), "{expected}\n{tables}");
        }
    }

    #[test]
    fn programs_show_what_the_kernel_tells() {
        let kprobe = [
            "{\"program\":\"egress\",\"hook\":\"kprobe\",\"verified\":430,\"translated\":99}",
            "{\"program\":\"ingress\",\"hook\":\"kprobe\",\"verified\":null,\"translated\":99}",
        ]
        .map(str::to_owned);
        let tables = tables(&[tested(&[(Part::Hook("kprobe"), &kprobe)])]);
        assert!(
            tables.contains("| `egress` | 430 |\n| `ingress` | (99) |\n"),
            "{tables}"
        );
    }
}
