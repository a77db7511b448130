//! `check` on a real libvirtd with real QEMU guests: each fault made for real, the words that it gives,
//! and the commands that it names, run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::lab::Lab;
use crate::support::process::run;
use crate::support::program::PROGRAM;
use crate::support::repository;
use crate::support::told::{Told, check, told};
use crate::support::{say, skip};

/// A check of the lab from outside, without Telegraf.
fn look(lab: &Lab, options: &[&str], code: i32) -> Told {
    let cache = lab.scratch().join("cache");
    let mut command = check(lab.scratch(), &["--uri", &lab.uri()]);
    told(command.args(options).arg("--cache-dir").arg(cache), code)
}

/// A file for those inside the lab, at a place that every user may read.
fn inside_file(lab: &Lab, name: &str, text: &str) -> String {
    let path = lab.image(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!("/var/lib/libvirt/images/{name}")
}

/// Runs a script in the lab, where qemu:///system is the lab's and `telegraf-virt` this program.
fn inside(lab: &Lab, script: &str) -> String {
    let binary = lab.image("telegraf-virt");
    if !binary.exists() {
        inside_file(lab, "empty.toml", "");
        fs::copy(PROGRAM, &binary).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        // Others may pass through to it.
        lab.inside(&["chmod", "755", "/var/lib/libvirt", "/var/lib/libvirt/images"]);
    }
    let start =
        "export PATH=/var/lib/libvirt/images:$PATH TELEGRAF_CONFIG_PATH=/dev/null HOME=/run/home \
                 TELEGRAF_VIRT_CONFIG=/var/lib/libvirt/images/empty.toml
                 mkdir -p -m 700 /run/home
                 unset LIBVIRT_DEFAULT_URI CACHE_DIRECTORY XDG_CACHE_HOME NO_COLOR\n";
    lab.inside(&["bash", "-c", &format!("{start}{script}")])
}

/// Makes the user `telegraf` known in the lab.
const TELEGRAF: &str = "grep -q ^telegraf: /etc/passwd || {
        (cat /etc/passwd; echo telegraf:x:64077:64077::/run/home-of-telegraf:/bin/false) >/run/passwd
        mount --bind /run/passwd /etc/passwd
        (cat /etc/group; echo telegraf:x:64077:) >/run/group
        mount --bind /run/group /etc/group
    }";

/// What a check in the lab finds, as `area/id` of all that is not good, and its JSON.
fn found_inside(lab: &Lab, before: &str, options: &str) -> (Vec<String>, serde_json::Value) {
    let json = inside(lab, &format!("{before}\ntelegraf-virt check --json {options} || true"));
    let report: serde_json::Value =
        serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let troubles = report["findings"].as_array().unwrap().iter().filter_map(|finding| {
        let word = |key: &str| finding[key].as_str().unwrap().to_owned();
        (finding["verdict"] != "good")
            .then(|| format!("{} {}/{}", word("verdict"), word("area"), word("id")))
    });
    (troubles.collect(), report)
}

