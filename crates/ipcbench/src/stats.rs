//! The few numbers that speak for many: quantiles, intervals over restarts, and whether two runs differ.
//!
//! Slices of one pair of processes share its memory and its addresses, so their spread is no uncertainty: two runs of
//! one program can differ by more than their quartiles say. What is independent are *restarts*. An interval is that of
//! Student's t over the logarithms of the restarts' medians; with five to ten of them, a bootstrap of so few values is
//! too narrow.

use hdrhistogram::Histogram;

/// The quartiles of a run of figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quartiles {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Quartiles {
    /// `None` if there are no figures.
    pub(crate) fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted.get((share * sorted.len() as f64) as usize).copied();
        Some(Self { low: at(0.25)?, median: at(0.5)?, high: at(0.75)? })
    }
}

/// The median of times that a clock counts by `step`; 0 if there are none. Inside of the step in which it lies,
/// times count as spread evenly, so that it is finer than the clock.
pub(crate) fn median_of(ticks: &[u64], step: u64) -> f64 {
    let mut sorted = ticks.to_vec();
    sorted.sort_unstable();
    let Some(middle) = sorted.get(sorted.len() / 2) else { return 0.0 };
    let below = sorted.partition_point(|each| each < middle);
    let equal = sorted.partition_point(|each| each <= middle) - below;
    let share = (sorted.len() as f64 / 2.0 - below as f64) / equal as f64;
    *middle as f64 + (share - 0.5) * step as f64
}

/// A histogram of times in nanoseconds, exact below 2048 and to a thousandth above; it grows with what it holds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are possible")
}

/// The time that `share` of all are no longer than, in nanoseconds; `None` if too few are longer to tell.
pub(crate) fn quantile(times: &Histogram<u64>, share: f64) -> Option<f64> {
    let beyond = times.len() as f64 * (1.0 - share);
    // Half of all times are beyond the median: it needs no more than one.
    let needed = if share > 0.5 { BEYOND_MIN } else { 0.5 };
    (beyond >= needed - 1e-9).then(|| times.value_at_quantile(share) as f64)
}

/// The longest time in nanoseconds; `None` if there are none.
pub(crate) fn longest(times: &Histogram<u64>) -> Option<f64> {
    (!times.is_empty()).then(|| times.max() as f64)
}

/// Fewer times than this beyond a quantile tell nothing of it.
pub(crate) const BEYOND_MIN: f64 = 10.0;
/// Fewer restarts than this make no interval.
pub(crate) const RESTARTS_MIN: usize = 3;
/// The share of intervals that are to hold the true value.
pub(crate) const CONFIDENCE: f64 = 0.99;

/// A range that holds the true value with a confidence that is said where it is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Interval {
    pub(crate) fn holds(self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// Mean and variance of the logarithms.
fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().map(|value| value.ln()).sum::<f64>() / count;
    let variance = values.iter().map(|value| (value.ln() - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, variance)
}

/// Where the median of many restarts lies, by those of some; `None` if there are fewer than [`RESTARTS_MIN`].
pub(crate) fn interval(medians: &[f64], confidence: f64) -> Option<Interval> {
    if medians.len() < RESTARTS_MIN {
        return None;
    }
    let (mean, variance) = moments(medians);
    let count = medians.len() as f64;
    let reach = student((1.0 + confidence) / 2.0, count - 1.0) * (variance / count).sqrt();
    Some(Interval { low: (mean - reach).exp(), high: (mean + reach).exp() })
}

/// One over the other: the ratio of two sets of restarts' medians, and the interval that holds the true one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) ratio: f64,
    pub(crate) interval: Interval,
}

