//! The example lines of docs/metrics.md are those of real guests: the guests are made again, and
//! each line that they show must have the tags and the fields of a fresh one, in their order and with their types.
//! With BLESS=1 the fresh lines are written there. What a guest here cannot have, such as perf
//! events, stands in `readme`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::lab::Lab;
use crate::support::lines::{Line, Value, read};
use crate::support::process::run;
use crate::support::program::program;
use crate::support::table::Table;
use crate::support::{app, pages, repository, say, wait_until};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");

/// Where the first block of text below this heading stands in the page: its lines alone.
fn place(page: &str, heading: &str) -> std::ops::Range<usize> {
    let section = page.find(&format!("\n{heading}\n")).unwrap() + heading.len() + 2;
    let end = page[section..].find("\n#").map_or(page.len(), |length| section + length);
    let block = page[section..end].find("```text\n").unwrap_or_else(|| panic!("{heading}"));
    let start = section + block + "```text\n".len();
    start..start + page[start..].find("```").unwrap()
}

/// The measurement, the names of tags, and the names and types of fields, in order.
fn shape(line: &Line) -> String {
    let tags: Vec<&str> = line.tags.iter().map(|(name, _)| name.as_str()).collect();
    let fields: Vec<String> = line
        .fields
        .iter()
        .map(|(name, value)| match value {
            Value::Int(_) => format!("{name}=i"),
            Value::Float(_) => format!("{name}=f"),
            Value::Text(_) => format!("{name}=s"),
            Value::Bool(_) => format!("{name}=b"),
        })
        .collect();
    let kind = line.find_tag("devtype").unwrap_or_default();
    format!("{} {kind} {} {}", line.measurement, tags.join(","), fields.join(","))
}

fn shapes(text: &str) -> Vec<String> {
    read(text).iter().map(shape).collect()
}

/// One collection of some guests, with `more` in the configuration.
fn collect(lab: &Lab, cache: &Path, more: &str) -> String {
    let file = lab.scratch().join("readme.toml");
    fs::write(&file, more).unwrap();
    let mut command = program(lab.scratch());
    command.args(["once", "--uri", &lab.uri(), "--cache-dir"]).arg(cache);
    let output = run(command.arg("--config").arg(file)).success().stdout;
    // What the readers would see there.
    output.replace(&lab.uri().replace('=', "\\="), "qemu:///system")
}

/// The lines of these measurements, and of each kind of line only the first.
fn first_of_each(output: &str, measurements: &[&str]) -> String {
    let mut seen = Vec::new();
    let mut text = String::new();
    for line in output.split_inclusive('\n') {
        let read = read(line);
        let tags: Vec<&str> = read[0].tags.iter().map(|(name, _)| name.as_str()).collect();
        let devtype = read[0].find_tag("devtype").unwrap_or_default();
        let kind = format!("{} {devtype} {tags:?}", read[0].measurement);
        if measurements.contains(&read[0].measurement.as_str()) && !seen.contains(&kind) {
            seen.push(kind);
            text.push_str(line);
        }
    }
    text
}

/// Holds the page's lines against fresh ones, of which `fresh` makes some more each time: a guest that
/// has not read from its disk since the last collection has no time for each read.
fn hold(heading: &str, mut fresh: impl FnMut() -> String) {
    let page = fs::read_to_string(FILE).unwrap();
    let place = place(&page, heading);
    let told = shapes(&page[place.clone()]);
    let bless = std::env::var("BLESS").is_ok_and(|value| value == "1");
    let mut last = String::new();
    for seconds in 1..20 {
        last = fresh();
        let times = ["disk_rd_ms_per_req", "disk_wr_ms_per_req", "disk_fl_ms_per_req"];
        let is_full = heading != "### vm_features" || times.iter().all(|it| last.contains(it));
        if bless && is_full {
            fs::write(FILE, [&page[..place.start], &last, &page[place.end..]].concat()).unwrap();
            return;
        }
        if shapes(&last) == told {
            return say(&format!("readme: {heading}: {} lines as shown", told.len()));
        }
        // Longer each time: a busy guest takes its time for a read, a write and a flush.
        std::thread::sleep(Duration::from_secs(seconds));
    }
    assert_eq!(told, shapes(&last), "{heading}: BLESS=1 writes these lines there:\n{last}");
}

