//! A hypervisor that lies, breaks its own protocol, or is broken: whatever it answers, the program ends as
//! it says it does, and prints whole lines of the guests that it could read.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use crate::support::flip::{Random, chance, flip};
use crate::support::libvirtd::{
    Body, Call, FakeGuest, Host, Libvirtd, Reply, Typed, Xdr, procedure,
};
use crate::support::lines::{self, Line};
use crate::support::process::{Finished, run};
use crate::support::program::{everything, program};

/// Runs one command against the fake, of which nothing but an end is expected. Where an answer makes a call
/// hang, the run lasts until its deadline, so that is short.
fn ask(
    host: Host,
    command: &[&str],
    script: impl Fn(&Call<'_>) -> Reply + Send + Sync + 'static,
) -> Finished {
    ask_within("1s", host, command, script)
}

/// The same where every guest must be read, however slow this machine is.
fn ask_all(
    host: Host,
    command: &[&str],
    script: impl Fn(&Call<'_>) -> Reply + Send + Sync + 'static,
) -> Finished {
    ask_within("60s", host, command, script)
}

/// Runs one command against the fake; whatever came, it was the program that ended it, with 0 or 1.
fn ask_within(
    deadline: &str,
    host: Host,
    command: &[&str],
    script: impl Fn(&Call<'_>) -> Reply + Send + Sync + 'static,
) -> Finished {
    let scratch = tempfile::tempdir().unwrap();
    let fake = Libvirtd::start(scratch.path(), host, script);
    let mut program = program(scratch.path());
    program.args(command).arg("--config").arg(everything(scratch.path()));
    program.args(["--deadline", deadline, "--uri", &fake.uri()]);
    match command[0] {
        "record" => program.arg(scratch.path().join("recording.jsonl")),
        _ => program.arg("--no-cache"),
    };
    let finished = run(&mut program).leveled();
    assert_eq!(finished.status.signal(), None, "{finished}");
    assert!(matches!(finished.status.code(), Some(0 | 1)), "{finished}");
    if command[0] == "once" {
        lines::read(&finished.stdout);
    }
    finished
}

fn honest(_: &Call<'_>) -> Reply {
    Reply::Changed(Box::new(|_| {}))
}

/// Answers one procedure with this body, and the others honestly.
fn lie(about: u32, body: Xdr) -> impl Fn(&Call<'_>) -> Reply + Send + Sync + 'static {
    move |call| {
        if call.procedure == about {
            Reply::Body(Body::Answer(body.0.clone()))
        } else {
            honest(call)
        }
    }
}

const COMMANDS: [&[&str]; 3] = [&["once"], &["check"], &["record"]];

#[test]
fn an_honest_fake_is_read_as_a_libvirtd_is() {
    for host in [Host::with(3), Host::with(3).one_by_one()] {
        let lines = lines::read(&ask_all(host, &["once"], honest).success().stdout);
        let always = ["vm_metrics", "vm_devices", "vm_totals"];
        let always = lines.iter().filter(|line| always.contains(&line.measurement.as_str()));
        assert_eq!(always.count(), 3 * 4);
        assert!(lines.iter().any(|line| line.tag("name") == "guest-00002"));
    }
}

#[test]
fn a_list_is_as_long_as_it_is_whatever_it_says() {
    for says in [0, 2, 3, 4, 5, 8, 20, 100, 100_000, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        for command in COMMANDS {
            let Body::Answer(mut list) = list_of_three() else { unreachable!() };
            let end = list.len() - 4;
            list[end..].copy_from_slice(&says.to_be_bytes());
            let script = lie(procedure::LIST, Xdr(list));
            let is_believed = command[0] == "once" && says <= 0x7fff_ffff;
            let deadline = if is_believed { "60s" } else { "1s" };
            let finished = ask_within(deadline, Host::with(3), command, script);
            if is_believed {
                let lines = lines::read(&finished.success().stdout);
                let guests = lines.iter().filter(|line| line.measurement == "vm_metrics");
                assert_eq!(guests.count(), 3, "says {says}");
            }
        }
    }
}

fn list_of_three() -> Body {
    let guests: Vec<FakeGuest> = (0..3).map(FakeGuest::number).collect();
    let list = guests.iter().fold(Xdr::default().uint(3), Xdr::guest).uint(3);
    Body::Answer(list.0)
}

/// libvirt's client writes as many statistics as the server sends, not as many as there is room for.
#[test]
fn memory_statistics_of_any_number_fit() {
    for count in [0, 1, 13, 14, 15, 100, 1000, 1024, 1025] {
        let body = (0..count).fold(Xdr::default().uint(count), |to, number| {
            to.int((number % 16) as i32).hyper(u64::MAX)
        });
        let host = Host::with(3).one_by_one();
        let finished = ask_all(host, &["once"], lie(procedure::MEMORY, body)).success();
        assert_eq!(totals(&finished), 3, "{count}: {finished}");
    }
}

/// libvirt's client writes as many counts of free pages as the server sends, however few were asked for.
#[test]
fn counts_of_free_pages_of_any_number_fit() {
    const CAPABILITIES: &str = "<capabilities><host><topology><cells num='1'><cell id='0'>\
         <memory unit='KiB'>8388608</memory><pages unit='KiB' size='4'>2097152</pages>\
         <pages unit='KiB' size='2048'>16</pages><cpus num='1'><cpu id='0'/></cpus></cell></cells>\
         </topology></host></capabilities>";
    for count in [0, 1, 2, 3, 100, 1000, 1024, 1025] {
        let script = move |call: &Call<'_>| match call.procedure {
            procedure::CAPABILITIES => Reply::answer(Xdr::default().text(CAPABILITIES)),
            procedure::FREE_PAGES => Reply::answer(
                (0..count)
                    .fold(Xdr::default().uint(count), |to, _| to.hyper(0x4141_4141_4141_4141)),
            ),
            _ => honest(call),
        };
        let finished = ask_all(Host::with(3), &["once"], script).success();
        let lines = lines::read(&finished.stdout);
        let pages =
            lines.iter().find(|line| line.fields.iter().any(|(name, _)| name == "pages_total"));
        let pages = pages.unwrap_or_else(|| panic!("{count}: {finished}"));
        let has_free = pages.fields.iter().any(|(name, _)| name == "pages_free");
        assert_eq!(has_free, (1..=1024).contains(&count), "{count}: {finished}");
    }
}

fn totals(finished: &Finished) -> usize {
    lines::read(&finished.stdout).iter().filter(|line| line.measurement == "vm_totals").count()
}

/// libvirt's client divides by the number that the server sends, and multiplies with the quotient.
#[test]
fn cpu_statistics_of_any_number_neither_overflow_nor_divide_by_zero() {
    let times = |count: usize| -> Vec<(String, Typed)> {
        (0..count).map(|_| ("cpu_time".to_owned(), Typed::Ullong(7))).collect()
    };
    for (sent, says) in [
        (0, 0),
        (0, -1),
        (0, i32::MAX),
        (1, 0),
        (3, 0),
        (16, 1),
        (16, 2),
        (16, 8),
        (16, 16),
        (16, -1),
        (17, 1),
    ] {
        let body = Xdr::default().parameters(&times(sent)).int(says);
        let host = Host::with(3).one_by_one();
        // A number to divide by that is 0 holds the call for ever: that is a hang, as any other.
        if says == 0 {
            ask(host, &["once"], lie(procedure::CPU, body));
        } else {
            let finished = ask_all(host, &["once"], lie(procedure::CPU, body));
            assert_eq!(totals(&finished), 3, "{sent} {says}: {finished}");
        }
    }
}

#[test]
fn a_hypervisor_that_makes_libvirt_divide_by_zero_costs_another_nothing() {
    let (scratch, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let body = Xdr::default().parameters(&[]).int(0);
    let hostile =
        Libvirtd::start(scratch.path(), Host::with(3).one_by_one(), lie(procedure::CPU, body));
    let healthy = Libvirtd::start(other.path(), Host::with(2), honest);
    let mut command = program(scratch.path());
    command.args([
        "once",
        "--no-cache",
        "--deadline",
        "20s",
        "--uri",
        &hostile.uri(),
        "--uri",
        &healthy.uri(),
    ]);
    let lines = lines::read(&run(&mut command).success().stdout);
    let is_of_healthy = |line: &&Line| line.tag("source") == healthy.uri();
    assert_eq!(lines.iter().filter(is_of_healthy).count(), 2 * 4);
}

#[test]
fn strings_where_none_belong_are_passed_over() {
    let texts: Vec<(String, Typed)> = ["rd_total_times", "cpu_time", "flush_operations"]
        .map(|name| (name.to_owned(), Typed::Text(vec![b'x'; 100_000])))
        .into();
    for about in [procedure::BLOCK_FLAGS, procedure::CPU] {
        let body = Xdr::default().parameters(&texts).int(3);
        let host = Host::with(3).one_by_one();
        let finished = ask_all(host, &["once"], lie(about, body)).success();
        assert_eq!(totals(&finished), 3, "{finished}");
    }
}

#[test]
fn more_than_was_asked_for_is_no_harm() {
    let many = |count: u32| -> Vec<(String, Typed)> {
        (0..count).map(|number| (format!("cpu.{number}"), Typed::Uint(number))).collect()
    };
    let strangers = (0..100).fold(Xdr::default().uint(100), |to, number| {
        to.guest(&FakeGuest::number(number % 7)).parameters(&many(10))
    });
    let vcpus = (0..500)
        .fold(Xdr::default().uint(500), |to, number| to.uint(number).int(1).hyper(5).int(0));
    let ids = (0..16_384).fold(Xdr::default().uint(16_384), Xdr::int);
    let lies = [
        (procedure::STATISTICS, strangers),
        (procedure::STATISTICS, Xdr::default().uint(0)),
        (
            procedure::STATISTICS,
            Xdr::default().uint(1).guest(&FakeGuest::number(0)).parameters(&many(50_000)),
        ),
        (procedure::VCPUS, vcpus.uint(0)),
        (procedure::LIST_IDS, ids),
        (procedure::BLOCK_FLAGS, Xdr::default().parameters(&many(17)).int(17)),
        (procedure::JOB, Xdr::default().int(1).parameters(&many(65))),
        (procedure::JOB, Xdr::default().int(1).parameters(&many(64))),
        (procedure::LOOK_UP, Xdr::default().guest(&FakeGuest::number(5))),
        (procedure::HOST_NAME, Xdr::default().text(vec![b'\n'; 1 << 20])),
        (procedure::XML, Xdr::default().text(vec![b'<'; 1 << 20])),
    ];
    for (about, body) in lies {
        for command in COMMANDS {
            ask(Host::with(3), command, lie(about, Xdr(body.0.clone())));
        }
        ask(Host::with(3).one_by_one(), &["once"], lie(about, Xdr(body.0.clone())));
    }
}

/// Each kind of message that breaks the protocol, as the answer to each procedure.
#[test]
fn a_broken_answer_to_any_call_ends_no_more_than_that_connection() {
    type Change = fn(&mut Vec<u8>);
    let changes: [Change; 9] = [
        |message| message.truncate(28),
        |message| message.truncate(10),
        |message| message[28..].fill(0xff),
        |message| message[28..].fill(0),
        |message| message[..4].copy_from_slice(&u32::MAX.to_be_bytes()),
        |message| message[..4].copy_from_slice(&0_u32.to_be_bytes()),
        // Another call's serial; an event; a stream's data.
        |message| message[20..24].copy_from_slice(&77_u32.to_be_bytes()),
        |message| message[16..20].copy_from_slice(&2_u32.to_be_bytes()),
        |message| message[24..28].copy_from_slice(&2_u32.to_be_bytes()),
    ];
    for change in changes {
        for about in procedure::ALL {
            let script = move |call: &Call<'_>| match call.procedure {
                procedure if procedure != about => honest(call),
                _ => Reply::Changed(Box::new(change)),
            };
            ask(Host::with(2), &["once"], script);
        }
    }
}

#[test]
fn a_hypervisor_that_hangs_up_or_hangs_at_any_call_is_left_by_the_deadline() {
    for about in procedure::ALL {
        for hangs in [false, true] {
            let script = move |call: &Call<'_>| match call.procedure {
                procedure if procedure != about => honest(call),
                _ if hangs => Reply::Never,
                _ => Reply::HangUp,
            };
            ask(Host::with(2), &["once"], script);
        }
    }
    ask_all(Host::with(2), &["once"], |_| Reply::Late(Duration::from_millis(20))).success();
}

/// Collections with flipped bytes in some replies: FLIPPED_COLLECTIONS of them, 200 without a word. Under
/// VALGRIND_FLIPPED=1 each runs under valgrind.
#[test]
fn flipped_bytes_crash_nothing() {
    let count = std::env::var("FLIPPED_COLLECTIONS").map_or(200, |count| count.parse().unwrap());
    let is_watched = std::env::var_os("VALGRIND_FLIPPED").is_some();
    for seed in 0..count {
        let scratch = tempfile::tempdir().unwrap();
        let host = if seed % 2 == 0 { Host::with(3) } else { Host::with(3).one_by_one() };
        let script = move |call: &Call<'_>| match chance(seed, call.procedure, call.before) {
            None => honest(call),
            Some(Random(from)) => Reply::Changed(Box::new(move |message| {
                flip(message, Random(from));
            })),
        };
        let fake = Libvirtd::start(scratch.path(), host, script);
        let mut command = program(scratch.path());
        if is_watched {
            let plain = command;
            command = std::process::Command::new("valgrind");
            command
                .args(["--quiet", "--error-exitcode=9", "--leak-check=no"])
                .arg(plain.get_program());
            command.envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
        }
        let deadline = if is_watched { "20s" } else { "300ms" };
        command.args(["once", "--cache-dir"]).arg(scratch.path().join("cache"));
        if seed % 3 > 0 {
            command.arg("--config").arg(everything(scratch.path()));
        }
        command.args(["--deadline", deadline, "--uri", &fake.uri()]);
        let finished = run(&mut command);
        let is_ended = matches!(finished.status.code(), Some(0 | 1));
        assert!(is_ended, "seed {seed}: {finished}");
        lines::read(&finished.stdout);
    }
}
