//! Requests of a rank in a simulated job.

use super::*;
use crate::base::constant::ANY_SOURCE;
use crate::engine::Engine;
use crate::mpi::attribute::Attributes;
use crate::mpi::boards::Showing;
use crate::mpi::comm::Comm;
use crate::mpi::group::Group;
use crate::mpi::info::Info;
use crate::mpi::pt2pt::ReceiveArgs;
use crate::transport::sim::{Settings, Sim};
use crate::transport::Links;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rank 0 of three, with MPI_COMM_WORLD and MPI_COMM_SELF.
fn world() -> (World, Sim) {
    let (sim, links) = Links::simulated(Settings::calm(3));
    let mut w = World::new();
    let link = links.into_iter().next().expect("three");
    w.engine = Some(Engine::new(link, PeerId(0), 3, 0));
    let mut add = |id, context, members: Vec<PeerId>| {
        let comm = Comm {
            context,
            group: Group::new(members, PeerId(0)),
            remote: None,
            rank: 0,
            local: None,
            local_context: context,
            collectives: 0,
            boards: Showing::default(),
            nodes: None,
            attributes: Attributes::default(),
            topology: None,
            name: String::new(),
            errhandler: handle::ERRORS_RETURN,
            info: Info::default(),
        };
        w.comms.table.set(id, Box::new(comm));
    };
    add(handle::COMM_WORLD, 8, (0..3).map(PeerId).collect());
    add(handle::COMM_SELF, 16, vec![PeerId(0)]);
    (w, sim)
}

fn receive(w: &mut World, comm: CommId, source: i32) -> RequestId {
    let begun = w.receive_start(&ReceiveArgs {
        buffer: std::ptr::null_mut(),
        count: 0,
        datatype: handle::BYTE,
        source,
        tag: 0,
        comm,
    });
    w.request_for(begun.expect("the arguments are right"), comm, false)
}

fn class(w: &mut World, id: RequestId) -> Option<Class> {
    match w.take_request(id).expect("it exists") {
        Taken::Completion(completion) => completion.error.map(|e| e.class),
        Taken::Query(_) => panic!("not a generalized one"),
    }
}

#[test]
fn a_loss_ends_what_it_makes_hopeless_and_nothing_else() {
    let (mut w, sim) = world();
    let living = receive(&mut w, handle::COMM_WORLD, 1);
    let dead = receive(&mut w, handle::COMM_WORLD, 2);
    let any = receive(&mut w, handle::COMM_WORLD, ANY_SOURCE);
    let own = receive(&mut w, handle::COMM_SELF, ANY_SOURCE);
    let all = [living, dead, any, own];
    w.progress();
    assert!(!w.any_lost(all.iter().copied()));
    sim.kill(PeerId(2));
    while !w.request_state(dead).expect("it exists").0 {
        w.progress();
    }
    let over = all.map(|id| w.request_state(id).expect("it exists").0);
    assert_eq!(over, [false, true, true, false]);
    assert!(w.any_lost(all.iter().copied()) && !w.any_lost([living, own].into_iter()));
    assert_eq!(class(&mut w, dead), Some(Class::ProcAborted));
    assert_eq!(class(&mut w, any), Some(Class::ProcAborted));
    let late = receive(&mut w, handle::COMM_WORLD, ANY_SOURCE);
    assert_eq!(class(&mut w, late), Some(Class::ProcAborted));
    let late = receive(&mut w, handle::COMM_SELF, ANY_SOURCE);
    assert!(!w.request_state(late).expect("it exists").0);
    // Looking for messages ends likewise.
    assert!(w.look(8, any_pattern(), None).is_some_and(|r| r.is_err()));
    assert!(w.look(16, any_pattern(), None).is_none());
}

fn any_pattern() -> Pattern {
    Pattern {
        source: None,
        tag: None,
    }
}

fn generalized(freed: &Arc<AtomicUsize>) -> Request {
    let freed = freed.clone();
    Request::Generalized(Box::new(Generalized {
        query: Arc::new(|_| Ok(())),
        free: Arc::new(move || {
            freed.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }),
        cancel: Arc::new(|_| Ok(())),
        complete: false,
        freed: false,
    }))
}

/// Whichever of MPI_Request_free and MPI_Grequest_complete comes last hands out the free function, once.
#[test]
fn a_generalized_request_is_freed_when_both_are_done_with_it() {
    let (mut w, _sim) = world();
    let freed = Arc::new(AtomicUsize::new(0));
    let id = w.requests.table.insert(generalized(&freed));
    assert!(w.free_request(id).expect("it exists").is_none());
    let parts = w.complete_generalized(id).expect("it still exists");
    assert!(parts.is_some_and(|p| (p.free)().is_ok()));
    assert!(w.complete_generalized(id).is_err());
    let id = w.requests.table.insert(generalized(&freed));
    assert!(w.complete_generalized(id).expect("it exists").is_none());
    let parts = w.free_request(id).expect("it exists");
    assert!(parts.is_some_and(|p| (p.free)().is_ok()));
    assert!(w.free_request(id).is_err());
    assert_eq!(freed.load(Ordering::Relaxed), 2);
}
