//! `mayfly run` from outside, with shells and a member without MPI as its ranks.

#[path = "../common/mod.rs"]
mod common;

mod elsewhere;
mod ends;
mod members;
mod start;
mod streams;

use common::{mayfly, Run};
use std::time::Duration;

/// "Within a second", with room for a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn run(arguments: &[&str]) -> Run {
    crate::common::run(mayfly().arg("run").args(arguments))
}
