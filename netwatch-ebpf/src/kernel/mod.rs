//! Reads fields of kernel structures at the offsets the loader wrote into `OFFSETS`.
//!
//! From a pointer that the verifier knows the type of, a field is an ordinary
//! load. From any other (`PROBE`), it is copied by `bpf_probe_read_kernel`.

/// The offset of a field, as a constant that the verifier knows.
macro_rules! offset {
    ($field:ident) => {
        patched(&raw const OFFSETS.$field)
    };
}

mod tcp;

use core::{ffi::c_void, mem::MaybeUninit, ptr};

use aya_ebpf::helpers::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_skc_to_tcp_sock,
    generated::bpf_probe_read_kernel,
};
use netwatch_common::{
    offsets::{ABSENT, Offsets},
    process::ProcessKey,
};

pub use self::tcp::{
    TCP_CLOSE, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_LISTEN, TCP_SYN_RECV, TCP_SYN_SENT, Tcp,
};

/// Patched before the programs are loaded, then read-only.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::NONE;

/// A field of `OFFSETS`.
#[inline(always)]
fn patched(field: *const u32) -> u32 {
    // SAFETY: points into a static; volatile, because the loader changes it.
    unsafe { ptr::read_volatile(field) }
}

/// A field's value, or zero where this kernel has no such field.
///
/// # Safety
///
/// `base` is a kernel structure that has a `T` at `offset`; unless `PROBE`, the
/// verifier knows its type.
#[inline(always)]
unsafe fn load<T: Copy, const PROBE: bool>(base: *const c_void, offset: u32) -> T {
    // SAFETY: all `T` here are integers and pointers, for which zero is a value.
    let zero = || unsafe { MaybeUninit::<T>::zeroed().assume_init() };
    if offset == ABSENT {
        return zero();
    }
    let field = base.wrapping_byte_add(offset as usize);
    if PROBE {
        // The helper checks the address itself, and writes zeros if there is nothing. A
        // branch on its result, in each of thirty fields, is too much for old verifiers.
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: as many bytes as the value has, all of them written.
        unsafe {
            bpf_probe_read_kernel(
                value.as_mut_ptr().cast(),
                size_of::<T>() as u32,
                field.cast(),
            );
            value.assume_init()
        }
    } else {
        // SAFETY: the caller's promise; the kernel handles a fault as a zero.
        unsafe { ptr::read_volatile(field.cast::<T>()) }
    }
}

pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
pub const IPPROTO_TCP: u16 = 6;
pub const IPPROTO_UDP: u16 = 17;
pub const IPPROTO_MPTCP: u16 = 262;

/// A `struct sock`.
#[derive(Clone, Copy)]
pub struct Sock<const PROBE: bool>(pub *mut c_void);

impl<const PROBE: bool> Sock<PROBE> {
    #[inline(always)]
    fn field<T: Copy>(self, offset: u32) -> T {
        // SAFETY: `self.0` is a `struct sock`, the offset is one of its fields'.
        unsafe { load::<T, PROBE>(self.0, offset) }
    }

    #[inline(always)]
    pub fn family(self) -> u16 {
        self.field(offset!(sock_family))
    }

    #[inline(always)]
    pub fn is_inet(self) -> bool {
        matches!(self.family(), AF_INET | AF_INET6)
    }

    #[inline(always)]
    pub fn protocol(self) -> u16 {
        self.field(offset!(sock_protocol))
    }

    #[inline(always)]
    pub fn state(self) -> u8 {
        self.field(offset!(sock_state))
    }

    #[inline(always)]
    pub fn uid(self) -> u32 {
        self.field(offset!(sock_uid))
    }

    /// TCP: its peer's FIN has arrived.
    #[inline(always)]
    pub fn has_fin(self) -> bool {
        const SOCK_DONE: u64 = 1 << 1;
        self.field::<u64>(offset!(sock_flags)) & SOCK_DONE != 0
    }

    /// A number of `errno`; 0 for none.
    #[inline(always)]
    pub fn error(self) -> u32 {
        self.field(offset!(sock_error))
    }

    /// Host order.
    #[inline(always)]
    pub fn local_port(self) -> u16 {
        self.field(offset!(sock_local_port))
    }

