//! Telegraf's files with each mistake, and what is said of them. That the words are true of a real
//! Telegraf is tested where one is started.

use std::os::unix::fs::PermissionsExt;

use clap::Parser;

use super::*;
use crate::check::Verdict::{self, Advice, Good, Lost};
use crate::cli::Cli;

fn read(configuration: &str) -> (Telegraf, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("conf")).unwrap();
    fs::write(path("conf/a.conf"), configuration).unwrap();
    fs::write(path("conf/a.conf.example"), "[[inputs.execd]]\ncommand = 7").unwrap();
    fs::write(path("telegraf-virt"), "").unwrap();
    fs::set_permissions(path("telegraf-virt"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(path("empty.toml"), "").unwrap();
    let cli = Cli::parse_from(["telegraf-virt"]);
    let settings =
        cli.settings(&|name| (name == config::FILE_VARIABLE).then(|| path("empty.toml").into()));
    let context = CheckContext { cli, settings: settings.unwrap().0, file: None };
    let at = Mutex::default();
    let around = PluginEnv {
        at: &at,
        context: &context,
        path: folder.path().into(),
        configuration: Some(path("empty.toml").into()),
    };
    let telegraf = read_in(&[path("conf")], &around, &Ending::default());
    (telegraf, path("conf/a.conf"), folder)
}

/// What is found, with the verdict and without the file's name.
fn found(configuration: &str) -> Vec<(Verdict, &'static str, String)> {
    let (telegraf, file, _folder) = read(configuration);
    let prefix = format!("{}: ", file.display());
    let told = |it: Finding| (it.verdict, it.id, it.text.replace(&prefix, ""));
    telegraf.findings.into_iter().map(told).collect()
}

fn ids(configuration: &str) -> Vec<&'static str> {
    found(configuration).into_iter().map(|(_, id, _)| id).collect()
}

fn execd(lines: &str) -> Vec<(Verdict, &'static str, String)> {
    found(&format!("[[inputs.execd]]\ncommand = [\"telegraf-virt\", \"execd\"]\n{lines}"))
}

fn exec(lines: &str) -> Vec<(Verdict, &'static str, String)> {
    let start = "[[inputs.exec]]\ncommands = [[\"telegraf-virt\", \"once\"]]";
    found(&format!("{start}\nlog_stderr = true\n{lines}"))
}

#[test]
fn a_signal_and_none_are_advised_against() {
    for signal in ["SIGHUP", "SIGUSR1", "SIGUSR2"] {
        let text = format!("inputs.execd has signal = \"{signal}\"");
        assert_eq!(execd(&format!("signal = \"{signal}\"")), [(Advice, "signal", text)]);
    }
    let never = "inputs.execd has no signal, so Telegraf never asks for a collection";
    assert_eq!(execd(""), [(Lost, "no-signal", never.to_owned())]);
    assert_eq!(execd("signal = \"none\""), [(Lost, "no-signal", never.to_owned())]);
    let own = "command = [\"telegraf-virt\", \"execd\", \"--interval\", \"10s\"]";
    let good = "inputs.execd leaves the interval to the program";
    assert_eq!(found(&format!("[[inputs.execd]]\n{own}")), [(Good, "execd", good.to_owned())]);
    let unknown = "inputs.execd has signal = \"sigterm\", which Telegraf refuses";
    assert_eq!(execd("signal = \"sigterm\""), [(Lost, "unknown-signal", unknown.to_owned())]);
}

#[test]
fn a_format_that_is_not_influx_is_advised_against() {
    let json = "inputs.execd has data_format = \"json\"";
    let found = execd("signal = \"STDIN\"\ndata_format = \"json\"");
    assert_eq!(found, [(Lost, "data-format", json.to_owned())]);
    let missing = "inputs.exec has no data_format, and Telegraf uses json by default";
    assert_eq!(exec("timeout = \"5s\""), [(Lost, "data-format", missing.to_owned())]);
}

