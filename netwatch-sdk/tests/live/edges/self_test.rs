//! What a collector moves itself, to test its hooks, is nobody's.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use netwatch_sdk::{
    Refusal,
    reading::{Attribution, Socket},
};
use nix::sched::{CloneFlags, unshare};

use crate::{observe::exact, trial::alone};

pub(super) fn by_hook() -> Trial {
    alone(
        "self-test",
        "the hooks were tested, and that is in no row",
        run,
    )
}

pub(super) fn while_forks_hold() -> Trial {
    alone(
        "self-test-forks",
        "likewise when forks of the process hold the test's sockets open for a while",
        || while_forking(run),
    )
}

/// As a fork has it until it starts another program.
const HELD: Duration = Duration::from_millis(30);
/// Shorter than the test.
const PAUSE: Duration = Duration::from_micros(50);

fn while_forking(run: fn() -> Result<()>) -> Result<()> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let forking = scope.spawn(|| fork_until(&over));
        let result = run();
        over.store(true, Ordering::Relaxed);
        let forks = forking.join().expect("the thread panicked")?;
        ensure!(forks > 0, "no fork was made");
        result
    })
}

/// Copies this process's table of open files all the time, as forks do, but faster. Returns
/// how often.
fn fork_until(over: &AtomicBool) -> Result<usize> {
    const LIMIT: Duration = Duration::from_secs(60);
    let started = Instant::now();
    let mut forks = Vec::new();
    while !over.load(Ordering::Relaxed) && started.elapsed() < LIMIT {
        forks.push(thread::spawn(|| {
            unshare(CloneFlags::CLONE_FILES)?;
            thread::sleep(HELD);
            anyhow::Ok(())
        }));
        thread::sleep(PAUSE);
    }
    let made = forks.len();
    for fork in forks {
        fork.join().expect("the thread panicked")?;
    }
    Ok(made)
}

fn run() -> Result<()> {
    let collector = exact()?.start()?;
    let status = collector.status();
    let failed = |refusal: &Refusal| refusal.why.contains("of a test over loopback");
    ensure!(!status.refused.iter().any(failed), "{status:?}");
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
    // Where the kernel preempts programs, the forks can make it skip runs.
    let mut lost = reading.lost;
    lost.missed_runs = 0;
    ensure!(lost.is_empty(), "{lost:?}");
    Ok(())
}
