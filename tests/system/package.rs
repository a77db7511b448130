//! The Debian package, installed, run, removed and purged in a bare Debian of the tests' own.
//!
//! What a run of the program and of its units may leave behind is made here, too; at the end every
//! file is as it was before the package came.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::debian::Debian;
use crate::support::lines;
use crate::support::pages;
use crate::support::process::run;
use crate::support::repository;
use crate::support::servers::require_program;
use crate::support::skip;

/// The package, built once; none, said aloud, where the tools for it are not to be had.
fn package(test: &str) -> Option<&'static Path> {
    static PACKAGE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let packaging = |script| Command::new(repository().join("packaging").join(script));
    let package = PACKAGE.get_or_init(|| {
        let tools = run(&mut packaging("tools"));
        if !tools.status.success() {
            let last = tools.stderr.lines().last().unwrap_or_default().to_owned();
            return Err(last.trim_start_matches("packaging/tools: ").to_owned());
        }
        let built = run(&mut packaging("build")).success();
        let deb = built.stdout.lines().find(|line| line.ends_with(".deb")).unwrap();
        let path = repository().join(deb);
        assert!(path.is_file(), "{built}");
        Ok(path)
    });
    match package {
        Ok(package) => Some(package),
        Err(why) => {
            skip(test, why);
            None
        }
    }
}

const INSTALL: &str = "apt-get install -qq --no-install-recommends /tmp/telegraf-virt.deb 2>&1";
const PURGE: &str = "apt-get purge -qq --auto-remove telegraf-virt 2>&1";

/// As Telegraf's own package does before its files are unpacked.
const MAKE_USER: &str = "useradd --system --user-group --no-create-home --shell /bin/false --home-dir /etc/telegraf telegraf";

/// A bare Debian with the package's file in its /tmp.
fn debian(test: &str) -> Option<Debian> {
    let package = package(test)?;
    let debian = Debian::require(test)?;
    debian.bring(package, "telegraf-virt.deb");
    Some(debian)
}

/// Once more as it was before the package came, and dpkg knows nothing of it.
#[track_caller]
fn assert_nothing_left(debian: &Debian, before: &BTreeSet<String>) {
    let after = debian.contents();
    let new: Vec<&String> = after.difference(before).collect();
    let gone: Vec<&String> = before.difference(&after).collect();
    assert!(new.is_empty() && gone.is_empty(), "left behind: {new:#?}\nmissing: {gone:#?}");
    let known = debian.run(&["dpkg-query", "-W", "-f", "${db:Status-Status}", "telegraf-virt"]);
    assert_eq!((known.status.code(), &*known.stdout), (Some(1), ""), "{known}");
    assert_eq!(
        debian.shell("grep -rl telegraf-virt /var/lib/dpkg/info /var/lib/dpkg/triggers || true"),
        ""
    );
}

/// The files that docs/install.md lists, without the cache, which is no file of the package.
fn told_files() -> BTreeSet<String> {
    let section = pages::section("docs/install.md", "## Debian and Ubuntu");
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
    let files = cells.flat_map(|(files, _)| files.split('`').step_by(2));
    files.filter(|file| *file != "/var/cache/telegraf-virt").map(str::to_owned).collect()
}

/// The files of the package; what lies in a folder of examples counts as that folder, and the rest of
/// the documentation goes without saying.
fn installed_files(debian: &Debian) -> BTreeSet<String> {
    let list = debian.shell("dpkg -L telegraf-virt | while read f; do [ -d $f ] || echo $f; done");
    let documentation = "/usr/share/doc/telegraf-virt/";
    let examples = ["ansible", "dashboards", "systemd", "telegraf.d"]
        .map(|folder| format!("{documentation}examples/{folder}/"));
    let example = |file: &str| examples.iter().find(|folder| file.starts_with(*folder)).cloned();
    let files = list.lines().filter_map(|file| {
        let is_told = !file.starts_with(documentation) || file.contains("/examples/systemd/");
        example(file).or_else(|| is_told.then(|| file.to_owned()))
    });
    files.collect()
}

