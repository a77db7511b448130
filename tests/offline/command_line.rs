//! Bad input of options and configuration, through the real binary: each gives its one clear line
//! and exit code 2 before any work, and nothing on standard output.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program with these arguments, in an environment of nothing but `variables`.
fn run(arguments: &[&OsStr], variables: &[(&str, &OsStr)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_telegraf-virt"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// The one line of a refusal, without its newline.
#[track_caller]
fn refused(arguments: &[&OsStr], variables: &[(&str, &OsStr)]) -> String {
    let output = run(arguments, variables);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let all = format!("{arguments:?} {variables:?}: {}\n{told}", output.status);
    assert_eq!(output.status.code(), Some(2), "{all}");
    assert_eq!(output.stdout, b"", "standard output of {all}");
    assert!(told.starts_with("E! ") && told.ends_with('\n'), "{all}");
    assert_eq!(told.lines().count(), 1, "{all}");
    assert!(told.len() < 500, "{} bytes: {all}", told.len());
    told.trim_end_matches('\n').to_owned()
}

fn words<'a>(arguments: &'a [&'a str]) -> Vec<&'a OsStr> {
    arguments.iter().map(OsStr::new).collect()
}

#[test]
fn a_bad_command_line_gives_one_line_and_exit_code_2() {
    let cases: [(&[&str], &str); 55] = [
        (&["onc"], "E! unknown command \"onc\"; did you mean once?"),
        (&["exec"], "E! unknown command \"exec\"; did you mean execd?"),
        (&["versoin"], "E! unknown command \"versoin\"; did you mean --version?"),
        (&["halp"], "E! unknown command \"halp\"; did you mean --help?"),
        (&["table"], "E! unknown command \"table\"; did you mean once --format table?"),
        (&["--json"], "E! --json belongs to check, not to once, as in telegraf-virt check --json"),
        (
            &["execd", "--json"],
            "E! --json belongs to check, not to execd, as in telegraf-virt check --json",
        ),
        (
            &["--log-level", "warning"],
            "E! --log-level is \"warning\", but must be error, warn, info or debug; did you mean warn?",
        ),
        (
            &[""],
            "E! unknown command \"\"; the commands are once, execd, check, record, events, \
             anomalies, config",
        ),
        (
            &["once", "execd"],
            "E! unexpected argument \"execd\"; telegraf-virt --help shows what may stand",
        ),
        (&["--deadlin", "4s"], "E! unknown option \"--deadlin\"; did you mean --deadline?"),
        (&["check", "--configs=x"], "E! unknown option \"--configs\"; did you mean --config?"),
        (&["--formt", "table"], "E! unknown option \"--formt\"; did you mean --format?"),
        (&["--format"], "E! --format has no value: write --format FORMAT"),
        (
            &["--format", "tabel"],
            "E! --format is \"tabel\", but must be influx, table or json; did you mean table?",
        ),
        (&["--format", "yaml"], "E! --format is \"yaml\", but must be influx, table or json"),
        (
            &["execd", "--format", "table"],
            "E! --format belongs to once and events, not to execd, as in telegraf-virt once \
             --format table",
        ),
        (
            &["--format", "influx", "check"],
            "E! --format belongs to once and events, not to check, as in telegraf-virt once \
             --format table",
        ),
        (&["-x"], "E! unknown option \"-x\"; telegraf-virt --help lists them"),
        (&["--a\nE! b"], "E! unknown option \"--a\\nE! b\"; telegraf-virt --help lists them"),
        (
            &["record"],
            "E! record has no file: write telegraf-virt record FILE, or - for standard output",
        ),
        (
            &["record", "a", "b"],
            "E! unexpected argument \"b\"; telegraf-virt --help shows what may stand",
        ),
        (&["recrod", "a"], "E! unknown command \"recrod\"; did you mean record?"),
        (
            &["record", "-", "-u", "a:///", "-u", "b:///"],
            "E! record reads one hypervisor: give one --uri",
        ),
        (
            &["record", "-", "--no-cache"],
            "E! --no-cache does nothing for record, which neither reads nor stores anything there: \
             omit it",
        ),
        (
            &["record", "-", "--samples", "0"],
            "E! --samples is \"0\", but must be a whole number from 1 to 1000",
        ),
        (
            &["--anonymize"],
            "E! --anonymize belongs to record, not to once, as in telegraf-virt record --anonymize \
             FILE",
        ),
        (
            &["check", "--samples", "2"],
            "E! --samples belongs to record, not to check, as in telegraf-virt record --samples 5 FILE",
        ),
        (&["-c"], "E! --config has no value: write --config FILE"),
        (&["--config="], "E! --config has no value: write --config FILE"),
        (&["once", "--uri"], "E! --uri has no value: write --uri URI"),
        (&["--cache-dir", ""], "E! --cache-dir has no value: write --cache-dir DIR"),
        (&["--log-level"], "E! --log-level has no value: write --log-level LEVEL"),
        (
            &["--log-level", "verbose"],
            "E! --log-level is \"verbose\", but must be error, warn, info or debug",
        ),
        (&["--deadline", "4"], "E! --deadline is \"4\", but must have a unit, such as 4s"),
        (&["--deadline", "0s"], "E! --deadline is \"0s\", but must be from 100ms to 10m"),
        (&["--deadline", "-4s"], "E! --deadline is \"-4s\", but must not be negative"),
        (&["--deadline", "1h"], "E! --deadline is \"1h\", but must be from 100ms to 10m"),
        (
            &["--deadline", "soon"],
            "E! --deadline is \"soon\", but must be a time such as 500ms, 4s, 5m or 1h30m",
        ),
        (
            &["--deadline", "--no-cache"],
            "E! --deadline is \"--no-cache\", but must be a time such as 500ms, 4s, 5m or 1h30m",
        ),
        (
            &["execd", "--interval", "99999999999999999999999h"],
            "E! --interval is \"99999999999999999999999h\", but must be from 100ms to 1d",
        ),
        (
            &["--interval", "10s"],
            "E! --interval belongs to execd and record, not to once, as in telegraf-virt execd \
             --interval 10s",
        ),
        (
            &["--interval", "1m30s", "check"],
            "E! --interval belongs to execd and record, not to check, as in telegraf-virt execd \
             --interval 10s",
        ),
        (
            &["--deadline", "4s", "once", "--deadline", "5s"],
            "E! --deadline is given twice: omit one",
        ),
        (&["--no-cache", "--no-cache"], "E! --no-cache is given twice: omit one"),
        (&["--no-cache=yes"], "E! --no-cache takes no value: write --no-cache alone"),
        (
            &["--no-cache", "--cache-dir", "/x"],
            "E! --no-cache and --cache-dir exclude each other: omit one",
        ),
        (
            &["-u", ""],
            "E! --uri is \"\", but must be a libvirt URI without spaces, such as qemu:///system",
        ),
        (
            &["-u", "qemu:///system\n"],
            "E! --uri is \"qemu:///system\\n\", but must be a libvirt URI without spaces, such as \
             qemu:///system",
        ),
        (&["-u", "a:///", "once", "-u", "a:///"], "E! --uri \"a:///\" is given twice: omit one"),
        (
            &["config", "-u", "a:///"],
            "E! --uri does nothing for config, which only prints the sample: omit it",
        ),
        (
            &["config", "--config", "x"],
            "E! --config does nothing for config, which only prints the sample: omit it",
        ),
        (
            &["config", "--format", "table"],
            "E! --format does nothing for config, which only prints the sample: omit it",
        ),
        (
            &["--log-level", "info", "config"],
            "E! --log-level does nothing for config, which only prints the sample: omit it",
        ),
        (
            &["-c", "/absent/c.toml"],
            "E! cannot read the configuration /absent/c.toml (from --config): no such file; \
             telegraf-virt config > FILE writes a sample",
        ),
    ];
    for (arguments, line) in cases {
        assert_eq!(refused(&words(arguments), &[]), line, "of {arguments:?}");
    }
}

#[test]
fn arguments_that_are_no_text_are_told_too() {
    let bytes = OsStr::from_bytes(b"\xff\xfe");
    let option = OsStr::from_bytes(b"--\xff");
    let cases = [
        (
            vec![bytes],
            "E! unknown command \"��\"; the commands are once, execd, check, record, events, \
             anomalies, config",
        ),
        (vec![option], "E! unknown option \"--�\"; telegraf-virt --help lists them"),
        (vec![OsStr::new("-u"), bytes], "E! --uri is \"��\", but must be UTF-8 text"),
        (vec![OsStr::new("--deadline"), bytes], "E! --deadline is \"��\", but must be UTF-8 text"),
        (
            vec![OsStr::new("-c"), OsStr::from_bytes(b"/absent/\xff")],
            "E! cannot read the configuration /absent/� (from --config): no such file; \
             telegraf-virt config > FILE writes a sample",
        ),
    ];
    for (arguments, line) in cases {
        assert_eq!(refused(&arguments, &[]), line);
    }
}

#[test]
fn a_long_argument_is_not_repeated_whole() {
    let long = "é".repeat(50_000);
    for arguments in [
        vec![long.as_str()],
        vec!["once", &long],
        vec!["--deadline", &long],
        vec!["-u", &format!("{long} ")],
        vec!["-c", &long],
        vec![&format!("--{long}")],
        vec!["-u", &long, "-u", &long],
    ] {
        let line = refused(&words(&arguments), &[]);
        assert!(line.contains("é…") || line.contains("…é"), "{line}");
    }
}

#[test]
fn a_bad_configuration_gives_one_line_and_exit_code_2() {
    let cases: [(&str, &str); 18] = [
        ("worker = 4", "line 1: unknown key worker; did you mean workers?"),
        ("[cach]", "line 1: unknown table [cach]; did you mean cache?"),
        ("\nworkers = 0", "line 2: workers is 0, but must be a whole number from 1 to 64"),
        (
            "workers = \"4\"",
            "line 1: workers is \"4\", but must be a whole number from 1 to 64, without quotes",
        ),
        ("deadline = \"1h\"", "line 1: deadline is \"1h\", but must be from 100ms to 10m"),
        (
            "deadline = 4s",
            "line 1: not valid TOML (string values must be quoted, expected literal string): deadline = 4s; \
             did you mean \"4s\", with these quotes?",
        ),
        ("missing = \"null\"", "line 1: missing is \"null\", but must be \"zero\" or \"omit\""),
        (
            "features = [\"nett\"]",
            "line 1: features contains \"nett\", but each entry must be \"net\", \"disk\", \"cpu\", \
             \"latency\" or \"balloon\"; did you mean \"net\"?",
        ),
        (
            "extra = [\"pref\"]",
            "line 1: extra contains \"pref\", but each entry must be one of the 30 names that \
             `telegraf-virt config` lists; did you mean \"perf\"?",
        ),
        (
            "uris = []\n[domains]\ninclude = [\"web[\"]",
            "line 3: domains.include contains \"web[\", but that pattern has a [ without its ]",
        ),
        (
            "[tags]\nuuid = \"x\"",
            "line 2: tags.uuid cannot be a tag, because the output has a tag or a field of that \
             name: choose another name",
        ),
        (
            "[tags]\ntime = \"x\"",
            "line 2: tags.time cannot be a tag, because InfluxDB reserves that name: choose \
             another name",
        ),
        (
            "[tags]\ndc = \"\"",
            "line 2: tags.dc is \"\", but a tag must have a value: write one, or omit the tag",
        ),
        (
            "[metadata_tags]\nproject = \"//nova:project[1]\"",
            "line 2: metadata_tags.project is \"//nova:project[1]\", but that path has the step \
             nova:project[1], which is none: a step is an element's name, with {URI} before it or \
             [@name='value'] after it where that is wanted, and the last one may be an @attribute",
        ),
        (
            "[domains]\nexclude_states = [\"stopped\"]",
            "line 2: domains.exclude_states contains \"stopped\", but each entry must be \"no state\", \
             \"running\", \"blocked\", \"paused\", \"shutdown\", \"shutoff\", \"crashed\", \
             \"suspended\" or \"unknown\"",
        ),
        (
            "[devices]\nexclude_nics = [\"/(/\"]",
            "line 2: devices.exclude_nics contains \"/(/\", but that pattern is no regular expression: \
             found open group without closing ')'",
        ),
        (
            "[cache]\ndir = \"cache\"",
            "line 2: cache.dir is \"cache\", but must be a full path that starts with /, or \"\" \
             for the default",
        ),
        (
            "uris = [",
            "line 1: not valid TOML (unclosed array, expected `]`): uris = [; write ] after its \
             last entry",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    for (text, told) in cases {
        std::fs::write(&path, text).unwrap();
        let line = format!("E! {}, {told}", path.display());
        for command in ["once", "execd", "check"] {
            let arguments = [OsStr::new(command), OsStr::new("--config"), path.as_os_str()];
            assert_eq!(refused(&arguments, &[]), line, "of {command} with {text:?}");
        }
        let variable = [("TELEGRAF_VIRT_CONFIG", path.as_os_str())];
        assert_eq!(refused(&[], &variable), line, "of {text:?} by the variable");
    }
}

#[test]
fn all_mistakes_of_a_configuration_are_messages_of_their_own() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("config.toml");
    std::fs::write(&path, "workers = 0\nuris = ['kvm1']\nfoo = 1\n[cache]\nttl = 5m\n").unwrap();
    for command in ["once", "execd", "check"] {
        let output = run(&[OsStr::new(command), OsStr::new("--config"), path.as_os_str()], &[]);
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]));
        let told = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 4, "{told}");
        for (line, number) in lines.iter().zip([1, 2, 3, 5]) {
            let start = format!("E! {}, line {number}: ", path.display());
            assert!(line.starts_with(&start), "{told}");
        }
    }
}

