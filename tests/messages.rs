//! Every text of the program that a person may read, in one place: `tests/messages.txt`, to be read as one
//! text. It is taken out of the source, so that none is missing; each is made to happen here, or by the
//! test that stands in [`ELSEWHERE`].
//!
//! A text that is new or changed fails here. Read it among the others as somebody who has never seen the
//! code: what happened, what is lost by it, what to do. Then `MESSAGES=write cargo test --test messages`
//! writes the file anew.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::program::{PROGRAM, program};
use support::told::{check, flat};
use tempfile::TempDir;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/messages.txt");
const TEST: [&str; 2] = ["--uri", "test:///default"];

/// Where the texts of a file are made to happen that are not made to happen here, all of them.
const ELSEWHERE: [(&str, &str); 0] = [];

/// A text of the source, and whether it was made to happen here.
type Texts = BTreeMap<String, Vec<String>>;

/// The texts of each file of the source, in its order.
fn texts() -> Texts {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    find(&root.join("src"), &mut files);
    files.sort();
    let mut texts = Texts::new();
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        let source = source.split("\n#[cfg(test)]").next().unwrap();
        let found: Vec<String> = literals(source).into_iter().filter(|it| is_text(it)).collect();
        if !found.is_empty() {
            let name = file.strip_prefix(root).unwrap().display().to_string();
            texts.insert(name, found);
        }
    }
    texts
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}

/// Words, and more than one.
fn is_text(literal: &str) -> bool {
    let word = |word: &str| word.chars().filter(|c| c.is_ascii_lowercase()).count() >= 2;
    literal.split_whitespace().filter(|it| word(it)).count() >= 2
}

/// The string literals of Rust source, without those of comments and attributes.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'', '#']) {
        let (before, tail) = rest.split_at(at);
        rest = tail;
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.find('\n').map_or("", |end| &comment[end..]);
        } else if rest.starts_with("#[") || rest.starts_with("#![") {
            rest = &rest[attribute(rest)..];
        } else if rest.starts_with('\'') {
            // A character, or a lifetime.
            let length = ["'\"'", "'\\''", "'#'", "'/'"].iter().find(|it| rest.starts_with(**it));
            rest = &rest[length.map_or(1, |it| it.len())..];
        } else if rest.starts_with('#') && before.ends_with('r') {
            let end = rest[2..].find("\"#").map_or(rest.len(), |end| end + 4);
            found.push(rest[2..end - 2].to_owned());
            rest = &rest[end..];
        } else if rest.starts_with('"') {
            let end = closing(rest);
            let is_bytes = before.ends_with('b');
            if !is_bytes {
                found.push(unescaped(&rest[1..end]));
            }
            rest = &rest[end + 1..];
        } else {
            rest = &rest[1..];
        }
    }
    found
}

/// Where the literal's closing quote is.
fn closing(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '"' if !is_escaped => return at,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    text.len() - 1
}

/// The length of an attribute.
fn attribute(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with('"') {
            at += closing(rest);
        } else if rest.starts_with('[') {
            depth += 1;
        } else if rest.starts_with(']') {
            depth -= 1;
            if depth == 0 {
                return at + 1;
            }
        }
        at += text[at..].chars().next().map_or(1, char::len_utf8);
    }
    text.len()
}

fn unescaped(literal: &str) -> String {
    let mut text = String::new();
    let mut rest = literal.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match rest.next() {
            Some('n') => text.push('\n'),
            Some('\n') => while rest.next_if(|it| it.is_whitespace()).is_some() {},
            Some(other) => text.push(other),
            None => {}
        }
    }
    text
}

/// Whether what was printed holds this text, with anything in its gaps.
fn holds(printed: &str, text: &str) -> bool {
    let text = flat(text).replace("{{", "\u{1}").replace("}}", "\u{2}");
    let mut pieces = Vec::new();
    for (number, part) in text.split('{').enumerate() {
        let part = if number == 0 { part } else { part.split_once('}').map_or("", |it| it.1) };
        pieces.push(part.replace('\u{1}', "{").replace('\u{2}', "}"));
    }
    let mut rest = printed;
    for piece in pieces {
        let Some(at) = rest.find(piece.trim()) else { return false };
        rest = &rest[at + piece.trim().len()..];
    }
    true
}

#[derive(Default)]
struct Printed(BTreeSet<String>);

impl Printed {
    fn add(&mut self, text: &str) {
        self.0.insert(flat(text));
    }

