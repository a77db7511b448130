//! Several hypervisors at once: this machine's, one by ssh, one by TLS and libvirt's test driver; and what
//! one that is down costs the others, in lines and in time.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::execd::{Collection, Execd};
use crate::support::lab::Lab;
use crate::support::lines::{Line, read};
use crate::support::pages;
use crate::support::process::run;
use crate::support::remote::{ASKING, NOWHERE, REFUSED, Remote, TLS};
use crate::support::tally::shapes;
use crate::support::{say, skip, wait_until};

const LOCAL: &str = "qemu:///system";
/// However slow the machine is.
const LONG: Duration = Duration::from_secs(60);
/// Longer than any collection here takes, and shorter than the watch's own limit.
const DEADLINE: Duration = Duration::from_secs(8);

/// Guests of libvirt's test driver.
fn node(lab: &Lab, names: &[&str]) -> String {
    let guests: String = names
        .iter()
        .map(|name| {
            format!(
                "<domain type='test'><name>{name}</name><memory>1024</memory><vcpu>1</vcpu>\
                 <os><type>hvm</type></os></domain>"
            )
        })
        .collect();
    let file = lab.scratch().join("node.xml");
    fs::write(&file, format!("<node>{guests}</node>")).unwrap();
    format!("test://{}", file.display())
}

/// The titles of lines, by the tag `source`.
fn by_source(lines: &[Line]) -> BTreeMap<String, Vec<String>> {
    let mut sources: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        sources.entry(line.tag("source").to_owned()).or_default().push(line.title());
    }
    sources
}

/// Two labs, of which the first is open to itself and to the second as other hosts are.
struct Hosts {
    here: Remote,
    there: Lab,
    /// The URI of the second, by ssh.
    ssh: String,
    test: String,
}

impl Hosts {
    fn require(test: &str) -> Option<Hosts> {
        let here = Remote::require(test)?;
        let there = Lab::require(test)?;
        let ssh = here.ssh(&there);
        let test = node(&here.lab, &["made up"]);
        Some(Hosts { here, there, ssh, test })
    }

    fn watch(&self, uris: &[&str]) -> Execd {
        let mut command = self.here.program(uris);
        command.args(["--no-cache", "--deadline", &format!("{}s", DEADLINE.as_secs())]);
        Execd::of(&mut command)
    }

    fn name(lab: &Lab) -> String {
        lab.inside(&["hostname"]).trim().to_owned()
    }
}

/// What the first collection of a process prints.
fn without_features(sources: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    let mut sources = sources.clone();
    sources.values_mut().for_each(|titles| titles.retain(|it| !it.starts_with("vm_features ")));
    sources
}

fn longest<'a>(collections: impl IntoIterator<Item = &'a Collection>) -> Duration {
    collections.into_iter().map(|collection| collection.took).max().unwrap()
}

