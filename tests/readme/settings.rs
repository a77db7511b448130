//! The README's configurations and options, against the sample and the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use telegraf_virt::config::{DEFAULT_URI, Settings, parse};

use super::support::process::run;
use super::support::program::PROGRAM;
use super::{Scratch, assert_ten_guests, block_with, quoted, read, rows};

#[test]
fn the_configuration_shown_is_valid_and_does_something() {
    let scratch = Scratch::new();
    fs::write(scratch.path("shown.toml"), block_with("toml", "[domains]")).unwrap();
    let options = ["--config", "shown.toml"];
    let first = scratch.once(&options);
    let lines = scratch.once(&options);
    assert_ten_guests(&first, 0);
    assert_ten_guests(&lines, 10);
    assert!(lines.iter().all(|line| line.tag("dc") == "fra1"));
    let nics = lines.iter().filter(|line| line.find_tag("devtype") == Some("nic"));
    assert_eq!(nics.filter(|line| line.find_tag("mac").is_some()).count(), 20);
    let features = lines.iter().find(|line| line.measurement == "vm_features").unwrap();
    assert!(features.find_field("net_rxbytes_rate").is_some());
    assert!(features.find_field("cpu_percent").is_some());
}

#[test]
fn the_table_of_settings_has_every_setting_that_works_with_its_default() {
    let mut defaults: BTreeMap<String, String> = BTreeMap::new();
    let mut table = String::new();
    for line in read("src/config/sample.toml").lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, value)) =
            line.strip_prefix("# ").and_then(|line| line.split_once(" = "))
        {
            defaults.insert(format!("{table}{key}"), value.to_owned());
        }
    }
    // An example of a user's own.
    assert!(defaults.remove("tags.dc").is_some());
    let told: BTreeMap<String, String> = rows("## Configuration")
        .into_iter()
        .map(|row| (quoted(&row["setting"])[0].clone(), quoted(&row["default"])[0].clone()))
        .collect();
    assert_eq!(told, defaults);
    // The defaults are those of the code, too.
    for (setting, value) in &told {
        let text = format!("{setting} = {value}");
        let settings = parse(&text, Path::new("README.md")).unwrap();
        let mut expected = Settings::default();
        if setting == "uris" {
            expected.uris = vec![DEFAULT_URI.to_owned()];
        }
        assert_eq!(settings, expected, "{text}");
    }
}

#[test]
fn the_readme_names_every_option() {
    let help = run(Command::new(PROGRAM).arg("--help")).success().stdout;
    let options = |text: &str| -> BTreeSet<String> {
        let words = text.split_whitespace().filter(|word| word.starts_with("--"));
        words.map(str::to_owned).collect()
    };
    let (_, listed) = help.split_once("Options, ").unwrap();
    let (listed, _) = listed.split_once("Examples: ").unwrap();
    let readme = read("README.md");
    let (_, told) = readme.split_once("Options stand over the file: ").unwrap();
    let (told, _) = told.split_once("\n\n").unwrap();
    assert_eq!(options(&quoted(told).join(" ")), options(listed));
    let version = run(Command::new(PROGRAM).arg("--version")).success().stdout;
    assert_eq!(version, format!("telegraf-virt {}\n", env!("CARGO_PKG_VERSION")));
}
