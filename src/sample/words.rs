//! libvirt's enums in words: the last part of each name in lower case.
//!
//! <https://libvirt.org/html/libvirt-libvirt-domain.html>

/// virDomainState, in the words that the schema gives it.
pub fn state(state: i64) -> &'static str {
    let words =
        ["no state", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "suspended"];
    let word = usize::try_from(state).ok().and_then(|state| words.get(state));
    word.copied().unwrap_or("unknown")
}

/// The reason of a state: virDomainRunningReason and the like, by the state that it belongs to.
pub fn state_reason(state: i64, reason: i64) -> &'static str {
    let words = match state {
        1 => {
            "unknown booted migrated restored from_snapshot unpaused migration_canceled \
             save_canceled wakeup crashed postcopy postcopy_failed"
        }
        3 => {
            "unknown user migration save dump ioerror watchdog from_snapshot shutting_down \
             snapshot crashed starting_up postcopy postcopy_failed api_error"
        }
        4 => "unknown user",
        5 => "unknown shutdown destroyed crashed migrated saved failed from_snapshot daemon",
        6 => "unknown panicked",
        // No state, blocked and suspended have one reason, unknown.
        _ => "unknown",
    };
    nth_word(words, reason)
}

/// virDomainJobType
pub fn job_type(kind: i64) -> &'static str {
    nth_word("none bounded unbounded", kind)
}

/// virDomainJobOperation
pub fn job_operation(operation: i64) -> &'static str {
    let words = "unknown start save restore migration_in migration_out snapshot snapshot_revert \
                 dump backup snapshot_delete";
    nth_word(words, operation)
}

/// virDomainBlockJobType
pub fn block_job_type(kind: i64) -> &'static str {
    nth_word("unknown pull copy commit active_commit backup", kind)
}

/// virDomainDiskErrorCode
pub fn disk_error(code: i64) -> &'static str {
    nth_word("none unspecified no_space", code)
}

/// virStoragePoolState
pub fn pool_state(state: i64) -> &'static str {
    nth_word("inactive building running degraded inaccessible", state)
}

/// A word of an enum, by its number.
pub(crate) fn nth_word(words: &'static str, number: i64) -> &'static str {
    let number = usize::try_from(number).ok();
    number.and_then(|number| words.split(' ').nth(number)).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_the_enum_does_not_have_is_unknown() {
        let states = [
            "no state",
            "running",
            "blocked",
            "paused",
            "shutdown",
            "shutoff",
            "crashed",
            "suspended",
            "unknown",
        ];
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 8].map(state), states);
        assert_eq!(state(-1), "unknown");
        assert_eq!(state_reason(1, 1), "booted");
        assert_eq!(state_reason(3, 5), "ioerror");
        assert_eq!(state_reason(3, 14), "api_error");
        assert_eq!(state_reason(5, 2), "destroyed");
        assert_eq!(state_reason(6, 1), "panicked");
        assert_eq!(
            [(7, 0), (7, 1), (1, 12), (9, 0)].map(|(s, r)| state_reason(s, r)),
            ["unknown"; 4]
        );
        assert_eq!([1, 2, 6].map(job_type), ["bounded", "unbounded", "unknown"]);
        assert_eq!(
            [2, 5, 10, 11].map(job_operation),
            ["save", "migration_out", "snapshot_delete", "unknown"]
        );
    }
}
