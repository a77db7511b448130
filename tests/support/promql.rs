//! What a database that is asked in PromQL answers.

use super::ailing::now;
use super::servers::{encode, http_get};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Names and values, `__name__` among them.
pub type Labels = BTreeMap<String, String>;

/// A server on loopback with Prometheus' HTTP interface.
pub trait Promql {
    fn port(&self) -> u16;

    /// The data of an answer, which must be a success.
    fn answer(&self, path: &str) -> Json {
        let body = http_get(self.port(), path);
        let mut answer: Json =
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {path}: {body}"));
        assert_eq!(answer["status"], "success", "{path}: {body}");
        answer["data"].take()
    }

    /// What a query answers now.
    fn query(&self, query: &str) -> Vec<(Labels, f64)> {
        let answer = self.answer(&format!("/api/v1/query?query={}", encode(query)));
        let rows = answer["result"].as_array().unwrap_or_else(|| panic!("{query}: {answer}"));
        rows.iter().map(|row| (labels(&row["metric"]), number(&row["value"]))).collect()
    }

    /// What a query answers at each `step` of the last `span`, both in seconds.
    fn query_range(&self, query: &str, span: i64, step: i64) -> Vec<(Labels, Vec<f64>)> {
        let end = now();
        let start = end - span;
        let query = encode(query);
        let path = format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}");
        let answer = self.answer(&path);
        let rows = answer["result"].as_array().unwrap().iter();
        rows.map(|row| {
            let values = row["values"].as_array().unwrap().iter();
            (labels(&row["metric"]), values.map(number).collect())
        })
        .collect()
    }

    /// The values that a label has in the series that a selector finds.
    fn label_values(&self, selector: &str, label: &str) -> BTreeSet<String> {
        let path = format!("/api/v1/label/{label}/values?match[]={}", encode(selector));
        let answer = self.answer(&path);
        let values = answer.as_array().unwrap().iter();
        values.map(|value| value.as_str().unwrap().to_owned()).collect()
    }
}

/// The value of a pair of a moment and a value.
fn number(pair: &Json) -> f64 {
    pair[1].as_str().unwrap().parse().unwrap()
}

pub fn labels(metric: &Json) -> Labels {
    let pairs = metric.as_object().unwrap().iter();
    pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}
