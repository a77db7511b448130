//! The findings about the configuration: which file, and which hypervisors.

use super::findings;

findings! {
    no_file(system, variable) = Good "no-file":
        "no configuration file: there is no {system}, and neither --config nor ${variable} names another \
         one; every setting has its default";

    file(path, namer, instead) = Good "file": "settings are from {path}, {namer}{instead}";

    hypervisor(uri, namer) = Good "hypervisors": "the hypervisor is {uri}, {namer}";

    hypervisors(count, namer) = Good "hypervisors": "{count}, {namer}";
}
