//! Attributes, error handlers, groups, info, operations and topologies through the calls, in a job of one process:
//! above all that user code runs with the gate free and sees what the standard says it sees.

use mayfly::base::constant::{
    handle, CART, COMM_TYPE_SHARED, DIST_GRAPH, IDENT, PROC_NULL, THREAD_SINGLE, UNDEFINED,
};
use mayfly::base::error::{Class, Error, Object};
use mayfly::base::id::KeyvalId;
use mayfly::mpi::attribute::{Copy, Delete};
use mayfly::runtime::calls::{self, AttributeValue};
use mayfly::runtime::process::runtime;
use mayfly::runtime::{upcall, Runtime};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// One function, as MPI is initialized once and by one thread.
#[test]
fn a_job_of_one() {
    let rt = runtime();
    info(rt, "before MPI_Init");
    rt.init(THREAD_SINGLE).expect("a process alone can start");
    groups(rt);
    info(rt, "after MPI_Init");
    predefined_attributes(rt);
    copies_and_deletions(rt);
    failing_functions(rt);
    freed_keys(rt);
    type_attributes(rt);
    error_handlers(rt);
    error_codes(rt);
    operations(rt);
    grids(rt);
    graphs(rt);
    let order = attributes_of_self(rt);
    rt.finalize().expect("nothing is under way");
    assert_eq!(
        *order.lock().unwrap(),
        [3, 2, 1],
        "the last set is deleted first"
    );
    info(rt, "after MPI_Finalize");
}

fn groups(rt: &Runtime) {
    let world = calls::comm_group(rt, handle::COMM_WORLD).unwrap();
    assert_eq!(calls::group_size(rt, world).unwrap(), 1);
    assert_eq!(calls::group_rank(rt, world).unwrap(), 0);
    let none = calls::group_range_excl(rt, world, &[[0, 0, 1]]).unwrap();
    assert_eq!(none, handle::GROUP_EMPTY);
    assert_eq!(calls::group_rank(rt, none).unwrap(), UNDEFINED);
    let both = calls::group_union(rt, none, world).unwrap();
    assert_eq!(calls::group_compare(rt, both, world).unwrap(), IDENT);
    assert_eq!(
        calls::group_translate_ranks(rt, world, &[0, PROC_NULL], none).unwrap(),
        [UNDEFINED, PROC_NULL]
    );
    assert_eq!(
        calls::comm_remote_group(rt, handle::COMM_WORLD)
            .unwrap_err()
            .class,
        Class::Comm
    );
    for group in [world, none, both] {
        calls::group_free(rt, group).unwrap();
    }
}

fn info(rt: &Runtime, when: &str) {
    let info = calls::info_create(rt).expect(when);
    calls::info_set(rt, info, "soft", "2:1000:4").unwrap();
    assert_eq!(
        calls::info_get(rt, info, "soft", 3).unwrap().as_deref(),
        Some("2:1"),
        "{when}"
    );
    assert_eq!(
        calls::info_get_string(rt, info, "soft", 0).unwrap(),
        Some((9, String::new()))
    );
    assert_eq!(
        calls::info_get_string(rt, info, "soft", 2).unwrap(),
        Some((9, "2".into()))
    );
    assert_eq!(calls::info_get_string(rt, info, "hard", 2).unwrap(), None);
    assert_eq!(calls::info_get_valuelen(rt, info, "soft").unwrap(), Some(8));
    assert_eq!(calls::info_get_nthkey(rt, info, 0).unwrap(), "soft");
    assert_eq!(
        calls::info_get_nthkey(rt, info, 1).unwrap_err().class,
        Class::Arg
    );
    assert_eq!(
        calls::info_delete(rt, info, "hard").unwrap_err().class,
        Class::InfoNokey
    );
    let copy = calls::info_dup(rt, info).unwrap();
    calls::info_delete(rt, info, "soft").unwrap();
    assert_eq!(calls::info_get_nkeys(rt, info).unwrap(), 0);
    assert_eq!(calls::info_get_nkeys(rt, copy).unwrap(), 1);
    let environment = calls::info_create_env(rt).unwrap();
    assert!(calls::info_get(rt, environment, "command", 1000)
        .unwrap()
        .is_some());
    assert!(calls::info_get(rt, handle::INFO_ENV, "command", 1000)
        .unwrap()
        .is_some());
    for info in [info, copy, environment] {
        calls::info_free(rt, info).unwrap();
    }
}

