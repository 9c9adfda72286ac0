use super::*;
use tokio::io::duplex;

fn run<F: std::future::Future<Output = ()>>(future: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future);
}

/// An owner's link with its other end.
fn pair(lease: u32) -> (Link<Owner>, tokio::io::DuplexStream) {
    let (ours, theirs) = duplex(1 << 20);
    let (reading, writing) = tokio::io::split(Box::new(ours) as Stream);
    (link(writing, Listener::new(reading), lease), theirs)
}

async fn heard(stream: &mut tokio::io::DuplexStream) -> FromOwner {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await.unwrap();
    let mut body = vec![0; body_length(prefix, FromOwner::LIMIT).unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    FromOwner::decode(&body).unwrap()
}

#[test]
fn frames_go_both_ways_however_they_are_cut() {
    run(async {
        let (mut link, mut theirs) = pair(0);
        let input = |n: u8| FromOwner::Input {
            rank: n.into(),
            bytes: vec![n; 100],
        };
        for n in 0..50 {
            link.speaker.say(&input(n)).await.unwrap();
            assert_eq!(heard(&mut theirs).await, input(n));
        }
        link.speaker
            .clone()
            .say_now(&FromOwner::Done)
            .await
            .unwrap();
        assert_eq!(heard(&mut theirs).await, FromOwner::Done);
        let text = ToOwner::Refused { text: "no".into() };
        let bytes = [text.encode(), ToOwner::Alive.encode(), text.encode()].concat();
        tokio::spawn(async move {
            for byte in bytes {
                theirs.write_u8(byte).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        // Asked in small pieces of time, it loses nothing.
        let mut frames = Vec::new();
        while frames.len() < 2 {
            let next = link.listener.next();
            if let Ok(frame) = tokio::time::timeout(Duration::from_nanos(1), next).await {
                frames.push(frame.unwrap());
            }
        }
        assert_eq!(frames, [text.clone(), text]);
        let end = link.listener.next().await.unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn a_lease_is_renewed_by_itself_and_silence_is_noticed() {
    run(async {
        let (mut link, mut theirs) = pair(40);
        for _ in 0..5 {
            assert_eq!(heard(&mut theirs).await, FromOwner::Renew);
        }
        let end = link.listener.next().await.unwrap_err();
        assert!(end.to_string().contains("no longer answers"), "{end}");
    });
}

#[test]
fn lies_about_lengths_and_nonsense_end_the_link() {
    for bytes in [
        vec![0, 0, 0, 0],
        u32::MAX.to_le_bytes().to_vec(),
        vec![1, 0, 0, 0, 99],
    ] {
        run(async {
            let (mut link, mut theirs) = pair(0);
            theirs.write_all(&bytes).await.unwrap();
            assert!(link.listener.next().await.is_err(), "{bytes:?}");
        });
    }
}
