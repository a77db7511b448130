//! Rows of all kinds as a table.

use comfy_table::Table;

use super::*;
use crate::features::{DiskRates, NicRates};
use crate::sample::{Cpu, Disk, Memory, Nic};

const WIDE: Look = Look { width: None, colours: false, height: None, sort: None, top: None };

/// A running guest of which everything is known.
fn sample(name: &str) -> Domain {
    Domain {
        id: 1,
        name: name.to_owned(),
        uuid: Uuid::from_u128(name.bytes().map(u128::from).sum()),
        answered_at_ns: 1,
        state: Some(1),
        cpu: Cpu { time_ns: Some(1), ..Cpu::default() },
        vcpu_count: Some(2),
        memory: Memory {
            current_kib: Some(2048 * 1024),
            available_kib: Some(2000 * 1024),
            usable_kib: Some(500 * 1024),
            ..Memory::default()
        },
        nics: vec![Nic { name: "vnet0".into(), ..Nic::default() }],
        disks: vec![Disk { name: "vda".into(), ..Disk::default() }],
        ..Domain::default()
    }
}

fn rates() -> Rates {
    Rates {
        seconds: 1.0,
        cpu_percent: Some(12.5),
        steal_percent: Some(0.25),
        nics: NicRates { rx_bytes: Some(1234.0), tx_bytes: Some(12.0), ..NicRates::default() },
        disks: DiskRates {
            rd_reqs: Some(3.5),
            rd_bytes: Some(56_000.0),
            wr_reqs: Some(1200.0),
            wr_bytes: Some(7.5 * 1024.0 * 1024.0),
        },
        ..Rates::default()
    }
}

fn row(name: &str) -> Row {
    Row::of(&sample(name), Some(&rates()), None)
}

/// The words of each line.
fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

/// How wide a text is on a terminal, by the table's own measure.
fn width(text: &str) -> u16 {
    let mut table = Table::new();
    table.add_row([text]);
    table.column_max_content_widths()[0]
}

#[test]
fn a_guest_is_a_line_with_a_unit_to_each_figure() {
    let text = text(&[row("web-01")], &WIDE);
    assert_eq!(
        text,
        "\
GUEST   STATE    VCPUS    CPU  STEAL     MEM    USED   AVAIL    RX/s  TX/s  READ/s  WRITE/s  RD-REQ/s  WR-REQ/s
web-01  running      2  12.5%   0.2%  2.0GiB  1.5GiB  500MiB  1.2KiB   12B   55KiB   7.5MiB       3.5      1.2k
Rates are over the last 1.0 s.
"
    );
}

#[test]
fn what_is_not_known_is_a_dash_and_what_is_zero_is_a_zero() {
    let nothing = Row::of(&Domain { id: 1, ..Domain::default() }, None, None);
    let shown = text(&[nothing], &WIDE);
    assert_eq!(words(&shown)[1], ["-"; 13], "{shown}");
    assert_eq!(shown.lines().last(), Some("No rates: they need two samples."));

    let still = Rates {
        seconds: 2.0,
        cpu_percent: Some(0.0),
        nics: NicRates { rx_bytes: Some(0.0), ..NicRates::default() },
        ..Rates::default()
    };
    let shown = text(&[Row::of(&sample("x"), Some(&still), None)], &WIDE);
    let expected = ["x", "running", "2", "0.0%", "-", "2.0GiB", "1.5GiB", "500MiB", "0B"];
    assert_eq!(words(&shown)[1], [&expected[..], &["-"; 5]].concat(), "{shown}");
}

#[test]
fn a_guest_that_is_off_has_its_state_and_its_vcpus() {
    let off = Domain { id: -1, state: Some(5), ..sample("off") };
    let shown = text(&[Row::of(&off, None, None)], &WIDE);
    assert_eq!(words(&shown)[1], [&["off", "shutoff", "2"][..], &["-"; 11]].concat());
    // Nothing is said of rates that nobody has.
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(!Row::of(&off, None, None).wants_rates(0.5));
}