fn predefined_attributes(rt: &Runtime) {
    let get = |key| calls::comm_get_attr(rt, handle::COMM_WORLD, key).unwrap();
    assert_eq!(
        get(handle::TAG_UB),
        Some(AttributeValue::Int(i32::MAX, handle::TAG_UB))
    );
    assert_eq!(
        get(handle::HOST),
        Some(AttributeValue::Int(PROC_NULL, handle::HOST))
    );
    assert_eq!(
        get(handle::UNIVERSE_SIZE),
        Some(AttributeValue::Int(1, handle::UNIVERSE_SIZE))
    );
    assert_eq!(
        get(handle::LASTUSEDCODE),
        Some(AttributeValue::Int(0x3fff, handle::LASTUSEDCODE))
    );
    let set = calls::comm_set_attr(rt, handle::COMM_WORLD, handle::TAG_UB, 5);
    assert_eq!(set.unwrap_err().class, Class::Keyval);
    let delete = calls::comm_delete_attr(rt, handle::COMM_WORLD, handle::TAG_UB);
    assert_eq!(delete.unwrap_err().class, Class::Keyval);
    let unknown = calls::comm_get_attr(rt, handle::COMM_WORLD, KeyvalId(0x999));
    assert_eq!(unknown.unwrap_err().class, Class::Keyval);
}

/// A key whose copies are one more than the original and whose deletions are counted.
fn counting(rt: &'static Runtime, deleted: &Arc<AtomicUsize>) -> KeyvalId {
    let deleted = deleted.clone();
    let copy = Copy::User(Arc::new(|_, _, value| Ok(Some(value + 1))));
    let delete = Delete::User(Arc::new(move |comm, key, value| {
        // The object is still whole, and calls are allowed.
        let comm = mayfly::base::id::CommId(comm);
        let seen = calls::comm_get_attr(runtime(), comm, key).map_err(|e| e.class as i32)?;
        assert_eq!(seen, Some(AttributeValue::User(value)));
        deleted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }));
    calls::comm_create_keyval(rt, copy, delete).unwrap()
}

fn copies_and_deletions(rt: &'static Runtime) {
    let deleted = Arc::new(AtomicUsize::new(0));
    let key = counting(rt, &deleted);
    let stays = calls::comm_create_keyval(rt, Copy::Null, Delete::Null).unwrap();
    let comm = calls::comm_dup(rt, handle::COMM_WORLD).unwrap();
    calls::comm_set_attr(rt, comm, key, 5).unwrap();
    calls::comm_set_attr(rt, comm, stays, 6).unwrap();
    let copy = calls::comm_dup(rt, comm).unwrap();
    assert_eq!(
        calls::comm_get_attr(rt, copy, key).unwrap(),
        Some(AttributeValue::User(6))
    );
    assert_eq!(calls::comm_get_attr(rt, copy, stays).unwrap(), None);
    calls::comm_set_attr(rt, copy, key, 7).unwrap();
    assert_eq!(
        deleted.load(Ordering::Relaxed),
        1,
        "a replaced value is deleted"
    );
    calls::comm_delete_attr(rt, copy, key).unwrap();
    calls::comm_free(rt, copy).unwrap();
    calls::comm_free(rt, comm).unwrap();
    assert_eq!(deleted.load(Ordering::Relaxed), 3);
    calls::comm_free_keyval(rt, key).unwrap();
    calls::comm_free_keyval(rt, stays).unwrap();
    assert_eq!(
        calls::comm_free_keyval(rt, key).unwrap_err().class,
        Class::Keyval
    );
}

