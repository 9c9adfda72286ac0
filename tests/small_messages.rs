//! What the path of small messages promises: in the steady state nothing is allocated, and over shared memory no
//! system call is made.

use mayfly::base::config::Config;
use mayfly::base::constant::{handle, ANY_SOURCE, ANY_TAG, THREAD_SINGLE};
use mayfly::base::id::PeerId;
use mayfly::engine::{Data, End, Engine, Pattern, Started};
use mayfly::mpi::request::Completion;
use mayfly::runtime::calls;
use mayfly::runtime::process::runtime;
use mayfly::transport::{Links, Options};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with a count for each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.with(|n| n.set(n.get() + 1));
}

// SAFETY: all is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is the callee's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations of `rounds` rounds after as many for warming up.
fn allocations(rounds: usize, mut round: impl FnMut(usize)) -> usize {
    (0..rounds).for_each(&mut round);
    let before = ALLOCATIONS.with(Cell::get);
    (0..rounds).for_each(&mut round);
    ALLOCATIONS.with(Cell::get) - before
}

/// Two ranks in this process, over shared memory.
fn pair() -> [Engine; 2] {
    let config = Config::from_lookup(|name| (name == "MAYFLY_TRANSPORT").then(|| "shm".into()));
    let open = |me: u32| {
        let options = Options {
            me: PeerId(me),
            size: 2,
            job: [1; 16],
            token: [2; 32],
            config: &config,
            fences: mayfly::transport::shm::fence::register(),
            outside: mayfly::transport::Outside::default(),
        };
        Links::open(options).expect("shared memory is to be had")
    };
    let mut links = [open(0), open(1)];
    let addresses: Vec<Vec<u8>> = links.iter().map(Links::address).collect();
    for link in &mut links {
        link.introduce(addresses.clone()).expect("both are here");
    }
    let mut me = 0;
    links.map(|link| {
        me += 1;
        Engine::new(link, PeerId(me - 1), 2, 0)
    })
}

/// How a round's message is sent and received.
#[derive(Clone, Copy, Debug)]
struct Manner {
    posted_first: bool,
    wild: bool,
    synchronous: bool,
    /// With a request, as MPI_Isend does.
    tracked: bool,
}

fn manners() -> impl Iterator<Item = Manner> {
    (0..16).map(|bits| Manner {
        posted_first: bits & 1 != 0,
        wild: bits & 2 != 0,
        synchronous: bits & 4 != 0,
        tracked: bits & 8 != 0,
    })
}

fn data(bytes: &mut [u8]) -> Data {
    Data::dense(bytes.as_mut_ptr(), bytes.len())
}

/// One message of `bytes` from the first to the second, received and completed.
fn exchange(engines: &mut [Engine; 2], manner: Manner, bytes: &mut [u8], room: &mut [u8]) {
    let [sender, receiver] = engines;
    let pattern = Pattern {
        source: (!manner.wild).then_some(0),
        tag: (!manner.wild).then_some(5),
    };
    let from = (!manner.wild).then_some(PeerId(0));
    let mut received = None;
    if manner.posted_first {
        received = Some(receiver.receive(data(room), 8, pattern, from));
    }
    let sent = sender.send(
        data(bytes),
        PeerId(1),
        8,
        0,
        5,
        manner.synchronous,
        manner.tracked,
    );
    receiver.progress();
    let received = received.unwrap_or_else(|| receiver.receive(data(room), 8, pattern, from));
    for (engine, started) in [(receiver, received), (sender, sent)] {
        let outcome = match started {
            Started::Done(outcome) => outcome,
            Started::Pending(ticket) => loop {
                if let Some(outcome) = engine.test(ticket) {
                    break outcome;
                }
                engine.progress();
            },
        };
        assert!(outcome.end == End::Fine && outcome.bytes == 64);
    }
}

#[test]
fn nothing_is_allocated_between_two_ranks() {
    for manner in manners() {
        let mut engines = pair();
        let (mut bytes, mut room) = ([1u8; 64], [0u8; 64]);
        // More than the window of unexpected bytes, so that credit comes and goes.
        let counted = allocations(20_000, |_| {
            exchange(&mut engines, manner, &mut bytes, &mut room)
        });
        assert_eq!(counted, 0, "{manner:?}");
    }
}

/// A child that may do nothing but read, write and exit (seccomp's strict mode) exchanges messages.
#[test]
fn no_system_call_is_made() {
    const FORBIDDEN: i32 = 77;
    let mut engines = pair();
    let (mut bytes, mut room) = ([1u8; 64], [0u8; 64]);
    let mut all = |engines: &mut [Engine; 2]| {
        for manner in manners() {
            (0..2_000).for_each(|_| exchange(engines, manner, &mut bytes, &mut room));
        }
    };
    all(&mut engines);
    // SAFETY: the child touches nothing that another thread of the parent could have left half done: it allocates
    // nothing, and leaves by the bare system call.
    let status = unsafe {
        let child = libc::fork();
        assert!(child >= 0, "fork works");
        if child == 0 {
            let strict = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT);
            if strict == 0 {
                all(&mut engines);
            }
            let code = if strict == 0 { 0 } else { FORBIDDEN };
            libc::syscall(libc::SYS_exit, code);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        status
    };
    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == FORBIDDEN {
        eprintln!("seccomp is not allowed here: not tested");
        return;
    }
    assert!(
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
        "a system call was made: wait status {status:#x}"
    );
}

#[test]
fn nothing_is_allocated_by_the_calls() {
    let rt = runtime();
    rt.init(THREAD_SINGLE).expect("a process alone can start");
    let (mut out, mut into) = ([7u8; 64], [0u8; 64]);
    let (from, to) = (out.as_mut_ptr(), into.as_mut_ptr());
    let comm = handle::COMM_WORLD;
    let counted = allocations(5_000, |round| {
        let (source, tag) = if round % 2 == 0 {
            (0, 3)
        } else {
            (ANY_SOURCE, ANY_TAG)
        };
        let receive = calls::irecv(rt, to, 64, handle::BYTE, source, tag, comm).unwrap();
        let send = calls::isend(rt, from, 64, handle::BYTE, 0, 3, comm).unwrap();
        let first = calls::wait(rt, send).unwrap();
        let second = calls::wait(rt, receive).unwrap();
        assert!(first.error.is_none() && second.error.is_none());
        assert_eq!((second.status.source, second.status.bytes), (0, 64));
        calls::send(rt, from, 64, handle::BYTE, 0, 3, comm).unwrap();
        calls::probe(rt, 0, tag, comm).unwrap();
        assert_eq!(
            calls::recv(rt, to, 64, handle::BYTE, source, tag, comm)
                .unwrap()
                .tag,
            3
        );
    });
    assert_eq!(counted, 0);
    let receive = calls::recv_init(rt, to, 64, handle::BYTE, 0, 3, comm).unwrap();
    let send = calls::send_init(rt, from, 64, handle::BYTE, 0, 3, comm).unwrap();
    let counted = allocations(5_000, |_| {
        let both = [receive, send];
        calls::startall(rt, both.as_slice()).unwrap();
        let mut each = |_, end: Completion| assert!(end.error.is_none() && end.keep);
        calls::waitall(rt, both.as_slice(), &mut each).unwrap();
    });
    assert_eq!(counted, 0);
    rt.finalize().expect("nothing is under way");
}
