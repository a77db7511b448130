//! A person's view of one collection: a row a guest, for a terminal. Pure but for `terminal`: rows
//! and a width in, text out.
//!
//! ```text
//! mod.rs       the rows, and the text around them
//!   columns.rs   the columns: a heading, a guest's cell, the cell below all guests
//!   fit.rs       which of them a terminal's width holds, and how much of the names
//!   units.rs     numbers in human units
//!   names.rs     text of others, made harmless for a terminal
//! host.rs      the line of a host below its guests
//! terminal.rs  how wide it is, and whether it shows colours
//! ```
//!
//! The figures are those of `sample` and `features`, for all settings of `missing` and `features`:
//! what is not known is a dash here, and never a 0.

mod columns;
mod fit;
mod host;
mod names;
mod terminal;
mod units;

pub(crate) use units::bytes;

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, CellAlignment, ColumnConstraint, Row as Cells, Table, Width, presets};
use uuid::Uuid;

use crate::features::Rates;
use crate::sample::{Completeness, Domain};
pub use columns::{Column, SORTABLE};
use fit::Fit;
pub use host::host_line;
pub use terminal::Look;

/// What one guest's row is made of; `None` is not known.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Which guest it is.
    pub uuid: Uuid,
    /// Its name, as libvirt has it.
    pub name: String,
    /// Its hypervisor, where several are read.
    pub source: Option<String>,
    /// `virDomainState`, the number.
    state: Option<i64>,
    /// Whether it has an id: a guest that is off has nothing to measure.
    is_running: bool,
    /// How complete its answer is.
    completeness: Completeness,
    /// Whether a disk that cannot be written has stopped it.
    is_stopped_by_disk: bool,
    vcpus: Option<u64>,
    /// Memory it has been given, KiB.
    memory_kib: Option<u64>,
    /// Of its own MemTotal what it does not count as MemAvailable, KiB.
    used_kib: Option<u64>,
    /// Its own MemAvailable, KiB.
    available_kib: Option<u64>,
    has_nics: bool,
    has_disks: bool,
    rates: Option<Rates>,
}

impl Row {
    /// The row of a guest as it was measured, with its rates where there is an earlier sample.
    pub fn of(sample: &Domain, rates: Option<&Rates>, source: Option<&str>) -> Self {
        let memory = &sample.memory;
        let is_running = sample.id >= 0;
        // libvirt tells of the memory of a guest that is off, too: of what it would get.
        let if_running = |value: Option<u64>| value.filter(|_| is_running);
        let used_kib = memory.available_kib.zip(memory.usable_kib);
        Self {
            uuid: sample.uuid,
            name: sample.name.clone(),
            source: source.map(str::to_owned),
            state: sample.state,
            is_running,
            completeness: sample.completeness,
            is_stopped_by_disk: sample.is_stopped_by_disk(),
            vcpus: sample.vcpu_count,
            memory_kib: if_running(memory.current_kib),
            used_kib: if_running(used_kib.map(|(total, usable)| total.saturating_sub(usable))),
            available_kib: if_running(memory.usable_kib),
            has_nics: !sample.nics.is_empty(),
            has_disks: !sample.disks.is_empty(),
            rates: rates.cloned(),
        }
    }

    /// Whether another sample would tell more: it runs and has no rates, or such as are over less than
    /// `shortest` seconds, or lacks some since it did not answer when the earlier sample was taken.
    pub fn wants_rates(&self, shortest: f64) -> bool {
        let Some(rates) = &self.rates else { return self.is_running };
        let lacks_some = rates.cpu_percent.is_none()
            || (self.has_nics && rates.nics.rx_bytes.is_none())
            || (self.has_disks && rates.disks.rd_bytes.is_none());
        rates.seconds < shortest || (self.completeness == Completeness::Complete && lacks_some)
    }

    fn is_silent(&self) -> bool {
        self.is_running && self.completeness != Completeness::Complete
    }

    fn style(&self) -> Style {
        const CRASHED: i64 = 6;
        if self.is_silent() {
            AnsiColor::Yellow.on_default()
        } else if self.state == Some(CRASHED) || self.is_stopped_by_disk {
            AnsiColor::Red.on_default()
        } else if self.is_running {
            Style::new()
        } else {
            Style::new().dimmed()
        }
    }
}

