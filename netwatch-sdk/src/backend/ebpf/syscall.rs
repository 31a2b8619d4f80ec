//! The `bpf(2)` calls that aya has no function for.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes};

const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
const BPF_MAP_LOOKUP_BATCH: u32 = 24;
const BPF_MAP_LOOKUP_AND_DELETE_BATCH: u32 = 25;
const BPF_LINK_CREATE: u32 = 28;
const BPF_ITER_CREATE: u32 = 33;
const BPF_TRACE_ITER: u32 = 28;

fn bpf<A: IntoBytes + FromBytes + Immutable>(command: u32, attributes: &mut A) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes `size_of::<A>()` bytes, all of which any
    // value is valid for; pointers in it are the callers' business.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<A>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}

/// An attached iterator program. Each pass over it is a file of its own.
///
/// aya attaches iterators too, but not to a map, and only for one pass.
#[derive(Debug)]
pub(super) struct IteratorLink {
    link: OwnedFd,
}

impl IteratorLink {
    /// Attaches a loaded iterator program; to the elements of a map, if one is given.
    pub(super) fn attach(program: BorrowedFd<'_>, map: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        #[repr(C)]
        #[derive(FromBytes, IntoBytes, Immutable)]
        struct LinkCreate {
            program: u32,
            target: u32,
            attach_type: u32,
            flags: u32,
            info: u64,
            info_length: u32,
            reserved: u32,
        }
        let info = map.map(raw).transpose()?;
        let link = bpf(
            BPF_LINK_CREATE,
            &mut LinkCreate {
                program: raw(program)?,
                target: 0,
                attach_type: BPF_TRACE_ITER,
                flags: 0,
                info: info
                    .as_ref()
                    .map_or(0, |map| std::ptr::from_ref(map) as u64),
                info_length: if info.is_some() { 4 } else { 0 },
                reserved: 0,
            },
        )?;
        // SAFETY: the call made this descriptor, nobody else has it.
        let link = unsafe { OwnedFd::from_raw_fd(link) };
        Ok(Self { link })
    }

    /// Starts a pass.
    fn open(&self) -> io::Result<File> {
        #[repr(C)]
        #[derive(FromBytes, IntoBytes, Immutable)]
        struct IterCreate {
            link: u32,
            flags: u32,
        }
        let link = raw(self.link.as_fd())?;
        let file = bpf(BPF_ITER_CREATE, &mut IterCreate { link, flags: 0 })?;
        // SAFETY: the call made this descriptor, nobody else has it.
        Ok(unsafe { File::from_raw_fd(file) })
    }

    /// Runs a whole pass of a program that writes to no file. Calls `pause` at its
    /// end and whenever it halts: the program asked for the same element again, or
    /// the kernel takes a breath after a million of them.
    pub(super) fn run(&self, mut pause: impl FnMut()) -> io::Result<()> {
        let mut file = self.open()?;
        loop {
            let is_over = match file.read(&mut [0]) {
                Ok(length) => length == 0,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) =>
                {
                    false
                }
                Err(error) => return Err(error),
            };
            pause();
            if is_over {
                return Ok(());
            }
        }
    }
}

/// Reads a whole hash map in a few calls (Linux 5.6).
pub(super) fn read_map<K, V>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>>
where
    K: FromBytes + IntoBytes + Immutable + Copy,
    V: FromBytes + IntoBytes + Immutable + Copy,
{
    whole_map(BPF_MAP_LOOKUP_BATCH, map)
}

/// The same, and leaves it empty.
pub(super) fn empty_map<K, V>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>>
where
    K: FromBytes + IntoBytes + Immutable + Copy,
    V: FromBytes + IntoBytes + Immutable + Copy,
{
    whole_map(BPF_MAP_LOOKUP_AND_DELETE_BATCH, map)
}

fn whole_map<K, V>(command: u32, map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>>
where
    K: FromBytes + IntoBytes + Immutable + Copy,
    V: FromBytes + IntoBytes + Immutable + Copy,
{
    #[repr(C)]
    #[derive(FromBytes, IntoBytes, Immutable)]
    struct Batch {
        in_batch: u64,
        out_batch: u64,
        keys: u64,
        values: u64,
        count: u32,
        map: u32,
        element_flags: u64,
        flags: u64,
    }
    let map = raw(map)?;
    let mut all = Vec::new();
    let mut room = 1024;
    let (mut position, mut begun) = (0u64, false);
    loop {
        let mut keys: Vec<K> = vec![K::new_zeroed(); room];
        let mut values: Vec<V> = vec![V::new_zeroed(); room];
        let mut next = 0u64;
        let mut batch = Batch {
            in_batch: if begun {
                std::ptr::from_ref(&position) as u64
            } else {
                0
            },
            out_batch: std::ptr::from_mut(&mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(room).map_err(io::Error::other)?,
            map,
            element_flags: 0,
            flags: 0,
        };
        let end = match bpf(command, &mut batch) {
            Ok(_) => false,
            // The end; what was read before it counts.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            // One bucket holds more than there is room for.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && room < 1 << 20 => {
                room *= 2;
                continue;
            }
            Err(error) => return Err(error),
        };
        all.extend(keys.into_iter().zip(values).take(batch.count as usize));
        if end {
            return Ok(all);
        }
        (position, begun) = (next, true);
    }
}

/// How often the kernel did not run a program because it, or for a kprobe any other, was
/// running on the same processor. 0 where the kernel does not count that: before Linux
/// 5.12, and kprobes before 6.7.
pub(super) fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    /// `struct bpf_prog_info` up to the field.
    #[repr(C)]
    #[derive(FromBytes, IntoBytes, Immutable)]
    struct ProgramInfo {
        before: [u64; 26],
        recursion_misses: u64,
    }
    #[repr(C)]
    #[derive(FromBytes, IntoBytes, Immutable)]
    struct ObjectInfo {
        object: u32,
        info_length: u32,
        info: u64,
    }
    let mut info = ProgramInfo::new_zeroed();
    bpf(
        BPF_OBJ_GET_INFO_BY_FD,
        &mut ObjectInfo {
            object: raw(program)?,
            info_length: u32::try_from(size_of::<ProgramInfo>()).map_err(io::Error::other)?,
            info: std::ptr::from_mut(&mut info) as u64,
        },
    )?;
    Ok(info.recursion_misses)
}

/// Waits until every run of a program that has begun has ended: they are readers of RCU, and
/// this is the system call that waits for those. About 20 ms. Does nothing on a kernel that
/// refuses it (`nohz_full`).
pub(super) fn wait_for_running_programs() {
    const MEMBARRIER_CMD_GLOBAL: i32 = 1;
    // SAFETY: takes numbers only.
    unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
}

fn raw(fd: BorrowedFd<'_>) -> io::Result<u32> {
    u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)
}
