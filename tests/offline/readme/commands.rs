//! The commands of the pages, and what each must have done.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Scratch, assert_ten_guests, blocks, pages, read, repository};
use crate::support::lines;
use crate::support::process::{Finished, run};
use crate::support::program::PROGRAM;
use crate::support::servers::find_program;
use crate::support::skip;
use crate::support::table::Table;

/// What a command must have done.
pub type Check = fn(&Scratch, &Finished);

pub enum Told {
    /// Run here, in the page's order, in a clone of the repository.
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

fn prints_a_table_of_10_guests(_: &Scratch, finished: &Finished) {
    assert_eq!(finished.stderr, "", "{finished}");
    let table = Table::read(&finished.stdout);
    assert_eq!(table.rows.len(), 10, "{finished}");
    // Rates, too, although the sample of the run before is a moment old.
    assert!(table.rows.iter().all(|row| row.figures["RX/s"] != "-"), "{finished}");
}

/// Copies a file into Telegraf's folder, which then has this plugin.
fn telegraf_has(scratch: &Scratch, finished: &Finished, file: &str, plugin: &str) {
    prints_nothing(scratch, finished);
    let copied = scratch.path("root/etc/telegraf/telegraf.d").join(file);
    assert!(fs::read_to_string(copied).unwrap().contains(plugin), "{finished}");
}

const PACKAGE: &str =
    "tests/system/package.rs makes the package, and installs it into a bare Debian";
const NO_SYSTEMD: &str =
    "no systemd here; tests/system/telegraf.rs starts a Telegraf with that file";
const NO_TIMER: &str = "no systemd here; tests/system/file.rs runs what the timer starts";
const TESTS: &str = "it runs this test";
const SERVER: &str = "tests/system/write.rs runs it with a server";

const EXECD_FILE: (&str, Told) = (
    "sudo cp telegraf.d/telegraf-virt.conf /etc/telegraf/telegraf.d/",
    Run(|scratch, finished| {
        telegraf_has(scratch, finished, "telegraf-virt.conf", "[[inputs.execd]]");
    }),
);
const CHECK: (&str, Told) = ("telegraf-virt check", Run(check_finds_all_well));
const CHECK_AS_ROOT: (&str, Told) = ("sudo telegraf-virt check", Run(check_finds_all_well));
const TELEGRAF_TEST: (&str, Told) = (
    "sudo -u telegraf telegraf --test --config /etc/telegraf/telegraf.d/telegraf-virt.conf",
    Elsewhere("tests/system/execd.rs runs a Telegraf so, with the file that is copied before"),
);
const RESTART: (&str, Told) = ("sudo systemctl restart telegraf", Elsewhere(NO_SYSTEMD));
const RECORD: (&str, Told) = (
    "telegraf-virt record --anonymize host.jsonl",
    Run(|scratch, finished| {
        assert_eq!(finished.stdout, "", "{finished}");
        let told = format!("I! host.jsonl has 10 guests of {} at 2 moments; ", scratch.node());
        assert!(finished.stderr.starts_with(&told), "{finished}");
        let text = fs::read_to_string(scratch.path("host.jsonl")).unwrap();
        assert!(!text.contains("web-01") && text.contains("guest-01"), "{text}");
    }),
);

/// Every command of each page that has any, in its order.
const PAGES: [(&str, &[(&str, Told)]); 12] = [
    (
        "README.md",
        &[
            ("packaging/build", Elsewhere(PACKAGE)),
            ("sudo apt install ./target/packages/telegraf-virt_*.deb", Elsewhere(PACKAGE)),
            (
                "tests/quickstart",
                Elsewhere("the_first_command_prints_the_80_lines_of_ten_guests, below, runs it"),
            ),
            ("tests/run", Elsewhere(TESTS)),
            (
                "sudo cp /usr/share/doc/telegraf-virt/examples/telegraf.d/telegraf-virt.conf \
                 /etc/telegraf/telegraf.d/",
                Run(|scratch, finished| {
                    telegraf_has(scratch, finished, "telegraf-virt.conf", "[[inputs.execd]]");
                }),
            ),
            (
                "sudo telegraf-virt check",
                Run(|scratch, finished| {
                    check_finds_all_well(scratch, finished);
                    // What the page says that one should see.
                    let told = finished.stdout.lines().last().unwrap();
                    assert!(read("README.md").contains(&format!("\"{told}\"")), "{told}");
                }),
            ),
            TELEGRAF_TEST,
            RESTART,
            CHECK,
            RECORD,
        ],
    ),
    (
        "docs/bug-reports.md",
        &[
            RECORD,
            (
                "telegraf-virt once --uri replay:host.jsonl",
                Run(|_, finished| {
                    assert_eq!(finished.stderr, "", "{finished}");
                    assert_ten_guests(&lines::read(&finished.stdout), 10);
                }),
            ),
            (
                r#"grep -o '"message":"[^"]*"' host.jsonl || echo no messages"#,
                Run(|_, finished| assert!(!finished.stdout.is_empty(), "{finished}")),
            ),
        ],
    ),
    (
        "docs/configuration.md",
        &[
            ("sudo mkdir -p /etc/telegraf-virt", Run(prints_nothing)),
            (
                "telegraf-virt config | sudo tee /etc/telegraf-virt/config.toml",
                Run(|scratch, finished| {
                    let sample = read("src/config/sample.toml");
                    assert_eq!(finished.stdout, sample);
                    let written = scratch.path("root/etc/telegraf-virt/config.toml");
                    assert_eq!(fs::read_to_string(&written).unwrap(), sample);
                    let lines = scratch.once(&["--config", written.to_str().unwrap()]);
                    assert_ten_guests(&lines, 0);
                }),
            ),
            CHECK,
            (
                "telegraf-virt config --effective",
                Run(|_, finished| {
                    assert!(finished.stdout.contains("deadline = \"4s\""), "{finished}")
                }),
            ),
        ],
    ),
    (
        "docs/databases.md",
        &[(
            "influx apply --file dashboards/influxdb-template.yml",
            Run(|scratch, _| {
                let told = fs::read_to_string(scratch.path("influx.arguments")).unwrap();
                let file = told.trim().strip_prefix("apply --file ").unwrap();
                assert!(repository().join(file).is_file(), "{file}");
            }),
        )],
    ),
    (
        "docs/events.md",
        &[(
            r#"telegraf-virt events --format json | jq -r 'select(.tags.event == "io_error") | .tags.name'"#,
            Elsewhere("it prints until it is ended; tests/live/events.rs reads its JSON"),
        )],
    ),
    (
        "docs/missing-values.md",
        &[(
            "sudo virsh dommemstat web-01 --period 10 --live --config",
            Elsewhere("it changes a guest; the labs' Linux guests have the period in their XML"),
        )],
    ),
    (
        "docs/performance.md",
        &[(
            "benches/run",
            Elsewhere("it takes minutes; tests/offline/benchmarks.rs runs its quick form"),
        )],
    ),
    (
        "docs/prometheus.md",
        &[
            (
                "sudo cp telegraf.d/telegraf-virt-prometheus.conf.example \
             /etc/telegraf/telegraf.d/telegraf-virt-prometheus.conf",
                Run(|scratch, finished| {
                    let file = "telegraf-virt-prometheus.conf";
                    telegraf_has(scratch, finished, file, "[[outputs.prometheus_client]]");
                }),
            ),
            RESTART,
            (
                "sudo cp telegraf.d/telegraf-virt-remote-write.conf.example \
             /etc/telegraf/telegraf.d/telegraf-virt-remote-write.conf",
                Run(|scratch, finished| {
                    let file = "telegraf-virt-remote-write.conf";
                    telegraf_has(scratch, finished, file, "[[outputs.http]]");
                }),
            ),
            (
                "sudo cp telegraf.d/telegraf-virt-events.conf.example \
             /etc/telegraf/telegraf.d/telegraf-virt-events.conf",
                Run(|scratch, finished| {
                    let file = "telegraf-virt-events.conf";
                    telegraf_has(scratch, finished, file, "[[processors.converter]]");
                }),
            ),
        ],
    ),
    (
        "docs/telegraf.md",
        &[
            ("cd /usr/share/doc/telegraf-virt/examples", Run(prints_nothing)),
            EXECD_FILE,
            CHECK_AS_ROOT,
            TELEGRAF_TEST,
            RESTART,
            (
                "echo | telegraf-virt execd",
                Run(|scratch, finished| {
                    prints_70_lines(scratch, finished);
                    let (first, rest) = finished.stderr.split_once('\n').unwrap();
                    assert!(first.starts_with("I! telegraf-virt "), "{first}");
                    assert_eq!(rest, "I! ready: triggers count from here on\n");
                }),
            ),
            (
                "sudo cp telegraf.d/telegraf-virt-exec.conf.example \
             /etc/telegraf/telegraf.d/telegraf-virt.conf",
                Run(|scratch, finished| {
                    telegraf_has(scratch, finished, "telegraf-virt.conf", "[[inputs.exec]]");
                }),
            ),
        ],
    ),
    (
        "docs/fleet.md",
        &[
            ("sudo rm -f /etc/telegraf/telegraf.d/telegraf-virt.conf", Run(prints_nothing)),
            (
                "sudo cp telegraf.d/telegraf-virt-fleet.conf.example \
             /etc/telegraf/telegraf.d/telegraf-virt-fleet.conf",
                Run(|scratch, finished| {
                    telegraf_has(scratch, finished, "telegraf-virt-fleet.conf", "tagexclude");
                }),
            ),
            RESTART,
        ],
    ),
    (
        "docs/troubleshooting.md",
        &[
            CHECK,
            CHECK_AS_ROOT,
            (
                r#"telegraf-virt check --json | jq -es '.[0].complete and all(.[0].findings[]; .verdict != "lost" or .id == "hung")'"#,
                Run(|_, finished| assert_eq!(finished.stdout, "true\n", "{finished}")),
            ),
            (
                r#"telegraf-virt check --json | jq -r '.findings[] | select(.verdict == "lost") | .area + ": " + .text'"#,
                Run(prints_nothing),
            ),
            TELEGRAF_TEST,
        ],
    ),
    (
        "docs/without-telegraf.md",
        &[
            ("telegraf-virt once --format table", Run(prints_a_table_of_10_guests)),
            (
                r#"telegraf-virt once --format json | jq -r 'select(.measurement == "vm_metrics") | .tags.name + " " + .fields.state'"#,
                Run(|_, finished| {
                    assert_eq!(finished.stdout.lines().count(), 10, "{finished}");
                    assert!(finished.stdout.contains("web-01 running\n"), "{finished}");
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
            ("sudo systemctl daemon-reload", Elsewhere(NO_TIMER)),
            ("sudo systemctl enable --now telegraf-virt.timer", Elsewhere(NO_TIMER)),
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
                    telegraf_has(scratch, finished, "telegraf-virt.conf", "[[inputs.tail]]");
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
                Elsewhere(SERVER),
            ),
            (
                "telegraf-virt once | curl -sS --fail-with-body --data-binary @- \
             'http://127.0.0.1:8086/write?db=vms&precision=ns'",
                Elsewhere(SERVER),
            ),
        ],
    ),
];

/// Pages whose commands are held elsewhere, and where.
const HELD_ELSEWHERE: [(&str, &str); 2] = [
    (
        "docs/install.md",
        "offline/packaging.rs and system/package.rs build, install and remove packages",
    ),
    ("docs/publishing.md", "its commands are for the owner, and publish"),
];

/// A command of a page with its folders of the system below `root`.
fn rooted(command: &str, root: &Path) -> String {
    let mut command = command.to_owned();
    for folder in ["/etc/", "/usr/bin/telegraf-virt", "/usr/share/doc/", "/var/log/"] {
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

/// A clone that was built, with the program on the PATH, and the folders that Debian and Telegraf's package
/// make.
fn clone_with_program() -> Scratch {
    let scratch = Scratch::new();
    for folder in [
        "stand-ins",
        "root/usr/local/bin",
        "root/etc/telegraf/telegraf.d",
        "root/etc/systemd/system",
        "root/etc/logrotate.d",
        "telegraf.d",
    ] {
        fs::create_dir_all(scratch.path(folder)).unwrap();
    }
    fs::copy(PROGRAM, scratch.path("stand-ins/telegraf-virt")).unwrap();
    let files = [
        "packaging/systemd/telegraf-virt.service",
        "packaging/systemd/telegraf-virt.timer",
        "packaging/logrotate/telegraf-virt",
    ];
    let of_telegraf = fs::read_dir(repository().join("telegraf.d")).unwrap();
    let of_telegraf = of_telegraf.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let of_telegraf = of_telegraf.map(|name| format!("telegraf.d/{name}"));
    for name in files.map(str::to_owned).into_iter().chain(of_telegraf) {
        // In the clone, and where the package has it.
        let installed = format!("root/usr/share/doc/telegraf-virt/examples/{name}");
        for copy in [&name, &installed].map(|name| scratch.path(name)) {
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(repository().join(&name), copy).unwrap();
        }
    }
    scratch.stand_in("sudo", "if [ \"$1\" = -u ]; then shift 2; fi\nexec \"$@\"");
    let folder = scratch.folder.path().display().to_string();
    scratch.stand_in(
        "influx",
        &format!("echo \"$*\" >{folder}/influx.arguments\ncat >{folder}/influx.lines"),
    );
    scratch
}

#[test]
fn every_command_of_the_pages_does_what_it_says_or_tells_here_why_it_is_not_run() {
    let elsewhere = HELD_ELSEWHERE.map(|(page, _)| page);
    for page in pages::all().into_iter().filter(|page| !elsewhere.contains(&&**page)) {
        let text = blocks(&page, "sh").concat();
        let known = PAGES.iter().find(|(name, _)| *name == page).map_or(&[][..], |it| it.1);
        let known: Vec<&str> = known.iter().map(|(command, _)| *command).collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), known, "{page}");
    }
    let has_jq = find_program("JQ", "jq").is_some();
    for (page, commands) in &PAGES {
        let scratch = clone_with_program();
        for (command, told) in *commands {
            match told {
                Run(_) if command.contains("| jq ") && !has_jq => skip("readme, jq", "no jq here"),
                Run(check) => check(&scratch, &shell(&scratch, command).success()),
                Elsewhere(why) => assert!(why.len() > 10, "{page}: {command}: {why}"),
            }
        }
    }
}

#[test]
fn the_crontab_line_appends_whole_collections_even_when_two_runs_overlap() {
    let crontab = blocks("docs/without-telegraf.md", "crontab");
    assert_eq!(crontab.len(), 1);
    let (times, command) = crontab[0].split_at("* * * * * ".len());
    assert_eq!(times, "* * * * * ");
    let scratch = Scratch::new();
    for folder in ["root/usr/bin", "root/var/log"] {
        fs::create_dir_all(scratch.path(folder)).unwrap();
    }
    fs::copy(PROGRAM, scratch.path("root/usr/bin/telegraf-virt")).unwrap();
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