#[test]
fn a_configuration_that_cannot_be_read_gives_one_line_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let told = |path: &Path| {
        let line = refused(&[OsStr::new("-c"), path.as_os_str()], &[]);
        line.replace(folder.path().to_str().unwrap(), "DIR")
    };
    let start = "E! cannot read the configuration DIR";
    assert_eq!(
        told(folder.path()),
        format!("{start} (from --config): it is a folder; write the path of the file in it")
    );
    std::fs::write(&path, b"\n\n\xff").unwrap();
    assert_eq!(
        told(&path),
        format!("{start}/config.toml (from --config): line 3 is not UTF-8; save it as UTF-8 text")
    );
    std::fs::write(&path, vec![b'\n'; 2 * 1024 * 1024]).unwrap();
    assert_eq!(
        told(&path),
        format!(
            "{start}/config.toml (from --config): it is larger than 1 MiB, which no configuration \
             is"
        )
    );
}

#[test]
fn a_bad_uri_in_the_environment_gives_one_line_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, "").unwrap();
    let variables = [
        ("LIBVIRT_DEFAULT_URI", OsStr::new("qemu:///system ")),
        ("TELEGRAF_VIRT_CONFIG", path.as_os_str()),
    ];
    assert_eq!(
        refused(&[], &variables),
        "E! $LIBVIRT_DEFAULT_URI is \"qemu:///system \", but must be a libvirt URI without spaces, \
         such as qemu:///system"
    );
}