    /// Network order.
    #[inline(always)]
    pub fn remote_port(self) -> u16 {
        self.field(offset!(sock_remote_port))
    }

    #[inline(always)]
    pub fn local_v4(self) -> u32 {
        self.field(offset!(sock_local_v4))
    }

    #[inline(always)]
    pub fn remote_v4(self) -> u32 {
        self.field(offset!(sock_remote_v4))
    }

    #[inline(always)]
    pub fn local_v6(self) -> [u64; 2] {
        let at = offset!(sock_local_v6);
        [self.field(at), self.field(at.wrapping_add(8))]
    }

    #[inline(always)]
    pub fn remote_v6(self) -> [u64; 2] {
        let at = offset!(sock_remote_v6);
        [self.field(at), self.field(at.wrapping_add(8))]
    }

    /// `true` when the kernel made the socket for itself.
    #[inline(always)]
    pub fn is_kernel(self) -> bool {
        let bit = offset!(sock_kernel_bit);
        bit != ABSENT && self.field::<u8>(bit / 8) & (1 << (bit % 8)) != 0
    }

    /// `true` when the socket has a `struct socket`: it was made or accepted by a
    /// process and not closed by it yet.
    #[inline(always)]
    pub fn is_attached(self) -> bool {
        !self.field::<*const c_void>(offset!(sock_socket)).is_null()
    }

    /// Inode and cookie of the network namespace.
    #[inline(always)]
    pub fn netns(self) -> (u32, u64) {
        let net: *const c_void = self.field(offset!(sock_net));
        // SAFETY: every socket has a `struct net`.
        unsafe {
            (
                load::<u32, PROBE>(net, offset!(net_inode)),
                load::<u64, PROBE>(net, offset!(net_cookie)),
            )
        }
    }

    /// Id of the cgroup v2 the socket was made in.
    #[inline(always)]
    pub fn cgroup_id(self) -> u64 {
        if offset!(sock_cgroup) == ABSENT {
            return self.cgroup_id_of_bits();
        }
        let cgroup: *const c_void = self.field(offset!(sock_cgroup));
        // SAFETY: a `struct cgroup` and its `struct kernfs_node`; a null reads as zero.
        unsafe {
            let node: *const c_void = load::<_, PROBE>(cgroup, offset!(cgroup_kn));
            load::<u64, PROBE>(node, offset!(kernfs_node_id))
        }
    }

    /// Before Linux 5.15: the cgroup's address shares its field with what cgroup v1 keeps
    /// there; then the socket counts for the root.
    #[inline(always)]
    fn cgroup_id_of_bits(self) -> u64 {
        const IS_OTHER: u64 = 0b11;
        const ROOT: u64 = 1;
        if offset!(sock_cgroup_bits) == ABSENT {
            return 0;
        }
        let cgroup: u64 = self.field(offset!(sock_cgroup_bits));
        if cgroup == 0 || cgroup & IS_OTHER != 0 {
            return ROOT;
        }
        // SAFETY: a `struct cgroup` and its `struct kernfs_node`.
        unsafe {
            let node: *const c_void = load::<_, true>(cgroup as *const c_void, offset!(cgroup_kn));
            load::<u64, true>(node, offset!(kernfs_node_id))
        }
    }

    /// The cookie; 0 while the kernel has given it none.
    #[inline(always)]
    pub fn cookie(self) -> u64 {
        self.field(offset!(sock_cookie))
    }

    /// `true` when calls do not read the TCP stream itself: kernel TLS and other upper
    /// layer protocols, and sockets in a sockmap.
    #[inline(always)]
    pub fn has_other_reader(self, tcp: Tcp<PROBE>) -> bool {
        tcp.has_layer(offset!(tls_rx_bits)) || !self.psock().is_null()
    }

    /// `true` when calls do not write the TCP stream itself: kernel TLS and other upper
    /// layer protocols, and sockets in a sockmap with a program for messages.
    #[inline(always)]
    pub fn has_other_writer(self, tcp: Tcp<PROBE>) -> bool {
        tcp.has_layer(offset!(tls_tx_bits)) || self.has_program(offset!(psock_msg_program))
    }

