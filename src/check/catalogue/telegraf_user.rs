//! The findings about the user that Telegraf runs as. They are advice where no file of Telegraf's starts this
//! program with these settings. What that user loses and root does not, `user-loses`,
//! is told in root's own words: its own report may be a stranger's.

use super::findings;

findings! {
    user(user, cache) = Good "user": "the user {user} can read everything that root can{cache}";

    user_cannot_run(user, program, quoted_program) = Lost "user-cannot-run":
        "the user {user} cannot start {program}"
        lost "every point, if Telegraf should start this file"
        fix "install the program where every user can start it"
        run "sudo install -m 755 {quoted_program} /usr/local/bin/";

    user_refused(user, file) = Lost "user-refused":
        "as the user {user}, the program refuses its configuration"
        lost "every point, if Telegraf should collect"
        fix "let that user read the configuration"
        run "sudo chmod o+r {file}";

    user_unknown(user, reason, command) = Advice "user-unknown":
        "what the user {user} can read could not be checked: {reason}"
        lost "nothing by itself, but what that user cannot read is not reported here"
        fix "try it by hand"
        run "{command}";

    no_right_to_socket(user, socket, command) = Lost "user-loses":
        "of the user {user}: {user} may not use {socket}"
        lost "every guest of this hypervisor"
        fix "let every user read, as it is by default: the read-only socket open to all (unix_sock_ro_perms), \
             without a password (auth_unix_ro)"
        run "{command}";

    not_authenticated(user, uri, command) = Lost "user-loses":
        "of the user {user}: {user} has no access to {uri}"
        lost "every guest of this hypervisor"
        fix "let every user read, as it is by default: the read-only socket open to all (unix_sock_ro_perms), \
             without a password (auth_unix_ro)"
        run "{command}";

    not_running(user, uri, command) = Lost "user-loses":
        "of the user {user}: there is nothing that {user} can connect to for {uri}"
        lost "every guest of this hypervisor"
        fix "let every user read, as it is by default: the read-only socket open to all (unix_sock_ro_perms), \
             without a password (auth_unix_ro)"
        run "{command}";

    unknown_user(user, command) = Lost "user-loses":
        "of the user {user}: libvirt cannot find {user}'s name or group"
        lost "every guest of this hypervisor"
        fix "add that user to this machine, in /etc/passwd and /etc/group"
        run "{command}";

    no_ssh(user, uri, command) = Lost "user-loses":
        "of the user {user}: {user} finds no ssh to start for {uri}"
        lost "every guest of this hypervisor"
        fix "install it"
        run "{command}";

    no_recording(user, uri, command) = Lost "user-loses":
        "of the user {user}: {user} cannot read the recording of {uri}"
        lost "every guest of this hypervisor"
        fix "let that user read it"
        run "{command}";

    bad_uri(user, uri, command) = Lost "user-loses":
        "of the user {user}: libvirt knows no such URI as {uri}"
        lost "every guest of this hypervisor"
        fix "check that user's own configuration of libvirt"
        run "{command}";

    no_answer(user, uri, command) = Lost "user-loses":
        "of the user {user}: {uri} does not answer {user}"
        lost "every guest of this hypervisor"
        fix "check whether that user has the key and the names that the URI needs"
        run "{command}";

    gone_down(user, command) = Lost "user-loses":
        "of the user {user}: a hypervisor went down while it was read"
        lost "figures of those guests"
        fix "check what this command prints"
        run "{command}";

    hung(user, guests, command) = Lost "user-loses":
        "of the user {user}: {guests} did not answer"
        lost "figures of those guests"
        fix "check what this command prints"
        run "{command}";

    held(user, guests, command) = Lost "user-loses":
        "of the user {user}: {guests} could not be read, or libvirt did not list its guests"
        lost "figures of those guests"
        fix "check what this command prints"
        run "{command}";

    partly_unread(user, guests, command) = Lost "user-loses":
        "of the user {user}: {guests} could be read only in part"
        lost "figures of those guests"
        fix "check what this command prints"
        run "{command}";

    collection_says(user, command) = Lost "user-loses":
        "of the user {user}: the trial collection complains"
        lost "figures of those guests"
        fix "check what this command prints"
        run "{command}";

    no_folder(user, folder, command) = Lost "user-loses":
        "of the user {user}: it cannot use {folder} for its cache"
        lost "vm_features of every once; and each start reads every guest's XML again"
        fix "create a folder for this user, in the first place that is tried"
        run "{command}";

    no_folder_anywhere(user, command) = Lost "user-loses":
        "of the user {user}: no folder can be used for its cache"
        lost "vm_features of every once; and each start reads every guest's XML again"
        fix "create a folder for this user, in the first place that is tried"
        run "{command}";

    no_room(user) = Lost "user-loses":
        "of the user {user}: the file system of its cache is full"
        lost "vm_features of every once; and each start reads every guest's XML again"
        fix "make room there, or name another folder with dir in [cache]"
        run "df -h";

    file_unusable(user, command) = Lost "user-loses":
        "of the user {user}: a file of its cache cannot be used"
        lost "vm_features of every once; and each start reads every guest's XML again"
        fix "check which one it is, and remove it; the next collection writes a new one"
        run "{command}";

    few_processes(user, limit, needed, enough) = Advice "user-loses":
        "of the user {user}: it may have {limit} processes and threads, and may need {needed} more"
        lost "guests while others hang: they cannot be read at the same time"
        fix "raise the limit in Telegraf's unit, and restart Telegraf"
        run "LimitNPROC={enough}";

    few_files(user, limit, needed, enough) = Advice "user-loses":
        "of the user {user}: it may have {limit} files open, and may need {needed}"
        lost "guests while others hang: they cannot be read at the same time"
        fix "raise the limit in Telegraf's unit, and restart Telegraf"
        run "LimitNOFILE={enough}";
}
