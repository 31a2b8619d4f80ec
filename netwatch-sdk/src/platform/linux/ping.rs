//! How `ping` is called: iputils and `BusyBox` take the same arguments.

use std::time::Duration;

use crate::{
    Result,
    platform::{PingCommand, ScopedIp},
};

/// Probes one second apart, each waited for one second.
pub(crate) fn ping_command(target: &ScopedIp, count: u32) -> Result<PingCommand> {
    let arguments = [
        "-n",
        "-c",
        &count.to_string(),
        "-W",
        "1",
        &target.to_string(),
    ];
    Ok(PingCommand {
        program: "ping",
        arguments: arguments.map(str::to_owned).to_vec(),
        time_limit: Duration::from_secs(u64::from(count) + 3),
    })
}
