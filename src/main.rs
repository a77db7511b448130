//! The command line to an exit code; all else is in the library.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use telegraf_virt::agent::{self, Exit};
use telegraf_virt::check;
use telegraf_virt::cli::{self, Command};
use telegraf_virt::config::SAMPLE;
use telegraf_virt::log::{Level, Log};
use telegraf_virt::trigger::Signals;

fn main() -> ExitCode {
    // Before all else: until its handler stands, a trigger that comes early ends the program.
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return refuse(&format!("cannot catch signals: {error}"), 1),
    };
    let cli = match cli::parse(env::args_os()) {
        Ok(cli) => cli,
        Err(cli::Exit::Text(text)) => return print(&text, ExitCode::SUCCESS),
        Err(cli::Exit::Refused(message)) => return refuse(&message, 2),
    };
    if cli.command == Command::Config {
        return print(SAMPLE, ExitCode::SUCCESS);
    }
    let (settings, file) = match cli.settings(&|name| env::var_os(name)) {
        Ok(settings) => settings,
        Err(error) => return refuse(&error.to_string(), 2),
    };
    let log = match cli.command {
        Command::Once => Log::kept(cli.log_level()),
        _ => Log::immediate(cli.log_level()),
    };
    let log = Arc::new(log);
    if let Some(file) = &file {
        log.debug(format_args!("configuration from {}", file.display()));
    }
    let exit = match cli.command {
        Command::Check => {
            let findings = check::findings(&settings);
            let code =
                if check::is_lost(&findings) { ExitCode::FAILURE } else { ExitCode::SUCCESS };
            return print(&check::report(&findings), code);
        }
        Command::Execd => agent::execd(settings, cli.interval, signals, &log),
        _ => agent::once(settings, signals, &log),
    };
    log.flush();
    if exit == Exit::Fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(text: &str, code: ExitCode) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            refuse(&format!("cannot write to standard output: {error}"), 1)
        }
        _ => code,
    }
}

fn refuse(message: &str, code: u8) -> ExitCode {
    Log::immediate(Level::Error).error(message);
    ExitCode::from(code)
}
