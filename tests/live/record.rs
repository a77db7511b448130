//! Real hosts written down by the command itself and read back: what a replay prints is what the host's
//! own collection prints. With CAPTURE=FILE an anonymous recording is kept there; so was
//! fixtures/hosts/recorded.jsonl made.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::lab::Lab;
use crate::support::lines::{self, Line, Value};
use crate::support::process::{Finished, run};
use crate::support::program::{PROGRAM, program, without_settings};
use crate::support::wait_until;
use telegraf_virt::libvirt::Control;
use telegraf_virt::record::{RecordedAnswer, RecordedGuest, Recording};
use telegraf_virt::schema::EXTRAS;

/// What moves in a paused guest, too: QEMU works for whoever asks, and its process's memory may grow;
/// and how long a collection took.
const MOVES: [&str; 5] = ["cputime_ns", "cputime", "timeusr", "timesys", "memrss"];

const EVERYTHING: &str = "inactive = true\n";

fn record(lab: &Lab, file: &Path, options: &[&str]) -> Finished {
    let mut command = program(lab.scratch());
    run(command.args(["record", "--uri", &lab.uri()]).args(options).arg(file))
}

fn read(file: &Path) -> Recording {
    Recording::parse(&fs::read(file).unwrap()).unwrap()
}

/// What `once` prints of a recording, with these options.
fn replay(scratch: &Path, file: &Path, options: &[&str]) -> Finished {
    let uri = format!("replay:{}", file.display());
    run(program(scratch).args(["once", "--uri", &uri]).args(options))
}

/// The lines of these guests without what moves and without the times.
fn still(printed: &[Line], uuids: &[&str]) -> Vec<Line> {
    let is_of_them = |line: &&Line| line.find_tag("uuid").is_some_and(|it| uuids.contains(&it));
    let of_them = printed.iter().filter(is_of_them);
    let without = |line: &Line| {
        let mut line = line.clone();
        line.timestamp = 0;
        line.fields.retain(|(name, _)| !MOVES.contains(&name.as_str()));
        line
    };
    of_them.map(without).collect()
}

