//! An event as a line of vm_events, and as a person reads it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Arrived, Event, Report};
use crate::libvirt::OwnedValue;
use crate::line_protocol::{Lines, Tags};
use crate::points::{start_guest, write_value};
use crate::printable::sanitize;
use crate::schema::Extra;

/// An event, with what is known of it.
pub struct Told<'a> {
    /// The event.
    pub arrived: &'a Arrived,
    /// Its words; `None` where it is of no guest.
    pub report: Option<&'a Report>,
    /// The hypervisor's URI.
    pub uri: &'a str,
    /// The hypervisor's name, where there are several.
    pub source: Option<&'a str>,
}

/// Writes the event's line. `user` are the tags behind the event's own.
pub fn write(lines: &mut Lines, told: &Told<'_>, user: &Tags) {
    let measurement = Extra::Events.row().measurement;
    let (mut tags, mut own) = (Tags::default(), Tags::default());
    lines.stamp(told.arrived.at_ns);
    match (&told.arrived.event, told.report) {
        (Event::Guest(guest), Some(report)) => {
            start_guest(&mut tags, guest.id, &guest.name, &guest.uuid);
            own.add("event", report.name);
            if let Some(disk) = &report.disk {
                own.add("devtype", "disk");
                own.add("device", disk);
            }
            lines.line(measurement, &[&tags, &own, user], |fields| {
                report.fields.iter().for_each(|(name, value)| write_value(fields, name, value));
            });
        }
        (Event::Lost { cause, dropped }, _) => {
            own.add("uri", told.uri);
            own.add("event", LOST);
            lines.line(measurement, &[&own, user], |fields| {
                fields.text("detail", cause.word());
                fields.integer("count", 1);
                fields.unsigned("dropped", *dropped);
            });
        }
        (Event::Guest(_), None) => {}
    }
}

const LOST: &str = "lost";

/// The event on one line for a person: `14:03:07 web-01 io_error vda enospc`.
pub fn text(told: &Told<'_>, zone: &TimeZone) -> String {
    let at = Timestamp::from_nanosecond(told.arrived.at_ns.into()).unwrap_or_default();
    let mut words = vec![zone.to_datetime(at).strftime("%H:%M:%S").to_string()];
    words.extend(told.source.map(str::to_owned));
    match (&told.arrived.event, told.report) {
        (Event::Guest(guest), Some(report)) => {
            words.extend([guest.name.clone(), report.name.to_owned()]);
            words.extend(report.disk.clone());
            words.extend(report_words(report));
        }
        (Event::Lost { cause, dropped }, _) => {
            words.extend([told.uri.to_owned(), LOST.to_owned(), cause.word().to_owned()]);
            if *dropped > 0 {
                words.push(format!("dropped={dropped}"));
            }
        }
        (Event::Guest(_), None) => {}
    }
    words.iter().map(|word| sanitize(word)).collect::<Vec<_>>().join(" ") + "\n"
}

/// What a person wants to know of an event: the words, then the numbers of a finished job that say most.
fn report_words(report: &Report) -> Vec<String> {
    // An I/O error's detail is said again by the event that follows where the guest is paused.
    let is_wanted = |name: &str| report.name != "io_error" || name != "detail";
    let shown = |(name, value): &(&'static str, OwnedValue)| match (*name, value) {
        ("path", _) => None,
        (name, OwnedValue::Text(text)) => is_wanted(name).then(|| text.clone()),
        ("success", OwnedValue::Bool(success)) => {
            Some(if *success { "completed" } else { "failed" }.to_owned())
        }
        (
            "elapsed_ms"
            | "downtime_ms"
            | "data_processed_bytes"
            | "threshold_bytes"
            | "excess_bytes",
            OwnedValue::Uint(number),
        ) => Some(format!("{name}={number}")),
        _ => None,
    };
    report.fields.iter().filter_map(shown).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::events::{LossCause, report};
    use crate::libvirt::{GuestEvent, Happening};

    fn of_guest(what: Happening) -> Arrived {
        let name = "web 01\u{202e}".to_owned();
        let event = Event::Guest(GuestEvent { id: 3, name, uuid: Uuid::from_u128(1), what });
        Arrived { at_ns: 1_700_000_000_000_000_123, place: 0, event }
    }

    fn both(arrived: &Arrived, source: Option<&str>) -> (String, String) {
        let report = match &arrived.event {
            Event::Guest(guest) => report(&guest.what, None),
            Event::Lost { .. } => None,
        };
        let told = Told { arrived, report: report.as_ref(), uri: "qemu:///system", source };
        let mut user = Tags::default();
        user.add("dc", "fra1");
        let mut lines = Lines::default();
        lines.start(5);
        write(&mut lines, &told, &user);
        let line = String::from_utf8(lines.as_bytes().to_vec()).unwrap();
        (line, text(&told, &TimeZone::UTC))
    }

    #[test]
    fn an_event_is_a_line_with_its_own_time() {
        let stopped = of_guest(Happening::Lifecycle { event: 5, detail: 5 });
        let (line, text) = both(&stopped, None);
        assert_eq!(
            line,
            "vm_events,VMID=3,name=web\\ 01\u{202e},uuid=00000000-0000-0000-0000-000000000001,\
             event=stopped,dc=fra1 detail=\"failed\",count=1i 1700000000000000123\n"
        );
        assert_eq!(text, "22:13:20 web 01? stopped failed\n");
    }

    #[test]
    fn an_event_of_a_disk_names_it() {
        let job = of_guest(Happening::BlockJob { disk: "vda".to_owned(), kind: 2, status: 3 });
        let (line, text) = both(&job, Some("kvm1"));
        assert!(
            line.contains(",event=block_job,devtype=disk,device=vda,dc=fra1 count=1i,"),
            "{line}"
        );
        assert_eq!(text, "22:13:20 kvm1 web 01? block_job vda copy ready\n");
    }

    #[test]
    fn an_io_error_says_which_disk_and_why() {
        let what = Happening::IoError {
            path: "/a".to_owned(),
            alias: "virtio-disk0".to_owned(),
            action: 1,
            reason: "enospc".to_owned(),
        };
        let arrived = of_guest(what);
        let Event::Guest(guest) = &arrived.event else { unreachable!() };
        let mut report = report(&guest.what, None).unwrap();
        report.disk = Some("vda".to_owned());
        let told = Told { arrived: &arrived, report: Some(&report), uri: "", source: None };
        assert_eq!(text(&told, &TimeZone::UTC), "22:13:20 web 01? io_error vda enospc\n");
    }

    #[test]
    fn what_was_lost_is_of_the_hypervisor() {
        let event = Event::Lost { cause: LossCause::Queue, dropped: 7 };
        let (line, text) = both(&Arrived { at_ns: 9, place: 0, event }, None);
        assert_eq!(
            line,
            "vm_events,uri=qemu:///system,event=lost,dc=fra1 \
             detail=\"queue_full\",count=1i,dropped=7i 9\n"
        );
        assert_eq!(text, "00:00:00 qemu:///system lost queue_full dropped=7\n");
    }
}
