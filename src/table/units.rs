//! Numbers as people read them: a few digits and a unit, never wider than seven characters.

const BYTES: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const COUNTS: [&str; 5] = ["", "k", "M", "G", "T"];

/// Bytes, in powers of 1024.
pub(crate) fn bytes(bytes: f64) -> String {
    scaled(bytes, 1024.0, &BYTES, 0)
}

/// Things that are counted, in powers of 1000.
pub(super) fn count(count: f64) -> String {
    scaled(count, 1000.0, &COUNTS, 1)
}

/// Percent, with a tenth below a hundred.
pub(super) fn percent(percent: f64) -> String {
    if percent < 99.95 { format!("{percent:.1}%") } else { format!("{percent:.0}%") }
}

/// Seconds.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        ..9.95 => format!("{seconds:.1} s"),
        ..99.5 => format!("{seconds:.0} s"),
        _ => format!("{:.0} min", seconds / 60.0),
    }
}

/// Two digits where there is a unit before it, `decimals` of them where there is none.
fn scaled(number: f64, base: f64, units: &[&str], decimals: usize) -> String {
    let mut number = number;
    let mut units = units.iter();
    let mut unit = units.next();
    let mut decimals = decimals;
    // What would be rounded to 1000 is in the next unit.
    while number >= 999.5 {
        let Some(next) = units.next() else { break };
        (number, unit, decimals) = (number / base, Some(next), 1);
    }
    let decimals = if number < 9.95 { decimals } else { 0 };
    format!("{number:.decimals$}{}", unit.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_two_or_three_digits_and_a_unit() {
        let kib = 1024.0;
        let gib = kib * kib * kib;
        for (number, text) in [
            (0.0, "0B"),
            (0.6, "1B"),
            (999.4, "999B"),
            (999.5, "1.0KiB"),
            (1024.0, "1.0KiB"),
            (9.94 * kib, "9.9KiB"),
            (9.95 * kib, "10KiB"),
            (999.4 * kib, "999KiB"),
            (999.5 * kib, "1.0MiB"),
            (128.0 * kib * kib, "128MiB"),
            (1.5 * gib, "1.5GiB"),
            (999.9 * gib, "1.0TiB"),
            (u64::MAX as f64 * kib, "16384EiB"),
        ] {
            assert_eq!(bytes(number), text, "{number}");
        }
    }

    #[test]
    fn counts_have_a_tenth_while_they_are_small() {
        for (number, text) in [
            (0.0, "0.0"),
            (0.04, "0.0"),
            (0.25, "0.2"),
            (9.94, "9.9"),
            (9.95, "10"),
            (999.4, "999"),
            (999.5, "1.0k"),
            (123_456.0, "123k"),
            (2_500_000.0, "2.5M"),
        ] {
            assert_eq!(count(number), text, "{number}");
        }
    }

    #[test]
    fn percents_have_a_tenth_below_a_hundred() {
        for (number, text) in
            [(0.0, "0.0%"), (12.34, "12.3%"), (99.94, "99.9%"), (99.95, "100%"), (123.4, "123%")]
        {
            assert_eq!(percent(number), text, "{number}");
        }
    }

    #[test]
    fn times_are_told_in_seconds_or_minutes() {
        for (seconds, text) in
            [(1.04, "1.0 s"), (9.95, "10 s"), (59.6, "60 s"), (99.5, "2 min"), (3599.0, "60 min")]
        {
            assert_eq!(time(seconds), text, "{seconds}");
        }
    }
}
