//! Series as guests have them, without anomalies: a value each 5 minutes.

use std::f64::consts::TAU;

use telegraf_virt::anomalies::Scale;

/// Slots of a day.
pub const DAY: usize = 288;
/// Series of each kind.
pub const SEEDS: u64 = 10;

const PERCENT: Scale = Scale { unit: 1.0, upward: false };
const BYTES: Scale = Scale { unit: 4096.0, upward: false };
const MIB: f64 = 1_048_576.0;

/// A kind of series.
pub struct Kind {
    pub name: &'static str,
    pub scale: Scale,
    value: fn(&mut Dice, usize, &mut f64) -> f64,
}

const fn kind(
    name: &'static str,
    scale: Scale,
    value: fn(&mut Dice, usize, &mut f64) -> f64,
) -> Kind {
    Kind { name, scale, value }
}

fn hour(slot: usize) -> f64 {
    (slot % DAY) as f64 / 12.0
}

fn is_weekend(slot: usize) -> bool {
    slot / DAY % 7 >= 5
}

fn day_wave(slot: usize) -> f64 {
    1.0 - (TAU * (hour(slot) - 3.0) / 24.0).cos()
}

/// 9 to 18 o'clock on five days, with slopes.
fn office(slot: usize) -> f64 {
    if is_weekend(slot) {
        return 0.0;
    }
    let hour = hour(slot);
    ((hour - 8.0).min(18.5 - hour)).clamp(0.0, 1.0)
}

/// The kinds; the third argument is what a series remembers.
pub const KINDS: [Kind; 14] = [
    kind("idle CPU", PERCENT, |dice, _, _| 1.5 + 0.3 * dice.normal()),
    kind("idle disk, journal only", BYTES, |dice, _, _| 3000.0 * dice.exponential()),
    kind("nightly backup, an hour of reads", BYTES, |dice, slot, _| {
        let start = 2.0 + 0.1 * ((slot / DAY * 7) % 5) as f64;
        let is_on = (start..start + 1.0).contains(&hour(slot));
        if is_on { MIB * (80.0 + 8.0 * dice.normal()) } else { 20_000.0 * dice.exponential() }
    }),
    kind("office hours, CPU", PERCENT, |dice, slot, _| {
        (4.0 + 40.0 * office(slot) + (1.0 + 6.0 * office(slot)) * dice.normal()).max(0.0)
    }),
    kind("office hours, traffic", BYTES, |dice, slot, _| {
        (0.05 + office(slot)) * MIB * (0.4 * dice.normal()).exp()
    }),
    kind("day and night, smooth", BYTES, |dice, slot, _| {
        MIB * (0.3 + 2.0 * day_wave(slot)) * (0.1 * dice.normal()).exp()
    }),
    kind("random walk of memory", PERCENT, |dice, _, memory| {
        *memory = (*memory + 0.15 * dice.normal() + 0.001 * (50.0 - *memory)).clamp(5.0, 95.0);
        *memory
    }),
    kind("memory that grows, freed each week", PERCENT, |dice, slot, _| {
        30.0 + 30.0 * (slot % (7 * DAY)) as f64 / (7 * DAY) as f64 + 0.4 * dice.normal()
    }),
    kind("level steps, each 10 days or so", PERCENT, |dice, _, level| {
        if *level == 0.0 || dice.share() < 1.0 / (10 * DAY) as f64 {
            *level = 10.0 + 50.0 * dice.share();
        }
        *level + 2.0 * dice.normal()
    }),
    kind("bursts of any size", PERCENT, |dice, _, burst| {
        *burst *= 0.6;
        if dice.share() < 0.02 {
            *burst += 15.0 * dice.exponential();
        }
        (3.0 + 0.5 * dice.normal() + *burst).clamp(0.0, 100.0)
    }),
    kind("a job each hour", PERCENT, |dice, slot, _| {
        if slot.is_multiple_of(12) { 45.0 + 5.0 * dice.normal() } else { 3.0 + 0.5 * dice.normal() }
    }),
    kind("a job each Sunday, four hours", BYTES, |dice, slot, _| {
        let is_on = slot / DAY % 7 == 6 && (1.0..5.0).contains(&hour(slot));
        MIB * (0.2 * dice.exponential() + if is_on { 60.0 + 5.0 * dice.normal() } else { 0.0 })
    }),
    kind("batches of 2 to 12 hours, at any time", PERCENT, |dice, _, left| {
        *left -= left.signum();
        if left.abs() < 1.0 {
            let slots = (24.0 + 120.0 * dice.share()).floor();
            *left = if *left >= 0.0 && dice.share() < 0.5 { slots } else { -slots };
        }
        if *left > 0.0 { 85.0 + 4.0 * dice.normal() } else { 3.0 + 0.5 * dice.normal() }
    }),
    kind("web traffic, heavy tail", BYTES, |dice, slot, _| {
        MIB * (0.2 + day_wave(slot)) * (0.7 * dice.normal()).exp()
    }),
];

/// The values of a series.
pub struct Series {
    value: fn(&mut Dice, usize, &mut f64) -> f64,
    dice: Dice,
    slot: usize,
    memory: f64,
}

impl Series {
    pub fn new(kind: &Kind, seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.share();
        let memory = if kind.name.contains("walk") { 50.0 } else { 0.0 };
        Self { value: kind.value, dice, slot: 0, memory }
    }
}

impl Iterator for Series {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        let value = (self.value)(&mut self.dice, self.slot, &mut self.memory);
        self.slot += 1;
        Some(value.max(0.0))
    }
}

/// Numbers that are the same in each run (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to 1.
    pub fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (TAU * self.share()).cos()
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.share()).ln()
    }
}
