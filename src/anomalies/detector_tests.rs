use super::*;

const PLAIN: Scale = Scale { unit: 1.0, upward: false };

fn fed(values: impl IntoIterator<Item = f64>, scale: Scale) -> (Detector, Verdict) {
    let mut detector = Detector::default();
    let mut last = Verdict::default();
    values.into_iter().for_each(|value| last = detector.push(value, scale));
    (detector, last)
}

/// Between 10 and 20, without a pattern.
fn usual(count: u64) -> impl Iterator<Item = f64> {
    (0..count).map(|number| 10.0 + (number * 7919 % 101) as f64 / 10.0)
}

#[test]
fn a_value_outside_the_range_is_news_and_one_inside_is_not() {
    let (mut detector, _) = fed(usual(2000), PLAIN);
    let inside = detector.push(15.0, PLAIN);
    assert!(inside.ratio() < 1.0, "{inside:?}");
    let outside = detector.push(60.0, PLAIN);
    assert!(outside.range >= 1.0 && outside.reason() == "range", "{outside:?}");
    assert!((outside.low - 10.0).abs() < 0.1 && (outside.high - 20.0).abs() < 0.1, "{outside:?}");
    assert!(detector.push(1.0, PLAIN).range >= 1.0, "below it, too");
}

#[test]
fn a_step_below_a_unit_is_never_news() {
    let idle = std::iter::repeat_n(0.1, 2000);
    let (mut detector, _) = fed(idle, PLAIN);
    assert_eq!(detector.push(1.05, PLAIN).ratio(), 0.0);
    assert!(detector.push(9.0, PLAIN).range >= 1.0);
}

#[test]
fn what_counts_upwards_only_may_fall() {
    let upward = Scale { unit: 0.1, upward: true };
    let (mut detector, _) = fed(usual(2000), upward);
    for _ in 0..96 {
        let verdict = detector.push(0.0, upward);
        assert!(verdict.ratio() < 1.0, "{verdict:?}");
    }
    assert!(detector.push(60.0, upward).range >= 1.0);
}

#[test]
fn four_hours_that_are_unlike_all_before_are_news_within_the_range() {
    let (mut detector, _) = fed(usual(4000), PLAIN);
    let highest = (0..48).map(|_| detector.push(19.0, PLAIN)).map(|it| it.pattern);
    assert!(highest.fold(0.0, f32::max) >= 1.0);
}

#[test]
fn a_pattern_that_was_there_before_is_no_news_again() {
    let day = |_| (0..288).map(|slot| if (100..200).contains(&slot) { 80.0 } else { 5.0 });
    let (mut detector, _) = fed((0..14).flat_map(day), PLAIN);
    let most = day(0).map(|value| detector.push(value, PLAIN).ratio()).fold(0.0, f32::max);
    assert!(most < 1.0, "{most}");
}

#[test]
fn the_range_forgets_after_two_epochs() {
    let (mut detector, _) = fed(usual(1000), PLAIN);
    detector.push(90.0, PLAIN);
    let forgets = usual(u64::from(3 * EPOCH));
    for value in forgets {
        detector.push(value, PLAIN);
    }
    assert!(detector.push(89.0, PLAIN).range >= 1.0);
}

#[test]
fn a_saved_detector_goes_on_as_if_nothing_had_been() {
    for count in [0, 1, 47, 48, 49, 95, 96, 97, 500, 5000] {
        let (mut detector, _) = fed(usual(count), PLAIN);
        let mut bytes = Vec::new();
        detector.save(&mut bytes);
        assert!(bytes.len() <= SAVED, "{}", bytes.len());
        let mut restored = Detector::restore(&bytes).unwrap();
        assert_eq!(restored, detector, "after {count}");
        for value in usual(300).chain([500.0, -3.0]) {
            assert_eq!(restored.push(value, PLAIN), detector.push(value, PLAIN));
        }
        for end in 0..bytes.len() {
            assert_eq!(Detector::restore(&bytes[..end]), None, "cut at {end}");
        }
    }
}

#[test]
fn the_state_of_a_series_is_less_than_a_kib() {
    assert!(size_of::<Detector>() <= 400, "{}", size_of::<Detector>());
}

proptest::proptest! {
    /// Any values: no panic, verdicts that can be printed, and a state that can be saved.
    #[test]
    fn any_values_give_verdicts_that_are_finite(
        values in proptest::collection::vec(
            proptest::prop_oneof![
                proptest::num::f64::ANY,
                0.0..1e3,
                proptest::strategy::Just(0.0),
                -1e-9..1e-9,
            ],
            0..400,
        ),
        unit in 0.0..10.0,
        upward: bool,
    ) {
        let mut detector = Detector::default();
        for value in values {
            let verdict = detector.push(value, Scale { unit, upward });
            proptest::prop_assert!((0.0..=RATIO_MAX).contains(&verdict.ratio()), "{:?}", verdict);
            proptest::prop_assert!(verdict.low.is_finite() && verdict.high.is_finite());
            let total: u32 = detector.current.iter().map(|&count| u32::from(count)).sum();
            proptest::prop_assert_eq!(total, detector.seen.saturating_sub(48).min(48));
        }
        let mut bytes = Vec::new();
        detector.save(&mut bytes);
        proptest::prop_assert_eq!(Detector::restore(&bytes), Some(detector));
    }

    /// Any bytes in the place of a state give one that works, or none.
    #[test]
    fn any_bytes_are_a_detector_that_works_or_none(
        mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..SAVED),
        count in 0..=16_usize,
    ) {
        if bytes.len() > 84 {
            // Bins are small numbers, and no random bytes are all of them.
            bytes[36..84].iter_mut().for_each(|bin| *bin %= 7);
            bytes[84] = count as u8;
            bytes.resize(85 + count * 18, 9);
        }
        if let Some(mut detector) = Detector::restore(&bytes) {
            for value in usual(200) {
                detector.push(value, PLAIN);
            }
        }
    }
}

#[test]
fn asinh_is_that_of_the_standard_library() {
    let numbers = (-40..=100).map(|power| 1.7 * 10f64.powi(power));
    for x in numbers.flat_map(|x| [x, -x]).chain([0.0, f64::MIN_POSITIVE, 1e-200]) {
        let (ours, expected) = (asinh(x), x.asinh());
        assert!(
            (ours - expected).abs() <= 4.0 * f64::EPSILON * expected.abs(),
            "{x}: {ours}, not {expected}"
        );
    }
}
