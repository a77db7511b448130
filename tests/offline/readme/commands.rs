//! The README's commands, and what each must have done.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{Scratch, assert_ten_guests, blocks, read, repository};
use crate::support::lines;
use crate::support::process::{Finished, run};
use crate::support::program::PROGRAM;
use crate::support::servers::find_program;
use crate::support::skip;
use crate::support::table::Table;

/// What a command must have done.
pub type Check = fn(&Scratch, &Finished);

pub enum Told {
    /// Run here, in the README's order, in a clone of the repository.
    Run(Check),
    /// Not run here; why, and where instead.
    Elsewhere(&'static str),
}

use Told::{Elsewhere, Run};

fn prints_nothing(_: &Scratch, finished: &Finished) {
    assert_eq!((&*finished.stdout, &*finished.stderr), ("", ""), "{finished}");
}

fn check_finds_all_well(scratch: &Scratch, finished: &Finished) {
    assert!(finished.stdout.contains("10 of 10 guests read"), "{finished}");
    assert!(finished.stdout.contains(&scratch.path("cache").display().to_string()), "{finished}");
}

fn prints_70_lines(_: &Scratch, finished: &Finished) {
    assert_ten_guests(&lines::read(&finished.stdout), 0);
}

fn prints_80_lines(_: &Scratch, finished: &Finished) {
    assert_ten_guests(&lines::read(&finished.stdout), 10);
}

fn prints_a_table_of_10_guests(_: &Scratch, finished: &Finished) {
    assert_eq!(finished.stderr, "", "{finished}");
    let table = Table::read(&finished.stdout);
    assert_eq!(table.rows.len(), 10, "{finished}");
    // Rates, too, although the sample of the run before is a moment old.
    assert!(table.rows.iter().all(|row| row.figures["RX/s"] != "-"), "{finished}");
}

const PACKAGE: &str =
    "tests/system/package.rs makes the package, and installs it into a bare Debian";

/// Every command of the README, in its order.
const COMMANDS: [(&str, Told); 31] = [
    (
        "tests/quickstart",
        Elsewhere("the_first_command_prints_the_80_lines_of_ten_guests, below, runs it"),
    ),
    (
        "sudo install -m 755 target/release/telegraf-virt /usr/local/bin/",
        Run(|scratch, finished| {
            prints_nothing(scratch, finished);
            let installed = fs::metadata(scratch.path("root/usr/local/bin/telegraf-virt")).unwrap();
            assert_eq!(installed.permissions().mode() & 0o7777, 0o755);
        }),
    ),
    ("telegraf-virt check", Run(check_finds_all_well)),
    ("telegraf-virt once", Run(prints_70_lines)),
    ("telegraf-virt once --format table", Run(prints_a_table_of_10_guests)),
    ("packaging/build", Elsewhere(PACKAGE)),
    ("sudo apt install ./target/debian/telegraf-virt_*.deb", Elsewhere(PACKAGE)),
    ("sudo apt remove telegraf-virt", Elsewhere(PACKAGE)),
    ("sudo apt purge telegraf-virt", Elsewhere(PACKAGE)),
    (
        "sudo cp telegraf.d/telegraf-virt.conf /etc/telegraf/telegraf.d/",
        Run(|scratch, finished| {
            prints_nothing(scratch, finished);
            let copied = scratch.path("root/etc/telegraf/telegraf.d/telegraf-virt.conf");
            assert!(fs::read_to_string(copied).unwrap().contains("[[inputs.execd]]"));
        }),
    ),
    ("sudo -u telegraf telegraf-virt check", Run(check_finds_all_well)),
    (
        "sudo -u telegraf telegraf --test --config /etc/telegraf/telegraf.d/telegraf-virt.conf",
        Elsewhere(
            "tests/system/execd.rs runs a Telegraf so, with the file that the one before copies",
        ),
    ),
    (
        "sudo systemctl restart telegraf",
        Elsewhere("no systemd here; tests/system/telegraf.rs starts a Telegraf with that file"),
    ),
    (
        "echo | telegraf-virt execd",
        Run(|scratch, finished| {
            prints_80_lines(scratch, finished);
            let (first, rest) = finished.stderr.split_once('\n').unwrap();
            assert!(first.starts_with("I! telegraf-virt "), "{first}");
            assert_eq!(rest, "I! ready: triggers count from here on\n");
        }),
    ),
    (
        "sudo cp telegraf.d/telegraf-virt-exec.conf.example \
         /etc/telegraf/telegraf.d/telegraf-virt.conf",
        Run(|scratch, finished| {
            prints_nothing(scratch, finished);
            let copied = scratch.path("root/etc/telegraf/telegraf.d/telegraf-virt.conf");
            assert!(fs::read_to_string(copied).unwrap().contains("[[inputs.exec]]"));
        }),
    ),
    (
        "sudo cp packaging/systemd/telegraf-virt.service packaging/systemd/telegraf-virt.timer \
         /etc/systemd/system/",
        Run(|scratch, finished| {
            prints_nothing(scratch, finished);
            for name in ["telegraf-virt.service", "telegraf-virt.timer"] {
                assert!(scratch.path("root/etc/systemd/system").join(name).is_file());
            }
        }),
    ),
    (
        "sudo systemctl enable --now telegraf-virt.timer",
        Elsewhere("no systemd here; tests/system/file.rs runs what the timer starts"),
    ),
    (
        "sudo cp packaging/logrotate/telegraf-virt /etc/logrotate.d/",
        Run(|scratch, finished| {
            prints_nothing(scratch, finished);
            assert!(scratch.path("root/etc/logrotate.d/telegraf-virt").is_file());
        }),
    ),
    (
        "sudo cp telegraf.d/telegraf-virt-file.conf.example \
         /etc/telegraf/telegraf.d/telegraf-virt.conf",
        Run(|scratch, finished| {
            prints_nothing(scratch, finished);
            let copied = scratch.path("root/etc/telegraf/telegraf.d/telegraf-virt.conf");
            assert!(fs::read_to_string(copied).unwrap().contains("[[inputs.tail]]"));
        }),
    ),
    (
        "telegraf-virt once | influx write --bucket vms --precision ns",
        Run(|scratch, finished| {
            prints_nothing(scratch, finished);
            let told = |name| fs::read_to_string(scratch.path(name)).unwrap();
            assert_eq!(told("influx.arguments"), "write --bucket vms --precision ns\n");
            let lines = lines::read(&told("influx.lines"));
            assert_ten_guests(&lines, 10);
            // 2020 in nanoseconds: no coarser unit gives so large a number.
            assert!(lines.iter().all(|line| line.timestamp > 1_577_836_800_000_000_000));
        }),
    ),
    (
        "curl -sS --fail-with-body --data-urlencode 'q=CREATE DATABASE vms' \
         http://127.0.0.1:8086/query",
        Elsewhere("tests/system/write.rs runs it with a server"),
    ),
    (
        "telegraf-virt once | curl -sS --fail-with-body --data-binary @- \
         'http://127.0.0.1:8086/write?db=vms&precision=ns'",
        Elsewhere("tests/system/write.rs runs it with a server"),
    ),
    ("sudo mkdir -p /etc/telegraf-virt", Run(prints_nothing)),
    (
        "telegraf-virt config | sudo tee /etc/telegraf-virt/config.toml",
        Run(|scratch, finished| {
            let sample = read("src/config/sample.toml");
            assert_eq!(finished.stdout, sample);
            let written = scratch.path("root/etc/telegraf-virt/config.toml");
            assert_eq!(fs::read_to_string(&written).unwrap(), sample);
            let lines = scratch.once(&["--config", written.to_str().unwrap()]);
            assert_ten_guests(&lines, 10);
        }),
    ),
    (
        "sudo virsh dommemstat web-01 --period 10 --live --config",
        Elsewhere("it changes a guest; the labs' Linux guests have the period in their XML"),
    ),
    (
        "telegraf-virt record --anonymize host.jsonl",
        Run(|scratch, finished| {
            assert_eq!(finished.stdout, "", "{finished}");
            let told =
                format!("I! host.jsonl holds 10 guests of {} at 2 moments; ", scratch.node());
            assert!(finished.stderr.starts_with(&told), "{finished}");
            let text = fs::read_to_string(scratch.path("host.jsonl")).unwrap();
            assert!(!text.contains("web-01") && text.contains("guest-01"), "{text}");
        }),
    ),
    (
        "telegraf-virt once --uri replay:host.jsonl",
        Run(|_, finished| {
            assert_eq!(finished.stderr, "", "{finished}");
            assert_ten_guests(&lines::read(&finished.stdout), 10);
        }),
    ),
    ("benches/run", Elsewhere("it takes minutes; tests/offline/benchmarks.rs runs its quick form")),
    ("cargo build --release", Elsewhere("tests/quickstart does")),
    ("cargo test", Elsewhere("it runs this test")),
    ("tests/run", Elsewhere("it runs this test")),
];

/// A command of the README with its folders of the system below `root`.
fn rooted(command: &str, root: &Path) -> String {
    let mut command = command.to_owned();
    for folder in ["/etc/", "/usr/local/bin/", "/var/log/"] {
        let below = format!(" {}{folder}", root.display());
        command = command.replace(&format!(" {folder}"), &below);
    }
    command
}

pub fn shell(scratch: &Scratch, command: &str) -> Finished {
    let path = format!(
        "{}:{}:/usr/bin:/bin",
        scratch.path("root/usr/local/bin").display(),
        scratch.path("stand-ins").display()
    );
    let rooted = rooted(command, &scratch.path("root"));
    run(scratch.command("sh").env("PATH", path).arg("-ec").arg(rooted))
}

#[test]
fn every_command_of_the_readme_does_what_it_says_or_tells_here_why_it_is_not_run() {
    let text = blocks("sh").concat();
    let known: Vec<&str> = COMMANDS.iter().map(|(command, _)| *command).collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), known);

    // A clone that was built, and the folders that Debian and Telegraf's package make.
    let scratch = Scratch::new();
    for folder in [
        "target/release",
        "root/usr/local/bin",
        "root/etc/telegraf/telegraf.d",
        "root/etc/systemd/system",
        "root/etc/logrotate.d",
    ] {
        fs::create_dir_all(scratch.path(folder)).unwrap();
    }
    fs::copy(PROGRAM, scratch.path("target/release/telegraf-virt")).unwrap();
    for name in [
        "telegraf.d/telegraf-virt.conf",
        "telegraf.d/telegraf-virt-exec.conf.example",
        "telegraf.d/telegraf-virt-file.conf.example",
        "packaging/systemd/telegraf-virt.service",
        "packaging/systemd/telegraf-virt.timer",
        "packaging/logrotate/telegraf-virt",
    ] {
        let copy = scratch.path(name);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(repository().join(name), copy).unwrap();
    }
    scratch.stand_in("sudo", "if [ \"$1\" = -u ]; then shift 2; fi\nexec \"$@\"");
    let folder = scratch.folder.path().display().to_string();
    scratch.stand_in(
        "influx",
        &format!("echo \"$*\" >{folder}/influx.arguments\ncat >{folder}/influx.lines"),
    );
    for (command, told) in &COMMANDS {
        match told {
            Run(check) => check(&scratch, &shell(&scratch, command).success()),
            Elsewhere(why) => assert!(why.len() > 10, "{command}: {why}"),
        }
    }
}

