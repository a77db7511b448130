//! What the packages are made of, and the scripts of packaging/ that need no build: the release, the
//! installation from the archive, the task of the Ansible role.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::process::{Finished, run};
use crate::support::program::{PROGRAM, program};
use crate::support::{repository, skip};

/// The destinations of the .deb's files, as in Cargo.toml.
fn deb_files() -> Vec<String> {
    let manifest: toml::Table =
        fs::read_to_string(repository().join("Cargo.toml")).unwrap().parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    let place = |asset: &toml::Value| {
        let (source, to) = (asset[0].as_str().unwrap(), asset[1].as_str().unwrap());
        let name = source.rsplit('/').next().unwrap();
        if to.ends_with('/') { format!("/{to}{name}") } else { format!("/{to}") }
    };
    assets.iter().map(place).collect()
}

#[test]
fn the_rpm_has_every_file_of_the_deb() {
    let spec = fs::read_to_string(repository().join("packaging/rpm/telegraf-virt.spec")).unwrap();
    let (_, files) = spec.split_once("\n%files\n").unwrap();
    let files: Vec<&str> = files
        .lines()
        .filter_map(|line| line.split(' ').find(|word| word.starts_with('/')))
        .collect();
    let files_of_deb = deb_files();
    assert!(files_of_deb.len() > 20, "{files_of_deb:?}");
    for file in files_of_deb {
        // What the spec calls a folder of documents is the whole of it.
        let moved = file.replace("zsh/vendor-completions", "zsh/site-functions");
        let has = |entry: &&str| {
            moved == **entry
                || format!("{moved}.gz") == **entry
                || moved.starts_with(&format!("{entry}/"))
        };
        assert!(files.iter().any(has), "{file} is not in packaging/rpm/telegraf-virt.spec");
    }
    // Both packages are of one configuration that the machine's owner changes.
    assert!(spec.contains("\n%config(noreplace) /etc/telegraf-virt/config.toml\n"));
    for script in ["%pre", "%post", "%preun", "%postun", "%trigger"] {
        assert!(!spec.lines().any(|line| line.starts_with(script)), "{script}");
    }
}

#[test]
fn every_page_of_the_documentation_is_packaged() {
    assert!(deb_files().contains(&"/usr/share/doc/telegraf-virt/docs/*.md".to_owned()));
}

#[test]
fn the_program_runs_with_the_oldest_glibc_that_the_pages_name() {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !release.contains("VERSION_ID=\"12\"") {
        return skip("glibc", "this is not Debian 12, on which the packages are made");
    }
    let symbols =
        run(Command::new("readelf").args(["--wide", "--dyn-syms", PROGRAM])).success().stdout;
    let newest = |library: &str| -> (u32, u32) {
        let start = format!("@{library}_");
        let versions = symbols.match_indices(&start).map(|(at, found)| {
            let rest = &symbols[at + found.len()..];
            let mut numbers =
                rest.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
            (numbers.next().unwrap(), numbers.next().unwrap_or(0))
        });
        versions.max().unwrap()
    };
    assert!(newest("GLIBC") <= (2, 34), "{symbols}");
    assert!(newest("LIBVIRT") <= (5, 6), "{symbols}");
    let page = fs::read_to_string(repository().join("docs/install.md")).unwrap();
    assert!(
        page.contains("| glibc | 2.34 or later") && page.contains("(Fedora, RHEL), 5.6 or later")
    );
}