#[test]
fn a_timeout_within_the_deadline_is_advised_against() {
    let good = (Good, "exec", "inputs.exec starts the program".to_owned());
    assert_eq!(exec("data_format = \"influx\""), std::slice::from_ref(&good));
    let advice = "inputs.exec ends the program after timeout = \"3s\", while its deadline is 4s";
    for timeout in ["\"3s\"", "3"] {
        let found = exec(&format!("data_format = \"influx\"\ntimeout = {timeout}"));
        let advice = advice.replace("\"3s\"", &format!("\"{}\"", timeout.replace('"', "")));
        assert_eq!(found, [good.clone(), (Advice, "timeout", advice)]);
    }
}

#[test]
fn messages_that_telegraf_would_not_log_are_told() {
    let start = "[[inputs.exec]]\ncommands = [[\"telegraf-virt\", \"once\"]]";
    assert_eq!(ids(&format!("{start}\ndata_format = \"influx\"")), ["exec", "no-log-stderr"]);
}

#[test]
fn what_leaves_a_killed_program_dead_is_advised_against() {
    let ids = |lines: &str| -> Vec<&str> {
        execd(&format!("signal = \"STDIN\"\n{lines}")).iter().map(|(_, id, _)| *id).collect()
    };
    assert_eq!(ids("restart_delay = \"10s\""), ["execd"]);
    assert_eq!(ids("restart_delay = \"10m\""), ["execd", "restart-delay"]);
    assert_eq!(ids("stop_on_error = true"), ["execd", "stop-on-error"]);
}

#[test]
fn rounded_times_that_make_several_points_one_are_advised_against() {
    let ids = |options: &str, lines: &str| -> Vec<&str> {
        let start = format!("[[inputs.execd]]\ncommand = [\"telegraf-virt\", \"execd\"{options}]");
        ids(&format!("{start}\nsignal = \"STDIN\"\n{lines}"))
    };
    let events = ", \"--extra\", \"events\"";
    let every = ", \"--interval\", \"1s\"";
    for (options, lines, found) in [
        ("", "precision = \"1s\"", None),
        ("", "precision = \"1s\"\ninterval = \"2s\"", None),
        ("", "precision = \"1s\"\ninterval = \"1s\"", Some("rounded-interval")),
        (every, "precision = \"1s\"", Some("rounded-interval")),
        (every, "precision = \"100ms\"", None),
        (events, "precision = \"1s\"", Some("rounded-events")),
        (events, "precision = \"1ms\"", None),
        (events, "", None),
    ] {
        let told = ids(options, lines);
        let told = told.iter().find(|id| id.starts_with("rounded")).copied();
        assert_eq!(told, found, "{options} {lines}");
    }
    let told = execd("signal = \"STDIN\"\nprecision = \"1s\"\ninterval = \"500ms\"");
    let text = "inputs.execd rounds timestamps to precision = \"1s\", and collects every 500ms";
    assert_eq!(told[1], (Advice, "rounded-interval", text.to_owned()));
}

#[test]
fn both_ways_at_once_are_advised_against_and_others_programs_are_nobodys_business() {
    let execd = "[[inputs.execd]]\ncommand = [\"telegraf-virt\", \"execd\"]\nsignal = \"STDIN\"\n";
    let exec = "[[inputs.exec]]\ncommands = [\"telegraf-virt once\"]\ndata_format = \"influx\"\n\
                log_stderr = true\n";
    assert_eq!(ids(&format!("{execd}{exec}")), ["execd", "exec", "both-ways"]);
    assert_eq!(ids(&format!("{execd}{execd}")), ["execd", "execd", "twice"]);
    // The two of a fleet, of which each takes what the other leaves.
    for (one, other, apart) in [
        ("namedrop = [\"vm_devices\"]", "namepass = [\"vm_devices\"]", true),
        ("namepass = [\"vm_devices\"]", "namedrop = [\"vm_metrics\", \"vm_devices\"]", true),
        ("namepass = [\"vm_totals\"]", "namepass = [\"vm_devices\"]", true),
        ("namepass = [\"vm_t*\"]", "namepass = [\"vm_totals\"]", false),
        ("namepass = [\"vm_totals\", \"vm_devices\"]", "namepass = [\"vm_devices\"]", false),
        ("namedrop = [\"vm_metrics\"]", "namepass = [\"vm_devices\"]", false),
        ("namedrop = [\"vm_devices\"]", "namedrop = [\"vm_metrics\"]", false),
        ("namedrop = [\"vm_devices\"]", "", false),
    ] {
        let found = ids(&format!("{execd}{one}\n{execd}{other}\n"));
        assert_eq!(!found.contains(&"twice"), apart, "{one} {other}: {found:?}");
    }
    let other = execd.replace("\"execd\"]", "\"execd\", \"--uri\", \"test:///default\"]");
    assert_eq!(ids(&format!("{execd}{other}")), ["execd", "execd", "other-settings"]);
    assert_eq!(ids("[[inputs.execd]]\ncommand = [\"other\"]\n[[inputs.exec]]"), ["unused"]);
    assert_eq!(ids("[agent]\ninterval = ${INTERVAL}\n"), ["unused"]);
    assert_eq!(ids("[agent\n"), ["unused"]);
}

