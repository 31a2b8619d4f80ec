//! What a process gives up, so that the kernel denies it kernel programs.

use std::{fs, mem::offset_of};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::prctl,
    unistd::{Gid, Uid, setgid, setgroups, setuid},
};

const NOBODY: u32 = 65_534;

pub(super) fn nobody() -> Result<()> {
    setgroups(&[])?;
    setgid(Gid::from_raw(NOBODY))?;
    setuid(Uid::from_raw(NOBODY))?;
    Ok(())
}

pub(super) const NET_ADMIN: u64 = 1 << 12;
pub(super) const PERFMON: u64 = 1 << 38;
pub(super) const BPF: u64 = 1 << 39;

/// No root, and only these capabilities.
pub(super) fn capabilities(of: u64) -> Result<()> {
    prctl::set_keepcaps(true)?;
    nobody()?;
    // `struct __user_cap_header_struct` of version 3, and two halves of three sets.
    let header = [0x2008_0522_u32, 0];
    let (low, high) = (of as u32, (of >> 32) as u32);
    let data = [low, low, 0, high, high, 0];
    // SAFETY: both arrays are as long as the kernel reads for this version.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) })?;
    Ok(())
}

/// A filter as containers have: `bpf(2)` and `perf_event_open(2)` are denied.
pub(super) fn seccomp() -> Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD, 0, 0, offset_of!(libc::seccomp_data, nr) as u32),
        step(EQUAL, 1, 0, libc::SYS_bpf as u32),
        step(EQUAL, 0, 1, libc::SYS_perf_event_open as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    prctl::set_no_new_privs()?;
    // SAFETY: the kernel copies the filter, as many steps as it says.
    Errno::result(unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    })?;
    Ok(())
}

/// Root, but of a user namespace: its capabilities do not count for the host.
pub(super) fn user_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER).context("a user namespace")?;
    fs::write("/proc/self/uid_map", "0 0 1").context("map root")
}

/// No more locked memory than a kernel gives by default.
pub(super) fn little_locked_memory() -> Result<()> {
    let limit = libc::rlimit {
        rlim_cur: 64 << 10,
        rlim_max: 64 << 10,
    };
    // SAFETY: the call reads one `rlimit`.
    Errno::result(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) })?;
    Ok(())
}
