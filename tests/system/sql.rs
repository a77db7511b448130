//! PostgreSQL and QuestDB, which a real Telegraf fills with the page's own settings; and InfluxDB 3's SQL by
//! DataFusion, its engine. Each line that was sent must be a row there, each field must keep its type, and
//! each query of the page must be answered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::ailing::now;
use crate::support::lines::{Line, Value, read};
use crate::support::made::{MadeGuest, collections};
use crate::support::process::run;
use crate::support::servers::{Server, encode, errors, http_get, require_program};
use crate::support::tested::{Row, page_blocks};
use crate::support::victoria_metrics::listening;
use crate::support::{repository, wait_until};
use serde_json::{Value as Json, json};

const LIMIT: Duration = Duration::from_secs(120);

/// Made lines of three guests, the last ones of now, some with more tags than the others.
pub fn made() -> String {
    let guest = |name, tags, state| MadeGuest { name, tags, state, is_hung: false };
    let guests = [
        guest("moving", ",host=hv-01,source=kvm1", 1),
        guest("it's", ",host=hv-01", 3),
        guest("still", "", 3),
    ];
    let end = now();
    collections(&guests, end - 240..end + 1, 30)
}

/// How many lines each measurement has.
pub fn counts(lines: &[Line]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line.measurement.clone()).or_default() += 1;
    }
    counts
}

/// The type of each column of a measurement's table, in words of this database's.
pub fn columns(
    lines: &[Line],
    measurement: &str,
    word: &dyn Fn(&Value) -> &'static str,
    tag: &'static str,
) -> BTreeMap<String, String> {
    let mut columns = BTreeMap::new();
    for line in lines.iter().filter(|line| line.measurement == measurement) {
        columns.extend(line.tags.iter().map(|(name, _)| (name.clone(), tag.to_owned())));
        let fields = line.fields.iter();
        columns.extend(fields.map(|(name, value)| (name.clone(), word(value).to_owned())));
    }
    columns
}

/// The page's block of this language that holds this text.
pub fn block(language: &str, text: &str) -> String {
    let blocks = page_blocks("docs/databases.md", language);
    let mut found = blocks.into_iter().filter(|block| block.contains(text));
    let block = found.next().unwrap_or_else(|| panic!("no block with {text}"));
    assert_eq!(found.next(), None, "{text}");
    block
}

/// A real Telegraf sends these lines once, through this output, and must say nothing of errors.
pub fn send(telegraf: &Path, folder: &Path, lines: &str, output: &str) {
    std::fs::write(folder.join("made.line"), lines).unwrap();
    let settings = format!(
        "[agent]\nomit_hostname = true\nmetric_batch_size = 500\nmetric_buffer_limit = 100000\n\
         [[inputs.file]]\nfiles = [{:?}]\ndata_format = \"influx\"\n{output}",
        folder.join("made.line").display().to_string()
    );
    let file = folder.join("telegraf.conf");
    std::fs::write(&file, settings).unwrap();
    let told = run(Command::new(telegraf).arg("--once").arg("--config").arg(file)).success();
    assert_eq!(errors(&told.stderr), Vec::<&str>::new());
}

/// PostgreSQL on a socket in its own folder.
struct Postgresql {
    _server: Server,
    programs: PathBuf,
    socket: PathBuf,
}

/// A command that PostgreSQL's refusal of root does not meet.
fn unprivileged(program: &Path) -> Command {
    let is_root = nix::unistd::Uid::effective().is_root();
    let mut command = Command::new(if is_root { Path::new("setpriv") } else { program });
    if is_root {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
    }
    // Where it is not installed, its libraries are beside it.
    if let Some(root) = program.ancestors().nth(6).filter(|root| *root != Path::new("/")) {
        command.env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"));
    }
    command
}