#[test]
#[ignore = "slow: tests/run --all"]
fn the_package_runs_where_no_telegraf_user_is_and_leaves_nothing_behind() {
    let Some(debian) = debian("package, no telegraf user") else { return };
    let before = debian.contents();
    let told = debian.shell(INSTALL);
    assert!(told.contains("Setting up telegraf-virt"), "{told}");
    assert!(!debian.path("var/cache/telegraf-virt").exists());
    assert!(!debian.path("etc/telegraf").exists(), "nothing is put into Telegraf's configuration");

    // It runs with the libraries that its dependencies brought, as a user without any right.
    let nobody = "setpriv --reuid=nobody --regid=nogroup --clear-groups";
    let version = debian.shell("telegraf-virt --version");
    assert_eq!(version, format!("telegraf-virt {}\n", env!("CARGO_PKG_VERSION")));
    let once = debian.shell(&format!("{nobody} telegraf-virt once -u test:///default --no-cache"));
    let lines = lines::read(&once);
    let names: Vec<&str> = lines.iter().map(|line| line.measurement.as_str()).collect();
    assert_eq!(names, ["vm_metrics", "vm_devices", "vm_devices", "vm_totals"], "{once}");
    let check =
        debian.shell(&format!("{nobody} telegraf-virt check -u test:///default --no-cache"));
    assert!(check.contains("1 of 1 guests read"), "{check}");
    let told =
        debian.shell("telegraf-virt once -u test:///default --no-cache --log-level debug 2>&1");
    assert!(told.contains("D! configuration from /etc/telegraf-virt/config.toml\n"), "{told}");

    // The sample is the configuration, and changes nothing.
    assert_eq!(debian.shell("telegraf-virt config | cmp - /etc/telegraf-virt/config.toml"), "");
    let examples = "usr/share/doc/telegraf-virt/examples";
    for name in [
        "telegraf.d/telegraf-virt.conf",
        "telegraf.d/telegraf-virt-exec.conf.example",
        "dashboards/influxql.json",
        "dashboards/alerts/promql.yml",
    ] {
        let ours = repository().join(name);
        let installed = debian.path(examples).join(name);
        assert_eq!(fs::read(installed).unwrap(), fs::read(ours).unwrap(), "{name}");
    }
    assert_eq!(
        debian.shell("dpkg-query -W -f '${Conffiles}' telegraf-virt | awk '{ print $1 }'"),
        "/etc/telegraf-virt/config.toml\n/etc/logrotate.d/telegraf-virt\n"
    );
    // The units are there, and nobody has enabled them.
    for unit in ["telegraf-virt.service", "telegraf-virt.timer"] {
        assert!(debian.path("usr/lib/systemd/system").join(unit).is_file(), "{unit}");
    }
    assert_eq!(debian.shell("find /etc/systemd -name 'telegraf-virt*'"), "");
    assert_eq!(told_files(), installed_files(&debian));
    debian.shell("logrotate --debug /etc/logrotate.d/telegraf-virt 2>&1");

    let told = debian.shell(PURGE);
    assert!(told.contains("Purging configuration files for telegraf-virt"), "{told}");
    assert_nothing_left(&debian, &before);
}

