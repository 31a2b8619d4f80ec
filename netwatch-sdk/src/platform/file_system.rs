//! The arithmetic of a file system's space.

use crate::wire::DiskUsage;

/// Bytes of one file system, as `statvfs` counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) total: u64,
    pub(crate) free: u64,
    /// Free for an unprivileged user.
    pub(crate) available: u64,
}

impl Space {
    /// The same as `df` shows: what is reserved for root is neither used nor available.
    pub(crate) fn usage(self, mount_point: String, device: String) -> DiskUsage {
        let used = self.total.saturating_sub(self.free);
        let reachable = used.saturating_add(self.available);
        let usage_pct = match reachable {
            0 => 0.0,
            _ => used as f64 / reachable as f64 * 100.0,
        };
        DiskUsage {
            mount_point,
            device,
            total_bytes: self.total,
            used_bytes: used,
            available_bytes: self.available,
            usage_pct,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_space_is_neither_used_nor_available() {
        let space = Space {
            total: 1000,
            free: 700,
            available: 600,
        };
        let usage = space.usage("/".into(), "/dev/vda".into());
        assert_eq!((usage.used_bytes, usage.available_bytes), (300, 600));
        assert!((usage.usage_pct - 100.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn impossible_counters_give_no_impossible_percentage() {
        let space = Space {
            total: 0,
            free: 1,
            available: 0,
        };
        let usage = space.usage("/".into(), String::new());
        assert_eq!((usage.used_bytes, usage.usage_pct), (0, 0.0));
    }
}
