//! The command line to an exit code; all else is in the library.

use std::env;
use std::io::{self, Write};
use std::sync::Arc;

use telegraf_virt::agent::{self, Exit};
use telegraf_virt::check;
use telegraf_virt::cli::{self, Command};
use telegraf_virt::config::SAMPLE;
use telegraf_virt::libvirt::end_process;
use telegraf_virt::log::{Level, Log};
use telegraf_virt::trigger::{Signals, Triggers};

fn main() {
    // Before all else: until its handler stands, a trigger that comes early ends the program.
    let code = match Signals::catch() {
        Ok(signals) => run(signals),
        Err(error) => refuse(&format!("cannot catch signals: {error}"), 1),
    };
    end_process(code);
}

fn run(signals: Signals) -> u8 {
    let cli = match cli::parse(env::args_os()) {
        Ok(cli) => cli,
        Err(cli::Exit::Text(text)) => return print(&text, 0),
        Err(cli::Exit::Refused(message)) => return refuse(&message, 2),
    };
    if cli.command == Command::Config {
        return print(SAMPLE, 0);
    }
    let (settings, file) = match cli.settings(&|name| env::var_os(name)) {
        Ok(settings) => settings,
        Err(error) => return refuse(&error.to_string(), 2),
    };
    let log = match cli.command {
        Command::Once => Log::kept(cli.log_level()),
        _ => Log::immediate(cli.log_level()),
    };
    if let Some(file) = &file {
        log.debug(format_args!("configuration from {}", file.display()));
    }
    let log = Arc::new(log);
    let exit = match cli.command {
        Command::Check => {
            let findings = match Triggers::listen(signals, false) {
                Ok(triggers) => check::findings(&settings, &triggers.ending),
                Err(error) => return refuse(&format!("cannot start a thread: {error}"), 1),
            };
            return print(&check::report(&findings), u8::from(check::is_lost(&findings)));
        }
        Command::Execd => agent::execd(settings, cli.interval, signals, &log),
        _ => agent::once(settings, signals, &log),
    };
    log.flush();
    u8::from(exit == Exit::Failed)
}

fn print(text: &str, code: u8) -> u8 {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            refuse(&format!("cannot write to standard output: {error}"), 1)
        }
        _ => code,
    }
}

fn refuse(message: &str, code: u8) -> u8 {
    Log::immediate(Level::Error).error(message);
    code
}
