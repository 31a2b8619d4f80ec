//! Kernels that stop when they interpret a program.
//!
//! The compiler of arm64 puts instructions of its own in place of calls such as
//! `bpf_get_current_task`, so the verifier leaves these as they are
//! (`bpf_jit_inlines_helper_call`), whether there will be any compiling or not. With
//! `net.core.bpf_jit_enable` at 0 the interpreter then jumps to a wrong address. Debian's 6.12
//! does; 7.3 does not, and nothing tells which it is but to run a program.

use super::symbols::Symbols;
use crate::{Error, ErrorKind, Result};

const SYMBOL: &str = "bpf_jit_inlines_helper_call";

/// An error where programs might be interpreted like that. `jitted` is the size of one of them,
/// loaded and not run yet, as compiled.
pub(super) fn refuse(jitted: u32, symbols: &Symbols) -> Result<()> {
    if cfg!(target_arch = "aarch64") && jitted == 0 && symbols.has(SYMBOL)? {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "this kernel can stop when it interprets kernel programs (it has {SYMBOL}), and their \
                 compiler is off (sysctl net.core.bpf_jit_enable=1)"
            ),
        ));
    }
    Ok(())
}
