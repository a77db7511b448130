//! What each test of a database asks. A real Telegraf fills it by the page's own output; then each line that was
//! sent must be there, each field must have kept its type, and each query of the page must be answered.

use super::ailing::now;
use super::lines::{Line, Value};
use super::made::{MadeGuest, collections, restarted};
use super::process::run;
use super::servers::errors;
use super::tested::{Row, page_blocks};
use super::wait_until;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PAGE: &str = "docs/databases.md";
const LIMIT: Duration = Duration::from_secs(120);

/// The guests of the made lines. The first is started again halfway; of the last two the balloon driver tells no
/// usable memory: of one it is 0, of the other it is absent.
const GUESTS: [&str; 5] = ["web-01", "it's", "still", "old-balloon", "no-balloon"];

/// Made lines of these guests, the last ones of now, some with more tags than the others.
pub fn made() -> String {
    let tags = [",host=hv-01,source=kvm1", ",host=hv-01", "", "", ""];
    let states = [1, 3, 3, 1, 1];
    let guests: Vec<MadeGuest<'_>> = GUESTS
        .iter()
        .zip(tags)
        .zip(states)
        .map(|((name, tags), state)| MadeGuest { name, tags, state, is_hung: false })
        .collect();
    let end = now();
    let lines = collections(&guests, end - 240..end + 1, 30);
    let usable = |line: &str| {
        let of = |name: &str| line.contains(&format!(",name={name},"));
        if of("old-balloon") {
            line.replace("memusable=500i", "memusable=0i")
        } else if of("no-balloon") {
            line.replace("memusable=500i,", "")
        } else {
            line.to_owned()
        }
    };
    restarted(&lines, GUESTS[0], end - 120).lines().map(|line| usable(line) + "\n").collect()
}

/// The page's block of this language that holds this text.
pub fn block(language: &str, text: &str) -> String {
    let blocks = page_blocks(PAGE, language);
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

/// A real database, as its users ask it.
pub trait Database {
    /// The page's language of its queries.
    const LANGUAGE: &'static str;
    /// Its word for the type of a tag.
    const TAG: &'static str;
    /// The name and the type of the column of the time, where it lists it with the others.
    const TIME: Option<(&'static str, &'static str)>;

    /// Its word for the type of a field.
    fn word(value: &Value) -> &'static str;
    /// How many lines it has of a measurement.
    fn count(&self, measurement: &str) -> usize;
    /// The columns of a measurement, and the type of each.
    fn columns(&self, measurement: &str) -> BTreeMap<String, String>;
    /// The rows of a query, all columns of one in a text.
    fn rows(&self, query: &str) -> Vec<String>;
}

/// How many lines each measurement has.
pub fn counts(lines: &[Line]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line.measurement.clone()).or_default() += 1;
    }
    counts
}

/// The columns that a measurement's table must have, but for that of the time, and the type of each.
pub fn columns(
    lines: &[Line],
    measurement: &str,
    tag: &str,
    word: impl Fn(&Value) -> &'static str,
) -> BTreeMap<String, String> {
    let mut columns = BTreeMap::new();
    for line in lines.iter().filter(|line| line.measurement == measurement) {
        columns.extend(line.tags.iter().map(|(name, _)| (name.clone(), tag.to_owned())));
        let fields = line.fields.iter();
        columns.extend(fields.map(|(name, value)| (name.clone(), word(value).to_owned())));
    }
    columns
}

/// Holds what it has to what was sent; returns what it was tried with, but for its name and version.
pub fn kept<D: Database>(database: &D, lines: &[Line]) -> Row {
    let mut fields = 0;
    for (measurement, count) in counts(lines) {
        // Some find a row a moment after they took it in.
        wait_until(&format!("{count} of {measurement}"), LIMIT, || {
            (database.count(&measurement) == count).then_some(())
        });
        let mut expected = columns(lines, &measurement, D::TAG, D::word);
        fields += expected.len();
        expected.extend(D::TIME.map(|(name, kind)| (name.to_owned(), kind.to_owned())));
        assert_eq!(database.columns(&measurement), expected, "{measurement}");
    }
    Row {
        lines: "every line".to_owned(),
        types: format!("{fields} of {fields} columns"),
        queries: answered(D::LANGUAGE, |query| database.rows(query)),
        ..Row::default()
    }
}

/// Asks each query of the page in this language, of the made lines; returns how many there are.
pub fn answered(language: &str, rows: impl Fn(&str) -> Vec<String>) -> String {
    let queries = queries(language);
    for query in &queries {
        let rows = rows(query);
        assert!(rows.len() >= 3, "{query}: {rows:?}");
        let has = |name: &str| rows.iter().any(|row| row.contains(name));
        if query.contains("memusable") {
            let found = GUESTS.map(has);
            assert_eq!(found, [true, true, true, false, false], "{query}: {rows:?}");
        }
        // Each guest once, also the one that was started again.
        if query.contains("state") {
            assert_eq!(rows.len(), GUESTS.len(), "{query}: {rows:?}");
        }
    }
    format!("{} of {} of databases.md", queries.len(), queries.len())
}

/// The page's queries in this language.
pub fn queries(language: &str) -> Vec<String> {
    let blocks = page_blocks(PAGE, language).into_iter();
    let queries: Vec<String> = blocks.filter(|it| !it.starts_with("CREATE TABLE")).collect();
    assert!(queries.len() >= 5, "{language}: {}", queries.len());
    queries
}