#[test]
fn the_crontab_line_appends_whole_collections_even_when_two_runs_overlap() {
    let crontab = blocks("crontab");
    assert_eq!(crontab.len(), 1);
    let (times, command) = crontab[0].split_at("* * * * * ".len());
    assert_eq!(times, "* * * * * ");
    let scratch = Scratch::new();
    for folder in ["root/usr/local/bin", "root/var/log"] {
        fs::create_dir_all(scratch.path(folder)).unwrap();
    }
    fs::copy(PROGRAM, scratch.path("root/usr/local/bin/telegraf-virt")).unwrap();
    // The command is the first word, so that no space stands before its folder.
    let rooted = rooted(&format!(" {}", command.trim()), &scratch.path("root"));
    let once = || {
        let finished = run(scratch.command("sh").arg("-c").arg(&rooted)).success();
        assert_eq!((&*finished.stdout, &*finished.stderr), ("", ""), "{finished}");
    };
    once();
    std::thread::scope(|scope| {
        scope.spawn(once);
        scope.spawn(once);
    });
    let lines =
        lines::read(&fs::read_to_string(scratch.path("root/var/log/telegraf-virt.line")).unwrap());
    assert_eq!(lines.len(), 70 + 80 + 80);
    // No line of one collection stands among those of another.
    let mut moments: Vec<i64> = lines.iter().map(|line| line.timestamp).collect();
    moments.dedup();
    assert_eq!(moments.len(), 3);
}

