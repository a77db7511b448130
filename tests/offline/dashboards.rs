//! The dashboards and rules for Grafana, as files: whether Grafana's own types take them, and whether
//! they are of a piece. What their queries return is tests/system/dashboards.rs's.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use crate::support::dashboards::{links, list, panels, path, queries, read, text};
use crate::support::markdown;
use crate::support::process::run;
use crate::support::servers::require_program;
use crate::support::{repository, say, skip};
use serde_json::{Value as Json, json};

const DASHBOARDS: [&str; 2] = ["influxql.json", "metricsql.json"];

/// What a person sees of a panel, whichever the language.
fn seen(panel: &Json) -> Json {
    let legends: Vec<String> = list(panel, "targets")
        .iter()
        .filter_map(|target| target["alias"].as_str().or(target["legendFormat"].as_str()))
        .map(|legend| legend.replace("{{", "").replace("}}", "").replace("$tag_", ""))
        .collect();
    // A table has one query for all columns, or one for each.
    json!({
        "type": panel["type"], "title": panel["title"], "description": panel["description"],
        "gridPos": panel["gridPos"], "legends": legends, "fieldConfig": panel["fieldConfig"],
    })
}

#[test]
fn both_dashboards_show_the_same() {
    let [influxql, metricsql] = DASHBOARDS.map(read);
    for (one, other) in list(&influxql, "panels").iter().zip(list(&metricsql, "panels")) {
        match one["type"].as_str() {
            Some("row") => assert_eq!(one, other),
            _ => assert_eq!(seen(one), seen(other)),
        }
    }
    assert_eq!(list(&influxql, "panels").len(), list(&metricsql, "panels").len());
    for key in ["tags", "schemaVersion", "timezone", "refresh", "time", "links"] {
        assert_eq!(influxql[key], metricsql[key], "{key}");
    }
    let annotations = |board: &Json| -> Vec<Json> {
        let annotations = list(&board["annotations"], "list").iter();
        annotations.map(|it| json!([it["name"], it["enable"], it["iconColor"]])).collect()
    };
    assert_eq!(annotations(&influxql), annotations(&metricsql));
    let variables = |board: &Json| -> Vec<String> {
        // The guests with the most: PromQL finds them within each query.
        let variables = list(&board["templating"], "list").iter();
        let variables = variables.filter(|it| !text(it, "name").starts_with("top_"));
        variables.map(|it| format!("{} {} {}", it["name"], it["label"], it["multi"])).collect()
    };
    assert_eq!(variables(&influxql), variables(&metricsql));
    assert_eq!(variables(&influxql).len(), 6);
}

#[test]
fn every_data_source_is_the_one_that_the_user_chooses() {
    fn sources<'a>(json: &'a Json, found: &mut Vec<&'a Json>) {
        match json {
            Json::Object(fields) => {
                found.extend(fields.get("datasource"));
                fields.values().for_each(|value| sources(value, found));
            }
            Json::Array(items) => items.iter().for_each(|item| sources(item, found)),
            _ => {}
        }
    }
    for (name, kind) in [("influxql.json", "influxdb"), ("metricsql.json", "prometheus")] {
        let board = read(name);
        let mut found = Vec::new();
        sources(&board, &mut found);
        let own = json!({ "type": "grafana", "uid": "-- Grafana --" });
        let chosen = json!({ "type": kind, "uid": "${datasource}" });
        assert_eq!(found.iter().filter(|&&source| *source == own).count(), 1, "{name}");
        assert!(found.iter().all(|&source| *source == own || *source == chosen), "{found:?}");
        assert!(found.len() > 2 * panels(&board).len(), "{name}: {}", found.len());
        let first = &list(&board["templating"], "list")[0];
        assert_eq!((&first["name"], &first["query"]), (&json!("datasource"), &json!(kind)));
    }
}

#[test]
fn panels_have_their_places_titles_and_units() {
    for name in DASHBOARDS {
        let board = read(name);
        let mut cells = BTreeSet::new();
        let mut ids = BTreeSet::new();
        let mut titles = BTreeSet::new();
        for panel in list(&board, "panels") {
            let number = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(number("x") + number("w") <= 24, "{panel}");
            for x in number("x")..number("x") + number("w") {
                for y in number("y")..number("y") + number("h") {
                    assert!(cells.insert((x, y)), "{name}: two at {x}, {y}: {}", panel["title"]);
                }
            }
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {}", panel["id"]);
            assert!(titles.insert(text(panel, "title")), "{name}: {}", panel["title"]);
        }
        for panel in panels(&board) {
            let unit = text(&panel["fieldConfig"]["defaults"], "unit");
            // As https://github.com/grafana/grafana-foundation-sdk has them in its package units.
            let known = [
                "none", "percent", "kbytes", "bytes", "KiBs", "Bps", "pps", "reqps", "ms", "s",
                "ns",
            ];
            assert!(
                known.contains(&unit) || unit == "suffix:/s" || unit == "dateTimeFromNow",
                "{name}: {unit}"
            );
        }
    }
}

