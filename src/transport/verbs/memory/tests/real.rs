//! A real device that reads and writes this process's memory through a connection of this process with itself. Only where
//! MAYFLY_TEST_VERBS=1 says that there is a device.

use super::super::{Held, Refused, Registrar, Rights, Use};
use super::block::{Block, PAGE};
use super::{alone, terms, Device};
use crate::transport::verbs::device::{self, Opened, Wish};
use crate::transport::verbs::memory::Cache;
use crate::transport::verbs::sys::{
    Access, Caps, Channel, Completion, Cq, Global, Mr, Pd, Peering, Qp, Route, Sending, Srq, Work,
};
use crate::transport::verbs::users::Domain;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes of the largest transfer.
const SCRATCH: usize = 256 << 10;

#[derive(Clone)]
pub struct Rig(Rc<Parts>);

struct Parts {
    pairs: [Qp; 2],
    done: Arc<Cq>,
    channel: Arc<Channel>,
    domain: Domain,
    // Before its memory: the registration must go first.
    region: Mr,
    scratch: Block,
}

impl Rig {
    pub fn open() -> Option<Rig> {
        if std::env::var("MAYFLY_TEST_VERBS").as_deref() != Ok("1") {
            return None;
        }
        let opened = device::open(&Wish::default()).expect("no error");
        let opened = opened.expect("a device");
        let pd = Pd::new(&opened.context).unwrap();
        let channel = Channel::new(&opened.context).unwrap();
        let done = Cq::new(&opened.context, 16, Some(&channel)).unwrap();
        let shared = Srq::new(&pd, 16).unwrap();
        let caps = Caps {
            sends: 8,
            pieces: 1,
            inline: 0,
            receives: 0,
        };
        let pairs = [0, 1].map(|_| Qp::reliable(&pd, &done, &done, &shared, caps).unwrap());
        for (pair, other) in [(0, 1), (1, 0)] {
            connect(&opened, &pairs[pair], pairs[other].number());
        }
        let scratch = Block::new(SCRATCH);
        // SAFETY: the block outlives the registration (the order of the fields); only posted work touches it.
        let region = unsafe { Mr::register(&pd, scratch.at(0), SCRATCH, Access::ALL) }.unwrap();
        Some(Rig(Rc::new(Parts {
            pairs,
            done,
            channel,
            domain: Domain {
                pd,
                all: Access::ALL,
            },
            region,
            scratch,
        })))
    }

    fn run(&self, work: Work, length: usize) {
        let parts = &self.0;
        let scratch = parts.scratch.address() as u64;
        let work = work.piece(scratch, length, parts.region.lkey());
        // SAFETY: the scratch memory is registered, and nobody else works with it.
        unsafe { parts.pairs[0].post(&mut [work.signaled()]) }.expect("posted");
        let mut room = [Completion::EMPTY; 1];
        loop {
            if let [one] = parts.done.poll(&mut room).expect("polled") {
                assert!(one.fine(), "{one:?}");
                return;
            }
            // Asleep: a device in software needs the processor.
            parts.done.arm(false).expect("armed");
            if let [one] = parts.done.poll(&mut room).expect("polled") {
                assert!(one.fine(), "{one:?}");
                return;
            }
            let mut waiting = libc::pollfd {
                fd: parts.channel.fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one live pollfd.
            unsafe { libc::poll(&mut waiting, 1, 100) };
            parts.channel.drain().expect("drained");
        }
    }
}

fn connect(opened: &Opened, pair: &Qp, peer: u32) {
    let global = Global {
        gid: opened.gid.gid,
        from_index: opened.gid.index,
        hops: 64,
        class: 0,
    };
    pair.init(opened.port, Access::ALL).unwrap();
    pair.receive_from(&Peering {
        route: Route {
            port: opened.port,
            lid: opened.lid,
            level: 0,
            global: Some(global),
        },
        pair: peer,
        first: 7,
        mtu: u32::from(opened.mtu),
        reads: 4,
        not_ready: 12,
    })
    .unwrap();
    pair.send_to(&Sending {
        first: 7,
        timeout: 18,
        retries: 7,
        not_ready_retries: 7,
        reads: 4,
    })
    .unwrap();
}

impl Registrar for Rig {
    type Region = Mr;

    fn register(&self, address: usize, length: usize, rights: Rights) -> Result<Mr, Refused> {
        self.0.domain.register(address, length, rights)
    }
}

impl Device for Rig {
    fn read(&self, held: &Held, address: usize, into: &mut [u8]) {
        self.run(Work::read(1, address as u64, held.rkey), into.len());
        self.0.scratch.copy_out(into);
    }

    fn write(&self, held: &Held, address: usize, from: &[u8]) {
        self.0.scratch.copy_in(from);
        self.run(Work::write(1, address as u64, held.rkey), from.len());
    }
}

fn word(rig: &Rig, held: &Held, address: usize) -> u64 {
    let mut word = [0; 8];
    rig.read(held, address, &mut word);
    u64::from_ne_bytes(word)
}

#[test]
fn sent_freed_allocated_at_the_same_address_and_forked_on_a_real_device() {
    let _alone = alone();
    let Some(rig) = Rig::open() else { return };
    let mut cache = Cache::new(rig.clone(), terms());
    let block = Block::new(16 * PAGE);
    for round in 1..200 {
        block.fill(0, 16 * PAGE, round);
        let held = cache.register(block.at(100), 15 * PAGE, Use::Read);
        let held = held.expect("registered");
        assert_eq!(word(&rig, &held, block.address() + 5 * PAGE), round);
        if round % 10 == 5 {
            assert!(super::block::in_child(|| {
                block.fill(0, 16 * PAGE, 0xdead);
                true
            }));
            block.fill(0, 16 * PAGE, round + 1000);
            assert_eq!(word(&rig, &held, block.address() + 5 * PAGE), round + 1000);
        }
        cache.release(held.hold);
        assert_eq!((cache.kept(), cache.pinned()), (1, 16 * PAGE as u64));
        block.unmap(0, 16 * PAGE);
        block.map(0, 16 * PAGE);
    }
}

#[test]
fn memory_that_may_only_be_read_is_read_by_a_real_device() {
    let _alone = alone();
    let Some(rig) = Rig::open() else { return };
    let mut cache = Cache::new(rig.clone(), terms());
    let block = Block::new(4 * PAGE);
    block.fill(0, 4 * PAGE, 5);
    block.protect(0, 4 * PAGE, libc::PROT_READ);
    let why = cache.register(block.at(0), 4 * PAGE, Use::Change);
    assert!(why.unwrap_err().contains("ibv_reg_mr"));
    let held = cache.register(block.at(0), 4 * PAGE, Use::Read).unwrap();
    assert_eq!(word(&rig, &held, block.address() + PAGE), 5);
    assert_eq!(cache.kept(), 0);
}
