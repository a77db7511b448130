//! Every finding of `check`, in tables: its id, its verdict, what was found, what is lost by it, what fixes
//! it. The code that looks passes facts only; a fact that a table does not use, or does not have, does not compile.

pub(super) mod cache;
pub(super) mod collection;
pub(super) mod configuration;
pub(super) mod guests;
pub(super) mod hypervisor;
pub(super) mod limits;
pub(super) mod telegraf;
pub(super) mod telegraf_user;

use super::finding::{Area, Verdict};

/// A row of the tables. Between braces are the facts that are put in.
#[derive(Debug)]
pub struct FindingKind {
    /// Its name, which stays.
    pub id: &'static str,
    /// Its verdict.
    pub verdict: Verdict,
    /// What was found.
    pub text: &'static str,
    /// What is lost by it; `None` if all is as it should be.
    pub lost: Option<&'static str>,
    /// What fixes it.
    pub fix: Option<&'static str>,
    /// The commands that fix it, or the lines to write into a file.
    pub commands: &'static [&'static str],
}

/// The tables of all areas.
pub static CATALOGUE: [(Area, &[FindingKind]); 8] = [
    (Area::Configuration, configuration::KINDS),
    (Area::Hypervisor, hypervisor::KINDS),
    (Area::Guests, guests::KINDS),
    (Area::Collection, collection::KINDS),
    (Area::Cache, cache::KINDS),
    (Area::Limits, limits::KINDS),
    (Area::Telegraf, telegraf::KINDS),
    (Area::TelegrafUser, telegraf_user::KINDS),
];

/// Makes of each row a function that takes the facts and returns the finding. There may be several rows of
/// one id, each with words of its own.
macro_rules! findings {
    ($(
        $name:ident($($fact:ident),*) = $verdict:ident $id:literal: $text:literal
        $(lost $lost:literal fix $fix:literal)? $(run $command:literal)*;
    )*) => {
        use std::fmt::Display;

        use super::FindingKind;
        use crate::check::finding::{Finding, Verdict};

        pub(super) static KINDS: &[FindingKind] = &[$(FindingKind {
            id: $id,
            verdict: Verdict::$verdict,
            text: $text,
            lost: findings!(@some $($lost)?),
            fix: findings!(@some $($fix)?),
            commands: &[$($command),*],
        }),*];

        $(
            pub(in crate::check) fn $name($($fact: impl Display),*) -> Finding {
                Finding {
                    lost: findings!(@some $(format!($lost))?),
                    mend: findings!(@some $(format!($fix))?),
                    commands: vec![$(format!($command)),*],
                    ..Finding::new(Verdict::$verdict, $id, format!($text))
                }
            }
        )*
    };
    (@some $value:expr) => { Some($value) };
    (@some) => { None };
}
use findings;
