//! What a job's owner has missed while it was away.

use crate::rendezvous::message::Event;
use std::collections::VecDeque;

/// How many bytes of output wait for an owner that is away.
const WAITING: usize = 4 * 1024 * 1024;

/// Events that an owner will be told when it comes (back): all of them, except that there may be too much output.
#[derive(Default)]
pub(super) struct Backlog {
    events: VecDeque<Event>,
    bytes: usize,
    dropped: usize,
}

impl Backlog {
    pub(super) fn add(&mut self, event: &Event) {
        let weight = match event {
            Event::Output { bytes, .. } => bytes.len(),
            Event::Log { text, .. } => text.len(),
            _ => 0,
        };
        if self.bytes + weight > WAITING {
            self.dropped += weight;
            return;
        }
        self.bytes += weight;
        self.events.push_back(event.clone());
    }

    /// Everything, and how many bytes were too many.
    pub(super) fn take(&mut self) -> (VecDeque<Event>, usize) {
        let all = std::mem::take(self);
        (all.events, all.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_owner_misses_output_only() {
        let mut backlog = Backlog::default();
        let output = Event::Output {
            rank: 0,
            stream: 1,
            bytes: vec![0; WAITING / 2 + 1],
        };
        backlog.add(&output);
        backlog.add(&output);
        backlog.add(&Event::Over);
        let (events, dropped) = backlog.take();
        assert_eq!(events, [output, Event::Over]);
        assert_eq!(dropped, WAITING / 2 + 1);
        assert_eq!(backlog.take().0.len(), 0);
    }
}