#[test]
#[ignore = "slow: tests/run --all"]
fn the_man_page_and_the_completions_work_in_the_programs_that_read_them() {
    let Some(debian) = debian("package, man page and completions") else { return };
    debian.shell(INSTALL);
    let page = debian.run(&["man", "--warnings", "-E", "UTF-8", "telegraf-virt"]).success();
    assert_eq!(page.stderr, "", "warnings");
    for text in
        ["SYNOPSIS\n", "telegraf-virt [OPTIONS] execd\n", "EXIT STATUS\n", "--cache-dir <DIR>\n"]
    {
        assert!(page.stdout.contains(text), "{text}: {page}");
    }
    let whatis = debian.shell("whatis telegraf-virt");
    assert!(whatis.contains("prints every libvirt guest's statistics"), "{whatis}");

    // As each shell does at a Tab behind these words.
    let bash = |words: &str| {
        let script = format!(
            ". /usr/share/bash-completion/bash_completion
             _completion_loader telegraf-virt || [ $? = 124 ]
             function=$(complete -p telegraf-virt | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
             COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
             $function telegraf-virt \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        debian.run(&["bash", "-c", &script]).success().stdout
    };
    assert_eq!(bash("telegraf-virt ex"), "execd\n");
    assert_eq!(bash("telegraf-virt execd --i"), "--interval\n");
    assert_eq!(bash("telegraf-virt -u test:///default --no"), "--no-cache\n");
    assert_eq!(bash("telegraf-virt once --log-level w"), "warn\n");
    let fish = |words: &str| {
        debian.run(&["fish", "-c", &format!("complete -C '{words}'")]).success().stdout
    };
    assert_eq!(
        fish("telegraf-virt ex"),
        "execd\tkeep running: one collection per newline on standard input\n"
    );
    assert_eq!(fish("telegraf-virt -u test:///default ch").split('\t').next(), Some("check"));
    assert_eq!(fish("telegraf-virt once --inter"), "");
    assert_eq!(
        fish("telegraf-virt execd --inter"),
        "--interval\texecd: also collect by itself; record: between samples\n"
    );
    let zsh = "autoload -U compinit; compinit -u -D
               _arguments() { line=(execd); state=telegraf-virt; print -rl -- \"$@\" }
               _describe() { print -rl -- \"$@\" ${(P)4} }
               print -r -- $_comps[telegraf-virt]
               words=(telegraf-virt execd '') CURRENT=3
               $_comps[telegraf-virt]
               _telegraf-virt_commands";
    let told = debian.run(&["zsh", "-fc", zsh]).success();
    assert_eq!(told.stderr, "", "{told}");
    assert!(told.stdout.starts_with("_telegraf-virt\n"), "{told}");
    for text in ["--interval=[execd", "check:what is wrong", ":LEVEL:(error warn info debug)"] {
        assert!(told.stdout.contains(text), "{text}: {told}");
    }
}

#[test]
#[ignore = "slow: tests/run --all"]
fn a_changed_configuration_stays_until_purge_and_all_that_runs_left_goes_with_it() {
    let Some(debian) = debian("package, with a telegraf user") else { return };
    debian.shell(MAKE_USER);
    // What Telegraf's and systemd's own packages have made.
    debian.shell(
        "install -d -m 770 -g telegraf /var/lib/telegraf
         install -d -m 700 /var/cache/private
         install -d /etc/systemd/system/timers.target.wants",
    );
    // Somebody's own, named like the collections and what logrotate makes of them.
    debian.shell(
        "install -d /var/log/telegraf-virt.line.d /var/log/telegraf-virt.line.1.d
         touch /var/log/telegraf-virt.line.kept /var/log/telegraf-virt.line.d/kept",
    );
    let before = debian.contents();
    debian.shell(INSTALL);
    let cache = debian.shell("stat -c '%U %G %a' /var/cache/telegraf-virt");
    assert_eq!(cache, "telegraf telegraf 700\n");

    // Telegraf's user finds it without a word.
    let telegraf = "setpriv --reuid=telegraf --regid=telegraf --init-groups telegraf-virt";
    let once = || {
        let script = format!("{telegraf} once -u test:///default");
        let finished = debian.run(&["sh", "-euc", &script]).success();
        assert_eq!(finished.stderr, "", "{finished}");
        lines::read(&finished.stdout)
    };
    assert_eq!(once().len(), 4);
    // By what the first left in the cache.
    let second = once();
    assert!(second.iter().any(|line| line.measurement == "vm_features"), "{second:?}");
    let owners = debian.shell("find /var/cache/telegraf-virt -type f -printf '%u %m\\n' | sort -u");
    assert_eq!(owners, "telegraf 600\n");
    let check = debian.shell(&format!("{telegraf} check -u test:///default"));
    assert!(check.contains("/var/cache/telegraf-virt"), "{check}");

    debian.shell("sed -i 's/^# deadline = .*/deadline = \"3s\"/' /etc/telegraf-virt/config.toml");
    let changed = debian.shell("cat /etc/telegraf-virt/config.toml");
    assert!(changed.contains("\ndeadline = \"3s\"\n"), "{changed}");
    debian.shell(&format!("{INSTALL} --reinstall"));
    assert_eq!(debian.shell("cat /etc/telegraf-virt/config.toml"), changed);
    assert_eq!(debian.shell("stat -c '%U %G %a' /var/cache/telegraf-virt"), cache);
    assert!(!once().is_empty(), "the cache is used further on");

    // A newer package with another sample: dpkg asks, and "no" is what its question offers.
    let told = debian.shell(
        "cd /tmp
         dpkg-deb --raw-extract telegraf-virt.deb newer
         sed -i 's/^Version: .*/&+newer/' newer/DEBIAN/control
         echo '## One setting more.' >>newer/etc/telegraf-virt/config.toml
         dpkg-deb --root-owner-group --build newer newer.deb
         echo | dpkg --install newer.deb 2>&1",
    );
    assert!(told.contains("Configuration file '/etc/telegraf-virt/config.toml'"), "{told}");
    assert_eq!(debian.shell("cat /etc/telegraf-virt/config.toml"), changed);
    assert!(debian.path("etc/telegraf-virt/config.toml.dpkg-dist").exists());

    // What the timer leaves where somebody has enabled it: systemctl makes that link, systemd the
    // folder of a unit with a dynamic user, the service its file, logrotate the older ones.
    debian.shell(
        "ln -s /usr/lib/systemd/system/telegraf-virt.timer /etc/systemd/system/timers.target.wants/
         install -d -m 700 /var/cache/private/telegraf-virt-timer
         ln -s private/telegraf-virt-timer /var/cache/telegraf-virt-timer
         touch /var/cache/private/telegraf-virt-timer/devices.jsonl
         telegraf-virt once -u test:///default --no-cache >>/var/log/telegraf-virt.line
         touch /var/log/telegraf-virt.line.1 /var/log/telegraf-virt.line.2.gz
         touch /var/log/telegraf-virt.line-20261124
         install -d -o telegraf -g telegraf -m 700 /var/lib/telegraf/telegraf-virt",
    );

    debian.shell("apt-get remove -qq telegraf-virt 2>&1");
    assert!(!debian.path("usr/bin/telegraf-virt").exists());
    assert_eq!(debian.shell("cat /etc/telegraf-virt/config.toml"), changed);
    assert!(debian.path("var/log/telegraf-virt.line").exists());
    debian.shell("apt-get install -qq /tmp/newer.deb 2>&1");
    assert_eq!(debian.shell("cat /etc/telegraf-virt/config.toml"), changed);

    debian.shell(PURGE);
    assert_nothing_left(&debian, &before);
}

#[test]
#[ignore = "slow: tests/run --all"]
fn telegraf_may_be_installed_after_the_package() {
    let Some(debian) = debian("package, Telegraf later") else { return };
    debian.shell(INSTALL);
    assert!(!debian.path("var/cache/telegraf-virt").exists());
    // A package that does what Telegraf's does: its user first, then the program.
    debian.shell(&format!(
        "mkdir -p /tmp/telegraf/DEBIAN /tmp/telegraf/usr/bin
         cd /tmp/telegraf
         printf '#!/bin/sh\\nset -e\\n{MAKE_USER}\\n' >DEBIAN/preinst
         printf '#!/bin/sh\\n' >usr/bin/telegraf
         chmod 755 DEBIAN/preinst usr/bin/telegraf
         printf '%s\\n' 'Package: telegraf' 'Version: 1' 'Architecture: all' 'Maintainer: tests <tests@example.org>' \
            'Description: stands in for Telegraf' >DEBIAN/control
         dpkg-deb --build . /tmp/telegraf.deb
         apt-get install -qq /tmp/telegraf.deb 2>&1"
    ));
    let cache = debian.shell("stat -c '%U %G %a' /var/cache/telegraf-virt");
    assert_eq!(cache, "telegraf telegraf 700\n");
    // An administrator's own choice stays.
    debian.shell("chown root:root /var/cache/telegraf-virt; dpkg-trigger --by-package=telegraf /usr/bin/telegraf; dpkg --configure --pending");
    assert_eq!(debian.shell("stat -c '%U' /var/cache/telegraf-virt"), "root\n");
    debian.shell(PURGE);
    assert!(!debian.path("var/cache/telegraf-virt").exists());
}

#[test]
#[ignore = "slow: tests/run --all"]
fn lintian_finds_nothing_to_mend_in_the_package() {
    let test = "package, lintian";
    let Some(lintian) = require_program(test, "LINTIAN", "lintian") else { return };
    let Some(package) = package(test) else { return };
    // One tag is for packages that go into Debian's own archive.
    let found = run(Command::new(lintian)
        .args([
            "--allow-root",
            "--fail-on",
            "error,warning",
            "--suppress-tags",
            "initial-upload-closes-no-bugs",
        ])
        .arg(package))
    .success();
    assert_eq!((&*found.stdout, &*found.stderr), ("", ""), "{found}");
}