fn failing_functions(rt: &Runtime) {
    let permit = Arc::new(AtomicUsize::new(0));
    let may = permit.clone();
    let copy = Copy::User(Arc::new(|_, _, _| Err(17)));
    let delete = Delete::User(Arc::new(move |_, _, _| {
        if may.load(Ordering::Relaxed) == 1 {
            Ok(())
        } else {
            Err(23)
        }
    }));
    let key = calls::comm_create_keyval(rt, copy, delete).unwrap();
    let comm = calls::comm_dup(rt, handle::COMM_SELF).unwrap();
    calls::comm_set_attr(rt, comm, key, 1).unwrap();
    assert_eq!(calls::comm_dup(rt, comm).unwrap_err().user_code, Some(17));
    assert_eq!(
        calls::comm_set_attr(rt, comm, key, 2)
            .unwrap_err()
            .user_code,
        Some(23)
    );
    assert_eq!(
        calls::comm_delete_attr(rt, comm, key)
            .unwrap_err()
            .user_code,
        Some(23)
    );
    assert_eq!(calls::comm_free(rt, comm).unwrap_err().user_code, Some(23));
    assert_eq!(
        calls::comm_get_attr(rt, comm, key).unwrap(),
        Some(AttributeValue::User(1)),
        "nothing changed"
    );
    permit.store(1, Ordering::Relaxed);
    calls::comm_free(rt, comm).unwrap();
    calls::comm_free_keyval(rt, key).unwrap();
}

fn freed_keys(rt: &'static Runtime) {
    let deleted = Arc::new(AtomicUsize::new(0));
    let key = counting(rt, &deleted);
    let comm = calls::comm_dup(rt, handle::COMM_SELF).unwrap();
    calls::comm_set_attr(rt, comm, key, 1).unwrap();
    calls::comm_free_keyval(rt, key).unwrap();
    let others: Vec<_> = (0..8)
        .map(|_| calls::comm_create_keyval(rt, Copy::Dup, Delete::Null).unwrap())
        .collect();
    assert!(
        !others.contains(&key),
        "a number in use is not given out again"
    );
    let copy = calls::comm_dup(rt, comm).unwrap();
    assert_eq!(
        calls::comm_get_attr(rt, copy, key).unwrap(),
        Some(AttributeValue::User(2))
    );
    calls::comm_free(rt, copy).unwrap();
    calls::comm_delete_attr(rt, comm, key).unwrap();
    assert_eq!(deleted.load(Ordering::Relaxed), 2);
    assert_eq!(
        calls::comm_get_attr(rt, comm, key).unwrap_err().class,
        Class::Keyval,
        "gone with its last use"
    );
    calls::comm_free(rt, comm).unwrap();
    for key in others {
        calls::comm_free_keyval(rt, key).unwrap();
    }
}

fn type_attributes(rt: &Runtime) {
    let key = calls::type_create_keyval(rt, Copy::Dup, Delete::Null).unwrap();
    let ty = calls::type_contiguous(rt, 2, handle::INT).unwrap();
    calls::type_set_attr(rt, ty, key, 9).unwrap();
    let copy = calls::type_dup(rt, ty).unwrap();
    assert_eq!(
        calls::type_get_attr(rt, copy, key).unwrap(),
        Some(AttributeValue::User(9))
    );
    assert_eq!(
        calls::comm_set_attr(rt, handle::COMM_SELF, key, 9)
            .unwrap_err()
            .class,
        Class::Keyval
    );
    calls::type_free(rt, ty).unwrap();
    calls::type_free(rt, copy).unwrap();
    calls::type_free_keyval(rt, key).unwrap();
}

fn error_handlers(rt: &Runtime) {
    let calls_seen = Arc::new(Mutex::new(Vec::new()));
    let seen = calls_seen.clone();
    let comm = calls::comm_dup(rt, handle::COMM_WORLD).unwrap();
    let handler = calls::comm_create_errhandler(
        rt,
        Arc::new(move |comm, code| seen.lock().unwrap().push((comm, code))),
    );
    let handler = handler.unwrap();
    calls::comm_set_errhandler(rt, comm, handler).unwrap();
    calls::errhandler_free(rt, handler).unwrap();
    let copy = calls::comm_dup(rt, comm).unwrap();
    calls::comm_call_errhandler(rt, copy, 15).unwrap();
    let own = calls::comm_get_errhandler(rt, comm).unwrap();
    assert_eq!(own, handler);
    calls::errhandler_free(rt, own).unwrap();
    calls::comm_free(rt, comm).unwrap();
    let error = Error::new(Class::Rank, "rank 9 is not there");
    let back = upcall::raise(rt, Object::Comm(copy), "MPI_Send", error.clone(), 6);
    assert_eq!(back, error);
    assert_eq!(*calls_seen.lock().unwrap(), [(copy.0, 15), (copy.0, 6)]);
    calls::comm_free(rt, copy).unwrap();
    let gone = calls::comm_set_errhandler(rt, handle::COMM_SELF, handler);
    assert_eq!(
        gone.unwrap_err().class,
        Class::Errhandler,
        "the last communicator took it along"
    );
    // An error of no object goes to MPI_COMM_SELF, or to MPI_COMM_WORLD while only that one's handler was set.
    calls::comm_set_errhandler(rt, handle::COMM_WORLD, handle::ERRORS_RETURN).unwrap();
    let error = Error::new(Class::Type, "no such type");
    assert_eq!(
        upcall::raise(rt, Object::None, "MPI_Type_commit", error.clone(), 3),
        error
    );
    let lost = upcall::raise(
        rt,
        Object::Comm(handle::COMM_NULL),
        "MPI_Comm_size",
        error.clone(),
        3,
    );
    assert_eq!(lost, error);
    calls::comm_set_errhandler(rt, handle::COMM_WORLD, handle::ERRORS_ARE_FATAL).unwrap();
}

