//! Bytes or text to typed values. No files, no processes, no clock, no `cfg`.

#[cfg(target_os = "linux")]
pub(crate) mod ss;
