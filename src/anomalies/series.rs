//! The series that a guest has, and their values between two samples.

use serde::{Deserialize, Serialize};

use super::detector::Scale;
use crate::features;
use crate::sample::{Disk, Domain, Nic};

macro_rules! kinds {
    ($($kind:ident $name:literal $unit:literal $upward:literal $text:literal;)+) => {
        /// What a series measures.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum SeriesKind {
            $(#[doc = $text] #[serde(rename = $name)] $kind,)+
        }

        impl SeriesKind {
            /// Its name, as in `top`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            /// A step below this is never news, and whether only a rise is.
            pub fn scale(self) -> Scale {
                match self { $(Self::$kind => Scale { unit: $unit, upward: $upward },)+ }
            }
        }
    };
}

kinds! {
    CpuPercent "cpu_percent" 1.0 false "CPU time: 100 means every vCPU busy.";
    StealPercent "steal_percent" 0.5 true "Time that the vCPUs waited for a host CPU.";
    MemoryUsed "memory_used_percent" 1.0 false "Memory in use in the guest, of what it has.";
    RxBytes "rxbytes" 4096.0 false "Bytes a second that a NIC received.";
    TxBytes "txbytes" 4096.0 false "Bytes a second that a NIC sent.";
    RxPackets "rxpackets" 1.0 false "Packets a second that a NIC received.";
    TxPackets "txpackets" 1.0 false "Packets a second that a NIC sent.";
    RdBytes "rd_bytes" 4096.0 false "Bytes a second read from a disk.";
    WrBytes "wr_bytes" 4096.0 false "Bytes a second written to a disk.";
    RdReqs "rd_req" 1.0 false "Read requests a second.";
    WrReqs "wr_reqs" 1.0 false "Write requests a second.";
    RdLatency "rd_ms_per_req" 0.1 true "Milliseconds a read request.";
    WrLatency "wr_ms_per_req" 0.1 true "Milliseconds a write request.";
}

/// Values of the guest, or of one of its devices, between two samples.
pub(super) type Values<const N: usize> = [(SeriesKind, Option<f64>); N];

/// Whether the guest's vCPUs run.
pub(super) fn is_running(sample: &Domain) -> bool {
    matches!(sample.state, Some(1 | 2))
}

/// What is measured of the guest itself.
pub(super) fn of_guest(now: &Domain, before: &Domain) -> Option<(f64, Values<3>)> {
    let rates = features::rates(now, before)?;
    let memory = || {
        let total = now.memory.available_kib.filter(|&total| total > 0)?;
        let used = total.saturating_sub(now.memory.usable_kib?);
        Some(100.0 * used as f64 / total as f64)
    };
    let values = [
        (SeriesKind::CpuPercent, rates.cpu_percent),
        (SeriesKind::StealPercent, rates.steal_percent),
        (SeriesKind::MemoryUsed, memory()),
    ];
    Some((rates.seconds, values))
}

/// A counter's gain; one that went down is another counter, so nothing is known.
fn gain(now: Option<u64>, before: Option<u64>) -> Option<f64> {
    Some(now?.checked_sub(before?)? as f64)
}

/// What is measured of a NIC.
pub(super) fn of_nic(now: &Nic, before: &Nic, seconds: f64) -> Values<4> {
    let rate = |now, before| gain(now, before).map(|gain| gain / seconds);
    [
        (SeriesKind::RxBytes, rate(now.rx_bytes, before.rx_bytes)),
        (SeriesKind::TxBytes, rate(now.tx_bytes, before.tx_bytes)),
        (SeriesKind::RxPackets, rate(now.rx_packets, before.rx_packets)),
        (SeriesKind::TxPackets, rate(now.tx_packets, before.tx_packets)),
    ]
}

/// What is measured of a disk.
pub(super) fn of_disk(now: &Disk, before: &Disk, seconds: f64) -> Values<6> {
    let reads = gain(now.rd_reqs, before.rd_reqs);
    let writes = gain(now.wr_reqs, before.wr_reqs);
    let rate = |gain: Option<f64>| gain.map(|gain| gain / seconds);
    let latency = |requests: Option<f64>, time_ns: Option<f64>| {
        Some(time_ns? / 1e6 / requests.filter(|&requests| requests > 0.0)?)
    };
    [
        (SeriesKind::RdBytes, rate(gain(now.rd_bytes, before.rd_bytes))),
        (SeriesKind::WrBytes, rate(gain(now.wr_bytes, before.wr_bytes))),
        (SeriesKind::RdReqs, rate(reads)),
        (SeriesKind::WrReqs, rate(writes)),
        (SeriesKind::RdLatency, latency(reads, gain(now.rd_time_ns, before.rd_time_ns))),
        (SeriesKind::WrLatency, latency(writes, gain(now.wr_time_ns, before.wr_time_ns))),
    ]
}