fn error_codes(rt: &Runtime) {
    let class = calls::add_error_class(rt).unwrap();
    let code = calls::add_error_code(rt, class).unwrap();
    calls::add_error_string(rt, code, "too hot").unwrap();
    assert_eq!(calls::error_class(rt, code).unwrap(), class);
    assert_eq!(calls::error_string(rt, code).unwrap(), "too hot");
    assert_eq!(calls::error_string(rt, class).unwrap(), "");
    assert!(calls::error_string(rt, Class::Rank as i32)
        .unwrap()
        .contains("rank"));
    let last = calls::comm_get_attr(rt, handle::COMM_WORLD, handle::LASTUSEDCODE).unwrap();
    assert_eq!(last, Some(AttributeValue::Int(code, handle::LASTUSEDCODE)));
    calls::remove_error_string(rt, code).unwrap();
    calls::remove_error_code(rt, code).unwrap();
    calls::remove_error_class(rt, class).unwrap();
    assert_eq!(calls::error_class(rt, code).unwrap_err().class, Class::Arg);
}

fn operations(rt: &Runtime) {
    let (mut a, mut b) = ([1i32, 2], [10i32, 20]);
    let (input, inout) = (a.as_mut_ptr().cast(), b.as_mut_ptr().cast());
    calls::reduce_local(rt, input, inout, 2, handle::INT, handle::SUM).unwrap();
    assert_eq!(b, [11, 22]);
    let aliased = calls::reduce_local(rt, inout, inout, 2, handle::INT, handle::SUM);
    assert_eq!(aliased.unwrap_err().class, Class::Buffer);
    let pair = calls::type_contiguous(rt, 2, handle::INT).unwrap();
    calls::type_commit(rt, pair).unwrap();
    let derived = calls::reduce_local(rt, input, inout, 1, pair, handle::SUM);
    assert_eq!(derived.unwrap_err().class, Class::Op);
    let function = move |_: *const u8, _: *mut u8, count: i64, ty| {
        // A user's function may call MPI.
        assert_eq!((count, calls::type_size(runtime(), ty).unwrap()), (1, 8));
    };
    let op = calls::op_create(rt, Arc::new(function), false).unwrap();
    assert!(!calls::op_commutative(rt, op).unwrap());
    calls::reduce_local(rt, input, inout, 1, pair, op).unwrap();
    calls::op_free(rt, op).unwrap();
    assert_eq!(
        calls::op_free(rt, handle::SUM).unwrap_err().class,
        Class::Op
    );
    calls::type_free(rt, pair).unwrap();
}