    /// Runs it, and takes what it printed: of standard error each line, of JSON each text.
    fn run(&mut self, command: &mut Command) {
        let output = command.stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stderr).lines().for_each(|line| self.add(line));
        let stdout = String::from_utf8_lossy(&output.stdout);
        match serde_json::from_str::<Value>(&stdout) {
            Ok(report) => self.add_json(&report),
            Err(_) => self.add(&stdout),
        }
    }

    fn add_json(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add(text),
            Value::Array(values) => values.iter().for_each(|it| self.add_json(it)),
            Value::Object(values) => values.values().for_each(|it| self.add_json(it)),
            _ => {}
        }
    }
}

/// Makes happen all that needs no libvirtd.
fn make_happen() -> Printed {
    let scratch = TempDir::new().unwrap();
    let mut printed = Printed::default();
    let path = |name: &str| scratch.path().join(name);
    let file = |name: &str, text: &str| {
        fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        fs::write(path(name), text).unwrap();
        path(name).display().to_string()
    };
    command_lines(&mut printed, scratch.path());
    configurations(&mut printed);

    // Configuration files, by the program.
    for name in ["", "absent.toml"] {
        printed.run(program(scratch.path()).arg("--config").arg(path(name)));
    }
    fs::write(path("bytes.toml"), b"\n\xff").unwrap();
    printed.run(program(scratch.path()).arg("--config").arg(path("bytes.toml")));
    fs::write(path("large.toml"), vec![b'\n'; 2 << 20]).unwrap();
    printed.run(program(scratch.path()).arg("--config").arg(path("large.toml")));
    printed.run(program(scratch.path()).env("LIBVIRT_DEFAULT_URI", "a b"));

    // Collections.
    let dead = "qemu+unix:///system?socket=/nonexistent/sock";
    printed.run(program(scratch.path()).args(["once", "--log-level", "debug", "--uri", dead]));
    printed.run(program(scratch.path()).args(["once", "--log-level", "debug", TEST[0], TEST[1]]));
    printed.run(program(scratch.path()).args(["execd", TEST[0], TEST[1]]));
    printed.run(program(scratch.path()).args(["once", "--uri", "replay:/absent"]));
    for text in ["", "{}", "{\"telegraf-virt\":\"recording\",\"version\":9}"] {
        let recording = format!("replay:{}", file("recording", text));
        printed.run(program(scratch.path()).args(["once", "--uri", &recording]));
    }

    // The cache's folder and files.
    let faulty = |printed: &mut Printed, folder: &Path| {
        for command in ["once", "check"] {
            let mut command = json(scratch.path(), command, &TEST);
            printed.run(command.arg("--cache-dir").arg(folder));
        }
    };
    faulty(&mut printed, &path("a/b/c"));
    faulty(&mut printed, &path("bytes.toml"));
    fs::create_dir(path("open")).unwrap();
    fs::set_permissions(path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    faulty(&mut printed, &path("open"));
    let cache = path("cache");
    faulty(&mut printed, &cache);
    for entry in fs::read_dir(&cache).unwrap() {
        let entry = entry.unwrap().path();
        if entry.extension().is_some_and(|it| it == "jsonl") {
            let text = fs::read_to_string(&entry).unwrap();
            for broken in
                ["", "{", "{}\n", &text.replace("\"version\":1", "\"version\":9"), &text[1..]]
            {
                fs::write(&entry, broken).unwrap();
                faulty(&mut printed, &cache);
            }
            fs::remove_file(&entry).unwrap();
            symlink(path("elsewhere"), &entry).unwrap();
            faulty(&mut printed, &cache);
            fs::remove_file(&entry).unwrap();
            fs::hard_link(path("bytes.toml"), &entry).unwrap();
            faulty(&mut printed, &cache);
        }
    }

    // Checks: hypervisors, filters, files of Telegraf's.
    for uri in ["quemu:///system", "test://", "replay:/absent", dead] {
        printed.run(&mut json(scratch.path(), "check", &["--no-cache", "--uri", uri]));
        printed.run(&mut check(scratch.path(), &["--no-cache", "--uri", uri]));
    }
    printed.run(&mut json(
        scratch.path(),
        "check",
        &["--no-cache", "--uri", dead, TEST[0], TEST[1]],
    ));
    let node = file("node.xml", "<node><cpu><mhz>1</mhz></cpu></node>");
    let uri = format!("test://{node}");
    printed.run(&mut json(scratch.path(), "check", &["--no-cache", "--uri", &uri]));
    let filter = file("filter.toml", "uris = ['test:///default']\n[domains]\nexclude = ['te*']\n");
    printed.run(&mut json(scratch.path(), "check", &["--no-cache", "--config", &filter]));
    for text in TELEGRAF {
        let text = text.replace("US", "/none/telegraf-virt").replace("WE", PROGRAM);
        let file = file("telegraf.d/vms.conf", &text);
        let mut command = json(scratch.path(), "check", &["--no-cache", TEST[0], TEST[1]]);
        printed.run(command.env("TELEGRAF_CONFIG_PATH", Path::new(&file).parent().unwrap()));
    }
    fs::remove_file(path("telegraf.d/vms.conf")).unwrap();
    file("telegraf.d/vms.toml", &TELEGRAF[0].replace("WE", PROGRAM));
    for place in ["telegraf.d", "absent"] {
        let mut command = json(scratch.path(), "check", &["--no-cache", TEST[0], TEST[1]]);
        printed.run(command.env("TELEGRAF_CONFIG_PATH", path(place)));
    }
    printed
}

fn json(scratch: &Path, command: &str, options: &[&str]) -> Command {
    let mut program = program(scratch);
    program.arg(command).args(options);
    if command == "check" {
        program.arg("--json");
    }
    program
}

/// Telegraf's files with the mistakes that can be made in them; WE is the program, US one that is not
/// there.
const TELEGRAF: [&str; 15] = [
    "[[inputs.execd]]\ncommand = ['WE', 'execd']\nsignal = 'STDIN'",
    "[[inputs.execd]]\ncommand = ['WE', 'execd']\nsignal = 'SIGHUP'\nrestart_delay = '9m'\nstop_on_error = true",
    "[[inputs.execd]]\ncommand = ['WE', 'execd']\nsignal = 'x'\n[[inputs.exec]]\ncommands = ['WE once']",
    "[[inputs.execd]]\ncommand = ['WE', 'execd']\n[[inputs.execd]]\ncommand = ['WE', 'execd']",
    "[[inputs.execd]]\ncommand = ['WE', 'execd', '--interval', '9s']\ninterval = '1s'",
    "[[inputs.execd]]\ncommand = ['WE', 'execd', '--intervall', '9s']",
    "[[inputs.execd]]\ncommand = ['WE', 'execd', '--help']",
    "[[inputs.execd]]\ncommand = ['WE', 'execd', '--deadline', '9s']\ndata_format = 'json'",
    "[[inputs.execd]]\ncommand = ['WE', 'execd', '--deadline', '9s']\nsignal = 'STDIN'",
    "[[inputs.execd]]\ncommand = ['WE']",
    "[[inputs.execd]]\ncommand = ['US', 'execd']",
    "[[inputs.execd]]\ncommand = ['telegraf-virt', 'execd']",
    "[[inputs.exec]]\ncommands = ['WE execd']",
    "[[inputs.exec]]\ncommands = ['WE once']\ndata_format = 'influx'\ntimeout = '1s'",
    "uris = []",
];

/// Every command line that is refused, and every help.
fn command_lines(printed: &mut Printed, scratch: &Path) {
    for words in [
        "onc",
        "halp",
        "help",
        "xyzzy",
        "once execd",
        "--deadlin 4s",
        "--format9 x",
        "-c",
        "--log-level verbose",
        "--log-level warning",
        "--deadline 4",
        "--deadline 0s",
        "--deadline -4s",
        "--deadline soon",
        "--interval 10s",
        "--json",
        "--deadline 4s --deadline 5s",
        "--no-cache=yes",
        "--no-cache --cache-dir /x",
        "-u a -u a",
        "config -u a",
        "--help",
        "once --help",
        "execd --help",
        "check --help",
        "config --help",
        "--config /absent/c.toml",
    ] {
        printed.run(program(scratch).args(words.split(' ')));
    }
    printed.run(program(scratch).args(["-u", ""]));
    let bytes = OsStr::from_bytes(b"\xff");
    printed.run(program(scratch).arg("-u").arg(bytes));
}

/// What the tests say that the program says: the literals of all of them.
fn asserted() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        find_all(&root.join(folder), &mut files);
    }
    let mut literals_of_tests = Vec::new();
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        let is_test = file.starts_with(root.join("tests")) || file.ends_with("tests.rs");
        let tests = if is_test { Some(&*source) } else { source.split("\n#[cfg(test)]").nth(1) };
        literals_of_tests.extend(tests.into_iter().flat_map(literals).map(|it| flat(&it)));
    }
    literals_of_tests.join("\n")
}

