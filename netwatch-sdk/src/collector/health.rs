//! Probes gateway and DNS server in the background, so that no snapshot waits.

use std::{
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use super::lock;
use crate::{
    Error,
    collectors::{
        config::{detect_dns, detect_gateway},
        health::{Probes, RttHistory, probe},
    },
    error::chain,
    wire::HealthMetric,
};

/// The last probes, and whether more are under way.
#[derive(Debug, Default)]
pub(super) struct HealthMonitor {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    finished: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    gateway: Target,
    dns: Target,
    probed: bool,
}

/// One target and its history.
#[derive(Debug, Default)]
struct Target {
    address: Option<String>,
    /// `None` when there is no target; an error when it could not be probed.
    last: Option<Result<Probes, String>>,
    history: RttHistory,
}

impl Target {
    fn take(&mut self, address: Option<String>, probes: Option<Result<Probes, Error>>) {
        if self.address != address {
            self.history = RttHistory::new();
        }
        self.address = address;
        self.last = probes.map(|probes| probes.map_err(|error| chain(&error)));
        // What could not be probed was not lost: it leaves no mark.
        if let Some(Ok(probes)) = &self.last {
            self.history.push(millis(probes));
        }
    }

    fn probes(&self) -> Option<&Probes> {
        self.last.as_ref()?.as_ref().ok()
    }

    fn gap(&self) -> Option<String> {
        let why = self.last.as_ref()?.as_ref().err()?;
        Some(format!("{}: {why}", self.address.as_deref()?))
    }

    fn history(&self) -> Option<Vec<Option<f64>>> {
        (!self.history.is_empty()).then(|| self.history.snapshot())
    }
}

fn millis(probes: &Probes) -> Option<f64> {
    probes.mean_rtt.map(|rtt| rtt.as_secs_f64() * 1e3)
}

impl HealthMonitor {
    /// Starts probing, unless that is under way. Takes up to 3 s, on a thread of its own.
    pub(super) fn probe(&self) -> Result<(), std::io::Error> {
        {
            let mut state = lock(&self.shared.state);
            if state.running {
                return Ok(());
            }
            state.running = true;
        }
        let shared = Arc::clone(&self.shared);
        let run = move || {
            // Also when probing panics: nobody may wait for ever.
            let _finish = Finish(Arc::clone(&shared));
            let (gateway, dns) = (detect_gateway(), detect_dns());
            let (to_gateway, to_dns) = thread::scope(|scope| {
                let to_dns = scope.spawn(|| dns.as_deref().map(probe));
                (gateway.as_deref().map(probe), to_dns.join().ok().flatten())
            });
            let mut state = lock(&shared.state);
            state.gateway.take(gateway, to_gateway);
            state.dns.take(dns, to_dns);
            state.probed = true;
        };
        let spawned = thread::Builder::new()
            .name("netwatch-health".to_owned())
            .spawn(run);
        spawned.map(drop).inspect_err(|_| {
            lock(&self.shared.state).running = false;
        })
    }

    /// Waits until no probe is under way, at most so long.
    pub(super) fn wait(&self, at_most: Duration) {
        let state = lock(&self.shared.state);
        // A poisoned lock holds plain data; either way there is nothing more to wait for.
        drop(
            self.shared
                .finished
                .wait_timeout_while(state, at_most, |state| state.running),
        );
    }

    /// The last probes; `None` before the first have come back.
    pub(super) fn metric(&self) -> Option<HealthMetric> {
        let state = lock(&self.shared.state);
        if !state.probed {
            return None;
        }
        let (gateway, dns) = (state.gateway.probes(), state.dns.probes());
        Some(HealthMetric {
            gateway_ip: state.gateway.address.clone(),
            gateway_rtt_ms: gateway.and_then(millis),
            gateway_loss_pct: gateway.map(Probes::loss_pct),
            dns_ip: state.dns.address.clone(),
            dns_rtt_ms: dns.and_then(millis),
            dns_loss_pct: dns.map(Probes::loss_pct),
            gateway_rtt_history: state.gateway.history(),
            dns_rtt_history: state.dns.history(),
        })
    }

    /// Why a target could not be probed.
    pub(super) fn gaps(&self) -> Vec<String> {
        let state = lock(&self.shared.state);
        [state.gateway.gap(), state.dns.gap()]
            .into_iter()
            .flatten()
            .collect()
    }
}

struct Finish(Arc<Shared>);

impl Drop for Finish {
    fn drop(&mut self) {
        lock(&self.0.state).running = false;
        self.0.finished.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::health::Sender;

    #[test]
    fn what_could_not_be_probed_is_not_loss() {
        let mut target = Target::default();
        let refused = Error::new(crate::ErrorKind::Permission, "no socket");
        target.take(Some("192.0.2.1".to_owned()), Some(Err(refused)));
        assert_eq!(target.probes(), None);
        assert_eq!(target.history(), None);
        assert_eq!(target.gap().as_deref(), Some("192.0.2.1: no socket"));
    }

    #[test]
    fn another_gateway_begins_another_history() {
        let answered = || {
            Some(Ok(Probes {
                sent: 3,
                received: 3,
                mean_rtt: Some(Duration::from_micros(1500)),
                sender: Sender::Socket,
            }))
        };
        let mut target = Target::default();
        target.take(Some("192.0.2.1".to_owned()), answered());
        target.take(Some("192.0.2.1".to_owned()), answered());
        assert_eq!(target.history(), Some(vec![Some(1.5), Some(1.5)]));
        target.take(Some("192.0.2.2".to_owned()), answered());
        assert_eq!(target.history(), Some(vec![Some(1.5)]));
    }
}
