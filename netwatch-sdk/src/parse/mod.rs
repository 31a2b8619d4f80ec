//! Bytes or text to typed values. No files, no processes, no clock, no `cfg`.

pub(crate) mod btf;
