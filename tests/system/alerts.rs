//! The rules for alerts, on real databases with made lines: each fires once, for what ails and for nothing
//! else. vmalert itself runs those for VictoriaMetrics; of those for Grafana each query is run in a real
//! InfluxDB 1.x, and what Grafana does with the answer, to reduce it to a number and hold that against a
//! limit, is done here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::Range;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::dashboards::Dashboard;
use crate::support::dashboards::{blocks, list, path, read, text};
use crate::support::process::run;
use crate::support::say;
use crate::support::servers::{Influxdb, Series, http_post, require_program};
use crate::support::victoria_metrics::VictoriaMetrics;
use serde_json::Value as Json;

/// What can ail a guest. Each is the name of a guest of its own.
const GUESTS: [&str; 6] = ["well", "hangs", "steals", "swaps", "errs", "drops"];

/// Guests of a host with `extra = ["answer"]`, and what their answers say while they ail. That of the first has
/// disks without counters, for ever; the second arrives from another host.
const ANSWERS: [(&str, &str); 4] =
    [("vhost", "whole"), ("arrives", "busy"), ("silent", "hung"), ("locked", "locked")];

/// The words of an answer, in the order of their numbers.
const CODES: [&str; 5] = ["whole", "starting", "busy", "locked", "hung"];

/// What can ail a hypervisor's collections. Each is the name of a host of its own.
const HOSTS: [&str; 4] = ["hv-well", "hv-late", "hv-slow", "hv-down"];

/// Which rule must fire for which of them, under its names for VictoriaMetrics and for Grafana.
pub const FIRE: [(&str, &str, &str); 10] = [
    ("GuestHangs", "Guest hangs", "hangs"),
    ("GuestHangs", "Guest hangs", "silent"),
    ("GuestHangs", "Guest hangs", "locked"),
    ("GuestStealHigh", "Guest waits for a host CPU", "steals"),
    ("GuestSwapsIn", "Guest swaps in", "swaps"),
    ("GuestDiskErrors", "Guest's disk has errors", "errs"),
    ("GuestNicDrops", "Guest's NIC drops packets", "drops"),
    ("CollectorLate", "Collector is late", "hv-late"),
    ("CollectionSlow", "Collections are slow", "hv-slow"),
    ("HypervisorDown", "Hypervisor does not answer", "hv-down"),
];

/// How many rules there are.
pub fn rules() -> usize {
    FIRE.iter().map(|(rule, ..)| rule).collect::<BTreeSet<_>>().len()
}

pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// The number that telegraf-virt-answer.conf makes of an answer.
fn code(answer: &str) -> usize {
    CODES.iter().position(|it| *it == answer).unwrap()
}

/// Collections each 10 s, as the program prints them, of all guests and hosts; while it is `ailing`, each
/// but the healthy ones has what it is named after.
pub fn lines(time: Range<i64>, ailing: &Range<i64>) -> String {
    let mut lines = String::new();
    for now in time.clone().step_by(10) {
        let at = |who: &str, ail: &str| who == ail && ailing.contains(&now);
        let second = now - time.start;
        // How long it has ailed.
        let ailed = (now - ailing.start).clamp(0, ailing.end - ailing.start);
        let stamp = now * 1_000_000_000;
        for (number, who) in GUESTS.iter().enumerate() {
            let tags = format!("VMID={number},name={who},uuid=uuid-of-{who},host=hv-well");
            let gained = |ail: &str, rate: i64| if *who == ail { ailed * rate } else { 0 };
            let steal = if at(who, "steals") { 30.0 } else { 0.5 };
            writeln!(lines, "vm_features,{tags} cpu_percent=50.0,steal_percent={steal:?} {stamp}")
                .unwrap();
            let drops = gained("drops", 25);
            writeln!(
                lines,
                "vm_devices,{tags},devtype=nic,device=vnet{number} rxbytes={second}000i,\
                 txbytes={second}000i,rxdrops={drops}i,txdrops=7i {stamp}"
            )
            .unwrap();
            let mut disks = String::new();
            if !at(who, "hangs") {
                let errors = 3 + gained("errs", 1);
                writeln!(
                    lines,
                    "vm_devices,{tags},devtype=disk,device=vda rd_req={second}i,wr_reqs={second}i,\
                     errors={errors}i {stamp}"
                )
                .unwrap();
                let swapped = 50_000 + gained("swaps", 900);
                disks = format!("disk_rd_req={second}i,memswap_in={swapped}i,");
            }
            writeln!(lines, "vm_totals,{tags} {disks}cputime={second}000000i,state=1i {stamp}")
                .unwrap();
        }
        for (number, (who, answer)) in ANSWERS.iter().enumerate() {
            let tags = format!("VMID={number},name={who},uuid=uuid-of-{who},host=hv-answers");
            let ails = ailing.contains(&now);
            let answer = if ails { answer } else { "whole" };
            let code = code(answer);
            writeln!(lines, "vm_metrics,{tags} answer=\"{answer}\",answer_code={code}i {stamp}")
                .unwrap();
            if answer == "locked" {
                continue;
            }
            let is_silent = *who == "vhost" || answer != "whole";
            let disks = if is_silent { String::new() } else { format!("disk_rd_req={second}i,") };
            writeln!(lines, "vm_totals,{tags} {disks}cputime={second}000000i,state=1i {stamp}")
                .unwrap();
        }
        for host in HOSTS {
            if at(host, "hv-late") {
                continue;
            }
            let took = if at(host, "hv-slow") { 3_900_000_000_i64 } else { 250_000_000 };
            let fields = match at(host, "hv-down") {
                true => format!("up=false,collect_ns={took}i,lines=0i"),
                false => format!("up=true,domains=6i,hung=0i,collect_ns={took}i,lines=24i"),
            };
            writeln!(lines, "vm_collector,uri=qemu:///system,host={host} {fields} {stamp}")
                .unwrap();
        }
    }
    lines
}