#[test]
fn local_ssh_tls_and_test_guests_come_together_and_a_dead_host_costs_them_neither_lines_nor_time() {
    let Some(hosts) = Hosts::require("hosts, four and a dead one") else { return };
    let here = hosts.here.lab.paused("twin", 1, 2);
    let there = hosts.there.paused("twin", 2, 1);
    hosts.there.fleet(6, 1, 1);
    let all = [LOCAL, &hosts.ssh, TLS, &hosts.test];

    let mut execd = hosts.watch(&all);
    execd.collect();
    let peace: Vec<Collection> = (0..10).map(|_| execd.collect()).collect();
    assert_eq!(execd.end(), ["I! ready: triggers count from here on"]);

    let lines = &peace[0].lines;
    let names: Vec<&str> = lines.iter().map(|line| line.tag("name")).collect();
    assert!(names.is_sorted(), "{names:?}");
    // One libvirtd by two URIs, and the test driver under the same host's name: each is told by its URI.
    let sources = by_source(lines);
    let keys: Vec<&str> = sources.keys().map(String::as_str).collect();
    let name_there = Hosts::name(&hosts.there);
    let mut expected = [name_there.as_str(), LOCAL, TLS, &hosts.test];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    // vm_metrics, vm_features, vm_totals, and the devices.
    assert_eq!(sources[LOCAL].len(), 3 + 3);
    assert_eq!(sources[TLS], sources[LOCAL]);
    assert_eq!(sources[&name_there].len(), 6 * (3 + 2) + (3 + 3));
    assert_eq!(sources[&hosts.test].len(), 3);
    // Two guests of one name on two hosts, one of them seen twice: no two lines are one point.
    let twins: Vec<(&str, &str)> = lines
        .iter()
        .filter(|line| line.measurement == "vm_metrics" && line.tag("name") == "twin")
        .map(|line| (line.tag("uuid"), line.tag("source")))
        .collect();
    assert_eq!(twins, [(&*here, LOCAL), (&there, &name_there), (&here, TLS)]);

    for (dead, words) in [
        (NOWHERE, "it does not answer"),
        (REFUSED, "unable to connect to server at 'kvm3.example:1': Connection refused"),
        ("qemu+unix:///system?socket=/nonexistent", "Failed to connect socket"),
    ] {
        let mut execd = hosts.watch(&[LOCAL, dead, &hosts.ssh, TLS, &hosts.test]);
        let first = execd.collect();
        // Nothing tells a host that never answers from a slow one: that much is waited for it, once.
        assert!(first.took <= DEADLINE + Duration::from_millis(500), "{:?}", first.took);
        assert_eq!(
            by_source(&first.lines),
            without_features(&sources),
            "{dead}: {:#?}",
            first.lines
        );
        let beside: Vec<Collection> = (0..10).map(|_| execd.collect()).collect();
        for collection in &beside {
            assert_eq!(by_source(&collection.lines), sources, "{dead}");
        }
        assert!(longest(&beside) < DEADLINE / 2, "{dead}: {:?}", longest(&beside));
        let told = execd.end();
        assert_eq!(told.len(), 2, "{told:#?}");
        let beginning = format!("E! cannot read the guests of {dead}: {words}");
        assert!(told[1].starts_with(&beginning), "{told:#?}");
        say(&format!(
            "hosts: longest of 10 collections of four hosts {} ms, beside {dead} {} ms, the first one {} ms",
            longest(&peace).as_millis(),
            longest(&beside).as_millis(),
            first.took.as_millis()
        ));
    }
    wait_until("the end of each ssh", LONG, || {
        hosts.here.processes("ssh").is_empty().then_some(())
    });
}

/// What a collection of `hosts` must hold while one is down: all but that one's lines.
fn collect_without(
    execd: &mut Execd,
    whole: &BTreeMap<String, Vec<String>>,
    down: &str,
    count: usize,
) -> Duration {
    let mut others = whole.clone();
    others.remove(down).unwrap();
    let collections: Vec<Collection> = (0..count).map(|_| execd.collect()).collect();
    for collection in &collections {
        let mut got = by_source(&collection.lines);
        // Perhaps it was not quite gone yet, or is back sooner than expected.
        got.remove(down);
        assert_eq!(got, others);
    }
    // The first one may wait: the host was there a moment ago.
    longest(&collections[1..])
}

