//! Copies and clears eight bytes at a time.
//!
//! Where places may overlap, the compiler's own copy subtracts pointers, which takes
//! `CAP_PERFMON`, or calls a function that goes byte by byte, as its own clear does. Before
//! Linux 6.3 the verifier keeps all numbers of a program with a function apart where paths meet,
//! and goes through fifty times the instructions.

use core::ptr;

/// Copies a value.
///
/// # Safety
///
/// `from` can be read and `to` written, both as a `T`, and both are 8-byte aligned.
#[inline(always)]
pub unsafe fn copy<T>(from: *const T, to: *mut T) {
    const { assert!(size_of::<T>().is_multiple_of(8)) };
    let (from, to) = (from.cast::<u64>(), to.cast::<u64>());
    for word in 0..size_of::<T>() / 8 {
        // SAFETY: the caller's promise; volatile, or the compiler makes a copy of it again.
        unsafe { ptr::write_volatile(to.add(word), ptr::read_volatile(from.add(word))) };
    }
}

/// Sets every byte of a value to 0.
///
/// # Safety
///
/// `place` can be written as a `T`, and is 8-byte aligned.
#[inline(always)]
pub unsafe fn clear<T>(place: *mut T) {
    const { assert!(size_of::<T>().is_multiple_of(8)) };
    let place = place.cast::<u64>();
    for word in 0..size_of::<T>() / 8 {
        // SAFETY: as above.
        unsafe { ptr::write_volatile(place.add(word), 0) };
    }
}
