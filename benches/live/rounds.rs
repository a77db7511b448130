//! Contenders taken in turn: each round asks every one of them once, so that whatever the machine does
//! meanwhile meets all alike. Figures are medians over the rounds; a ratio is the median of the rounds' ratios, since
//! the speed of a shared machine changes from one round to the next, for all alike.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::clocks::Server;
use super::contenders::{Contender, Cost};

/// Between two contenders, for whatever the one before set going.
const PAUSE: Duration = Duration::from_millis(30);
/// For so long the hypervisor is watched before each round while nobody asks it anything.
const IDLE: Duration = Duration::from_millis(500);

/// A collection, with what it cost the hypervisor.
#[derive(Clone, Copy)]
pub struct Taken {
    pub cost: Cost,
    pub libvirtd_ns: u64,
    pub qemu_ns: u64,
    /// What the hypervisor would have used in that time anyway.
    pub idle_ns: u64,
}

impl Taken {
    pub fn wall_ns(&self) -> u64 {
        self.cost.wall_ns
    }

    pub fn cpu_ns(&self) -> u64 {
        self.cost.cpu_ns
    }

    /// All that the collection cost the host: the process that made it, libvirtd, and all QEMUs, less what they
    /// use anyway.
    pub fn host_ns(&self) -> u64 {
        (self.cost.cpu_ns + self.libvirtd_ns + self.qemu_ns).saturating_sub(self.idle_ns)
    }
}

/// All that was taken, by contender.
#[derive(Default)]
pub struct Rounds(BTreeMap<String, Vec<Taken>>);

impl Rounds {
    /// Runs so many rounds, each beginning with another contender.
    pub fn run(
        &mut self,
        contenders: &mut [(String, Box<dyn Contender>)],
        rounds: usize,
        server: &Server,
    ) {
        for round in 0..rounds {
            let (start, before) = (Instant::now(), server.used());
            sleep(IDLE);
            let idle = server.used().all_ns().saturating_sub(before.all_ns()) as f64
                / start.elapsed().as_nanos() as f64;
            let count = contenders.len();
            for number in 0..count {
                let (name, contender) = &mut contenders[(number + round) % count];
                sleep(PAUSE);
                let (start, before) = (Instant::now(), server.used());
                let cost = contender.collect();
                let after = server.used();
                self.0.entry(name.clone()).or_default().push(Taken {
                    cost,
                    libvirtd_ns: after.libvirtd_ns - before.libvirtd_ns,
                    qemu_ns: after.qemu_ns - before.qemu_ns,
                    idle_ns: (idle * start.elapsed().as_nanos() as f64) as u64,
                });
            }
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn of(&self, name: &str) -> &[Taken] {
        self.0.get(name).unwrap_or_else(|| panic!("no contender {name}"))
    }

    /// What one contender's figure is to another's.
    pub fn ratio(&self, figure: fn(&Taken) -> u64, ours: &str, theirs: &str) -> f64 {
        let pairs = self.of(ours).iter().zip(self.of(theirs));
        median(pairs.map(|(ours, theirs)| figure(ours) as f64 / figure(theirs) as f64))
    }

    /// A figure in milliseconds.
    pub fn ms(&self, figure: fn(&Taken) -> u64, name: &str) -> f64 {
        median(self.of(name).iter().map(|taken| figure(taken) as f64)) / 1e6
    }

    pub fn wall_ms(&self, name: &str) -> f64 {
        self.ms(Taken::wall_ns, name)
    }

    pub fn cpu_ms(&self, name: &str) -> f64 {
        self.ms(Taken::cpu_ns, name)
    }

    pub fn libvirtd_ms(&self, name: &str) -> f64 {
        self.ms(|taken| taken.libvirtd_ns, name)
    }

    pub fn qemu_ms(&self, name: &str) -> f64 {
        self.ms(|taken| taken.qemu_ns, name)
    }

    /// The whole host's CPU time: see [`Taken::host_ns`].
    pub fn host_ms(&self, name: &str) -> f64 {
        self.ms(Taken::host_ns, name)
    }

    /// The highest, not the median: a peak lasts as long as its process.
    pub fn peak_mib(&self, name: &str) -> f64 {
        let peak_kib = self.0[name].iter().map(|taken| taken.cost.peak_kib).max().unwrap();
        peak_kib as f64 / 1024.0
    }

    /// Every single figure, in the order taken.
    pub fn to_json(&self) -> Value {
        self.0
            .iter()
            .map(|(name, taken)| {
                let list = |figure: fn(&Taken) -> u64| taken.iter().map(figure).collect::<Vec<_>>();
                let figures = json!({
                    "wall_ns": list(Taken::wall_ns),
                    "cpu_ns": list(Taken::cpu_ns),
                    "peak_kib": list(|it| it.cost.peak_kib),
                    "libvirtd_cpu_ns": list(|it| it.libvirtd_ns),
                    "qemu_cpu_ns": list(|it| it.qemu_ns),
                    "host_cpu_ns": list(Taken::host_ns),
                });
                (name.clone(), figures)
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 {
        figures[middle]
    } else {
        (figures[middle - 1] + figures[middle]) / 2.0
    }
}
