//! Collections into a file, by cron, by what systemd's service does, and by runs that overlap: each
//! collection whole, on a full disk cut to whole lines, none lost when logrotate comes in between.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::lab::{Lab, titles};
use crate::support::lines::{Line, read};
use crate::support::logrotate::{FILE, Logrotate, prerotate};
use crate::support::process::run;
use crate::support::program::{PROGRAM, program};
use crate::support::repository;
use crate::support::servers::{Server, require_program};
use crate::support::{say, skip, wait_until};

const PAGE: &str = include_str!("../../docs/without-telegraf.md");
const SERVICE: &str = include_str!("../../packaging/systemd/telegraf-virt.service");

/// Whether this is root; said aloud where not.
fn is_root(test: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        skip(test, "needs to be root");
    }
    is_root
}

/// A setting of the service.
fn setting(name: &str) -> &'static str {
    let lines: Vec<&str> =
        SERVICE.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect();
    assert_eq!(lines.len(), 1, "{name}: {lines:?}");
    lines[0]
}

/// The collections of a file, by their moments, in their order; no line of one stands in another.
fn collections(text: &str) -> Vec<(i64, Vec<Line>)> {
    let mut collections: Vec<(i64, Vec<Line>)> = Vec::new();
    for line in read(text) {
        match collections.last_mut() {
            Some((moment, lines)) if *moment == line.timestamp => lines.push(line),
            _ => collections.push((line.timestamp, vec![line])),
        }
    }
    let mut moments: Vec<i64> = collections.iter().map(|(moment, _)| *moment).collect();
    moments.sort_unstable();
    moments.dedup();
    assert_eq!(moments.len(), collections.len(), "a collection stands in two places:\n{text}");
    collections
}

/// Guests with 2 NICs and 3 disks have so many lines in each of these collections.
#[track_caller]
fn assert_lines(collections: &[(i64, Vec<Line>)], counts: &[usize]) {
    let found: Vec<usize> = collections.iter().map(|(_, lines)| lines.len()).collect();
    assert_eq!(found, counts);
}

/// `once` on a lab, with standard output at the end of a file, as `>>` opens it.
fn once(lab: &Lab, file: &Path, options: &[&str]) -> Child {
    let output = File::options().append(true).create(true).open(file).unwrap();
    program(lab.scratch())
        .args(["once", "--uri", &lab.uri(), "--cache-dir"])
        .arg(lab.scratch().join("cache"))
        .args(options)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for its end; it must have nothing to complain of but what holds these words.
fn end(child: Child, words: &str) {
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}: {told}", output.status);
    assert!(told.lines().all(|line| !words.is_empty() && line.contains(words)), "{told}");
}

#[test]
#[ignore = "slow: tests/run --all"]
fn crons_line_of_the_page_appends_whole_collections_each_minute() {
    let test = "file, cron";
    let Some(cron) = require_program(test, "CRON", "cron") else { return };
    if !is_root(test) {
        return;
    }
    let Some(lab) = Lab::require(test) else { return };
    lab.fleet(2, 2, 3);
    let scratch = lab.scratch().to_owned();
    for folder in ["spool/cron/crontabs", "log", "bin", "home"] {
        fs::create_dir_all(scratch.join(folder)).unwrap();
    }
    fs::copy(PROGRAM, scratch.join("bin/telegraf-virt")).unwrap();
    let (_, line) = PAGE.split_once("```crontab\n").unwrap();
    let (line, _) = line.split_once("```").unwrap();
    let crontab = scratch.join("spool/cron/crontabs/root");
    // Nothing can be mounted over a file that is not there, so the program is in the other folder.
    fs::write(&crontab, line.replace(" /usr/bin/", " /usr/local/bin/")).unwrap();
    fs::set_permissions(&crontab, fs::Permissions::from_mode(0o600)).unwrap();

    // The line as it is on the page, with the lab for the machine's libvirt; nothing of the machine's own
    // crontabs, settings and caches is seen, and nothing is written outside of these folders.
    let script = "
        scratch=$1 lab=$2 cron=$3
        mount -t tmpfs -o mode=755 tmpfs /run
        mkdir /run/libvirt
        mount --bind \"$lab\" /run/libvirt
        mount --bind \"$scratch/spool\" /var/spool
        mount --bind \"$scratch/bin\" /usr/local/bin
        mount --bind \"$scratch/log\" /var/log
        mount --bind \"$scratch/home\" \"$(getent passwd root | cut -d : -f 6)\"
        for folder in /etc/cron.d /etc/telegraf-virt /var/cache/telegraf-virt; do
            [ ! -d $folder ] || mount -t tmpfs tmpfs $folder
        done
        [ ! -e /etc/crontab ] || mount --bind /dev/null /etc/crontab
        exec \"$cron\" -f";
    let run_folder = scratch.join("lab/run");
    // The home may hold what is to be run.
    let cron_here = scratch.join("cron");
    fs::copy(cron, &cron_here).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sh"]);
    command.arg(&scratch).arg(run_folder).arg(cron_here).current_dir("/");
    let mut server = Server::start(&mut command, scratch.join("cron.log"));
    let file = scratch.join("log").join(Path::new(FILE).file_name().unwrap());
    let text = server.wait_until("cron has run twice", Duration::from_secs(240), || {
        let text = fs::read_to_string(&file).ok()?;
        // The second collection has rates, and ends with the second guest's totals.
        (text.matches("\nvm_totals,").count() == 4).then_some(text)
    });
    let told = server.end();
    assert_eq!(told, "");
    let collections = collections(&text);
    // Without rates at first: the cache is what the second run has them from.
    assert_lines(&collections, &[14, 16]);
    let second = |moment: i64| moment / 1_000_000_000 % 60;
    let seconds: Vec<i64> = collections.iter().map(|(moment, _)| second(*moment)).collect();
    say(&format!("file: cron appended 14 and 16 lines, at seconds {seconds:?} of the minute"));
}