#[test]
fn another_sample_is_wanted_where_it_would_tell_more() {
    let wants =
        |sample: &Domain, rates: &Rates| Row::of(sample, Some(rates), None).wants_rates(0.5);
    let whole = sample("whole");
    assert!(Row::of(&whole, None, None).wants_rates(0.5));
    assert!(!wants(&whole, &rates()));
    assert!(wants(&whole, &Rates { seconds: 0.4, ..rates() }));
    // It hung when the earlier sample was taken.
    let partial = Rates { disks: DiskRates::default(), ..rates() };
    assert!(wants(&whole, &partial));
    // It hangs still, or has no disks.
    assert!(!wants(&Domain { completeness: Completeness::Hung, ..sample("silent") }, &partial));
    assert!(!wants(&Domain { disks: Vec::new(), ..sample("bare") }, &partial));
}

#[test]
fn a_guest_that_did_not_answer_is_marked_and_the_mark_is_told() {
    let silent = Domain { completeness: Completeness::Hung, ..sample("silent") };
    let shown = text(&[row("a"), Row::of(&silent, Some(&rates()), None)], &WIDE);
    let words = words(&shown);
    assert_eq!((words[1][1], words[2][1]), ("running", "running!"));
    assert!(shown.lines().last().is_some_and(|line| line.starts_with("! ")), "{shown}");
    assert!(!text(&[row("a")], &WIDE).contains('!'));
}

#[test]
fn the_last_line_of_figures_sums_up_the_guests_that_run() {
    let off = Domain { id: -1, state: Some(5), ..sample("off") };
    let busy = Rates { cpu_percent: Some(50.0), steal_percent: Some(1.0), ..rates() };
    let big = Domain { vcpu_count: Some(6), ..sample("big") };
    // One without devices has no rates of them, and takes nothing from the sums.
    let bare = Domain { nics: Vec::new(), disks: Vec::new(), ..sample("bare") };
    let bare_rates = Rates { nics: NicRates::default(), disks: DiskRates::default(), ..rates() };
    let rows = [
        Row::of(&bare, Some(&bare_rates), None),
        Row::of(&big, Some(&busy), None),
        Row::of(&off, None, None),
        row("web"),
    ];
    let shown = text(&rows, &WIDE);
    // (2 x 12.5 + 6 x 50 + 2 x 12.5) / 10, and for steal (2 x 0.25 + 6 x 1 + 2 x 0.25) / 10.
    let expected = "4 guests 10 35.0% 0.7% 6.0GiB 4.4GiB 1.5GiB 2.4KiB 24B 109KiB 15MiB 7.0 2.4k";
    assert_eq!(words(&shown)[5], expected.split(' ').collect::<Vec<_>>(), "{shown}");
}

#[test]
fn a_sum_that_lacks_a_guests_share_is_not_known() {
    let mute = Domain { memory: Memory::default(), ..sample("mute") };
    let unknown = Rates { disks: DiskRates::default(), cpu_percent: None, ..rates() };
    let shown = text(&[Row::of(&mute, Some(&unknown), None), row("web")], &WIDE);
    let expected = "2 guests 4 - 0.2% - - - 2.4KiB 24B - - - -";
    assert_eq!(words(&shown)[3], expected.split(' ').collect::<Vec<_>>(), "{shown}");
    // Perhaps it has devices, and they could not be listed.
    let silent = Domain {
        completeness: Completeness::Hung,
        nics: Vec::new(),
        disks: Vec::new(),
        ..sample("silent")
    };
    let none = Rates { nics: NicRates::default(), disks: DiskRates::default(), ..rates() };
    let shown = text(&[Row::of(&silent, Some(&none), None), row("web")], &WIDE);
    assert_eq!(words(&shown)[3][8..], ["-"; 6], "{shown}");
}

#[test]
fn several_hypervisors_have_a_column() {
    let of = |name, source| Row::of(&sample(name), Some(&rates()), Some(source));
    let shown = text(&[of("a", "kvm1"), of("a", "kvm2")], &WIDE);
    let sources: Vec<&str> = words(&shown).iter().take(3).map(|words| words[1]).collect();
    assert_eq!(sources, ["SOURCE", "kvm1", "kvm2"], "{shown}");
    assert!(!text(&[row("a")], &WIDE).contains("SOURCE"));
}

