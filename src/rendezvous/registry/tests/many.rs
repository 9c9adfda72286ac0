//! A large job.

use super::*;

/// Nothing may take longer the more members there are; otherwise this would not end while anybody watches.
#[test]
fn thousands_join_exchange_and_renew() {
    let size = 10_000;
    let mut registry = registry(size, 60_000, 10_000);
    let members: Vec<_> = (0..size)
        .map(|rank| enter(&mut registry, u64::from(rank / 10), rank, size))
        .collect();
    let blob = vec![7; 200];
    let mut branches = Vec::new();
    for &member in &members {
        let part = ToService::TreeFence {
            name: "world".into(),
            blob: blob.clone(),
        };
        registry.receive(1_000, member, part, &mut branches);
    }
    assert_eq!(branches.len(), size as usize);
    let mut sent = 0;
    for effect in branches {
        if let Effect::Send(to, frame) = effect {
            assert_eq!(to.len(), 1);
            sent += frame.encode().len();
        }
    }
    // Everybody's blob for rank 0, and twice a blob for each link of the tree.
    assert!(sent < size as usize * (3 * 220 + 64), "{sent}");
    let mut out = Vec::new();
    for now in (1_000..30_000).step_by(500) {
        for &member in members.iter().skip((now / 500 % 5) as usize).step_by(5) {
            registry.receive(now, member, ToService::Renew, &mut out);
        }
        registry.tick(now, &mut out);
    }
    assert!(out
        .iter()
        .all(|e| matches!(e, Effect::Send(_, Outgoing::Member(ToMember::Alive)))));
    out.clear();
    for &member in &members {
        registry.receive(30_000, member, fence(b""), &mut out);
    }
    let [Effect::Send(to, table)] = &out[..] else {
        panic!("one table for all");
    };
    assert_eq!(to.len(), size as usize);
    assert!(table.encode().len() < 64);
    for &member in &members {
        registry.receive(30_000, member, ToService::Finished, &mut out);
    }
    assert_eq!(out.last(), Some(&Effect::Tell(JOB, None, Event::Over)));
    // Of all the leases at most two a member stood in the agenda at a time.
    watch(&mut registry, 30_000..=60_000, &mut out);
    assert_eq!((registry.jobs(), registry.next_deadline()), (0, None));
}
