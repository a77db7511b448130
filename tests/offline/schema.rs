//! What is made of the schema's rows and kept in the repository: the tables of docs/metrics.md, the lists of
//! names in the sample configuration, and Prometheus' types. With BLESS=1 each is written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::support::exporter_names;
use crate::support::metric_types::metric_types;
use telegraf_virt::schema::{
    AskedBy, DeviceTag, EXTRAS, Extra, FEATURES, FieldKind, GUEST_TAGS, OutputField, SOURCE_TAG,
    output_fields,
};

fn path(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// Holds a file to what it must be.
fn hold(file: &str, expected: &str) {
    let is_blessed = std::env::var("BLESS").is_ok_and(|value| value == "1");
    if is_blessed {
        fs::create_dir_all(path(file).parent().unwrap()).unwrap();
        return fs::write(path(file), expected).unwrap();
    }
    let kept = fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let differs = kept.lines().zip(expected.lines()).find(|(kept, expected)| kept != expected);
    assert_eq!(kept, expected, "BLESS=1 writes {file} anew; first difference: {differs:#?}");
}

/// The text with `table` in place of the table below this mark.
fn with_table(text: &str, mark: &str, table: &str) -> String {
    let mark = format!("<!-- the table {mark} is made of src/schema -->\n");
    let (before, rest) = text.split_once(&mark).unwrap_or_else(|| panic!("there is no {mark}"));
    let after = rest.split_once("\n\n").map_or("", |(_, after)| after);
    format!("{before}{mark}{table}\n{after}")
}

fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| {
        let cells =
            cells.iter().map(|cell| format!(" {cell}{}", if cell.is_empty() { "" } else { " " }));
        format!("|{}|\n", cells.collect::<Vec<_>>().join("|"))
    };
    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
    let rule = format!("|{}\n", "---|".repeat(columns.len()));
    let rows = rows.into_iter().map(|row| line(&row));
    line(&columns) + &rule + &rows.collect::<String>()
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// What every table of fields has: field, type, kind, unit, from, what.
fn cells(field: &OutputField) -> Vec<String> {
    let row = &field.row;
    let kind = match row.kind {
        FieldKind::Counter => "counter",
        FieldKind::Gauge | FieldKind::Float => "gauge",
        FieldKind::Text | FieldKind::Flag | FieldKind::AsSent => "",
    };
    let cells = [&code(row.name), row.kind.type_name(), kind, row.unit, &field.source, row.text];
    cells.map(|cell| cell.replace('|', "\\|")).to_vec()
}

const COLUMNS: [&str; 6] = ["field", "type", "kind", "unit", "from", "what"];

fn always(measurement: &str) -> impl Iterator<Item = &'static OutputField> {
    let is_of = move |it: &&OutputField| {
        it.measurement == measurement && !matches!(it.asked_by, AskedBy::Extra(_))
    };
    output_fields().iter().filter(is_of)
}

