//! An event in the words of the output: its name, the device that it is about, its fields.

use crate::devices::Inventory;
use crate::libvirt::{Happening, OwnedValue, Value};
use crate::sample::Job;
use crate::sample::words::{job_operation, nth_word};
use crate::schema::FieldKind;

/// An event, as it is printed.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Its name.
    pub name: &'static str,
    /// The disk that it is about, by its target, such as vda.
    pub disk: Option<String>,
    /// Its fields, in the schema's order.
    pub fields: Vec<(&'static str, OwnedValue)>,
}

impl Report {
    fn new(name: &'static str, detail: &'static str) -> Self {
        let mut this = Self { name, disk: None, fields: Vec::new() };
        this.text("detail", detail);
        this.add("count", OwnedValue::Int(1));
        this
    }

    fn add(&mut self, name: &'static str, value: OwnedValue) {
        self.fields.push((name, value));
    }

    /// A word; an empty one is omitted.
    fn text(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.add(name, OwnedValue::Text(text.to_owned()));
        }
    }

    /// A field's text.
    pub fn word(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(field, _)| *field == name)?;
        if let OwnedValue::Text(text) = &field.1 { Some(text) } else { None }
    }
}

/// The report of an event; `None` for what is none in the output. `inventory` is what is known of the guest's
/// devices.
pub fn report(what: &Happening, inventory: Option<&Inventory>) -> Option<Report> {
    Some(match what {
        Happening::Lifecycle { event, detail } => {
            let (name, details) = lifecycle(*event)?;
            Report::new(name, nth_word(details, *detail))
        }
        Happening::Rebooted => Report::new("rebooted", ""),
        Happening::Watchdog { action } => {
            let actions = "none pause reset poweroff shutdown debug inject_nmi";
            Report::new("watchdog", nth_word(actions, *action))
        }
        Happening::MemoryFailure { action } => {
            Report::new("memory_failure", nth_word("ignore inject fatal reset", *action))
        }
        Happening::IoError { path, alias, action, reason } => {
            let mut report = Report::new("io_error", nth_word("none pause report", *action));
            report.disk = disk_of(alias, path, inventory);
            report.text("path", path);
            report.text("reason", reason);
            report
        }
        Happening::BlockJob { disk, kind, status } => {
            let mut report = Report::new("block_job", "");
            report.disk = Some(disk.clone());
            let kinds = "unknown pull copy commit active_commit backup";
            report.text("type", nth_word(kinds, *kind));
            report.text("status", nth_word("completed failed canceled ready", *status));
            report
        }
        Happening::BlockThreshold { disk, path, threshold_bytes, excess_bytes } => {
            let mut report = Report::new("block_threshold", "");
            // vda[1] is the first layer below vda's newest.
            report.disk = disk.split('[').next().map(str::to_owned);
            report.text("path", path);
            report.add("threshold_bytes", OwnedValue::Uint(*threshold_bytes));
            report.add("excess_bytes", OwnedValue::Uint(*excess_bytes));
            report
        }
        Happening::JobCompleted(parameters) => job_completed(parameters),
        Happening::DeviceAdded { alias } => of_device("device_added", alias),
        Happening::DeviceRemoved { alias } => of_device("device_removed", alias),
        Happening::DeviceRemovalFailed { alias } => of_device("device_removal_failed", alias),
        Happening::Agent { state, reason } => {
            const CONNECTED: i64 = 1;
            let is_there = *state == CONNECTED;
            let name = if is_there { "agent_connected" } else { "agent_disconnected" };
            Report::new(name, nth_word("unknown domain_started channel", *reason))
        }
        Happening::Changed => return None,
    })
}

/// virDomainEventType: the event's name, and the words for its details. Defined and undefined are none.
fn lifecycle(event: i64) -> Option<(&'static str, &'static str)> {
    Some(match event {
        2 => ("started", "booted migrated restored from_snapshot wakeup recreated"),
        3 => (
            "suspended",
            "paused migrated ioerror watchdog restored from_snapshot api_error postcopy \
             postcopy_failed guest_shutdown",
        ),
        4 => ("resumed", "unpaused migrated from_snapshot postcopy postcopy_failed"),
        5 => {
            ("stopped", "shutdown destroyed crashed migrated saved failed from_snapshot recreated")
        }
        6 => ("shutdown", "finished guest host"),
        7 => ("pmsuspended", "memory disk"),
        8 => ("crashed", "panicked crashloaded"),
        _ => return None,
    })
}

fn of_device(name: &'static str, alias: &str) -> Report {
    let mut report = Report::new(name, "");
    report.text("alias", alias);
    report
}

/// The target of the disk with this alias, else of the one disk with this source.
fn disk_of(alias: &str, path: &str, inventory: Option<&Inventory>) -> Option<String> {
    let disks = inventory?.disks.as_slice();
    let by_alias = disks.iter().find(|disk| disk.alias.as_deref() == Some(alias));
    let mut by_path =
        disks.iter().filter(|it| !path.is_empty() && it.path.as_deref() == Some(path));
    let disk = by_alias.or_else(|| by_path.next().filter(|_| by_path.next().is_none()))?;
    Some(disk.target.clone())
}