#[test]
fn a_host_that_goes_down_and_comes_back_is_told_of_once_each_time_and_the_others_stay_whole() {
    let Some(hosts) = Hosts::require("hosts, down and back") else { return };
    hosts.here.lab.paused("near", 1, 1);
    hosts.there.fleet(6, 1, 1);
    let mut execd = hosts.watch(&[LOCAL, &hosts.ssh, &hosts.test]);
    execd.collect();
    let whole = by_source(&execd.collect().lines);
    assert_eq!(whole.len(), 3);
    execd.news();
    let there = Hosts::name(&hosts.there);

    type Act<'a> = &'a dyn Fn();
    let faults: [(&str, Act, Act); 4] = [
        ("its libvirtd ends", &|| hosts.there.signal_libvirtd("-TERM"), &|| {
            hosts.there.start_libvirtd()
        }),
        ("its libvirtd is stopped", &|| hosts.there.signal_libvirtd("-STOP"), &|| {
            hosts.there.signal_libvirtd("-CONT")
        }),
        ("its sshd is stopped", &|| hosts.here.signal_sessions("-STOP"), &|| {
            hosts.here.signal_sessions("-CONT")
        }),
        ("its sshd ends", &|| hosts.here.stop_sshd(), &|| hosts.here.start_sshd()),
    ];
    for (fault, begin, end) in faults {
        begin();
        let longest = collect_without(&mut execd, &whole, &there, 6);
        assert!(longest < DEADLINE / 2, "{fault}: {longest:?}");
        let news = execd.news();
        assert_eq!(news.len(), 1, "{fault}: {news:#?}");
        let beginning = format!("E! cannot read the guests of {}: ", hosts.ssh);
        assert!(news[0].starts_with(&beginning), "{fault}: {news:#?}");
        let ssh = hosts.here.processes("ssh").len();
        // One each for its calls that hang, and no more: max_stuck, workers, and two for lists.
        assert!(ssh <= 12 + 4 + 2, "{fault}: {ssh} processes of ssh");
        end();
        let started = Instant::now();
        while by_source(&execd.collect().lines) != whole {
            assert!(started.elapsed() < LONG, "{fault}: not back\n{:#?}", execd.news());
        }
        let news = execd.news();
        assert_eq!(news, [format!("I! {} answers again", hosts.ssh)], "{fault}");
        say(&format!(
            "hosts: {fault}: told once, longest of 5 collections of the others {} ms, {ssh} ssh",
            longest.as_millis()
        ));
    }
    let states = hosts.here.processes("ssh");
    assert!(!states.iter().any(|state| state.starts_with('Z')), "zombies: {states:?}");
    assert_eq!(execd.end(), Vec::<String>::new());
    wait_until("the end of each ssh", LONG, || {
        hosts.here.processes("ssh").is_empty().then_some(())
    });
}

#[test]
#[ignore = "slow: tests/run --all"]
fn a_host_that_is_slow_to_connect_to_has_all_its_guests_at_once_and_none_is_said_to_hang() {
    let Some(hosts) = Hosts::require("hosts, slow") else { return };
    hosts.there.fleet(7, 1, 2);
    let mut execd = hosts.watch(&[&hosts.ssh]);
    execd.collect();
    let whole = shapes(&execd.collect().lines);
    assert_eq!(execd.end(), ["I! ready: triggers count from here on"]);
    // Longer than a call to a healthy guest takes.
    hosts.here.slow_ssh(Duration::from_millis(2000));
    let mut execd = hosts.watch(&[&hosts.ssh]);
    let first = execd.collect();
    assert!(first.took > Duration::from_millis(2000), "{:?}", first.took);
    let mut without_features = whole.clone();
    without_features
        .values_mut()
        .for_each(|shape| shape.retain(|title, _| !title.contains("features")));
    assert_eq!(shapes(&first.lines), without_features, "{:#?}", execd.news());
    assert_eq!(shapes(&execd.collect().lines), whole);
    assert_eq!(execd.end(), ["I! ready: triggers count from here on"]);
    say(&format!(
        "hosts: ssh takes 2 s to connect: the first collection {} ms, whole",
        first.took.as_millis()
    ));
}

#[test]
#[ignore = "slow: tests/run --all"]
fn no_ssh_outlives_the_program_whichever_way_it_ends() {
    let Some(hosts) = Hosts::require("hosts, ssh") else { return };
    hosts.there.fleet(6, 1, 1);
    let gone = |what: &str| {
        wait_until(what, LONG, || hosts.here.processes("ssh").is_empty().then_some(()));
    };
    // Told to end while its connections stand, and while it waits for one that does not come.
    for signal in ["-TERM", "-INT"] {
        let mut execd = hosts.watch(&[&hosts.ssh]);
        execd.collect();
        let at_work = hosts.here.processes("ssh").len();
        assert!((2..=4).contains(&at_work), "{at_work} processes of ssh for 4 workers");
        // As a terminal's Ctrl-C does, to ssh too.
        hosts.here.lab.inside(&["pkill", signal, "-x", "(telegraf-virt|ssh)"]);
        let told = execd.ended();
        assert!(told.iter().all(|message| !message.starts_with("E! ")), "{signal}: {told:#?}");
        gone("the end of each ssh, after a signal");
    }
    hosts.here.signal_sshd("-STOP");
    for _ in 0..2 {
        let mut command = hosts.here.program(&[&hosts.ssh]);
        let finished = run(command.args(["--no-cache", "--deadline", "1s"])).code(1);
        assert!(finished.stderr.contains("it does not answer"), "{finished}");
        gone("the end of an ssh that waits for a host in vain");
    }
    hosts.here.signal_sshd("-CONT");
}

