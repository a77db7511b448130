//! vm_events: what an event carries.

use super::extra::Extra;
use super::row::{FieldKind, FieldRow, Section};

const ROW: FieldRow = FieldRow {
    name: "",
    kind: FieldKind::Text,
    unit: "",
    group: "",
    statistic: b"virConnectDomainEventRegisterAny",
    text: "",
};

const fn word(name: &'static str, text: &'static str) -> FieldRow {
    FieldRow { name, text, ..ROW }
}

const fn number(name: &'static str, unit: &'static str, text: &'static str) -> FieldRow {
    FieldRow { name, kind: FieldKind::Gauge, unit, text, ..ROW }
}

const fn flag(name: &'static str, text: &'static str) -> FieldRow {
    FieldRow { name, kind: FieldKind::Flag, text, ..ROW }
}

/// The fields of vm_events, but those of a finished job, which are vm_jobs'.
pub(super) const EVENTS: &[Section] = &[Section::of(
    Extra::Events,
    &[
        word("detail", "libvirt's word for how or why, such as booted, destroyed, ioerror"),
        number("count", "events", "always 1: use the sum"),
        word("path", "io_error, block_threshold: the disk's source"),
        word("reason", "io_error: why, such as enospc"),
        word("type", "block_job: pull, copy, commit, active_commit or backup"),
        word("status", "block_job: completed, failed, canceled or ready"),
        number("threshold_bytes", "bytes", "block_threshold: the offset that was set"),
        number("excess_bytes", "bytes", "block_threshold: how far a write went beyond it"),
        word("operation", "job_completed: such as migration_out, save, backup"),
        flag("success", "job_completed: whether it succeeded"),
        word("error", "job_completed: why it failed"),
        word("alias", "device_added, device_removed, device_removal_failed: libvirt's name for it"),
        number("dropped", "events", "lost: number of events known to be missing"),
    ],
)];
