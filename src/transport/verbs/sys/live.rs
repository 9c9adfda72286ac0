//! The wrappers on a real device: only where MAYFLY_TEST_VERBS=1 says that there is one (ci/rdma, in its guest).

use super::*;
use crate::transport::verbs::device::{self, Opened, Wish};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The device, where there must be one.
fn device() -> Option<Opened> {
    let wanted = std::env::var("MAYFLY_TEST_VERBS").is_ok_and(|v| v == "1");
    wanted.then(|| {
        device::open(&Wish::default())
            .expect("a device")
            .expect("a device")
    })
}

/// Two connected queue pairs of one process, and registered memory.
struct Bench {
    pairs: [Qp; 2],
    send: Arc<Cq>,
    receive: Arc<Cq>,
    channel: Arc<Channel>,
    shared: Arc<Srq>,
    // Before the memory: the registration must go first.
    region: Mr,
    memory: Box<[u64; 1024]>,
    opened: Opened,
}

impl Bench {
    fn new(opened: Opened) -> Bench {
        let context = &opened.context;
        let pd = Pd::new(context).unwrap();
        let channel = Channel::new(context).unwrap();
        let send = Cq::new(context, 64, None).unwrap();
        let receive = Cq::new(context, 64, Some(&channel)).unwrap();
        let shared = Srq::new(&pd, 64).unwrap();
        assert!(send.capacity() >= 64 && shared.capacity() >= 64);
        let caps = Caps {
            sends: 32,
            pieces: 3,
            inline: 128,
            receives: 0,
        };
        let mut memory = Box::new([0; 1024]);
        // SAFETY: the memory goes after the registration (the order of the fields), and only posted work touches it.
        let region =
            unsafe { Mr::register(&pd, memory.as_mut_ptr().cast(), 8192, Access::ALL) }.unwrap();
        let pairs = [0, 1].map(|_| Qp::reliable(&pd, &send, &receive, &shared, caps).unwrap());
        for (pair, other) in [(0, 1), (1, 0)] {
            connect(&opened, &pairs[pair], pairs[other].number());
        }
        Bench {
            pairs,
            send,
            receive,
            channel,
            shared,
            region,
            memory,
            opened,
        }
    }

    fn at(&self, word: usize) -> u64 {
        self.memory.as_ptr() as u64 + 8 * word as u64
    }

    fn read(&self, word: usize) -> u64 {
        // SAFETY: the word is in the array; the device may have written it.
        unsafe { self.memory.as_ptr().add(word).read_volatile() }
    }

    fn set(&mut self, word: usize, value: u64) {
        self.memory[word] = value;
    }

    /// Posts work of the first pair and waits for its completion.
    fn run(&self, work: Work) -> Completion {
        // SAFETY: the pieces are in the bench's memory.
        unsafe { self.pairs[0].post(&mut [work]) }.unwrap();
        next(&self.send)
    }
}

fn route(opened: &Opened) -> Route {
    Route {
        port: opened.port,
        lid: opened.lid,
        level: 0,
        global: Some(Global {
            gid: opened.gid.gid,
            from_index: opened.gid.index,
            hops: 64,
            class: 0,
        }),
    }
}

fn connect(opened: &Opened, pair: &Qp, peer: u32) {
    assert_eq!(pair.state().unwrap(), State::Reset);
    pair.init(opened.port, Access::ALL).unwrap();
    pair.receive_from(&Peering {
        route: route(opened),
        pair: peer,
        first: 100,
        mtu: u32::from(opened.mtu),
        reads: 4,
        not_ready: 12,
    })
    .unwrap();
    pair.send_to(&Sending {
        first: 100,
        timeout: 14,
        retries: 3,
        not_ready_retries: 3,
        reads: 4,
    })
    .unwrap();
    assert_eq!(pair.state().unwrap(), State::Sending);
}

/// The next completion.
fn next(queue: &Cq) -> Completion {
    let mut room = [Completion::EMPTY; 1];
    let begin = Instant::now();
    loop {
        if let [one] = queue.poll(&mut room).unwrap() {
            return *one;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "no completion");
        std::thread::yield_now();
    }
}

