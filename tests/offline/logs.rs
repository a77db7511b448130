//! What the program says of itself: the first message of `execd`, and what `--log-level debug` adds.

use std::env;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::process::run;
use crate::support::program::program;
use crate::support::{repository, skip};
use telegraf_virt::log;

#[test]
fn the_first_message_of_execd_names_version_hypervisors_configuration_and_cache() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("c.toml");
    let cache = scratch.path().join("cache");
    let version = env!("CARGO_PKG_VERSION");
    let first = |text: &str, options: &[&str]| {
        fs::write(&file, text).unwrap();
        let mut command = program(scratch.path());
        command.stdin(Stdio::null()).arg("execd").args(options).arg("--config").arg(&file);
        let finished = run(&mut command).success();
        finished.stderr.lines().next().unwrap().to_owned()
    };
    let folder = cache.to_str().unwrap();
    let shown = file.display();
    assert_eq!(
        first("uris = ['test:///default']", &["--cache-dir", folder]),
        format!(
            "I! telegraf-virt {version} reads test:///default; configuration: {shown}; cache: {folder}"
        )
    );
    let many: Vec<String> = (0..7).map(|n| format!("'test:///{n}'")).collect();
    assert_eq!(
        first(&format!("uris = [{}]", many.join(",")), &["--no-cache"]),
        format!(
            "I! telegraf-virt {version} reads test:///0, test:///1, test:///2, test:///3, test:///4, \
             2 more; configuration: {shown}; cache: none"
        )
    );
    // Even where there is something to complain about.
    fs::write(scratch.path().join("plain"), "").unwrap();
    let unusable = format!("{}/plain/cache", scratch.path().display());
    let finished = first("uris = ['test:///default']", &["--cache-dir", &unusable]);
    assert!(finished.ends_with("; cache: none"), "{finished}");
}

#[test]
fn debug_messages_tell_of_each_hypervisor_and_collection() {
    let scratch = tempfile::tempdir().unwrap();
    let node = format!("test://{}", repository().join("fixtures/node.xml").display());
    let mut command = program(scratch.path());
    command.args(["once", "--no-cache", "--log-level", "debug", "--uri", &node]);
    // libxml2 would print a warning of a missing file by itself.
    let finished = run(command.args(["--uri", "test:///absent.xml"])).success().leveled();
    let has = |start: &str, end: &str| {
        finished.stderr.lines().any(|line| line.starts_with(start) && line.ends_with(end))
    };
    let of_node = format!("D! {node}: 10 guests, {} lines in ", finished.stdout.lines().count());
    let rest = " ms; device lists: 0 from the cache, 10 read; 0 hung, 0 busy, 0 asked again; 0 calls are \
                stuck";
    assert!(has(&of_node, rest), "{finished}");
    assert!(has("D! test:///absent.xml: down, known after ", " ms"), "{finished}");
    let quiet = run(program(scratch.path()).args(["once", "--no-cache", "--uri", &node])).success();
    assert_eq!(quiet.stderr, "");
}

/// GLib warns of a user that the system does not know, as in a container whose user is a number.
#[test]
fn a_warning_of_glib_is_a_debug_message() {
    let scratch = tempfile::tempdir().unwrap();
    let as_stranger = |options: &[&str]| {
        let program = program(scratch.path());
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-user=64078"]).arg(program.get_program()).args(options);
        command.envs(program.get_envs().filter_map(|(key, value)| Some((key, value?))));
        command.env_remove("HOME").env_remove("LIBVIRT_DEFAULT_URI");
        command
    };
    if !run(&mut as_stranger(&["--version"])).status.success() {
        return skip("a warning of GLib", "unshare cannot make a namespace of users");
    }
    let once = ["once", "--no-cache", "--uri", "test:///default"];
    let quiet = run(&mut as_stranger(&once)).success();
    assert_eq!(quiet.stderr, "");
    let finished = run(as_stranger(&once).args(["--log-level", "debug"])).success().leveled();
    let warning = "D! GLib: getpwuid_r(): failed due to unknown user id (64078)\n";
    assert!(finished.stderr.contains(warning), "{finished}");
}

const PANICS: &str = "LOGS_TEST_PANICS";

/// Does nothing but in the process that the next test starts.
#[test]
fn a_thread_panics_when_it_is_asked_to() {
    if env::var_os(PANICS).is_some() {
        log::print_panics();
        assert!(thread::spawn(|| panic!("one\ntwo")).join().is_err());
    }
}

#[test]
fn a_panic_is_one_message() {
    let run = |backtrace: Option<&str>| {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "logs::a_thread_panics_when_it_is_asked_to", "--nocapture"]);
        command.env(PANICS, "1").env_remove("RUST_BACKTRACE");
        run(command.envs(backtrace.map(|value| ("RUST_BACKTRACE", value)))).success()
    };
    let finished = run(None).leveled();
    let start = "E! a bug in telegraf-virt, please report it: panicked at tests/offline/logs.rs:";
    assert!(finished.stderr.starts_with(start), "{finished}");
    assert!(finished.stderr.ends_with(": one two\n"), "{finished}");
    assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
    assert!(run(Some("1")).stderr.contains("stack backtrace:"));
}