fn configuration(scratch: &Path, text: &str) -> String {
    let file = scratch.join("everything.toml");
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_replay_prints_what_the_host_printed_byte_for_byte_the_same_each_time() {
    let Some(lab) = Lab::require("record, replay") else { return };
    let linux = lab.linux("linux one");
    let paused = lab.paused("paused, with=odd name", 2, 3);
    let other = lab.paused("paused two", 1, 1);
    let off = "<domain type='qemu'><name>off</name><memory unit='MiB'>16</memory>\
               <os><type>hvm</type></os></domain>";
    lab.virsh_device("define", "--file", off);
    wait_until("the guest's memory figures", Duration::from_secs(60), || {
        (lab.stats(&linux).number("balloon.usable") > 0).then_some(())
    });
    let file = lab.scratch().join("host.jsonl");
    let config = format!(
        "extra = [{}]\nfeatures = [\"net\", \"disk\", \"cpu\", \"latency\", \"balloon\"]\n\
         device_tags = [\"mac\", \"model\", \"bus\", \"alias\", \"path\", \"network\"]\n\
         [domains]\n{EVERYTHING}",
        extra()
    );
    let config = configuration(lab.scratch(), &config);
    // The first fills the cache, so that the second has rates as the replay's last moment has.
    let cache = lab.scratch().join("cache");
    let live = |config: &str| {
        let mut command = program(lab.scratch());
        command.args(["once", "--uri", &lab.uri(), "--config", config, "--cache-dir"]);
        lines::read(&run(command.arg(&cache)).success().stdout)
    };
    live(&config);
    let told = record(&lab, &file, &["--samples", "3", "--interval", "500ms"]).success();
    assert!(told.stderr.starts_with("I! ") && told.stderr.contains("has 4 guests"), "{told}");
    let live = live(&config);

    let recording = read(&file);
    assert_eq!(recording.moments.len(), 3);
    let gaps = recording.moments.windows(2).map(|two| two[1].boot_ns - two[0].boot_ns);
    assert!(gaps.into_iter().all(|gap| gap >= 500_000_000));
    for moment in &recording.moments {
        assert_eq!(moment.guests.len(), 4);
        for guest in moment.guests.iter().filter(|guest| guest.id >= 0) {
            assert!(guest.xml().starts_with("<domain type='qemu'"), "{}", guest.xml());
            let has =
                |start: &str| guest.parameters().any(|it| it.name.starts_with(start.as_bytes()));
            assert!(["state.", "cpu.", "balloon.rss", "vcpu.", "block.0.rd"].map(has) == [true; 5]);
            assert_eq!(guest.calls.is_persistent, RecordedAnswer::Ok(false));
            assert!(
                matches!(guest.vcpus, RecordedAnswer::Ok(_))
                    && matches!(guest.job, RecordedAnswer::Ok(_))
            );
            let vda = &guest.devices["vda"];
            assert!(matches!(vda.block_counters, RecordedAnswer::Ok(_)), "{vda:?}");
            assert!(matches!(vda.block_statistics, RecordedAnswer::Ok(_)), "{vda:?}");
        }
    }

    // Twice, in other surroundings, with a cache that holds the host's guests.
    let options = ["--config", &config, "--cache-dir", cache.to_str().unwrap()];
    let files = |folder: &Path| -> Vec<(String, Vec<u8>)> {
        let mut entries: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
            })
            .collect();
        entries.sort();
        entries
    };
    let cached = files(&cache);
    let first = replay(lab.scratch(), &file, &options).success();
    assert_eq!(first.stderr, "", "{first}");
    let mut elsewhere = Command::new(PROGRAM);
    without_settings(&mut elsewhere, lab.scratch());
    elsewhere.current_dir(lab.scratch()).env("TZ", "Asia/Tokyo").env("LC_ALL", "tr_TR.UTF-8");
    let uri = format!("replay:{}", file.display());
    elsewhere.args(["--no-cache", "--config", &config, "-u", &uri]);
    let second = run(&mut elsewhere).success();
    assert!(first.stdout == second.stdout, "{first}{second}");
    assert_eq!(files(&cache), cached);
    let mut relative = program(lab.scratch());
    relative.current_dir(lab.scratch()).args(["-u", "replay:host.jsonl"]);
    let plain = replay(lab.scratch(), &file, &[]).success();
    assert_eq!(run(&mut relative).success().stdout, plain.stdout);

    // What the host printed a moment later, but for what moves.
    let replayed = lines::read(&first.stdout);
    let last = recording.moments.last().unwrap();
    for line in &replayed {
        assert_eq!(line.timestamp, i64::try_from(last.unix_ns).unwrap(), "{line:?}");
    }
    let of_guests = |all: &[Line]| -> Vec<Line> {
        all.iter().filter(|line| line.measurement != "vm_collector").cloned().collect()
    };
    let (live, replayed) = (of_guests(&live), of_guests(&replayed));
    // A disk that nobody read in between has no time for each read.
    let titles = |all: &[Line]| -> Vec<String> {
        let title = |line: &Line| {
            let mut names = line.field_names();
            names.retain(|name| !name.ends_with("_ms_per_req"));
            // The host's line has the address that was read.
            let tags: Vec<_> = line.tags.iter().filter(|(key, _)| key != "uri").collect();
            format!("{} {tags:?} {names:?}", line.measurement)
        };
        all.iter().map(title).collect()
    };
    assert_eq!(titles(&replayed), titles(&live));
    let without_rates = |all: &[Line]| -> Vec<Line> {
        let all = still(all, &[&paused, &other]);
        all.into_iter()
            .filter(|line| !["vm_features", "vm_vcpus"].contains(&line.measurement.as_str()))
            .map(|mut line| {
                line.fields.retain(|(name, _)| !name.starts_with("vcpu_") && name != "uptime_s");
                line
            })
            .collect()
    };
    let (expected, found) = (without_rates(&live), without_rates(&replayed));
    assert!(expected.len() > 12, "{expected:#?}");
    assert_eq!(found, expected);
    // The rates are those between the last two moments.
    let counter = |moment: usize| {
        let guests = &recording.moments[moment].guests;
        let guest = guests.iter().find(|guest| guest.uuid.to_string() == linux).unwrap();
        (number(guest, "cpu.time"), guest.answered_ns)
    };
    let ((before, before_ns), (now, now_ns)) = (counter(1), counter(2));
    let percent = 100.0 * (now - before) as f64 / (now_ns - before_ns) as f64;
    let features = |line: &&Line| line.measurement == "vm_features" && line.tag("uuid") == linux;
    let printed = replayed.iter().find(features).unwrap().float("cpu_percent");
    assert!((printed - percent).abs() < 1e-9 * percent, "{printed} {percent}");
    assert!(percent > 0.0);

    if let Some(kept) = env::var_os("CAPTURE") {
        let kept = Path::new(&kept);
        let _ = fs::remove_file(kept);
        record(&lab, kept, &["--anonymize"]).success();
    }
}

/// Every name of `extra` for which `once` prints something.
fn extra() -> String {
    let names = EXTRAS.iter().filter(|row| !row.execd_only).map(|row| format!("{:?}", row.name));
    names.collect::<Vec<_>>().join(", ")
}

fn number(guest: &RecordedGuest, name: &str) -> u64 {
    let found = guest.parameters().find(|it| it.name == name.as_bytes()).unwrap();
    let telegraf_virt::libvirt::Value::Uint(value) = found.value else { panic!("{found:?}") };
    value
}

