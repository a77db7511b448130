//! Every query of the dashboards, on real databases that a real Telegraf fills from real guests: one that
//! moves, one that is paused and one that hangs. The program reads a second hypervisor too, libvirt's test
//! driver, which is not among those that are chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::dashboards::{
    Chosen, escaped, filled, list, panels, queries, read, text, vmalert_expression,
};
use crate::support::influxdb::Influxdb;
use crate::support::lab::Lab;
use crate::support::promql::Promql;
use crate::support::servers::{Server, for_telegraf, require_program, shipped_each_second};
use crate::support::tested::page_blocks;
use crate::support::victoria_metrics::VictoriaMetrics;
use crate::support::{say, wait_until};
use serde_json::Value as Json;

const LIMIT: Duration = Duration::from_secs(120);

/// Queries that may truly answer with nothing but 0 here, by the panel's title and the letter.
const ZEROS: [(&str, &str); 14] = [
    ("Huge pages", "AB"),
    ("Pools: used", "A"),
    ("Snapshots", "D"),
    ("Block jobs: done", "A"),
    ("Guests", "G"),
    ("Steal by guest", "A"),
    ("CPU and steal", "B"),
    ("Swap and major faults", "ABC"),
    ("Errors and drops of all its devices", "ABCDE"),
    ("NICs: drops and errors", "ABCD"),
    ("Guests read, hung and busy", "C"),
    ("Stuck calls and unknown statistics", "B"),
    ("Device lists", "AB"),
    ("Age of its memory figures", "A"),
];

/// Queries that have nothing to show of the guests here, by the panel's title and the letters: none is locked, no
/// migration goes on, and none was watched for days. Tests with made lines ask them.
const WITHOUT: [(&str, &str); 5] = [
    ("Guests that hang", "B"),
    ("Jobs: data left", "AB"),
    ("Migrations: sent, and written by the guest", "AB"),
    ("Guests unlike themselves", "ABCDEFGH"),
    ("Unlike themselves, by guest", "A"),
];

/// A real Telegraf that starts the program as the shipped file says, and writes to both.
fn telegraf(program: &Path, lab: &Lab, influxdb: &Influxdb, metrics: &VictoriaMetrics) -> Server {
    let scratch = lab.scratch();
    let settings = scratch.join("telegraf-virt.toml");
    // What the page says that all the panels need.
    let blocks = page_blocks("dashboards/README.md", "toml");
    let [told] = &blocks[..] else { panic!("not one block of settings") };
    let uris = format!("uris = [\"{}\", \"test:///default\"]", lab.uri());
    std::fs::write(&settings, format!("{uris}\n{told}")).unwrap();
    let configuration = scratch.join("telegraf.conf");
    let text = format!(
        "[agent]\ninterval = \"1s\"\nflush_interval = \"1s\"\nhostname = \"hv-01\"\n\
         [[outputs.influxdb]]\nurls = [\"http://127.0.0.1:{}\"]\ndatabase = \"vms\"\n\
         [[outputs.influxdb_v2]]\nurls = [\"http://127.0.0.1:{}\"]\n",
        influxdb.port, metrics.port
    );
    std::fs::write(&configuration, text).unwrap();
    let mut command = Command::new(program);
    for_telegraf(&mut command, lab);
    command.env("TELEGRAF_VIRT_CONFIG", settings);
    command.arg("--config").arg(configuration).arg("--config").arg(shipped_each_second(scratch));
    Server::start(&mut command, scratch.join("telegraf.log"))
}

/// What a panel's query answers: the numbers of each series, by what tells these apart.
pub type Answer = Vec<(BTreeMap<String, String>, Vec<f64>)>;

/// A database that is asked as Grafana does.
pub trait Asked {
    const FILE: &'static str;
    /// A choice as Grafana writes it into a regular expression of the language.
    fn part(text: &str) -> String;
    fn ask(&self, query: &str, is_instant: bool) -> Answer;
    /// The choices that a variable of the dashboard offers, by its query.
    fn choices(&self, query: &str) -> BTreeSet<String>;
}

