//! The cache files under what only the system can do to them: kills at any moment of a write, several
//! processes at once, a disk that is full or read-only. The writers are this same test program, run
//! again for one test only.

use std::env;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use telegraf_virt::cache::{CacheDir, CacheEnv, CacheTime, DeviceCache, SavedState, StateFile};
use telegraf_virt::devices::{Inventory, NicDevice};
use telegraf_virt::sample::Domain;
use uuid::Uuid;

const URI: &str = "qemu:///system";
const TTL: Duration = Duration::from_secs(300);
const GUESTS: u128 = 100;
const BOOT: Uuid = Uuid::from_u128(7);
const NOW_NS: u64 = 1_000_000_000_000;
/// What tells the program that it is a writer: its folder, its number, and how many rounds.
const WRITER: [&str; 3] =
    ["CACHE_FILES_TEST_FOLDER", "CACHE_FILES_TEST_NUMBER", "CACHE_FILES_TEST_ROUNDS"];

fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn now(boot_ns: u64) -> CacheTime {
    CacheTime { boot: Some(BOOT), boot_ns, ..CacheTime::now() }
}

fn state_file(folder: &Path) -> StateFile {
    StateFile::new(CacheDir::named(folder, &CacheEnv::of_process()).unwrap(), URI)
}

/// What the file has. It must be complete.
fn load(folder: &Path, when: &str) -> SavedState {
    let (state, warning) = state_file(folder).load(&now(NOW_NS + 1_000_000));
    assert_eq!(warning, None, "{when}");
    state
}

fn files_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Guests of one writer, of which the XML is as long as real ones'.
fn fill(cache: &mut DeviceCache, writer: u128, round: i32) {
    for guest in 0..GUESTS {
        let nic = NicDevice { mac: Some("x".repeat(400)), ..NicDevice::default() };
        let inventory = Inventory { id: round, nics: vec![nic; 3], ..Inventory::default() };
        let uuid = Uuid::from_u128(writer * 1000 + guest);
        cache.insert(uuid, &format!("w{writer}-{guest}"), Arc::new(inventory), now_unix_s());
    }
}

fn samples(writer: u128, round: u64) -> Vec<Domain> {
    let sample = |guest| Domain {
        uuid: Uuid::from_u128(writer * 1000 + guest),
        name: format!("w{writer}-{guest}"),
        answered_at_ns: NOW_NS + round,
        ..Domain::default()
    };
    (0..GUESTS).map(sample).collect()
}

/// Does nothing but in the processes that the other tests start.
#[test]
fn a_writer_writes_when_it_is_asked_to() {
    let [Ok(folder), Ok(number), Ok(rounds)] = WRITER.map(env::var) else { return };
    let (writer, rounds): (u128, i32) = (number.parse().unwrap(), rounds.parse().unwrap());
    let mut failed = Vec::new();
    let dir = match CacheDir::named(Path::new(&folder), &CacheEnv::of_process()) {
        Ok(dir) => dir,
        Err(none) => return println!("FAILED {}", none.tried[0]),
    };
    let file = StateFile::new(dir, URI);
    for round in 0..rounds {
        let now = now(NOW_NS + round as u64);
        let (mut state, warning) = file.load(&now);
        assert_eq!(warning, None);
        fill(&mut state.devices, writer, round);
        let samples = samples(writer, round as u64);
        let write = file.prepare(&mut state.devices, &samples, &[], &now, TTL).unwrap();
        if let Err(error) = write.run() {
            failed.push(error.to_string());
        }
    }
    println!("FAILED {}", failed.join("; "));
}

fn writer(folder: &Path, number: u128, rounds: i32) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "cache_files::a_writer_writes_when_it_is_asked_to", "--nocapture"]);
    command.envs(WRITER.into_iter().zip([
        folder.display().to_string(),
        number.to_string(),
        rounds.to_string(),
    ]));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// The file is complete, and has all guests of one round.
fn assert_whole(folder: &Path, when: &str) {
    let SavedState { devices, samples, .. } = load(folder, when);
    assert_eq!((devices.len(), samples.len()), (GUESTS as usize, GUESTS as usize), "{when}");
    let mut rounds: Vec<u64> = samples.values().map(|sample| sample.answered_at_ns).collect();
    rounds.dedup();
    assert_eq!(rounds.len(), 1, "{when}: {rounds:?}");
}

#[test]
fn a_writer_killed_at_any_moment_leaves_the_old_file_or_the_new() {
    let folder = tempfile::tempdir().unwrap();
    assert!(writer(folder.path(), 0, 1).status().unwrap().success());
    let whole = files_in(folder.path());
    assert_eq!(
        whole,
        ["state-qemu_system-3af60887.jsonl", "state-qemu_system-3af60887.jsonl.lock"]
    );
    let mut within_a_write = 0;
    for kill in 0..40_u64 {
        let mut killed = writer(folder.path(), 0, 100_000).spawn().unwrap();
        // From its first write, which may replace what the last one left, to within its later ones.
        thread::sleep(Duration::from_millis(5 + 2 * kill));
        let seen = Instant::now();
        while files_in(folder.path()) == whole && seen.elapsed() < Duration::from_millis(200) {}
        killed.kill().unwrap();
        let status = killed.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{status}");
        within_a_write += usize::from(files_in(folder.path()) != whole);
        assert_whole(folder.path(), &format!("kill {kill}"));
    }
    println!("{within_a_write} of 40 kills came within a write");
    assert!(writer(folder.path(), 0, 1).status().unwrap().success());
    assert_eq!(files_in(folder.path()), whole);
}