/// Of these Grafana takes a word that it does not know without a complaint, for its default or for none,
/// and its types do so too. The words are those of the npm package @grafana/schema 13.2.3.
const WORDS: [(&str, &[&str]); 16] = [
    (
        "type",
        &[
            "datasource",
            "query",
            "custom",
            "dashboards",
            "dashboard",
            "row",
            "stat",
            "state-timeline",
            "table",
            "timeseries",
        ],
    ),
    ("displayMode", &["list", "table", "hidden"]),
    ("placement", &["bottom", "right"]),
    ("sort", &["asc", "desc", "none"]),
    ("drawStyle", &["line", "bars", "points"]),
    ("showPoints", &["auto", "always", "never"]),
    ("colorMode", &["value", "background", "background_solid", "none"]),
    ("graphMode", &["none", "line", "area"]),
    ("justifyMode", &["auto", "center"]),
    ("orientation", &["auto", "vertical", "horizontal"]),
    ("textMode", &["auto", "value", "value_and_name", "name", "none"]),
    ("percentChangeColorMode", &["standard", "inverted", "same_as_value"]),
    ("showValue", &["auto", "always", "never"]),
    ("cellHeight", &["sm", "md", "lg", "auto"]),
    ("align", &["auto", "left", "right", "center"]),
    ("resultFormat", &["time_series", "table"]),
];

/// The same, of words whose key has several meanings, by the object that holds it.
const MODES: [(&str, &[&str]); 7] = [
    ("tooltip", &["single", "multi", "none"]),
    ("stacking", &["none", "normal", "percent"]),
    ("thresholds", &["absolute", "percentage"]),
    // Thresholds of some fields only.
    ("value", &["absolute", "percentage"]),
    ("thresholdsStyle", &["line", "area", "dashed", "off"]),
    ("color", &["thresholds", "palette-classic"]),
    ("settings", &["dropNN", "replaceNN"]),
];

#[test]
fn every_word_of_a_choice_is_one_that_grafana_knows() {
    fn words<'a>(holder: &'a str, json: &'a Json, found: &mut Vec<(&'a str, &'a str, &'a str)>) {
        match json {
            Json::Object(fields) => {
                for (key, value) in fields {
                    found.extend(value.as_str().map(|word| (holder, key.as_str(), word)));
                    words(key, value, found);
                }
            }
            Json::Array(items) => items.iter().for_each(|item| words(holder, item, found)),
            _ => {}
        }
    }
    let files = ["influxql.json", "metricsql.json", "alerts/influxql.json"].map(read);
    let mut found = Vec::new();
    files.iter().for_each(|file| words("", file, &mut found));
    let mut seen = BTreeSet::new();
    for (holder, key, word) in found {
        let holders = ["panels", "list"].contains(&holder);
        let known = match key {
            "mode" => MODES.iter().find(|(name, _)| *name == holder),
            // Elsewhere it is of mappings, data sources and cells.
            "type" if !holders => None,
            _ => WORDS.iter().find(|(name, _)| *name == key),
        };
        assert!(key != "mode" || known.is_some(), "{holder}.mode");
        let Some((name, known)) = known else { continue };
        assert!(known.contains(&word), "{holder}.{key}: {word}");
        seen.insert(name);
    }
    assert_eq!(seen.len(), WORDS.len() + MODES.len(), "{seen:?}");
}

