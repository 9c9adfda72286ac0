//! Hosts and owners at a real service, in TLS and plain, through the command's own ends.

use mayfly::rendezvous::dial::{self, Host, Link, Owner};
use mayfly::rendezvous::message::{
    secrets, Errand, Event, FromHost, FromOwner, ToHost, ToOwner, OUTPUT_MAX,
};
use mayfly::rendezvous::place::Place;
use mayfly::rendezvous::registry::Plan;
use mayfly::rendezvous::server::{Options, Service};
use mayfly::rendezvous::tls::Identity;
use std::future::Future;
use std::net::TcpListener;
use std::time::Duration;

const JOB: [u8; 16] = [1; 16];
const SECRET: [u8; 32] = [2; 32];
/// Long for what takes no time.
const SOON: Duration = Duration::from_secs(30);

fn service(tls: bool, plan: Plan) -> (Service, Place) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let identity = tls.then(|| Identity::fresh(&["localhost".into()]).unwrap());
    let pin = identity.as_ref().map(Identity::pin);
    let options = Options {
        tls: identity,
        ..Options::default()
    };
    let service = Service::start(listener, options, Box::new(|_, _| ())).unwrap();
    service.create(plan).unwrap();
    let place = Place {
        tls,
        host: "127.0.0.1".into(),
        port: service.address().port(),
        pin,
    };
    (service, place)
}

fn plan(size: u32, per_instance: u32, lease: u64) -> Plan {
    Plan {
        per_instance,
        lease,
        owned: true,
        task: Some(b"{}".to_vec()),
        ..Plan::new(JOB, SECRET, size)
    }
}

fn run(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let timely = runtime.block_on(async { tokio::time::timeout(4 * SOON, future).await });
    timely.expect("it hangs");
}

async fn begin(
    place: &Place,
    instance: u32,
    attempt: u32,
) -> std::io::Result<(Link<Host>, Errand)> {
    let pass = secrets::host_pass(&secrets::hosts_key(&SECRET), instance, attempt);
    begin_with(place, (instance, attempt), &pass).await
}

async fn begin_with(
    place: &Place,
    start: (u32, u32),
    pass: &[u8; 32],
) -> std::io::Result<(Link<Host>, Errand)> {
    let frame = FromHost::Begin {
        host: "h".into(),
        platform: "test".into(),
        cores: 1,
        memory_mib: 1,
        left_ms: 0,
    };
    dial::host(place, &JOB, start, pass, &frame, SOON).await
}

async fn own(place: &Place) -> Link<Owner> {
    dial::owner(place, &JOB, &SECRET, SOON).await.unwrap()
}