#[test]
fn connected_pairs_send_write_read_count_and_fail() {
    let Some(opened) = device() else { return };
    let mut bench = Bench::new(opened);
    let (lkey, rkey) = (bench.region.lkey(), bench.region.rkey());
    let caps = bench.pairs[0].caps();
    assert!(
        caps.sends >= 32 && caps.inline >= 128 && caps.pieces >= 3,
        "{caps:?}"
    );

    // A send of two pieces that wakes a sleeper.
    let buffer = |id: u64, at: u64| Receive {
        id,
        address: at,
        length: 64,
        lkey,
    };
    let buffers: Vec<Receive> = (0..40)
        .map(|i| buffer(i, bench.at(512 + 8 * i as usize)))
        .collect();
    // SAFETY: the buffers are in the bench's memory.
    unsafe { bench.shared.post(&buffers) }.unwrap();
    bench.receive.arm(false).unwrap();
    assert!(!bench.channel.take().unwrap());
    bench.set(0, 11);
    bench.set(9, 22);
    let work = Work::send(1)
        .piece(bench.at(0), 8, lkey)
        .piece(bench.at(9), 8, lkey);
    let done = bench.run(work.signaled());
    assert!(done.fine() && done.id() == 1 && done.operation() == Operation::Send);
    let mut waiting = libc::pollfd {
        fd: bench.channel.fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one live pollfd.
    assert_eq!(unsafe { libc::poll(&mut waiting, 1, 30_000) }, 1);
    assert_eq!(bench.channel.drain().unwrap(), 1);
    let got = next(&bench.receive);
    assert!(got.received() && got.fine() && got.length() == 16 && got.id() == 0);
    assert_eq!(got.pair(), bench.pairs[1].number());
    assert_eq!((bench.read(512), bench.read(513)), (11, 22));

    // Inline, from memory that is not registered; unsignaled before signaled in one chain.
    let own = [33u64, 44];
    let from = own.as_ptr() as u64;
    let mut chain = [
        Work::write(2, bench.at(100), rkey)
            .piece(from, 16, 0)
            .inline(),
        Work::send(3)
            .piece(from, 16, 0)
            .inline()
            .solicited()
            .signaled(),
    ];
    // SAFETY: inline work is copied before the call returns.
    unsafe { bench.pairs[0].post(&mut chain) }.unwrap();
    assert_eq!(next(&bench.send).id(), 3);
    assert_eq!(next(&bench.receive).id(), 1);
    assert_eq!(
        (bench.read(100), bench.read(101), bench.read(520)),
        (33, 44, 33)
    );

    // A write with a number, a read, atomics.
    let work = Work::write_immediate(4, bench.at(102), rkey, 77).piece(bench.at(0), 8, lkey);
    assert!(bench.run(work.signaled()).fine());
    let got = next(&bench.receive);
    assert_eq!(
        (got.operation(), got.immediate(), got.length()),
        (Operation::ReceivedWrite, Some(77), 8)
    );
    assert_eq!(bench.read(102), 11);
    let work = Work::read(5, bench.at(100), rkey).piece(bench.at(200), 24, lkey);
    assert_eq!(bench.run(work.signaled()).operation(), Operation::Read);
    assert_eq!([200, 201, 202].map(|w| bench.read(w)), [33, 44, 11]);
    let work = Work::fetch_add(6, bench.at(100), rkey, 7).piece(bench.at(300), 8, lkey);
    assert!(bench.run(work.signaled().fence()).fine());
    assert_eq!((bench.read(300), bench.read(100)), (33, 40));
    for (compare, after) in [(39, 40), (40, 99)] {
        let work =
            Work::compare_swap(7, bench.at(100), rkey, compare, 99).piece(bench.at(300), 8, lkey);
        assert!(bench.run(work.signaled()).fine());
        assert_eq!((bench.read(300), bench.read(100)), (40, after));
    }

    // A key that nobody has: this work fails, what follows is flushed, and the pair is in error.
    let bad = Work::write(8, bench.at(0), rkey ^ 0x5500).piece(bench.at(0), 8, lkey);
    let done = bench.run(bad);
    assert!(!done.fine() && done.id() == 8, "{done:?}");
    assert!(
        words(done.status()).contains("peer"),
        "{}: {}",
        done.status(),
        words(done.status())
    );
    let after = Work::send(9).piece(bench.at(0), 8, lkey);
    assert!(bench.run(after).flushed());
    assert_eq!(bench.pairs[0].state().unwrap(), State::Error);
    // The other end may say that it was asked for too much.
    let _ = bench.opened.context.event().unwrap();
}

#[test]
fn a_connection_that_is_given_up_flushes_and_a_missing_peer_is_found() {
    let Some(opened) = device() else { return };
    let bench = Bench::new(opened);
    let lkey = bench.region.lkey();
    bench.pairs[1].fail().unwrap();
    // It does not answer any more.
    let done = bench.run(Work::send(1).piece(bench.at(0), 8, lkey));
    assert!(done.unreachable(), "{done:?}");
    let flushed = bench.run(Work::send(2).piece(bench.at(0), 8, lkey));
    assert!(flushed.flushed(), "{flushed:?}");
    // No buffer at the peer.
    let [a, b] = [0, 1].map(|_| {
        let caps = Caps {
            sends: 4,
            pieces: 1,
            ..Default::default()
        };
        let pd = Pd::new(&bench.opened.context).unwrap();
        let shared = Srq::new(&pd, 4).unwrap();
        Qp::reliable(&pd, &bench.send, &bench.receive, &shared, caps).unwrap()
    });
    connect(&bench.opened, &a, b.number());
    connect(&bench.opened, &b, a.number());
    // SAFETY: no memory.
    unsafe { a.post(&mut [Work::send(3)]) }.unwrap();
    let done = next(&bench.send);
    assert_eq!(
        (done.id(), done.status()),
        (3, 13),
        "{}",
        words(done.status())
    );
}

#[test]
fn datagrams_reach_a_pair_by_number_and_key() {
    let Some(opened) = device() else { return };
    let context = &opened.context;
    let pd = Pd::new(context).unwrap();
    let queue = Cq::new(context, 32, None).unwrap();
    let caps = Caps {
        sends: 8,
        pieces: 1,
        inline: 64,
        receives: 8,
    };
    let pairs = [0, 1].map(|_| Qp::datagram(&pd, &queue, &queue, caps).unwrap());
    for pair in &pairs {
        pair.open(opened.port, 0x1234, 0).unwrap();
    }
    let mut memory = Box::new([0u8; 256]);
    // SAFETY: the registration goes before the memory (declared later).
    let region = unsafe { Mr::register(&pd, memory.as_mut_ptr(), 256, Access::LOCAL) }.unwrap();
    let buffer = Receive {
        id: 5,
        address: memory.as_ptr() as u64,
        length: 256,
        lkey: region.lkey(),
    };
    // SAFETY: as above.
    unsafe { pairs[1].post_receives(&[buffer]) }.unwrap();
    let ah = Ah::new(&pd, &route(&opened)).unwrap();
    let text = b"hello";
    for qkey in [0x1235, 0x1234] {
        let work = Work::send(1)
            .piece(text.as_ptr() as u64, 5, 0)
            .inline()
            .signaled();
        // SAFETY: inline work is copied before the call returns.
        unsafe { pairs[0].post(&mut [work.to(&ah, pairs[1].number(), qkey)]) }.unwrap();
    }
    // The key decides; which of the three comes first, nobody says.
    let all = [0; 3].map(|_| next(&queue));
    assert_eq!(
        all.iter()
            .filter(|c| c.operation() == Operation::Send)
            .count(),
        2
    );
    let got = all.iter().find(|c| c.received()).expect("an arrival");
    assert!(got.id() == 5 && got.fine() && got.length() == 45, "{got:?}");
    assert_eq!(got.sender().0, pairs[0].number());
    // SAFETY: the device is done with the buffer.
    let arrived = unsafe { std::slice::from_raw_parts(memory.as_ptr().add(40), 5) };
    assert_eq!(arrived, text);
}

#[test]
fn what_cannot_be_is_said_with_call_and_device() {
    let Some(opened) = device() else { return };
    let context = &opened.context;
    let pd = Pd::new(context).unwrap();
    // SAFETY: nothing is mapped there, so nothing is registered.
    let error = unsafe { Mr::register(&pd, 4096 as *mut u8, 4096, Access::LOCAL) }
        .err()
        .unwrap();
    let said = error.to_string();
    assert!(
        said.starts_with("ibv_reg_mr on ") && error.errno == libc::EFAULT,
        "{said}"
    );
    assert!(Cq::new(context, u32::MAX, None).is_err());
    let nobody = opened
        .context
        .library()
        .devices()
        .unwrap()
        .open("nobody0")
        .err()
        .unwrap();
    assert!(nobody.hint.contains(&**context.name()), "{nobody}");
    assert!(context.event().unwrap().is_none());
}

/// Takes the device away, so it runs alone, where MAYFLY_TEST_VERBS_REMOVE says that it may: `rdma link delete NAME`.
#[test]
fn a_device_that_is_removed_is_let_go() {
    if std::env::var("MAYFLY_TEST_VERBS_REMOVE").is_err() {
        return;
    }
    let Some(opened) = device() else { return };
    let bench = Bench::new(opened);
    let watch = Watch::new(&bench.opened.context);
    assert_eq!(watch.look(), None);
    let name = bench.opened.context.name().to_string();
    let mut command = std::process::Command::new("rdma");
    let mut removal = command.args(["link", "delete", &name]).spawn().unwrap();
    let mut waiting: Vec<libc::pollfd> = watch
        .descriptors()
        .map(|fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    assert_eq!(waiting.len(), 2);
    // SAFETY: live pollfds.
    let woken = unsafe { libc::poll(waiting.as_mut_ptr(), 2, 30_000) };
    assert!(woken > 0, "nobody said that the device is gone");
    let begin = Instant::now();
    let gone = loop {
        match watch.look() {
            Some(gone) => break gone,
            None => assert!(begin.elapsed() < Duration::from_secs(30)),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(
        matches!(&gone, Gone::Device(why) if why.contains(&name)),
        "{gone:?}"
    );
    drop((watch, bench));
    assert!(removal.wait().unwrap().success());
}
