//! The man page and the completions, made anew: nothing that the program takes is missing there.

#[path = "../../packaging/pages.rs"]
mod made;

use std::fs;
use std::path::Path;

use crate::support::pages;
use telegraf_virt::cli::{self, Command};
use telegraf_virt::{check, config};

/// The contract's options.
const OPTIONS: [(&str, Option<char>); 21] = [
    ("config", Some('c')),
    ("uri", Some('u')),
    ("cache-dir", None),
    ("no-cache", None),
    ("deadline", None),
    ("interval", None),
    ("format", None),
    ("sort", None),
    ("top", None),
    ("watch", None),
    ("include", None),
    ("exclude", None),
    ("extra", None),
    ("features", None),
    ("effective", None),
    ("json", None),
    ("samples", None),
    ("anonymize", None),
    ("log-level", None),
    ("help", Some('h')),
    ("version", Some('V')),
];

fn made() -> impl Fn(&str) -> String {
    let folder = tempfile::tempdir().unwrap();
    made::write(folder.path()).unwrap();
    move |name| fs::read_to_string(folder.path().join(name)).unwrap()
}

/// The page's words, without what only sets their type.
fn plain(page: &str) -> String {
    let text = page.replace("\\fB", "").replace("\\fI", "").replace("\\fR", "");
    text.replace("\\-", "-").replace("\\&", "").replace("\\*(Aq", "'")
}

#[track_caller]
fn section<'a>(page: &'a str, title: &str) -> &'a str {
    let heading = if title.contains(' ') { format!("\"{title}\"") } else { title.to_owned() };
    let found = page.split_once(&format!("\n.SH {heading}\n"));
    let (_, below) = found.unwrap_or_else(|| panic!("the page has no section {title}:\n{page}"));
    below.split_once("\n.SH ").map_or(below, |(section, _)| section)
}

#[test]
fn the_options_are_those_of_the_contract() {
    let definition = cli::definition();
    let defined: Vec<(&str, Option<char>)> = definition
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?, arg.get_short())))
        .collect();
    assert_eq!(defined, OPTIONS);
}

#[test]
fn the_man_page_names_every_option_and_command() {
    let page = plain(&made()("telegraf-virt.1"));
    let options = section(&page, "OPTIONS");
    for (long, short) in OPTIONS {
        let title = match short {
            Some(short) => format!("\n-{short}, --{long}"),
            None => format!("\n--{long}"),
        };
        let (_, below) = options.split_once(&title).unwrap_or_else(|| panic!("{title}: {options}"));
        // More than the help's few words stands below its title.
        let text = below.lines().nth(1).unwrap();
        assert!(text.ends_with('.'), "{title}: {text}");
    }
    for command in Command::ALL.map(Command::name) {
        assert!(section(&page, "COMMANDS").contains(&format!("\n{command}\n")), "{command}");
        assert!(section(&page, "SYNOPSIS").contains(command), "{command}");
        assert!(section(&page, "EXAMPLES").contains(&format!(".SS {command}\n")), "{command}");
    }
    assert!(section(&page, "NAME").starts_with("telegraf-virt - prints every libvirt guest's"));
}

#[test]
fn the_man_page_tells_of_files_variables_and_exit_codes_as_the_pages_do() {
    let page = plain(&made()("telegraf-virt.1"));
    let pages: String = pages::all().iter().map(|page| pages::read(page)).collect();
    let files = section(&page, "FILES");
    assert!(files.contains(config::SYSTEM_FILE));
    let places = [
        "$CACHE_DIRECTORY",
        "/var/cache/telegraf-virt",
        "/var/lib/telegraf/telegraf-virt",
        "$XDG_CACHE_HOME/telegraf-virt",
        "~/.cache/telegraf-virt",
    ];
    let found: Vec<usize> = places
        .iter()
        .map(|place| {
            files.find(&format!("\n{place}\n")).unwrap_or_else(|| panic!("{place}: {files}"))
        })
        .collect();
    assert!(found.is_sorted(), "{found:?} in {files}");

    let environment = section(&page, "ENVIRONMENT");
    let variables = [
        config::FILE_VARIABLE,
        config::URI_VARIABLE,
        "CACHE_DIRECTORY",
        "XDG_CACHE_HOME",
        "XDG_RUNTIME_DIR",
        "COLUMNS",
        "NO_COLOR",
        check::TELEGRAF_FILE_VARIABLE,
    ];
    for variable in variables {
        assert!(environment.contains(variable), "{variable}: {environment}");
    }
    // Every variable of the environment in the pages is one of these.
    for (_, rest) in pages.match_indices("`$").map(|(at, _)| pages.split_at(at + 2)) {
        let name: String =
            rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
        // A lone $ is a sign of a pattern.
        let is_known = name.is_empty() || variables.contains(&name.as_str());
        assert!(is_known, "${name} of the pages");
    }

    let status = section(&page, "EXIT STATUS");
    for title in [
        "0, of once",
        "1, of once",
        "0, of execd",
        "1, of execd",
        "0, of check",
        "1, of check",
        "0, of record",
        "1, of record",
        "2",
    ] {
        assert!(status.contains(&format!("\n{title}\n")), "{title}: {status}");
    }
}

#[test]
fn the_completions_of_each_shell_name_every_option_and_command() {
    let made = made();
    for (name, short, long) in [
        ("telegraf-virt.bash", "-", "--"),
        ("_telegraf-virt", "-", "--"),
        ("telegraf-virt.fish", "-s ", "-l "),
    ] {
        let text = made(name);
        for (option, letter) in OPTIONS {
            assert!(text.contains(&format!("{long}{option}")), "{name}: {option}");
            if let Some(letter) = letter {
                assert!(text.contains(&format!("{short}{letter}")), "{name}: {letter}");
            }
        }
        let values = ["error", "warn", "info", "debug", "influx", "table"];
        for word in Command::ALL.map(Command::name).iter().chain(&values) {
            assert!(text.contains(word), "{name}: {word}");
        }
    }
}

#[test]
fn the_package_takes_each_file_from_the_one_place_where_it_stands() {
    let manifest =
        toml::from_str::<toml::Table>(&fs::read_to_string("Cargo.toml").unwrap()).unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    let assets: Vec<(&str, &str)> = assets
        .iter()
        .map(|asset| (asset[0].as_str().unwrap(), asset[1].as_str().unwrap()))
        .collect();
    assert!(
        assets.contains(&("src/config/sample.toml", "etc/telegraf-virt/config.toml")),
        "{assets:?}"
    );
    assert_eq!(fs::read_to_string("src/config/sample.toml").unwrap(), config::SAMPLE);
    // A sample in which every line is a remark or the head of a table changes nothing.
    let settings = config::parse(config::SAMPLE, Path::new("sample.toml")).unwrap();
    assert_eq!(settings, config::Settings::default());
}