/// The units in a folder, with the program under test where the service expects the installed one.
fn units(folder: &Path) -> PathBuf {
    for name in ["telegraf-virt.service", "telegraf-virt.timer"] {
        let unit = repository().join("packaging/systemd").join(name);
        let text = fs::read_to_string(unit).unwrap();
        let text = text.replace("ExecStart=telegraf-virt ", &format!("ExecStart={PROGRAM} "));
        fs::write(folder.join(name), text).unwrap();
    }
    folder.join("telegraf-virt.timer")
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units_and_little_that_the_service_could_do() {
    let test = "file, systemd-analyze";
    let Some(analyze) = require_program(test, "SYSTEMD_ANALYZE", "systemd-analyze") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let timer = units(scratch.path());
    let service = timer.with_extension("service");
    assert_eq!(setting("ExecStart"), "telegraf-virt once");
    for unit in [&timer, &service] {
        // The manual page comes with the package.
        let finished = run(Command::new(&analyze).args(["verify", "--man=no"]).arg(unit)).success();
        assert_eq!((&*finished.stdout, &*finished.stderr), ("", ""), "{finished}");
    }
    // From 0, nothing, to 100, everything; it is 13, most of it for the network.
    let mut security = Command::new(&analyze);
    security.args(["security", "--offline=true", "--threshold=20", "--no-pager"]);
    run(security.arg(&service)).success();
}

/// `once` as the service runs it: an unprivileged user without groups, an empty environment but for
/// the cache, the output opened for appending by root before.
fn as_service(lab: &Lab) -> Command {
    let cache = lab.scratch().join(setting("CacheDirectory"));
    if !cache.exists() {
        fs::create_dir(&cache).unwrap();
        fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).unwrap();
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        std::os::unix::fs::chown(&cache, Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw()))
            .unwrap();
        // Everybody may reach the lab's read-only socket and the program.
        fs::set_permissions(lab.scratch(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(PROGRAM, lab.scratch().join("telegraf-virt")).unwrap();
    }
    let empty = lab.scratch().join("empty.toml");
    fs::write(&empty, "").unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--no-new-privs"])
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(lab.scratch().join("telegraf-virt"))
        .args(setting("ExecStart").split(' ').skip(1))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("CACHE_DIRECTORY", cache)
        // The machine's own settings are not this test's.
        .env("TELEGRAF_VIRT_CONFIG", empty)
        .env("LIBVIRT_DEFAULT_URI", lab.uri())
        .current_dir("/");
    command
}

#[test]
fn what_systemds_service_does_appends_whole_collections_with_rates() {
    let test = "file, service";
    if !is_root(test) {
        return;
    }
    let Some(lab) = Lab::require(test) else { return };
    lab.fleet(3, 2, 3);
    assert_eq!(setting("StandardOutput"), format!("append:{FILE}"));
    assert_eq!(setting("StandardError"), "journal");
    // The user may not even open it.
    let file = lab.scratch().join("telegraf-virt.line");
    for _ in 0..3 {
        let output = File::options().append(true).create(true).open(&file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let finished = as_service(&lab).stdout(output).stderr(Stdio::piped()).spawn().unwrap();
        end(finished, "");
    }
    assert_eq!(fs::metadata(&file).unwrap().uid(), 0);
    assert_lines(&collections(&fs::read_to_string(&file).unwrap()), &[21, 24, 24]);
}

#[test]
fn a_full_disk_leaves_whole_lines_of_what_systemds_service_appends() {
    let test = "file, full disk";
    if !is_root(test) {
        return;
    }
    let Some(lab) = Lab::require(test) else { return };
    lab.fleet(4, 2, 3);
    let folder = lab.scratch().join("full");
    fs::create_dir(&folder).unwrap();
    // Some pages: each collection has about 8 KiB. Two that do not fit, so that the second finds what
    // the first has left.
    let script = "
        mount -t tmpfs -o size=20k tmpfs \"$1\"
        folder=$1
        shift
        for round in 1 2 3 4; do
            status=0
            \"$@\" >>\"$folder/telegraf-virt.line\" || status=$?
            echo \"$status\" >>/dev/stderr
        done
        cat \"$folder/telegraf-virt.line\"";
    let service = as_service(&lab);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sh"]).arg(&folder);
    command.arg(service.get_program()).args(service.get_args()).env_clear().current_dir("/");
    for (key, value) in service.get_envs() {
        command.env(key, value.unwrap());
    }
    let finished = run(&mut command).success();
    let full = "E! cannot write to standard output: No space left on device: lines of this \
                collection are lost";
    let (told, statuses): (Vec<&str>, Vec<&str>) =
        finished.stderr.lines().partition(|line| line.starts_with("E! "));
    let first_full = statuses.iter().position(|status| *status == "1").unwrap();
    assert!((1..3).contains(&first_full), "{finished}");
    assert!(statuses[first_full..].iter().all(|status| *status == "1"), "{finished}");
    assert_eq!(told, vec![full; 4 - first_full], "{finished}");

    // All that is there are whole lines: whole collections, then the beginnings of others.
    let size = finished.stdout.len();
    assert!(size > 19 * 1024 && size <= 20 * 1024, "{size} bytes of 20 KiB are used");
    let collections = collections(&finished.stdout);
    let whole = titles(&collections[1].1);
    assert_eq!(collections[0].1.len(), 28);
    for (_, lines) in &collections[1..] {
        assert_eq!(titles(lines), whole[..lines.len()]);
    }
    assert!(collections.len() > first_full, "{finished}");
}

#[test]
fn runs_that_overlap_one_of_them_slow_because_of_a_hung_guest_each_append_a_whole_collection() {
    let test = "file, overlap";
    let Some(lab) = Lab::require(test) else { return };
    lab.fleet(4, 2, 3);
    let file = lab.scratch().join("guests.line");
    let only = lab.scratch().join("healthy.toml");
    fs::write(&only, "[domains]\nexclude = [\"fleet-02\"]\n").unwrap();
    end(once(&lab, &file, &[]), "");

    let pid = lab.inside(&["cat", "/run/libvirt/qemu/fleet-02.pid"]);
    lab.inside(&["kill", "-STOP", pid.trim()]);
    let start = Instant::now();
    let slow = once(&lab, &file, &[]);
    // It has begun to ask the guests.
    wait_until("the slow run asks", Duration::from_secs(10), || {
        let threads = fs::read_dir(format!("/proc/{}/task", slow.id())).ok()?.count();
        (threads > 1).then_some(())
    });
    let fast: Vec<Child> =
        (0..2).map(|_| once(&lab, &file, &["--config", only.to_str().unwrap()])).collect();
    for child in fast {
        end(child, "");
    }
    let until_fast = start.elapsed();
    end(slow, "fleet-02");
    let until_slow = start.elapsed();
    lab.inside(&["kill", "-CONT", pid.trim()]);

    let collections = collections(&fs::read_to_string(&file).unwrap());
    let mut counts: Vec<usize> = collections.iter().map(|(_, lines)| lines.len()).collect();
    assert_eq!(counts.remove(0), 28);
    // Of the hung guest: state, memory, network, rates and totals, but no disk line.
    let slow = counts.iter().position(|count| *count != 24).map(|index| counts.remove(index));
    assert_eq!((counts, slow), (vec![24; 2], Some(32 - 3)));
    say(&format!(
        "file: two runs appended within {until_fast:.1?} while one took {until_slow:.1?}, each as a whole"
    ));
}

/// The text of each file that a name has been rotated to, and of the file itself.
fn rotated(file: &Path) -> BTreeMap<String, String> {
    let name = file.file_name().unwrap().to_str().unwrap();
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(file.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let found = path.file_name().unwrap().to_str().unwrap();
        if found.starts_with(name) {
            let text = run(Command::new("zcat").arg("-f").arg(&path)).success().stdout;
            texts.insert(found.to_owned(), text);
        }
    }
    texts
}

/// Keeps runs going, two at a time, while `rotate` is called; returns how many there were.
fn while_runs_go_on(lab: &Lab, file: &Path, rotations: usize, rotate: impl Fn()) -> usize {
    let mut count = 0;
    let mut running: Vec<Child> = Vec::new();
    for _ in 0..rotations {
        // Runs that have just begun, and others that are about to write.
        for _ in 0..4 {
            running.push(once(lab, file, &[]));
            count += 1;
            if running.len() > 2 {
                end(running.remove(0), "");
            }
        }
        rotate();
        // None goes on through two rotations, which are a day apart.
        for child in running.drain(..) {
            end(child, "");
        }
    }
    count
}

/// What a file, and each file that it was rotated to by the shipped rule with `more` in it, holds after
/// six rotations while runs went on, and how many runs there were.
fn rotated_while_runs_go_on(test: &str, more: &str) -> Option<(BTreeMap<String, String>, usize)> {
    let logrotate = require_program(test, "LOGROTATE", "logrotate")?;
    let lab = Lab::require(test)?;
    lab.fleet(3, 2, 3);
    let folder = lab.scratch().join("var");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("telegraf-virt.line");
    end(once(&lab, &file, &[]), "");
    let logrotate = Logrotate::at_once(logrotate, lab.scratch(), &file, more);
    let runs = while_runs_go_on(&lab, &file, 6, || logrotate.rotate());
    end(once(&lab, &file, &[]), "");
    Some((rotated(&file), runs + 2))
}

#[test]
fn logrotate_by_the_shipped_rule_costs_no_line_while_runs_go_on() {
    let test = "file, logrotate";
    let Some((texts, count)) = rotated_while_runs_go_on(test, "") else { return };
    let names: Vec<&str> = texts.keys().map(String::as_str).collect();
    let expected: Vec<String> = ["", ".1", ".2.gz", ".3.gz", ".4.gz", ".5.gz", ".6.gz"]
        .map(|end| format!("telegraf-virt.line{end}"))
        .into();
    assert_eq!(names, expected);
    let mut counts: Vec<usize> =
        texts.values().flat_map(|text| collections(text)).map(|(_, lines)| lines.len()).collect();
    counts.sort_unstable();
    let mut expected = vec![24; count];
    expected[0] = 21;
    // The first one may be the only one without rates.
    assert_eq!(counts, expected);
    say(&format!("file: {} collections whole through 6 rotations", counts.len()));
}

#[test]
fn logrotate_waits_until_no_run_of_the_minute_is_on_its_way() {
    for second in 0..60 {
        let script =
            format!("date() {{ echo {second:02}; }}\nsleep() {{ echo $1; }}\n{}", prerotate());
        let waited = run(Command::new("sh").args(["-ec", &script])).success().stdout;
        let waited: u32 = waited.trim().parse().unwrap_or(0);
        assert!((10..50).contains(&((second + waited) % 60)), "{second} s: waited for {waited} s");
    }
}

#[test]
fn a_file_that_is_copied_and_cut_while_runs_go_on_holds_whole_lines() {
    let test = "file, copytruncate";
    let Some((texts, count)) = rotated_while_runs_go_on(test, "    copytruncate\n") else { return };
    // What comes between copy and cut is lost to the copy: that is why the rule is not so. What
    // stands in the file itself begins and ends with a whole collection all the same.
    let mut kept = 0;
    for (name, text) in &texts {
        let whole = if *name == "telegraf-virt.line" {
            text.as_str()
        } else {
            // The copy may have ended within a line.
            &text[..text.rfind('\n').map_or(0, |end| end + 1)]
        };
        assert!(!whole.contains('\0'), "{name} has a hole");
        let collections = collections(whole);
        kept += collections.len();
        for (_, lines) in collections.iter().rev().skip(usize::from(name != "telegraf-virt.line")) {
            assert!([21, 24].contains(&lines.len()), "{name}: {} lines", lines.len());
        }
    }
    assert!(kept <= count, "{kept} of {count}");
    say(&format!("file: copytruncate kept {kept} of {count} collections"));
}