/// One database of an InfluxDB.
pub struct InDatabase<'a>(pub &'a Influxdb, pub &'a str);

impl Asked for InDatabase<'_> {
    const FILE: &'static str = "influxql.json";

    fn part(text: &str) -> String {
        escaped(text)
    }

    fn ask(&self, query: &str, _: bool) -> Answer {
        let series = self.0.query(self.1, query).into_iter();
        series.map(|series| (series.tags.clone(), series.numbers())).collect()
    }

    fn choices(&self, query: &str) -> BTreeSet<String> {
        let rows = self.0.query(self.1, query).into_iter().flat_map(|series| series.rows);
        rows.map(|row| row[1].as_str().unwrap().to_owned()).collect()
    }
}

impl<D: Promql> Asked for D {
    const FILE: &'static str = "metricsql.json";

    fn part(text: &str) -> String {
        // It stands in a string there.
        escaped(text).replace('\\', "\\\\")
    }

    fn ask(&self, query: &str, is_instant: bool) -> Answer {
        if is_instant {
            let rows = self.query(query).into_iter();
            return rows.map(|(labels, value)| (labels, vec![value])).collect();
        }
        self.query_range(query, 60, 2)
    }

    fn choices(&self, query: &str) -> BTreeSet<String> {
        let inside = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
        let (selector, label) = inside.rsplit_once(", ").unwrap();
        self.label_values(selector, label)
    }
}

/// A dashboard over its database.
pub struct Dashboard<'a, D> {
    database: &'a D,
    board: Json,
    /// The chosen hypervisor, as a part of a regular expression.
    source: String,
    /// How many guests a graph of all guests shows.
    pub top: usize,
}

impl<'a, D: Asked> Dashboard<'a, D> {
    /// With the hypervisor chosen that has the guest of this name.
    fn of_guest(database: &'a D, name: &str) -> Self {
        let mut dashboard =
            Dashboard { database, board: read(D::FILE), source: ".*".to_owned(), top: 20 };
        let sources = dashboard.choices("source");
        assert_eq!(sources.len(), 2, "{sources:?}");
        for source in sources {
            dashboard.source = D::part(&source);
            if dashboard.choices("guest").contains(name) {
                return dashboard;
            }
        }
        panic!("no hypervisor has {name}");
    }

    /// A file of this database's, with all hypervisors chosen.
    pub fn of_all(database: &'a D, file: &str) -> Self {
        Dashboard { database, board: read(file), source: ".*".to_owned(), top: 20 }
    }

    fn filled(&self, query: &str) -> String {
        let chosen = Chosen { guest: "moving", source: &self.source, top: self.top };
        filled(query, &chosen, "2s", "60s")
    }

    /// The choices that a variable offers.
    pub fn choices(&self, name: &str) -> BTreeSet<String> {
        let mut variables = list(&self.board["templating"], "list").iter();
        let variable = variables.find(|variable| variable["name"] == name).unwrap();
        let query = &variable["query"];
        let query = query["query"].as_str().or(query.as_str()).unwrap();
        self.database.choices(&self.filled(query))
    }

    /// The answer to a panel's query that has this letter.
    fn ask(&self, panel: &Json, letter: &str, query: &str) -> Answer {
        let mut targets = list(panel, "targets").iter();
        let target = targets.find(|target| target["refId"] == letter).unwrap();
        self.database.ask(&self.filled(query), target["instant"] == true)
    }

    /// Asks each query until it is answered with data; returns the last number of each panel's first
    /// series.
    fn answered(&self) -> BTreeMap<String, f64> {
        self.answered_but(&ZEROS, &WITHOUT).0
    }

