use super::*;

fn to_service() -> Vec<ToService> {
    vec![
        ToService::Join {
            rank: 3,
            size: 70,
            epoch: 2,
            pid: 4711,
            host: "höst".into(),
        },
        ToService::Fence {
            name: "world".into(),
            blob: vec![0, 255, 7],
        },
        ToService::Fence {
            name: String::new(),
            blob: vec![],
        },
        ToService::Renew,
        ToService::Abort {
            code: -3,
            text: "gone wrong".into(),
        },
        ToService::Finished,
        ToService::TreeFence {
            name: "world".into(),
            blob: vec![1; 20],
        },
        ToService::Note {
            to: 7,
            blob: vec![1, 2, 3],
        },
    ]
}

fn to_member() -> Vec<ToMember> {
    vec![
        ToMember::Welcome { lease: 10_000 },
        ToMember::Refused { text: "no".into() },
        ToMember::Table {
            name: "world".into(),
            blobs: vec![vec![1], vec![], vec![2; 300]],
        },
        ToMember::Alive,
        ToMember::Aborted {
            rank: OBSERVER,
            code: i32::MIN,
            text: "x".into(),
        },
        ToMember::Over,
        ToMember::Goodbye,
        ToMember::Table {
            name: "barrier".into(),
            blobs: vec![vec![]; 5],
        },
        ToMember::Branch {
            name: "world".into(),
            blobs: vec![(0, vec![1]), (9, vec![])],
        },
        ToMember::Note {
            from: 3,
            blob: vec![4],
        },
        ToMember::Undelivered {
            to: 3,
            text: "gone".into(),
        },
    ]
}

fn ticket() -> Ticket {
    Ticket {
        job: [1; 16],
        token: [2; 32],
        pass: [3; 32],
        rank: 1,
        size: 4,
        epoch: 0,
        local_rank: 1,
        local_size: 2,
        appnum: 1,
        universe: -1,
        service: "127.0.0.1:4000".into(),
        relays: vec!["relay:1,relay:2".into(), "[::1]:7,[::1]:8".into()],
        relay_expiry: 1 << 40,
        relay_grant: [4; 32],
        deadline_ms: 1_800_000_000_000,
    }
}

fn from_host() -> Vec<FromHost> {
    vec![
        FromHost::Begin {
            host: "ip-10-0-0-1".into(),
            platform: "lambda".into(),
            cores: 2,
            memory_mib: 1769,
            left_ms: 900_000,
        },
        FromHost::Started { rank: 1, pid: 2 },
        FromHost::Output {
            rank: 1,
            stream: STDERR,
            bytes: vec![1, 2],
        },
        FromHost::Exited {
            rank: 1,
            code: -1,
            signal: 9,
        },
        FromHost::Usage {
            init_ms: 1,
            run_ms: u64::MAX,
            memory_mib: 3,
        },
        FromHost::Log { text: "é".into() },
        FromHost::Renew,
        FromHost::Done,
    ]
}

fn to_host() -> Vec<ToHost> {
    let errand = Errand {
        first_rank: 4,
        ranks: 2,
        size: 6,
        per_instance: 4,
        epoch: 1,
        mesh: [1; 32],
        passes: vec![[2; 32], [3; 32]],
        relays: vec!["a:1,a:2".into()],
        relay_expiry: 5,
        relay_grant: [6; 32],
        task: b"{}".to_vec(),
    };
    vec![
        ToHost::Welcome { lease: 1, errand },
        ToHost::Refused { text: "no".into() },
        ToHost::Input {
            rank: 4,
            bytes: vec![],
        },
        ToHost::Stop {
            text: "over".into(),
            grace_ms: 400,
        },
        ToHost::Alive,
        ToHost::Goodbye,
    ]
}

fn from_owner() -> Vec<FromOwner> {
    vec![
        FromOwner::Input {
            rank: 0,
            bytes: vec![9],
        },
        FromOwner::Stop {
            code: 130,
            text: "SIGINT".into(),
        },
        FromOwner::Renew,
        FromOwner::Done,
    ]
}