fn grids(rt: &Runtime) {
    assert_eq!(calls::topo_test(rt, handle::COMM_WORLD).unwrap(), UNDEFINED);
    let grid = calls::cart_create(rt, handle::COMM_WORLD, &[1, 1], &[true, false], true).unwrap();
    assert_eq!(calls::topo_test(rt, grid).unwrap(), CART);
    assert_eq!(calls::cartdim_get(rt, grid).unwrap(), 2);
    assert_eq!(
        calls::cart_get(rt, grid, 2).unwrap(),
        (vec![1, 1], vec![true, false], vec![0, 0])
    );
    assert_eq!(calls::cart_shift(rt, grid, 0, 1).unwrap(), (0, 0));
    assert_eq!(
        calls::cart_shift(rt, grid, 1, 1).unwrap(),
        (PROC_NULL, PROC_NULL)
    );
    assert_eq!(calls::cart_rank(rt, grid, &[-7, 0]).unwrap(), 0);
    assert_eq!(calls::cart_coords(rt, grid, 0, 1).unwrap(), [0]);
    assert_eq!(
        calls::cart_coords(rt, grid, 1, 2).unwrap_err().class,
        Class::Rank
    );
    let line = calls::cart_sub(rt, grid, &[true, false]).unwrap();
    assert_eq!(
        calls::cart_get(rt, line, 9).unwrap(),
        (vec![1], vec![true], vec![0])
    );
    let copy = calls::comm_dup(rt, line).unwrap();
    assert_eq!(calls::cartdim_get(rt, copy).unwrap(), 1);
    let point = calls::cart_sub(rt, line, &[false]).unwrap();
    assert_eq!(calls::cartdim_get(rt, point).unwrap(), 0);
    let too_large = calls::cart_create(rt, handle::COMM_WORLD, &[2], &[false], false);
    assert_eq!(too_large.unwrap_err().class, Class::Dims);
    assert_eq!(
        calls::graphdims_get(rt, grid).unwrap_err().class,
        Class::Topology
    );
    assert_eq!(
        calls::cart_map(rt, handle::COMM_WORLD, &[1], &[false]).unwrap(),
        0
    );
    assert_eq!(calls::dims_create(rt, 12, &[0, 0]).unwrap(), [4, 3]);
    let host = calls::comm_split_type(rt, grid, COMM_TYPE_SHARED, 0, handle::INFO_NULL).unwrap();
    assert_eq!(calls::topo_test(rt, host).unwrap(), UNDEFINED);
    for comm in [grid, line, copy, point, host] {
        calls::comm_free(rt, comm).unwrap();
    }
}

fn graphs(rt: &Runtime) {
    let graph = calls::graph_create(rt, handle::COMM_WORLD, &[2], &[0, 0], false).unwrap();
    assert_eq!(calls::graphdims_get(rt, graph).unwrap(), (1, 2));
    assert_eq!(calls::graph_neighbors_count(rt, graph, 0).unwrap(), 2);
    assert_eq!(calls::graph_neighbors(rt, graph, 0, 1).unwrap(), [0]);
    let weights: &[i32] = &[5, 6];
    let all = calls::dist_graph_create(
        rt,
        handle::COMM_WORLD,
        &[0],
        &[2],
        &[0, 0],
        Some(weights),
        handle::INFO_NULL,
        false,
    );
    let all = all.unwrap();
    assert_eq!(calls::topo_test(rt, all).unwrap(), DIST_GRAPH);
    assert_eq!(
        calls::dist_graph_neighbors_count(rt, all).unwrap(),
        (2, 2, true)
    );
    let found = calls::dist_graph_neighbors(rt, all, 2, 1).unwrap();
    assert_eq!(found, (vec![0, 0], vec![5, 6], vec![0], vec![5]));
    let own = calls::dist_graph_create_adjacent(
        rt,
        handle::COMM_WORLD,
        &[0],
        None,
        &[],
        None,
        handle::INFO_NULL,
        true,
    );
    let own = own.unwrap();
    assert_eq!(
        calls::dist_graph_neighbors_count(rt, own).unwrap(),
        (1, 0, false)
    );
    for comm in [graph, all, own] {
        calls::comm_free(rt, comm).unwrap();
    }
}

/// Sets three attributes on MPI_COMM_SELF; what MPI_Finalize deletes is noted.
fn attributes_of_self(rt: &Runtime) -> Arc<Mutex<Vec<usize>>> {
    let order = Arc::new(Mutex::new(Vec::new()));
    for value in [1, 2, 3] {
        let noted = order.clone();
        let delete = Delete::User(Arc::new(move |_, key, value| {
            // MPI still works here, and a key that is freed again while in use is no error.
            assert_eq!(calls::comm_size(runtime(), handle::COMM_WORLD).unwrap(), 1);
            calls::comm_free_keyval(runtime(), key).unwrap();
            noted.lock().unwrap().push(value);
            Ok(())
        }));
        let key = calls::comm_create_keyval(rt, Copy::Null, delete).unwrap();
        calls::comm_set_attr(rt, handle::COMM_SELF, key, value).unwrap();
        calls::comm_free_keyval(rt, key).unwrap();
    }
    order
}