fn with_columns(first: &[&'static str]) -> Vec<&'static str> {
    first.iter().chain(&COLUMNS).copied().collect()
}

fn tags_table() -> String {
    let row = |tag: &str, on: &str, what: &str| vec![code(tag), on.to_owned(), what.to_owned()];
    let texts = [
        "the domain's id, new at each boot; -1 when it does not run",
        "the domain's name",
        "the domain's uuid, which lasts: group by it",
    ];
    let guest = GUEST_TAGS.into_iter().zip(texts).map(|(tag, text)| row(tag, "all", text));
    let devices = [
        row("devtype", "vm_devices", "`nic` or `disk`"),
        row(
            "device",
            "vm_devices",
            "the NIC's name on the host (`vnet0`, new at each boot), the disk's target (`vda`)",
        ),
    ];
    let asked = DeviceTag::ALL
        .map(|tag| row(tag.name(), "vm_devices", &format!("by `device_tags`: {}", tag.text())));
    let source = "where more than one URI is read: the host's name, or the URI where two hosts \
                  give the same";
    let rows = guest.chain(devices).chain(asked).chain([row(SOURCE_TAG, "all", source)]);
    table(&["tag", "on", "what"], rows)
}

fn extras_table() -> String {
    let row = |extra: Extra| {
        let row = extra.row();
        let groups = row.groups.iter().map(|group| format!("the group {}", group.name()));
        let calls = row.calls.iter().filter(|(_, group)| group.is_none());
        let calls = calls.map(|(call, _)| match call {
            telegraf_virt::schema::GuestCall::Definition => "two calls when its XML is read",
            telegraf_virt::schema::GuestCall::Snapshots => {
                "two calls when its XML is read, and two more for each chain of snapshots"
            }
            telegraf_virt::schema::GuestCall::BlockJobs => "one more call for each disk",
            _ => "one more call for each guest",
        });
        let xml = row.needs_xml.then(|| "the domain's XML, read anyway".to_owned());
        let host = (!row.of_host.is_empty()).then(|| row.of_host.to_owned());
        // What takes more than one collection listens, or reckons.
        let listens = (extra == Extra::Events).then(|| "a connection to listen on".to_owned());
        let calls = calls.map(str::to_owned);
        let asks: Vec<String> = groups.chain(calls).chain(xml).chain(host).chain(listens).collect();
        let asks = if asks.is_empty() { "nothing".to_owned() } else { asks.join("; ") };
        let adds: BTreeSet<String> = output_fields()
            .iter()
            .filter(|it| it.asked_by == AskedBy::Extra(extra))
            .map(|it| format!("{} {}", it.measurement, it.devtype).trim_end().to_owned())
            .collect();
        let adds: Vec<String> = adds.into_iter().collect();
        let (calls, ms) = row.cost;
        let more_calls = (calls > 0).then(|| format!("{calls} calls"));
        let more_ms = (ms > 0).then(|| format!("{ms} ms"));
        let cost: Vec<String> = more_calls.into_iter().chain(more_ms).collect();
        vec![code(row.name), adds.join(", "), row.text.to_owned(), asks, cost.join(", ")]
    };
    table(&["name", "on", "what", "asks libvirt for", "60 guests"], Extra::ALL.map(row))
}

fn metrics(text: &str) -> String {
    let mut text = with_table(text, "tags", &tags_table());
    for measurement in ["vm_metrics", "vm_totals"] {
        let fields = always(measurement).map(cells);
        text = with_table(&text, measurement, &table(&COLUMNS, fields));
    }
    let devices = always("vm_devices").map(|it| [vec![it.devtype.to_owned()], cells(it)].concat());
    text = with_table(&text, "vm_devices", &table(&with_columns(&["of"]), devices));
    let rates = always("vm_features").map(|it| {
        let name = match it.asked_by {
            AskedBy::Feature(feature) => code(FEATURES[feature as usize].name),
            _ => String::new(),
        };
        [vec![name], cells(it)].concat()
    });
    text = with_table(&text, "vm_features", &table(&with_columns(&["name"]), rates));
    let extra = output_fields().iter().filter_map(|it| {
        let AskedBy::Extra(extra) = it.asked_by else { return None };
        let of = format!("{} {}", it.measurement, it.devtype).trim_end().to_owned();
        let tags = if it.measurement == "vm_devices" { &[][..] } else { it.tags };
        let tags: Vec<String> = tags.iter().map(|tag| code(tag)).collect();
        Some([vec![code(extra.name()), of, tags.join(", ")], cells(it)].concat())
    });
    text = with_table(&text, "extras", &extras_table());
    with_table(&text, "extra", &table(&with_columns(&["name", "of", "tags"]), extra))
}

#[test]
fn the_tables_of_metrics_md_are_those_of_the_schema() {
    let file = "docs/metrics.md";
    let text = fs::read_to_string(path(file)).unwrap();
    hold(file, &metrics(&text));
}

/// The text with these names in place of the list below the line that begins so.
fn with_list(text: &str, start: &str, names: &[(&str, String)]) -> String {
    let width = names.iter().map(|(name, _)| name.len() + 2).max().unwrap();
    let is_name = |line: &&str| line.starts_with("##   \"");
    let (before, rest) = text.split_once(start).unwrap();
    let (head, rest) = rest.split_once("##   \"").unwrap();
    let after: Vec<&str> =
        rest.split_inclusive('\n').skip(1).skip_while(|line| is_name(line)).collect();
    let list = names
        .iter()
        .map(|(name, text)| format!("##   {:width$}  {text}\n", format!("\"{name}\"")))
        .collect::<String>();
    format!("{before}{start}{head}{list}{}", after.concat())
}

#[test]
fn the_sample_configuration_lists_the_names_of_the_schema() {
    let file = "src/config/sample.toml";
    let text = fs::read_to_string(path(file)).unwrap();
    let extras = EXTRAS.iter().map(|row| {
        let measurement = if row.measurement.is_empty() { "" } else { ": " };
        (row.name, format!("{}{measurement}{}", row.measurement, row.text))
    });
    let text = with_list(&text, "## More measurements and fields", &extras.collect::<Vec<_>>());
    let features = FEATURES.iter().map(|row| (row.name, row.text.to_owned()));
    let features: Vec<_> = features.collect();
    hold(file, &with_list(&text, "## More rates in vm_features", &features));
}

#[test]
fn the_types_for_prometheus_are_those_of_the_schema() {
    hold("fixtures/schema/metric_types.toml", &metric_types());
    // The example has them as its last part.
    let file = "telegraf.d/telegraf-virt-prometheus.conf.example";
    let text = fs::read_to_string(path(file)).unwrap();
    let table = "[outputs.prometheus_client.metric_types]\n";
    let (before, _) = text.split_once(&format!("  {table}")).unwrap();
    let types = metric_types().replace('\n', "\n  ");
    hold(file, &format!("{before}  {}\n", types.trim_end()));
}

/// The outputs of the example for remote write, as its filters divide the fields.
#[test]
fn the_example_for_remote_write_sends_every_number_once_and_no_words() {
    let text = fs::read_to_string(path("telegraf.d/telegraf-virt-remote-write.conf.example"));
    let settings: toml::Table = text.unwrap().parse().unwrap();
    let outputs = settings["outputs"]["http"].as_array().unwrap();
    let has = |output: &toml::Value, key: &str, name: &str| {
        let list = output.get(key).and_then(toml::Value::as_array);
        list.map(|names| {
            let mut names = names.iter().map(|it| it.as_str().unwrap());
            names.any(|it| it == name || (it == "vm_*" && name.starts_with("vm_")))
        })
    };
    for field in output_fields() {
        let (measurement, name) = (field.measurement, field.row.name);
        // Names with an asterisk, and vm_other's, are libvirt's; these are numbers.
        if measurement == "vm_other" {
            continue;
        }
        let sent = outputs.iter().filter(|output| {
            has(output, "namepass", measurement).unwrap_or(true)
                && !has(output, "namedrop", measurement).unwrap_or(false)
                && !has(output, "fieldexclude", name).unwrap_or(false)
        });
        let expected = usize::from(field.row.kind != FieldKind::Text);
        assert_eq!(sent.count(), expected, "{measurement} {name}");
    }
}

#[test]
fn the_rules_for_the_exporters_names_are_those_of_the_page() {
    let (rules, count) = exporter_names::rules();
    assert!(count > 60, "{count}");
    hold("dashboards/rules/exporter-names.yml", &rules);
}

#[test]
fn each_field_is_in_one_row_and_each_name_in_extra_adds_something() {
    let mut seen = BTreeMap::new();
    for field in output_fields() {
        let key = (field.measurement, field.devtype, field.row.name, field.tags);
        // The guest's rate of dirty memory and that of a vCPU have one name, on lines with other tags; so
        // have the mode of the guest's memory and that of a cell's, the host's memory and that of its cells.
        let is_twice = seen.insert(key, field).is_some();
        let may_be = [
            ("vm_dirty_rate", "mib_per_sec"),
            ("vm_numa", "mode"),
            ("vm_host", "memory_total_kib"),
            ("vm_host", "memory_free_kib"),
        ];
        let is_known = may_be.contains(&(field.measurement, field.row.name));
        assert!(!is_twice || is_known, "twice: {field:?}");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_*".contains(c);
        assert!(field.row.name.chars().all(is_plain), "{field:?}");
        assert!(!field.source.is_empty() || !field.row.text.is_empty(), "says nothing: {field:?}");
    }
    for extra in Extra::ALL {
        let adds = output_fields().iter().any(|it| it.asked_by == AskedBy::Extra(extra));
        assert!(adds && !extra.row().text.is_empty(), "{}", extra.name());
    }
}
