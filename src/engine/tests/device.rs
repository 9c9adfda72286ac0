//! The same over an RDMA device, where `MAYFLY_TEST_VERBS` says that there is one.

use super::*;
use crate::base::config::Config;
use crate::transport::{Options, Outside};

fn engines_over_verbs(ranks: u32, eager: &str, rndv: &str) -> Vec<Engine> {
    let config = Config::from_lookup(|name| {
        let value = match name {
            "MAYFLY_TRANSPORT" => "verbs",
            "MAYFLY_VERBS_EAGER" => eager,
            "MAYFLY_VERBS_RNDV" => rndv,
            _ => return None,
        };
        Some(value.to_string())
    });
    let open = |me| {
        let options = Options {
            me: PeerId(me),
            size: ranks,
            job: [5; 16],
            token: [6; 32],
            config: &config,
            fences: false,
            outside: Outside::default(),
        };
        Links::open(options).expect("a device")
    };
    let mut links: Vec<Links> = (0..ranks).map(open).collect();
    let addresses: Vec<Vec<u8>> = links.iter().map(Links::address).collect();
    for link in &mut links {
        link.introduce(addresses.clone()).expect("introduced");
    }
    let engine = |(me, links)| {
        let mut engine = Engine::new(links, PeerId(me), ranks, 2048);
        engine.core.transfers.least = 0;
        engine
    };
    (0..).zip(links).map(engine).collect()
}

#[test]
fn messages_pass_over_a_device_every_way() {
    if std::env::var_os("MAYFLY_TEST_VERBS").is_none() {
        return;
    }
    for eager in ["send", "ring"] {
        for rndv in ["get", "put", "pieces"] {
            for (seed, stretch) in [(1, 1 << 30), (2, 1500)] {
                let mut engines = engines_over_verbs(3, eager, rndv);
                for engine in &mut engines {
                    engine.core.transfers.stretch = stretch;
                }
                exchange_among(engines, seed, 80, 20_000);
            }
            let engines = engines_over_verbs(2, eager, rndv);
            exchange_among(engines, 3, 6, 500_000);
        }
    }
}