fn to_owner() -> Vec<ToOwner> {
    let (rank, instance, text) = (1, 2, String::from("t"));
    let events = vec![
        Event::Joined {
            rank,
            pid: 3,
            host: text.clone(),
        },
        Event::Refused { why: text.clone() },
        Event::Lost {
            rank,
            why: text.clone(),
        },
        Event::Aborted {
            rank: OBSERVER,
            code: -5,
            text: text.clone(),
        },
        Event::Finished { rank },
        Event::Over,
        Event::HostArrived {
            instance,
            attempt: 1,
            host: text.clone(),
            platform: text.clone(),
        },
        Event::HostLost {
            instance,
            why: text.clone(),
        },
        Event::HostDone { instance },
        Event::Started { rank, pid: 4 },
        Event::Output {
            rank,
            stream: STDOUT,
            bytes: vec![0; 9],
        },
        Event::Exited {
            rank,
            code: 1,
            signal: 0,
        },
        Event::Usage {
            instance,
            init_ms: 1,
            run_ms: 2,
            memory_mib: 3,
        },
        Event::Log { instance, text },
    ];
    let mut all = vec![
        ToOwner::Welcome { lease: 7 },
        ToOwner::Refused { text: "no".into() },
        ToOwner::Alive,
        ToOwner::Goodbye,
    ];
    all.extend(events.into_iter().map(ToOwner::Event));
    all
}

fn body(frame: &[u8]) -> &[u8] {
    let length = body_length(frame[..4].try_into().unwrap(), TO_MEMBER_MAX).unwrap();
    assert_eq!(length, frame.len() - 4);
    &frame[4..]
}

fn survive<F: Frame + PartialEq + std::fmt::Debug>(frames: Vec<F>) {
    for frame in frames {
        let bytes = frame.encode();
        for end in 4..bytes.len() {
            assert!(F::decode(&bytes[4..end]).is_err(), "{frame:?} cut at {end}");
        }
        let longer = [&bytes[4..], &[0]].concat();
        assert!(F::decode(&longer).is_err(), "{frame:?} with a byte more");
        assert!(bytes.len() <= F::LIMIT);
        assert_eq!(F::decode(body(&bytes)), Ok(frame));
    }
}

#[test]
fn frames_survive_the_wire_and_every_truncation_and_extra_byte_is_an_error() {
    survive(to_service());
    survive(to_member());
    survive(from_host());
    survive(to_host());
    survive(from_owner());
    survive(to_owner());
    let bytes = ticket().encode();
    for end in 0..bytes.len() {
        assert!(Ticket::decode(&bytes[..end]).is_err());
    }
    assert!(Ticket::decode(&bytes) == Ok(ticket()));
}

#[test]
fn the_largest_ticket_fits_its_pipe() {
    let mut ticket = ticket();
    ticket.service = "s".repeat(2000);
    ticket.relays = vec!["r".repeat(2000); 9];
    assert!(ticket.encode().len() <= TICKET_MAX);
    assert!(Ticket::decode(&ticket.encode()).is_ok());
}

fn again<F: Frame + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(frame) = F::decode(bytes) {
        assert_eq!(F::decode(&frame.encode()[4..]), Ok(frame));
    }
}

#[test]
fn garbage_never_panics_and_what_it_yields_can_be_said_again() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let valid: Vec<Vec<u8>> = to_service()
        .iter()
        .map(ToService::encode)
        .chain(to_member().iter().map(ToMember::encode))
        .chain(from_host().iter().map(FromHost::encode))
        .chain(to_host().iter().map(ToHost::encode))
        .chain(from_owner().iter().map(FromOwner::encode))
        .chain(to_owner().iter().map(ToOwner::encode))
        .collect();
    for round in 0..20_000 {
        let mut bytes: Vec<u8> = if round % 2 == 0 {
            (0..random() % 64).map(|_| random() as u8).collect()
        } else {
            let mut b = valid[random() as usize % valid.len()][4..].to_vec();
            let at = random() as usize % b.len();
            b[at] = random() as u8;
            b
        };
        if let (Some(first), true) = (bytes.first_mut(), round % 3 == 0) {
            *first %= 16;
        }
        again::<ToService>(&bytes);
        again::<ToMember>(&bytes);
        again::<FromHost>(&bytes);
        again::<ToHost>(&bytes);
        again::<FromOwner>(&bytes);
        again::<ToOwner>(&bytes);
        let _ = Ticket::decode(&bytes).is_ok();
    }
}