#[test]
fn a_command_that_telegraf_cannot_start_or_that_does_not_stay_is_advised_against() {
    let not_execd = "inputs.execd does not start `telegraf-virt execd`";
    for command in
        ["\"telegraf-virt execd\"", "[\"telegraf-virt\"]", "[\"telegraf-virt\", \"once\"]"]
    {
        let text = format!("[[inputs.execd]]\ncommand = {command}\nsignal = \"STDIN\"");
        assert_eq!(found(&text), [(Lost, "no-execd", not_execd.to_owned())], "{command}");
    }
    let stays = "inputs.exec starts `telegraf-virt execd`, which waits for triggers";
    for commands in ["[[\"telegraf-virt\", \"execd\"]]", "[\"telegraf-virt execd\"]"] {
        let text = format!("[[inputs.exec]]\ncommands = {commands}\ndata_format = \"influx\"");
        assert_eq!(found(&text), [(Lost, "execd-in-exec", stays.to_owned())], "{commands}");
    }
    let text = "[[inputs.execd]]\ncommand = [\"/none/telegraf-virt\", \"execd\"]";
    let missing = "inputs.execd starts /none/telegraf-virt, which is not there";
    assert_eq!(found(text), [(Lost, "no-program", missing.to_owned())]);
}

#[test]
fn a_command_that_the_program_would_refuse_is_told_in_its_own_words() {
    let text =
        "[[inputs.execd]]\ncommand = [\"telegraf-virt\", \"execd\", \"--intervall\", \"9s\"]";
    let refused = "inputs.execd starts `telegraf-virt execd --intervall 9s`, which fails: unknown \
                   option \"--intervall\"; did you mean --interval?";
    assert_eq!(found(text), [(Lost, "command-refused", refused.to_owned())]);
    let absent = text.replace("--intervall\", \"9s", "--config\", \"/absent/c.toml");
    let told = found(&absent);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].2.contains("cannot read the configuration /absent/c.toml"), "{told:?}");
    // What the plugin sets for the program counts too.
    let set = "environment = [\"TELEGRAF_VIRT_CONFIG=/absent/d.toml\"]";
    assert!(execd(set)[0].2.contains("/absent/d.toml (from $TELEGRAF_VIRT_CONFIG)"));
}

#[test]
fn our_own_configuration_among_telegrafs_files_is_told() {
    for text in ["uris = []", "[domains]\ninactive = true", config::SAMPLE] {
        assert_eq!(ids(text), ["own-file-misplaced"], "{text}");
    }
    assert_eq!(ids("[global_tags]\ndc = \"x\""), ["unused"]);
}

#[test]
fn the_interval_is_the_plugins_own_or_that_of_the_agent() {
    let execd = "[[inputs.execd]]\ncommand = [\"telegraf-virt\", \"execd\"]\n";
    let interval = |text: &str| read(text).0.interval;
    assert_eq!(interval(""), None);
    assert_eq!(interval(execd), Some(Duration::from_secs(10)));
    let agent = format!("[agent]\ninterval = \"30s\"\n{execd}");
    assert_eq!(interval(&agent), Some(Duration::from_secs(30)));
    assert_eq!(interval(&format!("{agent}interval = 5\n")), Some(Duration::from_secs(5)));
}