    /// The same with other queries that may answer with nothing but 0, and without some; and how many queries
    /// there are.
    pub fn answered_but(
        &self,
        zeros: &[(&str, &str)],
        without: &[(&str, &str)],
    ) -> (BTreeMap<String, f64>, usize) {
        let mut lasts = BTreeMap::new();
        let mut count = 0;
        for panel in panels(&self.board) {
            let title = text(panel, "title");
            for (letter, query) in queries(panel) {
                let is_zero =
                    |(of, letters): &(&str, &str)| *of == title && letters.contains(letter);
                if without.iter().any(is_zero) {
                    continue;
                }
                let may_be_zero = zeros.iter().any(is_zero);
                let what = format!("data of {} {title} {letter}: {query}", D::FILE);
                let answer = wait_until(&what, LIMIT, || {
                    let answer = self.ask(panel, letter, query);
                    let mut numbers = answer.iter().flat_map(|(_, numbers)| numbers);
                    let has_data = numbers.any(|&number| may_be_zero || number > 0.0);
                    has_data.then_some(answer)
                });
                lasts.entry(title.to_owned()).or_insert(*answer[0].1.last().unwrap());
                count += 1;
            }
        }
        say(&format!(
            "dashboards: {count} queries of {} were answered",
            text(&self.board, "title")
        ));
        (lasts, count)
    }

    /// What the query of its events answers: the numbers, or words, of each series.
    pub fn events(&self) -> Answer {
        let annotations = list(&self.board["annotations"], "list").iter();
        let events = annotations.filter(|it| it["name"] == "Events").collect::<Vec<_>>();
        let [event] = events[..] else { panic!("not one annotation of events") };
        let query = event["query"].as_str().or(event["expr"].as_str()).unwrap();
        self.database.ask(&self.filled(query), false)
    }

    fn panel(&self, title: &str) -> &Json {
        panels(&self.board).into_iter().find(|panel| panel["title"] == title).unwrap()
    }

    /// How many guests hang, and how many are locked; 0 where there is no answer.
    pub fn hanging(&self) -> [f64; 2] {
        let panel = self.panel("Guests that hang");
        let asked = queries(panel).into_iter().map(|(letter, query)| {
            let answer = self.ask(panel, letter, query);
            answer.first().and_then(|(_, it)| it.last().copied()).unwrap_or(0.0)
        });
        asked.collect::<Vec<_>>().try_into().unwrap()
    }

    /// The last numbers of the graph of hung guests, by guest: by their counters (A) or their answers (B).
    pub fn unanswered(&self, letter: &str) -> BTreeMap<String, f64> {
        let panel = self.panel("Collections that a guest did not answer");
        let (_, query) = queries(panel).into_iter().find(|(it, _)| *it == letter).unwrap();
        let answer = self.ask(panel, letter, query).into_iter();
        answer.map(|(tags, numbers)| (tags["name"].clone(), *numbers.last().unwrap())).collect()
    }
}

/// Numbers of the panels of the made collections of three guests: one runs, one hangs, one is paused.
pub fn assert_shown(shown: &BTreeMap<String, f64>, what: &str) {
    for (title, number) in [
        ("Guests running", 2.0),
        ("Guests in another state", 1.0),
        ("Guests that hang", 1.0),
        ("vCPUs given", 3000.0),
        ("vCPUs given, of the CPUs", 100.0),
        ("Memory given, of the memory", 100.0),
        ("Free memory", 1000.0),
    ] {
        assert_eq!(shown[title], number, "{what}: {title}");
    }
}

/// What a dashboard shows of one lab, of which these are the numbers.
struct Expected {
    stats: BTreeMap<&'static str, f64>,
    unanswered: BTreeMap<String, f64>,
    guests: BTreeSet<String>,
    devices: BTreeSet<String>,
}

