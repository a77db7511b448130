//! `check` where no hypervisor is needed: each fault made for real, and the words that it gives. The
//! test driver has the guests.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::pages;
use crate::support::process::run;
use crate::support::program::{PROGRAM, program};
use crate::support::repository;
use crate::support::told::{check, flat, told};
use crate::support::{skip, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;
use tempfile::TempDir;

const TEST: [&str; 2] = ["--uri", "test:///default"];

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn end(child: &mut Child, limit: Duration) -> Option<i32> {
    wait_until("it ends", limit, || child.try_wait().unwrap()).code()
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn a_pipe_gets_plain_words_in_80_columns_with_a_verdict_at_the_end() {
    let scratch = TempDir::new().unwrap();
    let cache = scratch.path().join("cache");
    let mut command = check(scratch.path(), &TEST);
    let finished = run(command.arg("--cache-dir").arg(&cache)).success();
    let text = &finished.stdout;
    assert!(text.starts_with(concat!("telegraf-virt ", env!("CARGO_PKG_VERSION"), " check, as ")));
    let headings: Vec<&str> =
        text.lines().filter(|line| !line.starts_with(' ') && !line.is_empty()).skip(1).collect();
    assert_eq!(
        headings,
        [
            "Configuration",
            "Hypervisor test:///default",
            "Guests of test:///default",
            "Trial collection",
            "Cache",
            "Limits",
            "Telegraf",
            "A collection delivers everything that the guests offer.",
        ]
    );
    for line in text.lines() {
        assert!(!line.contains('\x1b'), "{line}");
        let is_long_word = line.trim_start().split(' ').count() <= 3;
        assert!(line.chars().count() <= 80 || is_long_word, "{line}");
    }
    let flat = flat(text);
    for words in [
        "settings are from",
        "as $TELEGRAF_VIRT_CONFIG says",
        "the hypervisor is test:///default, as --uri says",
        "answers, read-only, in",
        "1 of 1 guests read",
        "1 guest took",
        "of the deadline of 4s; nothing of it was printed or stored",
        "as --cache-dir says, of",
        "with mode 0700",
        "Telegraf has no configuration at /dev/null",
    ] {
        assert!(flat.contains(words), "{words}: {finished}");
    }
    assert_eq!(finished.stderr, "", "{finished}");
}

#[test]
fn a_terminal_gets_colours_and_marks_unless_no_color_is_set() {
    if !run(Command::new("script").arg("--version")).status.success() {
        return skip("check, terminal", "no script, of util-linux");
    }
    let scratch = TempDir::new().unwrap();
    let printed = |variables: &[(&str, &str)]| {
        let mut command = program(scratch.path());
        let mut terminal = Command::new("script");
        let words = format!("{PROGRAM} check --no-cache --uri test:///default");
        terminal.args(["-qec", &words, "/dev/null"]).env_clear();
        let own = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        terminal.envs(own).env("PATH", "/usr/bin:/bin").env("SHELL", "/bin/sh");
        terminal.env("TERM", "xterm").env("LANG", "C.UTF-8");
        command.args(TEST);
        run(terminal.envs(variables.iter().copied())).success().stdout
    };
    let coloured = printed(&[]);
    assert!(coloured.contains("\x1b[1mConfiguration\x1b[0m"), "{coloured}");
    assert!(coloured.contains("  \x1b[32m✓ ok  \x1b[0m  settings"), "{coloured}");
    let plain = printed(&[("NO_COLOR", "1")]);
    assert!(!plain.contains('\x1b') && plain.contains("  ✓ ok    settings"), "{plain}");
    let dumb = printed(&[("TERM", "dumb")]);
    assert!(!dumb.contains('\x1b') && dumb.contains("\n  ok    settings"), "{dumb}");
    let latin = printed(&[("LANG", "C"), ("NO_COLOR", "")]);
    assert!(latin.contains("  \x1b[32mok  \x1b[0m  settings"), "{latin}");
}

#[test]
fn json_has_the_keys_that_the_page_tells() {
    let scratch = TempDir::new().unwrap();
    let told = told(&mut check(scratch.path(), &["--no-cache", TEST[0], TEST[1]]), 0);
    let section = pages::section("docs/troubleshooting.md", "### check as JSON");
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut all = keys(told.report());
    for finding in told.findings() {
        assert_eq!(keys(finding), keys(&told.findings()[0]));
    }
    all.extend(keys(&told.findings()[0]));
    for key in &all {
        assert!(section.contains(&format!("| `{key}` |")), "{key} is not told in the page");
    }
    let rows = section.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, all.len(), "the page tells of other keys than {all:?}");
    assert_eq!(told.report()["version"], 1);
    assert_eq!(told.report()["verdict"], "good");
    assert_eq!(told.report()["complete"], true);
    let facts = &told.one("answers")["facts"];
    assert_eq!((&facts["driver"], &facts["running"]), (&"TEST".into(), &1.into()));
    assert_eq!(told.one("in-time")["facts"]["deadline_ms"], 4000);
    assert_eq!(told.words("no-telegraf")[0], "Telegraf has no configuration at /dev/null");
    assert!(told.words("kernel")[0].starts_with("the kernel lets this user start the "));
}

#[test]
fn which_configuration_and_which_hypervisor_count_is_told_with_the_reason() {
    let scratch = TempDir::new().unwrap();
    let file = scratch.path().join("own.toml");
    let node = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/node.xml");
    fs::write(&file, format!("uris = ['test:///default', 'test://{node}']\n")).unwrap();
    let words = |command: &mut Command, id: &str| {
        told(command.arg("--no-cache"), 0).words(id)[0].to_owned()
    };
    let mut named = check(scratch.path(), &["--config"]);
    let text = words(named.arg(&file), "file");
    assert!(text.starts_with(&format!("settings are from {}, as --config says", file.display())));
    let mut named = check(scratch.path(), &["--config"]);
    assert_eq!(
        words(named.arg(&file), "hypervisors"),
        "2 hypervisors, as set in the configuration"
    );
    let mut variable = check(scratch.path(), &[]);
    variable.env("LIBVIRT_DEFAULT_URI", "test:///default");
    assert_eq!(
        words(&mut variable, "hypervisors"),
        "the hypervisor is test:///default, as $LIBVIRT_DEFAULT_URI says"
    );
    if !Path::new("/etc/telegraf-virt/config.toml").exists() {
        let mut none = check(scratch.path(), &TEST);
        none.env_remove("TELEGRAF_VIRT_CONFIG");
        let text = words(&mut none, "no-file");
        assert!(
            text.starts_with("no configuration file: there is no /etc/telegraf-virt/"),
            "{text}"
        );
    }
}

#[test]
fn a_socket_that_gives_no_answer_is_lost_with_the_command_that_mends_it() {
    let scratch = TempDir::new().unwrap();
    let path = scratch.path().join("libvirt-sock-ro");
    let uri = format!("qemu+unix:///system?socket={}", path.display());
    let look = || {
        let options = ["--no-cache", "--deadline", "1s", "--uri", &uri];
        told(&mut check(scratch.path(), &options), 1)
    };
    let shown = path.display().to_string();
    let lost = "every guest of this hypervisor";
    let start = "sudo systemctl start libvirtd.socket libvirtd-ro.socket";

    let absent = look();
    assert_eq!(absent.troubles(), ["lost hypervisor/not-running"]);
    let words = absent.words("not-running");
    assert!(words[0].starts_with(&format!("there is no socket {shown}; libvirt says: ")));
    assert_eq!(
        words[1..],
        [lost, "start libvirt, or name another hypervisor with --uri or `uris`"]
    );
    assert_eq!(absent.commands("not-running"), [start]);

    fs::write(&path, "").unwrap();
    let file = look();
    assert!(file.words("no-socket")[0].starts_with(&format!("{shown} exists and is not a socket")));
    assert_eq!(file.commands("no-socket"), [&*format!("sudo rm {shown}"), start]);
    fs::remove_file(&path).unwrap();

    drop(UnixListener::bind(&path).unwrap());
    let deaf = look();
    assert!(deaf.words("not-running")[0].starts_with(&format!("nothing listens at {shown}")));
    fs::remove_file(&path).unwrap();

    let _listener = UnixListener::bind(&path).unwrap();
    let silent = look();
    assert_eq!(silent.troubles(), ["lost hypervisor/no-answer"]);
    let text = "it can be connected to, but does not answer within 1s";
    assert_eq!(silent.words("no-answer")[..2], [text, lost]);
    assert_eq!(silent.commands("no-answer")[1], "sudo systemctl restart libvirtd");

    let bad = told(&mut check(scratch.path(), &["--no-cache", "--uri", "quemu:///system"]), 1);
    assert!(bad.words("bad-uri")[0].starts_with("libvirt has no driver of that name"));
    assert_eq!(bad.commands("bad-uri"), ["telegraf-virt check --uri qemu:///system"]);
    assert_eq!(
        bad.report()["summary"],
        "Lost: 1 hypervisor. Fix what is marked LOST, and run this again."
    );
}

#[test]
fn of_a_hypervisor_over_the_network_no_log_of_this_host_is_named() {
    let scratch = TempDir::new().unwrap();
    let empty = scratch.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let look = |uri: &str| {
        let options = ["--no-cache", "--deadline", "10s", "--uri", uri];
        told(check(scratch.path(), &options).env("PATH", &empty), 1)
    };
    let no_ssh = look("qemu+ssh://reader@kvm2.invalid/system?no_tty=1");
    assert!(no_ssh.words("no-ssh")[0].starts_with("libvirt finds no ssh to start; libvirt says: "));
    assert_eq!(no_ssh.commands("no-ssh"), ["sudo apt install openssh-client"]);

    // A folder without certificates.
    let uri = format!("qemu+tls://kvm3.invalid/system?pkipath={}", empty.display());
    let no_keys = look(&uri);
    assert!(no_keys.words("refuses")[2].ends_with("the key and the names in the URI"));
    assert_eq!(no_keys.commands("refuses"), [format!("virsh -r -c '{uri}' list")]);
}

#[test]
fn one_hypervisor_that_is_down_hides_nothing_of_the_other() {
    let scratch = TempDir::new().unwrap();
    let dead = "qemu+unix:///system?socket=/nonexistent/sock";
    let options = ["--no-cache", "--uri", dead, TEST[0], TEST[1]];
    let told = told(&mut check(scratch.path(), &options), 1);
    assert_eq!(told.troubles(), ["lost hypervisor/not-running"]);
    assert_eq!(told.one("not-running")["about"], dead);
    assert_eq!(told.one("read")["about"], "test:///default");
    assert_eq!(told.words("hypervisors")[0], "2 hypervisors, as --uri says");
}

#[test]
fn a_recording_is_looked_at_like_a_host() {
    let scratch = TempDir::new().unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/hosts/debian12-qemu.jsonl");
    let recorded = told(&mut check(scratch.path(), &["--uri", &format!("replay:{file}")]), 0);
    assert_eq!(recorded.troubles(), ["advice guests/user-nic"]);
    assert_eq!(recorded.words("read")[0], "2 of 2 guests read");
    assert!(recorded.words("answers")[0].starts_with("a recording "));
    assert_eq!(recorded.words("off")[0], "not used, because nothing is stored about a recording");
    let none = told(&mut check(scratch.path(), &["--no-cache", "--uri", "replay:/absent"]), 1);
    assert_eq!(none.troubles(), ["lost hypervisor/no-recording"]);
    assert_eq!(none.commands("no-recording"), ["ls -l /absent"]);
}

#[test]
fn a_host_without_guests_a_filter_that_takes_none_and_vcpus_that_never_wait_are_told() {
    let scratch = TempDir::new().unwrap();
    let node = scratch.path().join("node.xml");
    fs::write(&node, "<node><cpu><mhz>1</mhz></cpu></node>").unwrap();
    let uri = format!("test://{}", node.display());
    let empty = told(&mut check(scratch.path(), &["--no-cache", "--uri", &uri]), 0);
    assert_eq!(empty.troubles(), ["advice guests/no-guest"]);
    assert_eq!(
        empty.words("no-guest")[..2],
        ["no guest is running", "nothing, but a collection prints no lines"]
    );

    let file = scratch.path().join("filter.toml");
    fs::write(&file, "[domains]\nexclude = ['te*']\n").unwrap();
    let mut command = check(scratch.path(), &["--no-cache", TEST[0], TEST[1], "--config"]);
    let none = told(command.arg(&file), 0);
    assert_eq!(none.troubles(), ["advice guests/all-filtered"]);
    assert_eq!(none.guests("all-filtered"), ["test"]);
    assert_eq!(
        none.words("all-filtered")[..2],
        [
            "0 of 1 guest read: the filters in the configuration exclude all of them",
            "every guest: no lines are printed"
        ]
    );

    // The test driver's vCPUs never wait.
    fs::write(&file, "features = ['cpu']\n").unwrap();
    let mut command = check(scratch.path(), &["--no-cache", TEST[0], TEST[1], "--config"]);
    let no_steal = told(command.arg(&file), 0);
    assert_eq!(no_steal.troubles(), ["advice guests/no-steal"]);
    assert_eq!(no_steal.guests("no-steal"), ["test"]);
}

#[test]
fn each_fault_of_the_caches_folder_is_told_with_the_command_that_mends_it() {
    let scratch = TempDir::new().unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let look = |path: &Path, code| {
        let mut command = check(scratch.path(), &TEST);
        told(command.arg("--cache-dir").arg(path), code)
    };
    let lost = "vm_features of every once; and each start reads every guest's XML again";

    // One below folders that are not there.
    let deep = folder("a/b/c");
    let absent = look(&deep, 1);
    assert_eq!(absent.troubles(), ["lost cache/no-folder"]);
    assert!(absent.words("no-folder")[0].contains(&folder("a/b").display().to_string()));
    assert_eq!(absent.words("no-folder")[1], lost);
    assert_eq!(
        absent.report()["summary"],
        "Lost: the cache. Fix what is marked LOST, and run this again."
    );

    // A file, and a link, in its place.
    fs::write(folder("file"), "").unwrap();
    symlink(scratch.path(), folder("link")).unwrap();
    for (name, is) in [("file", "a plain file"), ("link", "a symbolic link")] {
        let path = folder(name).display().to_string();
        let wrong = look(&folder(name), 1);
        let text = format!("{path} is {is}, not a folder of this user");
        assert_eq!(wrong.words("no-folder")[..2], [&*text, lost]);
        assert_eq!(wrong.commands("no-folder"), [format!("sudo mv {path} {path}.old")]);
    }

    // One that others may write to: the command mends it.
    let open = folder("open");
    fs::create_dir(&open).unwrap();
    mode(&open, 0o777);
    let wrong = look(&open, 1);
    let text = format!("{} can be written by other users (mode 0777)", open.display());
    assert_eq!(wrong.words("no-folder")[0], text);
    let command = wrong.commands("no-folder")[0].to_owned();
    run(Command::new("sh").args(["-c", &command])).success();
    assert_eq!(look(&open, 0).troubles(), [""; 0]);

    // Somebody else's.
    if geteuid().is_root() {
        let foreign = folder("foreign");
        fs::create_dir(&foreign).unwrap();
        std::os::unix::fs::chown(&foreign, Some(65534), None).unwrap();
        let wrong = look(&foreign, 1);
        let text = format!("{} belongs to uid 65534, not to this user", foreign.display());
        assert_eq!(wrong.words("no-folder")[..2], [&*text, lost]);
        assert!(wrong.words("no-folder")[2].contains("nobody can then no longer use it"));
        assert_eq!(
            wrong.commands("no-folder"),
            [format!("sudo chown -R root {}", foreign.display())]
        );
    }
}

#[test]
fn what_the_cache_holds_is_told_and_files_that_cannot_be_used_are_too() {
    let scratch = TempDir::new().unwrap();
    let cache = scratch.path().join("cache");
    let look = |code| {
        let mut command = check(scratch.path(), &TEST);
        told(command.arg("--cache-dir").arg(&cache), code)
    };
    assert!(look(0).words("empty")[0].starts_with("nothing is stored about test:///default yet"));
    let once = || {
        let mut once = program(scratch.path());
        once.args(["once", TEST[0], TEST[1], "--cache-dir"]).arg(&cache);
        run(&mut once).success();
    };
    once();
    let files = || -> Vec<_> {
        let entries = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> = entries
            .map(|entry| (entry.path(), fs::read(entry.path()).unwrap()))
            .filter(|(path, _)| path.extension().is_some_and(|it| it == "jsonl"))
            .collect();
        files.sort();
        files
    };
    let before = files();
    let entries = look(0);
    let text = entries.words("entries")[0];
    let words = "for test:///default it has the devices of 1 guest and the last sample of 1 guest, \
                 written ";
    assert!(text.starts_with(words) && text.ends_with(" s ago"), "{text}");
    let facts = &entries.one("entries")["facts"];
    assert_eq!((&facts["samples"], &facts["device_lists"]), (&1.into(), &1.into()));
    assert!(facts["age_s"].as_u64().unwrap() < 120);
    assert_eq!(files(), before, "check keeps nothing");

    // A damaged file is replaced by itself.
    let file = files().into_iter().map(|(path, _)| path).next_back().unwrap();
    fs::write(&file, "{").unwrap();
    let damaged = look(0);
    assert_eq!(damaged.troubles(), ["advice cache/file-replaced"]);
    assert!(damaged.words("file-replaced")[0].contains(" is damaged at line 1 "));
    once();
    assert_eq!(look(0).troubles(), [""; 0]);

    // One that is not ours stays.
    fs::rename(&file, scratch.path().join("elsewhere")).unwrap();
    symlink(scratch.path().join("elsewhere"), &file).unwrap();
    let linked = look(1);
    assert_eq!(linked.troubles(), ["lost cache/file-unusable"]);
    assert!(linked.words("file-unusable")[0].contains(" is a symbolic link, not a plain file"));
    assert_eq!(linked.commands("file-unusable"), [format!("rm {}", file.display())]);
    let text = run(check(scratch.path(), &TEST).arg("--cache-dir").arg(&cache)).code(1);
    assert!(text.stdout.contains("\n  LOST  "), "{text}");
    run(Command::new("sh").args(["-c", linked.commands("file-unusable")[0]])).success();
    assert_eq!(look(0).troubles(), [""; 0]);
}

#[test]
fn the_end_is_obeyed_while_a_hypervisor_does_not_answer() {
    let scratch = TempDir::new().unwrap();
    let silent = scratch.path().join("silent");
    let _listener = UnixListener::bind(&silent).unwrap();
    let uri = format!("qemu+unix:///system?socket={}", silent.display());
    let options = ["--no-cache", "--deadline", "1m", "--uri", &uri];
    let mut child = check(scratch.path(), &options).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    signal(&child, Signal::SIGINT);
    assert_eq!(end(&mut child, Duration::from_secs(5)), Some(1));
    let text = std::io::read_to_string(child.stdout.unwrap()).unwrap();
    assert!(
        flat(&text)
            .ends_with("Ended before everything was checked: run it again, and let it finish.")
    );
    assert!(!text.contains("LOST"), "who ended it knows nothing of the hypervisor: {text}");
}

/// Holds a file so that whoever opens it waits until it is closed, 45 s at most.
#[allow(unsafe_code)]
fn lease(file: &File) -> bool {
    // linux/fcntl.h: the libc crate lacks it.
    const F_SETSIG: libc::c_int = 10;
    // SAFETY: calls with numbers only, on a descriptor that is open. SIGURG is passed over by default;
    // the signal that the kernel sends else, when somebody waits, would end the test.
    unsafe {
        libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) == 0
            && libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) == 0
    }
}

