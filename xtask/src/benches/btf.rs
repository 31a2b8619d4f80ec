//! Names of the kernel's types, by number.

use std::fs;

use anyhow::{Context, Result};

const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// The name of type `id` of the running kernel; a tracepoint's is `btf_trace_NAME`.
pub(crate) fn name(id: u32) -> Result<String> {
    let data = fs::read(KERNEL).context(KERNEL)?;
    find(&data, id).with_context(|| format!("{KERNEL} has no type {id}"))
}

fn word(data: &[u8], at: usize) -> Option<usize> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
}

fn find(data: &[u8], id: u32) -> Option<String> {
    let (header, types, strings) = (word(data, 4)?, word(data, 8)?, word(data, 16)?);
    let mut at = header + types;
    // Types are numbered from 1.
    for _ in 1..id {
        let about = word(data, at + 4)?;
        let items = about & 0xffff;
        at += 12
            + match about >> 24 & 0x1f {
                // integer, variable, tag of a declaration
                1 | 14 | 17 => 4,
                // array
                3 => 12,
                // structure, union, section, 64-bit enumeration
                4 | 5 | 15 | 19 => items * 12,
                // enumeration, prototype of a function
                6 | 13 => items * 8,
                _ => 0,
            };
    }
    let name = data.get(header + strings + word(data, at)?..)?;
    let end = name.iter().position(|&byte| byte == 0)?;
    Some(String::from_utf8_lossy(name.get(..end)?).into_owned())
}