#[test]
fn the_file_is_for_its_owner_alone_and_never_over_another_and_holds_no_name_where_asked() {
    let Some(lab) = Lab::require("record, anonymize") else { return };
    let one = lab.paused("secret name, eu=1", 2, 2);
    let two = lab.paused("zeta", 1, 1);
    let file = lab.scratch().join("host.jsonl");
    record(&lab, &file, &["--anonymize", "--samples", "1"]).success();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let xml = lab.virsh(&["dumpxml", &one]) + &lab.virsh(&["dumpxml", &two]);
    let mut secrets =
        vec![one, two, "secret name".to_owned(), "zeta".to_owned(), "/var/".to_owned()];
    secrets.extend(
        xml.split('\'')
            .filter(|it| it.len() == 17 && it.matches(':').count() == 5)
            .map(str::to_owned),
    );
    secrets.extend(
        xml.split(['\'', '<', '>'])
            .filter(|it| {
                it.starts_with('/')
                    && it.len() > 3
                    && it.matches('/').count() > 1
                    && !it.contains(' ')
            })
            .map(str::to_owned),
    );
    secrets.push(lab.inside(&["hostname"]).trim().to_owned());
    assert!(secrets.len() > 10, "{secrets:?}");
    for secret in &secrets {
        assert!(!text.contains(secret.as_str()), "{secret} is in {text}");
    }
    // What is printed of it differs in names only.
    let printed = lines::read(&replay(lab.scratch(), &file, &[]).success().stdout);
    let names: Vec<&str> = printed
        .iter()
        .filter(|line| line.measurement == "vm_totals")
        .map(|line| line.tag("name"))
        .collect();
    assert_eq!(names, ["guest-1", "guest-2"]);
    let devices: Vec<&str> = printed.iter().filter_map(|line| line.find_tag("device")).collect();
    assert_eq!(devices, ["vnet0", "vnet1", "vda", "vdb", "vnet2", "vda"]);

    let again = record(&lab, &file, &[]).code(1);
    assert!(again.stderr.contains("exists, and record never"), "{again}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn a_guest_that_hangs_costs_nobody_else_and_is_in_the_file_with_what_libvirtd_knows() {
    let Some(lab) = Lab::require("record, hung") else { return };
    let fleet = lab.fleet(3, 1, 1);
    let hung = lab.paused("hung", 1, 1);
    lab.signal_qemu("-STOP", &hung);
    let file = lab.scratch().join("host.jsonl");
    let started = Instant::now();
    let told = record(&lab, &file, &["--deadline", "2s"]).success();
    let took = started.elapsed();
    assert!(told.stderr.starts_with("W! guest \"hung\""), "{told}");
    assert_eq!(told.stderr.matches("did not answer").count(), 1, "{told}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    for moment in &read(&file).moments {
        let guest = moment.guests.iter().find(|guest| guest.uuid.to_string() == hung).unwrap();
        let is_stuck =
            |control: &Control| matches!(control, Control::Busy { for_ms: 1000.., command: true });
        assert!(
            matches!(&guest.calls.control, RecordedAnswer::Ok(it) if is_stuck(it)),
            "{guest:?}"
        );
        assert!(guest.parameters().any(|it| it.name == b"state.state"));
        assert!(!guest.parameters().any(|it| it.name.starts_with(b"block.0.rd")));
        assert_eq!(guest.calls.memory_statistics, RecordedAnswer::Unanswered);
        // Since libvirt 11.0 the XML waits for the guest, too.
        assert_eq!(guest.calls.xml, RecordedAnswer::Unanswered);
    }
    let first = replay(lab.scratch(), &file, &[]).success();
    let second = replay(lab.scratch(), &file, &[]).success();
    assert_eq!(first.stdout, second.stdout);
    assert!(first.stderr.contains("guest \"hung\" ("), "{first}");
    assert!(first.stderr.contains("is not responding"), "{first}");
    let printed = lines::read(&first.stdout);
    // Of each healthy one: metrics, features, a NIC, a disk, totals.
    for uuid in &fleet {
        assert_eq!(printed.iter().filter(|line| line.tag("uuid") == uuid).count(), 5);
    }
    let of_hung: Vec<&Line> = printed.iter().filter(|line| line.tag("uuid") == hung).collect();
    assert!(of_hung.iter().all(|line| line.find_field("disk_rd_req").is_none()), "{of_hung:?}");
    assert!(
        of_hung.iter().any(|line| line.find_field("state") == Some(&Value::Text("paused".into())))
    );
    let uri = format!("replay:{}", file.display());
    let check = run(program(lab.scratch()).args(["check", "--uri", &uri])).code(1);
    assert!(check.stdout.contains("3 of 4 guests read"), "{check}");
    lab.signal_qemu("-CONT", &hung);
}

#[test]
fn who_is_told_to_end_leaves_nothing_behind() {
    let Some(lab) = Lab::require("record, end") else { return };
    lab.paused("one", 0, 1);
    let folder = lab.scratch().join("here");
    fs::create_dir(&folder).unwrap();
    let mut command = program(lab.scratch());
    command.args(["record", "--samples", "1000", "--uri", &lab.uri()]);
    command.arg(folder.join("host.jsonl")).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_until("it has begun", Duration::from_secs(20), || fs::read_dir(&folder).unwrap().next())
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    run(Command::new("kill").arg(child.id().to_string())).success();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(told.contains("ended before everything was read; nothing is written"), "{told}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}
