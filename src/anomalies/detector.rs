//! The detector of one series: a value each slot in, and out of it how unusual the value is.
//!
//! Two rules. A value outside the range seen so far is news; the range forgets after two epochs. And the
//! histogram of the last 48 values is news where it is unlike each of the 16 patterns remembered. Values go
//! through asinh at the series' own scale, so that small and large ones have a shape alike.
//!
//! Pure: no clock, no allocation, 400 bytes of state. Histograms are whole numbers, and patterns are kept as
//! logarithms in fixed point, so the comparison needs no logarithm.

/// Slots in the window whose histogram is compared with the patterns: 4 hours.
pub const WINDOW: usize = 48;
/// Bins of a histogram, from the lowest to the highest value seen.
const BINS: usize = 7;
/// Patterns that are remembered.
const PATTERNS: usize = 16;
/// How unlike the nearest pattern a histogram must be: a G statistic.
const UNLIKE: f32 = 36.0;
/// How fast a pattern follows the histograms that are like it: each 4th slot, since a window moves slowly.
const BLEND: f32 = 0.02;
const BLEND_EVERY: u32 = 4;
/// How far outside the range a value must be, as a share of the range.
const NOVELTY: f32 = 0.0125;
/// The most that one value widens the range, as a multiple of the range.
const WIDEN: f32 = 2.0;
/// What a bin that a pattern never saw counts, a thousandth of the window, as the patterns have it.
const UNSEEN: u16 = 23384;
/// Slots after which the range forgets what was before the last epoch: 28 days.
const EPOCH: u32 = 8064;
/// The narrowest range, on the scale of asinh.
const NARROWEST: f32 = 0.05;
/// The largest ratio.
const RATIO_MAX: f32 = 3.0;
/// Steps of a logarithm of a pattern, and the lowest.
const STEPS: f32 = 5900.0;
const LOWEST: f32 = -7.0;
/// Most bytes of a saved detector.
#[cfg(test)]
pub const SAVED: usize = 8 + 4 + 6 * 4 + WINDOW + 1 + PATTERNS * (2 * BINS + 4);

/// How values of a series are to be taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// A step below this is never news; 0 where every step may be.
    pub unit: f64,
    /// Whether only a rise is news.
    pub upward: bool,
}

/// What a value is to its series. A ratio of 1 or more is news.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Verdict {
    /// How far outside the range it is.
    pub range: f32,
    /// How unlike all patterns the last [`WINDOW`] values are.
    pub pattern: f32,
    /// The lowest value before it.
    pub low: f64,
    /// The highest value before it.
    pub high: f64,
}

impl Verdict {
    /// The larger of the two ratios.
    pub fn ratio(&self) -> f32 {
        self.range.max(self.pattern)
    }

    /// Which of the two it is.
    pub fn reason(&self) -> &'static str {
        if self.range >= self.pattern { "range" } else { "pattern" }
    }
}

/// What one series has learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Detector {
    /// What a value is divided by; until a window is full, the sum of the values.
    scale: f64,
    seen: u32,
    low: f32,
    high: f32,
    /// The range in the series' own unit.
    edges: [f64; 2],
    /// The range in this epoch, and in the one before it.
    epochs: [[f32; 2]; 2],
    window: [u8; WINDOW],
    current: [u8; BINS],
    count: u8,
    /// By bin, so that a bin's count meets all patterns at once.
    patterns: [[u16; PATTERNS]; BINS],
    used: [u32; PATTERNS],
}

const EMPTY: [f32; 2] = [f32::INFINITY, f32::NEG_INFINITY];

impl Default for Detector {
    fn default() -> Self {
        Self {
            scale: 0.0,
            seen: 0,
            low: 0.0,
            high: 0.0,
            edges: [0.0; 2],
            epochs: [EMPTY; 2],
            window: [0; WINDOW],
            current: [0; BINS],
            count: 0,
            patterns: [[0; PATTERNS]; BINS],
            used: [0; PATTERNS],
        }
    }
}

impl Detector {
    /// How many values it has seen.
    pub fn seen(&self) -> u32 {
        self.seen
    }