#[test]
#[ignore = "slow: tests/run --all"]
fn the_first_command_prints_the_80_lines_of_ten_guests_and_leaves_no_cache() {
    if find_program("DPKG_QUERY", "dpkg-query").is_none() {
        return skip("readme, quickstart", "this is no Debian");
    }
    let scratch = Scratch::new();
    let temporary = scratch.path("temporary");
    fs::create_dir(&temporary).unwrap();
    // All that it would install is there, since this test has been built.
    for program in ["apt-get", "sudo"] {
        scratch.stand_in(program, "echo \"$0 $*: must not be called\" >&2; exit 1");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(
        std::iter::once(scratch.path("stand-ins")).chain(std::env::split_paths(&path)),
    );
    // The user's own settings must not change what it shows.
    let settings = scratch.path("settings.toml");
    fs::write(&settings, "[domains]\nexclude = [\"*\"]\n").unwrap();
    let finished = run(Command::new(repository().join("tests/quickstart"))
        .env("PATH", path.unwrap())
        .env("TMPDIR", &temporary)
        .env("TELEGRAF_VIRT_CONFIG", settings)
        .env_remove("SUDO_UID")
        .current_dir(scratch.folder.path()))
    .success();
    assert_ten_guests(&lines::read(&finished.stdout), 10);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    assert_eq!(fs::read_dir(scratch.path("cache")).unwrap().count(), 0);
}