    /// `true` when the kernel reads the TCP stream as it arrives: kernel TLS and other upper
    /// layer protocols, and sockets in a sockmap with programs for what arrives.
    #[inline(always)]
    pub fn is_drained(self, tcp: Tcp<PROBE>) -> bool {
        tcp.has_layer(offset!(tls_rx_bits))
            || self.has_program(offset!(psock_stream_program))
            || self.has_program(offset!(psock_skb_program))
    }

    /// Whether it is in a sockmap with a program.
    #[inline(always)]
    fn has_program(self, program: u32) -> bool {
        let psock = self.psock();
        // SAFETY: a `struct sk_psock`.
        !psock.is_null() && unsafe { load::<usize, true>(psock, program) } != 0
    }

    /// What a sockmap keeps of the socket; null for a socket in none.
    #[inline(always)]
    pub fn psock(self) -> *const c_void {
        // `SK_USER_DATA_*`. Nobody else keeps a pointer in a TCP socket of a process that is
        // not to be copied, but groups of `SO_REUSEPORT` with a BPF map.
        const NOT_COPIED: usize = 1;
        const OF_BPF_MAP: usize = 2;
        const FLAGS: usize = 7;
        let data: usize = self.field(offset!(sock_user_data));
        if data & (NOT_COPIED | OF_BPF_MAP) == NOT_COPIED {
            (data & !FLAGS) as *const c_void
        } else {
            ptr::null()
        }
    }

    /// The socket as TCP; `None` for any other protocol.
    #[inline(always)]
    pub fn tcp(self) -> Option<Tcp<PROBE>> {
        if PROBE {
            // What `bpf_skc_to_tcp_sock` looks at; hooks give full sockets only.
            return (self.protocol() == IPPROTO_TCP).then_some(Tcp(self.0));
        }
        // SAFETY: the verifier knows the pointer as a `struct sock`.
        let tcp = unsafe { bpf_skc_to_tcp_sock(self.0) };
        (!tcp.is_null()).then_some(Tcp(tcp.cast()))
    }
}

/// What a classic program on `sock_send_length` or `sock_recv_length` is given.
#[derive(Clone, Copy)]
pub struct CallEvent(pub *const c_void);

impl CallEvent {
    #[inline(always)]
    pub fn sk(self) -> Sock<true> {
        // SAFETY: the program's context.
        Sock(unsafe { load::<_, true>(self.0, offset!(event_sk)) })
    }

    /// What the call returned.
    #[inline(always)]
    pub fn result(self) -> i32 {
        // SAFETY: as above.
        unsafe { load::<_, true>(self.0, offset!(event_result)) }
    }

    #[inline(always)]
    pub fn flags(self) -> i32 {
        // SAFETY: as above.
        unsafe { load::<_, true>(self.0, offset!(event_flags)) }
    }
}

/// The `struct sock` of a `struct socket`.
#[inline(always)]
pub fn socket_of<const PROBE: bool>(socket: *const c_void) -> Sock<PROBE> {
    // SAFETY: a `struct socket`; unless `PROBE`, the verifier knows it as one.
    Sock(unsafe { load::<*mut c_void, PROBE>(socket, offset!(socket_sk)) })
}

/// The `struct socket` behind the file of a socket.
#[inline(always)]
pub fn file_data(file: *const c_void) -> *const c_void {
    // SAFETY: a `struct file`.
    unsafe { load::<_, true>(file, offset!(file_data)) }
}

/// The `struct socket` behind an open file, or null: what `bpf_sock_from_file` gives, on
/// kernels that do not have it.
#[inline(always)]
pub fn socket_of_file(file: *const c_void) -> *const c_void {
    const SOCKFS: u64 = 0x534F_434B;
    // SAFETY: the verifier knows the file, and by it the others; a null reads as zero.
    unsafe {
        let inode: *const c_void = load::<_, false>(file, offset!(file_inode));
        let super_block: *const c_void = load::<_, false>(inode, offset!(inode_super));
        if load::<u64, false>(super_block, offset!(super_magic)) == SOCKFS {
            // Null for a file that was opened with O_PATH.
            load::<_, false>(file, offset!(file_data))
        } else {
            ptr::null()
        }
    }
}

/// A `struct task_struct`.
#[derive(Clone, Copy)]
pub struct Task<const PROBE: bool>(pub *const c_void);

