//! Bytes or text to typed values. No files, no processes, no clock, no `cfg`.

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(crate) mod ss;
