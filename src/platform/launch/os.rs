//! System calls for which std has no words.

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// A pipe, closed on exec: reading end, writing end.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: pipe2 fills the two numbers; on success both are open and ours alone.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// A descriptor number of at least 10 that stays taken, so that a child can put something there without hitting anything.
pub fn reserve() -> io::Result<OwnedFd> {
    let null = File::open("/dev/null")?;
    // SAFETY: fcntl duplicates an open descriptor; the new one is ours alone.
    unsafe {
        let fd = check(libc::fcntl(null.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 10))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// A descriptor from which nothing can be read.
pub fn nothing() -> io::Result<OwnedFd> {
    Ok(File::open("/dev/null")?.into())
}

/// Reads on this descriptor no longer wait.
pub fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: fcntl takes and gives numbers only.
    unsafe {
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
    }
    Ok(())
}

/// Waits until one of the descriptors can be read (or written, where asked for), at most `timeout` milliseconds; negative: for ever.
pub fn poll(set: &mut [libc::pollfd], timeout: c_int) -> io::Result<()> {
    loop {
        // SAFETY: pointer and length are those of a live slice.
        match check(unsafe { libc::poll(set.as_mut_ptr(), set.len() as libc::nfds_t, timeout) }) {
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

pub fn wants_read(fd: RawFd) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

/// Writes everything to a descriptor that may be in non-blocking mode.
pub fn write_all(fd: RawFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        // SAFETY: pointer and length are those of a live slice.
        let n = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        if n >= 0 {
            bytes = &bytes[n as usize..];
            continue;
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => poll(
                &mut [libc::pollfd {
                    fd,
                    events: libc::POLLOUT,
                    revents: 0,
                }],
                -1,
            )?,
            _ => return Err(error),
        }
    }
    Ok(())
}

/// Raises the number of descriptors that we may open as far as we may; gives what it was.
pub fn raise_descriptors() -> libc::rlimit {
    let mut limit = libc::rlimit {
        rlim_cur: 1024,
        rlim_max: 1024,
    };
    // SAFETY: getrlimit fills the struct and setrlimit reads it.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            let raised = libc::rlimit {
                rlim_cur: limit.rlim_max,
                ..limit
            };
            libc::setrlimit(libc::RLIMIT_NOFILE, &raised);
        }
    }
    limit
}

/// Orphans below us become our children.
pub fn adopt_orphans() {
    // SAFETY: prctl with numbers only; where it fails, orphans go to init, as ever.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Signals a process, or with a negative number a group; whether it still exists is not our question.
pub fn kill(target: i32, signal: c_int) {
    // SAFETY: kill takes numbers only.
    unsafe { libc::kill(target, signal) };
}

/// Has this process group any member left?
pub fn group_exists(group: i32) -> bool {
    // SAFETY: kill takes numbers only; signal 0 does nothing.
    unsafe { libc::kill(-group, 0) == 0 }
}

/// A child that ended.
pub struct Ended {
    pub pid: i32,
    /// As wait(2) gives it.
    pub wait: c_int,
    /// The most memory that it had at a time, KiB.
    pub peak_kib: u64,
}

/// A child that has ended; `None` when none has.
pub fn reap() -> Option<Ended> {
    let mut wait = 0;
    // SAFETY: wait4 fills the status and the usage, which is plain data.
    let (pid, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(-1, &mut wait, libc::WNOHANG, &mut usage), usage)
    };
    (pid > 0).then_some(Ended {
        pid,
        wait,
        peak_kib: usage.ru_maxrss.try_into().unwrap_or(0),
    })
}

/// Kills and reaps every child of ours but `keep`: those that left their group have come to us, as we adopt orphans, and
/// each may have children of its own.
pub fn end_children(keep: i32) {
    for _ in 0..100 {
        while reap().is_some() {}
        let left: Vec<i32> = own_children()
            .into_iter()
            .filter(|&pid| pid != keep)
            .collect();
        if left.is_empty() {
            return;
        }
        for pid in left {
            kill(pid, libc::SIGKILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Processes whose parent we are.
fn own_children() -> Vec<i32> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Waits until this child has ended; returns at once when it is no child of ours.
pub fn wait(pid: i32) {
    // SAFETY: waitpid with a null status only waits.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// The signals that we take care of ourselves.
const OURS: [c_int; 5] = [
    libc::SIGCHLD,
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
];

fn our_set() -> libc::sigset_t {
    // SAFETY: the set is plain data that sigemptyset initialises; sigaction only reports here.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in OURS {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &mut action);
            // nohup's SIGHUP, a background job's SIGINT: ignored stays ignored.
            if action.sa_sigaction != libc::SIG_IGN || signal == libc::SIGCHLD {
                libc::sigaddset(&mut set, signal);
            }
        }
        set
    }
}

/// From now on these signals wait for [`next_signal`], in this thread and in those that it starts.
pub fn hold_signals() {
    let set = our_set();
    // SAFETY: both calls read plain data; SIGCHLD must not be ignored, or children would vanish unseen.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        // Reading a terminal from the background shall fail rather than stop us.
        libc::signal(libc::SIGTTIN, libc::SIG_IGN);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

/// Waits for one of the signals held.
pub fn next_signal() -> c_int {
    let set = our_set();
    loop {
        let mut signal = 0;
        // SAFETY: sigwait reads the set and fills the number.
        if unsafe { libc::sigwait(&set, &mut signal) } == 0 {
            return signal;
        }
    }
}

/// Forks: `true` in the child. Only while there is one thread.
pub fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the caller says that there is one thread, so that the child may do whatever it likes.
    match check(unsafe { libc::fork() })? {
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// Leaves the terminal and the caller's process group.
pub fn new_session() {
    // SAFETY: setsid takes nothing.
    unsafe { libc::setsid() };
}

/// Ignores everything that can be ignored.
pub fn ignore_signals() {
    for signal in [
        libc::SIGINT,
        libc::SIGTERM,
        libc::SIGHUP,
        libc::SIGQUIT,
        libc::SIGPIPE,
        libc::SIGUSR1,
        libc::SIGUSR2,
    ] {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Closes every descriptor but this one.
pub fn close_all_but(keep: RawFd) {
    let close_range = |first: RawFd, last: u32| -> bool {
        // SAFETY: nothing in this (forked, single-threaded) process uses these descriptors any more.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
    };
    let below = keep == 0 || close_range(0, keep as u32 - 1);
    if !(below && close_range(keep + 1, u32::MAX)) {
        for fd in (0..4096).filter(|&fd| fd != keep) {
            crate::base::os::close(fd);
        }
    }
}

/// The name of a signal, or its number.
pub fn signal_name(signal: c_int) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_string()
}