/// Whom an alert is about: a guest, or a hypervisor's host.
pub fn about(labels: &BTreeMap<String, String>) -> String {
    labels.get("name").filter(|name| !name.is_empty()).unwrap_or(&labels["host"]).clone()
}

/// The moments at which vmalert said that a rule fires, by the rule and whom it is about.
fn fired(server: &VictoriaMetrics) -> BTreeMap<(String, String), BTreeSet<i64>> {
    let mut fired: BTreeMap<_, BTreeSet<i64>> = BTreeMap::new();
    for ((labels, time), _) in server.samples(0) {
        let is_firing = labels["__name__"] == "ALERTS" && labels["alertstate"] == "firing";
        if is_firing {
            let key = (labels["alertname"].clone(), about(&labels));
            fired.entry(key).or_default().insert(time / 1000);
        }
    }
    fired
}

#[test]
#[ignore = "slow: tests/run --all"]
fn vmalert_fires_each_rule_once_for_what_ails_and_for_nothing_else() {
    let test = "alerts, vmalert";
    let Some(server) = require_program(test, "VICTORIA_METRICS", "victoria-metrics") else {
        return;
    };
    let Some(vmalert) = require_program(test, "VMALERT", "vmalert") else { return };
    let folder = tempfile::tempdir().unwrap();
    let metrics = VictoriaMetrics::start(&server, &folder.path().join("victoria-metrics"));
    // An hour, of which twenty minutes in its middle ail.
    let end = now() / 30 * 30;
    let (start, ailing) = (end - 3600, end - 2400..end - 1200);
    metrics.write(&lines(start..end, &ailing));
    metrics.show();

    let address = format!("http://127.0.0.1:{}", metrics.port);
    let time = |second: i64| {
        run(Command::new("date").args(["-u", "-d", &format!("@{second}"), "+%FT%TZ"]))
            .success()
            .stdout
            .trim()
            .to_owned()
    };
    run(Command::new(vmalert)
        .arg(format!("-rule={}", path("alerts/victoriametrics.yml").display()))
        .args([format!("-datasource.url={address}"), format!("-remoteWrite.url={address}")])
        .args([
            format!("-replay.timeFrom={}", time(start + 300)),
            format!("-replay.timeTo={}", time(end)),
        ])
        .args([
            "-replay.disableProgressBar",
            "-replay.rulesDelay=0s",
            "-datasource.queryStep=30s",
            "-remoteWrite.flushInterval=100ms",
        ]))
    .success();

    metrics.show();
    let fired = fired(&metrics);
    let expected: BTreeSet<(String, String)> =
        FIRE.iter().map(|&(rule, _, who)| (rule.to_owned(), who.to_owned())).collect();
    assert_eq!(fired.keys().cloned().collect::<BTreeSet<_>>(), expected, "{fired:?}");
    for (who, moments) in &fired {
        let (first, last) = (*moments.first().unwrap(), *moments.last().unwrap());
        // Ten minutes are the longest window and wait; then it goes on till the end, and ends.
        let begins = ailing.start..ailing.start + 660;
        let ends = ailing.end - 30..ailing.end + 360;
        let minutes = |second: i64| second.saturating_sub(start) / 60;
        assert!(begins.contains(&first), "{who:?} began in minute {}", minutes(first));
        assert!(ends.contains(&last), "{who:?} ended in minute {}", minutes(last));
        let steps = usize::try_from((last - first) / 30 + 1).unwrap();
        assert_eq!(moments.len(), steps, "{who:?} fires once, without a break: {moments:?}");
        say(&format!(
            "alerts: {} for {} fired from minute {} to {}; it ailed from 20 to 40",
            who.0,
            who.1,
            minutes(first),
            minutes(last)
        ));
    }
}

