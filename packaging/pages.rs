//! Writes the man page and the shells' completions into a folder:
//!
//! ```text
//! cargo run --example pages -- FOLDER
//! ```
//!
//! All are made from the command line's definition in src/cli/mod.rs. What the page tells beside options
//! is taken from where it stands already: commands, usage and examples from the help of each command,
//! exit codes and the cache's folders from docs/.
#![allow(missing_docs)]

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use telegraf_virt::cli::{self, CliExit};
use telegraf_virt::{check, config};

const NAME: &str = "telegraf-virt";
const CONFIGURATION: &str = include_str!("../docs/configuration.md");
const TROUBLESHOOTING: &str = include_str!("../docs/troubleshooting.md");

#[allow(dead_code)] // The tests take this file as a module.
fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("name the folder to write into")?;
    write(&PathBuf::from(folder))
}

/// Writes all of them; the folder is made where it is missing.
pub fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("telegraf-virt.1"), man()?)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut for_shell(shell), NAME, folder)?;
    }
    Ok(())
}

/// The definition with the commands and the values that are plain words to the program, for shells to
/// know them: each command as a subcommand with its own options. For bash the commands are values,
/// since behind a subcommand of a program whose name has a hyphen clap_complete completes nothing
/// there (<https://github.com/clap-rs/clap/issues/6421>).
fn for_shell(shell: Shell) -> clap::Command {
    let definition = cli::definition();
    let levels = PossibleValuesParser::new(cli::LEVELS.map(|(name, _)| name));
    let formats = PossibleValuesParser::new(cli::FORMATS.map(|(name, _)| name));
    let definition = definition.mut_args(|arg| match arg.get_long() {
        Some("log-level") => arg.value_parser(levels.clone()),
        Some("format") => arg.value_parser(formats.clone()),
        _ => arg,
    });
    if shell == Shell::Bash {
        let words = PossibleValuesParser::new(cli::Command::ALL.map(cli::Command::name));
        return definition.mut_args(|arg| {
            if arg.get_id() == "command_named" { arg.value_parser(words.clone()) } else { arg }
        });
    }
    let with = |name: &'static str, told: &dyn Fn(&str) -> bool| {
        let args = definition.get_arguments().cloned();
        clap::Command::new(name)
            .args(args.filter(|arg| {
                arg.get_long().is_some_and(told)
                    || (arg.get_id() == "file" && name == cli::Command::Record.name())
            }))
            .disable_help_flag(true)
            .disable_help_subcommand(true)
    };
    let commands = cli::Command::ALL.map(|command| {
        with(command.name(), &|option| command.offers(option)).about(command.purpose())
    });
    with(NAME, &|_| true).subcommands(commands)
}

fn man() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut page = Vec::new();
    let definition = cli::definition();
    let helps = cli::Command::ALL
        .iter()
        .map(|command| Ok((command.name(), help(command.name())?)))
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;

    let about = definition.get_about().ok_or("no about")?.to_string();
    // The word that names a command has a section of its own.
    let options = definition
        .mut_args(|arg| if arg.is_positional() { arg.hide(true) } else { arg })
        .about(lower_case(&about));
    let man = Man::new(options);
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;

    let mut roff = Roff::default();
    roff.control("SH", ["SYNOPSIS"]);
    for (_, help) in &helps {
        let usage = help.lines().find_map(|line| line.strip_prefix("Usage: telegraf-virt"));
        roff.text([bold(NAME), roman(usage.ok_or("a help has no usage")?)]);
        roff.control("br", []);
    }
    roff.to_writer(&mut page)?;
    man.render_description_section(&mut page)?;

    let mut roff = Roff::default();
    roff.control("SH", ["COMMANDS"]);
    for (command, help) in &helps {
        let (purpose, _) = help.split_once("\n\n").ok_or("a help has no first paragraph")?;
        entry(&mut roff, command, &joined(purpose));
    }
    roff.to_writer(&mut page)?;
    man.render_options_section(&mut page)?;

    let mut roff = Roff::default();
    times(&mut roff);
    files(&mut roff)?;
    environment(&mut roff);
    exit_status(&mut roff)?;
    examples(&mut roff, &helps);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold("virsh"),
        roman("(1), "),
        bold("telegraf"),
        roman("(1), and README.md, docs and examples in /usr/share/doc/telegraf-virt"),
    ]);
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// What `telegraf-virt COMMAND --help` prints, up to its options.
fn help(command: &str) -> Result<String, Box<dyn Error>> {
    let arguments = [NAME, command, "--help"].map(OsString::from);
    match cli::parse(arguments.into_iter()) {
        Err(CliExit::Text(text)) => {
            let (above, _) = text.split_once("\nOptions:\n").ok_or("a help has no options")?;
            Ok(above.to_owned())
        }
        other => Err(format!("{command} --help: {other:?}").into()),
    }
}

