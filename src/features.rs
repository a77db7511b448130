//! Rates from two samples of one guest: pure arithmetic on what was measured, nothing else.
//!
//! A counter that went down counts as no gain for that device and interval, and a value that is
//! absent from either sample takes part in nothing: never a negative rate, never a spike.

use crate::sample::{Disk, Domain, Nic, Vcpu};

/// Samples so many nanoseconds apart say nothing about a rate.
pub const OLDEST_NS: u64 = 3_600_000_000_000;

/// What changed between two samples of one guest. `None`: not to be had from these two.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// The time that they are over.
    pub seconds: f64,
    /// Memory the guest has, KiB/s; negative when it shrank.
    pub memory_kib_per_s: Option<f64>,
    /// Bytes and packets received and sent by its NICs, per second.
    pub nics: NicRates,
    /// Requests and bytes read and written by its disks, per second.
    pub disks: DiskRates,
    /// CPU time used: 100 means every vCPU busy.
    pub cpu_percent: Option<f64>,
    /// Time its vCPUs waited for a host CPU: 100 means all of them all the time.
    pub steal_percent: Option<f64>,
    /// Milliseconds a read request.
    pub rd_ms_per_req: Option<f64>,
    /// Milliseconds a write request.
    pub wr_ms_per_req: Option<f64>,
    /// Milliseconds a flush request.
    pub fl_ms_per_req: Option<f64>,
}

/// Gains of all NICs that are in both samples, per second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NicRates {
    /// Bytes the guest received.
    pub rx_bytes: Option<f64>,
    /// Bytes the guest sent.
    pub tx_bytes: Option<f64>,
    /// Packets the guest received.
    pub rx_packets: Option<f64>,
    /// Packets the guest sent.
    pub tx_packets: Option<f64>,
}

/// Gains of all disks that are in both samples, per second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiskRates {
    /// Read requests.
    pub rd_reqs: Option<f64>,
    /// Bytes read.
    pub rd_bytes: Option<f64>,
    /// Write requests.
    pub wr_reqs: Option<f64>,
    /// Bytes written.
    pub wr_bytes: Option<f64>,
}

/// The rates between two samples of one guest; `None` where they are not of the same boot, or too
/// far apart, or no time has passed.
pub fn rates(now: &Domain, before: &Domain) -> Option<Rates> {
    if now.uuid != before.uuid || now.id != before.id || now.id < 0 {
        return None;
    }
    if let (Some(now), Some(before)) = (now.cpu.time_ns, before.cpu.time_ns)
        && now < before
    {
        return None;
    }
    let elapsed_ns = now.answered_at_ns.checked_sub(before.answered_at_ns)?;
    if elapsed_ns == 0 || elapsed_ns >= OLDEST_NS {
        return None;
    }
    let seconds = elapsed_ns as f64 / 1e9;
    let is_lost = |name: &str, group: &str| now.absent.has_lost(name, group);
    let [rx_bytes, tx_bytes, rx_packets, tx_packets] = gains(
        &now.nics,
        &before.nics,
        |nic| is_lost(&nic.name, "net.N."),
        |nic| [nic.rx_bytes, nic.tx_bytes, nic.rx_packets, nic.tx_packets],
    );
    let [rd_reqs, rd_bytes, wr_reqs, wr_bytes, rd_time_ns, wr_time_ns, fl_reqs, fl_time_ns] = gains(
        &now.disks,
        &before.disks,
        |disk| is_lost(&disk.name, "block.N."),
        |disk| {
            [
                disk.rd_reqs,
                disk.rd_bytes,
                disk.wr_reqs,
                disk.wr_bytes,
                disk.rd_time_ns,
                disk.wr_time_ns,
                disk.fl_reqs,
                disk.fl_time_ns,
            ]
        },
    );
    let per_second = |gain: Option<u64>| gain.map(|gain| gain as f64 / seconds);
    let ms_per_request = |time_ns: Option<u64>, requests: Option<u64>| match requests? {
        0 => None,
        requests => Some(time_ns? as f64 / 1e6 / requests as f64),
    };
    Some(Rates {
        seconds,
        memory_kib_per_s: both(now.memory.current_kib, before.memory.current_kib)
            .map(|(now, before)| (now as f64 - before as f64) / seconds),
        nics: NicRates {
            rx_bytes: per_second(rx_bytes),
            tx_bytes: per_second(tx_bytes),
            rx_packets: per_second(rx_packets),
            tx_packets: per_second(tx_packets),
        },
        disks: DiskRates {
            rd_reqs: per_second(rd_reqs),
            rd_bytes: per_second(rd_bytes),
            wr_reqs: per_second(wr_reqs),
            wr_bytes: per_second(wr_bytes),
        },
        cpu_percent: percent(now, seconds, gain(now.cpu.time_ns, before.cpu.time_ns)),
        steal_percent: percent(now, seconds, delay(now, before)),
        rd_ms_per_req: ms_per_request(rd_time_ns, rd_reqs),
        wr_ms_per_req: ms_per_request(wr_time_ns, wr_reqs),
        fl_ms_per_req: ms_per_request(fl_time_ns, fl_reqs),
    })
}

