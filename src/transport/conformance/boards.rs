//! Boards: everybody sees what everybody shows, in the order shown, and nothing is overwritten before it has been read.

use super::{byte, run, Deaf, Over, LONG};
use crate::base::id::PeerId;
use crate::transport::{Boards, Links, Offer, Shown, BOARD_ROOM};
use std::sync::Mutex;

const RANKS: u32 = 3;

/// How much a rank shows in a turn, or nothing: all lengths, the longest often enough to fill a board.
fn length(from: u32, turn: u64) -> Option<usize> {
    let z = (turn * 7 + u64::from(from) * 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    match z % 8 {
        0 => None,
        1 => Some(0),
        2..=4 => Some(1 + z as usize / 8 % 112),
        5 => Some(113 + z as usize / 8 % 4000),
        6 => Some(BOARD_ROOM),
        _ => Some(z as usize / 8 % BOARD_ROOM),
    }
}

/// Until it answers; asleep meanwhile, so that a waking that is missed is a test that hangs.
fn until<R>(links: &mut Links, mut done: impl FnMut(&mut Links) -> Option<R>) -> R {
    loop {
        if let Some(found) = done(links) {
            return found;
        }
        if !links.poll(&mut Deaf) {
            links.sleep(LONG);
        }
    }
}

fn check(shown: &[u8], from: u32, turn: u64) {
    for (at, found) in shown.iter().enumerate() {
        assert_eq!(
            *found,
            byte(from, 0, turn, at),
            "byte {at} of {from}, turn {turn}"
        );
    }
}

/// The boards of all ranks: their offers change hands in `table`.
fn join(links: &mut Links, me: u32, table: &Mutex<Vec<Option<Offer>>>) -> Boards {
    let offer = links.offer_board().expect("a board is free");
    table.lock().expect("a lock")[me as usize] = Some(offer);
    let offers = loop {
        let offers: Vec<_> = table.lock().expect("a lock").clone();
        if let Some(all) = offers.into_iter().collect::<Option<Vec<Offer>>>() {
            break all;
        }
        std::thread::yield_now();
    };
    let offers: Vec<(PeerId, Offer)> = (0..RANKS).map(PeerId).zip(offers).collect();
    links
        .join_boards(me as usize, &offers, true)
        .expect("all have boards")
}

#[test]
fn what_is_shown_is_seen_by_all() {
    for over in [Over::Memfd, Over::File] {
        let tables = [(); 2].map(|()| Mutex::new(vec![None; RANKS as usize]));
        run(over, RANKS, |me, links, barrier| {
            // Twice: the second communicator gets the first one's boards, if all have read what was on them.
            for table in &tables {
                let mut boards = join(links, me, table);
                for turn in 0..240 {
                    if turn % 97 == u64::from(me) {
                        std::thread::sleep(std::time::Duration::from_millis(2));
                    }
                    exchange(links, &mut boards, me, turn);
                }
                assert!(until(links, |l| l
                    .is_read(&mut boards, 0, None)
                    .then_some(true)));
                barrier.wait();
                links.leave_boards(boards);
            }
        });
        let bases = |i: usize| tables[i].lock().expect("a lock")[0].expect("offered").base;
        assert_eq!((bases(0), bases(1)), (0, 480), "the same board went on");
    }
}

/// Two phases: bytes on the board, then bytes in the rank's own memory.
fn exchange(links: &mut Links, boards: &mut Boards, me: u32, turn: u64) {
    let mut own = Vec::new();
    if let Some(length) = length(me, turn) {
        let write = |to: &mut [u8]| {
            for (at, b) in to.iter_mut().enumerate() {
                *b = byte(me, 0, turn, at);
            }
        };
        until(links, |l| l.show(boards, 1, length, write).then_some(()));
        own.resize(length, 0);
        write(&mut own);
        let address = own.as_ptr() as u64;
        until(links, |l| {
            l.show_at(boards, 2, address, length).then_some(())
        });
    }
    for from in (0..RANKS).filter(|&from| from != me) {
        let Some(length) = length(from, turn) else {
            continue;
        };
        let shown = until(links, |l| l.look(boards, 1, from, 3)).expect("no nonsense");
        let Shown::Here(bytes, n) = shown else {
            panic!("{shown:?}");
        };
        assert_eq!(n, length, "of {from} in turn {turn}");
        // SAFETY: it stays there until this rank says that it is done.
        check(unsafe { std::slice::from_raw_parts(bytes, n) }, from, turn);
        let shown = until(links, |l| l.look(boards, 2, from, 3)).expect("no nonsense");
        let Shown::There(remote, n) = shown else {
            panic!("{shown:?}");
        };
        assert_eq!(n, length);
        let mut copy = vec![0; n];
        links
            .fetch_shown(boards, (2, from), remote, copy.as_mut_ptr(), n)
            .expect("its memory");
        check(&copy, from, turn);
    }
    links.say_done(boards, 2);
    if !own.is_empty() {
        until(links, |l| l.is_read(boards, 2, None).then_some(()));
    }
    links.end_turn(boards, 2);
}

#[test]
fn what_was_taken_back_is_not_believed() {
    let table = Mutex::new(vec![None; RANKS as usize]);
    run(Over::Memfd, RANKS, |me, links, barrier| {
        let mut boards = join(links, me, &table);
        let bytes = [7u8; 300];
        let address = bytes.as_ptr() as u64;
        if me == 0 {
            assert!(links.show_at(&mut boards, 1, address, bytes.len()));
        }
        barrier.wait();
        let seen = until(links, |l| l.look(&mut boards, 1, 0, 0)).expect("no nonsense");
        barrier.wait();
        if me == 0 {
            links.withdraw_shown(&boards, 1);
        }
        barrier.wait();
        if me != 0 {
            let Shown::There(remote, length) = seen else {
                panic!("{seen:?}");
            };
            let mut copy = vec![0; length];
            let end = links.fetch_shown(&boards, (1, 0), remote, copy.as_mut_ptr(), length);
            assert!(end.is_err(), "it was taken back");
            let again = links.look(&mut boards, 1, 0, 0);
            assert!(matches!(again, Some(Err(_))), "{again:?}");
        }
        barrier.wait();
    });
}

#[test]
fn there_are_so_many_boards_and_no_more() {
    run(Over::Memfd, 2, |_, links, _| {
        let offers: Vec<Offer> = std::iter::from_fn(|| links.offer_board()).collect();
        assert_eq!(offers.len(), 4);
        links.withdraw_board(offers[2]);
        assert_eq!(links.offer_board(), Some(offers[2]));
        assert_eq!(links.offer_board(), None);
    });
}