    /// Takes in the value of a slot. A value that is not finite is passed over.
    pub fn push(&mut self, value: f64, scale: Scale) -> Verdict {
        if !value.is_finite() {
            return Verdict::default();
        }
        // So large that no sum and no square of it is infinite.
        let value = value.clamp(-1e100, 1e100);
        if self.seen < WINDOW as u32 {
            self.scale += value.abs();
            self.seen += 1;
            if self.seen == WINDOW as u32 {
                self.scale = (self.scale / WINDOW as f64).max(scale.unit).max(1e-9);
            }
            return Verdict::default();
        }
        let number = self.seen - WINDOW as u32;
        let x = asinh(value / self.scale);
        if number == 0 {
            self.set_range(x, x);
        }
        let [low, high] = self.edges;
        let mut verdict = Verdict { low, high, ..Verdict::default() };
        verdict.range = self.outside(value, x, number, scale, &verdict);
        self.seen = self.seen.saturating_add(1);
        self.forget(x, number + 1);
        let is_full = self.remember(x, number + 1);
        if is_full && self.high > self.low {
            let ratio = self.unlike(number + 1, scale.upward);
            // A range of less than two units has no shape that is worth comparing.
            let is_wide = self.edges[1] - self.edges[0] >= 2.0 * scale.unit;
            if ratio > 0.0 && (scale.unit <= 0.0 || is_wide) {
                verdict.pattern = ratio;
            }
        }
        verdict
    }

    /// The logarithms of a pattern.
    fn pattern(&self, place: usize) -> [u16; BINS] {
        self.patterns.map(|logs| logs[place])
    }

    fn set_pattern(&mut self, place: usize, pattern: [u16; BINS]) {
        self.patterns.iter_mut().zip(pattern).for_each(|(logs, log)| logs[place] = log);
    }

    /// A value of the scale of asinh in its own unit.
    fn plain(&self, x: f32) -> f64 {
        self.scale * f64::from(x).sinh()
    }

    /// How far outside the range the value is; the range is widened by it.
    fn outside(&mut self, value: f64, x: f32, number: u32, scale: Scale, was: &Verdict) -> f32 {
        let over = (x - self.high).max(self.low - x);
        if over <= 0.0 {
            return 0.0;
        }
        let width = (self.high - self.low).max(NARROWEST);
        let edge = if x > self.high { was.high } else { was.low };
        let is_news =
            number > 0 && (value - edge).abs() >= scale.unit && (x > self.high || !scale.upward);
        let widest = if number > 30 { WIDEN * width } else { f32::INFINITY };
        self.set_range(
            self.low.min(x.max(self.low - widest)),
            self.high.max(x.min(self.high + widest)),
        );
        if is_news { (over / width / NOVELTY).min(RATIO_MAX) } else { 0.0 }
    }

    /// At the end of an epoch: what was neither in it nor in the one before is forgotten.
    fn forget(&mut self, x: f32, number: u32) {
        let [this, before] = &mut self.epochs;
        *this = [this[0].min(x), this[1].max(x)];
        if !number.is_multiple_of(EPOCH) {
            return;
        }
        let ([this_low, this_high], [before_low, before_high]) = (*this, *before);
        (*before, *this) = (*this, EMPTY);
        if before_high > before_low {
            let low = this_low.min(before_low).max(self.low);
            let high = this_high.max(before_high).min(self.high);
            if low < high && high - low < 0.7 * (self.high - self.low) {
                self.set_range(low, high);
            }
        }
    }

    /// Puts the value into the window's histogram; whether the window is full.
    fn remember(&mut self, x: f32, number: u32) -> bool {
        let span = self.high - self.low;
        let bin = if span > 0.0 { bin_of((x - self.low) / span) } else { 0 };
        let at = (number - 1) as usize % WINDOW;
        if number > WINDOW as u32 {
            let gone = usize::from(self.window[at]);
            self.current[gone] = self.current[gone].saturating_sub(1);
        }
        self.window[at] = bin as u8;
        self.current[bin] += 1;
        number >= WINDOW as u32
    }

