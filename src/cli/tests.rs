//! Command lines, right and wrong.

use std::path::Path;

use super::*;
use crate::config::Settings;

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
    let options = ["-u", "a:///", "--deadline", "2s", "--log-level", "debug"];
    let orders = [
        vec!["-u", "b:///", "execd", "-u", "a:///", "--deadline", "2s", "--log-level", "debug"],
        [&["-u", "b:///"], &options[..], &["execd"]].concat(),
        [&["execd", "-u", "b:///"], &options[..]].concat(),
    ];
    for arguments in orders {
        let cli = read(&arguments);
        assert_eq!(cli.command, Command::Execd);
        assert_eq!(cli.uris, ["b:///", "a:///"]);
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
    assert_eq!(read(&[]).view.format, Format::Influx);
    for (name, format) in [("influx", Format::Influx), ("table", Format::Table)] {
        assert_eq!(read(&["--format", name, "once"]).view.format, format);
        assert_eq!(read(&["--format", name]).view.format, format);
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
            [command, ..] if help::IN_COMMANDS.contains(&option) => {
                text(&[command.name(), "--help"])
            }
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
    let does_nothing = "does nothing for config, which only prints the sample: omit it";
    for (option, value) in [
        ("--config", Some("x")),
        ("--uri", Some("x:///")),
        ("--cache-dir", Some("x")),
        ("--no-cache", None),
        ("--deadline", Some("4s")),
        ("--interval", Some("4s")),
        ("--format", Some("table")),
        ("--samples", Some("3")),
        ("--anonymize", None),
        ("--json", None),
        ("--sort", Some("cpu")),
        ("--top", Some("3")),
        ("--watch", None),
        ("--include", Some("a*")),
        ("--exclude", Some("a*")),
        ("--extra", Some("info")),
        ("--features", Some("net,disk")),
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
    let (settings, _) =
        read(&["record", "-", "-c", path, "-u", "c:///"]).settings(&|_| None).unwrap();
    assert_eq!(settings.uris, ["c:///"]);
}

#[test]
fn what_was_meant_for_another_program_is_named() {
    let told = |arguments: &[&str]| {
        let all = std::iter::once("telegraf-virt").chain(arguments.iter().copied());
        match parse(all.map(OsString::from)) {
            Err(CliExit::Refused(message)) => message,
            other => panic!("{arguments:?}: {other:?}"),
        }
    };
    for (arguments, message) in [
        (
            &["-c", "qemu:///system"][..],
            "--config is \"qemu:///system\", but that is a URI: write --uri \
          \"qemu:///system\"",
        ),
        (&["--connect", "qemu:///system"], "unknown option \"--connect\"; write --uri URI"),
        (&["--once"], "unknown option \"--once\"; write telegraf-virt once"),
        (
            &["--test"],
            "unknown option \"--test\"; write telegraf-virt once, or telegraf-virt check to \
             diagnose the setup",
        ),
        (&["list"], "unknown command \"list\"; did you mean once --format table?"),
        (
            &["-u", "kvm1"],
            "--uri is \"kvm1\", but must be a libvirt URI, such as qemu:///system: for \
          another host write qemu+ssh://kvm1/system",
        ),
        (
            &["-u", "ssh://kvm1"],
            "--uri is \"ssh://kvm1\", but must name the driver, too: write \
          qemu+ssh://kvm1/system",
        ),
        (
            &["-u", "a:///x,b:///y"],
            "--uri is \"a:///x,b:///y\", but must be one URI: give each its own \
          --uri, or its own string in uris",
        ),
        (
            &["--config", "~/c.toml"],
            "--config is \"~/c.toml\", but ~ is not expanded here: write the full path",
        ),
        (
            &["--cache-dir", "$HOME/cache"],
            "--cache-dir is \"$HOME/cache\", but $HOME is not expanded here: write the full path",
        ),
        (
            &["record", "${X}/file"],
            "FILE is \"${X}/file\", but ${X} is not expanded here: write the full path",
        ),
        (
            &["--deadline", "0"],
            "--deadline is \"0\", but must be a time with its unit, from 100ms to 10m",
        ),
    ] {
        assert_eq!(told(arguments), message);
    }
}

#[test]
fn help_is_of_a_command_that_there_is() {
    let told = |arguments: &[&str]| {
        let all = ["telegraf-virt", "help"].into_iter().chain(arguments.iter().copied());
        parse(all.map(OsString::from)).unwrap_err()
    };
    for command in Command::ALL {
        assert_eq!(told(&[command.name()]), CliExit::Text(text(&[command.name(), "--help"])));
    }
    assert_eq!(told(&[]), CliExit::Text(text(&["--help"])));
    let refused = |text: &str| CliExit::Refused(text.to_owned());
    assert_eq!(
        told(&["NONSENSE"]),
        refused(
            "unknown command \"NONSENSE\"; the commands are once, execd, check, record, events, \
             anomalies, config"
        )
    );
    assert_eq!(told(&["chek"]), refused("unknown command \"chek\"; did you mean check?"));
    for words in [&["once", "more"][..], &["--json"]] {
        assert!(
            matches!(told(words), CliExit::Refused(text) if text.contains("unexpected argument"))
        );
    }
}

#[test]
fn options_of_the_table_mean_the_table() {
    let view = |arguments: &[&str]| read(arguments).view;
    let table = View { format: Format::Table, ..View::default() };
    let two = Some(Duration::from_secs(2));
    assert_eq!(view(&["--sort", "CPU"]), View { sort: Some(Column::Cpu), ..table });
    assert_eq!(view(&["--top", "3", "once"]), View { top: Some(3), ..table });
    assert_eq!(view(&["--watch"]), View { watch: two, ..table });
    assert_eq!(view(&["--watch", "once"]), View { watch: two, ..table });
    assert_eq!(
        view(&["once", "--watch", "--top", "1"]),
        View { watch: two, top: Some(1), ..table }
    );
    let half = Some(Duration::from_millis(500));
    assert_eq!(view(&["--watch", "500ms", "once"]), View { watch: half, ..table });
    assert_eq!(view(&["--watch=500ms"]), View { watch: half, ..table });
    let refused = |arguments: &[&str]| {
        let all = std::iter::once("telegraf-virt").chain(arguments.iter().copied());
        match parse(all.map(OsString::from)) {
            Err(CliExit::Refused(message)) => message,
            other => panic!("{arguments:?}: {other:?}"),
        }
    };
    assert_eq!(
        refused(&["--format", "influx", "--top", "3"]),
        "--top is for the table: write --format table, or omit it"
    );
    assert_eq!(
        refused(&["--sort", "memory"]),
        "--sort is \"memory\", but must be guest, vcpus, cpu, steal, mem, used, avail, rx, tx, read, write, \
         rd-req or wr-req; did you mean mem?"
    );
    assert_eq!(refused(&["--top", "0"]), "--top is \"0\", but must be a whole number from 1 on");
    assert!(refused(&["--watch", "2"]).starts_with("--watch is \"2\", but must have a unit"));
    assert!(refused(&["execd", "--watch"]).starts_with("--watch belongs to once"));
}

#[test]
fn options_replace_lists_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    let file = "extra = ['info']\nfeatures = ['net']\n[domains]\ninclude = ['a*']\nexclude = ['b']";
    std::fs::write(&path, file).unwrap();
    let settings = |options: &[&str]| {
        let all = [&["-c", path.to_str().unwrap()], options].concat();
        read(&all).settings(&|_| None).map(|(settings, _)| settings)
    };
    let parsed = |text: &str| config::parse(text, &path).unwrap();
    let domains = |text: &str| parsed(text).domains;
    let replaced = settings(&["--include", "we\"b*", "--include", "{x,y}"]).unwrap();
    assert_eq!(
        replaced.domains,
        domains("domains = {include = ['we\"b*', '{x,y}'], exclude = ['b']}")
    );
    let replaced = settings(&["--exclude", "c"]).unwrap();
    assert_eq!(replaced.domains, domains("domains = {include = ['a*'], exclude = ['c']}"));
    let replaced = settings(&["--extra", "vcpus,jobs", "--features", "disk,cpu"]).unwrap();
    assert_eq!(replaced.extra, parsed("extra = ['vcpus', 'jobs']").extra);
    assert_eq!(replaced.features, parsed("features = ['disk', 'cpu']").features);
    let refused = |options: &[&str]| settings(options).unwrap_err().to_string();
    assert_eq!(
        refused(&["--features", "net,dsik"]),
        "--features contains \"dsik\", but each entry must be \"net\", \"disk\", \"cpu\", \"latency\" or \
         \"balloon\"; did you mean \"disk\"?"
    );
    assert_eq!(
        refused(&["--include", "a["]),
        "--include contains \"a[\", but that pattern has a [ without its ]"
    );
}

#[test]
fn the_settings_in_force_are_printed_with_where_each_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let later = folder.path().join("config.d");
    std::fs::create_dir(&later).unwrap();
    std::fs::write(&path, "workers = 2\nmissing = 'omit'\n[tags]\ndc = 'a'\nrack = '1'\n").unwrap();
    std::fs::write(later.join("20.toml"), "# x\nworkers = 6\n[tags]\ndc = 'c'\n").unwrap();
    std::fs::write(later.join("10.toml"), "workers = 5\nextra = [\n 'info', # x\n]\n").unwrap();
    std::fs::write(later.join("30.toml.example"), "workers = 9\n").unwrap();
    std::fs::write(later.join(".40.toml"), "workers = 9\n").unwrap();
    let variable = |name: &str| (name == config::URI_VARIABLE).then(|| OsString::from("test:///x"));
    let file = path.to_str().unwrap();
    let cli = read(&["config", "--effective", "-c", file, "--deadline", "2s", "--include", "a*"]);
    let text = cli.configuration(&variable).unwrap();
    let folder = folder.path().display();
    for line in [
        format!("# telegraf-virt {}; configuration: {file}", env!("CARGO_PKG_VERSION")),
        "uris = [\"test:///x\"] # $LIBVIRT_DEFAULT_URI".to_owned(),
        "deadline = \"2s\" # --deadline".to_owned(),
        format!("workers = 6 # {folder}/config.d/20.toml, line 2"),
        format!("missing = 'omit' # {file}, line 2"),
        format!("extra = [\"info\"] # {folder}/config.d/10.toml, line 2"),
        "features = [] # default".to_owned(),
        "include = [\"a*\"] # --include".to_owned(),
        format!("\"dc\" = 'c' # {folder}/config.d/20.toml, line 4"),
        format!("\"rack\" = '1' # {file}, line 5"),
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is missing:\n{text}");
    }
    // It is the configuration itself.
    let (settings, _) = cli.settings(&variable).unwrap();
    assert_eq!(config::parse(&text, &path).unwrap(), settings);
    // A mistake in any of them is one, and all are reported.
    std::fs::write(later.join("20.toml"), "workers = 'x'\n").unwrap();
    std::fs::write(&path, "wrokers = 2\n").unwrap();
    let told = read(&["-c", file]).settings(&variable).unwrap_err().to_string();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert!(lines[0].contains("/config.toml, line 1: unknown key wrokers"), "{told}");
    assert!(lines[1].contains("/config.d/20.toml, line 1: workers is"), "{told}");
}