#[test]
#[ignore = "slow: tests/run --all"]
fn the_commands_of_the_page_work() {
    let Some(vmalert) = require_program("alerts, page", "VMALERT", "vmalert") else { return };
    let [start, sed] = blocks("sh")[..] else { panic!("not two commands") };
    let shell = |command: &str| {
        run(Command::new("sh").args(["-euc", command]).current_dir(crate::support::repository()))
            .success()
    };
    // With the files and options read and held against its rules, but nothing started.
    let told = shell(&start.replacen("vmalert", &format!("{} -dryRun", vmalert.display()), 1));
    assert!(told.stderr.contains("victoriametrics.yml"), "{told}");
    let mut changed: Json = serde_json::from_str(&shell(sed).stdout).unwrap();
    let mut own = read("alerts/influxql.json");
    for (file, uid) in [(&mut own, "influxdb"), (&mut changed, "YOURS")] {
        for rule in file["groups"][0]["rules"].as_array_mut().unwrap() {
            assert_eq!(rule["data"][0]["datasourceUid"].take(), uid);
        }
    }
    assert_eq!(changed, own, "nothing else is changed");
}

/// What Grafana reduces a series to, by the rule's reducer, without values that are none.
fn reduced(series: &Series, reducer: &str) -> Option<f64> {
    let numbers = series.numbers();
    let count = f64::from(u32::try_from(numbers.len()).unwrap());
    match reducer {
        "last" => numbers.last().copied(),
        "mean" => (count > 0.0).then(|| numbers.iter().sum::<f64>() / count),
        "max" => numbers.into_iter().reduce(f64::max),
        other => panic!("no reducer {other} here"),
    }
}

/// Whom a rule is about that is over its limit now.
fn over_limit(influxdb: &Influxdb, database: &str, rule: &Json) -> Vec<String> {
    let steps = list(rule, "data");
    let models: Vec<&Json> = steps.iter().map(|step| &step["model"]).collect();
    let [query, reduce, threshold] = models[..] else { panic!("not three steps: {rule}") };
    // Query, then reduction, then limit, each of the one before; the last is the condition.
    assert_eq!((text(reduce, "type"), text(threshold, "type")), ("reduce", "threshold"));
    assert_eq!((text(reduce, "expression"), text(threshold, "expression")), ("A", "B"));
    assert_eq!((text(query, "refId"), text(rule, "condition")), ("A", text(threshold, "refId")));
    let condition = &threshold["conditions"][0]["evaluator"];
    let limit = condition["params"][0].as_f64().unwrap();
    let is_over = |number: f64| match text(condition, "type") {
        "gt" => number > limit,
        "lt" => number < limit,
        other => panic!("no condition {other} here"),
    };
    let answer = influxdb.query(database, text(query, "query"));
    let over = answer
        .iter()
        .filter(|series| reduced(series, text(reduce, "reducer")).is_some_and(is_over));
    over.map(|series| about(&series.tags)).collect()
}

