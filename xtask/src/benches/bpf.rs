//! The `bpf(2)` calls for looking at loaded programs, and for an empty one beside each.

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use anyhow::{Context, Result};

use crate::btf;

const PROG_LOAD: u32 = 5;
const PROG_GET_NEXT_ID: u32 = 11;
const PROG_GET_FD_BY_ID: u32 = 13;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const RAW_TRACEPOINT_OPEN: u32 = 17;
const LINK_CREATE: u32 = 28;
const ENABLE_STATS: u32 = 32;

const TYPE_CGROUP_SKB: u32 = 8;
const TYPE_CGROUP_SOCK: u32 = 9;
const TYPE_TRACING: u32 = 26;

/// `BPF_TRACE_RAW_TP`, `BPF_TRACE_FENTRY` and `BPF_TRACE_FEXIT`
const TRACING_HOOKS: [u32; 3] = [23, 24, 25];
/// By the names that the collector gives its programs.
const CGROUP_HOOKS: [(&str, u32); 4] = [
    ("ingress", 0),
    ("egress", 1),
    ("sock_create", 2),
    ("sock_release", 34),
];

/// `union bpf_attr` as words of four bytes; what is not set is 0.
type Attributes = [u32; 32];

fn bpf(command: u32, attributes: &mut Attributes) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes no more than the size given; pointers in it
    // are the callers' business.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_mut_ptr(),
            size_of::<Attributes>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the call before made this descriptor, nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Sets the words from `at` on.
fn set(attributes: &mut Attributes, at: usize, words: &[u32]) {
    for (place, word) in attributes.iter_mut().skip(at).zip(words) {
        *place = *word;
    }
}

fn pointer<T: ?Sized>(to: &T) -> [u32; 2] {
    let address = std::ptr::from_ref(to).cast::<u8>() as u64;
    [address as u32, (address >> 32) as u32]
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Every program that is loaded on this machine.
pub(crate) fn program_ids() -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    let mut attributes = [0; 32];
    loop {
        match bpf(PROG_GET_NEXT_ID, &mut attributes) {
            Ok(_) => {
                let [_, next, ..] = attributes;
                ids.push(next);
                attributes = [0; 32];
                set(&mut attributes, 0, &[next]);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(ids),
            Err(error) => return Err(error).context("listing BPF programs (needs root)"),
        }
    }
}

/// The programs that this process loaded, by its open files.
pub(crate) fn own_programs() -> Result<Vec<Program>> {
    let mut ids: Vec<u32> = Vec::new();
    for entry in fs::read_dir("/proc/self/fdinfo")?.flatten() {
        // The one of the listing itself is gone again.
        let Ok(about) = fs::read_to_string(entry.path()) else {
            continue;
        };
        ids.extend(
            about
                .lines()
                .filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse::<u32>().ok()),
        );
    }
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().map(Program::by_id).collect()
}

/// Counts time and runs of every program while it is held.
pub(crate) fn statistics() -> Result<OwnedFd> {
    bpf(ENABLE_STATS, &mut [0; 32])
        .map(owned)
        .context("BPF run-time statistics (Linux 5.8)")
}

/// Time that a program took, and how often it ran, with statistics on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Runs {
    pub(crate) nanoseconds: u64,
    pub(crate) count: u64,
}

/// A loaded program.
#[derive(Debug)]
pub(crate) struct Program {
    fd: OwnedFd,
    /// Of a tracing program, what it is attached to; the kernel keeps but 15 bytes of
    /// a program's own name.
    pub(crate) name: String,
    kind: u32,
    /// What a tracing program is attached to.
    btf: u32,
}

/// `struct bpf_prog_info` as words of four bytes.
fn info(program: BorrowedFd<'_>) -> Result<[u32; 58]> {
    let mut info = [0; 58];
    let mut attributes = [0; 32];
    set(
        &mut attributes,
        0,
        &[raw(program), size_of_val(&info) as u32],
    );
    let address = std::ptr::from_mut(&mut info) as u64;
    set(
        &mut attributes,
        2,
        &[address as u32, (address >> 32) as u32],
    );
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info)
}

impl Program {
    fn by_id(id: u32) -> Result<Self> {
        let mut attributes = [0; 32];
        set(&mut attributes, 0, &[id]);
        let fd = owned(bpf(PROG_GET_FD_BY_ID, &mut attributes)?);
        let info = info(fd.as_fd())?;
        let name: Vec<u8> = info
            .iter()
            .skip(16)
            .take(4)
            .flat_map(|word| word.to_le_bytes())
            .take_while(|&byte| byte != 0)
            .collect();
        let kind = info.first().copied().unwrap_or_default();
        let target = info.get(56).copied().unwrap_or_default();
        let name = if kind == TYPE_TRACING && target != 0 {
            btf::name(target)?
                .trim_start_matches("btf_trace_")
                .to_owned()
        } else {
            String::from_utf8_lossy(&name).into_owned()
        };
        Ok(Self {
            fd,
            name,
            kind,
            btf: target,
        })
    }

    /// A program on the same hook that does nothing; `None` for iterators and kinds
    /// of programs that this does not know.
    pub(crate) fn empty(&self) -> Result<Option<Self>> {
        let hooks: &[u32] = match self.kind {
            TYPE_TRACING => &TRACING_HOOKS,
            TYPE_CGROUP_SKB | TYPE_CGROUP_SOCK => std::slice::from_ref(self.cgroup_hook()?),
            _ => return Ok(None),
        };
        // r0 = 0 or, where that means "drop", 1; exit
        let result = u64::from(self.kind != TYPE_TRACING);
        let instructions: [u64; 2] = [0xb7 | result << 32, 0x95];
        for hook in hooks {
            let mut attributes = [0; 32];
            set(&mut attributes, 0, &[self.kind, 2]);
            set(&mut attributes, 2, &pointer(&instructions));
            set(&mut attributes, 4, &pointer(b"GPL\0"));
            set(&mut attributes, 17, &[*hook]);
            set(&mut attributes, 27, &[self.btf]);
            if let Ok(fd) = bpf(PROG_LOAD, &mut attributes) {
                return Ok(Some(Self {
                    fd: owned(fd),
                    name: self.name.clone(),
                    ..*self
                }));
            }
        }
        Ok(None)
    }

    fn cgroup_hook(&self) -> Result<&'static u32> {
        CGROUP_HOOKS
            .iter()
            .find(|(name, _)| *name == self.name)
            .map(|(_, hook)| hook)
            .with_context(|| format!("{} is on an unknown cgroup hook", self.name))
    }

    /// Hooks it in until the result is dropped.
    pub(crate) fn attach(&self, cgroup: BorrowedFd<'_>) -> Result<OwnedFd> {
        let mut attributes = [0; 32];
        let command = if self.kind == TYPE_TRACING {
            set(&mut attributes, 2, &[raw(self.fd.as_fd())]);
            RAW_TRACEPOINT_OPEN
        } else {
            let words = [raw(self.fd.as_fd()), raw(cgroup), *self.cgroup_hook()?];
            set(&mut attributes, 0, &words);
            LINK_CREATE
        };
        bpf(command, &mut attributes)
            .map(owned)
            .with_context(|| format!("attaching {}", self.name))
    }

    /// Since it was loaded, with statistics on.
    pub(crate) fn runs(&self) -> Result<Runs> {
        let info = info(self.fd.as_fd())?;
        let wide = |at: usize| {
            let part = |at: usize| u64::from(info.get(at).copied().unwrap_or_default());
            part(at) | part(at + 1) << 32
        };
        Ok(Runs {
            nanoseconds: wide(48),
            count: wide(50),
        })
    }
}
