//! What the program says of itself: the first message of `execd`, and what `--log-level debug` adds.

use std::fs;
use std::process::Stdio;

use crate::support::process::run;
use crate::support::program::program;
use crate::support::repository;

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
    let finished = run(command.args(["--uri", "test:///absent.xml"])).success();
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