#[test]
fn a_panel_says_which_setting_it_needs() {
    let needs = [
        (r#"features = ["cpu"]"#, &["steal_percent", "cpu_percent"][..]),
        (r#"features = ["latency"]"#, &["_ms_per_req"]),
        (r#"features = ["balloon"]"#, &["balloon_age_sec"]),
        (r#"extra = ["collector"]"#, &["vm_collector"]),
        (r#"extra = ["host"]"#, &["vm_host"]),
        (r#"extra = ["pools"]"#, &["vm_pools"]),
        (r#"extra = ["jobs"]"#, &["vm_jobs"]),
        (r#"extra = ["block-jobs"]"#, &["vm_block_jobs"]),
        (r#"extra = ["snapshots"]"#, &["vm_snapshots"]),
        (r#"extra = ["anomalies"]"#, &["vm_anomalies"]),
        (r#"extra = ["disk-times"]"#, &["d_time_ns", "r_time_ns", "l_time_ns"]),
    ];
    for name in DASHBOARDS {
        let board = read(name);
        for (setting, words) in needs {
            let told = format!("Needs `{setting}`.");
            let mut count = 0;
            for panel in panels(&board) {
                let asks = queries(panel)
                    .iter()
                    .any(|(_, query)| words.iter().any(|word| query.contains(word)));
                let description = panel["description"].as_str().unwrap_or_default();
                assert_eq!(description.contains(&told), asks, "{name}: {}: {told}", panel["title"]);
                count += usize::from(asks);
            }
            assert!(count > 0, "{name}: {setting}");
        }
    }
}

#[test]
fn every_link_of_the_page_leads_somewhere_and_no_picture_is_large() {
    for link in links() {
        let (file, _) = link.split_once('#').unwrap_or((link, ""));
        assert!(file.is_empty() || path(file).is_file(), "{link}");
    }
    let pictures: Vec<&str> = links().into_iter().filter(|link| link.ends_with(".png")).collect();
    assert_eq!(pictures, ["hosts.png", "guest.png", "devices.png", "collector.png"]);
    for picture in pictures {
        let bytes = std::fs::read(path(picture)).unwrap();
        assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "{picture}");
        assert!(bytes.len() < 150_000, "{picture}: {} bytes", bytes.len());
    }
}

#[test]
fn the_page_lists_every_alert_with_its_severity() {
    let page = std::fs::read_to_string(path("README.md")).unwrap();
    let alerts = markdown::rows(&page, "## Alerts");
    let rules = std::fs::read_to_string(path("alerts/promql.yml")).unwrap();
    let rules = rules.split("- alert: ").skip(1).map(|rule| {
        let severity = rule.split_once("severity: ").unwrap().1;
        (rule.lines().next().unwrap(), severity.lines().next().unwrap())
    });
    let on_the_page = alerts.iter().map(|row| (row["alert"].trim_matches('`'), &*row["severity"]));
    assert_eq!(on_the_page.collect::<BTreeSet<_>>(), rules.collect::<BTreeSet<_>>());
}

/// Of an annotation Grafana's types have only what all data sources have. These are InfluxDB's and Prometheus'
/// own, as their plugins read them.
const OWN_FIELDS: [&str; 9] = [
    "query",
    "fromAnnotations",
    "titleColumn",
    "tagsColumn",
    "textColumn",
    "step",
    "titleFormat",
    "textFormat",
    "tagKeys",
];

fn without_own_fields(text: &str) -> String {
    let mut board: Json = serde_json::from_str(text).unwrap();
    let annotations = board.pointer_mut("/annotations/list").and_then(Json::as_array_mut);
    for annotation in annotations.into_iter().flatten() {
        annotation.as_object_mut().unwrap().retain(|key, _| !OWN_FIELDS.contains(&key.as_str()));
    }
    board.to_string()
}

#[test]
fn every_dashboard_leads_to_the_others_and_none_has_the_uid_of_another() {
    let names =
        ["influxql.json", "metricsql.json", "exporters/kumina.json", "exporters/inovex.json"];
    let boards = names.map(read);
    let uids: BTreeSet<&str> = boards.iter().map(|board| text(board, "uid")).collect();
    assert_eq!(uids.len(), boards.len());
    for board in &boards {
        let link = &list(board, "links")[0];
        let tag = &link["tags"][0];
        assert!(list(board, "tags").contains(tag), "{}", board["title"]);
        assert!(link["type"] == "dashboards" && link["includeVars"] == true, "{link}");
    }
    // A limit that a colour marks is explained.
    for board in &boards[..2] {
        for panel in panels(board) {
            let steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"].as_array();
            let has_limit = steps.is_some_and(|steps| steps.len() > 1);
            let told = panel["description"].as_str().unwrap_or_default();
            let is_told = [" from ", "The line is at"].iter().any(|words| told.contains(words));
            assert!(!has_limit || is_told, "{}: {told}", panel["title"]);
        }
    }
}

#[test]
fn the_provisioning_files_and_the_rules_name_the_same_data_source() {
    let of = |name: &str| std::fs::read_to_string(path(&format!("provisioning/{name}"))).unwrap();
    let sources = of("datasources/telegraf-virt.yaml");
    let rules = read("alerts/influxql.json");
    for rule in list(&rules["groups"][0], "rules") {
        let uid = text(&list(rule, "data")[0], "datasourceUid");
        assert!(sources.contains(&format!("    uid: {uid}\n    type: influxdb\n")), "{uid}");
    }
    for (text, key) in
        [(sources, "datasources:"), (of("dashboards/telegraf-virt.yaml"), "providers:")]
    {
        assert!(text.contains(&format!("apiVersion: 1\n{key}\n  - ")), "{text}");
        assert!(!text.contains('\t'));
    }
}

#[test]
fn grafanas_own_types_take_them_and_refuse_what_is_amiss() {
    let test = "dashboards, Grafana's types";
    let Some(checker) = require_program(test, "GRAFANA_TYPES", "grafana-types") else { return };
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "influxql.json",
        "metricsql.json",
        "exporters/kumina.json",
        "exporters/inovex.json",
        "alerts/influxql.json",
    ] {
        let file = folder.path().join("whole.json");
        let text = std::fs::read_to_string(path(name)).unwrap();
        std::fs::write(&file, without_own_fields(&text)).unwrap();
        let told = run(Command::new(&checker).arg(file)).success();
        assert_eq!((&*told.stdout, &*told.stderr), ("", ""), "{name}: {told}");
    }
    let refused = |name: &str, from: &str, to: &str| -> String {
        let text = std::fs::read_to_string(path(name)).unwrap();
        assert!(text.contains(from), "{name}: {from}");
        let file = folder.path().join("amiss.json");
        std::fs::write(&file, without_own_fields(&text.replacen(from, to, 1))).unwrap();
        run(Command::new(&checker).arg(file)).code(1).stderr
    };
    for (name, from, to, message) in [
        ("influxql.json", "\"lineWidth\": 1", "\"lineWidht\": 1", "unexpected field 'lineWidht'"),
        (
            "influxql.json",
            "\"frameIndex\": 0",
            "\"frame\": 0",
            "frameIndex: required field is missing",
        ),
        (
            "metricsql.json",
            "\"expr\": \"sum(max",
            "\"exp\": \"sum(max",
            "expr: required field is missing",
        ),
        ("metricsql.json", "\"unit\": \"Bps\"", "\"unit\": 5", "cannot unmarshal number"),
        ("alerts/influxql.json", "\"for\":", "\"fo\":", "unexpected field 'fo'"),
        (
            "alerts/influxql.json",
            "\"params\": [10]",
            "\"params\": [\"10\"]",
            "cannot unmarshal string",
        ),
        ("alerts/influxql.json", "\"orgId\":", "\"org\":", "unknown field \"org\""),
    ] {
        let told = refused(name, from, to);
        assert!(told.contains(message), "{name}: {to}: {told}");
    }
}

/// Names that Grafana has and its npm package does not, by the first version whose package has them; what a
/// Grafana does not know it ignores.
const KNOWN_SINCE: [(&str, (u32, u32)); 10] = [
    ("builtIn", (10, 2)),
    ("showPercentChange", (10, 3)),
    ("wideLayout", (10, 2)),
    ("sort", (10, 1)),
    ("allValue", (10, 4)),
    ("includeAll", (10, 4)),
    ("regex", (10, 4)),
    ("percentChangeColorMode", (11, 1)),
    ("preload", (11, 2)),
    // Grafana writes it into each variable.
    ("definition", (u32::MAX, 0)),
];

#[test]
#[ignore = "slow: tests/run --all"]
fn the_types_of_every_version_of_grafana_take_the_dashboards() {
    let Some(folder) = std::env::var_os("GRAFANA_SCHEMA").map(PathBuf::from) else {
        skip("dashboards, every Grafana", "$GRAFANA_SCHEMA is not set");
        return;
    };
    let check = |files: &[PathBuf], only: &str| {
        let script = repository().join("tests/lab/grafana-schema.mjs");
        let mut command = Command::new(folder.join("node"));
        run(command.arg(script).arg(&folder).args(files).env("ONLY", only))
    };
    let names =
        ["influxql.json", "metricsql.json", "exporters/kumina.json", "exporters/inovex.json"];
    let told = check(&names.map(path), "").success().stdout;
    let mut versions = Vec::new();
    for line in told.lines() {
        let (version, unknown) = line.split_once(':').unwrap();
        let mut numbers = version.split('.').map(|it| it.parse::<u32>().unwrap());
        let version = (numbers.next().unwrap(), numbers.next().unwrap());
        for name in unknown.split_whitespace() {
            let since = KNOWN_SINCE.iter().find(|(it, _)| *it == name);
            assert!(since.is_some_and(|(_, since)| version < *since), "{line}: {name}");
        }
        versions.push(version);
    }
    assert!(versions.len() >= 20 && versions[0] == (10, 0), "{versions:?}");
    say(&format!("dashboards: types of {} versions, up to {:?}", versions.len(), versions.last()));

    // A word that is none and a number that is a text are refused, and a name that none knows is told.
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("amiss.json");
    let text = std::fs::read_to_string(path("influxql.json")).unwrap();
    for (from, to, code, message) in [
        ("\"drawStyle\": \"line\"", "\"drawStyle\": \"lime\"", 1, "\"lime\""),
        ("\"schemaVersion\": 42", "\"schemaVersion\": \"42\"", 1, "not assignable to type 'number"),
        ("\"lineWidth\": 1", "\"lineWidht\": 1", 0, "lineWidht"),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        let told = check(std::slice::from_ref(&file), "12.4.11").code(code);
        let told = format!("{}{}", told.stdout, told.stderr);
        assert!(told.contains(message), "{to}: {told}");
    }
}
