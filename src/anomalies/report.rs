//! What `telegraf-virt anomalies` says: a sentence for each flagged series.

use std::fmt::Write;

use super::guest::{Flag, GuestModel};
use super::series::SeriesKind;
use super::{Pace, WINDOW};
use crate::printable;
use crate::table::bytes;

/// The guests with a flag, those with the most first, a sentence for each series; and how many others there
/// are. `now_unix_s` is the time of now.
pub fn report(guests: &[GuestModel], pace: Pace, now_unix_s: u64) -> String {
    let mut text = String::new();
    let mut flagged: Vec<(&GuestModel, Vec<_>)> = guests
        .iter()
        .map(|guest| {
            let now_slot = (now_unix_s as f64 / pace.slot_s) as u64;
            let is_on = |flag: &Flag| now_slot.abs_diff(flag.slot) < Pace::HOLD;
            let mut flags: Vec<_> = guest.flags().filter(|(_, _, flag, _)| is_on(flag)).collect();
            flags.sort_by(|a, b| b.2.verdict.ratio().total_cmp(&a.2.verdict.ratio()));
            (guest, flags)
        })
        .collect();
    flagged.retain(|(_, flags)| !flags.is_empty());
    flagged.sort_by(|(a, of_a), (b, of_b)| {
        of_b.len().cmp(&of_a.len()).then_with(|| a.name().cmp(b.name()))
    });
    for (guest, flags) in &flagged {
        let name = printable::sanitize(guest.name());
        let _ = writeln!(text, "{name}: {} of {} series", flags.len(), guest.series());
        for (device, kind, flag, seen) in flags {
            let since_s = now_unix_s as f64 - (flag.slot + 1) as f64 * pace.slot_s;
            let _ = writeln!(
                text,
                "  {}, {} ago",
                sentence(device, *kind, flag, f64::from(*seen) * pace.slot_s),
                time(since_s.max(0.0))
            );
        }
    }
    let others = guests.len() - flagged.len();
    let learning = guests.iter().filter(|guest| guest.is_learning(pace)).count();
    let _ = writeln!(
        text,
        "{others} of {} guests behave as before, {learning} of all are still learning",
        guests.len()
    );
    text
}

/// Such as: vda writes 41 MiB/s, never outside 0.2 to 18 MiB/s in 19 days.
fn sentence(device: &str, kind: SeriesKind, flag: &Flag, learned_s: f64) -> String {
    let what = match kind {
        SeriesKind::CpuPercent => "its vCPUs are busy for",
        SeriesKind::StealPercent => "its vCPUs wait for a host CPU for",
        SeriesKind::MemoryUsed => "its memory is in use to",
        SeriesKind::RxBytes | SeriesKind::RxPackets => "receives",
        SeriesKind::TxBytes | SeriesKind::TxPackets => "sends",
        SeriesKind::RdBytes | SeriesKind::RdReqs => "reads",
        SeriesKind::WrBytes | SeriesKind::WrReqs => "writes",
        SeriesKind::RdLatency => "reads in",
        SeriesKind::WrLatency => "writes in",
    };
    let device =
        if device.is_empty() { String::new() } else { format!("{} ", printable::sanitize(device)) };
    let (value, low, high) = (flag.value, flag.verdict.low, flag.verdict.high);
    let value = amount(kind, value);
    let range = format!("{} to {}", amount(kind, low.max(0.0)), amount(kind, high));
    let time = time(learned_s);
    if flag.verdict.range >= flag.verdict.pattern {
        format!("{device}{what} {value}, never outside {range} in {time}")
    } else {
        let hours = WINDOW as f64 / 12.0;
        format!(
            "{device}{what} {value}, within {range}, but the last {hours:.0} hours are unlike all in {time}"
        )
    }
}

fn amount(kind: SeriesKind, value: f64) -> String {
    match kind {
        SeriesKind::CpuPercent | SeriesKind::StealPercent | SeriesKind::MemoryUsed => {
            format!("{value:.1} %")
        }
        SeriesKind::RxBytes | SeriesKind::TxBytes | SeriesKind::RdBytes | SeriesKind::WrBytes => {
            format!("{}/s", bytes(value))
        }
        SeriesKind::RxPackets | SeriesKind::TxPackets => format!("{value:.1} packets/s"),
        SeriesKind::RdReqs | SeriesKind::WrReqs => format!("{value:.1} requests/s"),
        SeriesKind::RdLatency | SeriesKind::WrLatency => format!("{value:.2} ms"),
    }
}

/// A time in its largest unit.
fn time(seconds: f64) -> String {
    let (count, unit) = match seconds {
        ..120.0 => (seconds, "second"),
        ..7200.0 => (seconds / 60.0, "minute"),
        ..172_800.0 => (seconds / 3600.0, "hour"),
        _ => (seconds / 86_400.0, "day"),
    };
    let count = count.floor();
    format!("{count:.0} {unit}{}", if count == 1.0 { "" } else { "s" })
}
