//! Planted differences, and none, in made-up restarts: what is there is found, and nothing else.

use super::*;

/// About normal: a sum of uniform ones.
fn normal(random: &mut Random) -> f64 {
    (0..12).map(|_| random.share()).sum::<f64>() - 6.0
}

/// The medians of that number of restarts, each of which lies where memory happens to be placed: 0.5 % around `center`.
fn restarts(random: &mut Random, count: usize, center: f64) -> Vec<f64> {
    (0..count).map(|_| center * (1.0 + 0.005 * normal(random))).collect()
}

#[test]
fn quartiles_are_those_of_the_sorted_figures() {
    let quartiles = Quartiles::of(&[5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
    assert_eq!([quartiles.low, quartiles.median, quartiles.high], [2.0, 3.0, 4.0]);
    assert!(Quartiles::of(&[]).is_none());
}

#[test]
fn a_median_is_finer_than_the_clock() {
    assert_eq!(median_of(&[], 10), 0.0);
    assert_eq!(median_of(&[100; 9], 10), 100.0, "in the middle of its step");
    // Three quarters of the times are in the lower step: the median is above its middle, and below its end.
    let times: Vec<u64> = [[100; 75].as_slice(), &[110; 25]].concat();
    assert!((median_of(&times, 10) - (95.0 + 10.0 * 50.0 / 75.0)).abs() < 1e-9);
    let times: Vec<u64> = [[100; 50].as_slice(), &[110; 50]].concat();
    assert!((median_of(&times, 10) - 105.0).abs() < 1e-9, "half and half: between the two");
}

#[test]
fn quantiles_are_exact_below_2048_ns_and_to_a_thousandth_above() {
    let mut times = histogram();
    assert_eq!(quantile(&times, 0.5), None);
    assert_eq!(longest(&times), None);
    (1..=1000).for_each(|ns| times.record(ns).unwrap());
    assert_eq!(quantile(&times, 0.5), Some(500.0));
    assert_eq!(quantile(&times, 0.99), Some(990.0));
    times.record(123_456_789).unwrap();
    let last = longest(&times).unwrap();
    assert!((last / 123_456_789.0 - 1.0).abs() < 0.001, "{last}");
}

#[test]
fn a_quantile_needs_ten_times_beyond_it() {
    let mut times = histogram();
    (0..9_999).for_each(|_| times.record(100).unwrap());
    assert_eq!(quantile(&times, 0.999), None);
    assert_eq!(quantile(&times, 0.99), Some(100.0));
    times.record(100).unwrap();
    assert_eq!(quantile(&times, 0.999), Some(100.0));
}

#[test]
fn students_quantiles_are_those_of_the_tables() {
    for (share, freedom, table) in
        [(0.995, 4.0, 4.604), (0.975, 10.0, 2.228), (0.995, 30.0, 2.750), (0.9995, 9.0, 4.781), (0.975, 1e6, 1.960)]
    {
        let found = student(share, freedom);
        assert!((found - table).abs() < 0.001, "{share} of {freedom}: {found}, and {table} in the table");
    }
}

#[test]
fn intervals_hold_the_true_value_as_often_as_they_say() {
    let mut random = Random::new(1);
    let held = (0..2000).filter(|_| interval(&restarts(&mut random, 5, 200.0), 0.99).unwrap().holds(200.0)).count();
    // 1980 are expected, and 4.4 is the standard deviation.
    assert!((1960..=1997).contains(&held), "{held} of 2000");
    assert_eq!(interval(&[1.0, 2.0], 0.99), None);
}

#[test]
fn equal_programs_are_not_told_apart() {
    let mut random = Random::new(2);
    let differ = |random: &mut Random| {
        let (a, b) = (restarts(random, 7, 180.0), restarts(random, 7, 180.0));
        !Ratio::of(&a, &b, 0.99).unwrap().interval.holds(1.0)
    };
    let false_alarms = (0..2000).filter(|_| differ(&mut random)).count();
    assert!((5..=40).contains(&false_alarms), "{false_alarms} of 2000, where 20 are expected");
}

#[test]
fn a_planted_difference_is_found_and_its_size_told() {
    let mut random = Random::new(3);
    for (planted, restarts_needed) in [(1.05, 5), (1.01, 14), (0.97, 7)] {
        let found = (0..200).filter(|_| {
            let a = restarts(&mut random, restarts_needed, 180.0);
            let b = restarts(&mut random, restarts_needed, 180.0 * planted);
            let ratio = Ratio::of(&a, &b, 0.99).unwrap();
            assert!((ratio.ratio / planted - 1.0).abs() < 0.02, "{ratio:?}");
            !ratio.interval.holds(1.0)
        });
        let found = found.count();
        assert!(found >= 180, "{planted} was found in {found} of 200");
    }
}

#[test]
fn a_side_that_happens_to_show_one_state_is_not_taken_at_its_word() {
    // Eight restarts in one state and two in the other, and five that all came to the other.
    let two_states = [105.0, 105.1, 105.0, 100.1, 105.0, 105.1, 105.0, 100.0, 105.0, 105.1];
    let one_state = [100.0, 100.1, 100.0, 100.1, 100.0];
    let ratio = Ratio::of(&two_states, &one_state, 0.9997).unwrap();
    assert!(ratio.interval.holds(1.0), "{ratio:?}");
}

#[test]
fn ranks_tell_apart_what_hardly_overlaps() {
    let (low, high) = ([1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0]);
    assert!(are_ranked_apart(&low, &high, 0.9999) && are_ranked_apart(&high, &low, 0.9999), "none between");
    assert!(!are_ranked_apart(&low, &[4.5, 7.0, 8.0], 0.9999));
    assert!(!are_ranked_apart(&low, &low, 0.99));
    let many = |first: u32| (first..first + 40).map(f64::from).collect::<Vec<f64>>();
    assert!(are_ranked_apart(&many(0), &many(20), 0.99) && !are_ranked_apart(&many(0), &many(4), 0.99));
}

#[test]
fn restarts_that_are_all_equal_are_compared_too() {
    let ratio = Ratio::of(&[10.0; 5], &[11.0; 5], 0.99).unwrap();
    assert!((ratio.ratio - 1.1).abs() < 1e-9 && !ratio.interval.holds(1.0));
    assert!(Ratio::of(&[10.0; 5], &[10.0; 5], 0.99).unwrap().interval.holds(1.0));
    assert!(Ratio::of(&[10.0; 2], &[10.0; 5], 0.99).is_none());
}
