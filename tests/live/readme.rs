//! The example lines of README and docs/metrics.md are those of real guests: the guests are made again, and
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
use crate::support::{app, say, wait_until};

/// The file that this heading is in.
fn file_of(heading: &str) -> &'static str {
    match heading {
        "## What it prints" => concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"),
        _ => concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"),
    }
}

/// Where the first block of text below this heading stands in the README: its lines alone.
fn place(readme: &str, heading: &str) -> std::ops::Range<usize> {
    let section = readme.find(&format!("\n{heading}\n")).unwrap() + heading.len() + 2;
    let end = readme[section..].find("\n#").map_or(readme.len(), |length| section + length);
    let block = readme[section..end].find("```text\n").unwrap_or_else(|| panic!("{heading}"));
    let start = section + block + "```text\n".len();
    start..start + readme[start..].find("```").unwrap()
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
    // What README's readers would see there.
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

/// Holds the README's lines against fresh ones, of which `fresh` makes some more each time: a guest that
/// has not read from its disk since the last collection has no time for each read.
fn hold(heading: &str, mut fresh: impl FnMut() -> String) {
    let file = file_of(heading);
    let readme = fs::read_to_string(file).unwrap();
    let place = place(&readme, heading);
    let told = shapes(&readme[place.clone()]);
    let bless = std::env::var("BLESS").is_ok_and(|value| value == "1");
    let mut last = String::new();
    for seconds in 1..20 {
        last = fresh();
        let times = ["disk_rd_ms_per_req", "disk_wr_ms_per_req", "disk_fl_ms_per_req"];
        let is_full = heading != "### vm_features" || times.iter().all(|it| last.contains(it));
        if bless && is_full {
            fs::write(file, [&readme[..place.start], &last, &readme[place.end..]].concat())
                .unwrap();
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
fn the_lines_that_the_readme_shows_are_those_of_real_guests() {
    let Some(lab) = Lab::require("readme") else { return };
    let web = lab.linux("web-01");
    lab.paused("db-01", 1, 2);
    app::start(&lab, &web);

    // From the second collection on, as README says.
    let cache = lab.scratch().join("default");
    let default = "[domains]\ninclude = [\"db-01\", \"web-01\"]\n";
    let mut output = collect(&lab, &cache, default);
    hold("## What it prints", || {
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