#[test]
fn a_file_of_telegrafs_that_would_have_to_be_waited_for_is_passed_over() {
    let scratch = TempDir::new().unwrap();
    let path = scratch.path().join("telegraf.conf");
    fs::write(&path, "").unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    if !lease(&file) {
        return skip("check, lease", "the file system has no leases");
    }
    let mut command = check(scratch.path(), &["--no-cache", TEST[0], TEST[1]]);
    let told = told(command.env("TELEGRAF_CONFIG_PATH", &path), 0);
    assert_eq!(told.troubles(), ["advice telegraf/not-looked-at"]);
    drop(file);
}

#[test]
fn how_telegraf_starts_the_program_is_looked_at() {
    let scratch = TempDir::new().unwrap();
    let folder = Path::new(PROGRAM).parent().unwrap();
    let path = std::env::join_paths([folder, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let look = |file: &Path| {
        let mut command = check(scratch.path(), &["--no-cache", TEST[0], TEST[1]]);
        command.env("TELEGRAF_CONFIG_PATH", file).env("PATH", &path);
        // A finding that is lost is exit code 1.
        let code = run(&mut command).status.code().unwrap();
        let told = told(&mut command, code);
        let is_lost = told.troubles().iter().any(|trouble| trouble.starts_with("lost "));
        assert_eq!(code, i32::from(is_lost), "{}", told.finished);
        told
    };
    let root = repository();
    let shipped = look(&root.join("telegraf.d"));
    assert_eq!(shipped.troubles(), [""; 0]);
    assert!(shipped.words("execd")[0].ends_with("inputs.execd triggers with signal = \"STDIN\""));
    assert!(shipped.words("in-time")[0].contains("and of Telegraf's interval of 10s"));
    let exec = look(&root.join("telegraf.d/telegraf-virt-exec.conf.example"));
    assert_eq!(exec.troubles(), [""; 0]);
    assert!(exec.words("exec")[0].ends_with(": inputs.exec starts the program"));

    let file = scratch.path().join("telegraf.conf");
    let text = fs::read_to_string(root.join("telegraf.d/telegraf-virt.conf")).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        fs::write(&file, text.replace(from, to)).unwrap();
        look(&file)
    };
    let hup = with("\"STDIN\"", "\"SIGHUP\"");
    assert_eq!(hup.troubles(), ["advice telegraf/signal"]);
    assert!(
        hup.words("signal")[1].starts_with("points at some starts: Telegraf may send the first")
    );
    assert_eq!(hup.commands("signal"), ["signal = \"STDIN\""]);
    let none = with("\n  signal =", "\n  # signal =");
    assert_eq!(none.troubles(), ["lost telegraf/no-signal"]);
    let typo = with("\"execd\"]", "\"exced\"]");
    assert_eq!(typo.troubles(), ["lost telegraf/no-execd"]);
    assert_eq!(typo.commands("no-execd"), ["command = [\"telegraf-virt\", \"execd\"]"]);
    let absent = with("\"telegraf-virt\"", "\"/none/telegraf-virt\"");
    assert_eq!(absent.troubles(), ["lost telegraf/no-program"]);
    let quick = with("signal =", "interval = \"2s\"\n  signal =");
    assert_eq!(quick.troubles(), ["advice collection/deadline-above-interval"]);
    assert_eq!(quick.commands("deadline-above-interval"), ["deadline = \"1600ms\""]);
    let too_quick = with("signal =", "interval = \"1us\"\n  signal =");
    assert_eq!(
        too_quick.troubles(),
        ["advice collection/longer-than-interval", "advice telegraf/rounded-interval"]
    );

    let gone = look(&scratch.path().join("absent.conf"));
    assert_eq!(gone.troubles(), ["advice telegraf/not-looked-at"]);
    let folder = scratch.path().join("telegraf.d");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("vms.conf"), "uris = []\n").unwrap();
    let own = look(&folder);
    assert_eq!(own.troubles(), ["lost telegraf/own-file-misplaced"]);
    fs::remove_file(folder.join("vms.conf")).unwrap();
    fs::write(folder.join("cpu.conf"), "[[inputs.cpu]]\n").unwrap();
    assert_eq!(look(&folder).troubles(), ["advice telegraf/unused"]);
    fs::write(folder.join("vms.toml"), &text).unwrap();
    assert_eq!(look(&folder).troubles(), ["lost telegraf/not-loaded"]);
    fs::rename(folder.join("vms.toml"), folder.join("vms.conf.disabled")).unwrap();
    assert_eq!(look(&folder).troubles(), ["advice telegraf/switched-off"]);

    let ours = with("signal =", "uris = [\"test:///default\"]\n  signal =");
    assert_eq!(ours.troubles(), ["lost telegraf/own-setting"]);
    let said = ours.report()["summary"].as_str().unwrap();
    assert_eq!(
        said,
        "Lost: what Telegraf would collect. Fix what is marked LOST, and run this again."
    );
    let json = with("signal =", "data_format = \"json\"\n  signal =");
    assert_eq!(json.troubles().len(), 1, "{:?}", json.troubles());
    let bracket = with("\"execd\"]", "\"execd\"");
    assert_eq!(bracket.troubles(), ["lost telegraf/not-toml"]);
    let sudo = with("[\"telegraf-virt\"", "[\"sudo\", \"telegraf-virt\"");
    assert_eq!(sudo.troubles(), ["advice telegraf/sudo"]);
}

#[test]
fn a_limit_on_open_files_that_will_bite_is_told() {
    let scratch = TempDir::new().unwrap();
    let options = ["--no-cache", TEST[0], TEST[1]];
    let plain = check(scratch.path(), &options);
    let mut limited = Command::new("prlimit");
    limited.arg("--nofile=64:64").arg(PROGRAM).args(plain.get_args());
    limited.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let told = told(&mut limited, 0);
    assert_eq!(told.troubles(), ["advice limits/few-files"]);
    assert_eq!(told.commands("few-files"), ["ulimit -n 256"]);
    assert!(
        told.words("few-files")[0].contains("may have 64 files open, while this program may need")
    );
}
