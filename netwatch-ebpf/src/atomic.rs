//! Atomic operations on map values. `core::sync::atomic` has none for this target.

use core::intrinsics::{AtomicOrdering::Relaxed, atomic_cxchg, atomic_xadd};

/// Adds to a counter.
///
/// # Safety
///
/// `counter` points into a map value that the verifier has seen as not null.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, amount: u64) {
    // SAFETY: the caller's promise; map values are 8-byte aligned.
    unsafe { atomic_xadd::<u64, u64, { Relaxed }>(counter, amount) };
}

/// Sets `place` to `new` if it is 0, and says whether it did.
///
/// # Safety
///
/// As for [`add`].
#[inline(always)]
pub unsafe fn claim(place: *mut u64, new: u64) -> bool {
    // SAFETY: the caller's promise; map values are 8-byte aligned.
    unsafe { atomic_cxchg::<u64, { Relaxed }, { Relaxed }>(place, 0, new) }.1
}
