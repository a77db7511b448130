//! A table of `--format table`, read back from what was printed.

use super::lines::{Line, Value, find};
use std::collections::BTreeMap;

/// A table as it was printed.
pub struct Table {
    pub rows: Vec<Row>,
    /// The line below more than one guest.
    pub total: Option<Row>,
    pub remarks: Vec<String>,
}

/// A line of it.
#[derive(Debug)]
pub struct Row {
    /// All that stands left of the figures: names and state.
    pub start: String,
    /// The figures below their headings.
    pub figures: BTreeMap<String, String>,
}

impl Table {
    pub fn read(text: &str) -> Table {
        let mut lines = text.lines();
        let headings: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(headings[0], "GUEST", "no table:\n{text}");
        let state = headings.iter().position(|heading| *heading == "STATE").unwrap();
        let headings = &headings[state + 1..];
        let (remarks, rows): (Vec<&str>, Vec<&str>) = lines.partition(|line| {
            ["Rates are ", "No rates: ", "! "].iter().any(|start| line.starts_with(start))
        });
        let mut rows: Vec<Row> = rows.iter().map(|line| Row::read(line, headings)).collect();
        let total = (rows.len() > 1).then(|| rows.pop().unwrap());
        if let Some(total) = &total {
            assert_eq!(total.start, format!("{} guests", rows.len()), "{text}");
        }
        Table { rows, total, remarks: remarks.into_iter().map(str::to_owned).collect() }
    }

    /// The row of a guest whose name begins so.
    pub fn row(&self, name: &str) -> &Row {
        let found: Vec<&Row> = self.rows.iter().filter(|row| row.start.starts_with(name)).collect();
        assert_eq!(found.len(), 1, "rows of {name}: {:#?}", self.rows);
        found[0]
    }
}

impl Row {
    /// A guest's name may hold spaces, and so may its state; a figure is one word.
    fn read(line: &str, headings: &[&str]) -> Row {
        let mut rest = line.trim_end();
        let mut figures = BTreeMap::new();
        for heading in headings.iter().rev() {
            let (left, figure) = rest.rsplit_once(' ').unwrap_or_else(|| panic!("short: {line}"));
            figures.insert((*heading).to_owned(), figure.to_owned());
            rest = left.trim_end();
        }
        let words: Vec<&str> = rest.split_whitespace().collect();
        Row { start: words.join(" "), figures }
    }

    /// Compares every figure that this guest's lines have, too, and fails where one is not what they
    /// say; returns how many agree.
    pub fn compare(&self, lines: &[Line], uuid: &str, slack: Slack) -> usize {
        let of = |measurement: &str, field: &str| {
            let line = find(lines, uuid, measurement, None)?;
            line.find_field(field).map(|value| match value {
                Value::Int(value) => *value as f64,
                Value::Float(value) => *value,
                other => panic!("{field} is {other:?}"),
            })
        };
        let kib = |field: &str| of("vm_totals", field).map(|kib| kib * 1024.0);
        let rate = |field: &str| of("vm_features", field);
        let used = kib("memavailable").zip(kib("memusable")).map(|(all, usable)| all - usable);
        let expected = [
            ("VCPUS", of("vm_metrics", "cpu_count"), Slack::NONE),
            ("CPU", rate("cpu_percent"), slack),
            ("STEAL", rate("steal_percent"), slack),
            ("MEM", of("vm_metrics", "memory_used_kb").map(|kib| kib * 1024.0), Slack::NONE),
            ("USED", used, Slack::NONE),
            ("AVAIL", kib("memusable"), Slack::NONE),
            ("RX/s", rate("net_rxbytes_rate"), slack.of_counters()),
            ("TX/s", rate("net_txbytes_rate"), slack.of_counters()),
            ("READ/s", rate("disk_rd_bytes_rate"), slack.of_counters()),
            ("WRITE/s", rate("disk_wr_bytes_rate"), slack.of_counters()),
            ("RD-REQ/s", rate("disk_rd_req_rate"), slack.of_counters()),
            ("WR-REQ/s", rate("disk_wr_reqs_rate"), slack.of_counters()),
        ];
        let mut agree = 0;
        for (heading, value, slack) in expected {
            let figure = &self.figures[heading];
            match value {
                Some(value) => {
                    assert!(says(figure, value, slack), "{heading} is not {value}: {self:#?}");
                    agree += 1;
                }
                None => assert_eq!(figure, "-", "{heading} of {self:#?}"),
            }
        }
        agree
    }
}

/// By how much a figure may be off what it is compared with.
#[derive(Clone, Copy)]
pub struct Slack {
    /// The share of a rate, since it is over a little more or less time.
    pub share: f64,
    /// Points of a percentage: a guest's QEMU spends CPU time on each answer.
    pub points: f64,
}

impl Slack {
    pub const NONE: Slack = Slack { share: 0.0, points: 0.0 };

    fn of_counters(self) -> Slack {
        Slack { points: 0.0, ..self }
    }
}

/// Whether a figure, such as 1.5GiB, is this value, rounded to the digits that it has.
pub fn says(figure: &str, value: f64, slack: Slack) -> bool {
    let (number, scale) = parts(figure);
    let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let half = 0.5 * 0.1_f64.powi(decimals.try_into().unwrap());
    let number: f64 = number.parse().unwrap_or_else(|error| panic!("{figure:?}: {error}"));
    let exact = value / scale;
    (exact - number).abs() <= half + 1e-9 + slack.points + slack.share * exact.abs()
}

/// What a figure is about; none where it is not known.
pub fn value(figure: &str) -> Option<f64> {
    let (number, scale) = if figure == "-" { return None } else { parts(figure) };
    Some(number.parse::<f64>().unwrap_or_else(|error| panic!("{figure:?}: {error}")) * scale)
}

/// A figure's number, and what its unit counts for.
fn parts(figure: &str) -> (&str, f64) {
    let digits = figure.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(figure.len());
    let (number, unit) = figure.split_at(digits);
    let scale = match unit {
        "" | "%" | "B" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => panic!("unit {unit:?} of {figure:?}"),
    };
    (number, scale)
}