fn job_completed(parameters: &[(String, OwnedValue)]) -> Report {
    let mut report = Report::new("job_completed", "");
    let find = |name: &str| parameters.iter().find(|(it, _)| it == name).map(|(_, value)| value);
    if let Some(OwnedValue::Int(operation)) = find("operation") {
        report.text("operation", job_operation(*operation));
    }
    if let Some(OwnedValue::Bool(success)) = find("success") {
        report.add("success", OwnedValue::Bool(*success));
    }
    if let Some(OwnedValue::Text(error)) = find("errmsg") {
        report.text("error", error);
    }
    for row in Job::SECTIONS.iter().flat_map(|section| section.rows) {
        let is_number = matches!(row.kind, FieldKind::Gauge | FieldKind::Counter);
        let value = str::from_utf8(row.statistic).ok().and_then(find).map(Value::from);
        let number = value.and_then(crate::schema::Sent::unsigned);
        if let Some(number) = number.filter(|_| is_number && !row.name.is_empty()) {
            report.add(row.name, OwnedValue::Uint(number));
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::xml;

    fn fields(report: &Report) -> Vec<String> {
        report.fields.iter().map(|(name, value)| format!("{name}={value:?}")).collect()
    }

    #[test]
    fn lifecycle_events_have_libvirts_words() {
        let named = |event, detail| {
            let report = report(&Happening::Lifecycle { event, detail }, None)?;
            Some((report.name, report.word("detail")?.to_owned()))
        };
        for (event, detail, name, word) in [
            (2, 0, "started", "booted"),
            (2, 5, "started", "recreated"),
            (3, 2, "suspended", "ioerror"),
            (3, 9, "suspended", "guest_shutdown"),
            (4, 1, "resumed", "migrated"),
            (5, 5, "stopped", "failed"),
            (5, 7, "stopped", "recreated"),
            (6, 1, "shutdown", "guest"),
            (7, 1, "pmsuspended", "disk"),
            (8, 0, "crashed", "panicked"),
            (5, 99, "stopped", "unknown"),
        ] {
            assert_eq!(named(event, detail), Some((name, word.to_owned())));
        }
        // Defined, undefined, and what a later libvirt may add.
        assert_eq!([0, 1, 9, -1].map(|event| named(event, 0)), [None, None, None, None]);
    }

    #[test]
    fn an_io_error_names_the_disk_by_its_target() {
        let xml = "<domain type='kvm' id='3'><devices>\
                   <disk type='file' device='disk'><source file='/a'/><target dev='vda'/>\
                   <alias name='virtio-disk0'/></disk>\
                   <disk type='file' device='disk'><source file='/b'/><target dev='sdb'/>\
                   <alias name='ua-data'/></disk></devices></domain>";
        let (nics, disks) = xml::inventory(xml).unwrap();
        let inventory = Inventory { nics, disks, ..Inventory::default() };
        let of = |alias: &str, path: &str| {
            let what = Happening::IoError {
                path: path.to_owned(),
                alias: alias.to_owned(),
                action: 1,
                reason: "enospc".to_owned(),
            };
            report(&what, Some(&inventory)).unwrap()
        };
        let full = of("virtio-disk0", "/a");
        assert_eq!(full.disk.as_deref(), Some("vda"));
        assert_eq!(
            fields(&full),
            [
                "detail=Text(\"pause\")",
                "count=Int(1)",
                "path=Text(\"/a\")",
                "reason=Text(\"enospc\")"
            ]
        );
        assert_eq!(of("ua-data", "").disk.as_deref(), Some("sdb"));
        assert_eq!(of("", "/b").disk.as_deref(), Some("sdb"));
        assert_eq!(of("other", "/c").disk, None);
    }

    #[test]
    fn a_completed_job_has_its_figures_and_how_it_ended() {
        let parameter = |name: &str, value| (name.to_owned(), value);
        let what = Happening::JobCompleted(vec![
            parameter("downtime", OwnedValue::Uint(132)),
            parameter("operation", OwnedValue::Int(5)),
            parameter("time_elapsed", OwnedValue::Uint(90_000)),
            parameter("success", OwnedValue::Bool(false)),
            parameter("errmsg", OwnedValue::Text("no route".to_owned())),
            parameter("memory_iteration", OwnedValue::Uint(7)),
            parameter("news", OwnedValue::Uint(1)),
        ]);
        let report = report(&what, None).unwrap();
        assert_eq!(
            fields(&report),
            [
                "count=Int(1)",
                "operation=Text(\"migration_out\")",
                "success=Bool(false)",
                "error=Text(\"no route\")",
                "elapsed_ms=Uint(90000)",
                "downtime_ms=Uint(132)",
                "mem_iterations=Uint(7)"
            ]
        );
    }

    #[test]
    fn a_threshold_of_a_lower_layer_is_of_the_disk() {
        let what = Happening::BlockThreshold {
            disk: "vda[2]".to_owned(),
            path: "/base".to_owned(),
            threshold_bytes: 5,
            excess_bytes: 6,
        };
        let report = report(&what, None).unwrap();
        assert_eq!(report.disk.as_deref(), Some("vda"));
        assert_eq!(
            fields(&report),
            [
                "count=Int(1)",
                "path=Text(\"/base\")",
                "threshold_bytes=Uint(5)",
                "excess_bytes=Uint(6)"
            ]
        );
    }

    #[test]
    fn the_schema_has_every_field() {
        let fields: Vec<&str> = crate::schema::output_fields()
            .iter()
            .filter(|field| field.measurement == "vm_events")
            .map(|field| field.row.name)
            .collect();
        for what in [
            Happening::Watchdog { action: 2 },
            Happening::MemoryFailure { action: 2 },
            Happening::Agent { state: 1, reason: 1 },
            Happening::BlockJob { disk: "vda".to_owned(), kind: 2, status: 3 },
            Happening::DeviceRemovalFailed { alias: "net0".to_owned() },
        ] {
            let report = report(&what, None).unwrap();
            assert!(report.fields.iter().all(|(name, _)| fields.contains(name)), "{report:?}");
        }
    }
}