/// The slope of a rate, in degrees.
pub fn angle_deg(rate: f64) -> f64 {
    rate.atan().to_degrees()
}

fn both(now: Option<u64>, before: Option<u64>) -> Option<(u64, u64)> {
    Some((now?, before?))
}

/// What a counter gained; one that went down was reset, and gained nothing that is known.
fn gain(now: Option<u64>, before: Option<u64>) -> Option<u64> {
    both(now, before).map(|(now, before)| now.saturating_sub(before))
}

/// Time that the vCPUs which are in both samples waited for a host CPU, ns.
fn delay(now: &Domain, before: &Domain) -> Option<u64> {
    let [delay_ns] = gains(&now.vcpus, &before.vcpus, |_| false, |vcpu| [vcpu.delay_ns]);
    delay_ns
}

fn percent(now: &Domain, seconds: f64, gain_ns: Option<u64>) -> Option<f64> {
    let vcpus = now.vcpu_count.filter(|&count| count > 0)?;
    Some(100.0 * (gain_ns? as f64 / 1e9) / (seconds * vcpus as f64))
}

/// A part of a guest that is the same one in two samples for as long as its counters go on.
trait FeaturePart {
    fn is(&self, other: &Self) -> bool;
}

impl FeaturePart for Nic {
    fn is(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl FeaturePart for Disk {
    fn is(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl FeaturePart for Vcpu {
    fn is(&self, other: &Self) -> bool {
        self.index == other.index
    }
}

/// What each of these counters gained, summed over the parts that are in both samples. A part that never has
/// the counter adds nothing; where one has it in one sample only, or had it earlier, no sum is known.
fn gains<T: FeaturePart, const N: usize>(
    now: &[T],
    before: &[T],
    is_lost: impl Fn(&T) -> bool,
    counters: impl Fn(&T) -> [Option<u64>; N],
) -> [Option<u64>; N] {
    let mut sums = [Sum::Nothing; N];
    for (position, part) in now.iter().enumerate() {
        // Nearly always it is in the same place.
        let there = before.get(position).filter(|earlier| earlier.is(part));
        let Some(earlier) = there.or_else(|| before.iter().find(|earlier| earlier.is(part))) else {
            continue;
        };
        let (now, before) = (counters(part), counters(earlier));
        for (sum, (now, before)) in sums.iter_mut().zip(now.iter().zip(&before)) {
            match (now, before) {
                (Some(now), Some(before)) => sum.add(now.saturating_sub(*before)),
                (None, None) if !is_lost(part) => {}
                _ => *sum = Sum::Unknown,
            }
        }
    }
    sums.map(|sum| match sum {
        Sum::Known(sum) => Some(sum),
        Sum::Nothing | Sum::Unknown => None,
    })
}

/// A sum of gains.
#[derive(Clone, Copy)]
enum Sum {
    /// No part has the counter.
    Nothing,
    Known(u64),
    /// That of a part is not known.
    Unknown,
}

impl Sum {
    fn add(&mut self, gain: u64) {
        *self = match *self {
            Self::Nothing => Self::Known(gain),
            Self::Known(sum) => Self::Known(sum.saturating_add(gain)),
            Self::Unknown => Self::Unknown,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Cpu, Memory};

    fn sample(at_s: u64) -> Domain {
        Domain { id: 7, answered_at_ns: at_s * 1_000_000_000, ..Domain::default() }
    }

    #[test]
    fn memory_may_grow_and_shrink() {
        let memory = |kib| Memory { current_kib: Some(kib), ..Memory::default() };
        let before = Domain { memory: memory(2048), ..sample(100) };
        let now = Domain { memory: memory(1024), ..sample(110) };
        let shrinking = rates(&now, &before).unwrap().memory_kib_per_s;
        assert_eq!(shrinking, Some(-102.4));
        let now = Domain { memory: memory(2058), ..sample(110) };
        let growing = rates(&now, &before).unwrap().memory_kib_per_s;
        assert_eq!(growing, Some(1.0));
        assert_eq!(growing.map(angle_deg), Some(45.0));
    }

    #[test]
    fn samples_of_two_boots_have_no_rates() {
        let before = Domain { cpu: Cpu { time_ns: Some(5), ..Cpu::default() }, ..sample(100) };
        let cpu = |time_ns| Cpu { time_ns: Some(time_ns), ..Cpu::default() };
        let other_id = Domain { id: 8, cpu: cpu(9), ..sample(110) };
        let less_cpu = Domain { cpu: cpu(4), ..sample(110) };
        let off = Domain { id: -1, ..sample(110) };
        assert_eq!(rates(&other_id, &before), None);
        assert_eq!(rates(&less_cpu, &before), None);
        assert_eq!(rates(&off, &Domain { id: -1, ..sample(100) }), None);
    }

    #[test]
    fn no_time_time_backwards_and_an_hour_have_no_rates() {
        assert_eq!(rates(&sample(100), &sample(100)), None);
        assert_eq!(rates(&sample(99), &sample(100)), None);
        assert_eq!(rates(&sample(3700), &sample(100)), None);
        assert_eq!(
            rates(&sample(3699), &sample(100)),
            Some(Rates { seconds: 3599.0, ..Rates::default() })
        );
    }

    fn nic(name: &str, rx_bytes: Option<u64>) -> Nic {
        Nic { name: name.into(), rx_bytes, ..Nic::default() }
    }

    #[test]
    fn only_nics_in_both_samples_count_and_a_reset_gains_nothing() {
        let nics = vec![nic("gone", Some(50)), nic("a", Some(100)), nic("reset", Some(1000))];
        let before = Domain { nics, ..sample(100) };
        let nics = vec![nic("a", Some(300)), nic("reset", Some(3)), nic("new", Some(9999))];
        let now = Domain { nics, ..sample(110) };
        let nics = rates(&now, &before).unwrap().nics;
        assert_eq!(nics.rx_bytes, Some(20.0));
        assert_eq!(nics.tx_bytes, None);
    }

    #[test]
    fn a_value_that_was_not_there_is_no_rate() {
        let before = Domain { nics: vec![nic("a", None)], ..sample(100) };
        let now = Domain { nics: vec![nic("a", Some(300))], ..sample(110) };
        assert_eq!(rates(&now, &before).unwrap().nics, NicRates::default());
    }

    #[test]
    fn a_hundred_percent_is_every_vcpu_busy() {
        let vcpu = |index, delay_ns| Vcpu { index, delay_ns: Some(delay_ns), ..Vcpu::default() };
        let cpu = |time_ns| Cpu { time_ns: Some(time_ns), ..Cpu::default() };
        let vcpus = vec![vcpu(0, 0), vcpu(1, 5)];
        let before = Domain { cpu: cpu(1_000_000_000), vcpus, ..sample(100) };
        let vcpus = vec![vcpu(0, 2_000_000_000), vcpu(1, 5), vcpu(2, 7_000_000_000)];
        let now = Domain { cpu: cpu(21_000_000_000), vcpus, vcpu_count: Some(2), ..sample(110) };
        let rates = rates(&now, &before).unwrap();
        assert_eq!(rates.cpu_percent, Some(100.0));
        assert_eq!(rates.steal_percent, Some(10.0));
    }

    #[test]
    fn latency_is_left_out_when_no_request_was_made() {
        let disk = |rd_reqs, rd_time_ns| Disk {
            name: "vda".into(),
            rd_reqs: Some(rd_reqs),
            rd_time_ns: Some(rd_time_ns),
            wr_reqs: Some(5),
            wr_time_ns: Some(5),
            ..Disk::default()
        };
        let before = Domain { disks: vec![disk(10, 1_000_000)], ..sample(100) };
        let now = Domain { disks: vec![disk(14, 11_000_000)], ..sample(110) };
        let rates = rates(&now, &before).unwrap();
        assert_eq!(rates.rd_ms_per_req, Some(2.5));
        assert_eq!(rates.wr_ms_per_req, None);
        assert_eq!(rates.fl_ms_per_req, None);
        assert_eq!(rates.disks.rd_reqs, Some(0.4));
    }
}
