//! The findings about the cache: its folder, and what is in it.

use super::findings;

findings! {
    off() = Good "off": "disabled by --no-cache: once prints no vm_features";

    off_for_recordings() = Good "off": "not used, because nothing is stored about a recording";

    folder(path, why, mode) = Good "folder": "the folder is {path}, {why}{mode}";

    no_folder(error, fix, command) = Lost "no-folder": "{error}"
        lost "vm_features of every once; and each start reads every guest's XML again"
        fix "{fix}"
        run "{command}";

    no_folder_anywhere(tried, user) = Lost "no-folder": "{tried}"
        lost "vm_features of every once; and each start reads every guest's XML again"
        fix "create a folder for this user, in the first place that is tried"
        run "sudo install -d -m 700 -o {user} /var/cache/telegraf-virt";

    silent_folder(place) = Lost "no-folder":
        "the folder for the cache cannot be looked at: {place} does not answer; is its mount gone?"
        lost "vm_features of every once; and each start reads every guest's XML again"
        fix "mount it again, or name another folder with --cache-dir, or with dir in [cache]"
        run "cat /proc/mounts";

    no_room(path, left, quoted_path) = Lost "no-room": "the file system of {path} has {left} bytes left"
        lost "vm_features of every once; and each start reads every guest's XML again"
        fix "make room there, or name another folder with --cache-dir, or with dir in [cache]"
        run "df -h {quoted_path}";

    empty(uri) = Good "empty": "nothing is stored about {uri} yet: the first collection has no vm_features";

    entries(uri, devices, samples, age) = Good "entries":
        "for {uri} it has the devices of {devices} and the last sample of {samples}, written {age} ago";

    file_unusable(trouble, uri, quoted_path) = Lost "file-unusable": "{trouble}"
        lost "what the cache should store about {uri} from one run to the next"
        fix "remove it; the next collection writes a new one"
        run "rm {quoted_path}";

    file_replaced(trouble) = Advice "file-replaced": "{trouble}"
        lost "vm_features of the next once only"
        fix "nothing: the next collection replaces it";
}
