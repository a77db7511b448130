//! `check` is a gate: with a changed copy of the file that we ship, it exits 0 exactly where a real Telegraf
//! gets the guests' lines.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::process::{Finished, run};
use crate::support::program::{PROGRAM, without_settings};
use crate::support::repository;
use crate::support::servers::{require_program, shipped};
use crate::support::told::{check, told};

#[test]
fn check_fails_where_telegraf_gets_no_line_and_nowhere_else() {
    let test = "check, a gate";
    let Some(telegraf) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let ours = Path::new(PROGRAM).parent().unwrap().display();
    let path = format!("{ours}:{}", std::env::var("PATH").unwrap());
    let uri = format!("test://{}", repository().join("fixtures/node.xml").display());
    let output = scratch.path().join("output.conf");
    let stdout = "[agent]\nomit_hostname = true\n[[outputs.file]]\nfiles = [\"stdout\"]\n\
                  data_format = \"influx\"\n";
    fs::write(&output, stdout).unwrap();
    let text = fs::read_to_string(shipped("telegraf-virt.conf")).unwrap();
    let file = scratch.path().join("telegraf.conf");
    let of_telegraf = || -> Finished {
        let mut command = Command::new(&telegraf);
        without_settings(&mut command, scratch.path());
        command.env("PATH", &path).env("LIBVIRT_DEFAULT_URI", &uri);
        run(command.args(["--once", "--config"]).arg(&output).arg("--config").arg(&file))
    };
    let changes = [
        (None, "", ""),
        (None, "signal =", "collection_offset = \"0s\"\n  signal ="),
        (Some("no-signal"), "\n  signal =", "\n  # signal ="),
        (Some("unknown-signal"), "\"STDIN\"", "\"SIGTERM\""),
        (Some("data-format"), "data_format = \"influx\"", "data_format = \"json\""),
        (Some("own-setting"), "signal =", "uris = []\n  signal ="),
        (Some("own-setting"), "signal =", "deadline = \"4s\"\n  signal ="),
        (Some("not-toml"), "\"execd\"]", "\"execd\""),
        (Some("no-program"), "\"telegraf-virt\"", "\"/none/telegraf-virt\""),
        (Some("command-refused"), "\"execd\"]", "\"execd\", \"--inteval\", \"9s\"]"),
    ];
    for (id, from, to) in changes {
        assert!(text.contains(from), "{from}");
        fs::write(&file, text.replacen(from, to, 1)).unwrap();
        let mut command = check(scratch.path(), &["--no-cache", "--uri", &uri]);
        command.env("PATH", &path).env("TELEGRAF_CONFIG_PATH", &file);
        let told = told(&mut command, i32::from(id.is_some()));
        let lost: Vec<String> =
            told.troubles().into_iter().filter(|it| it.starts_with("lost ")).collect();
        let expected = id.map(|id| format!("lost telegraf/{id}"));
        assert_eq!(lost, expected.into_iter().collect::<Vec<_>>(), "{to}: {}", told.finished);
        let finished = of_telegraf();
        assert_eq!(finished.stdout.contains("vm_metrics,"), id.is_none(), "{to}: {finished}");
    }
}
