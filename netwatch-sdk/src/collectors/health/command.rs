//! ICMP echoes by the system's `ping`, which may send what this process may not.

use super::{Probes, Sender};
use crate::{
    Error, ErrorKind, Result,
    parse::ping::{self, Refusal},
    platform::{Host, PingCommand, ScopedIp},
};

pub(super) fn probe(host: &Host, target: &ScopedIp, count: u32) -> Result<Probes> {
    let PingCommand {
        program,
        arguments,
        time_limit,
    } = crate::platform::ping_command(target, count)?;
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let runner = host.runner.clone().with_time_limit(time_limit);
    let output = runner.run(program, &arguments)?;
    let statistics = match ping::parse_statistics(&output.stdout) {
        Ok(statistics) => statistics,
        Err(why) => {
            let kind = match ping::parse_refusal(&output.stderr) {
                Some(Refusal::Unreachable) => return Ok(all_lost(count)),
                Some(Refusal::Permission) => ErrorKind::Permission,
                None => ErrorKind::Malformed,
            };
            let said = String::from_utf8_lossy(&output.stderr);
            let first = said.lines().next().unwrap_or_default().trim();
            let status = output.status;
            let what = format!("{program} printed {why} and ended with {status}: {first}");
            return Err(Error::new(kind, what));
        }
    };
    Ok(Probes {
        sent: statistics.sent,
        received: statistics.received,
        mean_rtt: statistics.mean,
        sender: Sender::Command,
    })
}

const fn all_lost(count: u32) -> Probes {
    Probes {
        sent: count,
        received: 0,
        mean_rtt: None,
        sender: Sender::Command,
    }
}