impl Ratio {
    /// `b` over `a`, whose spreads may differ (Welch's t), but a side that happens to have little is not taken at its
    /// word: the interval is no shorter than where both have the same (Student's t). `None` if either has fewer
    /// than [`RESTARTS_MIN`].
    pub(crate) fn of(a: &[f64], b: &[f64], confidence: f64) -> Option<Self> {
        if a.len().min(b.len()) < RESTARTS_MIN {
            return None;
        }
        let ((mean_a, variance_a), (mean_b, variance_b)) = (moments(a), moments(b));
        let (part_a, part_b) = (variance_a / a.len() as f64, variance_b / b.len() as f64);
        let freedom =
            (part_a + part_b).powi(2) / (part_a.powi(2) / (a.len() - 1) as f64 + part_b.powi(2) / (b.len() - 1) as f64);
        let freedom = if freedom.is_finite() { freedom } else { (a.len() + b.len() - 2) as f64 };
        let share = (1.0 + confidence) / 2.0;
        let (weight_a, weight_b) = ((a.len() - 1) as f64, (b.len() - 1) as f64);
        let pooled = (weight_a * variance_a + weight_b * variance_b) / (weight_a + weight_b);
        let pooled = (pooled * (1.0 / a.len() as f64 + 1.0 / b.len() as f64)).sqrt();
        let welch = student(share, freedom) * (part_a + part_b).sqrt();
        let reach = welch.max(student(share, weight_a + weight_b) * pooled);
        let difference = mean_b - mean_a;
        let interval = Interval { low: (difference - reach).exp(), high: (difference + reach).exp() };
        Some(Self { ratio: difference.exp(), interval })
    }
}

/// Whether ranks tell two sets of restarts apart, whatever their distribution: all of one lie beyond all of the other,
/// or that number would too seldom do so by chance (Mann and Whitney's test).
pub(crate) fn are_ranked_apart(a: &[f64], b: &[f64], confidence: f64) -> bool {
    let above = |a: f64, b: f64| if b > a { 1.0 } else { f64::from(b == a) / 2.0 };
    let wins: f64 = a.iter().flat_map(|a| b.iter().map(move |b| above(*a, *b))).sum();
    let (count, pairs) = ((a.len() + b.len()) as f64, (a.len() * b.len()) as f64);
    let from_middle = (wins - pairs / 2.0).abs();
    let deviations = (from_middle - 0.5) / (pairs * (count + 1.0) / 12.0).sqrt();
    // Student's distribution of very many is the normal one.
    from_middle == pairs / 2.0 || deviations > student((1.0 + confidence) / 2.0, 1e9)
}

/// The quantile of Student's distribution, above the median.
fn student(share: f64, freedom: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while student_share(high, freedom) < share && high < 1e9 {
        high *= 2.0;
    }
    for _ in 0..80 {
        let middle = (low + high) / 2.0;
        if student_share(middle, freedom) < share { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// The share of Student's distribution below `t` ≥ 0.
fn student_share(t: f64, freedom: f64) -> f64 {
    1.0 - 0.5 * incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5)
}

/// The regularized incomplete beta function, by its continued fraction (Numerical Recipes, 6.4).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(x, a, b) / a
    } else {
        1.0 - front * beta_fraction(1.0 - x, b, a) / b
    }
}

fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    let away_from_zero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for step in 1..300 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-14 {
            break;
        }
    }
    fraction
}

/// The logarithm of the gamma function, by Lanczos.
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 6] = [
        76.180_091_729_471_46,
        -86.505_320_329_416_77,
        24.014_098_240_830_91,
        -1.231_739_572_450_155,
        0.120_865_097_386_617_9e-2,
        -0.539_523_938_495_3e-5,
    ];
    let series = TERMS.iter().zip(1..).fold(1.000_000_000_190_015, |sum, (term, n)| sum + term / (x + f64::from(n)));
    (x + 0.5) * (x + 5.5).ln() - (x + 5.5) + (2.506_628_274_631_000_5 * series / x).ln()
}

/// Numbers that look random, the same in each run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Above 0, and at most 1.
    pub(crate) fn share(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
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

#[cfg(test)]
mod tests;
