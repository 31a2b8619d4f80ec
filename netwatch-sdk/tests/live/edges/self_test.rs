//! What a collector moves itself, to test its hooks, is nobody's.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use netwatch_sdk::reading::{Attribution, Socket};

use crate::{observe::exact, quiet, trial::trial};

pub(super) fn trials() -> Vec<Trial> {
    let (name, about) = ("self-test", "the hooks were tested, and that is in no row");
    vec![trial(name, about, || {
        let _alone = quiet::alone();
        run()
    })]
}

fn run() -> Result<()> {
    let collector = exact()?.start()?;
    let status = collector.status();
    ensure!(
        !status.limits.iter().any(|limit| limit.contains("tested")),
        "{status:?}"
    );
    let reading = collector.reader().read()?;
    let own = std::process::id();
    for process in &reading.processes {
        if let Attribution::Process(id) = process.id
            && id.pid.0 == own
        {
            let wire = process.wire.unwrap_or_default();
            ensure!(
                process.payload.rx_bytes + process.payload.tx_bytes == 0
                    && wire.rx_packets + wire.tx_packets == 0,
                "{process:?}"
            );
        }
    }
    let is_own = |socket: &&Socket| {
        let owner = socket.owner.map(|owner| owner.pid.0);
        owner == Some(own) || owner.is_none() && socket.local.ip().is_loopback()
    };
    let closed: Vec<_> = reading.closed.iter().filter(is_own).collect();
    ensure!(closed.is_empty(), "{closed:?}");
    ensure!(reading.lost.is_empty(), "{:?}", reading.lost);
    Ok(())
}
