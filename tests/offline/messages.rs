//! Every text of the program that a person may read, in one place: `tests/offline/messages.txt`, to be read as
//! one text. It is taken out of the source, so that none is missing; each is made to happen here, or by the
//! test that stands in [`ELSEWHERE`].
//!
//! A text that is new or changed fails here. Read it among the others as somebody who has never seen the
//! code: what happened, what is lost by it, what to do. Then `MESSAGES=write cargo test --test offline messages`
//! writes the file anew.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::program::{PROGRAM, program};
use crate::support::say;
use crate::support::told::{check, flat};
use serde_json::Value;
use tempfile::TempDir;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/offline/messages.txt");
const TEST: [&str; 2] = ["--uri", "test:///default"];

/// Why a file has texts that are neither made to happen here nor stand in a test word for word.
const ELSEWHERE: [(&str, &str); 36] = [
    ("src/agent/", "live_execd waits the 60 s; no thread to be had is not made"),
    ("src/cache/error.rs", "the cache's own tests make a file that cannot be read"),
    ("src/cache/file.rs", "a kind of file that the kernel does not have today"),
    ("src/cache/lines.rs", "the cache's own tests"),
    (
        "src/check/cache.rs",
        "tests/live/check.rs and tests/offline/check.rs make it happen: their words depend on the user",
    ),
    ("src/check/configuration.rs", "check: they are of the machine's own files"),
    (
        "src/check/guests.rs",
        "tests/live/check.rs; passed-through NICs and an old libvirt are not to be had here",
    ),
    (
        "src/check/hypervisor.rs",
        "tests/live/check.rs; libvirt's own words are compared with, not printed",
    ),
    ("src/check/limits.rs", "check"),
    ("src/trigger.rs", "no thread to be had is not made"),
    ("src/check/socket.rs", "a group without a name: nothing else is said of it"),
    ("src/check/telegraf/files.rs", "a file of more than 1 MiB: its unit test"),
    ("src/check/telegraf/handover.rs", "live_escalation; a kernel that refuses is not made"),
    ("src/check/telegraf/losses.rs", "its own tests hold each finding to having words"),
    ("src/check/telegraf/user.rs", "live_check; a process that hangs or dies is not made"),
    ("src/check/trial.rs", "a collection that lasts until its deadline: live_chaos has those"),
    ("src/cli/", "for the man page; and what clap cannot come to"),
    ("src/collect/extra.rs", "a call that fails on a guest that answers is not to be had"),
    ("src/collect/mod.rs", "chaos, and tests/offline/contract.rs by a signal"),
    ("src/collect/read.rs", "a group that fails on a guest that answers is not to be had"),
    ("src/collect/settle.rs", "hotplug"),
    ("src/collect/standing.rs", "chaos"),
    ("src/collect/worker.rs", "no thread to be had is not made"),
    ("src/config/reader.rs", "the TOML parser's own words are compared with, not printed"),
    ("src/devices/walk.rs", "its unit tests hold the errors, not their words"),
    ("src/libvirt/", "what libvirt does not do by itself"),
    ("src/main.rs", "a kernel that refuses signals is not made"),
    ("src/record/", "its own tests"),
    ("src/host/", "its own tests"),
    ("src/check/finding.rs", "a heading, which stands in tests/offline/check.rs with its URI"),
    ("src/check/report.rs", "of many names the rest: its unit test, and tests/live/check.rs"),
    ("src/config/filter.rs", "the name of a state"),
    ("src/config/pattern.rs", "the crate's own words are compared with, not printed"),
    ("src/sample/words.rs", "the name of a state"),
    ("src/sink.rs", "the quiet end of a pipe, which nobody is told of"),
    ("src/table/", "tests/live/table.rs has a guest that hangs"),
];