#[test]
fn rates_over_unequal_times_say_so() {
    let over = |seconds| Row::of(&sample("a"), Some(&Rates { seconds, ..rates() }), None);
    let shown = text(&[over(2.0), over(600.0), Row::of(&sample("new"), None, None)], &WIDE);
    assert_eq!(shown.lines().last(), Some("Rates are over the last 2.0 s to 10 min."));
}

#[test]
fn no_guest_is_told_in_words() {
    assert!(text(&[], &WIDE).starts_with("No guest to show"));
}

/// Names that strain a terminal.
const NAMES: [&str; 14] = [
    "plain",
    "Größe 日本 🦀",
    "日本語のとても長い名前のゲスト",
    "e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}",
    "👩\u{200d}👩\u{200d}👧\u{200d}👦 family",
    "\u{1b}[31mred\u{1b}[0m",
    "a\nb\tc\rd\u{7}",
    "\u{202e}desrever",
    "\u{301}starts with an accent",
    "z\u{336}a\u{336}l\u{336}g\u{336}o\u{336}",
    "  spaces  in  it  ",
    "a very long name that no terminal has room for, whatever it does",
    "한국어 이름",
    "🇩🇪 flag",
];

#[test]
fn each_guest_has_one_line_and_the_columns_stand_in_line_whatever_the_names() {
    let rows: Vec<Row> = NAMES.iter().map(|name| row(name)).collect();
    for columns in [None, Some(200), Some(120), Some(100), Some(80), Some(60), Some(40), Some(24)] {
        let shown = text(&rows, &Look { width: columns, ..WIDE });
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 1 + NAMES.len() + 1 + 1, "{shown}");
        // Left of the state stands the same width in each line; no line is wider than it may be.
        let before = |line: &str, word: &str| width(line.split_once(word).unwrap().0);
        let place = before(lines[0], "STATE");
        for line in &lines[1..=NAMES.len()] {
            assert_eq!(before(line, "running"), place, "{columns:?}: {line}\n{shown}");
            // The last column ends where its heading does, for numbers stand to the right.
            assert_eq!(width(line), width(lines[0]), "{columns:?}: {line}\n{shown}");
        }
        for line in &lines[..=NAMES.len() + 1] {
            assert!(width(line) <= columns.unwrap_or(u16::MAX), "{columns:?}: {line}");
        }
    }
}

#[test]
fn a_long_name_is_cut_with_an_ellipsis_at_the_column_and_not_at_a_word() {
    // As wide as a name of 12 columns makes it.
    let limit = width(text(&[row(&"x".repeat(12))], &WIDE).lines().next().unwrap());
    let line = |name| {
        let shown = text(&[row(name)], &Look { width: Some(limit), ..WIDE });
        shown.lines().nth(1).unwrap().to_owned()
    };
    assert!(line(NAMES[11]).starts_with("a very long…  running  "), "{}", line(NAMES[11]));
    // A wide character that would be cut in two makes room whole.
    assert!(line(NAMES[2]).starts_with("日本語のと…   running  "), "{}", line(NAMES[2]));
    let endless = "x".repeat(100_000);
    let shown = text(&[row(&endless)], &WIDE);
    assert_eq!(words(&shown)[1][0].len(), 500);
}

#[test]
fn narrow_terminals_leave_columns_out_and_keep_the_guest_its_state_and_its_cpu() {
    let headings = |columns| {
        let shown = text(&[row("web-frontend-01")], &Look { width: Some(columns), ..WIDE });
        words(&shown)[0].join(" ")
    };
    let all =
        "GUEST STATE VCPUS CPU STEAL MEM USED AVAIL RX/s TX/s READ/s WRITE/s RD-REQ/s WR-REQ/s";
    assert_eq!(headings(120), all);
    let asked_for = "GUEST STATE CPU STEAL MEM USED AVAIL RX/s TX/s READ/s WRITE/s";
    assert_eq!(headings(80), asked_for);
    assert_eq!(headings(60), "GUEST STATE CPU USED AVAIL RX/s TX/s");
    assert_eq!(headings(25), "GUEST STATE CPU");
    assert_eq!(headings(1), "GUEST STATE CPU");
}

