//! The texts of `--help`: each fits a screen of 24 lines and 80 columns.

use clap::CommandFactory;

use super::{Cli, Command};

/// Options of several commands that the program's own help has no room for.
pub(super) const IN_COMMANDS: [&str; 4] = ["include", "exclude", "extra", "features"];

/// The help of a command, or of the program.
pub(super) fn text(command: Option<Command>) -> String {
    let template = match command {
        None => HELP,
        Some(Command::Once) => ONCE_HELP,
        Some(Command::Execd) => EXECD_HELP,
        Some(Command::Check) => CHECK_HELP,
        Some(Command::Record) => RECORD_HELP,
        Some(Command::Events) => EVENTS_HELP,
        Some(Command::Anomalies) => ANOMALIES_HELP,
        Some(Command::Config) => CONFIG_HELP,
    };
    // The program's own help omits what only one or two commands have: it must fit a screen.
    let is_of_few = |option: &str| {
        let offer = Command::ALL.iter().filter(|command| command.offers(option)).count();
        matches!(offer, 1 | 2)
    };
    let hidden = |option: &str| match command {
        Some(command) => !command.offers(option),
        None => is_of_few(option) || IN_COMMANDS.contains(&option),
    };
    let shown = Cli::command().mut_args(|arg| {
        let hide = arg.get_long().is_none_or(hidden);
        arg.hide(hide)
    });
    let commands: String = Command::ALL
        .iter()
        .map(|command| format!("  {:9}  {}\n", command.name(), command.purpose()))
        .collect();
    let template = template.replace("{commands}", commands.trim_end());
    shown.help_template(template).render_help().to_string()
}

pub(super) const DESCRIPTION: &str = "\
telegraf-virt reads the statistics of every guest on a libvirt host, over libvirt's read-only \
connection, and prints them as InfluxDB line protocol. Telegraf starts it with inputs.execd or \
inputs.exec; cron, a systemd timer or a pipe work as well.

A hung guest does not affect the others. Each collection is printed by a deadline, in whole lines only. \
What a guest did not answer is omitted.";

const HELP: &str = "\
{about}.
Usage: telegraf-virt [OPTIONS] [COMMAND]

Commands:
{commands}

Options, before or after the command; times are like 500ms, 4s, 5m:
{options}
Each command's own options and examples: telegraf-virt once --help
";

const ONCE_HELP: &str = "\
One collection to standard output. Rates come from the second run on.

Usage: telegraf-virt [OPTIONS] [once]

Examples:
  telegraf-virt once --format table         a table for humans
  telegraf-virt --watch --top 20            the busiest guests, every 2 s

Options:
{options}
";

const EXECD_HELP: &str = "\
Keeps running and makes one collection per trigger: a newline on standard
input, SIGHUP, SIGUSR1 or SIGUSR2. Ends at end of input, SIGTERM or SIGINT.

Usage: telegraf-virt [OPTIONS] execd

In Telegraf:
  [[inputs.execd]]
    command = [\"telegraf-virt\", \"execd\"]
    signal = \"STDIN\"
    data_format = \"influx\"

Options:
{options}
";

const CHECK_HELP: &str = "\
Diagnoses the setup, Telegraf's files included, and prints what is wrong, what
is lost, and the command that fixes it. Changes nothing.
Exit code 0: everything that the guests offer is delivered, also to Telegraf as
far as its files show; 1: something is marked LOST.

Usage: telegraf-virt [OPTIONS] check

Examples:
  sudo telegraf-virt check                  as root, and as the user telegraf
  telegraf-virt check --json | jq .verdict  for machines: good, advice or lost

Options:
{options}
";

const RECORD_HELP: &str = "\
Records a host into FILE, which must not exist: what libvirt answers to all
that any command could ask, for every guest. --uri replay:FILE reads it.

Usage: telegraf-virt [OPTIONS] record FILE

Examples:
  telegraf-virt record --anonymize host.jsonl
  telegraf-virt once -u replay:host.jsonl   what once would have printed there
  ssh host telegraf-virt record - > host.jsonl

Options:
{options}
";

const EVENTS_HELP: &str = "\
Prints events of the guests as they happen, one line per event, until Ctrl-C:
starts, stops, migrations, full disks, added and removed devices.

Usage: telegraf-virt [OPTIONS] events

Examples:
  telegraf-virt events                      14:03:07 web-01 io_error vda enospc
  telegraf-virt events --format json | jq .tags
  telegraf-virt events --format influx >> events.line

Options:
{options}
";

const ANOMALIES_HELP: &str = "\
Shows guests that behave unlike their own past, with a sentence per series: a
hint, never an alarm. It reads what execd with extra = [\"anomalies\"] has
learned and stored in the cache.

Usage: telegraf-virt [OPTIONS] anomalies

Example:
  sudo -u telegraf telegraf-virt anomalies

Options:
{options}
";

const CONFIG_HELP: &str = "\
Prints the sample configuration: every setting, its default, its unit, and why
you would change it.

Usage: telegraf-virt config [--effective [OPTIONS]]

Examples:
  telegraf-virt config | sudo tee /etc/telegraf-virt/config.toml
  telegraf-virt config --effective          settings in force, and their origin

Options:
{options}
";