#[test]
#[ignore = "slow: tests/run --all"]
fn an_ssh_that_asks_for_a_password_costs_no_more_than_the_deadline_and_with_no_tty_nothing() {
    let Some(remote) = Remote::require("hosts, password") else { return };
    let script = PathBuf::from("/usr/bin/script");
    if !script.exists() {
        skip("hosts, password", "no script, of the package bsdutils");
        return;
    }
    // On a terminal of its own, where ssh asks.
    let on_terminal = |uri: &str| {
        let log = remote.lab.scratch().join("terminal");
        let program = crate::support::program::PROGRAM;
        let command = format!("{program} once --no-cache --deadline 2s --uri '{uri}'");
        let empty = remote.lab.scratch().join("empty.toml");
        let settings = format!("TELEGRAF_VIRT_CONFIG={}", empty.display());
        let words = ["env", &settings, "script", "-qec", &command, log.to_str().unwrap()];
        let finished = run(&mut remote.lab.inside_command(&words)).code(1);
        wait_until("the end of ssh", LONG, || remote.processes("ssh").is_empty().then_some(()));
        finished.stdout
    };
    let asked = on_terminal(ASKING);
    assert!(asked.contains("password:"), "{asked}");
    assert!(asked.contains("it does not answer"), "{asked}");
    let refused = on_terminal(&format!("{ASKING}?no_tty=1"));
    assert!(!refused.contains("password:"), "{refused}");
    assert!(refused.starts_with("E! cannot read the guests of "), "{refused}");
    assert!(refused.contains("Permission denied (password"), "{refused}");
}

#[test]
fn check_tells_of_each_of_several_hypervisors_and_what_is_wrong_with_it() {
    let Some(hosts) = Hosts::require("hosts, check") else { return };
    hosts.here.lab.paused("near", 1, 1);
    hosts.there.paused("far", 1, 1);
    let uris = [LOCAL, &hosts.ssh, TLS, &hosts.test, REFUSED, NOWHERE];
    let mut command = hosts.here.program(&uris);
    let finished = run(command.args(["check", "--no-cache", "--deadline", "2s"])).code(1);
    for uri in &uris[..4] {
        let answers = format!("\nHypervisor {uri}\n  ok    libvirt ");
        assert!(finished.stdout.contains(&answers), "{finished}");
        let guests = format!("\nGuests of {uri}\n  ok    1 of 1 guests read\n");
        assert!(finished.stdout.contains(&guests), "{finished}");
    }
    for uri in &uris[4..] {
        let lost = format!("\nHypervisor {uri}\n  LOST  it ");
        assert!(finished.stdout.contains(&lost), "{finished}");
    }
    assert_eq!(finished.stderr, "");
}

/// A block of docs/remote-hosts.md, by its language and what it begins with.
fn block(language: &str, beginning: &str) -> String {
    let page = pages::read("docs/remote-hosts.md");
    let (_, text) = page.split_once(&format!("```{language}\n{beginning}")).unwrap();
    format!("{beginning}{}", text.split_once("```").unwrap().0)
}

