//! `cargo xtask vm-test`: the live tests on other kernels, in machines under software emulation.

mod architecture;
mod busybox;
mod cpio;
pub(crate) mod kernels;
pub(crate) mod machine;
mod page;
mod part;
pub(crate) mod prepared;
mod program;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::command::{self, progress};
use crate::{debian, workspace};
use architecture::AMD64;
use kernels::{KERNELS, Kernel};
use machine::{Clock, Machine};
use part::Part;
use prepared::Prepared;
use report::{Line, Outcome, Run};

const LIMIT_SECONDS: u64 = 360;
const HOOKS: [&str; 3] = ["tp_btf", "fentry", "kprobe"];
/// And those of the architecture.
const PACKAGES: [&str; 4] = ["debian-archive-keyring", "kmod", "xz-utils", "zstd"];

/// Run the live tests on other kernels, in virtual machines
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask vm-test                      every kernel, every hook it has; writes docs/kernel-matrix.md
  cargo xtask vm-test 5.10 7.3             these kernels
  cargo xtask vm-test 6.12-arm64           one of arm64
  cargo xtask vm-test 6.12 --hook tp_btf --test udp
                                           on one kernel, counting by tp_btf, the tests whose name contains udp
  cargo xtask vm-test --list               the kernels

The kernels are Debian's; they come from the mirrors that apt uses here and are kept in the cache folder
(XDG_CACHE_HOME or ~/.cache). QEMU and what else is needed is installed by apt. A machine is started for each hook of a
kernel, and two more for what does not depend on the hook, all at the same time. What passed is kept by kernel and test
program, and not run again. Needs two to four minutes and 5 GB of memory a kernel; logs are left in target/vm.
Progress goes to stderr, the table to stdout; the exit code is 1 unless everything is as it should be.")]
pub(crate) struct VmTest {
    /// The kernels; when none is named, all but User Mode Linux (uml-…)
    #[arg(value_name = "KERNEL", value_parser = PossibleValuesParser::new(KERNELS.map(|kernel| kernel.name)))]
    kernels: Vec<String>,
    /// Only the oldest of them that has one of the hooks
    #[arg(long)]
    oldest: bool,
    /// Count payload by this hook only; may be given several times
    #[arg(long, value_name = "HOOK", value_parser = PossibleValuesParser::new(HOOKS))]
    hook: Vec<String>,
    /// Run only tests whose name contains this
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    /// Without the tests that ask the same by every hook: DNS, detectors, events, full maps, refusals, cgroups, `sock_diag`
    #[arg(long)]
    short: bool,
    /// Run everything again, whatever passed before
    #[arg(long)]
    again: bool,
    /// Fetch the newest kernels, whatever is in the cache folder
    #[arg(long)]
    update: bool,
    /// Write docs/kernel-matrix.md, though not all kernels, hooks or tests were asked for
    #[arg(long)]
    write: bool,
    /// How long a kernel's tests may take
    #[arg(long, value_name = "SECONDS", default_value_t = LIMIT_SECONDS)]
    time_limit: u64,
    /// Print the kernels and run none
    #[arg(long)]
    list: bool,
}

/// What machines of any processor need of this host.
fn require() -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("what runs in the machines is built on x86_64 Linux, natively and for arm64");
    }
    if !debian::is_here() {
        bail!("the kernels come from Debian's archive by apt, which is not here");
    }
    debian::require(&PACKAGES)
}

/// What `cargo xtask bench` measures with, for this host.
pub(crate) fn bench_here() -> Result<PathBuf> {
    program::bench(&AMD64)
}

/// A kernel and what `cargo xtask bench` measures with on it.
pub(crate) fn bench_on(kernel: &'static Kernel) -> Result<(Prepared, PathBuf)> {
    require()?;
    debian::require(kernel.architecture.packages)?;
    let measure = program::bench(kernel.architecture)?;
    Ok((Prepared::get(kernel, false)?, measure))
}

/// What one kernel's machines reported.
struct Tested {
    kernel: Prepared,
    machines: Vec<Reported>,
}

/// What one machine reported.
struct Reported {
    part: Part,
    lines: Vec<Line>,
    /// Why it did not get to the end.
    cut_off: Option<String>,
}

impl VmTest {
    /// All tests on the oldest kernel, keeping what passed before.
    pub(crate) fn oldest() -> Self {
        Self {
            kernels: Vec::new(),
            oldest: true,
            hook: Vec::new(),
            test: None,
            short: false,
            again: false,
            update: false,
            write: false,
            // Not the kernel's fault, if the host is slow.
            time_limit: 2 * LIMIT_SECONDS,
            list: false,
        }
    }