#[test]
fn a_file_that_names_the_program_and_cannot_be_read_is_told_and_others_are_not() {
    let found = found("[[inputs.execd]]\ncommand = [\"telegraf-virt\", ${WORD}]\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].2.contains(" could not be checked: "), "{found:?}");
}

#[test]
fn a_file_that_telegraf_does_not_load_is_told_where_no_other_starts_the_program() {
    let (_, file, folder) = read("");
    let text = "[[inputs.execd]]\ncommand = [\"telegraf-virt\", \"execd\"]";
    fs::write(folder.path().join("conf/b.conf.example"), text).unwrap();
    let finding = unused(&[folder.path().join("conf")], std::slice::from_ref(&file));
    assert_eq!((finding.verdict, finding.id), (Advice, "switched-off"));
    let moved = format!("{0}/b.conf.example {0}/b.conf", folder.path().join("conf").display());
    assert_eq!(finding.commands[0], format!("sudo mv {moved}"));
}

#[test]
fn a_file_whose_name_nobody_switches_off_by_is_lost() {
    let (_, _, folder) = read("");
    let conf = folder.path().join("conf");
    fs::remove_file(conf.join("a.conf.example")).unwrap();
    let text = "[[inputs.execd]]\ncommand = [\"telegraf-virt\", \"execd\"]";
    fs::write(conf.join("virt.toml"), text).unwrap();
    let finding = unused(std::slice::from_ref(&conf), &[conf.join("a.conf")]);
    assert_eq!((finding.verdict, finding.id), (Lost, "not-loaded"));
}

#[test]
fn a_file_that_telegraf_cannot_read_either_is_lost() {
    let text = "[[inputs.execd]]\ncommand = [\"telegraf-virt\", \"execd\"\nsignal = \"STDIN\"\n";
    let found = found(text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].0, found[0].1), (Lost, "not-toml"));
    assert!(found[0].2.contains(" is not valid TOML: line "), "{found:?}");
}

#[test]
fn our_settings_inside_telegrafs_plugin_are_lost_and_settings_of_both_are_not() {
    let own = |lines: &str| execd(&format!("signal = \"STDIN\"\n{lines}"));
    for (lines, setting) in [
        ("uris = [\"qemu:///system\"]", "uris"),
        ("deadline = \"4s\"", "deadline"),
        ("[inputs.execd.domains]\nexclude = [\"a\"]", "[inputs.execd.domains]"),
    ] {
        let text = format!(
            "inputs.execd has {setting}, which is a setting of telegraf-virt and not of Telegraf"
        );
        assert_eq!(own(lines), [(Lost, "own-setting", text)]);
    }
    let both = own("precision = \"1s\"\n[inputs.execd.tags]\ndc = \"x\"");
    assert_eq!(both.iter().map(|it| it.1).collect::<Vec<_>>(), ["execd"]);
}

#[test]
fn sudo_is_advised_against() {
    let text = "[[inputs.execd]]\nsignal = \"STDIN\"\n\
                command = [\"sudo\", \"-n\", \"telegraf-virt\", \"execd\"]";
    let (telegraf, ..) = read(text);
    let found: Vec<_> = telegraf.findings.iter().map(|it| (it.verdict, it.id)).collect();
    assert_eq!(found, [(Good, "execd"), (Advice, "sudo")]);
    assert_eq!(telegraf.findings[1].commands, ["command = [\"telegraf-virt\", \"execd\"]"]);
    let exec = "[[inputs.exec]]\ncommands = [[\"/usr/bin/sudo\", \"telegraf-virt\", \"once\"]]\n\
                data_format = \"influx\"\nlog_stderr = true";
    assert_eq!(ids(exec), ["exec", "sudo"]);
}

#[test]
fn whether_telegraf_starts_this_very_file_with_these_settings_is_known() {
    let execd = "[[inputs.execd]]\ncommand = [\"telegraf-virt\", \"execd\"]\n";
    let (telegraf, _, folder) = read(execd);
    assert!(telegraf.uses_these_settings && telegraf.starts(&folder.path().join("telegraf-virt")));
    assert!(!telegraf.starts(Path::new("/usr/bin/env")) && !telegraf.starts(Path::new("/none")));
    let other = execd.replace("\"execd\"]", "\"execd\", \"--uri\", \"test:///default\"]");
    assert!(!read(&other).0.uses_these_settings);
    assert!(!read("").0.uses_these_settings);
}