/// The unpacked archive, with this program in it.
fn unpacked(folder: &Path) {
    for (name, text) in [
        ("share/doc/telegraf-virt/README.md", "read me\n"),
        ("lib/systemd/system/telegraf-virt.timer", "[Timer]\n"),
        ("etc/logrotate.d/telegraf-virt", "rule\n"),
        ("etc/telegraf-virt/config.toml", "# sample\n"),
    ] {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    fs::create_dir_all(folder.join("bin")).unwrap();
    fs::copy(PROGRAM, folder.join("bin/telegraf-virt")).unwrap();
    fs::copy(repository().join("packaging/tar/install"), folder.join("install")).unwrap();
}

/// All files below a folder, by their paths in it.
fn below(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![folder.to_path_buf()];
    while let Some(next) = left.pop() {
        let entries: Vec<_> =
            fs::read_dir(&next).unwrap().map(|entry| entry.unwrap().path()).collect();
        if entries.is_empty() && next != folder {
            found.insert(format!("{}/", next.strip_prefix(folder).unwrap().display()));
        }
        for path in entries {
            if path.is_dir() {
                left.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found
}

fn install(folder: &Path, arguments: &[&str]) -> Finished {
    run(Command::new(folder.join("install")).args(arguments).env_remove("DESTDIR"))
}

#[test]
fn the_archive_installs_upgrades_and_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let (archive, root) = (scratch.path().join("a b"), scratch.path().join("root"));
    unpacked(&archive);
    // What was there before, and what the machine's owner has in a folder of ours.
    fs::create_dir_all(root.join("opt/it/share/doc")).unwrap();
    fs::write(root.join("opt/it/share/doc/other"), "").unwrap();
    let before = below(&root);
    let destdir = root.display().to_string();
    let options = ["--prefix", "/opt/it", "--destdir", &destdir];

    install(&archive, &options).success();
    let installed = below(&root);
    for file in [
        "opt/it/bin/telegraf-virt",
        "opt/it/lib/systemd/system/telegraf-virt.timer",
        "opt/it/share/doc/telegraf-virt/README.md",
        "opt/it/share/telegraf-virt/install",
        "etc/telegraf-virt/config.toml",
        "etc/logrotate.d/telegraf-virt",
    ] {
        assert!(installed.contains(file), "{file} in {installed:?}");
    }
    let mode = |file: &str| fs::metadata(root.join(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode("opt/it/bin/telegraf-virt"), mode("etc/telegraf-virt/config.toml")),
        (0o755, 0o644)
    );
    let version =
        run(Command::new(root.join("opt/it/bin/telegraf-virt")).arg("--version")).success();
    assert_eq!(version.stdout, format!("telegraf-virt {}\n", env!("CARGO_PKG_VERSION")));

    // Once more, and nothing changes; then a newer one without a file, with another sample.
    assert_eq!(install(&archive, &options).success().stderr, "");
    assert_eq!(below(&root), installed);
    fs::write(root.join("etc/telegraf-virt/config.toml"), "deadline = \"3s\"\n").unwrap();
    fs::remove_file(archive.join("lib/systemd/system/telegraf-virt.timer")).unwrap();
    fs::write(archive.join("etc/telegraf-virt/config.toml"), "# newer\n").unwrap();
    let told = install(&archive, &options).success();
    assert!(told.stderr.contains("config.toml is kept"), "{told}");
    assert!(!root.join("opt/it/lib/systemd/system/telegraf-virt.timer").exists());
    assert_eq!(
        fs::read_to_string(root.join("etc/telegraf-virt/config.toml")).unwrap(),
        "deadline = \"3s\"\n"
    );
    assert_eq!(
        fs::read_to_string(root.join("etc/telegraf-virt/config.toml.new")).unwrap(),
        "# newer\n"
    );

    // By its own copy, since nobody keeps the archive.
    let own = root.join("opt/it/share/telegraf-virt");
    let remove = |more: &[&str]| install(&own, &[&options[..], &["--uninstall"], more].concat());
    let copy = scratch.path().join("copy");
    fs::create_dir(&copy).unwrap();
    fs::copy(own.join("install"), copy.join("install")).unwrap();
    remove(&[]).success();
    let left = below(&root);
    assert!(
        left.contains("etc/telegraf-virt/config.toml")
            && !left.iter().any(|it| it.contains("opt/it/bin/telegraf-virt")),
        "{left:?}"
    );
    let again = install(&copy, &[&options[..], &["--uninstall"]].concat()).code(1);
    assert!(again.stderr.contains("nothing was installed with the prefix /opt/it"), "{again}");

    install(&archive, &options).success();
    fs::create_dir_all(root.join("var/cache/telegraf-virt")).unwrap();
    fs::create_dir_all(root.join("var/log/telegraf-virt.line.d")).unwrap();
    for file in ["telegraf-virt.line", "telegraf-virt.line.2.gz", "telegraf-virt.lines"] {
        fs::write(root.join("var/log").join(file), "").unwrap();
    }
    remove(&["--purge"]).success();
    let mut left: BTreeSet<String> = below(&root).difference(&before).cloned().collect();
    // Folders of the whole system stay.
    left.retain(|it| {
        !["etc/logrotate.d/", "opt/it/bin/", "opt/it/lib/systemd/system/", "var/cache/"]
            .contains(&&**it)
    });
    assert_eq!(
        left,
        ["var/log/telegraf-virt.line.d/", "var/log/telegraf-virt.lines"].map(str::to_owned).into()
    );
    assert!(before.is_subset(&below(&root)));
}

#[test]
fn the_installation_refuses_what_it_cannot_do() {
    let scratch = tempfile::tempdir().unwrap();
    unpacked(scratch.path());
    let destdir = scratch.path().join("root").display().to_string();
    for (arguments, told) in [
        (&["--prefix", "opt"][..], "the prefix must begin with /, but is \"opt\""),
        (&["--prefix", "/"], "the prefix cannot be /"),
        (&["--prefix"], "--prefix needs a folder"),
        (&["--destdir", "x"], "the destdir must begin with /, but is \"x\""),
        (&["--purge"], "--purge needs --uninstall"),
        (&["remove"], "unknown: remove; --help shows the options"),
    ] {
        let finished = install(scratch.path(), arguments).code(1);
        assert_eq!(finished.stderr, format!("install: {told}\n"), "{arguments:?}");
    }
    let help = install(scratch.path(), &["--help"]).success();
    assert!(
        help.stdout.starts_with("install [--prefix DIR]") && help.stdout.contains("--purge"),
        "{help}"
    );
    // A program that does not run here.
    fs::write(
        scratch.path().join("bin/telegraf-virt"),
        "#!/bin/sh\necho no such library >&2\nexit 127\n",
    )
    .unwrap();
    let finished = install(scratch.path(), &["--prefix", &destdir]).code(1);
    assert!(finished.stderr.contains("does not run here: no such library"), "{finished}");
    assert!(!Path::new(&destdir).exists());
}

/// The words of the role's task that runs `check`.
fn task() -> Vec<String> {
    let tasks = repository().join("packaging/ansible/roles/telegraf_virt/tasks/main.yml");
    let tasks = fs::read_to_string(tasks).unwrap();
    let (_, list) = tasks.split_once("    argv:\n").unwrap();
    list.lines().map_while(|line| line.strip_prefix("      - ")).map(str::to_owned).collect()
}

#[test]
fn the_task_of_the_ansible_role_is_a_gate() {
    let words = task();
    assert_eq!(words.first().map(String::as_str), Some("telegraf-virt"), "{words:?}");
    let scratch = tempfile::tempdir().unwrap();
    let gate = |configuration: &str| {
        let file = scratch.path().join("config.toml");
        fs::write(&file, configuration).unwrap();
        let file = file.display().to_string();
        let words =
            words[1..].iter().map(|word| word.replace("/etc/telegraf-virt/config.toml", &file));
        run(program(scratch.path()).args(words))
    };
    let good = gate("uris = [\"test:///default\"]\n").success();
    let json: serde_json::Value = serde_json::from_str(&good.stdout).unwrap();
    assert_ne!(json["verdict"], "lost", "{good}");

    // What the next task shows of each finding that is lost.
    let lost = gate("uris = [\"test:///nowhere\"]\n").code(1);
    let json: serde_json::Value = serde_json::from_str(&lost.stdout).unwrap();
    let is_lost = |finding: &&serde_json::Value| finding["verdict"] == "lost";
    let finding = json["findings"].as_array().unwrap().iter().find(is_lost).unwrap();
    assert_eq!(finding["about"], "test:///nowhere");
    assert!(finding["text"].as_str().unwrap().contains("cannot be read"), "{finding}");
    // A mistake in the file is lost, or refused with words on standard error.
    let wrong = gate("deadlin = \"3s\"\n");
    assert!(matches!(wrong.status.code(), Some(1 | 2)), "{wrong}");
    assert!(format!("{wrong}").contains("deadlin"), "{wrong}");
}

/// A clone in which nothing is built: packaging/build and packaging/tools only say that they ran.
fn clone(folder: &Path) -> bool {
    let git = |arguments: &[&str]| run(Command::new("git").args(arguments)).status.success();
    let (from, to) = (repository().display().to_string(), folder.display().to_string());
    if !git(&["-c", "safe.directory=*", "clone", "--quiet", "--no-tags", &from, &to]) {
        return false;
    }
    // The files as they are here, committed or not.
    for file in ["packaging/release", "CHANGELOG.md", "Cargo.toml", "Cargo.lock", "fuzz/Cargo.lock"]
    {
        fs::copy(repository().join(file), folder.join(file)).unwrap();
    }
    let stub = "#!/bin/sh\nmkdir -p target/packages\nfor end in deb rpm tar.gz; do echo >target/packages/it.$end; echo target/packages/it.$end; done\n";
    fs::write(folder.join("packaging/build"), stub).unwrap();
    fs::write(folder.join("packaging/tools"), "#!/bin/sh\n").unwrap();
    commit(folder)
}

fn commit(folder: &Path) -> bool {
    let git = |arguments: &[&str]| {
        run(Command::new("git").current_dir(folder).args(arguments)).status.success()
    };
    git(&["config", "user.name", "A"])
        && git(&["config", "user.email", "a@example.org"])
        && git(&["commit", "--quiet", "--all", "--message", "x"])
}

#[test]
fn a_release_sets_the_version_and_moves_what_is_unreleased() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("clone");
    if !clone(&folder) {
        return skip("release", "this is no clone, or there is no git");
    }
    let release =
        |arguments: &[&str]| run(Command::new(folder.join("packaging/release")).args(arguments));
    for (arguments, told) in [
        (&[][..], "name the version: packaging/release 1.0.0"),
        (&["v99.0.0"], "\"v99.0.0\" is no version, such as 1.0.0 or 1.0.0-rc.1"),
        (&["0.0.1"], "0.0.1 is not later"),
        (&[env!("CARGO_PKG_VERSION")], "is not later"),
    ] {
        let refused = release(arguments).code(1);
        assert!(refused.stderr.trim_end().ends_with(told), "{refused}");
    }
    fs::write(folder.join("new"), "").unwrap();
    assert!(release(&["99.0.0"]).code(1).stderr.contains("not committed"));
    fs::remove_file(folder.join("new")).unwrap();

    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let before = read("CHANGELOG.md");
    let (_, unreleased) = before.split_once("\n## [Unreleased]\n").unwrap();
    let unreleased =
        unreleased.split_once("\n## ").map_or(unreleased, |(part, _)| part).trim().to_owned();
    let told = release(&["99.0.0-rc.1"]).success();
    assert!(told.stdout.contains("git tag --sign v99.0.0-rc.1"), "{told}");
    assert!(read("Cargo.toml").contains("\nname = \"telegraf-virt\"\nversion = \"99.0.0-rc.1\"\n"));
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let version = "\nname = \"telegraf-virt\"\nversion = \"99.0.0-rc.1\"\n";
        assert!(read(lock).contains(version), "{lock}");
    }
    let after = read("CHANGELOG.md");
    let start = after
        .find("\n## [Unreleased]\n\n## [99.0.0-rc.1] - 20")
        .unwrap_or_else(|| panic!("{after}"));
    assert!(after[start..].contains(&unreleased));
    assert_eq!(read("target/packages/NOTES.md").trim(), unreleased);
    let sums = read("target/packages/SHA256SUMS");
    for file in ["it.deb", "it.rpm", "it.tar.gz", "telegraf-virt-99.0.0-rc.1.tar.gz"] {
        assert!(sums.lines().any(|line| line.ends_with(&format!("  {file}"))), "{sums}");
    }
    // One commit of these files, and nothing is left to commit.
    let git = |arguments: &[&str]| {
        run(Command::new("git").current_dir(&folder).args(arguments)).success().stdout
    };
    assert_eq!(
        git(&["show", "--format=%s", "--name-only"]),
        "Release 99.0.0-rc.1\n\nCHANGELOG.md\nCargo.lock\nCargo.toml\nfuzz/Cargo.lock\n"
    );
    assert_eq!(git(&["status", "--porcelain"]), "");
    assert_eq!(git(&["tag"]), "");
    // The same part is not released twice; the release follows its candidate.
    assert!(release(&["99.0.0"]).code(1).stderr.contains("nothing below \"## [Unreleased]\""));
    let changelog = after.replace("## [Unreleased]\n", "## [Unreleased]\n\n- One thing more.\n");
    fs::write(folder.join("CHANGELOG.md"), changelog).unwrap();
    assert!(commit(&folder));
    release(&["99.0.0"]).success();
    assert_eq!(read("target/packages/NOTES.md").trim(), "- One thing more.");
}