    pub(crate) fn run(&self) -> Result<()> {
        if self.list {
            for kernel in KERNELS {
                println!(
                    "{:<14} {:<18} {}",
                    kernel.name,
                    kernel.suite,
                    kernel.hooks.join(" ")
                );
            }
            return Ok(());
        }
        require()?;
        // Of all programs the one that runs here, to be asked for its list.
        let native = program::live_tests(&AMD64)?;
        let mut all = Vec::new();
        let mut wrong = Vec::new();
        for kernel in &KERNELS {
            if !self.wants(kernel) {
                continue;
            }
            let parts = self.parts(kernel);
            if parts.is_empty() {
                progress(format!("kernel {} has none of the hooks", kernel.name));
                continue;
            }
            debian::require(kernel.architecture.packages)?;
            let kernel = Prepared::get(kernel, self.update)?;
            let tested = self.test_kernel(kernel, parts, &native)?;
            wrong.extend(tested.wrong());
            all.push(tested);
            if self.oldest {
                break;
            }
        }
        println!("{}", page::tables(&all));
        let mut machines = all.iter().flat_map(|tested| &tested.machines);
        let complete = machines.all(|machine| machine.cut_off.is_none());
        if self.write || self.is_everything() && complete {
            let listed = command::output(Command::new(&native).arg("--list"))?;
            let page = page::page(&all, &listed, &self.asked_for());
            let path = workspace::root()?.join(page::PATH);
            fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
            progress(format!("{}: written", page::PATH));
        }
        if !wrong.is_empty() {
            bail!("not as it should be:\n  {}", wrong.join("\n  "));
        }
        Ok(())
    }

    fn wants(&self, kernel: &Kernel) -> bool {
        if self.kernels.is_empty() {
            return !kernel.is_user_mode();
        }
        self.kernels.iter().any(|name| name == kernel.name)
    }

    fn is_everything(&self) -> bool {
        let is_part = self.oldest || self.short || self.test.is_some();
        self.kernels.is_empty() && self.hook.is_empty() && !is_part
    }

    /// What a page says of the tests that were left out.
    fn asked_for(&self) -> String {
        let mut said = String::new();
        if let Some(test) = &self.test {
            said.push_str(&format!(
                "Only tests whose line in the list below contains `{test}` were run. "
            ));
        }
        if self.short {
            said.push_str("What is asked once a kernel was left out. ");
        }
        said.trim_end().to_owned()
    }

    /// What to run on a kernel: by the hooks that it has and that were asked for.
    fn parts(&self, kernel: &Kernel) -> Vec<Part> {
        let asked_for =
            |hook: &str| self.hook.is_empty() || self.hook.iter().any(|one| one == hook);
        let hooks = kernel.hooks.iter().filter(|hook| asked_for(hook));
        let mut parts: Vec<Part> = hooks.copied().map(Part::Hook).collect();
        match parts.first() {
            Some(Part::Hook(best)) if !self.short => {
                let best = *best;
                parts.extend([Part::Once(best), Part::Events(best)]);
            }
            None if kernel.hooks.is_empty() && self.hook.is_empty() => {
                parts.push(Part::WithoutHook);
            }
            _ => {}
        }
        parts
    }

