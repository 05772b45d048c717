//! Quartiles and histograms: many times, and the few numbers that speak for them.

/// The quartiles of a run of figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quartiles {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Quartiles {
    /// `None` where there are no figures.
    pub(crate) fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted.get((share * sorted.len() as f64) as usize).copied();
        Some(Self { low: at(0.25)?, median: at(0.5)?, high: at(0.75)? })
    }
}

/// The median of times; 0 where there are none.
pub(crate) fn median_of(ticks: &[u64]) -> f64 {
    let mut sorted = ticks.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).map_or(0.0, |median| *median as f64)
}

/// Counts times in nanoseconds, exactly below 2048 and to a thousandth above.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    counts: Vec<u32>,
    total: u64,
    max: u64,
}

/// Below 2 to this power each nanosecond has a bucket; above, each power of two has half as many.
const EXACT_BITS: u32 = 11;

impl Histogram {
    pub(crate) fn add(&mut self, ns: u64) {
        let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(EXACT_BITS);
        let bucket = (u64::from(shift) << (EXACT_BITS - 1)) + (ns >> shift);
        if self.counts.len() <= bucket as usize {
            self.counts.resize(bucket as usize + 1, 0);
        }
        self.counts[bucket as usize] += 1;
        self.total += 1;
        self.max = self.max.max(ns);
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The longest; `None` where there are none.
    pub(crate) fn max(&self) -> Option<f64> {
        (self.total != 0).then_some(self.max as f64)
    }

    /// The time that `share` of all are no longer than; `None` where there are none.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let mut left = ((share * self.total as f64).ceil() as u64).max(1);
        let bucket = self.counts.iter().position(|count| {
            left = left.saturating_sub(u64::from(*count));
            left == 0 && self.total != 0
        })? as u64;
        let half = 1 << (EXACT_BITS - 1);
        let shift = (bucket / half).saturating_sub(1);
        Some(((bucket - shift * half) << shift) as f64)
    }
}

/// Three digits.
pub(crate) fn short(value: f64) -> String {
    match value {
        value if value >= 99.95 => format!("{value:.0}"),
        value if value >= 9.995 => format!("{value:.1}"),
        value if value >= 0.9995 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}
