//! The rules for alerts, on real databases with made lines: each fires once, for what ails and for nothing
//! else. vmalert itself runs those in PromQL; of those for Grafana each query is run in a real
//! InfluxDB 1.x, and what Grafana does with the answer, to reduce it to a number and hold that against a
//! limit, is done here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::dashboards::{Asked, Dashboard, InDatabase};
use crate::support::ailing::{ANSWERS, FIRE, GUESTS, labelled, lines, now};
use crate::support::dashboards::{list, path, read, text};
use crate::support::influxdb::{Influxdb, Series};
use crate::support::lines::read as read_lines;
use crate::support::process::run;
use crate::support::say;
use crate::support::servers::{require_program, shipped};
use crate::support::tested::page_blocks;
use crate::support::victoria_metrics::VictoriaMetrics;
use serde_json::Value as Json;

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
    // On half a minute: GuestMigrationFailed looks at whole ones, and one that begins as it looks ends the alert of
    // the one before.
    let end = (now() - 30) / 60 * 60 + 30;
    let (start, ailing) = (end - 3600, end - 2400..end - 1200);
    metrics.write(&labelled(&lines(start..end, &ailing)));
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
        .arg(format!("-rule={}", path("alerts/promql.yml").display()))
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
        // Eleven minutes are the longest window and wait; then it goes on till the end, and ends.
        let begins = ailing.start..ailing.start + 720;
        let ends = ailing.end - 30..ailing.end + 420;
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
    let commands = page_blocks("dashboards/README.md", "sh");
    let [start, sed] = &commands[..] else { panic!("not two commands") };
    let shell = |command: &str| {
        run(Command::new("sh").args(["-euc", command]).current_dir(crate::support::repository()))
            .success()
    };
    // With the files and options read and held against its rules, but nothing started.
    let told = shell(&start.replacen("vmalert", &format!("{} -dryRun", vmalert.display()), 1));
    assert!(told.stderr.contains("promql.yml"), "{told}");
    let folder = tempfile::tempdir().unwrap();
    let provisioning = "/etc/grafana/provisioning/alerting";
    assert!(sed.contains(provisioning), "{sed}");
    shell(&sed.replace(provisioning, &folder.path().display().to_string()));
    let written = std::fs::read_to_string(folder.path().join("telegraf-virt.json")).unwrap();
    let mut changed: Json = serde_json::from_str(&written).unwrap();
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
        influxdb.create(database);
        let now = now();
        let ailing = now + from..now + to;
        influxdb.write(database, &lines(now - 1800..now, &ailing));
        for rule in rules {
            for who in over_limit(&influxdb, database, rule) {
                told.push((database, text(rule, "title"), who));
            }
        }
    }
    told.sort();
    let fire = FIRE.iter();
    let mut expected: Vec<(&str, &str, String)> =
        fire.map(|&(_, title, who)| ("while", title, who.to_owned())).collect();
    expected.sort();
    assert_eq!(told, expected);
}

#[test]
#[ignore = "slow: tests/run --all"]
fn the_dashboards_show_as_hung_who_does_not_answer_and_nobody_else() {
    let test = "dashboards, answers";
    let Some(server) = require_program(test, "VICTORIA_METRICS", "victoria-metrics") else {
        return;
    };
    let Some(influxd) = require_program(test, "INFLUXD", "influxd") else { return };
    let folder = tempfile::tempdir().unwrap();
    let metrics = VictoriaMetrics::start(&server, &folder.path().join("victoria-metrics"));
    let influxdb = Influxdb::start(&influxd, &folder.path().join("influxdb"));
    influxdb.create("vms");
    let now = now();
    let lines = lines(now - 900..now, &(now - 300..now + 60));
    metrics.write(&lines);
    metrics.show();
    influxdb.write("vms", &lines);
    assert_silence(&metrics);
    assert_silence(&InDatabase(&influxdb, "vms"));
}

fn assert_silence<D: Asked>(database: &D) {
    let dashboard = Dashboard::of_all(database, D::FILE);
    assert_eq!(dashboard.hanging(), [2.0, 2.0], "{}", D::FILE);
    // By their counters: those that run. Guests of other tests of the rules have none.
    let counters = dashboard.unanswered("A");
    let all = GUESTS.into_iter().chain(["vhost", "silent"]);
    let percent =
        |who: &str| f64::from(u8::from(["hangs", "vhost", "silent"].contains(&who))) * 100.0;
    for who in all {
        assert_eq!(counters[who], percent(who), "{}: {who}", D::FILE);
    }
    assert!(!counters.contains_key("arrives") && !counters.contains_key("locked"));
    // By their answers.
    let answers: Vec<(&str, &str, f64)> = ANSWERS
        .iter()
        .filter(|(_, answer, _)| ["hung", "locked"].contains(answer))
        .map(|(who, answer, _)| (*who, *answer, 100.0))
        .collect();
    let shown = dashboard.unanswered("B");
    assert_eq!(shown.len(), answers.len(), "{}: {shown:?}", D::FILE);
    for (who, answer, percent) in answers {
        assert_eq!(shown[who], percent, "{}: {who} is {answer}", D::FILE);
    }
}

#[test]
#[ignore = "slow: tests/run --all"]
fn telegraf_makes_a_label_of_an_events_detail() {
    let Some(telegraf) = require_program("events, Telegraf", "TELEGRAF", "telegraf") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("lines");
    let now = now();
    let lines = lines(now - 600..now, &(now - 600..now));
    std::fs::write(&input, &lines).unwrap();
    let settings = folder.path().join("telegraf.conf");
    let text = format!(
        "[agent]\nomit_hostname = true\n[[inputs.file]]\nfiles = [\"{}\"]\ndata_format = \"influx\"\n\
         [[outputs.file]]\nfiles = [\"stdout\"]\n",
        input.display()
    );
    std::fs::write(&settings, text).unwrap();
    let shipped = shipped("telegraf-virt-events.conf.example");
    // Telegraf reads a file of any name that it is given.
    let mut command = Command::new(telegraf);
    command.arg("--once").arg("--config").arg(settings).arg("--config").arg(shipped);
    let finished = run(&mut command).success();
    let printed: String = finished
        .stdout
        .lines()
        .filter(|it| it.starts_with("vm_"))
        .map(|it| format!("{it}\n"))
        .collect();
    assert!(!printed.is_empty(), "{}", finished.stderr);
    assert_eq!(sorted(&printed), sorted(&labelled(&lines)));
}

/// Lines, each with its tags and fields in an order that does not depend on who printed it.
fn sorted(lines: &str) -> Vec<String> {
    let read = read_lines(lines).into_iter().map(|mut line| {
        line.tags.sort();
        line.fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        format!("{line:?}")
    });
    let mut lines: Vec<String> = read.collect();
    lines.sort();
    lines
}