    /// How unlike all patterns the histogram is, which is remembered by the nearest or as one of its own.
    fn unlike(&mut self, number: u32, upward: bool) -> f32 {
        let known = usize::from(self.count).min(PATTERNS);
        let own: f32 = self.current.iter().map(|&count| LOGS.of(count)).sum();
        let mut sums = [0_u32; PATTERNS];
        for (&count, logs) in
            self.current.iter().zip(&self.patterns).filter(|(count, _)| **count > 0)
        {
            for (sum, &log) in sums.iter_mut().zip(logs) {
                *sum += u32::from(count) * u32::from(log.max(UNSEEN));
            }
        }
        let (mut most, mut nearest) = (0_u32, 0);
        for (place, &sum) in sums[..known].iter().enumerate() {
            if sum > most {
                (most, nearest) = (sum, place);
            }
        }
        let total = self.current.iter().map(|&count| f32::from(count)).sum::<f32>();
        let best = if known > 0 {
            (2.0 * (own - (most as f32 / STEPS + LOWEST * total))).max(0.0)
        } else {
            f32::INFINITY
        };
        let is_rise = !upward || known == 0 || self.level() > level_of(self.pattern(nearest));
        if best < UNLIKE {
            self.used[nearest] = number;
            if number.is_multiple_of(BLEND_EVERY) {
                self.set_pattern(nearest, follow(self.pattern(nearest), &self.current));
            }
            return if is_rise { 0.9 * best / UNLIKE } else { 0.0 };
        }
        let place = if known < PATTERNS {
            self.count = known as u8 + 1;
            known
        } else {
            (0..PATTERNS).min_by_key(|&place| self.used[place]).unwrap_or(0)
        };
        self.set_pattern(place, self.current.map(|count| fixed(f32::from(count).ln())));
        self.used[place] = number;
        if known > 0 && is_rise { (best / UNLIKE).min(RATIO_MAX) } else { 0.0 }
    }

    /// The mean bin of the window.
    fn level(&self) -> f32 {
        let bins = self.current.iter().enumerate();
        bins.map(|(bin, &count)| bin as f32 * f32::from(count)).sum::<f32>() / WINDOW as f32
    }

    /// Sets the range, and moves what is in bins to those of the new range.
    fn set_range(&mut self, low: f32, high: f32) {
        let (old_low, old_high) = (self.low, self.high);
        (self.low, self.high) = (low, high);
        self.edges = [self.plain(low), self.plain(high)];
        if old_high <= old_low || high <= low {
            return;
        }
        let step = (old_high - old_low) / BINS as f32;
        let to: [usize; BINS] = std::array::from_fn(|bin| {
            bin_of((old_low + (bin as f32 + 0.5) * step - low) / (high - low))
        });
        if to.iter().enumerate().all(|(bin, &to)| bin == to) {
            return;
        }
        for bin in &mut self.window {
            *bin = to[usize::from(*bin)] as u8;
        }
        let mut moved = [0; BINS];
        self.current.iter().zip(to).for_each(|(&count, to)| moved[to] += count);
        self.current = moved;
        for place in 0..usize::from(self.count).min(PATTERNS) {
            let mut moved = [0.0_f32; BINS];
            self.pattern(place)
                .into_iter()
                .zip(to)
                .for_each(|(log, to)| moved[to] += count_of(log));
            self.set_pattern(place, moved.map(|count| fixed(count.ln())));
        }
    }