fn find_all(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_all(&path, files);
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("messages.rs") {
            files.push(path);
        }
    }
}

/// Whether a test has the words of the text: its longest piece without a gap, or the start of it.
fn is_asserted(asserted: &str, text: &str) -> bool {
    let text = flat(text);
    let pieces = text.split('{').enumerate().map(|(number, part)| {
        if number == 0 { part } else { part.split_once('}').map_or("", |it| it.1) }
    });
    let longest = pieces.map(str::trim).max_by_key(|piece| piece.len()).unwrap_or_default();
    let start: String = longest.chars().take(ASSERTED_MIN).collect();
    start.len() >= 8 && asserted.contains(&start)
}

/// So many letters of a text in a test are taken for that text.
const ASSERTED_MIN: usize = 24;

/// The file as it should be.
fn golden() -> String {
    let (printed, asserted) = (make_happen(), asserted());
    let mut text = String::new();
    for (file, texts) in texts() {
        let _ = writeln!(text, "\n{file}");
        for it in texts {
            let happened = printed.0.iter().any(|printed| holds(printed, &it));
            let mark = match () {
                () if happened => '+',
                () if is_asserted(&asserted, &it) => 't',
                () => '-',
            };
            let lines = it.trim_end().replace('\n', "\n    ");
            let _ = writeln!(text, "  {mark} {lines}");
        }
    }
    text
}

