//! The only code that touches the operating system, apart from the backends.

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub(crate) use linux::owners;