#[test]
fn a_guest_that_hangs_is_lost_and_what_others_do_not_offer_is_advice_that_works() {
    let Some(lab) = Lab::require("check, guests") else { return };
    let one = lab.paused("db-01", 1, 1);
    let two = lab.paused("db 02", 1, 1);
    lab.linux("web-01");
    let peace = look(&lab, &[], 0);
    assert_eq!(peace.troubles(), ["advice guests/no-balloon-period", "advice guests/user-nic"]);
    assert_eq!(peace.words("read")[0], "3 of 3 guests read");
    let answers = peace.words("answers")[0];
    assert!(answers.contains("answers, read-only, in ") && answers.contains(" QEMU "), "{answers}");
    let version = lab.virsh(&["version"]);
    let running = version.lines().find_map(|line| line.strip_prefix("Running hypervisor: QEMU "));
    assert_eq!(peace.one("answers")["facts"]["hypervisor_version"], running.unwrap().trim());
    assert!(peace.words("socket")[0].contains("libvirt-sock-ro (root:root 0777)"));
    assert_eq!(peace.guests("user-nic"), ["web-01"]);
    assert!(peace.words("user-nic")[0].contains("NICs of user-mode networking have no counters"));

    // The one thing that turns the memory figures on, as it is printed; these guests have no lasting
    // definition, so that there is nothing for --config.
    assert_eq!(peace.guests("no-balloon-period"), ["db 02", "db-01"]);
    let words = peace.words("no-balloon-period");
    assert_eq!(words[0], "libvirt never asks 2 guests for their own memory figures");
    assert!(words[1].starts_with("memavailable, memusable") && words[2].contains("no guest agent"));
    let command = peace.commands("no-balloon-period")[0].replace("sudo ", "");
    assert!(command.contains("--period 10 --live --config"), "{command}");
    run(Command::new("sh").args(["-c", &command.replace(" --config", "")])).success();
    for guest in [&one, &two] {
        assert!(lab.virsh(&["dumpxml", guest]).contains("<stats period='10'/>"));
    }
    assert_eq!(look(&lab, &[], 0).troubles(), ["advice guests/user-nic"]);

    lab.signal_qemu("-STOP", &one);
    let hung = look(&lab, &[], 1);
    assert_eq!(hung.troubles(), ["lost guests/hung", "advice guests/user-nic"]);
    assert_eq!(hung.guests("hung"), ["db-01"]);
    assert_eq!(hung.words("hung")[0], "1 guest does not respond: the QEMU process is silent");
    assert!(hung.words("hung")[1].starts_with("disk counters, memory figures and everything else"));
    assert_eq!(hung.words("read")[0], "2 of 3 guests read");
    let summary =
        "Lost: 1 guest. Fix what is marked LOST, and run this again; see also the note above.";
    assert_eq!(hung.report()["summary"], summary);
    // The commands that it names tell more, and none of them hangs.
    let control = run(Command::new("sh").args(["-c", hung.commands("hung")[0]])).success();
    assert!(control.stdout.starts_with("occupied"), "{control}");
    let process = lab.inside(&["sh", "-c", hung.commands("hung")[1]]);
    let state = process.lines().nth(1).and_then(|line| line.split_whitespace().nth(1));
    assert!(state.is_some_and(|state| state.starts_with('T')), "{process}");

    // Left out by the configuration, it is not asked for.
    let file = lab.scratch().join("filter.toml");
    fs::write(&file, "[domains]\nexclude = ['db-*']\n").unwrap();
    let filtered = look(&lab, &["--config", file.to_str().unwrap()], 0);
    assert_eq!(filtered.troubles(), ["advice guests/user-nic"]);
    assert_eq!(filtered.guests("filtered"), ["db-01"]);
    let text = "1 guest excluded by [domains] in the configuration";
    assert_eq!(filtered.words("filtered")[0], text);
    lab.signal_qemu("-CONT", &one);
    assert_eq!(look(&lab, &[], 0).troubles(), ["advice guests/user-nic"]);
    say("check: a hung guest lost, a balloon's period set by the command that check prints");
}

#[test]
fn many_guests_with_one_finding_give_as_many_lines_as_a_few() {
    let Some(lab) = Lab::require("check, fleet") else { return };
    let lines = || {
        let mut command = check(lab.scratch(), &["--no-cache", "--uri", &lab.uri()]);
        let finished = run(&mut command).success();
        (finished.stdout.lines().count(), finished.stdout)
    };
    lab.fleet(9, 1, 1);
    let (few, _) = lines();
    for number in 10..25 {
        lab.paused(&format!("fleet-{number}"), 1, 1);
    }
    let (many, text) = lines();
    assert!(many <= few + 2, "{few} lines, then {many}:\n{text}");
    assert!(text.contains("libvirt never asks 24 guests for their own memory figures"), "{text}");
    assert!(text.contains(" more\n"), "{text}");
    // One command for all of them, which sets their period.
    let command = text.lines().find(|line| line.contains("while read -r guest")).unwrap();
    let command = command.replace("sudo ", "").replace(" --config", "");
    run(Command::new("sh").args(["-c", command.trim()])).success();
    let (_, text) = lines();
    assert!(!text.contains("memory figures"), "{text}");
}

#[test]
fn a_balloon_that_is_missing_or_never_reports_is_told_apart() {
    let Some(lab) = Lab::require("check, balloons") else { return };
    let guest = |name: &str, balloon: &str| {
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{balloon}</devices></domain>"
        );
        let path = lab.scratch().join("guest.xml");
        fs::write(&path, xml).unwrap();
        lab.virsh(&["create", path.to_str().unwrap()]);
    };
    // One with a lasting definition: the whole command that is printed, run.
    let path = lab.scratch().join("kept.xml");
    let xml = "<domain type='qemu'><name>kept</name><memory unit='MiB'>16</memory><os><type>hvm</type>\
               </os><devices><memballoon model='virtio'/></devices></domain>";
    fs::write(&path, xml).unwrap();
    lab.virsh(&["define", path.to_str().unwrap()]);
    let off = look(&lab, &[], 0);
    assert_eq!(off.words("no-guest")[0], "no guest is running; 1 more is off");
    lab.virsh(&["start", "--paused", "kept"]);
    let told = look(&lab, &[], 0);
    assert_eq!(told.guests("no-balloon-period"), ["kept"]);
    let command = told.commands("no-balloon-period")[0].replace("sudo ", "");
    run(Command::new("sh").args(["-c", &command])).success();
    for options in [&["dumpxml", "kept"][..], &["dumpxml", "--inactive", "kept"]] {
        assert!(lab.virsh(options).contains("<stats period='10'/>"));
    }
    assert_eq!(look(&lab, &[], 0).troubles(), [""; 0]);
    lab.virsh(&["destroy", "kept"]);

    // They run, and without any system in them nothing ever reports.
    guest("none", "<memballoon model='none'/>");
    guest("empty", "<memballoon model='virtio'><stats period='5'/></memballoon>");
    let told = look(&lab, &[], 0);
    assert_eq!(told.troubles(), ["advice guests/no-balloon", "advice guests/balloon-silent"]);
    assert_eq!(told.guests("no-balloon"), ["none"]);
    assert_eq!(told.words("no-balloon")[0], "1 guest has no balloon device");
    let xml = "<memballoon model='virtio'><stats period='10'/></memballoon>";
    assert_eq!(told.commands("no-balloon")[1], xml);
    assert_eq!(told.guests("balloon-silent"), ["empty"]);
    assert_eq!(told.commands("balloon-silent"), ["modprobe virtio_balloon"]);
}