fn times(roff: &mut Roff) {
    roff.text([]);
    roff.control("PP", []);
    roff.text([roman(
        "Options stand before or after the command. Times are written as 500ms, 4s, 5m or 1h30m.",
    )]);
}

fn files(roff: &mut Roff) -> Result<(), Box<dyn Error>> {
    roff.control("SH", ["FILES"]);
    entry(
        roff,
        config::SYSTEM_FILE,
        "The configuration. telegraf-virt config prints a sample with every setting.",
    );
    roff.control("PP", []);
    roff.text([roman("The cache lies in the first of these that can be used:")]);
    for (place, remark) in cache_places()? {
        entry(roff, &place, &capital(&remark));
    }
    roff.control("PP", []);
    roff.text([roman("Of the package's units for systemd:")]);
    entry(
        roff,
        "/var/log/telegraf-virt.line",
        "What telegraf-virt.service appends its collections to. Nothing starts it until somebody \
         enables telegraf-virt.timer.",
    );
    Ok(())
}

/// The page's list of the cache's folders, in its order: each folder, and what is said of it.
fn cache_places() -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let section = section(CONFIGURATION, "## The cache")?;
    let mut places = Vec::new();
    for line in section.lines() {
        let Some((number, text)) = line.split_once(". `") else { continue };
        if number.parse::<usize>().is_ok() {
            let (place, remark) = text.split_once('`').ok_or("a folder has no end")?;
            let remark = remark.trim_start_matches(", ").replace('`', "");
            places.push((place.to_owned(), remark));
        }
    }
    if places.is_empty() {
        Err("docs/configuration.md lists no folders".into())
    } else {
        Ok(places)
    }
}

fn environment(roff: &mut Roff) {
    roff.control("SH", ["ENVIRONMENT"]);
    entry(
        roff,
        config::FILE_VARIABLE,
        "The configuration, where --config does not name another one.",
    );
    entry(
        roff,
        config::URI_VARIABLE,
        "The hypervisor to read, where neither --uri nor the configuration names one.",
    );
    entry(roff, "CACHE_DIRECTORY, XDG_CACHE_HOME, HOME", "Where the cache may lie: see FILES.");
    entry(roff, "XDG_RUNTIME_DIR", "Where libvirt finds the guests of qemu:///session.");
    entry(roff, "COLUMNS", "How wide a table may be; else it is as wide as the terminal.");
    entry(roff, "NO_COLOR", "Set, a table has no colours on a terminal either.");
    entry(
        roff,
        check::TELEGRAF_FILE_VARIABLE,
        "Telegraf's configuration, a file or a folder, for check; else what lies below /etc/telegraf.",
    );
}

fn exit_status(roff: &mut Roff) -> Result<(), Box<dyn Error>> {
    roff.control("SH", ["EXIT STATUS"]);
    let section = section(TROUBLESHOOTING, "## Exit codes")?;
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let mut told = 0;
    for row in rows.skip(1) {
        let [code, of, meaning] = row.split(" | ").collect::<Vec<_>>()[..] else {
            return Err(format!("a row of the exit codes is not code, of, meaning: {row}").into());
        };
        let title = if of == "all" { code.to_owned() } else { format!("{code}, of {of}") };
        entry(roff, &title, &capital(meaning));
        told += 1;
    }
    if told == 0 { Err("docs/troubleshooting.md has no exit codes".into()) } else { Ok(()) }
}

/// Every indented part of the helps, under the line that introduces it.
fn examples(roff: &mut Roff, helps: &[(&str, String)]) {
    roff.control("SH", ["EXAMPLES"]);
    for (command, help) in helps {
        roff.control("SS", [*command]);
        for part in help.split("\n\n") {
            let Some((title, lines)) = part.split_once(":\n") else { continue };
            if !title.starts_with("Example") {
                roff.control("PP", []);
                roff.text([roman(format!("{title}:"))]);
            }
            roff.control("PP", []);
            roff.control("RS", ["4"]);
            roff.control("nf", []);
            for line in lines.lines() {
                roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
            }
            roff.control("fi", []);
            roff.control("RE", []);
        }
    }
}

fn entry(roff: &mut Roff, title: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(title)]);
    roff.text([roman(text)]);
}

/// What stands below a heading of a page, down to the next one.
fn section(page: &'static str, heading: &str) -> Result<&'static str, Box<dyn Error>> {
    let below = page.split_once(&format!("\n{heading}\n")).map(|(_, below)| below);
    let below = below.ok_or_else(|| format!("there is no heading {heading}"))?;
    Ok(below.split_once("\n#").map_or(below, |(section, _)| section))
}

fn joined(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ")
}

fn lower_case(text: &str) -> String {
    text.chars().take(1).flat_map(char::to_lowercase).chain(text.chars().skip(1)).collect()
}

fn capital(text: &str) -> String {
    text.chars().take(1).flat_map(char::to_uppercase).chain(text.chars().skip(1)).collect()
}
