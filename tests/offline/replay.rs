//! Recordings without a host behind them: the fixture that `record` made of real guests, libvirt's test
//! driver, and files that are no recordings. After a change that is meant, `BLESS=1 cargo test
//! --test offline replay` writes the new outputs; read their difference before it is committed.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::lines;
use crate::support::process::{Finished, run};
use crate::support::program::program;
use crate::support::repository;
use telegraf_virt::record::Recording;

fn fixture() -> PathBuf {
    repository().join("fixtures/hosts/recorded.jsonl")
}

fn uri(file: &Path) -> String {
    format!("replay:{}", file.display())
}

fn replay(file: &Path, options: &[&str]) -> Finished {
    let scratch = tempfile::tempdir().unwrap();
    run(program(scratch.path()).args(["once", "--uri", &uri(file)]).args(options))
}

fn assert_golden(name: &str, printed: &str) {
    let path = fixture().with_file_name(name);
    if env::var_os("BLESS").is_some() {
        fs::write(&path, printed).unwrap();
    }
    assert_eq!(printed, fs::read_to_string(&path).unwrap(), "differs from {}", path.display());
}

#[test]
fn a_recorded_host_gives_its_lines_byte_for_byte() {
    let printed = replay(&fixture(), &[]).success();
    assert_eq!(printed.stderr, "", "{printed}");
    assert_golden("recorded.default.txt", &printed.stdout);
    let scratch = tempfile::tempdir().unwrap();
    let config = scratch.path().join("config.toml");
    let everything = "features = ['net', 'disk', 'cpu', 'latency', 'balloon']
device_tags = ['mac', 'model', 'bus', 'serial', 'alias', 'path', 'network']
extra = ['state-reason', 'cpu-waits', 'memory-details', 'vcpus', 'disk-times', 'disk-space', 'iothreads', \
'perf', 'dirty-rate', 'memory-bandwidth', 'cpu-cache', 'jobs', 'limits', 'numa', 'info', 'hypervisor', 'other']
[domains]
inactive = true
";
    fs::write(&config, everything).unwrap();
    let printed = replay(&fixture(), &["--config", config.to_str().unwrap()]).success();
    assert_golden("recorded.all.txt", &printed.stdout);
}