    /// Its state as bytes: patterns that are not used are not in it.
    pub fn save(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.scale.to_le_bytes());
        bytes.extend(self.seen.to_le_bytes());
        let range = [[self.low, self.high], self.epochs[0], self.epochs[1]];
        range.as_flattened().iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes.extend(self.window);
        bytes.push(self.count);
        let known = usize::from(self.count).min(PATTERNS);
        for (place, used) in self.used.into_iter().enumerate().take(known) {
            self.pattern(place).iter().for_each(|log| bytes.extend(log.to_le_bytes()));
            bytes.extend(used.to_le_bytes());
        }
    }

    /// The detector that was saved as these bytes; `None` where they are none.
    pub fn restore(bytes: &[u8]) -> Option<Self> {
        let (scale, bytes) = bytes.split_first_chunk()?;
        let (seen, bytes) = bytes.split_first_chunk()?;
        let mut detector = Self {
            scale: f64::from_le_bytes(*scale),
            seen: u32::from_le_bytes(*seen),
            ..Self::default()
        };
        let (range, bytes) = bytes.split_first_chunk::<24>()?;
        let (numbers, _) = range.as_chunks();
        let number = |at: usize| numbers.get(at).map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
        (detector.low, detector.high) = (number(0), number(1));
        detector.epochs = [[number(2), number(3)], [number(4), number(5)]];
        let (window, bytes) = bytes.split_first_chunk()?;
        detector.window = *window;
        let (&count, mut bytes) = bytes.split_first()?;
        detector.count = count;
        if usize::from(count) > PATTERNS {
            return None;
        }
        for place in 0..usize::from(count) {
            for logs in &mut detector.patterns {
                let (number, rest) = bytes.split_first_chunk()?;
                (logs[place], bytes) = (u16::from_le_bytes(*number), rest);
            }
            let (used, rest) = bytes.split_first_chunk()?;
            (detector.used[place], bytes) = (u32::from_le_bytes(*used), rest);
        }
        let kept = detector.seen.saturating_sub(WINDOW as u32).min(WINDOW as u32) as usize;
        for &bin in &detector.window[..kept] {
            *detector.current.get_mut(usize::from(bin))? += 1;
        }
        if detector.seen > WINDOW as u32 {
            detector.edges = [detector.plain(detector.low), detector.plain(detector.high)];
        }
        (bytes.is_empty() && detector.is_sound()).then_some(detector)
    }

    fn is_sound(&self) -> bool {
        let is_range = |[low, high]: [f32; 2]| [low, high] == EMPTY || low <= high;
        let is_learning = self.seen < WINDOW as u32;
        self.scale.is_finite()
            && (is_learning || self.scale >= 1e-9)
            && self.scale >= 0.0
            && [self.low, self.high].into_iter().all(|edge| edge.is_finite() && edge.abs() < 600.0)
            && self.low <= self.high
            && self.edges.into_iter().all(f64::is_finite)
            && self.epochs.into_iter().all(is_range)
            && self.window.iter().all(|bin| usize::from(*bin) < BINS)
    }
}

/// The bin of a value at this share of the range.
fn bin_of(share: f32) -> usize {
    ((share * BINS as f32).max(0.0) as usize).min(BINS - 1)
}

/// A logarithm in fixed point; of 0 it is the lowest.
fn fixed(log: f32) -> u16 {
    ((log.max(LOWEST) - LOWEST) * STEPS).round() as u16
}

/// The count that a logarithm in fixed point is of.
fn count_of(log: u16) -> f32 {
    if log == 0 { 0.0 } else { (f32::from(log) / STEPS + LOWEST).exp() }
}

/// A pattern goes a little towards the histogram that was like it.
fn follow(mut pattern: [u16; BINS], current: &[u8; BINS]) -> [u16; BINS] {
    for (log, &count) in pattern.iter_mut().zip(current) {
        if *log == 0 && count == 0 {
            continue;
        }
        let (old, count) = (count_of(*log), f32::from(count));
        if (count - old).abs() > 0.01 {
            *log = fixed((old + BLEND * (count - old)).ln());
        }
    }
    pattern
}

/// The mean bin of a pattern.
fn level_of(pattern: [u16; BINS]) -> f32 {
    let bins = pattern.into_iter().enumerate();
    bins.map(|(bin, log)| bin as f32 * count_of(log)).sum::<f32>() / WINDOW as f32
}

/// Not the standard library's, which calls `hypot`: a program linked with glibc 2.35 or later then asks for one
/// that older ones lack. Also with less than half of its work, since nothing here needs the digits that it saves near 0.
fn asinh(value: f64) -> f32 {
    let size = value.abs();
    (size + (size * size + 1.0).sqrt()).ln().copysign(value) as f32
}

/// The logarithms of the counts of a histogram, each times the count.
struct Logs(std::sync::LazyLock<[f32; WINDOW + 1]>);

static LOGS: Logs = Logs(std::sync::LazyLock::new(|| {
    std::array::from_fn(|count| if count == 0 { 0.0 } else { count as f32 * (count as f32).ln() })
}));

impl Logs {
    fn of(&self, count: u8) -> f32 {
        self.0.get(usize::from(count)).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
#[path = "detector_tests.rs"]
mod tests;
