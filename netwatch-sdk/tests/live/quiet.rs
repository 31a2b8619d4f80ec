//! Tests that need all traffic to be their own run alone.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static TRAFFIC: RwLock<()> = RwLock::new(());

/// Held by a test that makes traffic.
pub(crate) fn among_others() -> RwLockReadGuard<'static, ()> {
    TRAFFIC.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held by a test while no other may make traffic.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    TRAFFIC.write().unwrap_or_else(PoisonError::into_inner)
}