/// The rows as a table, with a line of totals below more than one of them and what else there is to know
/// of the figures. Where not all of them are shown, those are that use most; the totals are always of all.
pub fn text(rows: &[Row], look: &Look) -> String {
    if rows.is_empty() {
        return "No guest to show: none is running, or [domains] in the configuration excludes all.\n"
            .to_owned();
    }
    let remarks = remarks(rows);
    // The heading, the totals, the line on those that are not shown, and the one that the prompt is on.
    let others = remarks.lines().count() + 4;
    let fits = look.height.map(|height| usize::from(height).saturating_sub(others).max(1));
    let is_cut_by_height = fits.is_some_and(|fits| rows.len() > fits + 1);
    let most = look.top.or(fits.filter(|_| is_cut_by_height)).unwrap_or(rows.len());
    let sort = look.sort.or((most < rows.len()).then_some(Column::Cpu));
    let (all, mut rows): (&[Row], Vec<&Row>) = (rows, rows.iter().collect());
    if let Some(column) = sort {
        rows.sort_by(|one, other| column.order(one, other));
    }
    rows.truncate(most);
    let names: Vec<[String; 2]> = rows.iter().map(|row| names_of(row)).collect();
    let columns = Column::of(all);
    let fit = Fit::of(&columns, look.width, |column| natural_width(column, all, &rows, &names));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(fit.columns.iter().map(|column| column.heading()));
    for (row, names) in rows.iter().zip(&names) {
        table.add_row(cells(fit.columns.iter().map(|column| column.cell(row, names))));
    }
    if all.len() > 1 {
        table.add_row(cells(fit.columns.iter().map(|column| column.total(all))));
    }
    arrange(&mut table, &fit);
    let bold = Style::new().bold();
    let styles = std::iter::once(bold).chain(rows.iter().map(|row| row.style())).chain([bold]);
    let mut text = String::new();
    for (line, style) in table.lines().zip(styles) {
        let line = line.trim_end();
        let _ = if look.colours {
            writeln!(text, "{style}{line}{style:#}")
        } else {
            writeln!(text, "{line}")
        };
    }
    if rows.len() < all.len() {
        let hidden = all.len() - rows.len();
        let how = if look.top.is_some() { "" } else { "; a pipe gets all" };
        let _ = writeln!(text, "The totals include {hidden} more that are not shown{how}.");
    }
    text.push_str(&remarks);
    text
}

/// A guest's name and its hypervisor's, as a terminal may see them.
fn names_of(row: &Row) -> [String; 2] {
    [names::shown(&row.name), row.source.as_deref().map_or_else(columns::unknown, names::shown)]
}

fn cells(texts: impl Iterator<Item = String>) -> Cells {
    let mut cells = Cells::from(texts.map(Cell::new));
    cells.max_height(1);
    cells
}

/// How wide a column would be, were there room for all.
fn natural_width(column: Column, all: &[Row], rows: &[&Row], names: &[[String; 2]]) -> u16 {
    let mut table = Table::new();
    table.set_header([column.heading()]);
    for (row, names) in rows.iter().zip(names) {
        table.add_row([column.cell(row, names)]);
    }
    if all.len() > 1 {
        table.add_row([column.total(all)]);
    }
    table.column_max_content_widths().first().copied().unwrap_or_default()
}

/// Alignment, gaps, and the widths that names are cut to.
fn arrange(table: &mut Table, fit: &Fit) {
    for (place, (column, width)) in fit.columns.iter().zip(&fit.widths).enumerate() {
        let Some(drawn) = table.column_mut(place) else { continue };
        let gap = if place == 0 { 0 } else { fit.gap };
        drawn.set_padding((gap, 0));
        drawn.set_constraint(ColumnConstraint::Absolute(Width::Fixed(gap + width)));
        // A name is cut where it must be, and not between two words.
        drawn.set_delimiter('\0');
        if column.is_number() {
            drawn.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// What the figures are of, and what the marks mean, a line each.
fn remarks(rows: &[Row]) -> String {
    let mut text = String::new();
    let over = rows.iter().filter_map(|row| row.rates.as_ref()).map(|rates| rates.seconds);
    let (shortest, longest) = over.fold((f64::INFINITY, 0.0), |(shortest, longest), seconds| {
        (f64::min(shortest, seconds), f64::max(longest, seconds))
    });
    let (shortest, longest) = (units::time(shortest), units::time(longest));
    if rows.iter().all(|row| row.rates.is_none()) {
        if rows.iter().any(|row| row.is_running) {
            text.push_str("No rates: they need two samples.\n");
        }
    } else if shortest == longest {
        let _ = writeln!(text, "Rates are over the last {longest}.");
    } else {
        let _ = writeln!(text, "Rates are over the last {shortest} to {longest}.");
    }
    if rows.iter().any(Row::is_silent) {
        let _ = writeln!(text, "! incomplete ({}): what only QEMU knows is -", reasons(rows));
    }
    text
}

/// Why guests have no complete answer, and how many of them.
fn reasons(rows: &[Row]) -> String {
    let words = [
        (Completeness::Hung, "hung"),
        (Completeness::Locked, "locked inside libvirt"),
        (Completeness::Busy, "busy"),
        (Completeness::Starting, "starting"),
        (Completeness::NotAsked, "not asked"),
        (Completeness::Partial, "partly unread"),
    ];
    let count = |(reason, word): &(Completeness, &str)| {
        let is_so = |row: &&Row| row.is_silent() && row.completeness == *reason;
        let count = rows.iter().filter(is_so).count();
        (count > 0).then(|| format!("{count} {word}"))
    };
    words.iter().filter_map(count).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
