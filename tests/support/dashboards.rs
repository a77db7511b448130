//! What lies in dashboards/, and what Grafana makes of the queries there.

use super::repository;
use serde_json::Value as Json;
use std::path::PathBuf;

/// A file below dashboards/.
pub fn path(name: &str) -> PathBuf {
    repository().join("dashboards").join(name)
}

const PAGE: &str = include_str!("../../dashboards/README.md");

/// The files and pictures that the page leads to.
pub fn links() -> Vec<&'static str> {
    PAGE.split("](").skip(1).map(|rest| rest.split_once(')').unwrap().0).collect()
}

/// The expression of one of the rules in PromQL, which stands behind its name.
pub fn vmalert_expression(alert: &str) -> String {
    let rules = std::fs::read_to_string(path("alerts/promql.yml")).unwrap();
    let (_, rule) = rules.split_once(&format!("- alert: {alert}\n")).unwrap();
    let (_, expression) = rule.split_once("expr: ").unwrap();
    let mut lines = expression.lines();
    let first = lines.next().unwrap();
    if first != ">-" {
        return first.to_owned();
    }
    let more = lines.take_while(|line| line.starts_with("          "));
    more.map(str::trim_start).collect::<Vec<_>>().join(" ")
}

/// A JSON file below dashboards/.
pub fn read(name: &str) -> Json {
    let text = std::fs::read_to_string(path(name)).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn list<'a>(json: &'a Json, key: &str) -> &'a Vec<Json> {
    json[key].as_array().unwrap_or_else(|| panic!("no list {key} in {json}"))
}

pub fn text<'a>(json: &'a Json, key: &str) -> &'a str {
    json[key].as_str().unwrap_or_else(|| panic!("no text {key} in {json}"))
}

/// What is drawn: every panel but the rows' titles.
pub fn panels(dashboard: &Json) -> Vec<&Json> {
    list(dashboard, "panels").iter().filter(|panel| panel["type"] != "row").collect()
}

/// The queries of a panel: their letter, and the text in the database's language.
pub fn queries(panel: &Json) -> Vec<(&str, &str)> {
    let targets = list(panel, "targets").iter();
    targets
        .map(|target| {
            let key = if target["expr"].is_null() { "query" } else { "expr" };
            (text(target, "refId"), text(target, key))
        })
        .collect()
}

/// By what the guests with the most are found for a graph of all guests, in InfluxQL.
pub const TOPS: [&str; 8] =
    ["cpu", "steal", "memory", "states", "network", "disks", "silent", "unlike"];

/// What is chosen at the dashboard's top, as Grafana writes it into a query; of hosts and devices, all.
pub struct Chosen<'a> {
    /// By name.
    pub guest: &'a str,
    /// One hypervisor, as a part of a regular expression.
    pub source: &'a str,
    /// How many guests a graph of all guests shows.
    pub top: usize,
}

/// A query as Grafana sends it: with this choice, this time between two points, and this span.
pub fn filled(query: &str, chosen: &Chosen<'_>, between: &str, span: &str) -> String {
    let query = query
        .replace("$timeFilter", &format!("time > now() - {span}"))
        .replace("$__rate_interval", span)
        .replace("$__interval", between)
        .replace("${host:regex}", ".*")
        .replace("${source:regex}", chosen.source)
        .replace("${device:regex}", ".*")
        .replace("${guest:regex}", &escaped(chosen.guest))
        .replace("$top", &chosen.top.to_string())
        .replace("$domain", ".*")
        .replace("$host", ".*")
        .replace("$source", chosen.source)
        .replace("$device", ".*")
        .replace("$guest", chosen.guest);
    // The guests with the most are all guests, where a test has but a few.
    let all = |query: String, by: &&str| query.replace(&format!("${{top_{by}:regex}}"), ".*");
    let query = TOPS.iter().fold(query, all);
    // What an expression ends with is its last `$`.
    let left: Vec<&str> = query.split('$').skip(1).filter(|rest| !rest.starts_with('/')).collect();
    assert!(left.is_empty(), "variables that a test does not know: {left:?} in {query}");
    query
}

/// Text as a part of a regular expression.
pub fn escaped(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    text.chars().flat_map(|c| [(!is_plain(c)).then_some('\\'), Some(c)]).flatten().collect()
}