#[test]
fn a_writer_killed_at_each_of_its_system_calls_leaves_the_old_file_or_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let trace = |call: &str, kill: usize| {
        let mut traced = Command::new("strace");
        let inject = format!("inject=?{call}:signal=SIGKILL:when={kill}");
        traced.args(["-f", "-qq", "-o", "/dev/null", "-e", &inject]);
        let command = writer(folder.path(), 0, 2);
        traced.arg(command.get_program()).args(command.get_args());
        traced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        traced.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        traced.status()
    };
    if !trace("renameat", 1000).is_ok_and(|status| status.success()) {
        assert!(env::var_os("REQUIRE_LIVE").is_none(), "strace is missing or may not trace");
        return eprintln!("SKIPPED: strace is missing or may not trace");
    }
    let mut kills = 0;
    for call in ["openat", "flock", "write", "renameat", "close", "unlinkat"] {
        for kill in 1.. {
            let status = trace(call, kill).unwrap();
            assert_whole(folder.path(), &format!("killed at {call} {kill}"));
            if status.success() {
                break;
            }
            assert_eq!(status.signal(), Some(9), "killed at {call} {kill}: {status}");
            kills += 1;
        }
    }
    println!("{kills} kills");
    assert!(kills > 20, "{kills} kills");
}

/// What a writer could not save, as it says itself.
fn failures(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let status = output.status;
    assert!(status.success(), "{status}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    // The test harness starts the line with the test's name.
    let (_, said) = text.split_once("FAILED ").unwrap();
    let said = said.lines().next().unwrap();
    said.split("; ").filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

#[test]
fn several_writers_keep_each_others_guests() {
    let folder = tempfile::tempdir().unwrap();
    let writers: Vec<Child> = (0..4)
        .map(|number| writer(folder.path(), number, 10).stdout(Stdio::piped()).spawn().unwrap())
        .collect();
    let mut in_time = Vec::new();
    for (number, child) in writers.into_iter().enumerate() {
        let failures = failures(&child.wait_with_output().unwrap());
        for failure in &failures {
            assert!(failure.ends_with("is locked by another process"), "{failure}");
        }
        if failures.is_empty() {
            in_time.push(number as u128);
        }
    }
    let SavedState { devices, samples, .. } = load(folder.path(), "after all");
    assert_eq!((devices.len(), samples.len()), (4 * GUESTS as usize, 4 * GUESTS as usize));
    for writer in in_time {
        for guest in 0..GUESTS {
            let uuid = Uuid::from_u128(writer * 1000 + guest);
            assert!(devices.fresh(&uuid, 9, now_unix_s(), TTL).is_some(), "{writer}: {guest}");
        }
    }
}

/// What a writer could not save on a small file system of its own, on which it has saved before and
/// to which `then` has happened since. `None` where none can be mounted.
fn failures_on_a_file_system(folder: &Path, then: &str) -> Option<Vec<String>> {
    let mounted = || {
        let mut command = Command::new("unshare");
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "sh", "-ec"]).stdin(Stdio::null());
        command
    };
    let mount = "mount -t tmpfs -o size=2m,mode=700 none \"$0\"";
    let probe = mounted().arg(mount).arg(folder).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        assert!(env::var_os("REQUIRE_LIVE").is_none(), "no file system can be mounted here");
        eprintln!("SKIPPED: no file system can be mounted here");
        return None;
    }
    let command = writer(folder, 0, 1);
    let mut script = mounted();
    script.arg(format!("{mount}; \"$@\" >/dev/null; {then}; \"$@\"; ls \"$0\" >&2")).arg(folder);
    script.arg(command.get_program()).args(command.get_args());
    script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = script.output().unwrap();
    let failures = failures(&output);
    let names = String::from_utf8_lossy(&output.stderr);
    let left: Vec<&str> = names.lines().filter(|line| line.ends_with(".new")).collect();
    assert_eq!(left, [""; 0], "left behind");
    Some(failures)
}

#[test]
fn a_full_disk_costs_only_the_save_and_leaves_no_half_file() {
    let folder = tempfile::tempdir().unwrap();
    let fill_up = "cat /dev/zero >\"$0/filler\" 2>/dev/null || true";
    let Some(failures) = failures_on_a_file_system(folder.path(), fill_up) else { return };
    let path = folder.path().join("state-qemu_system-3af60887.jsonl.new");
    let full = format!("cannot write {}: No space left on device", path.display());
    assert_eq!(failures, [full]);
}

#[test]
fn a_read_only_disk_is_no_place_for_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let remount = "mount -o remount,bind,ro \"$0\"";
    let Some(failures) = failures_on_a_file_system(folder.path(), remount) else { return };
    let path = folder.path().display();
    assert_eq!(failures, [format!("cannot write to {path}: Read-only file system")]);
}
