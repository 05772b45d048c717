//! How far apart the two cores are: the classes of distance that the probes show.
//!
//! A hypervisor may move its virtual processors, and then the distance between two cores changes within milliseconds,
//! and every figure with it by a factor of three to ten. The times of the probes then form two heaps, and the boundary
//! lies between them.

/// Cache-line round trips shorter than this are near where the probes form one heap, in nanoseconds.
const NEAR_BELOW_NS: f64 = 250.0;
/// The heaps' means must be apart by this factor.
const APART_MIN: f64 = 1.6;
/// The smaller heap must have this share of all probes, and at least this number.
const SHARE_MIN: f64 = 0.005;
const PROBES_MIN: usize = 5;
/// The share of the probes' spread that the division must explain.
const EXPLAINED_MIN: f64 = 0.7;

/// How far apart the cores are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Distance {
    Near = 0,
    Far = 1,
}

impl Distance {
    pub(crate) const ALL: [Self; 2] = [Self::Near, Self::Far];

    /// The distance that a single probe speaks for, if nothing is known of the others.
    pub(crate) fn usual(probe_ns: f64) -> Self {
        if probe_ns < NEAR_BELOW_NS { Self::Near } else { Self::Far }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }
}

/// Where near ends and far begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Boundary {
    /// The probes form two heaps, which this time divides, in nanoseconds.
    Between(f64),
    /// The probes form one heap with this median, in nanoseconds: all are of one class.
    OneHeap(f64),
}

impl Boundary {
    /// The boundary that divides the probes' times best, if they form two heaps (Otsu's method on their logarithms).
    /// One heap is never cut, wherever it lies.
    pub(crate) fn of(probes_ns: &[f64]) -> Self {
        let mut logs: Vec<f64> = probes_ns.iter().filter(|ns| **ns > 0.0).map(|ns| ns.ln()).collect();
        logs.sort_by(f64::total_cmp);
        let middle = |logs: &[f64]| logs.get(logs.len() / 2).copied().unwrap_or(0.0);
        let one_heap = Self::OneHeap(middle(&logs).exp());
        let count = logs.len() as f64;
        let total: f64 = logs.iter().sum();
        let mean = total / count;
        let spread: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
        let (mut below, mut best) = (0.0, (0.0, 0));
        for (index, pair) in logs.windows(2).enumerate() {
            below += pair[0];
            let (few, many) = ((index + 1) as f64, count - (index + 1) as f64);
            let between = few * (below / few - mean).powi(2) + many * ((total - below) / many - mean).powi(2);
            if between > best.0 {
                best = (between, index + 1);
            }
        }
        let (between, split) = best;
        let smaller = split.min(logs.len() - split);
        if smaller < PROBES_MIN || (smaller as f64) < SHARE_MIN * count || between < EXPLAINED_MIN * spread {
            return one_heap;
        }
        let (near, far) = (middle(&logs[..split]), middle(&logs[split..]));
        if far - near < APART_MIN.ln() {
            return one_heap;
        }
        Self::Between(((near + far) / 2.0).exp())
    }

    pub(crate) fn class(self, probe_ns: f64) -> Distance {
        match self {
            Self::Between(ns) if probe_ns < ns => Distance::Near,
            Self::Between(_) => Distance::Far,
            Self::OneHeap(median_ns) => Distance::usual(median_ns),
        }
    }
}

/// The time of a pair of processors is of the next class if it is longer than the one before it by this factor.
const NEXT_CLASS: f64 = 1.35;

/// Pairs of processors that are as far from each other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Class {
    pub(crate) low_ns: f64,
    pub(crate) high_ns: f64,
    pub(crate) pairs: Vec<[usize; 2]>,
}

