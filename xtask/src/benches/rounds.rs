//! Short rounds in turn, so that what disturbs the machine disturbs both sides.

use anyhow::{Context, Result};

/// The median of some rounds, the smallest and the largest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Result<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let none = "no round was measured";
        let at = |index: usize| values.get(index).copied().context(none);
        let last = values.len().checked_sub(1).context(none)?;
        Ok(Self {
            median: f64::midpoint(at(last / 2)?, at(last.div_ceil(2))?),
            min: at(0)?,
            max: at(last)?,
        })
    }
}

/// Runs both sides once a round, each first in every other round.
pub(crate) fn pairs<T>(
    rounds: u16,
    mut without: impl FnMut() -> Result<T>,
    mut with: impl FnMut() -> Result<T>,
) -> Result<Vec<(T, T)>> {
    (0..rounds)
        .map(|round| {
            if round % 2 == 0 {
                let first = without()?;
                Ok((first, with()?))
            } else {
                let first = with()?;
                Ok((without()?, first))
            }
        })
        .collect()
}
