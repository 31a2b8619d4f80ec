//! The kernel programs, embedded. `cargo xtask build-ebpf` makes them.

/// The object for this architecture.
#[cfg(target_arch = "x86_64")]
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("object/netwatch.x86_64.o");
/// The object for this architecture.
#[cfg(target_arch = "aarch64")]
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("object/netwatch.aarch64.o");
