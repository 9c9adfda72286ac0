//! A thousand ranks at a rendezvous, without their programs: opens a job, joins every member over a connection of its
//! own (in TLS, when the URL says so), lets them exchange blobs of an address' size down the tree and at a fence, and
//! says how long each took. `crowd URL MEMBERS [BLOB-BYTES [processes]]`; the operator's key is in MAYFLY_OPERATOR_KEY.
//! With `processes` every member is a process of its own, as ranks are.

use mayfly::rendezvous::dial::{connect, upgrade, Stream};
use mayfly::rendezvous::message::{
    body_length, secrets, unhex, Frame, Role, ToMember, ToService, TO_MEMBER_MAX,
};
use mayfly::rendezvous::operator::Operator;
use mayfly::rendezvous::place::Place;
use mayfly::rendezvous::server::{JobCreated, JobRequest};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Barrier, Semaphore};

type Result<T> = std::result::Result<T, String>;

struct Job {
    place: Place,
    job: [u8; 16],
    secret: [u8; 32],
    size: u32,
    blob: usize,
    /// Everybody is at the same stage, and one more who looks at the clock.
    stage: Barrier,
    /// One process stands for many machines, but its loop takes one step at a time: so many are at the door at once.
    door: Semaphore,
}

fn main() {
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())
        .and_then(|runtime| runtime.block_on(crowd()));
    if let Err(text) = done {
        eprintln!("crowd: {text}");
        std::process::exit(1);
    }
}

/// What a member that is a process of its own gets: job, secret and rank.
const MEMBER: &str = "MAYFLY_CROWD_MEMBER";

/// Every member in a process of its own, which waits for the others at the exchanges only.
fn processes(made: &JobCreated, size: u32, began: Instant) -> Result<()> {
    let say = |e: std::io::Error| format!("a process: {e}");
    let own = std::env::current_exe().map_err(say)?;
    let mut children = Vec::new();
    for rank in 0..size {
        let mut command = std::process::Command::new(&own);
        command.args(std::env::args_os().skip(1));
        command.env(MEMBER, format!("{} {} {rank}", made.job, made.secret));
        children.push(command.spawn().map_err(say)?);
    }
    let took = began.elapsed().as_secs_f64();
    println!("{size} processes started after {took:.2} s");
    let mut failed = 0;
    for mut child in children {
        failed += u32::from(!child.wait().map_err(say)?.success());
    }
    let took = began.elapsed().as_secs_f64();
    println!("{size} processes joined, exchanged, fenced and left after {took:.2} s");
    match failed {
        0 => Ok(()),
        n => Err(format!("{n} of {size} failed")),
    }
}

/// One such member.
async fn alone(place: Place, said: &str, size: u32, blob: usize) -> Result<()> {
    let words: Vec<&str> = said.split(' ').collect();
    let [job, secret, rank] = words[..] else {
        return Err(format!("{MEMBER} says nothing useful"));
    };
    let what = "it is given nonsense";
    let job = Job {
        place,
        job: unhex(job).ok_or(what)?,
        secret: unhex(secret).ok_or(what)?,
        size,
        blob,
        stage: Barrier::new(1),
        door: Semaphore::new(1),
    };
    member(Arc::new(job), rank.parse().map_err(|_| what)?).await
}

