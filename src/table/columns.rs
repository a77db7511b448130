//! The columns: the heading, the figure of a guest, and the total.

use std::cmp::Ordering;

use super::{Row, units};
use crate::features::Rates;
use crate::sample::words;

/// One column. The order here is theirs in the table.
#[allow(missing_docs)] // The headings say what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Guest,
    Source,
    State,
    Vcpus,
    Cpu,
    Steal,
    Memory,
    Used,
    Available,
    Received,
    Sent,
    Read,
    Written,
    Reads,
    Writes,
}

/// The columns that guests can be sorted by, and the words for them: their headings, in small letters.
pub const SORTABLE: [(&str, Column); 13] = [
    ("guest", Column::Guest),
    ("vcpus", Column::Vcpus),
    ("cpu", Column::Cpu),
    ("steal", Column::Steal),
    ("mem", Column::Memory),
    ("used", Column::Used),
    ("avail", Column::Available),
    ("rx", Column::Received),
    ("tx", Column::Sent),
    ("read", Column::Read),
    ("write", Column::Written),
    ("rd-req", Column::Reads),
    ("wr-req", Column::Writes),
];

/// Printed for an unknown figure.
pub(super) fn unknown() -> String {
    "-".to_owned()
}

impl Column {
    const ALL: [Self; 15] = [
        Self::Guest,
        Self::Source,
        Self::State,
        Self::Vcpus,
        Self::Cpu,
        Self::Steal,
        Self::Memory,
        Self::Used,
        Self::Available,
        Self::Received,
        Self::Sent,
        Self::Read,
        Self::Written,
        Self::Reads,
        Self::Writes,
    ];

    /// The columns of these guests.
    pub(super) fn of(rows: &[Row]) -> Vec<Self> {
        let has_source = rows.iter().any(|row| row.source.is_some());
        Self::ALL.into_iter().filter(|&column| has_source || column != Self::Source).collect()
    }

    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Guest => "GUEST",
            Self::Source => "SOURCE",
            Self::State => "STATE",
            Self::Vcpus => "VCPUS",
            Self::Cpu => "CPU",
            Self::Steal => "STEAL",
            Self::Memory => "MEM",
            Self::Used => "USED",
            Self::Available => "AVAIL",
            Self::Received => "RX/s",
            Self::Sent => "TX/s",
            Self::Read => "READ/s",
            Self::Written => "WRITE/s",
            Self::Reads => "RD-REQ/s",
            Self::Writes => "WR-REQ/s",
        }
    }

    /// Whether it has numbers, which are aligned to the right.
    pub(super) fn is_number(self) -> bool {
        !self.is_name() && self != Self::State
    }

    /// Whether it holds names, which may be cut.
    pub(super) fn is_name(self) -> bool {
        matches!(self, Self::Guest | Self::Source)
    }

    /// A guest's cell; `names` are those of the guest and of its hypervisor.
    pub(super) fn cell(self, row: &Row, names: &[String; 2]) -> String {
        let [guest, source] = names;
        match self {
            Self::Guest => guest.clone(),
            Self::Source => source.clone(),
            Self::State => state(row),
            _ => self.figure(row).map_or_else(unknown, |figure| self.written(figure)),
        }
    }

    /// The cell below all guests.
    pub(super) fn total(self, rows: &[Row]) -> String {
        match self {
            Self::Guest => format!("{} guests", rows.len()),
            Self::Source | Self::State => String::new(),
            Self::Cpu | Self::Steal => {
                self.mean(rows).map_or_else(unknown, |figure| self.written(figure))
            }
            _ => self.sum(rows).map_or_else(unknown, |figure| self.written(figure)),
        }
    }

    /// Which of two guests comes first where they are sorted by this column: the one with more of it, one of
    /// which that is not known last; else by name.
    pub(super) fn order(self, one: &Row, other: &Row) -> Ordering {
        let figures = self.figure(other).partial_cmp(&self.figure(one));
        figures.unwrap_or(Ordering::Equal).then_with(|| one.name.cmp(&other.name))
    }

    fn figure(self, row: &Row) -> Option<f64> {
        let rate = |of: fn(&Rates) -> Option<f64>| row.rates.as_ref().and_then(of);
        let bytes = |kib: Option<u64>| kib.map(|kib| kib as f64 * 1024.0);
        match self {
            Self::Guest | Self::Source | Self::State => None,
            Self::Vcpus => row.vcpus.map(|count| count as f64),
            Self::Cpu => rate(|rates| rates.cpu_percent),
            Self::Steal => rate(|rates| rates.steal_percent),
            Self::Memory => bytes(row.memory_kib),
            Self::Used => bytes(row.used_kib),
            Self::Available => bytes(row.available_kib),
            Self::Received => rate(|rates| rates.nics.rx_bytes),
            Self::Sent => rate(|rates| rates.nics.tx_bytes),
            Self::Read => rate(|rates| rates.disks.rd_bytes),
            Self::Written => rate(|rates| rates.disks.wr_bytes),
            Self::Reads => rate(|rates| rates.disks.rd_reqs),
            Self::Writes => rate(|rates| rates.disks.wr_reqs),
        }
    }

    fn written(self, figure: f64) -> String {
        match self {
            Self::Guest | Self::Source | Self::State | Self::Vcpus => format!("{figure:.0}"),
            Self::Cpu | Self::Steal => units::percent(figure),
            Self::Reads | Self::Writes => units::count(figure),
            _ => units::bytes(figure),
        }
    }

    /// Whether the guest has what this column tells of: one without NICs adds nothing to a sum, and
    /// its figure is no unknown one.
    fn is_of(self, row: &Row) -> bool {
        let has_devices = match self {
            Self::Received | Self::Sent => row.has_nics,
            Self::Read | Self::Written | Self::Reads | Self::Writes => row.has_disks,
            _ => true,
        };
        row.is_running && (has_devices || row.is_silent())
    }

    /// Of the guests that run; not known where one's is not.
    fn sum(self, rows: &[Row]) -> Option<f64> {
        let mut of = rows.iter().filter(|row| self.is_of(row)).peekable();
        of.peek()?;
        of.map(|row| self.figure(row)).sum()
    }

    /// Of all virtual CPUs of the guests that run: 100 means that all of them are busy.
    fn mean(self, rows: &[Row]) -> Option<f64> {
        let vcpus = Self::Vcpus.sum(rows).filter(|&count| count > 0.0)?;
        let running = rows.iter().filter(|row| row.is_running);
        let weighted =
            running.map(|row| Some(self.figure(row)? * row.vcpus.map(|count| count as f64)?));
        Some(weighted.sum::<Option<f64>>()? / vcpus)
    }
}

/// libvirt's word for the state, with a mark where the guest did not answer, and the reason.
fn state(row: &Row) -> String {
    let state = row.state.map_or("-", words::state);
    let reason = if row.is_stopped_by_disk { "(ioerror)" } else { "" };
    format!("{state}{reason}{}", if row.is_silent() { "!" } else { "" })
}
