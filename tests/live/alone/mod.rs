//! The tests that measure times or load: while one of them runs, no other test does.
//!
//! They are in a module of this name so that the harness, which goes by the alphabet, runs them first: no
//! thread then waits for a turn while it could run another test.

mod chaos;
mod faults;
mod features;
mod fleet;
mod isolation;
