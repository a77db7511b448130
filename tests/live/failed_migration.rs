//! A migration that fails: what libvirt tells of it, by which the alerts know it, and what its guest looks like on
//! the host where it arrives.

use std::process::Command;
use std::time::Duration;

use crate::support::lab::Lab;
use crate::support::lines::read;
use crate::support::process::run;
use crate::support::program::program;
use crate::support::servers::Server;
use crate::support::{say, wait_until};

const LIMIT: Duration = Duration::from_secs(120);

#[test]
#[ignore = "slow: tests/run --all"]
fn of_a_migration_that_fails_the_target_tells_that_its_guest_came_and_was_stopped() {
    let Some(from) = Lab::require("failed migration") else { return };
    let to = Lab::require("failed migration").unwrap();
    let mover = from.paused("mover", 1, 0);
    from.virsh(&["resume", &mover]);
    let listen = |lab: &Lab| {
        let mut command = program(lab.scratch());
        command.args(["events", "--uri", &lab.uri(), "--format", "influx"]);
        Server::start(&mut command, lab.scratch().join("events.log"))
    };
    let (source, target) = (listen(&from), listen(&to));
    // Each listens when it tells of another guest.
    for (lab, server) in [(&from, &source), (&to, &target)] {
        let other = lab.paused("other", 0, 0);
        wait_until("it listens", LIMIT, || {
            lab.virsh(&["resume", &other]);
            lab.virsh(&["suspend", &other]);
            server.log().contains("name=other").then_some(())
        });
    }
    // A mebibyte a second: it takes long enough to be looked at.
    from.virsh(&["migrate-setspeed", &mover, "1"]);
    let data = format!("unix://{}", from.scratch().join("migration").display());
    let mut migration = Command::new("virsh")
        .args(["-q", "-c", &from.write_uri(), "migrate", "--live", "--unsafe", "--persistent"])
        .args([&mover, &to.write_uri(), &data])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let configuration = to.scratch().join("answer.toml");
    std::fs::write(&configuration, "extra = [\"answer\"]\n").unwrap();
    // Paused, and silent but for what libvirtd knows itself: neither alert of a guest that hangs takes it for one.
    let totals = wait_until("it arrives", LIMIT, || {
        let mut command = program(to.scratch());
        command.args(["once", "--no-cache", "--uri", &to.uri(), "--config"]).arg(&configuration);
        let lines = read(&run(&mut command).stdout);
        let mut totals = lines.into_iter().filter(|it| it.measurement == "vm_totals");
        totals.find(|it| it.tag("name") == "mover")
    });
    assert_eq!(totals.int("state"), 3, "{totals:?}");
    assert!(totals.int("answer_code") < 3, "{totals:?}");
    let has = |name: &str| totals.fields.iter().any(|(field, _)| field == name);
    assert!(!has("memrss") && !has("disk_rd_req"), "{totals:?}");

    to.signal_qemu("-KILL", &mover);
    assert!(!migration.wait().unwrap().success());
    let of_mover = |server: &Server| -> Vec<(String, String)> {
        let lines = server
            .log()
            .lines()
            .filter(|it| it.starts_with("vm_events,"))
            .fold(String::new(), |all, line| all + line + "\n");
        let lines = read(&lines).into_iter().filter(|it| it.find_tag("name") == Some("mover"));
        lines.map(|it| (it.tag("event").to_owned(), it.text("detail").to_owned())).collect()
    };
    let pair = |event: &str, detail: &str| (event.to_owned(), detail.to_owned());
    let told = wait_until("the target has told", LIMIT, || {
        let told = of_mover(&target);
        told.contains(&pair("stopped", "failed")).then_some(told)
    });
    assert_eq!(told, [pair("started", "migrated"), pair("stopped", "failed")]);
    assert_eq!(from.virsh(&["domstate", &mover]).trim(), "running");
    say(&format!("failed migration: the target told {told:?}, the source {:?}", of_mover(&source)));
}
