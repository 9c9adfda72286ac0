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
    ]
}

fn ticket() -> Ticket {
    Ticket {
        job: [1; 16],
        token: [2; 32],
        rank: 1,
        size: 4,
        epoch: 0,
        local_rank: 1,
        local_size: 2,
        appnum: 1,
        universe: -1,
        service: "127.0.0.1:4000".into(),
    }
}

fn body(frame: &[u8]) -> &[u8] {
    let length = body_length(frame[..4].try_into().unwrap(), TO_MEMBER_MAX).unwrap();
    assert_eq!(length, frame.len() - 4);
    &frame[4..]
}

#[test]
fn frames_survive_the_wire() {
    for frame in to_service() {
        assert_eq!(ToService::decode(body(&frame.encode())), Ok(frame));
    }
    for frame in to_member() {
        assert_eq!(ToMember::decode(body(&frame.encode())), Ok(frame));
    }
    assert!(Ticket::decode(&ticket().encode()) == Ok(ticket()));
}

#[test]
fn every_truncation_and_every_extra_byte_is_an_error() {
    for frame in to_service().iter().map(ToService::encode) {
        for end in 4..frame.len() {
            assert!(ToService::decode(&frame[4..end]).is_err());
        }
        let longer = [&frame[4..], &[0]].concat();
        assert!(ToService::decode(&longer).is_err());
    }
    for frame in to_member().iter().map(ToMember::encode) {
        for end in 4..frame.len() {
            assert!(ToMember::decode(&frame[4..end]).is_err());
        }
        let longer = [&frame[4..], &[0]].concat();
        assert!(ToMember::decode(&longer).is_err());
    }
    let bytes = ticket().encode();
    for end in 0..bytes.len() {
        assert!(Ticket::decode(&bytes[..end]).is_err());
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
            *first %= 9;
        }
        if let Ok(frame) = ToService::decode(&bytes) {
            assert_eq!(ToService::decode(&frame.encode()[4..]), Ok(frame));
        }
        if let Ok(frame) = ToMember::decode(&bytes) {
            assert_eq!(ToMember::decode(&frame.encode()[4..]), Ok(frame));
        }
        let _ = Ticket::decode(&bytes).is_ok();
    }
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