/// The classes of distance that the times of pairs show, from the nearest on: there are as many as there are gaps.
pub(crate) fn classes(pairs: &[([usize; 2], f64)]) -> Vec<Class> {
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
    let runs = sorted.chunk_by(|a, b| b.1 < a.1 * NEXT_CLASS);
    let class = |run: &[([usize; 2], f64)]| Class {
        low_ns: run[0].1,
        high_ns: run[run.len() - 1].1,
        pairs: run.iter().map(|(pair, _)| *pair).collect(),
    };
    runs.map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;

    fn probes(heaps: &[(f64, usize)]) -> Vec<f64> {
        let mut random = Random::new(5);
        let mut heap = |center: f64, count: usize| -> Vec<f64> {
            (0..count).map(|_| center * (0.95 + 0.1 * random.share())).collect()
        };
        heaps.iter().flat_map(|(center, count)| heap(*center, *count)).collect()
    }

    #[test]
    fn two_heaps_have_a_boundary_between_them() {
        for heaps in [[(110.0, 5000), (480.0, 500)], [(110.0, 60), (480.0, 6000)], [(40.0, 900), (90.0, 900)]] {
            let boundary = Boundary::of(&probes(&heaps));
            let Boundary::Between(ns) = boundary else { panic!("{heaps:?}: {boundary:?}") };
            assert!((heaps[0].0..heaps[1].0).contains(&ns), "{heaps:?}: {boundary:?}");
            assert_eq!(boundary.class(heaps[0].0), Distance::Near);
            assert_eq!(boundary.class(heaps[1].0), Distance::Far);
        }
    }

    #[test]
    fn one_heap_is_of_one_class_wherever_it_lies() {
        for (center, distance) in
            [(110.0, Distance::Near), (243.0, Distance::Near), (258.0, Distance::Far), (480.0, Distance::Far)]
        {
            let probes = probes(&[(center, 3000)]);
            let boundary = Boundary::of(&probes);
            assert!(matches!(boundary, Boundary::OneHeap(_)), "{center}: {boundary:?}");
            assert!(probes.iter().all(|probe| boundary.class(*probe) == distance), "{center}: {boundary:?}");
        }
        assert_eq!(Boundary::of(&[]).class(100.0), Distance::Near);
        assert!(matches!(Boundary::of(&[100.0]), Boundary::OneHeap(_)));
    }

    #[test]
    fn as_many_classes_are_found_as_there_are_distances() {
        use crate::topology::{Common, Topology, tests::large};
        let made = large("probed");
        let topology = Topology::read(&made.0, &(0..16).collect::<Vec<_>>());
        let mut random = Random::new(6);
        let mut pairs = Vec::new();
        for (index, a) in topology.processors.iter().enumerate() {
            for b in &topology.processors[index + 1..] {
                let ns = match Topology::common(a, b) {
                    Common::Core => 20.0,
                    Common::Cache => 60.0,
                    Common::Package => 180.0,
                    Common::Nothing => 350.0,
                };
                pairs.push(([a.number, b.number], ns * (0.9 + 0.2 * random.share())));
            }
        }
        let found = classes(&pairs);
        // Threads of one core, cores behind one cache, caches of one package, packages.
        assert_eq!(found.iter().map(|class| class.pairs.len()).collect::<Vec<_>>(), [8, 16, 32, 64]);
        assert!(found[0].pairs.iter().all(|[a, b]| b - a == 8), "{:?}", found[0]);
        assert!(found[1].low_ns >= 54.0 && found[1].high_ns <= 66.0, "{:?}", found[1]);
        // A machine whose processors are all as far from each other has one class.
        pairs.iter_mut().for_each(|(_, ns)| *ns = 283.0 * (0.9 + 0.2 * random.share()));
        assert_eq!(classes(&pairs).len(), 1);
        assert!(classes(&[]).is_empty());
    }

    #[test]
    fn a_few_disturbed_probes_are_no_heap() {
        assert!(matches!(Boundary::of(&probes(&[(110.0, 3000), (900.0, 4)])), Boundary::OneHeap(_)));
    }
}
