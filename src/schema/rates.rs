//! The rows of vm_features: rates, each from two samples of a guest.

use crate::features::Rates;
use crate::sample::Domain;

use super::{FieldKind, FieldRow};

/// What a rate is taken from.
pub struct RateInput<'a> {
    /// What changed between the two samples.
    pub rates: &'a Rates,
    /// The later sample.
    pub sample: &'a Domain,
    /// The time of the collection.
    pub now_unix_s: u64,
}

/// A rate.
#[derive(Clone, Copy)]
pub struct RateRow {
    /// Its field.
    pub field: FieldRow,
    /// The field of its angle; empty where it has none.
    pub angle: &'static str,
    /// Its value, where it can be known.
    pub value: fn(&RateInput<'_>) -> Option<f64>,
}

impl RateRow {
    /// The row of its angle, which has no name where there is none.
    pub const fn angle(&self) -> FieldRow {
        FieldRow {
            name: self.angle,
            unit: "degrees",
            text: "slope: atan of the rate",
            ..self.field
        }
    }
}

/// A group of rates that is there only when asked for.
pub struct FeatureRow {
    /// Its name in the configuration.
    pub name: &'static str,
    /// What it is.
    pub feature: Feature,
    /// What it adds, as the sample configuration says it.
    pub text: &'static str,
    /// Its rates.
    pub rates: &'static [RateRow],
}

/// The rate that is always there.
pub static MEMORY_RATE: RateRow = rate(
    "memory_rate_kb_per_sec",
    "memory_angle_deg",
    "KiB/s",
    "change of memory_used_kb; negative when it decreases",
    |it| it.rates.memory_kib_per_s,
);

const fn rate(
    name: &'static str,
    angle: &'static str,
    unit: &'static str,
    text: &'static str,
    value: fn(&RateInput<'_>) -> Option<f64>,
) -> RateRow {
    let field = FieldRow { name, kind: FieldKind::Float, unit, group: "", statistic: b"", text };
    RateRow { field, angle, value }
}

macro_rules! features {
    ($($feature:ident $name:literal $text:literal {
        $($field:literal $angle:literal $unit:literal $from:literal $value:expr;)+
    })+) => {
        /// A group of rates of vm_features that is there only when asked for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Feature {
            $(#[doc = $text] $feature,)+
        }

        /// A row for each name.
        pub static FEATURES: [FeatureRow; [$($name),+].len()] = [$(FeatureRow {
            name: $name,
            feature: Feature::$feature,
            text: $text,
            rates: &[$(rate($field, $angle, $unit, $from, $value)),+],
        }),+];
    };
}

features! {
    Net "net" "bytes and packets a second, received and sent" {
        "net_rxbytes_rate" "net_rxbytes_angle_deg" "bytes/s" "gain of all NICs" |it| it.rates.nics.rx_bytes;
        "net_txbytes_rate" "net_txbytes_angle_deg" "bytes/s" "gain of all NICs" |it| it.rates.nics.tx_bytes;
        "net_rxpackets_rate" "net_rxpackets_angle_deg" "packets/s" "gain of all NICs" |it| it.rates.nics.rx_packets;
        "net_txpackets_rate" "net_txpackets_angle_deg" "packets/s" "gain of all NICs" |it| it.rates.nics.tx_packets;
    }
    Disk "disk" "requests and bytes a second, read and written" {
        "disk_rd_req_rate" "disk_rd_req_angle_deg" "requests/s" "gain of all disks" |it| it.rates.disks.rd_reqs;
        "disk_rd_bytes_rate" "disk_rd_bytes_angle_deg" "bytes/s" "gain of all disks" |it| it.rates.disks.rd_bytes;
        "disk_wr_reqs_rate" "disk_wr_reqs_angle_deg" "requests/s" "gain of all disks" |it| it.rates.disks.wr_reqs;
        "disk_wr_bytes_rate" "disk_wr_bytes_angle_deg" "bytes/s" "gain of all disks" |it| it.rates.disks.wr_bytes;
    }
    Cpu "cpu" "percent of the vCPUs busy, and waiting for a host CPU" {
        "cpu_percent" "" "%" "gain of cpu.time; 100 means that all vCPUs are busy; may exceed 100, because QEMU's own threads count"
            |it| it.rates.cpu_percent;
        "steal_percent" "" "%" "gain of the sum of vcpu.N.delay; 100 means that all vCPUs wait for a CPU of the host"
            |it| it.rates.steal_percent;
    }
    Latency "latency" "milliseconds a disk request took: read, written, flushed" {
        "disk_rd_ms_per_req" "" "ms" "block.N.rd.times by requests; omitted when there was no request"
            |it| it.rates.rd_ms_per_req;
        "disk_wr_ms_per_req" "" "ms" "block.N.wr.times by requests; omitted when there was no request"
            |it| it.rates.wr_ms_per_req;
        "disk_fl_ms_per_req" "" "ms" "block.N.fl.times by requests; omitted when there was no request"
            |it| it.rates.fl_ms_per_req;
    }
    Balloon "balloon" "seconds since the guest last reported its memory" {
        "balloon_age_sec" "" "s" "age of the guest's memory figures: now minus balloon.last-update"
            |it| {
                let last_update = it.sample.memory.last_update_s.filter(|&moment| moment > 0)?;
                Some(it.now_unix_s.saturating_sub(last_update) as f64)
            };
    }
}

impl Feature {
    /// Its rates.
    pub fn rates(self) -> &'static [RateRow] {
        FEATURES[self as usize].rates
    }
}
