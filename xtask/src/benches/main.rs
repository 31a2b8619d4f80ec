//! What `cargo xtask bench` runs: one file per thing measured.
//!
//! | file | what |
//! |---|---|
//! | `traffic` | throughput and requests, without and with the command running |
//! | `connections` | connections that open and close, without and with a subscriber of events |
//! | `dns` | a DNS message, without and with the collector and its detectors |
//! | `programs` | each kernel program beside an empty one |
//! | `calls` | what each hook adds to a call |
//! | `sockets` | a reading beside `ss -tunapi` |
//! | `userspace` | the backends that need no kernel program |
//! | `footprint` | resident memory, CPU time, time to start |
//! | `bpf`, `btf`, `clock`, `collector`, `dump`, `floor`, `holders`, `reading` | what they measure with |
//! | `machine`, `rounds`, `table` | how it is reported |

mod bpf;
mod btf;
mod calls;
mod clock;
mod collector;
mod connections;
mod dns;
mod dump;
mod floor;
mod footprint;
mod holders;
mod machine;
mod programs;
mod reading;
mod rounds;
mod sockets;
mod table;
mod traffic;
mod userspace;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Parser;

use self::table::Row;

/// Started by `cargo xtask bench`
#[derive(Parser)]
enum Task {
    /// Measure
    Measure(Measure),
    /// Tell what each hook adds to a call
    Calls { rounds: u16 },
    /// Hold sockets until the input ends
    Hold { sockets: usize },
    /// Take readings as the input asks for them
    Read { backend: String },
}

#[derive(Parser)]
struct Measure {
    #[arg(long)]
    collector: PathBuf,
    #[arg(long)]
    rounds: u16,
    #[arg(long)]
    json: bool,
    names: Vec<String>,
}

fn main() -> Result<()> {
    match Task::parse() {
        Task::Measure(task) => task.run(),
        Task::Calls { rounds } => calls::tell(rounds),
        Task::Hold { sockets } => holders::hold(sockets),
        Task::Read { backend } => reading::serve(&backend),
    }
}

/// Says on stderr what is being done.
fn progress(what: &str) {
    eprintln!("bench: {what}");
}

impl Measure {
    fn run(&self) -> Result<()> {
        let machine = machine::Machine::look()?;
        machine.warn();
        let mut rows: Vec<Row> = Vec::new();
        for name in &self.names {
            progress(name);
            rows.extend(match name.as_str() {
                "throughput" => traffic::throughput(&self.collector, self.rounds)?,
                "requests" => traffic::requests(&self.collector, self.rounds)?,
                "connections" => connections::rate(self.rounds)?,
                "dns" => dns::messages(self.rounds)?,
                "programs" => programs::costs(self.rounds)?,
                "sockets" => sockets::read(self.rounds)?,
                "memory" => footprint::memory(&self.collector)?,
                "cpu" => footprint::cpu(self.rounds, &self.collector)?,
                "start" => footprint::start(self.rounds)?,
                "userspace" => userspace::read(self.rounds)?,
                other => bail!("there is no measurement {other}"),
            });
        }
        if self.json {
            table::json(&machine, &rows)
        } else {
            table::markdown(&machine, &rows);
            Ok(())
        }
    }
}
