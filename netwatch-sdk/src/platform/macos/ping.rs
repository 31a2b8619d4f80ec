//! How `ping` and `ping6` are called.

use std::time::Duration;

use super::{PingCommand, ScopedIp};
use crate::Result;

/// How long `ping6` waits for the last answer; it has no option for it.
const PING6_LINGERS: Duration = Duration::from_secs(10);

/// Probes one second apart. `ping` waits a second for the last answer.
pub(crate) fn ping_command(target: &ScopedIp, count: u32) -> Result<PingCommand> {
    let (target_text, count_text) = (target.to_string(), count.to_string());
    let margin = Duration::from_secs(u64::from(count) + 3);
    let owned = |arguments: &[&str]| arguments.iter().map(|&text| text.to_owned()).collect();
    Ok(if target.address.is_ipv6() {
        PingCommand {
            program: "ping6",
            arguments: owned(&["-n", "-c", &count_text, &target_text]),
            time_limit: margin + PING6_LINGERS,
        }
    } else {
        PingCommand {
            program: "ping",
            // Milliseconds, unlike on Linux.
            arguments: owned(&["-n", "-c", &count_text, "-W", "1000", &target_text]),
            time_limit: margin,
        }
    })
}
