//! The rungs of [`Backend::Ebpf`](super::Backend::Ebpf), by name.

/// Where kernel programs count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hook {
    /// Tracepoints by their BTF type: `sock_send_length` and `sock_recv_length`, Linux
    /// 6.3 and newer.
    TpBtf,
    /// The returns of `inet_sendmsg` and `inet_recvmsg`, by trampolines: Linux 6.9 and
    /// newer, where those can be taken off again without risk.
    Fentry,
    /// Kprobes on functions of TCP and UDP: Linux 5.10 and newer.
    Kprobe,
    /// Packets of the cgroup v2 root, and no calls: packets are exact, payload is a lower
    /// bound for TCP and none for UDP. For hosts that refuse tracing programs.
    Cgroup,
}

impl Hook {
    /// Every hook with its name, best first.
    pub const ALL: &[(&'static str, Self)] = &[
        ("tp_btf", Self::TpBtf),
        ("fentry", Self::Fentry),
        ("kprobe", Self::Kprobe),
        ("cgroup", Self::Cgroup),
    ];

    /// Its name in [`Status`](super::Status), and after `--hook`.
    #[must_use]
    pub fn name(self) -> &'static str {
        let known = Self::ALL.iter().find(|(_, hook)| *hook == self);
        known.map_or("", |(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_has_a_name() {
        assert_eq!(Hook::TpBtf.name(), "tp_btf");
        for (name, hook) in Hook::ALL {
            assert_eq!(hook.name(), *name);
        }
    }
}
