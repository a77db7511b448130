//! A real Prometheus: it runs every query, lets each alert fire, and scrapes a real Telegraf that has the
//! example's settings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::alerts::about;
use crate::dashboards::Dashboard;
use crate::support::ailing::{self, FIRE, labelled, now};
use crate::support::dashboards::path;
use crate::support::lab::Lab;
use crate::support::lines::read as read_lines;
use crate::support::made::{Exposed, MadeGuest, collections, without_vmid};
use crate::support::pages;
use crate::support::process::run;
use crate::support::program::{PROGRAM, without_settings};
use crate::support::prometheus::{Prometheus, fill, promtool};
use crate::support::servers::{Server, errors, require_program, shipped};
use crate::support::tested::{Row, page_blocks};
use crate::support::{repository, say, wait_until};

const LIMIT: Duration = Duration::from_secs(120);

const RULES: [&str; 2] = ["alerts/promql.yml", "rules/exporter-names.yml"];

/// The rules of a file, evaluated each second; an alert waits for a second only.
fn quick_rules(folder: &Path, name: &str) -> std::path::PathBuf {
    let text = std::fs::read_to_string(path(name)).unwrap();
    let quick = text.lines().map(|line| match line.trim_start().split_once(' ') {
        Some((key @ ("for:" | "interval:"), _)) => {
            format!("{}\n", line.replace(line.trim_start(), &format!("{key} 1s")))
        }
        _ => format!("{line}\n"),
    });
    let file = folder.join("rules.yml");
    std::fs::write(&file, quick.collect::<String>()).unwrap();
    file
}

fn settings(rules: &Path) -> String {
    format!(
        "global: {{ evaluation_interval: 1s, scrape_interval: 1s }}\nrule_files: [{:?}]\n",
        rules.display()
    )
}

#[test]
fn prometheus_takes_the_rules_and_each_alert_fires_for_what_ails_and_for_nothing_else() {
    let Some(program) = require_program("prometheus, alerts", "PROMETHEUS", "prometheus") else {
        return;
    };
    for name in RULES {
        run(Command::new(promtool(&program)).args(["check", "rules"]).arg(path(name))).success();
    }
    let expected: BTreeSet<(String, String)> =
        FIRE.iter().map(|&(rule, _, who)| (rule.to_owned(), who.to_owned())).collect();
    let end = now() + 300;
    // What ails goes on, or has been over for ten minutes.
    for (ailing, fires) in [(end - 900..end, true), (end - 2100..end - 1200, false)] {
        let folder = tempfile::tempdir().unwrap();
        let files = quick_rules(folder.path(), RULES[0]);
        fill(
            &program,
            folder.path(),
            &read_lines(&labelled(&ailing::lines(end - 2400..end, &ailing))),
        );
        let prometheus = Prometheus::start(&program, folder.path(), &settings(&files));
        let asked = || prometheus.answer("/api/v1/rules").to_string();
        wait_until("each rule is evaluated", LIMIT, || {
            (!asked().contains("\"lastEvaluation\":\"0001")).then_some(())
        });
        assert_eq!(prometheus.rule_faults(), (Vec::new(), ailing::rules()));
        let firing = || -> BTreeSet<(String, String)> {
            let alerts = prometheus.alerts().into_iter();
            let firing = alerts.filter(|(_, state, _)| state == "firing");
            firing.map(|(name, _, labels)| (name, about(&labels))).collect()
        };
        if fires {
            wait_until("all alerts fire", LIMIT, || {
                (firing().len() >= expected.len()).then_some(())
            });
            assert_eq!(firing(), expected);
        } else {
            assert_eq!(prometheus.alerts(), []);
        }
    }
    say(&format!("prometheus: {} alerts fired, none before or after", expected.len()));
}