#[test]
fn a_role_has_one_path_and_its_own_pass() {
    let roles = [
        Role::Member { rank: 3, epoch: 1 },
        Role::Member { rank: 1, epoch: 3 },
        Role::Host {
            instance: 3,
            attempt: 1,
        },
        Role::Owner,
    ];
    let mut passes = std::collections::BTreeSet::new();
    for role in roles {
        let path = role.path(&[7; 16]);
        let parts: Vec<&str> = path.split('/').skip(4).collect();
        assert_eq!(Role::from_path(&parts), Some(role));
        assert!(passes.insert(role.pass(&[5; 32])));
    }
    for wrong in [
        &["member"][..],
        &["member", "1"],
        &["member", "01", "0"],
        &["member", "+1", "0"],
        &["member", "1", "-1"],
        &["host", "1", "4294967296"],
        &["owner", "1"],
        &[],
    ] {
        assert_eq!(Role::from_path(wrong), None, "{wrong:?}");
    }
    // Others make these too; they must not change.
    assert_eq!(
        hex(&secrets::mesh(&[5; 32])),
        hex(&crate::wire::sha256::hmac(&[5; 32], &[b"mesh"]))
    );
}

#[test]
fn the_tree_reaches_everybody_once() {
    for size in [1, 2, 9, 10, 73, 1000] {
        let mut above = vec![None; size as usize];
        for rank in 0..size {
            for child in tree_children(rank, size) {
                assert_eq!(above[child as usize].replace(rank), None);
            }
        }
        for rank in 0..size {
            assert_eq!(above[rank as usize], tree_parent(rank));
        }
    }
    assert!(tree_children(u32::MAX, SIZE_MAX).is_empty());
}

#[test]
fn a_barriers_table_is_short_and_an_errand_keeps_its_secrets() {
    let table = ToMember::Table {
        name: "x".into(),
        blobs: vec![vec![]; 10_000],
    };
    assert!(table.encode().len() < 64);
    let ToHost::Welcome { errand, .. } = &to_host()[0] else {
        panic!("another kind");
    };
    assert_eq!(format!("{errand:?}"), "ranks 4..=5 of 6");
    // A host that would run rank 6 of 6.
    let mut wrong = errand.clone();
    wrong.ranks = 3;
    wrong.passes.push([0; 32]);
    let frame = ToHost::Welcome {
        lease: 1,
        errand: wrong,
    };
    assert!(ToHost::decode(&frame.encode()[4..]).is_err());
}

#[test]
fn oversized_lengths_are_refused() {
    assert!(body_length(0u32.to_le_bytes(), 10).is_err());
    assert!(body_length(11u32.to_le_bytes(), 10).is_err());
    assert!(body_length(u32::MAX.to_le_bytes(), TO_MEMBER_MAX).is_err());
    assert_eq!(body_length(10u32.to_le_bytes(), 10), Ok(10));
    let big = ToService::Fence {
        name: "x".into(),
        blob: vec![0; BLOB_MAX + 1],
    };
    assert!(ToService::decode(&big.encode()[4..]).is_err());
    // A table that claims 65,536 blobs in ten bytes.
    assert!(ToMember::decode(&[3, 0, 0, 0, 0, 0, 0, 1, 0, 9]).is_err());
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let frame = ToService::Abort {
        code: 1,
        text: "ä".repeat(TEXT_MAX),
    };
    let ToService::Abort { text, .. } = ToService::decode(&frame.encode()[4..]).unwrap() else {
        panic!("another kind");
    };
    assert_eq!(text.len(), TEXT_MAX);
}

#[test]
fn secrets_compare_and_hex_reverses() {
    assert!(same_secret(b"abc", b"abc"));
    assert!(!same_secret(b"abc", b"abd"));
    assert!(!same_secret(b"abc", b"ab"));
    assert_eq!(unhex::<3>(&hex(&[0, 171, 255])), Some([0, 171, 255]));
    assert_eq!(unhex::<3>("00ab"), None);
    assert_eq!(unhex::<1>("zz"), None);
    assert_eq!(unhex::<1>("é"), None);
}

#[test]
fn an_abort_never_looks_like_success() {
    assert_eq!(exit_status(0), 1);
    assert_eq!(exit_status(256), 1);
    assert_eq!(exit_status(5), 5);
    assert_eq!(exit_status(-1), 255);
}
