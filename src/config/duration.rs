//! Times as Telegraf and Go write them: 500ms, 4s, 1m30s, 1.5h. Telegraf adds days, so 30d is one.
//!
//! A bare number is none: Telegraf means seconds by it, Go nanoseconds, and cron minutes.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Units and their nanoseconds, the longest first.
const UNITS: [(&str, u128); 9] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000), // U+00B5, micro sign
    ("μs", 1_000), // U+03BC, Greek mu: Go takes both
    ("ns", 1),
];

/// Digits of a fraction that count; those after them are less than a nanosecond of any unit.
const FRACTION_DIGITS: usize = 18;

/// Reads a time that lies within `bounds`.
///
/// # Errors
/// What the text must be instead, to be put after "is X, but".
pub fn parse(text: &str, bounds: RangeInclusive<Duration>) -> Result<Duration, String> {
    if text.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
        return Err("must not be negative".to_owned());
    }
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        // A long number would only be repeated, and one out of bounds be refused again.
        let time = nanoseconds(&format!("{text}s")).and_then(|time| u64::try_from(time).ok());
        let fits = time.is_some_and(|time| bounds.contains(&Duration::from_nanos(time)));
        if fits && text.len() <= 6 {
            return Err(format!("must have a unit, such as {text}s"));
        }
        let (least, most) = (shown(*bounds.start()), shown(*bounds.end()));
        return Err(format!("must be a time with its unit, from {least} to {most}"));
    }
    let Some(nanoseconds) = nanoseconds(text) else {
        return Err("must be a time such as 500ms, 4s, 5m or 1h30m".to_owned());
    };
    // What does not fit 64 bits (584 years) is beyond every bound.
    let time = u64::try_from(nanoseconds).map_or(Duration::MAX, Duration::from_nanos);
    if bounds.contains(&time) {
        Ok(time)
    } else {
        Err(format!("must be from {} to {}", shown(*bounds.start()), shown(*bounds.end())))
    }
}

/// The time in the largest unit that divides it.
pub fn shown(time: Duration) -> String {
    let nanoseconds = time.as_nanos();
    let exact = UNITS.iter().find(|(_, unit)| nanoseconds > 0 && nanoseconds.is_multiple_of(*unit));
    exact.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", nanoseconds / unit))
}

/// The sum of the text's pairs of number and unit; `None` when the text is no such sequence.
fn nanoseconds(text: &str) -> Option<u128> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut rest = text;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c| !is_number(c))?);
        let (name, tail) = tail.split_at(tail.find(is_number).unwrap_or(tail.len()));
        let (_, unit) = UNITS.iter().find(|(known, _)| *known == name)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS)];
        let power = u32::try_from(fraction.len()).ok()?;
        let part = digits(fraction).saturating_mul(*unit) / 10_u128.pow(power);
        total = total.saturating_add(digits(whole).saturating_mul(*unit)).saturating_add(part);
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// The value of a run of digits: of none 0, of too many the largest there is.
fn digits(text: &str) -> u128 {
    if text.is_empty() { 0 } else { text.parse().unwrap_or(u128::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(365 * 86_400);

    #[test]
    fn times_are_read_as_telegraf_writes_them() {
        let cases = [
            ("500ms", 500_000_000),
            ("4s", 4_000_000_000),
            ("5m", 300_000_000_000),
            ("1h", 3_600_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5s", 1_500_000_000),
            ("1h30m0.25s", 5_400_250_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("0s", 0),
            ("100us", 100_000),
            ("100µs", 100_000),
            ("100μs", 100_000),
            ("7ns", 7),
            ("30d", 2_592_000_000_000_000),
            ("0.0000000009999s", 0),
            ("1.123456789123456789123456789s", 1_123_456_789),
        ];
        for (text, nanoseconds) in cases {
            assert_eq!(parse(text, ANY), Ok(Duration::from_nanos(nanoseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_says_what_to_write_instead() {
        let form = "must be a time such as 500ms, 4s, 5m or 1h30m";
        let range = "must be from 0s to 365d";
        let long = "9".repeat(400);
        let cases = [
            ("", form),
            ("s", form),
            (".s", form),
            ("1..5s", form),
            ("1.5.5s", form),
            ("4 s", form),
            (" 4s", form),
            ("4S", form),
            ("4sec", form),
            ("4s5", form),
            ("1e3s", form),
            ("+4s", form),
            ("4y", form),
            ("forever", form),
            ("٤s", form),
            ("4", "must have a unit, such as 4s"),
            ("1.5", "must have a unit, such as 1.5s"),
            (long.as_str(), "must be a time with its unit, from 0s to 365d"),
            ("..", "must be a time with its unit, from 0s to 365d"),
            ("-", form),
            ("--no-cache", form),
            ("-4s", "must not be negative"),
            ("-4", "must not be negative"),
            ("366d", range),
            ("99999999999999999999h", range),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text, ANY), Err(expected.to_owned()), "{text}");
        }
        assert_eq!(parse(&format!("{long}h"), ANY), Err(range.to_owned()));
        assert_eq!(parse(&format!("{long}h{long}h"), ANY), Err(range.to_owned()));
    }

    #[test]
    fn both_bounds_belong_to_the_range() {
        let bounds = Duration::from_millis(100)..=Duration::from_secs(600);
        let range = Err("must be from 100ms to 10m".to_owned());
        let with_unit = Err("must be a time with its unit, from 100ms to 10m".to_owned());
        assert_eq!(parse("0", bounds.clone()), with_unit);
        assert_eq!(parse("601", bounds.clone()), with_unit);
        assert_eq!(parse("100ms", bounds.clone()), Ok(Duration::from_millis(100)));
        assert_eq!(parse("10m", bounds.clone()), Ok(Duration::from_secs(600)));
        assert_eq!(parse("99ms", bounds.clone()), range);
        assert_eq!(parse("0s", bounds.clone()), range);
        assert_eq!(parse("10m1ns", bounds), range);
    }

    #[test]
    fn a_time_is_shown_in_the_largest_unit_that_divides_it() {
        let cases = [
            (0, "0s"),
            (1, "1ns"),
            (1_500_000, "1500us"),
            (100_000_000, "100ms"),
            (90_000_000_000, "90s"),
            (300_000_000_000, "5m"),
            (86_400_000_000_000, "1d"),
        ];
        for (nanoseconds, text) in cases {
            assert_eq!(shown(Duration::from_nanos(nanoseconds)), text);
        }
    }
}
