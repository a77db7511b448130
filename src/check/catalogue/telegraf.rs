//! The findings about Telegraf's files. What Telegraf would collect is lost where it does not start the
//! program, never triggers it, reads it in another format, or does not start itself; all else is advice.

use super::findings;

findings! {
    not_looked_at(file, reason, command) = Advice "not-looked-at":
        "{file}: cannot be looked at: {reason}"
        lost "nothing by itself, but what is wrong in there is not told here"
        fix "run this as a user who may read it; what Telegraf makes of the file, it says itself"
        run "{command}";

    own_file_misplaced(file, quoted_file, place) = Lost "own-file-misplaced":
        "{file} is this program's own configuration, among Telegraf's files"
        lost "all that Telegraf collects: it reads the file as its own, and does not start"
        fix "put it where this program looks for it"
        run "sudo mkdir -p /etc/telegraf-virt"
        run "sudo mv {quoted_file} {place}";

    both_ways() = Advice "both-ways": "Telegraf starts telegraf-virt by inputs.execd and by inputs.exec"
        lost "nothing, but every point may come twice"
        fix "leave one of the two out, best inputs.exec";

    twice() = Advice "twice": "Telegraf starts telegraf-virt twice by the same command"
        lost "nothing, but every point comes twice"
        fix "leave one of the two out";

    not_loaded(file, quoted_file, renamed) = Lost "not-loaded":
        "{file} would start telegraf-virt, but its name does not end in .conf"
        lost "every point: Telegraf does not load this file"
        fix "give it such a name, and restart Telegraf"
        run "sudo mv {quoted_file} {renamed}"
        run "sudo systemctl restart telegraf";

    switched_off(file, quoted_file, renamed) = Advice "switched-off":
        "{file} would start telegraf-virt, but its name switches it off, and no other file starts it"
        lost "nothing, unless Telegraf is to collect"
        fix "to switch it on, rename it, and restart Telegraf"
        run "sudo mv {quoted_file} {renamed}"
        run "sudo systemctl restart telegraf";

    not_toml(file, reason) = Lost "not-toml": "{file} is not valid TOML: {reason}"
        lost "all that Telegraf collects: it does not start with this file"
        fix "correct that line; Telegraf itself says whether it is right"
        run "telegraf --test";

    own_setting(plugin, setting, place) = Lost "own-setting":
        "{plugin} has {setting}, which is a setting of telegraf-virt and not of Telegraf"
        lost "all that Telegraf collects: it refuses the setting, and does not start"
        fix "move it into the configuration of telegraf-virt"
        run "sudoedit {place}";

    sudo(plugin, without) = Advice "sudo": "{plugin} starts the program through sudo"
        lost "nothing while sudo asks for no password; but the program needs no rights of root"
        fix "write there the command without sudo"
        run "{without}";

    no_telegraf(places) = Good "no-telegraf": "no configuration of Telegraf's is at {places}";

    unused(places, file) = Advice "unused":
        "no file of Telegraf's starts telegraf-virt: looked at {places}"
        lost "nothing, unless Telegraf is to collect"
        fix "put the file that comes with this program among Telegraf's, and restart Telegraf"
        run "sudo cp {file} /etc/telegraf/telegraf.d/"
        run "sudo systemctl restart telegraf";

    no_program(plugin, program, why) = Lost "no-program": "{plugin} starts {program}, {why}"
        lost "all that Telegraf collects: it does not start"
        fix "install the program, or write there the path that this prints"
        run "command -v telegraf-virt";

    no_execd(plugin) = Lost "no-execd": "{plugin} does not start `telegraf-virt execd`"
        lost "every point: a program that does not stay is started again and again"
        fix "write there"
        run "command = [\"telegraf-virt\", \"execd\"]";

    execd_in_exec(plugin) = Lost "execd-in-exec":
        "{plugin} starts `telegraf-virt execd`, which waits for triggers"
        lost "every point: inputs.exec sends none"
        fix "write there"
        run "commands = [[\"telegraf-virt\", \"once\"]]";

    command_refused(plugin, command, why, as_telegraf) = Lost "command-refused":
        "{plugin} starts `{command}`, which fails: {why}"
        lost "every point"
        fix "set that right, there or in the file that it names; then try it by hand"
        run "{as_telegraf}";

    no_data_format(plugin) = Lost "data-format":
        "{plugin} has no data_format, and Telegraf takes json for it"
        lost "every point: Telegraf does not understand what the program prints"
        fix "write there"
        run "data_format = \"influx\"";

    data_format(plugin, format) = Lost "data-format": "{plugin} has data_format = {format}"
        lost "every point: Telegraf does not understand what the program prints"
        fix "write there"
        run "data_format = \"influx\"";

    restart_delay(plugin, delay) = Advice "restart-delay": "{plugin} has restart_delay = \"{delay}\""
        lost "points for so long, should the program be killed"
        fix "write there"
        run "restart_delay = \"10s\"";

    stop_on_error(plugin) = Advice "stop-on-error": "{plugin} has stop_on_error = true"
        lost "every point from then on, should the program be killed once"
        fix "take that line out, so that Telegraf starts the program again";

    rounded_events(plugin, precision, place) = Advice "rounded-events":
        "{plugin} has precision = \"{precision}\", and extra has \"events\""
        lost "events: Telegraf rounds their time to that, and two of one kind and time are one point"
        fix "take that line out, and set precision here instead: it leaves events as they are"
        run "sudoedit {place}";

    rounded_interval(plugin, precision, interval) = Advice "rounded-interval":
        "{plugin} rounds timestamps to precision = \"{precision}\", and collects every {interval}"
        lost "collections: two that get the same time are one"
        fix "take that line out, or collect at most every second such time";

    execd(plugin) = Good "execd": "{plugin} asks by signal = \"STDIN\"";

    execd_by_itself(plugin) = Good "execd": "{plugin} leaves the interval to the program";

    signal(plugin, signal) = Advice "signal": "{plugin} has signal = \"{signal}\""
        lost "points at some starts: Telegraf may send the first signal before the program can catch it, which \
              kills it; with --test and --once all of them"
        fix "write there"
        run "signal = \"STDIN\"";

    no_signal(plugin) = Lost "no-signal":
        "{plugin} has no signal, so Telegraf never asks for a collection"
        lost "every point"
        fix "write there"
        run "signal = \"STDIN\"";

    unknown_signal(plugin, signal) = Lost "unknown-signal":
        "{plugin} has signal = \"{signal}\", which Telegraf refuses"
        lost "every point"
        fix "write there"
        run "signal = \"STDIN\"";

    exec(plugin) = Good "exec": "{plugin} starts the program";

    timeout(plugin, timeout, deadline, longer) = Advice "timeout":
        "{plugin} ends the program after timeout = \"{timeout}\", while its deadline is {deadline}"
        lost "what has not arrived by then, in each collection with a guest that hangs"
        fix "write there the line below, or a deadline below {timeout} here"
        run "timeout = \"{longer}\"";

    no_log_stderr(plugin) = Advice "no-log-stderr": "{plugin} has no log_stderr = true"
        lost "what the program says of guests that hang, in Telegraf's log"
        fix "from Telegraf 1.38.1 on, write there"
        run "log_stderr = true";

    other_settings(plugin, options) = Advice "other-settings":
        "{plugin} starts the program with options that this check has not"
        lost "nothing, but what stands here is not true of what Telegraf starts"
        fix "look at that too"
        run "telegraf-virt check {options}";
}