async fn crowd() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, or: u32| arguments.get(at).and_then(|n| n.parse().ok()).unwrap_or(or);
    let url = arguments
        .first()
        .ok_or("usage: crowd URL MEMBERS [BLOB-BYTES]")?;
    let place = Place::parse(url)?;
    let (size, blob) = (number(1, 1_000), number(2, 200) as usize);
    if let Ok(said) = std::env::var(MEMBER) {
        return alone(place, &said, size, blob).await;
    }
    let key = std::env::var("MAYFLY_OPERATOR_KEY").unwrap_or_default();
    let operator = Operator::new(place.clone(), key)?;
    let wanted = JobRequest {
        name: "crowd".into(),
        join_within_s: 120,
        // On a busy machine this one process may take long over ten thousand parts.
        lease_s: 60,
        ..JobRequest::new(size)
    };
    let made = operator.create(&wanted).await?;
    if arguments.get(3).is_some_and(|word| word == "processes") {
        return processes(&made, size, Instant::now());
    }
    let what = "the rendezvous answers nonsense";
    let job = Arc::new(Job {
        place,
        job: unhex(&made.job).ok_or(what)?,
        secret: unhex(&made.secret).ok_or(what)?,
        size,
        blob,
        stage: Barrier::new(size as usize + 1),
        door: Semaphore::new(512),
    });
    let began = Instant::now();
    let members: Vec<_> = (0..size)
        .map(|rank| tokio::spawn(member(job.clone(), rank)))
        .collect();
    let watch = async {
        for stage in ["joined", "exchanged down the tree", "fenced"] {
            job.stage.wait().await;
            println!(
                "{size} members {stage} after {:.2} s",
                began.elapsed().as_secs_f64()
            );
        }
    };
    let all = async {
        for member in members {
            member.await.map_err(|e| e.to_string())??;
        }
        Ok::<_, String>(())
    };
    // A member that fails never comes to the next stage.
    tokio::pin!(watch);
    tokio::pin!(all);
    let watched = tokio::select! {
        _ = &mut watch => true,
        failed = &mut all => { failed?; false }
    };
    if watched {
        all.await?;
    }
    println!(
        "{size} members left after {:.2} s",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn member(job: Arc<Job>, rank: u32) -> Result<()> {
    let say = |e: std::io::Error| format!("rank {rank}: {e}");
    let door = job.door.acquire().await.map_err(|e| e.to_string())?;
    let mut stream = connect(&job.place, Duration::from_secs(60))
        .await
        .map_err(say)?;
    let role = Role::Member { rank, epoch: 0 };
    let pass = secrets::member_pass(&job.secret, rank, 0);
    upgrade(&mut stream, &job.place, &job.job, role, &pass)
        .await
        .map_err(say)?;
    let join = ToService::Join {
        rank,
        size: job.size,
        epoch: 0,
        pid: std::process::id(),
        host: "crowd".into(),
    };
    send(&mut stream, &join).await.map_err(say)?;
    let lease = match next(&mut stream, rank).await? {
        ToMember::Welcome { lease } => lease,
        other => return Err(format!("rank {rank}: {}", short(&other))),
    };
    drop(door);
    stage(&job, &mut stream, rank, lease).await?;
    let (name, blob) = ("addresses".to_string(), vec![rank as u8; job.blob]);
    send(&mut stream, &ToService::TreeFence { name, blob })
        .await
        .map_err(say)?;
    match next(&mut stream, rank).await? {
        ToMember::Branch { blobs, .. } if rank > 0 || blobs.len() as u32 == job.size => {}
        other => return Err(format!("rank {rank}: {}", short(&other))),
    }
    stage(&job, &mut stream, rank, lease).await?;
    let (name, blob) = ("fence".to_string(), Vec::new());
    send(&mut stream, &ToService::Fence { name, blob })
        .await
        .map_err(say)?;
    match next(&mut stream, rank).await? {
        ToMember::Table { blobs, .. } if blobs.len() as u32 == job.size => {}
        other => return Err(format!("rank {rank}: {}", short(&other))),
    }
    stage(&job, &mut stream, rank, lease).await?;
    send(&mut stream, &ToService::Finished).await.map_err(say)?;
    loop {
        match next(&mut stream, rank).await? {
            ToMember::Goodbye => return Ok(()),
            ToMember::Over => {}
            other => return Err(format!("rank {rank}: {}", short(&other))),
        }
    }
}

/// Waits for the others; the lease is renewed meanwhile.
async fn stage(job: &Job, stream: &mut Stream, rank: u32, lease: u32) -> Result<()> {
    let everybody = job.stage.wait();
    tokio::pin!(everybody);
    let renew = Duration::from_millis(u64::from(lease.max(3_000)) / 3);
    loop {
        tokio::select! {
            _ = &mut everybody => return Ok(()),
            _ = tokio::time::sleep(renew) => {
                let sent = send(stream, &ToService::Renew).await;
                sent.map_err(|e| format!("rank {rank}: {e}"))?;
            }
        }
    }
}

async fn send(stream: &mut Stream, frame: &ToService) -> std::io::Result<()> {
    stream.write_all(&frame.encode()).await?;
    stream.flush().await
}

/// The next frame that says something.
async fn next(stream: &mut Stream, rank: u32) -> Result<ToMember> {
    let say = |e: std::io::Error| format!("rank {rank}: {e}");
    loop {
        let mut prefix = [0; 4];
        stream.read_exact(&mut prefix).await.map_err(say)?;
        let length = body_length(prefix, TO_MEMBER_MAX).map_err(|e| e.to_string())?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.map_err(say)?;
        match ToMember::decode(&body).map_err(|e| e.to_string())? {
            ToMember::Alive => {}
            frame => return Ok(frame),
        }
    }
}

fn short(frame: &ToMember) -> String {
    format!("{frame:?}").chars().take(200).collect()
}
