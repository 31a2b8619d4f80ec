//! Looks the fields that the kernel programs read up in the running kernel's BTF, and the
//! functions whose arguments they read.

use std::collections::HashMap;

use netwatch_common::offsets::{ABSENT, Offsets};
use zerocopy::FromBytes as _;

use crate::{Error, ErrorKind, Result, parse::btf::Btf};

/// Where the kernel's type information is.
pub(super) const PATH: &str = "/sys/kernel/btf/vmlinux";

/// Fields that some kernels lack; a program does without.
const OPTIONAL: &[&str] = &[
    "net_cookie",
    "sk_cgrp_data.cgroup",
    "sk_cgrp_data.val",
    "sk_kern_sock",
    "dfl_cgrp",
    "inet_conn.icsk_ulp_ops",
    "inet_conn.icsk_ulp_data",
    "name",
    "tx_conf",
    "rx_conf",
    // Kernels without sockmaps; the second came with Linux 5.13.
    "progs.msg_parser",
    "progs.stream_verdict",
    "progs.skb_verdict",
    // The tracepoints that tell results came with Linux 6.3.
    "sk",
    "ret",
    "flags",
];

/// Functions whose prototypes decide: fexit finds the result behind the arguments, and
/// `recvmsg` functions have lost an argument before the flags.
const FUNCTIONS: &[&str] = &[
    "inet_sendmsg",
    "inet6_sendmsg",
    "inet_recvmsg",
    "inet6_recvmsg",
    "raw_recvmsg",
    "sock_splice_read",
];

/// What this kernel's BTF says.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) offsets: Offsets,
    /// A task can be preempted inside a program on a tracepoint: when the kernel changes the
    /// programs it waits for readers of SRCU (Linux 7.0), not for preemption to be on again.
    pub(super) tracepoints_are_preempted: bool,
    /// Listing socket storage can end in a null pointer in the kernel (seen on 7.3): since
    /// Linux 7.0 a socket that goes takes its pointer out of an element that is being listed.
    pub(super) storage_is_unsafe_to_list: bool,
    /// Programs on functions can be taken off without risk (Linux 6.9).
    pub(super) trampolines_are_safe: bool,
    parameters: HashMap<&'static str, usize>,
    /// The number of `SKB_DROP_REASON_NO_SOCKET`; `None` before Linux 5.17, which does not
    /// say why it drops a packet.
    pub(super) no_socket: Option<u32>,
}

impl Layout {
    /// How many parameters a function has; `None` when this kernel has no such function.
    pub(super) fn parameters(&self, function: &str) -> Option<usize> {
        self.parameters.get(function).copied()
    }
}

/// The layout of this kernel.
pub(super) fn read() -> Result<Layout> {
    let data = std::fs::read(PATH).map_err(|error| {
        Error::io(
            format!(
                "{PATH} cannot be read: the kernel needs CONFIG_DEBUG_INFO_BTF, and /sys mounted"
            ),
            error,
        )
    })?;
    let malformed = || {
        Error::new(
            ErrorKind::Malformed,
            format!("{PATH} is not readable as BTF"),
        )
    };
    let btf = Btf::parse(&data).ok_or_else(malformed)?;
    let mut found = Vec::with_capacity(Offsets::FIELDS.len());
    for (structure, path) in Offsets::FIELDS {
        let offset = match btf.field(structure, path) {
            Some(at) if at.is_bit_field => at.bits,
            Some(at) => at.bits / 8,
            None if OPTIONAL.contains(path) => ABSENT,
            None => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("this kernel's BTF has no field {structure}.{path}"),
                ));
            }
        };
        found.extend(offset.to_ne_bytes());
    }
    Ok(Layout {
        offsets: Offsets::read_from_bytes(&found).map_err(|_| malformed())?,
        storage_is_unsafe_to_list: btf.field("bpf_local_storage_elem", "state").is_some(),
        tracepoints_are_preempted: btf.field("tp_transition_snapshot", "srcu_gp").is_some(),
        trampolines_are_safe: btf.field("task_struct", "rcu_tasks_exit_list").is_some(),
        parameters: btf.parameters(FUNCTIONS),
        no_socket: btf.enumerator("skb_drop_reason", "SKB_DROP_REASON_NO_SOCKET"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_optional_field_is_one_that_is_looked_up() {
        for path in OPTIONAL {
            assert!(
                Offsets::FIELDS.iter().any(|(_, known)| known == path),
                "{path}"
            );
        }
    }
}