#[test]
#[ignore = "slow: tests/run --all"]
fn ssh_gives_up_a_network_that_swallows_packets_by_the_pages_settings() {
    let Some(hosts) = Hosts::require("hosts, ssh's settings") else { return };
    hosts.there.fleet(2, 1, 1);
    let settings = block("text", "Match localuser telegraf\n").replace("telegraf", "root");
    hosts.here.configure_ssh(&settings);
    let settled = hosts.here.lab.inside(&["ssh", "-G", "kvm2.example"]);
    for setting in ["connecttimeout 10", "serveraliveinterval 5", "serveralivecountmax 3"] {
        assert!(settled.lines().any(|line| line == setting), "{setting}\n{settled}");
    }
    // Sooner, for this test.
    let sooner = settings.replace(" 5\n", " 1\n").replace(" 3\n", " 1\n").replace(" 10\n", " 2\n");
    hosts.here.configure_ssh(&sooner);
    let mut execd = hosts.watch(&[&hosts.ssh]);
    assert_eq!(execd.collect().lines.len(), 2 * 4);
    hosts.here.signal_sessions("-STOP");
    // Nobody triggers: the connections that stand end by themselves, and are cleared away when they are
    // to be used again.
    let zombie = |state: &String| state.starts_with('Z');
    wait_until("the end of each ssh", LONG, || {
        hosts.here.processes("ssh").iter().all(zombie).then_some(())
    });
    hosts.here.signal_sessions("-CONT");
    assert_eq!(execd.collect().lines.len(), 2 * 5);
    let left = hosts.here.processes("ssh");
    assert!(!left.is_empty() && !left.iter().any(zombie), "{left:?}");
    assert_eq!(execd.end(), ["I! ready: triggers count from here on"]);
}

#[test]
fn the_pages_uris_are_read_as_they_stand_there() {
    let Some(remote) = Remote::require("hosts, page") else { return };
    let guest = remote.lab.paused("web-01", 1, 1);
    let settings = block("toml", "uris = [\n");
    let file = remote.lab.scratch().join("several.toml");
    fs::write(&file, &settings).unwrap();
    let mut command = remote.program(&[]);
    let finished = run(command.args(["--no-cache", "--config"]).arg(&file)).success();
    assert_eq!(finished.stderr, "");
    let lines = read(&finished.stdout);
    // Each of them is this lab.
    let sources = by_source(&lines);
    let uris = settings.lines().filter_map(|line| line.trim().strip_prefix('"')?.split('"').next());
    let uris: Vec<&str> = uris.collect();
    let parts = uris.iter().map(|uri| uri.split(':').next().unwrap());
    assert_eq!(parts.collect::<Vec<_>>(), ["qemu", "qemu+ssh", "qemu+tls"]);
    assert_eq!(sources.len(), uris.len());
    for uri in uris {
        let expected = [
            "vm_metrics web-01",
            "vm_devices web-01 vnet0",
            "vm_devices web-01 vda",
            "vm_totals web-01",
        ];
        assert_eq!(sources[uri], expected, "{uri}");
    }
    assert!(lines.iter().all(|line| line.tag("uuid") == guest));
}

#[test]
fn with_events_a_host_that_falls_silent_is_known_to_be_gone_within_seconds() {
    let Some(hosts) = Hosts::require("hosts, silent with events") else { return };
    hosts.there.paused("twin", 1, 1);
    let settings = hosts.here.lab.scratch().join("events.toml");
    fs::write(&settings, "extra = [\"events\"]\n").unwrap();
    let mut command = hosts.here.program(&[LOCAL, &hosts.ssh]);
    command.args(["--no-cache", "--config"]).arg(&settings);
    let mut execd = Execd::of(&mut command);
    execd.collect();
    hosts.here.signal_sessions("-STOP");
    let silent = Instant::now();
    // libvirt asks every 4 s, and takes the third answer that fails to come for the end.
    wait_until("the loss is told", Duration::from_secs(60), || {
        let lines = execd.collect().lines;
        lines.iter().any(|line| line.find_tag("event") == Some("lost")).then_some(())
    });
    let took = silent.elapsed();
    hosts.here.signal_sessions("-CONT");
    say(&format!(
        "hosts: with events a silent host is known to be gone after {} s",
        took.as_secs()
    ));
    assert!(took < Duration::from_secs(30), "{took:?}");
    drop(execd);
}
