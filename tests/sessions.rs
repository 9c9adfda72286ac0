//! Sessions around and without the world model, in a job of one process.

use mayfly::base::constant::{handle, THREAD_MULTIPLE};
use mayfly::base::error::Class;
use mayfly::runtime::calls;
use mayfly::runtime::process::{runtime, State};

/// One function, as a process has one MPI.
#[test]
fn sessions_outlive_the_world() {
    let rt = runtime();
    let hints = calls::info_create(rt).unwrap();
    calls::info_set(rt, hints, "thread_level", "MPI_THREAD_MULTIPLE").unwrap();
    let first = calls::session_init(rt, hints, handle::ERRORS_RETURN).unwrap();
    assert!(
        !calls::initialized(rt).unwrap(),
        "a session is not MPI_Init"
    );
    let info = calls::session_get_info(rt, first).unwrap();
    let level = calls::info_get(rt, info, "thread_level", 100).unwrap();
    assert_eq!(level.as_deref(), Some("MPI_THREAD_MULTIPLE"));

    assert_eq!(
        calls::session_get_num_psets(rt, first, handle::INFO_NULL).unwrap(),
        2
    );
    let name = calls::session_get_nth_pset(rt, first, handle::INFO_NULL, 1).unwrap();
    assert_eq!(name, "mpi://SELF");
    let beyond = calls::session_get_nth_pset(rt, first, handle::INFO_NULL, 2);
    assert_eq!(beyond.unwrap_err().class, Class::Arg);
    let about = calls::session_get_pset_info(rt, first, "mpi://world").unwrap();
    assert_eq!(
        calls::info_get(rt, about, "mpi_size", 9)
            .unwrap()
            .as_deref(),
        Some("1")
    );
    let unknown = calls::group_from_session_pset(rt, first, "app://ocean");
    assert_eq!(unknown.unwrap_err().class, Class::Arg);

    let group = calls::group_from_session_pset(rt, first, "mpi://WORLD").unwrap();
    let comm = calls::comm_create_from_group(
        rt,
        group,
        "org.example",
        handle::INFO_NULL,
        handle::ERRORS_RETURN,
    );
    let comm = comm.unwrap();
    let handler = calls::comm_get_errhandler(rt, comm).unwrap();
    assert_eq!(handler, handle::ERRORS_RETURN);
    let none =
        calls::comm_create_from_group(rt, handle::GROUP_EMPTY, "", handle::INFO_NULL, handler);
    assert_eq!(none.unwrap(), handle::COMM_NULL);

    assert_eq!(
        calls::init_thread(rt, THREAD_MULTIPLE).unwrap(),
        THREAD_MULTIPLE
    );
    assert!(calls::initialized(rt).unwrap());
    calls::finalize(rt).unwrap();
    assert!(calls::finalized(rt).unwrap());
    assert_eq!(calls::finalize(rt).unwrap_err().class, Class::Other);
    calls::barrier(rt, comm).expect("the session's communicator outlives the world");

    let second = calls::session_init(rt, handle::INFO_NULL, handle::ERRORS_RETURN).unwrap();
    calls::comm_free(rt, comm).unwrap();
    calls::session_finalize(rt, first).unwrap();
    assert_eq!(
        calls::session_finalize(rt, first).unwrap_err().class,
        Class::Session
    );
    assert_eq!(rt.state(), State::Running);
    calls::session_finalize(rt, second).unwrap();
    assert_eq!(rt.state(), State::Finalized, "nobody needs MPI any more");
    let late = calls::session_init(rt, handle::INFO_NULL, handle::ERRORS_RETURN);
    assert_eq!(late.unwrap_err().class, Class::Other);
}