/// The texts by their file.
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
    let node = file("empty.xml", "<node><cpu><mhz>1</mhz></cpu></node>");
    let empty = format!("test://{node}");
    printed.run(program(scratch.path()).args(["once", "--format", "table", "--uri", &empty]));
    printed.run(program(scratch.path()).args(["once", "--format", "tabel", "--uri", &empty]));
    printed.run(program(scratch.path()).args(["execd", "--format", "table"]));

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
    printed.run(&mut json(scratch.path(), "check", &["--no-cache", "--uri", &empty]));
    let filter = file("filter.toml", "uris = ['test:///default']\n[domains]\nexclude = ['te*']\n");
    printed.run(&mut json(scratch.path(), "check", &["--no-cache", "--config", &filter]));
    let no_program = file("no/telegraf-virt", "");
    for text in TELEGRAF {
        let text = text.replace("US", "/none/telegraf-virt").replace("WE", PROGRAM);
        let text = text.replace("IT", &no_program);
        let file = file("telegraf.d/vms.conf", &text);
        let mut command = json(scratch.path(), "check", &["--no-cache", TEST[0], TEST[1]]);
        printed.run(command.env("TELEGRAF_CONFIG_PATH", Path::new(&file).parent().unwrap()));
    }
    fs::remove_file(path("telegraf.d/vms.conf")).unwrap();
    file("telegraf.d/vms.toml", &TELEGRAF[1].replace("WE", PROGRAM));
    file("other.d/cpu.conf", "[[inputs.cpu]]");
    for place in ["telegraf.d", "absent", "other.d"] {
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
/// there, IT one that cannot be started.
const TELEGRAF: [&str; 16] = [
    "[[inputs.execd]]\ncommand = ['IT', 'execd']",
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

/// Whether a test has the words of the text: the start of a piece of it that has no gap.
fn is_asserted(asserted: &str, text: &str) -> bool {
    let text = flat(text);
    let mut pieces = text.split('{').enumerate().map(|(number, part)| {
        if number == 0 { part } else { part.split_once('}').map_or("", |it| it.1) }
    });
    pieces.any(|piece| {
        let start: String = piece.trim().chars().take(ASSERTED).collect();
        start.trim().len() >= ASSERTED / 2 && asserted.contains(start.trim())
    })
}

/// So many letters of a piece in a test are taken for that text.
const ASSERTED: usize = 24;

/// The file as it should be.
fn golden() -> String {
    let mut text = HEADING.to_owned();
    for (file, texts) in texts() {
        let _ = writeln!(text, "\n{file}");
        for it in texts {
            let _ = writeln!(text, "    {}", it.trim_end().replace('\n', "\n    "));
        }
    }
    text
}

const HEADING: &str = "\
Every text of the program that a person may read, in the order of the source. {} is what is put in.
tests/offline/messages.rs says more.
";

#[test]
fn every_text_of_the_program_stands_in_one_place() {
    let now = golden();
    if std::env::var("MESSAGES").is_ok_and(|it| it == "write") {
        fs::write(GOLDEN, &now).unwrap();
    }
    let kept = fs::read_to_string(GOLDEN).unwrap();
    let (kept, now): (Vec<&str>, Vec<&str>) = (kept.lines().collect(), now.lines().collect());
    let new: Vec<&&str> = now.iter().filter(|line| !kept.contains(line)).collect();
    let gone: Vec<&&str> = kept.iter().filter(|line| !now.contains(line)).collect();
    assert!(
        kept == now,
        "tests/messages.txt is not what the program says: read what is new among the rest, then write \
         it with MESSAGES=write cargo test --test offline messages\nnew: {new:#?}\ngone: {gone:#?}"
    );
}

#[test]
fn every_text_is_made_to_happen_or_stands_in_a_test_or_has_a_reason() {
    let (printed, asserted) = (make_happen(), asserted());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let gone = ELSEWHERE.iter().find(|(name, _)| !root.join(name).exists());
    assert_eq!(gone, None, "a reason for what is not there");
    let (mut happened, mut in_tests, mut reasoned) = (0, 0, 0);
    let mut without_reason = Vec::new();
    for (file, texts) in texts() {
        for text in texts {
            if printed.0.iter().any(|printed| holds(printed, &text)) {
                happened += 1;
            } else if is_asserted(&asserted, &text) {
                in_tests += 1;
            } else if ELSEWHERE.iter().any(|(name, _)| file.starts_with(name)) {
                reasoned += 1;
            } else {
                without_reason.push(format!("{file}: {text}"));
            }
        }
    }
    say(&format!(
        "messages: {happened} made to happen here, {in_tests} more in other tests' words, {reasoned} with a \
         reason"
    ));
    assert_eq!(without_reason, [""; 0], "nothing makes these happen");
}

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