#[test]
fn a_user_without_rights_and_a_libvirtd_that_hangs_are_told_apart() {
    let Some(lab) = Lab::require("check, rights") else { return };
    if !run(Command::new("setpriv").arg("--version")).status.success() {
        return skip("check, rights", "no setpriv");
    }
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/nonexistent";
    let as_nobody = |before: &str| {
        let json = inside(
            &lab,
            &format!("{before}\n{nobody} telegraf-virt check --json --no-cache || true"),
        );
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        let findings = report["findings"].as_array().unwrap().clone();
        let lost = findings.into_iter().filter(|finding| finding["verdict"] == "lost");
        lost.collect::<Vec<_>>()
    };
    assert_eq!(as_nobody(""), [serde_json::Value::Null; 0]);
    let lost = as_nobody("chmod 700 /run/libvirt/libvirt-sock-ro");
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(lost[0]["id"], "no-right-to-socket");
    let text = lost[0]["text"].as_str().unwrap();
    let start = "nobody may not use /run/libvirt/libvirt-sock-ro (root:root 0700); libvirt says: ";
    assert!(text.starts_with(start), "{text}");
    assert!(lost[0]["mend"].as_str().unwrap().contains("/etc/libvirt/libvirtd.conf"));
    assert_eq!(lost[0]["commands"][0], "unix_sock_ro_perms = \"0777\"");
    inside(&lab, "chmod 777 /run/libvirt/libvirt-sock-ro");

    lab.signal_libvirtd("-STOP");
    let hung = look(&lab, &["--deadline", "1s"], 1);
    assert_eq!(hung.troubles(), ["lost hypervisor/no-answer"]);
    lab.signal_libvirtd("-CONT");
    assert_eq!(look(&lab, &[], 0).troubles(), ["advice guests/no-guest"]);

    // Where root runs it, the same from Telegraf's user.
    let (peace, report) = found_inside(&lab, TELEGRAF, "");
    assert_eq!(peace, ["advice guests/no-guest", "advice telegraf-user/user-loses"]);
    let loses = |report: &serde_json::Value| {
        let findings = report["findings"].as_array().unwrap();
        let found = findings.iter().filter(|finding| finding["id"] == "user-loses");
        found.map(|finding| finding["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(
        loses(&report)[0] == "of the user telegraf: no folder can be used for its cache",
        "{report}"
    );
    let home = format!("{TELEGRAF}\ninstall -d -o 64077 /run/home-of-telegraf");
    let (peace, report) = found_inside(&lab, &home, "");
    assert_eq!(peace, ["advice guests/no-guest"], "{report}");
    let last = report["findings"].as_array().unwrap().last().unwrap();
    assert_eq!(
        last["text"],
        "the user telegraf can read everything that root can; its cache is \
         /run/home-of-telegraf/.cache/telegraf-virt"
    );
    let (shut, report) = found_inside(&lab, "chmod 700 /run/libvirt/libvirt-sock-ro", "");
    assert_eq!(shut, ["advice guests/no-guest", "advice telegraf-user/user-loses"]);
    let start = "of the user telegraf: telegraf may not use /run/libvirt/libvirt-sock-ro";
    assert!(loses(&report)[0].starts_with(start), "{report}");
    let (unread, report) = found_inside(
        &lab,
        "chmod 777 /run/libvirt/libvirt-sock-ro; chmod 600 /var/lib/libvirt/images/empty.toml",
        "",
    );
    assert_eq!(unread, ["advice guests/no-guest", "advice telegraf-user/user-refused"], "{report}");
    let (unrun, _) = found_inside(
        &lab,
        "chmod 644 /var/lib/libvirt/images/empty.toml; chmod 700 /var/lib/libvirt/images/telegraf-virt",
        "",
    );
    assert_eq!(unrun, ["advice guests/no-guest", "advice telegraf-user/user-cannot-run"]);
}

#[test]
fn limits_that_will_bite_and_a_cache_that_cannot_be_written_are_told() {
    let Some(lab) = Lab::require("check, limits") else { return };
    lab.paused("one", 1, 1);
    let quiet = "advice guests/no-balloon-period";
    let (peace, report) = found_inside(&lab, "", "--no-cache");
    assert_eq!(peace, [quiet]);
    let findings = report["findings"].as_array().unwrap();
    let libvirt = findings.iter().find(|finding| finding["id"] == "libvirt").unwrap();
    assert_eq!(libvirt["facts"]["max_workers"], 20);

    let (small, _) = found_inside(
        &lab,
        "printf 'max_workers = 5\\nmax_clients = 6\\nmax_anonymous_clients = 1\\n\
         access_drivers = [ \"polkit\" ]\\n' >>/etc/libvirt/libvirtd.conf",
        "--no-cache",
    );
    let limits = ["few-workers", "few-clients", "few-anonymous-clients", "access-drivers"]
        .map(|id| format!("advice limits/{id}"));
    assert_eq!(small[1..], limits);

    let read_only = "sed -i '/^max_/d;/^access_/d' /etc/libvirt/libvirtd.conf; mkdir -p /run/ro; mountpoint -q /run/ro || mount -t tmpfs -o ro,mode=700 tmpfs /run/ro";
    let (found, report) = found_inside(&lab, read_only, "--cache-dir /run/ro");
    assert_eq!(found, [quiet, "lost cache/no-folder"]);
    let lost = report["findings"].as_array().unwrap().iter().find(|it| it["id"] == "no-folder");
    let lost = lost.unwrap();
    assert_eq!(lost["text"], "cannot write to /run/ro: Read-only file system");
    assert_eq!(lost["commands"][0], "findmnt --target /run/ro");
    assert_eq!(report["summary"].as_str().unwrap().split('.').next(), Some("Lost: the cache"));

    let full = "mkdir -p /run/full; mountpoint -q /run/full || {
            mount -t tmpfs -o size=2m,mode=700 tmpfs /run/full
            head -c 2m /dev/zero >/run/full/fill || true
        }";
    let (found, report) = found_inside(&lab, full, "--cache-dir /run/full");
    assert_eq!(found, [quiet, "lost cache/no-room"], "{report}");

    // Threads: of a user, since root is not held to a limit.
    let before = format!("{TELEGRAF}
                  sed -i /^max_/d /etc/libvirt/libvirtd.conf; sed -i /^access_/d /etc/libvirt/libvirtd.conf
                  telegraf-virt() {{ prlimit --nproc=24:24 setpriv --reuid 64077 --regid 64077 --clear-groups \
                  /var/lib/libvirt/images/telegraf-virt \"$@\"; }}");
    let (threads, _) = found_inside(&lab, &before, "--no-cache");
    assert_eq!(threads, [quiet, "advice limits/few-processes"]);
}

#[test]
fn the_page_shows_what_such_a_host_gives() {
    let Some(lab) = Lab::require("check, page") else { return };
    let one = lab.paused("db-01", 2, 3);
    lab.paused("db-02", 2, 3);
    lab.linux("web-01");
    inside(&lab, "telegraf-virt once >/dev/null");
    lab.signal_qemu("-STOP", &one);
    let printed = inside(
        &lab,
        "unset TELEGRAF_VIRT_CONFIG TELEGRAF_CONFIG_PATH
         if [ -e /etc/telegraf-virt ] || [ -e /etc/telegraf ]; then exit; fi
         telegraf-virt check || echo exit $?",
    );
    lab.signal_qemu("-CONT", &one);
    if printed.is_empty() {
        return skip("check, page", "this machine has configurations of its own");
    }
    let page = fs::read_to_string(repository().join("docs/troubleshooting.md")).unwrap();
    let (_, below) = page.split_once("```text\ntelegraf-virt ").unwrap();
    let (shown, _) = below.split_once("\n```").unwrap();
    // The same words; figures are those of another moment and machine.
    let words = |text: &str| -> Vec<String> {
        let is_uuid = |word: &str| word.trim_end_matches([')', '"', '\'']).len() == 36;
        let is_image = |word: &str| word.starts_with("/var/lib/libvirt/images/");
        let is_figure = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_digit()) || is_uuid(word) || is_image(word)
        };
        let words = text.split_whitespace().map(|it| if is_figure(it) { "N" } else { it });
        words.map(str::to_owned).collect()
    };
    let printed = printed.trim_start_matches("telegraf-virt ").replace("exit 1", "");
    let uses_of_home = printed.replace("/run/home/", "/root/");
    assert_eq!(
        words(shown),
        words(&uses_of_home),
        "docs/troubleshooting.md should show:\n{printed}"
    );
}