impl Postgresql {
    fn start(programs: &Path, folder: &Path) -> Postgresql {
        let mut parts = folder.ancestors().take(2);
        parts
            .try_for_each(|it| std::fs::set_permissions(it, PermissionsExt::from_mode(0o777)))
            .unwrap();
        let data = folder.join("data");
        run(unprivileged(&programs.join("initdb"))
            .arg("-D")
            .arg(&data)
            .args(["-N", "-U", "telegraf", "-A", "trust"]))
        .success();
        let mut command = unprivileged(&programs.join("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(folder).args(["-c", "listen_addresses="]);
        let mut server = Server::start(&mut command, folder.join("postgres.log"));
        server.wait_until("PostgreSQL listens", LIMIT, || {
            folder.join(".s.PGSQL.5432").exists().then_some(())
        });
        let postgresql = Postgresql {
            _server: server,
            programs: programs.to_owned(),
            socket: folder.to_owned(),
        };
        wait_until("PostgreSQL answers", LIMIT, || {
            let told = run(&mut postgresql.command("postgres", "SELECT 1"));
            told.status.success().then_some(())
        });
        run(&mut postgresql.command("postgres", "CREATE DATABASE vms")).success();
        postgresql
    }

    fn command(&self, database: &str, query: &str) -> Command {
        let mut command = unprivileged(&self.programs.join("psql"));
        command
            .arg("-h")
            .arg(&self.socket)
            .args(["-U", "telegraf", "-d", database, "-X", "-A", "-t"]);
        command.args(["-v", "ON_ERROR_STOP=1", "-c", query]);
        command
    }

    /// The rows of a query, columns with a bar between them.
    fn query(&self, query: &str) -> Vec<String> {
        let told = run(&mut self.command("vms", query)).success();
        told.stdout.lines().map(str::to_owned).collect()
    }
}

#[test]
#[ignore = "slow: tests/run --all"]
fn postgresql_keeps_every_line_and_type_and_answers_the_queries() {
    let test = "PostgreSQL";
    let Some(telegraf) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(postgres) = require_program(test, "POSTGRES", "postgres") else { return };
    // What is on PATH may be a link to it.
    let programs = std::fs::canonicalize(postgres).unwrap().parent().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let server_folder = folder.join("postgresql");
    std::fs::create_dir(&server_folder).unwrap();
    let server = Postgresql::start(&programs, &server_folder);
    let output = block("toml", "[[outputs.postgresql]]")
        .replace("host=127.0.0.1", &format!("host={}", server_folder.display()));
    // Twice: a type that a second batch changes is refused.
    let first = made();
    send(&telegraf, folder, &first, &output);
    let lines = read(&first);
    let word = |value: &Value| match value {
        Value::Int(_) => "bigint",
        Value::Float(_) => "double precision",
        Value::Text(_) => "text",
        Value::Bool(_) => "boolean",
    };
    let mut fields = 0;
    for (measurement, count) in counts(&lines) {
        let rows = server.query(&format!("SELECT count(*) FROM \"{measurement}\""));
        assert_eq!(rows, [count.to_string()], "{measurement}");
        let mut expected = columns(&lines, &measurement, &word, "text");
        fields += expected.len();
        expected.insert("time".to_owned(), "timestamp with time zone".to_owned());
        let told = server.query(&format!(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '{measurement}'"
        ));
        let told = told.iter().map(|row| row.split_once('|').unwrap());
        let told: BTreeMap<String, String> =
            told.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
        assert_eq!(told, expected, "{measurement}");
    }
    let queries = page_blocks("docs/databases.md", "sql");
    for query in &queries {
        assert!(server.query(query).len() >= 3, "{query}");
    }
    let version = server.query("SHOW server_version");
    Row {
        database: "PostgreSQL, made lines".to_owned(),
        version: version[0]
            .split_whitespace()
            .next()
            .unwrap()
            .split('.')
            .next()
            .unwrap()
            .to_owned(),
        lines: "every line".to_owned(),
        types: format!("{fields} of {fields} columns"),
        queries: format!("{} of {} of databases.md", queries.len(), queries.len()),
        ..Row::default()
    }
    .hold();
}

/// The rows of a query to QuestDB.
fn questdb_rows(port: u16, query: &str) -> Vec<Json> {
    let body = http_get(port, &format!("/exec?query={}", encode(query)));
    let answer: Json =
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {query}: {body}"));
    let rows = answer["dataset"].as_array();
    rows.unwrap_or_else(|| panic!("{query}: {body}")).clone()
}

#[test]
#[ignore = "slow: tests/run --all"]
fn questdb_keeps_every_line_and_type_and_answers_the_queries() {
    let test = "QuestDB";
    let Some(telegraf) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(jar) = require_program(test, "QUESTDB", "questdb.jar") else { return };
    let Some(java) = require_program(test, "JAVA", "java") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::fs::create_dir_all(folder.join("questdb/conf")).unwrap();
    let settings = format!(
        "http.bind.to=127.0.0.1:{free}\nhttp.min.enabled=false\nline.tcp.enabled=false\n\
         pg.enabled=false\ntelemetry.enabled=false\nshared.worker.count=2\n"
    );
    std::fs::write(folder.join("questdb/conf/server.conf"), settings).unwrap();
    let mut command = Command::new(java);
    command.arg("-p").arg(jar).args(["-m", "io.questdb/io.questdb.ServerMain", "-d"]);
    command.arg(folder.join("questdb"));
    let mut server = Server::start(&mut command, folder.join("questdb.log"));
    let pid = server.id();
    // It loads its functions first, which takes long on a busy machine.
    let limit = Duration::from_secs(600);
    let port = server.wait_until("QuestDB listens", limit, || listening(pid));
    assert_eq!(port, free);
    let output = block("toml", "content_encoding").replace(":9000", &format!(":{port}"));
    // Its first write makes all tables, for which a busy machine takes longer than Telegraf's five seconds.
    let output = format!("{output}\n  timeout = \"300s\"\n");
    let text = made();
    send(&telegraf, folder, &text, &output);
    let lines = read(&text);
    let word = |value: &Value| match value {
        Value::Int(_) => "LONG",
        Value::Float(_) => "DOUBLE",
        Value::Text(_) => "VARCHAR",
        Value::Bool(_) => "BOOLEAN",
    };
    let mut fields = 0;
    for (measurement, count) in counts(&lines) {
        // A row is found a moment after it was taken in.
        wait_until(&format!("{count} of {measurement}"), LIMIT, || {
            let rows = questdb_rows(port, &format!("SELECT count(*) FROM {measurement}"));
            (rows[0][0].as_u64() == u64::try_from(count).ok()).then_some(())
        });
        let mut expected = columns(&lines, &measurement, &word, "SYMBOL");
        fields += expected.len();
        expected.insert("timestamp".to_owned(), "TIMESTAMP".to_owned());
        let told = questdb_rows(port, &format!("SHOW COLUMNS FROM {measurement}"));
        let told: BTreeMap<String, String> = told
            .iter()
            .map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(told, expected, "{measurement}");
    }
    let queries = page_blocks("docs/databases.md", "questdb");
    for query in &queries {
        assert!(questdb_rows(port, query).len() >= 3, "{query}");
    }
    Row {
        database: "QuestDB, made lines".to_owned(),
        version: "9.1.0".to_owned(),
        lines: "every line".to_owned(),
        types: format!("{fields} of {fields} columns"),
        queries: format!("{} of {} of databases.md", queries.len(), queries.len()),
        ..Row::default()
    }
    .hold();
}

/// Tables as InfluxDB 3 makes them of lines.
fn tables(lines: &[Line]) -> Json {
    let word = |value: &Value| match value {
        Value::Int(_) => "int",
        Value::Float(_) => "float",
        Value::Text(_) => "text",
        Value::Bool(_) => "bool",
    };
    let mut tables = serde_json::Map::new();
    for measurement in counts(lines).into_keys() {
        let mut columns = columns(lines, &measurement, &word, "text");
        columns.insert("time".to_owned(), "time".to_owned());
        let own = lines.iter().filter(|line| line.measurement == measurement);
        let rows: Vec<Json> = own
            .map(|line| {
                let mut row = serde_json::Map::new();
                row.insert("time".to_owned(), line.timestamp.into());
                row.extend(
                    line.tags.iter().map(|(name, value)| (name.clone(), value.as_str().into())),
                );
                row.extend(line.fields.iter().map(|(name, value)| {
                    let value = match value {
                        Value::Int(value) => json!(value),
                        Value::Float(value) => json!(value),
                        Value::Text(value) => json!(value),
                        Value::Bool(value) => json!(value),
                    };
                    (name.clone(), value)
                }));
                Json::Object(row)
            })
            .collect();
        tables.insert(measurement, json!({ "columns": columns, "rows": rows }));
    }
    Json::Object(tables)
}

#[test]
#[ignore = "slow: tests/run --all"]
fn the_engine_of_influxdb_3_answers_the_queries_in_sql() {
    let Some(python) = require_program("InfluxDB 3's SQL", "DATAFUSION", "python-datafusion")
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (data, asked) = (folder.path().join("tables.json"), folder.path().join("queries.json"));
    std::fs::write(&data, tables(&read(&made())).to_string()).unwrap();
    let queries = page_blocks("docs/databases.md", "sql");
    std::fs::write(&asked, json!(queries).to_string()).unwrap();
    let script = repository().join("tests/lab/sql-rows.py");
    let told = run(Command::new(python).arg(script).args([&data, &asked])).success();
    let rows: Vec<&str> = told.stdout.lines().collect();
    assert_eq!(rows.len(), queries.len(), "{told}");
    for (query, rows) in queries.iter().zip(&rows) {
        assert!(rows.parse::<usize>().is_ok_and(|rows| rows >= 3), "{query}: {rows}");
    }
    Row {
        database: "InfluxDB 3: its engine for SQL, DataFusion, made tables".to_owned(),
        version: "DataFusion 55.0.0".to_owned(),
        queries: format!("{} of {} of databases.md", rows.len(), rows.len()),
        ..Row::default()
    }
    .hold();
}

#[test]
fn telegraf_takes_every_example_and_every_output_of_the_page() {
    let Some(telegraf) = require_program("examples", "TELEGRAF", "telegraf") else { return };
    let folder = tempfile::tempdir().unwrap();
    let check = |file: &Path| {
        let told = run(Command::new(&telegraf).args(["config", "check", "--config"]).arg(file));
        assert!(told.status.success() && errors(&told.stderr).is_empty(), "{told}");
    };
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(repository().join("telegraf.d")).unwrap() {
        let path = entry.unwrap().path();
        check(&path);
        let text = std::fs::read_to_string(&path).unwrap();
        let is_typed =
            ["kafka", "mqtt", "to-file"].iter().any(|it| path.to_string_lossy().contains(it));
        assert!(!is_typed || text.contains("data_format = \"influx\""), "{path:?}");
        names.insert(path);
    }
    assert!(names.len() >= 8, "{names:?}");
    for (number, block) in page_blocks("docs/databases.md", "toml").iter().enumerate() {
        if block.starts_with("[[") {
            let file = folder.path().join(format!("{number}.conf"));
            std::fs::write(&file, block).unwrap();
            check(&file);
        }
    }
}
