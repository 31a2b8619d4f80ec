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

    pub(crate) fn times(self, factor: f64) -> Self {
        Self {
            median: self.median * factor,
            min: self.min * factor,
            max: self.max * factor,
        }
    }
}

/// Runs every side once a round, beginning with another one each round.
pub(crate) fn turns<T, const SIDES: usize>(
    rounds: u16,
    mut sides: [&mut dyn FnMut() -> Result<T>; SIDES],
) -> Result<Vec<[T; SIDES]>> {
    let mut all = Vec::new();
    for round in 0..usize::from(rounds) {
        let mut results = [const { None }; SIDES];
        let order = (0..SIDES).cycle().skip(round % SIDES).take(SIDES);
        for side in order {
            if let (Some(run), Some(result)) = (sides.get_mut(side), results.get_mut(side)) {
                *result = Some(run()?);
            }
        }
        let results: Option<Vec<T>> = results.into_iter().collect();
        let results = results.and_then(|results| results.try_into().ok());
        all.push(results.context("a side did not run")?);
    }
    Ok(all)
}