    /// Starts all machines of a kernel at once.
    fn test_kernel(&self, kernel: Prepared, parts: Vec<Part>, native: &Path) -> Result<Tested> {
        let folder = workspace::target()?.join("vm");
        let tests = program::live_tests(kernel.kernel.architecture)?;
        let test = self.test.as_deref();
        let mut machines = Vec::new();
        for part in parts {
            if !part.has_tests(native, test)? {
                continue;
            }
            let machine = Machine {
                kernel: &kernel,
                name: part.to_string().replace(' ', "-"),
                program: &tests,
                script: part.script(),
                variables: part.variables(test),
                clock: Clock::Host,
                folder: &folder,
                limit: Duration::from_secs(self.time_limit),
            };
            machines.push((part, machine));
        }
        if machines.is_empty() {
            bail!("no test is called so: the live tests' `--list` has their names");
        }
        let machines: Result<Vec<Reported>> = thread::scope(|scope| {
            let running: Vec<_> = machines
                .iter()
                .map(|(part, machine)| scope.spawn(|| self.report_of(*part, machine)))
                .collect();
            let reported = running.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| bail!("a machine's thread panicked"))
            });
            reported.collect()
        });
        Ok(Tested {
            machines: machines?,
            kernel,
        })
    }

    /// Runs one machine to its end, unless its report was kept.
    fn report_of(&self, part: Part, machine: &Machine<'_>) -> Result<Reported> {
        let name = format!("{} {part}", machine.kernel.kernel.name);
        let reports = machine.folder.join("reports");
        let kept = report::kept(machine, &reports)?;
        if !self.again
            && let Some(lines) = report::read(&kept)
        {
            progress(format!("{name}: passed before, kept in {}", kept.display()));
            return Ok(Reported {
                part,
                lines,
                cut_off: None,
            });
        }
        progress(format!("{name}: starting {}", machine.kernel.release));
        let started = Instant::now();
        let mut text = String::new();
        let mut lines = Vec::new();
        let ran = machine.run(|line| {
            let parsed = Line::parse(line)?;
            tell(&name, &parsed, started.elapsed());
            text.push_str(line);
            text.push('\n');
            lines.push(parsed);
            Ok(())
        });
        let is_over = lines.iter().any(|line| matches!(line, Line::Run { .. }));
        let cut_off = match ran {
            Ok(()) if is_over => None,
            Ok(()) => Some("it ended by itself".to_owned()),
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(cut_off) = &cut_off {
            progress(format!("{name}: {cut_off}; {}", machine.last_words()));
        }
        let console = machine.console();
        progress(format!(
            "{name}: done in {:.0} s, {}",
            started.elapsed().as_secs_f64(),
            console.display()
        ));
        let reported = Reported {
            part,
            lines,
            cut_off,
        };
        if reported.wrong().is_empty() {
            fs::create_dir_all(&reports)?;
            fs::write(&kept, text).with_context(|| format!("cannot write {}", kept.display()))?;
        }
        Ok(reported)
    }
}

/// Enough for the rows of a short table of differences.
const REASON_LINES: usize = 8;

impl Tested {
    /// What is not as it should be.
    fn wrong(&self) -> Vec<String> {
        let kernel = self.kernel.kernel.name;
        let wrong = self.machines.iter().flat_map(Reported::wrong);
        wrong.map(|what| format!("{kernel} {what}")).collect()
    }

    /// Seconds from switching its machines on to the end of the last test.
    fn seconds(&self) -> f64 {
        let runs = self.machines.iter().filter_map(Reported::run);
        runs.map(|run| run.uptime).fold(0.0, f64::max)
    }
}

impl Reported {
    fn run(&self) -> Option<&Run> {
        self.lines.iter().find_map(|line| match line {
            Line::Run { run } => Some(run),
            _ => None,
        })
    }

    /// What is not as it should be, with the first lines of each reason.
    fn wrong(&self) -> Vec<String> {
        let part = self.part;
        let mut wrong = Vec::new();
        if let Some(cut_off) = &self.cut_off {
            wrong.push(format!(
                "{part}: the tests did not get to their end: {cut_off}"
            ));
        }
        for line in &self.lines {
            match line {
                Line::Test(test) if !test.outcome.is_good() => {
                    let reason = test.reason.as_deref().unwrap_or_default();
                    let reason: Vec<&str> = reason.lines().take(REASON_LINES).collect();
                    let reason = reason.join("\n    ");
                    wrong.push(format!("{part} {}: {reason}", test.test));
                }
                Line::Run { run } if run.code != 0 => {
                    wrong.push(format!("{part}: the tests ended with {}", run.code));
                }
                _ => {}
            }
        }
        wrong
    }
}

/// One line of progress.
fn tell(machine: &str, line: &Line, since: Duration) {
    let at = since.as_secs_f64();
    match line {
        Line::Test(test) => {
            let outcome = match test.outcome {
                Outcome::Exact => "exact".to_owned(),
                Outcome::Unavailable => "cannot run".to_owned(),
                Outcome::Differs => format!(
                    "DIFFERS: {} bytes off in processes, {} in sockets, {} figures",
                    test.process_bytes_off, test.socket_bytes_off, test.figures_off
                ),
                Outcome::Failed => "FAILED".to_owned(),
            };
            progress(format!(
                "{machine} {at:>4.0} s: {} {outcome} ({:.1} s)",
                test.test, test.seconds
            ));
            if !test.outcome.is_good() {
                progress(test.reason.as_deref().unwrap_or("no reason was told"));
            }
        }
        Line::Run { run } => progress(format!("{machine} {at:>4.0} s: ended with {}", run.code)),
        Line::Program(_) => {}
    }
}