fn assert_shows<D: Asked>(database: &D, expected: &Expected) {
    let dashboard = Dashboard::of_guest(database, "moving");
    let answers = dashboard.answered();
    for (title, number) in &expected.stats {
        assert_eq!(answers[*title], *number, "{}: {title}: {answers:?}", D::FILE);
    }
    assert_eq!(dashboard.unanswered("A"), expected.unanswered, "{}", D::FILE);
    assert_eq!(dashboard.choices("guest"), expected.guests);
    assert_eq!(dashboard.choices("device"), expected.devices);
    assert_eq!(dashboard.choices("host"), BTreeSet::from(["hv-01".to_owned()]));
}

#[test]
#[ignore = "slow: tests/run --all"]
fn every_query_of_both_dashboards_returns_data_of_real_guests() {
    let test = "dashboards";
    let Some(program) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(server) = require_program(test, "VICTORIA_METRICS", "victoria-metrics") else {
        return;
    };
    let Some(influxd) = require_program(test, "INFLUXD", "influxd") else { return };
    let Some(lab) = Lab::require(test) else { return };
    let moving = lab.linux("moving");
    let hung = lab.paused("hung", 1, 1);
    std::fs::create_dir_all(lab.scratch().join("pool")).unwrap();
    let stats = [&moving, &hung, &lab.paused("still one", 1, 1)].map(|guest| lab.stats(guest));
    let sum = |key: &str| number(stats.iter().map(|stats| stats.number(key)).sum());
    let nics = stats[0].devices("net").into_iter().map(|(_, name)| name);
    let expected = Expected {
        stats: [
            ("Guests running", 2.0),
            ("Guests in another state", 1.0),
            ("Guests that hang", 1.0),
            ("vCPUs given", sum("vcpu.current")),
            ("Memory given", sum("balloon.current")),
            ("State", 1.0),
            ("vCPUs", 1.0),
            ("Memory given to it", number(stats[0].number("balloon.current"))),
            ("Hypervisors that answer", 1.0),
            ("Guests read, hung and busy", 3.0),
        ]
        .into(),
        // Of those that run.
        unanswered: [("hung", 100.0), ("moving", 0.0)]
            .map(|(name, percent)| (name.to_owned(), percent))
            .into(),
        guests: ["hung", "moving", "still one"].map(str::to_owned).into(),
        devices: nics.chain(["vda".to_owned()]).collect(),
    };

    lab.virsh(&["resume", &hung]);
    lab.signal_qemu("-STOP", &hung);
    let copy = lab.scratch().join("copy.img").display().to_string();
    let overlay = lab.scratch().join("overlay.qcow2").display().to_string();
    let spec = format!("vda,file={overlay}");
    lab.virsh(&["snapshot-create-as", &moving, "first", "--disk-only", "--diskspec", &spec]);
    lab.virsh(&["blockcopy", &moving, "vda", &copy, "--transient-job", "--bandwidth", "1"]);
    let pool = lab.scratch().join("pool").display().to_string();
    lab.virsh(&["pool-create-as", "images", "dir", "--target", &pool]);
    let metrics = VictoriaMetrics::start(&server, &lab.scratch().join("victoria-metrics"));
    let influxdb = Influxdb::start(&influxd, &lab.scratch().join("influxdb"));
    let mut telegraf = telegraf(&program, &lab, &influxdb, &metrics);
    telegraf.wait_until("ten collections", LIMIT, || {
        let rows = metrics.query("count_over_time(vm_collector_up[10m])");
        (rows.len() == 2 && rows.iter().all(|(_, count)| *count >= 10.0)).then_some(())
    });
    assert_shows(&metrics, &expected);
    assert_shows(&InDatabase(&influxdb, "vms"), &expected);
    let rows = metrics.query(&vmalert_expression("GuestHangs"));
    let names: Vec<&str> = rows.iter().map(|(labels, _)| labels["name"].as_str()).collect();
    assert_eq!(names, ["hung"], "the rule for vmalert");
}

fn number(integer: i64) -> f64 {
    f64::from(i32::try_from(integer).unwrap())
}
