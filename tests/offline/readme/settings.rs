//! The configurations and options of the pages, against the sample and the program.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use telegraf_virt::config::preset::PRESETS;
use telegraf_virt::config::{DEFAULT_URI, SETTINGS, Setting, Settings, parse};

use super::{Scratch, assert_ten_guests, block_with, quoted, read, repository, rows};
use crate::support::process::run;
use crate::support::program::PROGRAM;

const PAGE: &str = "docs/configuration.md";

#[test]
fn the_configuration_shown_is_valid_and_does_something() {
    let scratch = Scratch::new();
    fs::write(scratch.path("shown.toml"), block_with("toml", "deadline = ")).unwrap();
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
fn the_sample_has_every_setting_with_its_default() {
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
    // Examples of a user's own.
    let nova = ["metadata_tags.flavor", "metadata_tags.project", "metadata_tags.user"];
    for key in ["tags.dc"].into_iter().chain(nova) {
        assert!(defaults.remove(key).is_some(), "{key}");
    }
    let ours: BTreeMap<String, String> = SETTINGS
        .iter()
        .map(|setting| (setting.path.to_owned(), setting.default.to_owned()))
        .collect();
    assert_eq!(defaults, ours, "the sample's");
    // The defaults are those of the code, too.
    for Setting { path, default, .. } in SETTINGS {
        let text = format!("{path} = {default}");
        let settings = parse(&text, Path::new("config.toml")).unwrap();
        let mut expected = Settings::default();
        if *path == "uris" {
            expected.uris = vec![DEFAULT_URI.to_owned()];
        }
        assert_eq!(settings, expected, "{text}");
    }
}

#[test]
fn the_table_of_settings_is_the_programs() {
    const HEAD: &str = "| setting | default | what |\n|---|---|---|\n";
    let mut rows: Vec<(String, &Setting)> = Vec::new();
    for setting in SETTINGS {
        let name = format!("`{}`", setting.path);
        match rows.last_mut() {
            Some((names, _)) if setting.what.is_empty() => *names += &format!(", {name}"),
            _ => rows.push((name, setting)),
        }
    }
    let row = |(names, setting): &(String, &Setting)| {
        format!("| {names} | `{}` | {} |\n", setting.default, setting.what)
    };
    let table: String = rows.iter().map(row).collect();
    let page = read(PAGE);
    let (before, rest) = page.split_once(HEAD).unwrap();
    let (told, after) = rest.split_once("\n\n").unwrap();
    if env::var_os("BLESS").is_some() {
        let text = format!("{before}{HEAD}{table}\n{after}");
        return fs::write(repository().join(PAGE), text).unwrap();
    }
    assert_eq!(format!("{told}\n"), table, "BLESS=1 cargo test --test offline readme writes it");
}

#[test]
fn the_ten_settings_of_the_readme_are_the_programs() {
    let rows = rows("README.md", "## Configuration");
    assert_eq!(rows.len(), 10);
    for row in rows {
        for name in quoted(&row["setting"]) {
            let setting = SETTINGS.iter().find(|setting| setting.path == name);
            let setting = setting.unwrap_or_else(|| panic!("no setting {name}"));
            assert_eq!(quoted(&row["default"]), [setting.default], "{name}");
        }
    }
}

#[test]
fn the_table_of_presets_is_the_programs() {
    let rows = rows(PAGE, "## Tags from metadata");
    let rows = rows.iter().filter(|row| row.contains_key("platform"));
    let told = rows.map(|row| (row["`metadata_preset`"].clone(), quoted(&row["tags"])));
    let programs = PRESETS.iter().map(|preset| {
        let tags = preset.tags.iter().map(|(tag, _)| (*tag).to_owned());
        (format!("`\"{}\"`", preset.name), tags.collect())
    });
    assert_eq!(told.collect::<Vec<_>>(), programs.collect::<Vec<_>>());
}

/// The fixture's host, two of whose guests were made by OpenStack Nova.
fn host_of_nova(scratch: &Scratch) {
    let metadata = |flavor: &str, project: &str| {
        format!(
            "<metadata><nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'>\
             <nova:flavor name='{flavor}'/><nova:owner><nova:user uuid='u'>admin</nova:user>\
             <nova:project uuid='p-{project}'>{project}</nova:project></nova:owner>\
             </nova:instance></metadata>"
        )
    };
    let mut node = fs::read_to_string(scratch.path("node.xml")).unwrap();
    for (name, metadata) in
        [("web-01", metadata("m1.small", "test")), ("db-01", metadata("r1", "shop"))]
    {
        let before = format!("<name>{name}</name>");
        assert_eq!(node.matches(&before).count(), 1);
        node = node.replace(&before, &format!("{before}{metadata}"));
    }
    fs::write(scratch.path("node.xml"), node).unwrap();
}

#[test]
fn each_example_of_a_filter_reads_what_is_said() {
    let all = "backup ci-runner-01 db-01 db-02 git ldap mail web-01 web-02 win-rdp";
    let guests: [(&str, &str); 6] = [
        ("include = ", "db-01 db-02 web-01 web-02"),
        ("exclude = ", "backup git win-rdp"),
        ("include_uuids = ", "mail web-01"),
        ("exclude_states = ", "ci-runner-01 db-01 db-02 git ldap mail web-01 web-02"),
        ("include_metadata = ", "web-01"),
        ("exclude_metadata = ", "backup ci-runner-01 db-01 db-02 git ldap mail web-02 win-rdp"),
    ];
    // The devices of web-01.
    let devices: [(&str, &str); 5] = [
        ("include_nics = ", "testnet1 vda vdb vdc"),
        ("exclude_nics = ", "vda vdb vdc"),
        ("include_disks = ", "testnet0 testnet1 vda"),
        ("exclude_disks = [\"path", "testnet0 testnet1 vda vdb"),
        ("exclude_disks = [\"*", "testnet0 testnet1"),
    ];
    let expected = guests.iter().chain(&devices);
    let examples = rows(PAGE, "## Which guests and devices");
    assert_eq!(examples.len(), guests.len() + devices.len());
    for (row, (start, expected)) in examples.iter().zip(expected) {
        let (table, example) = (&quoted(&row["table"])[0], &quoted(&row["example"])[0]);
        assert!(example.starts_with(start), "{example}");
        let scratch = Scratch::new();
        host_of_nova(&scratch);
        fs::write(scratch.path("filter.toml"), format!("{table}\n{example}\n")).unwrap();
        let lines = scratch.once(&["--config", "filter.toml"]);
        let of = |measurement: &str, tag: &str, guest: Option<&str>| {
            let lines = lines.iter().filter(|line| line.measurement == measurement);
            let lines = lines.filter(|line| guest.is_none_or(|guest| line.tag("name") == guest));
            lines.map(|line| line.tag(tag).to_owned()).collect::<Vec<_>>().join(" ")
        };
        if table == "[domains]" {
            assert_eq!(of("vm_metrics", "name", None), *expected, "{example}");
        } else {
            assert_eq!(of("vm_metrics", "name", None), all, "{example}");
            assert_eq!(of("vm_devices", "device", Some("web-01")), *expected, "{example}");
        }
    }
}

#[test]
fn the_metadata_tags_shown_are_those_of_the_sample_and_read_what_nova_writes() {
    let scratch = Scratch::new();
    host_of_nova(&scratch);
    let shown = block_with("toml", "[metadata_tags]");
    fs::write(scratch.path("shown.toml"), &shown).unwrap();
    let sample = read("src/config/sample.toml");
    for line in shown.lines().skip(1) {
        assert!(sample.contains(&format!("\n# {line}\n")), "{line}");
    }
    let lines = scratch.once(&["--config", "shown.toml"]);
    assert_ten_guests(&lines, 0);
    for line in &lines {
        let found = ["flavor", "project", "user"].map(|tag| line.find_tag(tag));
        let expected = match line.tag("name") {
            "web-01" => [Some("m1.small"), Some("p-test"), Some("admin")],
            "db-01" => [Some("r1"), Some("p-shop"), Some("admin")],
            _ => [None; 3],
        };
        assert_eq!(found, expected, "{line:?}");
    }
}

#[test]
fn the_page_names_every_option() {
    let help = run(Command::new(PROGRAM).arg("--help")).success().stdout;
    let options = |text: &str| -> BTreeSet<String> {
        let words = text.split_whitespace().filter(|word| word.starts_with("--"));
        words.map(str::to_owned).collect()
    };
    let (_, listed) = help.split_once("Options, ").unwrap();
    let (listed, _) = listed.split_once("Each command's own").unwrap();
    let page = read(PAGE);
    let (_, told) = page.split_once("Options take precedence over the file: ").unwrap();
    let (told, _) = told.split_once("\n\n").unwrap();
    // What only one command has stands in that command's own help, and in the page's table.
    assert_eq!(options(&quoted(told).join(" ")), options(listed));
    let all = telegraf_virt::cli::definition();
    for option in all.get_arguments().filter_map(|arg| arg.get_long()) {
        assert!(page.contains(&format!("--{option}")), "--{option}");
    }
    let version = run(Command::new(PROGRAM).arg("--version")).success().stdout;
    assert_eq!(version, format!("telegraf-virt {}\n", env!("CARGO_PKG_VERSION")));
}
