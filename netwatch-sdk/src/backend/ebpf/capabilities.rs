//! Which capabilities this process has of those that the kernel programs need.

use caps::{CapSet, Capability};

/// What loading and attaching needs; `CAP_SYS_ADMIN` stands for all of them.
pub(super) const NEEDED: [Capability; 3] = [
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_NET_ADMIN,
];

/// Names of the needed capabilities that this thread does not have. Empty also
/// when they cannot be read.
pub(super) fn lacking() -> Vec<String> {
    let Ok(effective) = caps::read(None, CapSet::Effective) else {
        return Vec::new();
    };
    if effective.contains(&Capability::CAP_SYS_ADMIN) {
        return Vec::new();
    }
    NEEDED
        .iter()
        .filter(|capability| !effective.contains(capability))
        .map(ToString::to_string)
        .collect()
}
