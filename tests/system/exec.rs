//! Under a real Telegraf's inputs.exec, with the example that we ship, on real QEMU guests: what arrives
//! when all is well, when a guest hangs and when a hypervisor is down.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::lab::Lab;
use crate::support::lines::{Line, of_guest, read};
use crate::support::process::{Finished, run};
use crate::support::servers::{for_telegraf, require_program, shipped};
use crate::support::{say, wait_until};

/// Telegraf that runs the example once, and prints on standard output what has arrived.
struct Telegraf {
    program: PathBuf,
    lab: Lab,
}

impl Telegraf {
    fn require(test: &str) -> Option<Telegraf> {
        let program = require_program(test, "TELEGRAF", "telegraf")?;
        let lab = Lab::require(test)?;
        let output = "[agent]\nomit_hostname = true\n[[outputs.file]]\nfiles = [\"stdout\"]\n";
        fs::write(lab.scratch().join("output.conf"), output).unwrap();
        Some(Telegraf { program, lab })
    }

    /// With this file for inputs.exec, and settings for the program.
    fn run(&self, file: &Path, settings: &str) -> Finished {
        let mut command = Command::new(&self.program);
        for_telegraf(&mut command, &self.lab);
        let ours = self.lab.scratch().join("settings.toml");
        fs::write(&ours, settings).unwrap();
        command.env("TELEGRAF_VIRT_CONFIG", ours);
        command.args(["--once", "--config"]).arg(self.lab.scratch().join("output.conf"));
        run(command.arg("--config").arg(file))
    }

    fn example(&self, settings: &str) -> Finished {
        self.run(&shipped("telegraf-virt-exec.conf.example"), settings)
    }

    /// The example with one line of it replaced.
    fn changed(&self, from: &str, to: &str, settings: &str) -> Finished {
        let text = fs::read_to_string(shipped("telegraf-virt-exec.conf.example")).unwrap();
        let beginning = format!("\n  {from}\n");
        assert_eq!(text.matches(&beginning).count(), 1, "{from}\n{text}");
        let file = self.lab.scratch().join("changed.conf");
        fs::write(&file, text.replace(&beginning, &format!("\n  {to}\n"))).unwrap();
        self.run(&file, settings)
    }
}

/// What the program told through Telegraf's log, with its level, and what Telegraf itself calls an error.
fn told(finished: &Finished) -> Vec<&str> {
    let lines = finished.stderr.lines().filter_map(|line| line.split_once(' '));
    let lines = lines.map(|(_, rest)| rest);
    lines.filter(|line| line.contains("[inputs.exec]") || line.starts_with("E! ")).collect()
}

fn counts(lines: &[Line]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line.measurement.as_str()).or_default() += 1;
    }
    counts
}

#[test]
fn the_example_delivers_what_is_there_while_a_guest_hangs_or_a_hypervisor_is_down() {
    let test = "exec";
    let Some(telegraf) = Telegraf::require(test) else { return };
    let lab = &telegraf.lab;
    let well = lab.paused("well", 2, 3);
    let hung = lab.paused("hung", 1, 1);
    let whole = BTreeMap::from([
        ("vm_metrics", 2),
        ("vm_features", 2),
        ("vm_devices", 7),
        ("vm_totals", 2),
    ]);

    let first = telegraf.example("").success();
    assert_eq!(read(&first.stdout).len(), 2 + 7 + 2, "{first}");
    let second = telegraf.example("").success();
    assert_eq!(counts(&read(&second.stdout)), whole, "{second}");
    for finished in [&first, &second] {
        assert_eq!(told(finished), Vec::<&str>::new(), "{finished}");
    }

    // Each time within the timeout, which the example leaves at 5 s: else Telegraf says so.
    lab.signal_qemu("-STOP", &hung);
    for _ in 0..2 {
        let finished = telegraf.example("").success();
        let lines = read(&finished.stdout);
        let of_well = of_guest(&lines, &well);
        assert_eq!(of_well.len(), 1 + 1 + 5 + 1, "{finished}");
        let of_whole = read(&second.stdout);
        for (line, before) in of_well.iter().zip(of_guest(&of_whole, &well)) {
            assert_eq!(line.field_names(), before.field_names(), "{finished}");
        }
        let of_hung: Vec<String> = of_guest(&lines, &hung).into_iter().map(Line::title).collect();
        assert!(of_hung.contains(&"vm_metrics hung".to_owned()), "{finished}");
        assert!(of_hung.contains(&"vm_totals hung".to_owned()), "{finished}");
        let told = told(&finished);
        assert_eq!(told.len(), 1, "{finished}");
        assert!(told[0].starts_with("W! [inputs.exec] guest \"hung\" "), "{finished}");
    }

    // ignore_error is not set: a failure in part is none to Telegraf, which has no word of its own for it.
    // Of several messages it takes the first, and we put the gravest there.
    let dead = lab.uri().replace("libvirt-sock-ro", "nobody-listens");
    let both = format!("uris = [\"{}\", \"{dead}\"]\n", lab.uri());
    let down = format!("E! [inputs.exec] cannot read the guests of {dead}: ");
    let finished = telegraf.example(&both).success();
    assert_eq!(of_guest(&read(&finished.stdout), &well).len(), 8, "{finished}");
    let part = told(&finished);
    assert!(part.len() == 1 && part[0].starts_with(&down), "{finished}");
    say(&format!("exec: {}", part[0]));
    let log_stderr = "log_stderr = true";
    let debug = format!("{log_stderr}\n  log_level = \"debug\"");
    let finished = telegraf.changed(log_stderr, &debug, &both).success();
    let part = told(&finished);
    assert!(part.iter().any(|line| line.starts_with(&down)), "{finished}");
    let silent = "W! [inputs.exec] guest \"hung\" ";
    assert!(part.iter().any(|line| line.starts_with(silent)), "{finished}");

    lab.signal_qemu("-CONT", &hung);
    wait_until("the guest answers again", Duration::from_secs(60), || {
        let finished = telegraf.example(&both).success();
        (counts(&read(&finished.stdout)) == whole).then_some(())
    });

    // While nothing can be read at all, that is Telegraf's own error, with our message.
    let finished = telegraf.example(&format!("uris = [\"{dead}\"]\n")).success();
    assert_eq!(finished.stdout, "", "{finished}");
    let all = told(&finished);
    let message = format!(
        "exit status 1 for command \"telegraf-virt once\": E! cannot read the guests of {dead}"
    );
    assert!(all[0].contains(&message), "{finished}");
    say(&format!("exec: {}", all[0]));
}

#[test]
fn telegraf_rounds_timestamps_to_the_precision_that_the_example_sets() {
    let Some(telegraf) = Telegraf::require("exec, precision") else { return };
    telegraf.lab.paused("one", 1, 1);
    let moment = |finished: Finished| {
        let finished = finished.success();
        let lines = read(&finished.stdout);
        let moment = lines[0].timestamp;
        assert!(lines.iter().all(|line| line.timestamp == moment), "{finished}");
        assert!(lines.len() >= 4, "{finished}");
        moment
    };
    let second = 1_000_000_000;
    let precision = "precision = \"1s\"";
    assert_eq!(moment(telegraf.example("")) % second, 0);
    // Where it is not set.
    assert_eq!(moment(telegraf.changed(precision, "", "")) % second, 0);
    assert_ne!(moment(telegraf.changed(precision, "precision = \"1ns\"", "")) % 1000, 0);
    // And the older form of the command is still understood.
    let older = "commands = [\"telegraf-virt once\"]";
    moment(telegraf.changed("commands = [[\"telegraf-virt\", \"once\"]]", older, ""));
}
