//! PostgreSQL and QuestDB, which a real Telegraf fills with the page's own settings; and InfluxDB 3's SQL by
//! DataFusion, its engine. Each line that was sent must be a row there, each field must keep its type, and
//! each query of the page must be answered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::database::{
    Database, answered, block, columns, counts, kept, made, queries, send,
};
use crate::support::lines::{Line, Value, read};
use crate::support::process::run;
use crate::support::servers::{Server, encode, errors, http_get, require_program};
use crate::support::tested::{Row, page_blocks};
use crate::support::victoria_metrics::listening;
use crate::support::{repository, wait_until};
use serde_json::{Value as Json, json};

const LIMIT: Duration = Duration::from_secs(120);

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
}

impl Database for Postgresql {
    const LANGUAGE: &'static str = "sql";
    const TAG: &'static str = "text";
    const TIME: Option<(&'static str, &'static str)> = Some(("time", "timestamp with time zone"));

    fn word(value: &Value) -> &'static str {
        match value {
            Value::Int(_) => "bigint",
            Value::Float(_) => "double precision",
            Value::Text(_) => "text",
            Value::Bool(_) => "boolean",
        }
    }

    fn count(&self, measurement: &str) -> usize {
        self.rows(&format!("SELECT count(*) FROM \"{measurement}\""))[0].parse().unwrap()
    }

    fn columns(&self, measurement: &str) -> BTreeMap<String, String> {
        let rows = self.rows(&format!(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '{measurement}'"
        ));
        let pairs = rows.iter().map(|row| row.split_once('|').unwrap());
        pairs.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
    }

    fn rows(&self, query: &str) -> Vec<String> {
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
    let lines = made();
    send(&telegraf, folder, &lines, &output);
    let version = server.rows("SHOW server_version");
    Row {
        database: "PostgreSQL, made lines".to_owned(),
        version: version[0].split(['.', ' ']).next().unwrap().to_owned(),
        ..kept(&server, &read(&lines))
    }
    .hold();
}

/// QuestDB on a free port.
struct Questdb {
    _server: Server,
    port: u16,
}

impl Questdb {
    fn start(java: &Path, jar: &Path, folder: &Path) -> Questdb {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::create_dir_all(folder.join("conf")).unwrap();
        // The connection ends with each answer.
        let settings = format!(
            "http.bind.to=127.0.0.1:{free}\nhttp.server.keep.alive=false\n\
             http.min.enabled=false\nline.tcp.enabled=false\npg.enabled=false\n\
             telemetry.enabled=false\nshared.worker.count=2\n"
        );
        std::fs::write(folder.join("conf/server.conf"), settings).unwrap();
        let mut command = Command::new(java);
        command.arg("-p").arg(jar).args(["-m", "io.questdb/io.questdb.ServerMain", "-d"]);
        command.arg(folder);
        let mut server = Server::start(&mut command, folder.join("questdb.log"));
        let pid = server.id();
        // It loads its functions first, which takes long on a busy machine.
        let limit = Duration::from_secs(600);
        let port = server.wait_until("QuestDB listens", limit, || listening(pid));
        assert_eq!(port, free);
        Questdb { _server: server, port }
    }

    fn query(&self, query: &str) -> Vec<Json> {
        let body = http_get(self.port, &format!("/exec?query={}", encode(query)));
        let answer: Json =
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {query}: {body}"));
        let rows = answer["dataset"].as_array();
        rows.unwrap_or_else(|| panic!("{query}: {body}")).clone()
    }

    fn version(&self) -> String {
        let rows = self.query("SELECT build()");
        let (_, rest) = rows[0][0].as_str().unwrap().split_once("QuestDB ").unwrap();
        rest.split(',').next().unwrap().to_owned()
    }
}

impl Database for Questdb {
    const LANGUAGE: &'static str = "questdb";
    const TAG: &'static str = "SYMBOL";
    const TIME: Option<(&'static str, &'static str)> = Some(("timestamp", "TIMESTAMP"));

    fn word(value: &Value) -> &'static str {
        match value {
            Value::Int(_) => "LONG",
            Value::Float(_) => "DOUBLE",
            Value::Text(_) => "VARCHAR",
            Value::Bool(_) => "BOOLEAN",
        }
    }

    fn count(&self, measurement: &str) -> usize {
        let rows = self.query(&format!("SELECT count(*) FROM {measurement}"));
        usize::try_from(rows[0][0].as_u64().unwrap()).unwrap()
    }

    fn columns(&self, measurement: &str) -> BTreeMap<String, String> {
        let rows = self.query(&format!("SHOW COLUMNS FROM {measurement}"));
        let text = |value: &Json| value.as_str().unwrap().to_owned();
        rows.iter().map(|row| (text(&row[0]), text(&row[1]))).collect()
    }

    fn rows(&self, query: &str) -> Vec<String> {
        self.query(query).iter().map(Json::to_string).collect()
    }
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
    let server = Questdb::start(&java, &jar, &folder.join("questdb"));
    let output = block("toml", "content_encoding").replace(":9000", &format!(":{}", server.port));
    // Its first write makes all tables, for which a busy machine takes longer than Telegraf's five seconds.
    let output = format!("{output}\n  timeout = \"300s\"\n");
    let lines = made();
    send(&telegraf, folder, &lines, &output);
    Row {
        database: "QuestDB, made lines".to_owned(),
        version: server.version(),
        ..kept(&server, &read(&lines))
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
        let mut columns = columns(lines, &measurement, "text", word);
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
    let queries = queries("sql");
    std::fs::write(&asked, json!(queries).to_string()).unwrap();
    let script = repository().join("tests/lab/sql-rows.py");
    let told = run(Command::new(python).arg(script).args([&data, &asked])).success();
    let mut answers = told.stdout.lines();
    let version = format!("DataFusion {}", answers.next().unwrap());
    let answers: BTreeMap<&str, &str> = queries.iter().map(String::as_str).zip(answers).collect();
    Row {
        database: "InfluxDB 3: its engine for SQL, DataFusion, made tables".to_owned(),
        version,
        queries: answered("sql", |query| {
            let rows = serde_json::from_str(answers[query]);
            rows.unwrap_or_else(|_| panic!("{query}: {}", answers[query]))
        }),
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
