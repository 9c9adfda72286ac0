//! A rank without MPI: it joins its job, meets the others, and then does what its arguments ask for. The tests of
//! `mayfly run` and of the PMI clients use it; it also shows how little a member needs.
//!
//! `member ACTION [RANK [NUMBER]]`: `meet`; `die RANK SIGNAL`, `return RANK`, `abort RANK CODE`, `never RANK` while the
//! others wait; `late RANK CODE` after the end; `fork`; `wait MILLISECONDS`.

use mayfly::bootstrap::Bootstrap;
use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let action = arguments.first().map_or("meet", String::as_str);
    let number = |i: usize| {
        arguments
            .get(i)
            .and_then(|a| a.parse::<i32>().ok())
            .unwrap_or(0)
    };
    let (who, what) = (number(1) as u32, number(2));
    if action == "never" && std::env::var("PMI_RANK") == Ok(who.to_string()) {
        return;
    }
    let mut job = Bootstrap::find(Box::new(|_, _| ())).unwrap_or_else(|e| fail(&e.to_string()));
    let me = job.identity().clone();
    meet(&mut job);
    if action == "fork" {
        // The child's end must not touch the connection.
        // SAFETY: the child only closes its copy and leaves.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                job.after_fork();
                drop(job);
                libc::_exit(0);
            }
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
        meet(&mut job);
    }
    if me.rank == who {
        match action {
            // SAFETY: raising a signal at oneself has no preconditions.
            "die" => unsafe {
                libc::raise(what);
            },
            "return" => std::process::exit(0),
            "abort" => {
                job.abort(what, "as the test asks");
                std::process::exit(what);
            }
            _ => {}
        }
    }
    match action {
        "wait" => std::thread::sleep(Duration::from_millis(u64::from(who))),
        // Whoever is left waits for one that never comes.
        "die" | "return" | "abort" => meet(&mut job),
        _ => {}
    }
    job.finalize().unwrap_or_else(|e| fail(&e.to_string()));
    let (rank, size, part) = (me.rank, me.size, me.appnum);
    println!(
        "rank {rank} of {size}, part {part}, local {} of {}, by {}",
        me.local_rank, me.local_size, me.launcher
    );
    if action == "late" {
        std::thread::sleep(Duration::from_millis(if rank == who { 100 } else { 300 }));
        if rank == who {
            std::process::exit(what);
        }
        println!("rank {rank} ended in peace");
    }
}

/// Exchanges blobs of different lengths and checks everybody's.
fn meet(job: &mut Bootstrap) {
    let me = job.identity().clone();
    let blob = |rank: u32| -> Vec<u8> {
        (0..50 + rank % 4 * 700)
            .map(|i| (i * 7 + rank) as u8)
            .collect()
    };
    let blobs = job
        .exchange(&blob(me.rank))
        .unwrap_or_else(|e| fail(&e.to_string()));
    let expected: Vec<Vec<u8>> = (0..me.size).map(blob).collect();
    if blobs != expected {
        fail("the blobs are not what the others gave");
    }
    let secrets = job
        .exchange(&[&me.job[..], &me.token[..]].concat())
        .unwrap_or_else(|e| fail(&e.to_string()));
    if secrets.iter().any(|s| *s != secrets[0]) {
        fail("the ranks do not share one token");
    }
    job.barrier().unwrap_or_else(|e| fail(&e.to_string()));
}

fn fail(text: &str) -> ! {
    eprintln!("member: {text}");
    std::process::exit(3)
}