#[test]
fn colours_stand_around_whole_lines_and_mark_what_is_odd() {
    let off = Row::of(&Domain { id: -1, state: Some(5), ..sample("off") }, None, None);
    let crashed = Domain { state: Some(6), ..sample("crashed") };
    let silent = Domain { completeness: Completeness::Hung, ..sample("silent") };
    let rows = [
        Row::of(&crashed, Some(&rates()), None),
        off,
        Row::of(&silent, Some(&rates()), None),
        row("web"),
    ];
    let plain = text(&rows, &WIDE);
    let coloured = text(&rows, &Look { colours: true, ..WIDE });
    let starts: Vec<&str> = coloured
        .lines()
        .map(|line| line.strip_prefix('\u{1b}').map_or("", |rest| rest.split_once('m').unwrap().0))
        .collect();
    assert_eq!(starts, ["[1", "[31", "[2", "[33", "", "[1", "", ""]);
    for (plain, coloured) in plain.lines().zip(coloured.lines()) {
        let stripped = coloured
            .strip_suffix("\u{1b}[0m")
            .map_or(coloured, |line| line.split_once('m').unwrap().1);
        assert_eq!(stripped, plain);
    }
}

/// Guests that use as much CPU as they are numbered.
fn fleet(count: u32) -> Vec<Row> {
    let row = |number: u32| {
        let rates = Rates { cpu_percent: Some(f64::from(number * 7 % count)), ..rates() };
        Row::of(&sample(&format!("guest-{number:03}")), Some(&rates), None)
    };
    let mut rows: Vec<Row> = (0..count).map(row).collect();
    rows.push(Row::of(&sample("without"), None, None));
    rows
}

fn first_words(shown: &str) -> Vec<&str> {
    shown.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn sorted_guests_come_with_those_that_use_most_first_and_unknown_ones_last() {
    let rows = fleet(5);
    let by = |sort, top| text(&rows, &Look { sort: Some(sort), top, ..WIDE });
    let shown = by(Column::Cpu, None);
    let order = ["guest-002", "guest-004", "guest-001", "guest-003", "guest-000", "without"];
    assert_eq!(first_words(&shown)[..6], order);
    assert_eq!(first_words(&by(Column::Guest, None))[..2], ["guest-000", "guest-001"]);
    // The same totals, however few are shown.
    let total = |shown: &str| {
        let line = shown.lines().find(|line| line.starts_with("6 guests")).map(str::to_owned);
        line.unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let two = by(Column::Cpu, Some(2));
    assert_eq!(first_words(&two)[..3], ["guest-002", "guest-004", "6"]);
    assert_eq!(total(&two), total(&shown));
    assert!(two.contains("\nThe totals include 4 more that are not shown.\n"), "{two}");
    // Without a column, those that use most CPU.
    let top = text(&rows, &Look { top: Some(2), ..WIDE });
    assert_eq!(top, two);
    assert!(!by(Column::Cpu, Some(60)).contains("not shown"));
}

#[test]
fn on_a_screen_of_80_by_24_are_the_busiest_guests_and_the_totals() {
    let screen = Look { width: Some(80), height: Some(24), ..WIDE };
    let shown = text(&fleet(60), &screen);
    assert!(shown.lines().count() <= 23, "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    let words = first_words(&shown);
    // 43 * 7 is 301, which is 1 more than 5 times 60; 17 * 7 is 59 more than once 60.
    assert_eq!(words[0], "guest-017");
    assert!(shown.contains("\n61 guests "), "{shown}");
    assert!(shown.contains(" more that are not shown; a pipe gets all.\n"), "{shown}");
    // What fits is shown whole, by name.
    let shown = text(&fleet(15), &screen);
    assert_eq!(first_words(&shown)[..2], ["guest-000", "guest-001"]);
    assert!(shown.lines().count() <= 23 && !shown.contains("not shown"), "{shown}");
    // However low the screen.
    for height in 0..8 {
        assert!(text(&fleet(60), &Look { height: Some(height), ..screen }).contains("61 guests"));
    }
}
