//! Command lines, right and wrong.

use super::*;

fn read(arguments: &[&str]) -> Cli {
    let all = std::iter::once("telegraf-virt").chain(arguments.iter().copied());
    parse(all.map(OsString::from)).unwrap_or_else(|exit| panic!("{arguments:?}: {exit:?}"))
}

fn text(arguments: &[&str]) -> String {
    let all = std::iter::once("telegraf-virt").chain(arguments.iter().copied());
    match parse(all.map(OsString::from)) {
        Err(CliExit::Text(text)) => text,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

#[test]
fn options_stand_before_or_after_the_command() {
    let options = ["-u", "a", "--deadline", "2s", "--log-level", "debug"];
    let orders = [
        vec!["-u", "b", "execd", "-u", "a", "--deadline", "2s", "--log-level", "debug"],
        [&["-u", "b"], &options[..], &["execd"]].concat(),
        [&["execd", "-u", "b"], &options[..]].concat(),
    ];
    for arguments in orders {
        let cli = read(&arguments);
        assert_eq!(cli.command, Command::Execd);
        assert_eq!(cli.uris, ["b", "a"]);
        assert_eq!(cli.deadline, Some(Duration::from_secs(2)));
        assert_eq!(cli.log_level(), Level::Debug);
    }
}

#[test]
fn without_a_command_it_is_once() {
    assert_eq!(read(&[]).command, Command::Once);
    for command in Command::ALL {
        let file = (command == Command::Record).then_some("file");
        let arguments: Vec<&str> = [command.name()].into_iter().chain(file).collect();
        assert_eq!(read(&arguments).command, command);
    }
}

#[test]
fn execd_tells_more_than_the_others() {
    let levels = Command::ALL.map(|command| {
        let file = (command == Command::Record).then_some("file");
        read(&[command.name()].into_iter().chain(file).collect::<Vec<_>>()).log_level()
    });
    let (info, warn) = (Level::Info, Level::Warn);
    assert_eq!(levels, [warn, info, warn, info, warn, warn, warn]);
    for (name, level) in [
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
    ] {
        assert_eq!(read(&["execd", "--log-level", name]).log_level(), level);
    }
}

#[test]
fn an_interval_is_for_execd() {
    let cli = read(&["--interval", "1m30s", "execd"]);
    assert_eq!(cli.interval, Some(Duration::from_secs(90)));
}

#[test]
fn a_format_is_for_once() {
    assert_eq!(read(&[]).format, Format::Influx);
    for (name, format) in [("influx", Format::Influx), ("table", Format::Table)] {
        assert_eq!(read(&["--format", name, "once"]).format, format);
        assert_eq!(read(&["--format", name]).format, format);
    }
}

#[test]
fn options_stand_over_the_file_and_that_over_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    let file = "uris = ['file:///']\ndeadline = '9s'\nworkers = 2\ncache.dir = '/file'";
    std::fs::write(&path, file).unwrap();
    let path = path.to_str().unwrap();
    let environment =
        |name: &str| (name == config::URI_VARIABLE).then(|| OsString::from("variable:///"));

    let (settings, from) = read(&["-c", path]).settings(&environment).unwrap();
    assert_eq!(from.as_deref(), Some(std::path::Path::new(path)));
    assert_eq!(settings.uris, ["file:///"]);
    assert_eq!(settings.deadline, Duration::from_secs(9));
    assert_eq!(settings.cache.dir, Some(PathBuf::from("/file")));
    assert!(settings.cache.enabled);

    let options = ["-c", path, "-u", "b:///", "-u", "a:///", "--deadline", "1s"];
    let cli = read(&[&options[..], &["--cache-dir", "here"]].concat());
    let (settings, _) = cli.settings(&environment).unwrap();
    assert_eq!(settings.uris, ["b:///", "a:///"]);
    assert_eq!(settings.deadline, Duration::from_secs(1));
    assert_eq!(settings.cache.dir, Some(PathBuf::from("here")));
    assert_eq!(settings.workers, 2);

    let (settings, _) = read(&["-c", path, "--no-cache"]).settings(&environment).unwrap();
    assert!(!settings.cache.enabled);

    std::fs::write(path, "").unwrap();
    let (settings, _) = read(&["-c", path]).settings(&environment).unwrap();
    assert_eq!(settings.uris, ["variable:///"]);
}

#[test]
fn every_help_fits_a_screen_and_the_main_one_leaves_room_for_the_prompt() {
    for (arguments, rows) in [
        (&["--help"][..], 23),
        (&["once", "-h"], 24),
        (&["execd", "-h"], 24),
        (&["check", "-h"], 24),
        (&["record", "-h"], 24),
        (&["events", "-h"], 24),
        (&["anomalies", "-h"], 24),
        (&["config", "-h"], 24),
    ] {
        let help = text(arguments);
        assert!(help.lines().count() <= rows, "{arguments:?}: {}", help.lines().count());
        for line in help.lines() {
            assert!(line.chars().count() < 80, "{arguments:?} has a wide line: {line}");
        }
    }
}

#[test]
fn the_help_has_every_option_and_a_command_only_its_own() {
    let help = text(&["--help"]);
    for option in Cli::command().get_arguments().filter_map(clap::Arg::get_long) {
        let offer: Vec<Command> =
            Command::ALL.into_iter().filter(|command| command.offers(option)).collect();
        // What only one or two commands have stands in their help, so that this one fits a screen.
        let where_to = match offer[..] {
            [command] | [command, _] => text(&[command.name(), "--help"]),
            _ => help.clone(),
        };
        assert!(where_to.contains(&format!("--{option} ")), "--{option} is missing: {where_to}");
    }
    for command in Command::ALL {
        assert!(help.contains(&format!("\n  {} ", command.name())), "{}", command.name());
    }
    assert!(text(&["execd", "-h"]).contains("--interval <TIME>"));
    assert!(!text(&["once", "-h"]).contains("--interval"));
    assert!(!text(&["check", "-h"]).contains("--interval"));
    assert!(text(&["once", "-h"]).contains("--format <FORMAT>"));
    assert!(!text(&["execd", "-h"]).contains("--format"));
    assert!(!text(&["check", "-h"]).contains("--format"));
    assert!(text(&["check", "-h"]).contains("--json"));
    assert!(!text(&["once", "-h"]).contains("--json"));
    assert!(!text(&["execd", "-h"]).contains("--json"));
    assert!(!text(&["config", "-h"]).contains("--uri"));
}

#[test]
fn what_a_command_line_cannot_mean_is_refused() {
    let told = |arguments: &[&str]| {
        let all = std::iter::once("telegraf-virt").chain(arguments.iter().copied());
        match parse(all.map(OsString::from)) {
            Err(CliExit::Refused(message)) => message,
            other => panic!("{arguments:?}: {other:?}"),
        }
    };
    let does_nothing = "does nothing for config, which only prints the sample: leave it out";
    for (option, value) in [
        ("--config", Some("x")),
        ("--uri", Some("x")),
        ("--cache-dir", Some("x")),
        ("--no-cache", None),
        ("--deadline", Some("4s")),
        ("--interval", Some("4s")),
        ("--format", Some("table")),
        ("--samples", Some("3")),
        ("--anonymize", None),
        ("--json", None),
        ("--log-level", Some("info")),
    ] {
        let arguments: Vec<&str> = ["config", option].into_iter().chain(value).collect();
        assert_eq!(told(&arguments), format!("{option} {does_nothing}"));
    }
}

#[test]
fn record_takes_a_file_and_its_own_options() {
    let cli = read(&["--anonymize", "record", "a b", "--samples", "5", "--interval", "10s"]);
    assert_eq!(cli.command, Command::Record);
    let settings = Settings { uris: vec!["test:///default".to_owned()], ..Settings::default() };
    let told = cli.recording(&settings);
    assert_eq!((told.uri, told.file), ("test:///default", Path::new("a b")));
    assert_eq!((told.moments, told.every), (Some(5), Some(Duration::from_secs(10))));
    assert!(told.anonymize);
}

#[test]
fn record_reads_one_hypervisor_of_a_file_that_names_several() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, "uris = ['a:///', 'b:///']").unwrap();
    let path = path.to_str().unwrap();
    let refused = read(&["record", "-", "-c", path]).settings(&|_| None).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "uris names 2 hypervisors, but record reads one hypervisor: choose it with --uri"
    );
    let (settings, _) = read(&["record", "-", "-c", path, "-u", "c"]).settings(&|_| None).unwrap();
    assert_eq!(settings.uris, ["c"]);
}