/// What a command that only prints a text prints.
#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let output = run(&words(arguments), &[]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}");
    assert_eq!(told, "", "standard error of {arguments:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn help_and_version_go_to_standard_output() {
    let help = printed(&["--help"]);
    assert!(help.starts_with("Prints every libvirt guest's statistics"), "{help}");
    assert_eq!(printed(&["-h"]), help);
    assert_eq!(printed(&["help"]), help);
    assert_eq!(printed(&["help", "execd"]), printed(&["execd", "--help"]));
    assert!(printed(&["once", "--help"]).contains("--watch --top 20"));
    assert!(printed(&["-h", "execd"]).contains("signal = \"STDIN\""));
    assert!(printed(&["check", "-h"]).contains("Usage: telegraf-virt [OPTIONS] check\n"));
    assert!(
        printed(&["config", "-h"])
            .contains("Usage: telegraf-virt config [--effective [OPTIONS]]\n")
    );
    let version = format!("telegraf-virt {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(printed(&["--version"]), version);
    assert_eq!(printed(&["execd", "-V"]), version);
}

#[test]
fn config_prints_the_sample() {
    let sample = std::fs::read_to_string("src/config/sample.toml").unwrap();
    assert_eq!(printed(&["config"]), sample);
}

#[test]
fn a_tag_that_telegraf_sets_itself_is_warned_of() {
    let scratch = tempfile::tempdir().unwrap();
    for (settings, warnings) in [
        ("[tags]\nHost = 'x'\n", 1),
        ("[metadata_tags]\nhost = '//x'\n", 1),
        ("[tags]\nhosted = 'x'\n", 0),
    ] {
        let file = scratch.path().join("ours.toml");
        std::fs::write(&file, settings).unwrap();
        let mut command = crate::support::program::program(scratch.path());
        command.args(["once", "--no-cache", "--uri", "test:///default", "--config"]).arg(file);
        let told = crate::support::process::run(&mut command).success();
        let about = told.stderr.lines().filter(|line| line.starts_with("W! tags: Telegraf sets"));
        assert_eq!(about.count(), warnings, "{settings}: {told}");
    }
}