#[test]
fn every_text_of_the_program_stands_in_one_place_and_is_made_to_happen_or_has_a_reason() {
    let golden = golden();
    if std::env::var("MESSAGES").is_ok_and(|it| it == "write") {
        fs::write(GOLDEN, format!("{HEADING}{golden}")).unwrap();
    }
    let kept = fs::read_to_string(GOLDEN).unwrap();
    let kept: Vec<&str> = kept.lines().collect();
    let now = format!("{HEADING}{golden}");
    let now: Vec<&str> = now.lines().collect();
    let new: Vec<&&str> = now.iter().filter(|line| !kept.contains(line)).collect();
    let gone: Vec<&&str> = kept.iter().filter(|line| !now.contains(line)).collect();
    assert!(
        kept == now,
        "tests/messages.txt is not what the program says: read what is new among the rest, then write \
         it with MESSAGES=write cargo test --test messages\nnew: {new:#?}\ngone: {gone:#?}"
    );
    let mut file = "";
    let mut without_reason = Vec::new();
    let mut used = BTreeSet::new();
    for line in now.iter().skip(HEADING.lines().count()) {
        if !line.starts_with(' ') {
            file = line;
        } else if line.starts_with("  - ") {
            match ELSEWHERE.iter().find(|(name, _)| *name == file) {
                Some((name, _)) => _ = used.insert(*name),
                None => without_reason.push(format!("{file}: {line}")),
            }
        }
    }
    assert_eq!(without_reason, [""; 0], "nothing makes these happen");
    let all: BTreeSet<&str> = ELSEWHERE.iter().map(|(name, _)| *name).collect();
    assert_eq!(used, all, "reasons that are no longer needed");
}

const HEADING: &str = "\
Every text of the program that a person may read, in the order of the source. {} is what is put in.
+ tests/messages.rs makes it happen; t another test has its words; - neither, and messages.rs says why.
";

#[test]
fn the_texts_are_written_as_the_house_writes() {
    let mut wrong = Vec::new();
    for (file, texts) in texts() {
        for text in texts {
            let bad = [
                "\u{2014}", "\u{2013}", "!  ", " e.g", "i.e.", "Please", "please", "illegal",
                "  - ",
            ]
            .iter()
            .find(|bad| text.contains(**bad));
            if let Some(bad) = bad {
                wrong.push(format!("{file}: {bad:?} in {text:?}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// Every mistake that can be made in a configuration, one each.
fn configurations(printed: &mut Printed) {
    for text in [
        "worker = 4",
        "xyzzy = 1",
        "[cach]",
        "workers = 0",
        "workers = '4'",
        "deadline = '1h'",
        "deadline = 4",
        "deadline = 4.5",
        "deadline = 4s",
        "missing = 'null'",
        "missing = 4",
        "missing = []",
        "features = ['nett']",
        "features = 'net'",
        "features = 4",
        "features = [4]",
        "cache = 4",
        "cache.dir = 'x'",
        "domains.inactive = 'true'",
        "domains.inactive = 4",
        "domains.inactive = True",
        "uris = ['']",
        "uris = ['a', 'a']",
        "domains.include = ['web[']",
        "domains.include = ['{']",
        "domains.include = ['a\\\\']",
        "domains.include = ['[]']",
        "domains.include = ['[b-a]']",
        "domains.include = ['}']",
        "domains.include = ['']",
        "tags.uuid = 'x'",
        "tags.time = 'x'",
        "tags.dc = ''",
        "tags.'' = 'x'",
        "tags.\"a\\n\" = 'x'",
        "tags.'a\\' = 'x'",
        "[tags]\nworkers = 4",
        "metadata_tags.a = '//x'",
        "metadata_tags.a = ''",
        "uris = [",
        "uris",
        "uris =",
        "uris = []\nuris = []",
        "uris = “a”",
        "workers = True",
        "extra = ['perf']",
        "extra = ['x']",
    ] {
        if let Err(error) = telegraf_virt::config::parse(text, Path::new("c.toml")) {
            printed.add(&error.to_string());
        }
    }
}