/// Three guests: one runs, one is silent, one is paused; with more tags of each.
fn guests(tags: [&'static str; 3]) -> Vec<MadeGuest<'static>> {
    let states = [("moving", 1, false), ("hung", 1, true), ("still", 3, false)];
    let guest = |((name, state, is_hung), tags)| MadeGuest { name, tags, state, is_hung };
    states.into_iter().zip(tags).map(guest).collect()
}

#[test]
fn prometheus_answers_every_query_of_the_dashboard_and_of_the_page() {
    let Some(program) = require_program("prometheus, queries", "PROMETHEUS", "prometheus") else {
        return;
    };
    let mut row = Row { database: "Prometheus, Debian's, made lines".to_owned(), ..Row::default() };
    let tagged = [",host=hv-01,source=kvm1", ",host=hv-01", ""];
    for (tags, has_vmid) in [([""; 3], true), ([""; 3], false), (tagged, true)] {
        let folder = tempfile::tempdir().unwrap();
        let end = now();
        let mut lines = collections(&guests(tags), end - 600..end + 300, 10);
        if !has_vmid {
            lines = without_vmid(&lines);
        }
        fill(&program, folder.path(), &read_lines(&lines));
        let prometheus = Prometheus::start(&program, folder.path(), "global: {}\n");
        row.version = prometheus.version();

        let dashboard = Dashboard::of_all(&prometheus, "metricsql.json");
        let (shown, count) = dashboard.answered_but(&[], &[]);
        for (title, number) in [
            ("Guests running", 2.0),
            ("Guests in another state", 1.0),
            ("Guests that hang", 1.0),
            ("vCPUs given", 3000.0),
            ("vCPUs given, of the CPUs", 100.0),
            ("Memory given, of the memory", 100.0),
            ("Free memory", 1000.0),
        ] {
            assert_eq!(shown[title], number, "{title}");
        }
        assert_eq!(dashboard.choices("guest").len(), 3);
        assert!(!dashboard.events().is_empty());
        let queries = page_blocks("docs/databases.md", "promql");
        for query in &queries {
            assert!(!prometheus.query(query).is_empty(), "nothing: {query}");
        }
        row.queries = format!("{} of {} of databases.md", queries.len(), queries.len());
        row.dashboards = format!("{count} of {count}");
    }
    row.alerts = format!("{} of {}", ailing::rules(), ailing::rules());
    row.hold();
}

#[test]
fn the_queries_of_the_page_find_a_guest_that_was_shut_off_and_exclude_one_without_usable() {
    let test = "prometheus, shut off";
    let Some(program) = require_program(test, "PROMETHEUS", "prometheus") else { return };
    let end = now();
    let lines_of = |name, time| {
        let guest = MadeGuest { name, tags: "", state: 1, is_hung: false };
        let lines = collections(&[guest], time, 30);
        let is_of_guest = |line: &&str| line.contains(",uuid=");
        lines.lines().filter(is_of_guest).map(|line| format!("{line}\n")).collect::<String>()
    };
    let lines = lines_of("moving", end - 600..end + 300)
        + &lines_of("off", end - 7200..end - 3600)
        + &lines_of("old", end - 600..end + 300).replace("memusable=500i", "memusable=0i");
    let folder = tempfile::tempdir().unwrap();
    fill(&program, folder.path(), &read_lines(&lines));
    let prometheus = Prometheus::start(&program, folder.path(), "global: {}\n");
    for (part, expected) in [("vm_totals_state[1d]", "off"), ("vm_totals_memusable", "moving")] {
        let rows = prometheus.query(&pages::block_with("promql", part));
        let names: Vec<&str> = rows.iter().map(|(labels, _)| labels["name"].as_str()).collect();
        assert_eq!(names, [expected], "{part}");
    }
}

#[test]
fn with_the_recording_rules_the_exporters_dashboards_draw() {
    let Some(program) = require_program("prometheus, exporters", "PROMETHEUS", "prometheus") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let files = quick_rules(folder.path(), RULES[1]);
    let exposed = Exposed::start(guests([",host=hv-01", ",host=hv-01", ",host=hv-01"]));
    let settings = settings(&files) + &targets(exposed.port);
    let prometheus = Prometheus::start(&program, folder.path(), &settings);
    let mut count = 0;
    for name in ["exporters/kumina.json", "exporters/inovex.json"] {
        let dashboard = Dashboard::of_all(&prometheus, name);
        count += dashboard.answered_but(&[], &[]).1;
        assert_eq!(dashboard.choices("domain").len(), 3, "{name}");
    }
    let (faults, rules) = prometheus.rule_faults();
    assert!(faults.is_empty() && rules > 60, "{rules}: {faults:?}");
    // Their numbers are held against the real exporter where the tables of docs/migrating.md are; here their labels.
    for (query, expected) in [
        ("libvirt_domain_info_memory_usage_bytes{domain=\"moving\"}", 1_024_000.0),
        (
            "libvirt_domain_block_stats_capacity_bytes{domain=\"moving\",target_device=\"vda\"}",
            1000.0,
        ),
        ("count(libvirt_domain_vcpu_time_seconds_total{domain=\"moving\",vcpu=\"0\"})", 1.0),
        ("count(libvirt_domain_interface_stats_receive_bytes_total{target_device=\"vnet0\"})", 1.0),
        ("libvirt_domain_state_code{domain=\"still\"}", 3.0),
        ("libvirt_up", 1.0),
    ] {
        let rows = prometheus.query(query);
        assert_eq!(rows.iter().map(|row| row.1).collect::<Vec<_>>(), [expected], "{query}");
    }
    Row {
        database: "Prometheus, with the rules for the exporters' names".to_owned(),
        version: prometheus.version(),
        queries: format!("{rules} rules"),
        dashboards: format!("{count} of {count} of the two in exporters/"),
        ..Row::default()
    }
    .hold();
}

/// The port that Telegraf's log says it listens on.
fn listens(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("Listening on http://127.0.0.1:")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A real Telegraf with the example for scraping, and that for remote write to this port, if any.
fn telegraf(program: &Path, folder: &Path, uri: &str, extra: &str, remote: Option<u16>) -> Server {
    let ours = folder.join("ours.toml");
    std::fs::write(&ours, extra).unwrap();
    let agent = folder.join("agent.conf");
    std::fs::write(&agent, "[agent]\ninterval = \"1s\"\nflush_interval = \"1s\"\n").unwrap();
    let mut command = Command::new(program);
    without_settings(&mut command, folder);
    let path = std::env::var("PATH").unwrap_or_default();
    let ours_at = Path::new(PROGRAM).parent().unwrap().display();
    command
        .env("PATH", format!("{ours_at}:{path}"))
        .env("LIBVIRT_DEFAULT_URI", uri)
        .env("TELEGRAF_VIRT_CONFIG", ours)
        .env("CACHE_DIRECTORY", folder.join("cache"))
        .arg("--config")
        .arg(agent);
    let mut add = |name: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(shipped(name)).unwrap();
        assert!(text.contains(from), "{name}: {from}");
        let file = folder.join(name.trim_end_matches(".example"));
        std::fs::write(&file, text.replace(from, to)).unwrap();
        command.arg("--config").arg(file);
    };
    add("telegraf-virt-prometheus.conf.example", "\":9273\"", "\"127.0.0.1:0\"");
    if let Some(port) = remote {
        let to = format!("127.0.0.1:{port}");
        add("telegraf-virt-remote-write.conf.example", "127.0.0.1:9090", &to);
    }
    Server::start(&mut command, folder.join("telegraf.log"))
}

fn targets(port: u16) -> String {
    format!(
        "scrape_configs:\n- job_name: telegraf-virt\n  \
         static_configs: [{{ targets: [\"127.0.0.1:{port}\"] }}]\n"
    )
}

fn scraping(port: u16) -> String {
    format!("global: {{ scrape_interval: 1s }}\n{}", targets(port))
}

#[test]
fn a_scraped_counter_is_a_counter_and_remote_write_warns_of_nothing() {
    let test = "prometheus, Telegraf";
    let Some(program) = require_program(test, "PROMETHEUS", "prometheus") else { return };
    let Some(telegraf_program) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let folder = tempfile::tempdir().unwrap();
    let written = Prometheus::start(&program, &folder.path().join("written"), "global: {}\n");
    let uri = format!("test://{}/fixtures/node.xml", repository().display());
    let names = telegraf_virt::config::extra::Extra::ALL.map(|it| it.name());
    let features = "[\"net\", \"disk\", \"cpu\", \"latency\", \"balloon\"]";
    let extra = format!("extra = {names:?}\nfeatures = {features}\n");
    let mut server = telegraf(&telegraf_program, folder.path(), &uri, &extra, Some(written.port));
    let log = folder.path().join("telegraf.log");
    let port = server.wait_until("Telegraf listens", LIMIT, || {
        listens(&std::fs::read_to_string(&log).unwrap_or_default())
    });
    let scraped = folder.path().join("scraped");
    let scraped = Prometheus::start(&program, &scraped, &scraping(port));
    let count = |prometheus: &Prometheus, query: &str| -> f64 {
        prometheus.query(query).first().map_or(0.0, |(_, value)| *value)
    };
    let many = "max(count_over_time(vm_totals_cputime[10m]))";
    for prometheus in [&scraped, &written] {
        wait_until("five collections", LIMIT, || (count(prometheus, many) >= 5.0).then_some(()));
    }
    let kinds = [
        ("vm_totals_cputime", "counter"),
        ("vm_devices_rxbytes", "counter"),
        ("vm_totals_state", "gauge"),
        ("vm_features_net_rxbytes_rate", "gauge"),
        ("vm_collector_up", "gauge"),
    ];
    let types = wait_until("types", LIMIT, || {
        let types: BTreeMap<String, String> = scraped.types().into_iter().collect();
        kinds.iter().all(|(name, _)| types.contains_key(*name)).then_some(types)
    });
    for (name, kind) in &types {
        assert!(
            name.starts_with("vm_") && ["counter", "gauge"].contains(&&**kind),
            "{name} {kind}"
        );
    }
    for (name, kind) in kinds {
        assert_eq!(types[name], kind, "{name}");
    }
    // Every number comes both ways, and a string is nobody's label.
    let names =
        |prometheus: &Prometheus| prometheus.label_values("{__name__=~\"vm_.*\"}", "__name__");
    wait_until("the same names", LIMIT, || (names(&scraped) == names(&written)).then_some(()));
    for prometheus in [&scraped, &written] {
        assert_eq!(prometheus.query("vm_metrics_cputime_ns{state!=\"\"}"), []);
        assert_eq!(prometheus.query("count(vm_totals_cputime)")[0].1, 10.0);
        wait_until("bytes that were received", LIMIT, || {
            (count(prometheus, "max(rate(vm_devices_rxbytes[1m]))") > 0.0).then_some(())
        });
    }
    let log = server.end();
    let warned: Vec<&str> = log.lines().filter(|line| line.contains(" W! [outputs")).collect();
    assert_eq!((errors(&log), warned), (vec![], vec![]), "{log}");
    let metrics = types.len();
    for (name, lines) in [
        ("Prometheus, scraping Telegraf", "every metric, by name"),
        ("Prometheus, remote write from Telegraf", "every metric, by name; no warning"),
    ] {
        let is_scraped = name.contains("scraping");
        Row {
            database: name.to_owned(),
            version: scraped.version(),
            lines: lines.to_owned(),
            types: if is_scraped {
                format!("{metrics} of {metrics} counter or gauge")
            } else {
                "-".to_owned()
            },
            ..Row::default()
        }
        .hold();
    }
}

#[test]
#[ignore = "slow: tests/run --all"]
fn no_scraped_series_breaks_when_a_guest_is_paused() {
    let test = "prometheus, paused";
    let Some(program) = require_program(test, "PROMETHEUS", "prometheus") else { return };
    let Some(telegraf_program) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(lab) = Lab::require(test) else { return };
    let guest = lab.linux("moving");
    let mut server = telegraf(&telegraf_program, lab.scratch(), &lab.uri(), "", None);
    let log = lab.scratch().join("telegraf.log");
    let port = server.wait_until("Telegraf listens", LIMIT, || {
        listens(&std::fs::read_to_string(&log).unwrap_or_default())
    });
    let folder = lab.scratch().join("prometheus");
    let prometheus = Prometheus::start(&program, &folder, &scraping(port));
    let state = |number: f64| {
        wait_until("the state", LIMIT, || {
            let rows = prometheus.query("vm_totals_state");
            (rows.len() == 1 && rows[0].1 == number).then_some(())
        });
    };
    state(1.0);
    lab.virsh(&["suspend", &guest]);
    state(3.0);
    lab.virsh(&["resume", &guest]);
    state(1.0);
    for metric in ["vm_metrics_cputime_ns", "vm_totals_cputime", "vm_devices_rd_bytes"] {
        let rows = prometheus.query(&format!("count_over_time({metric}[10m])"));
        assert_eq!(rows.len(), 1, "{metric}: {rows:?}");
        let gaps = prometheus.query(&format!("resets({metric}[10m])"));
        assert_eq!(gaps[0].1, 0.0, "{metric}: {gaps:?}");
    }
}
