//! The findings about Telegraf's files. What Telegraf would collect is lost where it does not start the
//! program, never triggers it, reads it in another format, or does not start itself; all else is advice.

use super::findings;

findings! {
    not_looked_at(file, reason, command) = Advice "not-looked-at":
        "{file} could not be checked: {reason}"
        lost "nothing by itself, but faults in that file are not reported here"
        fix "run this as a user who may read it; Telegraf itself reports what is wrong in the file"
        run "{command}";

    own_file_misplaced(file, quoted_file, place) = Lost "own-file-misplaced":
        "{file} is the configuration of telegraf-virt, in a folder of Telegraf"
        lost "all that Telegraf collects: it reads the file as its own, and does not start"
        fix "move it to where this program looks for it"
        run "sudo mkdir -p /etc/telegraf-virt"
        run "sudo mv {quoted_file} {place}";

    both_ways() = Advice "both-ways": "Telegraf starts telegraf-virt with inputs.execd and with inputs.exec"
        lost "nothing, but every point may arrive twice"
        fix "remove one of the two, preferably inputs.exec";

    twice() = Advice "twice": "Telegraf starts telegraf-virt twice with the same command"
        lost "nothing, but every point arrives twice"
        fix "remove one of the two";

    not_loaded(file, quoted_file, renamed) = Lost "not-loaded":
        "{file} would start telegraf-virt, but its name does not end in .conf"
        lost "every point: Telegraf does not load this file"
        fix "rename it, and restart Telegraf"
        run "sudo mv {quoted_file} {renamed}"
        run "sudo systemctl restart telegraf";

    switched_off(file, quoted_file, renamed) = Advice "switched-off":
        "{file} would start telegraf-virt, but its name disables it, and no other file starts it"
        lost "nothing, unless Telegraf should collect"
        fix "to enable it, rename it, and restart Telegraf"
        run "sudo mv {quoted_file} {renamed}"
        run "sudo systemctl restart telegraf";

    not_toml(file, reason) = Lost "not-toml": "{file} is not valid TOML: {reason}"
        lost "all that Telegraf collects: it does not start with this file"
        fix "correct that line; Telegraf itself reports whether it is correct"
        run "telegraf --test";

    own_setting(plugin, setting, place) = Lost "own-setting":
        "{plugin} has {setting}, which is a setting of telegraf-virt and not of Telegraf"
        lost "all that Telegraf collects: it refuses the setting, and does not start"
        fix "move it into the configuration of telegraf-virt"
        run "sudoedit {place}";

    sudo(plugin, without) = Advice "sudo": "{plugin} starts the program through sudo"
        lost "nothing while sudo asks for no password; but the program does not need root"
        fix "write the command without sudo"
        run "{without}";

    no_telegraf(places) = Good "no-telegraf": "Telegraf has no configuration at {places}";

    unused(places, file) = Advice "unused":
        "no file of Telegraf starts telegraf-virt; checked: {places}"
        lost "nothing, unless Telegraf should collect"
        fix "copy the file that comes with this program into Telegraf's folder, and restart Telegraf"
        run "sudo cp {file} /etc/telegraf/telegraf.d/"
        run "sudo systemctl restart telegraf";

    no_program(plugin, program, why) = Lost "no-program": "{plugin} starts {program}, {why}"
        lost "all that Telegraf collects: it does not start"
        fix "install the program, or write the path that this command prints"
        run "command -v telegraf-virt";

    no_execd(plugin) = Lost "no-execd": "{plugin} does not start `telegraf-virt execd`"
        lost "every point: a program that does not keep running is started again and again"
        fix "write"
        run "command = [\"telegraf-virt\", \"execd\"]";

    execd_in_exec(plugin) = Lost "execd-in-exec":
        "{plugin} starts `telegraf-virt execd`, which waits for triggers"
        lost "every point: inputs.exec sends none"
        fix "write"
        run "commands = [[\"telegraf-virt\", \"once\"]]";

    command_refused(plugin, command, why, as_telegraf) = Lost "command-refused":
        "{plugin} starts `{command}`, which fails: {why}"
        lost "every point"
        fix "correct it, there or in the file that the message names; then try it by hand"
        run "{as_telegraf}";

    no_data_format(plugin) = Lost "data-format":
        "{plugin} has no data_format, and Telegraf uses json by default"
        lost "every point: Telegraf does not understand what the program prints"
        fix "write"
        run "data_format = \"influx\"";

    data_format(plugin, format) = Lost "data-format": "{plugin} has data_format = {format}"
        lost "every point: Telegraf does not understand what the program prints"
        fix "write"
        run "data_format = \"influx\"";

    restart_delay(plugin, delay) = Advice "restart-delay": "{plugin} has restart_delay = \"{delay}\""
        lost "points for this long, if the program is killed"
        fix "write"
        run "restart_delay = \"10s\"";

    stop_on_error(plugin) = Advice "stop-on-error": "{plugin} has stop_on_error = true"
        lost "every point from then on, if the program is killed once"
        fix "remove that line, so that Telegraf starts the program again";

    rounded_events(plugin, precision, place) = Advice "rounded-events":
        "{plugin} has precision = \"{precision}\", and extra has \"events\""
        lost "events: Telegraf rounds their time to that, and two equal events of one moment become one point"
        fix "remove that line, and set precision here instead: it does not change events"
        run "sudoedit {place}";

    rounded_interval(plugin, precision, interval) = Advice "rounded-interval":
        "{plugin} rounds timestamps to precision = \"{precision}\", and collects every {interval}"
        lost "collections: two with the same time become one"
        fix "remove that line, or collect less often: at most once in twice that time";

    execd(plugin) = Good "execd": "{plugin} triggers with signal = \"STDIN\"";

    execd_by_itself(plugin) = Good "execd": "{plugin} leaves the interval to the program";

    signal(plugin, signal) = Advice "signal": "{plugin} has signal = \"{signal}\""
        lost "points at some starts: Telegraf may send the first signal before the program can catch it, which \
              kills it; with --test and --once all of them"
        fix "write"
        run "signal = \"STDIN\"";

    no_signal(plugin) = Lost "no-signal":
        "{plugin} has no signal, so Telegraf never asks for a collection"
        lost "every point"
        fix "write"
        run "signal = \"STDIN\"";

    unknown_signal(plugin, signal) = Lost "unknown-signal":
        "{plugin} has signal = \"{signal}\", which Telegraf refuses"
        lost "every point"
        fix "write"
        run "signal = \"STDIN\"";

    exec(plugin) = Good "exec": "{plugin} starts the program";

    timeout(plugin, timeout, deadline, longer) = Advice "timeout":
        "{plugin} ends the program after timeout = \"{timeout}\", while its deadline is {deadline}"
        lost "what has not arrived by then, in each collection with a hung guest"
        fix "write the line below, or set a deadline below {timeout} in the configuration of telegraf-virt"
        run "timeout = \"{longer}\"";

    no_log_stderr(plugin) = Advice "no-log-stderr": "{plugin} has no log_stderr = true"
        lost "messages of the program about hung guests in Telegraf's log"
        fix "with Telegraf 1.38.1 or later, write"
        run "log_stderr = true";

    other_settings(plugin, options) = Advice "other-settings":
        "{plugin} starts the program with other options than this check"
        lost "nothing, but this report is not about what Telegraf starts"
        fix "check that too"
        run "telegraf-virt check {options}";
}
