//! Every query of a dashboard about the last 6 hours, as Grafana sends it.

use serde_json::{Value, json};

use crate::database::{Database, Kind};
use crate::support::dashboards::{Chosen, filled, list, panels, queries, read, text};

const SPAN_S: u64 = 6 * 3600;
/// Grafana draws about 900 points on a panel of usual width.
const STEP_S: u64 = 30;

pub fn asked(database: &Database, kind: Kind, fleet: &Value) -> Value {
    let end_s = fleet["end_unix_s"].as_u64().unwrap();
    let interval_s = fleet["size"]["interval_s"].as_u64().unwrap();
    let step_s = STEP_S.max(interval_s);
    // A guest of the middle.
    let size = |key: &str| fleet["size"][key].as_u64().unwrap();
    let number = size("hosts") * size("guests_a_host") / 2;
    let guest = format!("instance-{number:08x}");
    let chosen = Chosen { guest: &guest, source: ".*", top: 20 };
    let (file, span) = match kind {
        Kind::Victoria => ("metricsql.json", format!("{}s", 4 * interval_s)),
        Kind::Influx => ("influxql.json", format!("{SPAN_S}s")),
    };
    let board = read(file);
    let mut asked = Vec::new();
    for panel in panels(&board) {
        let targets = list(panel, "targets");
        for ((letter, query), target) in queries(panel).into_iter().zip(targets) {
            let query = filled(query, &chosen, &format!("{step_s}s"), &span)
                .replace("now()", &format!("{end_s}s"));
            let is_instant = target["instant"] == true;
            // The second time, the files are in memory; the first is what a user waits for.
            let times = [(); 2].map(|()| database.ask(&query, is_instant, end_s, SPAN_S, step_s));
            let [first, second] = &times;
            let ms = |answer: &crate::database::Answer| answer.took.as_millis() as u64;
            eprintln!(
                "{:6} {:6} ms {:5} series  {} {letter}",
                ms(first),
                ms(second),
                first.series,
                text(panel, "title")
            );
            asked.push(json!({
                "panel": text(panel, "title"), "letter": letter,
                "first_ms": ms(first), "second_ms": ms(second),
                "series": first.series, "bytes": first.bytes,
            }));
        }
    }
    asked.sort_by_key(|it| std::cmp::Reverse(it["first_ms"].as_u64()));
    json!({ "database": database.version, "dashboard": file, "fleet": fleet, "step_s": step_s, "queries": asked })
}