#[test]
fn execd_walks_through_the_moments_and_then_prints_what_once_prints() {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = program(scratch.path());
    command.args(["execd", "--uri", &uri(&fixture())]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let once = replay(&fixture(), &[]).success().stdout;
    let last = once.lines().last().unwrap().to_owned();
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut output = std::io::BufRead::lines(std::io::BufReader::new(output)).map(Result::unwrap);
    let mut collect = |guests: usize| {
        input.write_all(b"\n").unwrap();
        let mut printed = String::new();
        let mut left = guests;
        while left > 0 {
            let line = output.next().unwrap();
            left -= usize::from(line.starts_with("vm_totals,"));
            printed += &(line + "\n");
        }
        printed
    };
    let recording = Recording::parse(&fs::read(fixture()).unwrap()).unwrap();
    let guests = recording.moments[0].guests.iter().filter(|guest| guest.id >= 0).count();
    let first = collect(guests);
    assert!(lines::read(&first).iter().all(|line| line.measurement != "vm_features"));
    let unix_ns = i64::try_from(recording.moments[0].unix_ns).unwrap();
    assert!(lines::read(&first).iter().all(|line| line.timestamp == unix_ns));
    assert_eq!(collect(guests), once, "{last}");
    assert_eq!(collect(guests), once);
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_test_driver_is_recorded_call_by_call_and_replays_its_ten_guests() {
    let scratch = tempfile::tempdir().unwrap();
    let node = repository().join("fixtures/node.xml");
    let test = format!("test://{}", node.display());
    let file = scratch.path().join("a b.jsonl");
    let mut command = program(scratch.path());
    command.args(["record", "--interval", "100ms", "-u", &test]).arg(&file);
    run(&mut command).success();
    let first = replay(&file, &[]).success();
    assert_eq!(first.stderr, "", "{first}");
    assert_eq!(first.stdout, replay(&file, &[]).success().stdout);
    let printed = lines::read(&first.stdout);
    let count = |name| printed.iter().filter(|line| line.measurement == name).count();
    assert_eq!(
        ["vm_metrics", "vm_features", "vm_devices", "vm_totals"].map(count),
        [10, 10, 50, 10]
    );
    let bytes: i64 = printed
        .iter()
        .filter(|line| line.measurement == "vm_totals")
        .map(|line| line.int("net_rxbytes"))
        .sum();
    assert!(bytes > 0);

    // A recording is recorded again, with its names replaced.
    let anonymous = scratch.path().join("anonymous.jsonl");
    let mut command = program(scratch.path());
    command.args(["record", "--anonymize", "-u", &uri(&file)]).arg(&anonymous);
    run(&mut command).success();
    let text = fs::read_to_string(&anonymous).unwrap();
    assert!(!text.contains("web-01") && !text.contains("/var/lib/libvirt"), "{text}");
    let again = lines::read(&replay(&anonymous, &[]).success().stdout);
    let values = |lines: &[lines::Line]| -> Vec<_> {
        lines.iter().map(|line| (line.measurement.clone(), line.fields.clone())).collect()
    };
    assert_eq!(values(&again), values(&printed));
}

#[test]
fn what_is_no_recording_gives_one_line_that_says_what_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    let told = |bytes: Option<&[u8]>| {
        let _ = fs::remove_file(&file);
        if let Some(bytes) = bytes {
            fs::write(&file, bytes).unwrap();
        }
        let finished = replay(&file, &[]).code(1);
        assert_eq!(finished.stdout, "", "{finished}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
        let start = format!("E! cannot read the guests of {}: ", uri(&file));
        finished.stderr.strip_prefix(&start).unwrap_or_else(|| panic!("{finished}")).to_owned()
    };
    assert_eq!(told(None), "no such file; `telegraf-virt record FILE` makes one\n");
    assert_eq!(told(Some(b"")), "line 1 of the recording: the file is empty\n");
    assert_eq!(
        told(Some(b"{\"telegraf-virt\":\"recording\",\"version\":9}")),
        "line 1 of the recording: a recording of version 9, and this program reads up to 2: read it \
         with the version that made it, or a later one\n"
    );
    assert_eq!(told(Some(b"\xff\n")), "line 1 of the recording: not UTF-8\n");
    let whole = fs::read_to_string(fixture()).unwrap();
    let mut lines: Vec<&str> = whole.lines().collect();
    let moment = lines[1];
    lines[2] = "{\"id\":1";
    let text = lines.join("\n");
    assert_eq!(
        told(Some(text.as_bytes())),
        "line 3 of the recording: EOF while parsing an object at column 7\n"
    );
    lines.truncate(2);
    let guests = Recording::parse(whole.as_bytes()).unwrap().moments[0].guests.len();
    assert_eq!(
        told(Some(lines.join("\n").as_bytes())),
        format!(
            "line 3 of the recording: the file ends, and there is no guest 1 of {guests}: it was cut\n"
        )
    );
    let long = format!("{}\n{moment}\n\"{}\"\n", lines[0], "x".repeat(17 << 20));
    assert_eq!(told(Some(long.as_bytes())), "line 3 of the recording: longer than 16 MiB\n");
    assert_eq!(
        told(Some((whole.clone() + "{}\n").as_bytes())),
        format!("line {} of the recording: one line too many\n", whole.lines().count() + 1)
    );

    let refused = |path: &Path| {
        let finished = replay(path, &[]).code(1);
        let (_, why) = finished.stderr.split_once(": ").unwrap();
        why.replace(folder.path().to_str().unwrap(), "DIR")
    };
    let _ = fs::remove_file(&file);
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(refused(&file), "it is no plain file; name a file that `record` wrote\n");
    assert_eq!(refused(folder.path()), "it is a folder; name a file that `record` wrote\n");
    let huge = folder.path().join("huge");
    fs::File::create(&huge).unwrap().set_len(600 << 20).unwrap();
    assert_eq!(refused(&huge), "it is larger than 512 MiB\n");
    let finished = run(program(folder.path()).args(["check", "--uri", &uri(&huge)])).code(1);
    let (_, remedy) =
        finished.stdout.split_once("cannot be read: it is larger than 512 MiB").unwrap();
    assert!(remedy.contains("Fix: name a file that is one"), "{finished}");
}