#[test]
fn the_lines_that_the_page_shows_are_those_of_real_guests() {
    let Some(lab) = Lab::require("readme") else { return };
    if !lab.is_of_libvirt_9() {
        return say("readme: the page's lines are those of libvirt 9, others have more fields");
    }
    let web = lab.linux("web-01");
    lab.paused("db-01", 1, 2);
    app::start(&lab, &web);

    // From the second collection on, as the page says.
    let cache = lab.scratch().join("default");
    let default = "[domains]\ninclude = [\"db-01\", \"web-01\"]\n";
    let mut output = collect(&lab, &cache, default);
    hold("## Example output", || {
        output = collect(&lab, &cache, default);
        output.clone()
    });

    let names = telegraf_virt::config::extra::Extra::ALL.map(|it| it.name());
    let all = format!(
        "extra = {names:?}\nfeatures = [\"net\", \"disk\", \"cpu\", \"latency\", \"balloon\"]\n\
         device_tags = [\"mac\", \"model\", \"bus\", \"serial\", \"alias\", \"path\", \"network\"]\n\
         [domains]\ninclude = [\"app-01\"]\n"
    );
    let cache = lab.scratch().join("all");
    collect(&lab, &cache, &all);
    std::thread::sleep(Duration::from_secs(5));
    for heading in ["### vm_metrics", "### vm_features", "### vm_devices", "### vm_totals"] {
        let measurement = heading.trim_start_matches("### ");
        hold(heading, || first_of_each(&collect(&lab, &cache, &all), &[measurement]));
    }
    let save = app::begin_save(&lab);
    let with_job = || {
        wait_until("the save's job", Duration::from_secs(60), || {
            let output = collect(&lab, &cache, &all);
            output.contains("\nvm_jobs,").then_some(output)
        })
    };
    let always = ["vm_metrics", "vm_features", "vm_devices", "vm_totals"];
    hold("### More, with extra", || {
        let output = with_job();
        let lines = read(&output);
        let more: Vec<&str> = lines
            .iter()
            .map(|line| line.measurement.as_str())
            .filter(|measurement| !always.contains(measurement))
            .collect();
        first_of_each(&output, &more)
    });
    drop(save);
}

/// How each guest of the README's table is named, and how it stands.
const GUESTS: [&str; 6] = [
    "build-01 running",
    "db-01 paused",
    "mail-01 running!",
    "web-01 running",
    "web-02 running",
    "web-03 running",
];

#[test]
#[ignore = "slow: tests/run --all"]
fn the_table_that_the_readme_shows_is_one_of_real_guests() {
    let Some(lab) = Lab::require("readme, table") else { return };
    lab.paused("db-01", 1, 1);
    let running: Vec<String> = GUESTS
        .iter()
        .filter_map(|guest| guest.split_once(" running"))
        .map(|(name, _)| lab.linux(name))
        .collect();
    let cache = lab.scratch().join("table");
    collect(&lab, &cache, "");
    std::thread::sleep(Duration::from_secs(5));
    // mail-01
    lab.signal_qemu("-STOP", &running[1]);
    let mut command = program(lab.scratch());
    command.args(["once", "--format", "table", "--uri", &lab.uri(), "--cache-dir"]).arg(&cache);
    let fresh = run(&mut command).success().stdout;
    lab.signal_qemu("-CONT", &running[1]);
    let starts = |table: &str| -> Vec<String> {
        Table::read(table).rows.into_iter().map(|row| row.start).collect()
    };
    assert_eq!(starts(&fresh), GUESTS, "{fresh}");

    let readme = pages::read("README.md");
    let shown = pages::block_with("text", "GUEST  ");
    if std::env::var("BLESS").is_ok_and(|value| value == "1") {
        return fs::write(repository().join("README.md"), readme.replace(&shown, &fresh)).unwrap();
    }
    assert_eq!(starts(&shown), GUESTS, "BLESS=1 writes this table there:\n{fresh}");
}
