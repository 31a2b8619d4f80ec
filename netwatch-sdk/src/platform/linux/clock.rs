//! The unit of times in `/proc`.

/// Clock ticks a second, 100 everywhere. From the C library, which has it from its start:
/// `procfs` reads `/proc/self/auxv`, and panics where a process that has dropped its
/// privileges may not.
pub(crate) fn ticks_per_second() -> u64 {
    // SAFETY: takes no pointer.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100).max(1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_second_has_ticks() {
        assert_eq!(super::ticks_per_second(), 100);
    }
}