async fn event(owner: &mut Link<Owner>) -> Event {
    match owner.listener.next().await.unwrap() {
        ToOwner::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_job_from_the_first_host_to_the_last_goodbye() {
    for tls in [false, true] {
        run(async {
            let (_service, place) = service(tls, plan(3, 2, 10_000));
            let (mut zero, errand) = begin(&place, 0, 0).await.unwrap();
            assert_eq!((errand.first_rank, errand.ranks), (0, 2));
            let mut owner = own(&place).await;
            assert!(matches!(
                event(&mut owner).await,
                Event::HostArrived { instance: 0, .. }
            ));
            let (mut one, _) = begin(&place, 1, 3).await.unwrap();
            let arrived = event(&mut owner).await;
            assert!(matches!(
                arrived,
                Event::HostArrived {
                    instance: 1,
                    attempt: 3,
                    ..
                }
            ));
            let bytes = vec![7; OUTPUT_MAX];
            let input = FromOwner::Input {
                rank: 2,
                bytes: bytes.clone(),
            };
            owner.speaker.say(&input).await.unwrap();
            let got = one.listener.next().await.unwrap();
            assert_eq!(
                got,
                ToHost::Input {
                    rank: 2,
                    bytes: bytes.clone()
                }
            );
            let output = FromHost::Output {
                rank: 2,
                stream: 1,
                bytes: bytes.clone(),
            };
            one.speaker.say(&output).await.unwrap();
            let told = Event::Output {
                rank: 2,
                stream: 1,
                bytes,
            };
            assert_eq!(event(&mut owner).await, told);
            let (code, signal) = (0, 0);
            for (host, rank) in [(&zero, 0), (&zero, 1), (&one, 2)] {
                let exited = FromHost::Exited { rank, code, signal };
                host.speaker.say(&exited).await.unwrap();
                assert_eq!(
                    event(&mut owner).await,
                    Event::Exited { rank, code, signal }
                );
            }
            assert_eq!(event(&mut owner).await, Event::Over);
            for (host, instance) in [(&mut zero, 0), (&mut one, 1)] {
                let usage = FromHost::Usage {
                    init_ms: 1,
                    run_ms: 2,
                    memory_mib: 3,
                };
                host.speaker.say(&usage).await.unwrap();
                host.speaker.say(&FromHost::Done).await.unwrap();
                assert_eq!(host.listener.next().await.unwrap(), ToHost::Goodbye);
                assert!(matches!(
                    event(&mut owner).await,
                    Event::Usage { run_ms: 2, .. }
                ));
                assert_eq!(event(&mut owner).await, Event::HostDone { instance });
            }
            owner.speaker.say(&FromOwner::Done).await.unwrap();
            assert_eq!(owner.listener.next().await.unwrap(), ToOwner::Goodbye);
        });
    }
}

#[test]
fn strangers_duplicates_and_replays_are_refused_with_a_reason() {
    run(async {
        let (_service, place) = service(true, plan(2, 1, 0));
        let text = |result: std::io::Result<(Link<Host>, Errand)>| {
            result.err().expect("it was let in").to_string()
        };
        let key = secrets::hosts_key(&SECRET);
        let pass = secrets::host_pass(&key, 0, 0);
        // Another instance's, another attempt's, a member's, the hosts' key itself.
        for (start, pass) in [
            ((1, 0), pass),
            ((0, 1), pass),
            ((0, 0), secrets::member_pass(&SECRET, 0, 0)),
            ((0, 0), key),
        ] {
            let why = text(begin_with(&place, start, &pass).await);
            assert!(why.contains("refuses this pass"), "{why}");
        }
        let (mut first, _) = begin(&place, 0, 0).await.unwrap();
        let why = text(begin(&place, 0, 0).await);
        assert!(why.contains("already begun (attempt 0 on h)"), "{why}");
        // A later attempt, while the job has not begun.
        let (_second, _) = begin(&place, 0, 1).await.unwrap();
        let told = first.listener.next().await.unwrap();
        assert!(matches!(&told, ToHost::Refused { text } if text.contains("later attempt")));
        let why = text(begin(&place, 0, 0).await);
        assert!(why.contains("already begun (attempt 1"), "{why}");
        // Another certificate than the pinned one; a job that is unknown.
        let mut wrong = place.clone();
        wrong.pin = Some([0; 32]);
        assert!(text(begin(&wrong, 1, 0).await).contains("pin"));
        let why = dial::owner(&place, &[9; 16], &SECRET, SOON).await;
        assert!(why
            .err()
            .unwrap()
            .to_string()
            .contains("does not know this job"));
    });
}

#[test]
fn a_host_that_vanishes_ends_the_job_for_the_others() {
    run(async {
        let (_service, place) = service(false, plan(2, 1, 0));
        let mut owner = own(&place).await;
        let (zero, _) = begin(&place, 0, 0).await.unwrap();
        let (mut one, _) = begin(&place, 1, 0).await.unwrap();
        drop(zero);
        let stop = one.listener.next().await.unwrap();
        let expected = "instance 0 (h, test; rank 0) was lost: its connection ended; it was starting its ranks";
        assert!(
            matches!(&stop, ToHost::Stop { text, .. } if text == expected),
            "{stop:?}"
        );
        one.speaker.say(&FromHost::Done).await.unwrap();
        assert_eq!(one.listener.next().await.unwrap(), ToHost::Goodbye);
        let mut seen = Vec::new();
        while !matches!(seen.last(), Some(Event::HostDone { instance: 1 })) {
            seen.push(event(&mut owner).await);
        }
        let aborted = |e: &Event| matches!(e, Event::Aborted { text, .. } if text == expected);
        assert!(seen.iter().any(aborted), "{seen:?}");
    });
}

/// What a host writes while nobody reads does not pile up in the service, nor does waiting make it lost.
#[test]
fn a_slow_owner_slows_the_hosts_down_and_nothing_is_lost() {
    run(async {
        let (_service, place) = service(false, plan(1, 1, 1_200));
        let (host, _) = begin(&place, 0, 0).await.unwrap();
        let mut owner = own(&place).await;
        assert!(matches!(event(&mut owner).await, Event::HostArrived { .. }));
        const PIECES: u32 = 1_000;
        let said = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counter = said.clone();
        let mut listener = host.listener;
        let speaker = host.speaker;
        // It hears that the service is there, although its words wait.
        let hears = tokio::spawn(async move { listener.next().await });
        let writes = tokio::spawn(async move {
            for n in 0..PIECES {
                let output = FromHost::Output {
                    rank: 0,
                    stream: 1,
                    bytes: vec![n as u8; OUTPUT_MAX],
                };
                speaker.say(&output).await.unwrap();
                counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            speaker
                .say(&FromHost::Exited {
                    rank: 0,
                    code: 0,
                    signal: 0,
                })
                .await
                .unwrap();
            speaker.say_now(&FromHost::Done).await.unwrap();
            speaker
        });
        // Longer than the lease; the owner's own renewals go on.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let waiting = said.load(std::sync::atomic::Ordering::Relaxed);
        assert!(waiting < PIECES / 2, "{waiting} pieces are somewhere");
        let mut n = 0;
        loop {
            match event(&mut owner).await {
                Event::Output { bytes, .. } => {
                    assert!(bytes.len() == OUTPUT_MAX && bytes[0] == n as u8);
                    n += 1;
                }
                Event::HostDone { .. } => break,
                Event::Exited { .. } | Event::Over => {}
                other => panic!("after {n} pieces: {other:?}"),
            }
        }
        assert_eq!(n, PIECES);
        let _speaker = writes.await.unwrap();
        assert_eq!(hears.await.unwrap().unwrap(), ToHost::Goodbye);
    });
}

#[test]
fn an_owner_that_goes_takes_its_job_along_unless_it_comes_back() {
    run(async {
        let (_service, place) = service(false, plan(1, 1, 1_000));
        let (mut host, _) = begin(&place, 0, 0).await.unwrap();
        drop(own(&place).await);
        let mut again = own(&place).await;
        assert!(matches!(
            host.speaker.say(&FromHost::Log { text: "x".into() }).await,
            Ok(())
        ));
        // What happened meanwhile is told to whoever is there.
        while !matches!(event(&mut again).await, Event::Log { .. }) {}
        drop(again);
        let stop = host.listener.next().await.unwrap();
        assert!(matches!(&stop, ToHost::Stop { text, .. } if text == "its launcher is gone"));
    });
}
