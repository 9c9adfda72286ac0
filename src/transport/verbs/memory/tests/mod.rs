//! The cache over a model of a device, and over this system's real mappings.

pub mod block;
mod events;
mod joined;
mod model;
mod pinning;
mod real;
mod rules;

use super::{Held, Registrar, Terms};
use model::Model;
use pinning::Pinning;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard};

/// What a test can make a device do.
pub trait Device {
    /// What lies at `address` in the registration's pages.
    fn read(&self, held: &Held, address: usize, into: &mut [u8]);
    fn write(&self, held: &Held, address: usize, from: &[u8]);
}

/// One at a time: they look at the mappings of the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

fn terms() -> Terms {
    Terms {
        pinned: 1 << 30,
        memlock: None,
        kept: 64,
        fork_safe: true,
    }
}

/// A device, unless this system forbids what stands for one.
fn device() -> Option<Rc<Pinning>> {
    let device = Pinning::open();
    if device.is_none() {
        eprintln!("io_uring is not available: nothing stands for a device here");
    }
    device
}

/// 10^5 steps and their checks, half of them with little room; MAYFLY_TEST_STEPS and MAYFLY_TEST_SEEDS say otherwise.
fn random_programs(device: impl Device + Registrar + Clone) {
    let number = |name: &str, default: usize| match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => default,
    };
    let steps = number("MAYFLY_TEST_STEPS", 100_000) / 2;
    for seed in 1..=number("MAYFLY_TEST_SEEDS", 1) as u64 {
        for (pinned, kept) in [(1 << 30, 64), (200 << 10, 5)] {
            let terms = Terms {
                pinned,
                kept,
                ..terms()
            };
            let mut model = Model::new(device.clone(), terms, seed);
            for _ in 0..steps {
                model.step();
            }
            assert!(model.looks > steps / 5, "{} looks", model.looks);
            assert!(model.hits > steps / 100, "{} hits", model.hits);
            let compared = model.compared;
            assert!(compared > steps / 250, "{compared} compared");
        }
    }
}

#[test]
fn a_random_program_and_the_device_see_the_same() {
    let _alone = alone();
    if let Some(device) = device() {
        random_programs(device);
    }
}

#[test]
fn a_random_program_and_a_real_device_see_the_same() {
    let _alone = alone();
    if let Some(rig) = real::Rig::open() {
        random_programs(rig);
    }
}
