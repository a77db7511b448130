//! The findings about the trial collection.

use super::findings;

findings! {
    in_time(text) = Good "in-time": "{text}";

    deadline_reached(text, longer) = Advice "deadline-reached": "{text}"
        lost "what had not arrived by then: the guests above that do not respond"
        fix "fix these guests, or give a collection more time in the configuration"
        run "deadline = \"{longer}\"";

    longer_than_interval(interval) = Advice "longer-than-interval":
        "a collection takes longer than Telegraf's interval of {interval}"
        lost "points: triggers that arrive while a collection runs become one"
        fix "write a longer interval into [[inputs.execd]] of Telegraf"
        run "interval = \"30s\"";

    deadline_above_interval(deadline, interval, shorter) = Advice "deadline-above-interval":
        "the deadline of {deadline} is not shorter than Telegraf's interval of {interval}"
        lost "points while a guest hangs: a collection may then last up to the deadline"
        fix "shorten the deadline in the configuration"
        run "deadline = \"{shorter}\"";
}