#[test]
#[ignore = "slow: tests/run --all"]
fn the_rules_for_grafana_are_over_their_limits_for_what_ails_and_for_nothing_else() {
    let test = "alerts, InfluxQL";
    let Some(influxd) = require_program(test, "INFLUXD", "influxd") else { return };
    let folder = tempfile::tempdir().unwrap();
    let influxdb = Influxdb::start(&influxd, &folder.path().join("influxdb"));
    let file = read("alerts/influxql.json");
    let rules = list(&file["groups"][0], "rules");
    let titles: BTreeSet<&str> = rules.iter().map(|rule| text(rule, "title")).collect();
    assert_eq!(titles, FIRE.iter().map(|&(_, title, _)| title).collect());

    // Half an hour up to now: all well; ailing for ten minutes; well again for ten minutes.
    let mut told = Vec::new();
    for (database, from, to) in [("before", 60, 60), ("while", -600, 60), ("after", -1500, -600)] {
        http_post(influxdb.port, "/query", &format!("q=CREATE DATABASE {database}"));
        let now = now();
        let ailing = now + from..now + to;
        let path = format!("/write?db={database}&precision=ns");
        http_post(influxdb.port, &path, &lines(now - 1800..now, &ailing));
        for rule in rules {
            for who in over_limit(&influxdb, database, rule) {
                told.push((database, text(rule, "title"), who));
            }
        }
    }
    told.sort();
    // InfluxQL cannot join the answers of vm_metrics with the counters of vm_totals: it goes by the counters,
    // and dashboards/README.md says so.
    let by_counters = ["before", "while", "after"].map(|database| (database, "vhost"));
    let by_counters = by_counters.into_iter().chain([("while", "arrives")]);
    let fire = FIRE.iter().filter(|(.., who)| *who != "locked");
    let mut expected: Vec<(&str, &str, String)> = fire
        .map(|&(_, title, who)| ("while", title, who.to_owned()))
        .chain(by_counters.map(|(database, who)| (database, "Guest hangs", who.to_owned())))
        .collect();
    expected.sort();
    assert_eq!(told, expected);
}

#[test]
#[ignore = "slow: tests/run --all"]
fn the_dashboard_shows_as_hung_who_does_not_answer_and_nobody_else() {
    let test = "dashboards, answers";
    let Some(server) = require_program(test, "VICTORIA_METRICS", "victoria-metrics") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let metrics = VictoriaMetrics::start(&server, &folder.path().join("victoria-metrics"));
    let now = now();
    metrics.write(&lines(now - 900..now, &(now - 300..now + 60)));
    metrics.show();
    let hung = ["hangs", "silent", "locked"];
    let all = GUESTS.into_iter().chain(ANSWERS.iter().map(|(who, _)| *who));
    let percent = |who: &str| if hung.contains(&who) { 100.0 } else { 0.0 };
    let expected = all.map(|who| (who.to_owned(), percent(who))).collect();
    let shown = Dashboard::of_all(&metrics, "metricsql.json").silence();
    assert_eq!(shown, (Some(3.0), expected));
}

#[test]
#[ignore = "slow: tests/run --all"]
fn telegraf_makes_the_numbers_of_the_answers() {
    let Some(telegraf) = require_program("answers, Telegraf", "TELEGRAF", "telegraf") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("lines");
    let mut lines = "vm_metrics,name=without cpu_count=1i 1000000000\n".to_owned();
    let mut expected = vec![lines.trim().to_owned()];
    for (code, answer) in CODES.iter().enumerate() {
        writeln!(lines, "vm_metrics,name={answer} answer=\"{answer}\" 1000000000").unwrap();
        expected.push(format!(
            "vm_metrics,name={answer} answer=\"{answer}\",answer_code={code}i 1000000000"
        ));
    }
    std::fs::write(&input, lines).unwrap();
    let settings = folder.path().join("telegraf.conf");
    let text = format!(
        "[agent]\nomit_hostname = true\n[[inputs.file]]\nfiles = [\"{}\"]\ndata_format = \"influx\"\n\
         [[outputs.file]]\nfiles = [\"stdout\"]\n",
        input.display()
    );
    std::fs::write(&settings, text).unwrap();
    let shipped = crate::support::repository().join("telegraf.d/telegraf-virt-answer.conf.example");
    // Telegraf reads a file of any name that it is given.
    let mut command = Command::new(telegraf);
    command.arg("--once").arg("--config").arg(settings).arg("--config").arg(shipped);
    let printed = run(&mut command).success().stdout;
    let mut printed: Vec<&str> =
        printed.lines().filter(|line| line.starts_with("vm_metrics")).collect();
    printed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(printed, expected);
}