impl<const PROBE: bool> Task<PROBE> {
    /// The running thread.
    #[inline(always)]
    pub fn current() -> Self {
        if PROBE {
            // SAFETY: always allowed.
            return Self(unsafe { bpf_get_current_task() } as *const c_void);
        }
        // SAFETY: always allowed; gives a pointer that the verifier knows (Linux 5.11).
        Self(unsafe { bpf_get_current_task_btf() }.cast())
    }

    #[inline(always)]
    fn field<T: Copy>(self, offset: u32) -> T {
        // SAFETY: `self.0` is a `struct task_struct`, the offset is one of its fields'.
        unsafe { load::<T, PROBE>(self.0, offset) }
    }

    /// The first thread of its process.
    #[inline(always)]
    pub fn leader(self) -> Self {
        Self(self.field(offset!(task_leader)))
    }

    #[inline(always)]
    pub fn tgid(self) -> u32 {
        self.field(offset!(task_tgid))
    }

    /// Nanoseconds from boot to its start.
    #[inline(always)]
    pub fn start_ns(self) -> u64 {
        self.field(offset!(task_start))
    }

    #[inline(always)]
    pub fn is_kernel_thread(self) -> bool {
        const PF_KTHREAD: u32 = 0x0020_0000;
        self.field::<u32>(offset!(task_flags)) & PF_KTHREAD != 0
    }

    /// The name, NUL-padded.
    #[inline(always)]
    pub fn comm(self) -> [u8; 16] {
        let at = offset!(task_comm);
        let halves: [u64; 2] = [self.field(at), self.field(at.wrapping_add(8))];
        // SAFETY: 16 bytes either way.
        unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(halves) }
    }

    /// `true` once every thread of the process is exiting.
    #[inline(always)]
    pub fn group_is_dead(self) -> bool {
        let signal: *const c_void = self.field(offset!(task_signal));
        // SAFETY: a `struct signal_struct`, which lives as long as the task.
        unsafe { load::<u32, PROBE>(signal, offset!(signal_live)) == 0 }
    }

    /// Id of its cgroup v2.
    #[inline(always)]
    pub fn cgroup_id(self) -> u64 {
        let set: *const c_void = self.field(offset!(task_cgroups));
        // SAFETY: a `css_set`, its default cgroup and that one's `struct kernfs_node`.
        unsafe {
            let cgroup: *const c_void = load::<_, PROBE>(set, offset!(css_set_cgroup));
            let node: *const c_void = load::<_, PROBE>(cgroup, offset!(cgroup_kn));
            load::<u64, PROBE>(node, offset!(kernfs_node_id))
        }
    }

    /// The key of the process whose leader this is.
    #[inline(always)]
    pub fn key(self) -> ProcessKey {
        if self.is_kernel_thread() {
            return ProcessKey::KERNEL;
        }
        ProcessKey {
            start_ns: self.start_ns(),
            tgid: self.tgid(),
            reserved: 0,
        }
    }
}

/// A `struct sk_buff` that arrived: its headers were found.
#[derive(Clone, Copy)]
pub struct Skb(pub *const c_void);

impl Skb {
    /// What is so many bytes into its IP header.
    #[inline(always)]
    pub fn network<T: Copy>(self, at: u32) -> T {
        self.header(offset!(skb_network), at)
    }

    /// What is so many bytes into its TCP or UDP header.
    #[inline(always)]
    pub fn transport<T: Copy>(self, at: u32) -> T {
        self.header(offset!(skb_transport), at)
    }

    /// The index of the device that it came by.
    #[inline(always)]
    pub fn device(self) -> u32 {
        // SAFETY: the verifier knows `self.0` as a `struct sk_buff`.
        unsafe { load::<u32, false>(self.0, offset!(skb_device)) }
    }

    #[inline(always)]
    fn header<T: Copy>(self, field: u32, at: u32) -> T {
        // SAFETY: the verifier knows `self.0` as a `struct sk_buff`; what it points to is
        // copied by a helper that checks the address.
        unsafe {
            let head: *const c_void = load::<_, false>(self.0, offset!(skb_head));
            let start: u16 = load::<_, false>(self.0, field);
            load::<T, true>(head.wrapping_byte_add(start.into()), at)
        }
    }
}
