//! How often which times came, in little memory: each is kept to within 1.6 %.

use std::time::Duration;

/// Steps between a power of two and the next.
const STEPS: u64 = 64;

/// Times, counted by their size.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum_nanos: u128,
    min_nanos: u64,
    max_nanos: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; index_of(u64::MAX) + 1], total: 0, sum_nanos: 0, min_nanos: u64::MAX, max_nanos: 0 }
    }

    pub(crate) fn count(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.counts[index_of(nanos)] += 1;
        self.total += 1;
        self.sum_nanos += u128::from(nanos);
        self.min_nanos = self.min_nanos.min(nanos);
        self.max_nanos = self.max_nanos.max(nanos);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.total += other.total;
        self.sum_nanos += other.sum_nanos;
        self.min_nanos = self.min_nanos.min(other.min_nanos);
        self.max_nanos = self.max_nanos.max(other.max_nanos);
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn min(&self) -> Option<Duration> {
        (self.total > 0).then(|| Duration::from_nanos(self.min_nanos))
    }

    pub(crate) fn max(&self) -> Option<Duration> {
        (self.total > 0).then(|| Duration::from_nanos(self.max_nanos))
    }

    pub(crate) fn mean(&self) -> Option<Duration> {
        let mean = self.sum_nanos.checked_div(u128::from(self.total))?;
        Some(Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX)))
    }

    /// The time that this share of all did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        let index = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        let nanos = highest_of(index).clamp(self.min_nanos.min(self.max_nanos), self.max_nanos);
        Some(Duration::from_nanos(nanos))
    }
}

/// Below twice [`STEPS`] the number itself; then so many steps for each power of two.
fn index_of(nanos: u64) -> usize {
    let shift = nanos.checked_ilog2().unwrap_or(0).saturating_sub(STEPS.ilog2());
    (u64::from(shift) * STEPS + (nanos >> shift)) as usize
}

/// The highest number of an index.
fn highest_of(index: usize) -> u64 {
    let index = index as u64;
    let shift = (index / STEPS).saturating_sub(1);
    let lowest = (index - shift * STEPS) << shift;
    lowest + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_an_index_whose_highest_is_near() {
        let powers = (0..64).flat_map(|power| [-1i64, 0, 1, 77].map(|more| (1u64 << power).wrapping_add_signed(more)));
        for number in powers.chain([0, u64::MAX]) {
            let highest = highest_of(index_of(number));
            assert!(highest >= number && (highest - number) as f64 <= number as f64 / 64.0, "{number} {highest}");
            assert_eq!(index_of(highest), index_of(number), "{number}");
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let mut histogram = Histogram::new();
        assert_eq!((histogram.quantile(0.5), histogram.mean(), histogram.min()), (None, None, None));
        (1..=100).for_each(|micros| histogram.count(Duration::from_micros(micros)));
        let near = |time: Option<Duration>, micros: u64| {
            let ratio = time.unwrap().as_nanos() as f64 / (micros * 1000) as f64;
            assert!((1.0..1.02).contains(&ratio), "{time:?} {micros}");
        };
        near(histogram.quantile(0.5), 50);
        near(histogram.quantile(0.99), 99);
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_micros(100)));
        assert_eq!(histogram.min(), Some(Duration::from_micros(1)));
        assert_eq!(histogram.mean(), Some(Duration::from_nanos(50_500)));
        let mut twice = histogram.clone();
        twice.add(&histogram);
        assert_eq!((twice.total(), twice.quantile(0.5)), (200, histogram.quantile(0.5)));
    }
}
