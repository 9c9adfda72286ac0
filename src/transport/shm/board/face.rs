//! What a rank does with boards.

use super::*;
use crate::transport::shm::Shm;

impl Shm {
    /// A free board of this rank's, which is taken from now on.
    pub fn offer_board(&mut self) -> Option<Offer> {
        let (own, peers) = (&mut self.boards, &self.peers);
        let gone = |peer: u32| peers[peer as usize].as_ref().is_some_and(|p| p.gone);
        let count = self.segment.map.layout.boards as usize;
        own.boards.resize_with(count, || (0, false, None));
        own.awaited.resize_with(count, || None);
        let index = own.boards.iter_mut().position(|(_, taken, before)| {
            // Somebody may still read what was shown to the communicator before.
            let free = !*taken
                && before
                    .as_mut()
                    .is_none_or(|b| b.unread(b.turn, None, gone).is_none());
            *taken |= free;
            free
        })?;
        own.boards[index].2 = None;
        Some(Offer {
            index: index as u32,
            base: own.boards[index].0,
        })
    }

    /// Takes back an offer.
    pub fn withdraw_board(&mut self, offer: Offer) {
        self.boards.boards[offer.index as usize].1 = false;
    }

    /// The boards that the members offered, by rank in the communicator, of which this one is `me`.
    pub fn join_boards(
        &mut self,
        me: usize,
        offers: &[(PeerId, Offer)],
        fetch: bool,
    ) -> Option<Boards> {
        let mut light = self.fences;
        let mut members = Vec::with_capacity(offers.len());
        for (rank, &(peer, offer)) in offers.iter().enumerate() {
            let map = match &self.peers[peer.0 as usize] {
                Some(p) => {
                    light &= p.map.head().fences.0.load(Ordering::Acquire) == 1;
                    &p.map
                }
                None if rank == me => &self.segment.map,
                None => return None,
            };
            members.push(Member {
                peer: peer.0,
                base: offer.base,
                board: map.board(offer.index)?,
                head: map.head(),
            });
        }
        Some(Boards {
            index: offers[me].1.index as usize,
            members,
            me,
            turn: 0,
            read: 0,
            used: 0,
            since: VecDeque::new(),
            fresh: None,
            light,
            fetch,
        })
    }

    /// The communicator is no more.
    pub fn leave_boards(&mut self, boards: Boards) {
        let index = boards.index;
        self.boards.awaited[index] = None;
        let base = boards.members[boards.me].base + boards.turn;
        self.boards.boards[index] = (base, false, Some(boards));
    }

    /// Is there a place for what this phase shows? Else it is waited for.
    #[inline]
    fn has_place(&mut self, boards: &mut Boards, phase: u64) -> bool {
        let before = (boards.turn + phase).saturating_sub(PLACES);
        // Who has to wait waits for some more, so as not to do so each time.
        boards.read >= before || self.is_shown_read(boards, before + PLACES / 4, None)
    }

    /// Where in the ring so many bytes can be shown in this phase; `None`: others still read there, for which is waited.
    fn find_room(&mut self, boards: &mut Boards, phase: u64, length: usize) -> Option<usize> {
        let mut at = boards.used as usize % RING;
        let mut begin = boards.used;
        if at + length > RING {
            begin += (RING - at) as u64;
            at = 0;
        }
        let end = (begin + length as u64).next_multiple_of(lines::LINE as u64);
        loop {
            let read = boards.read;
            while boards.since.front().is_some_and(|&(turn, _)| turn <= read) {
                boards.since.pop_front();
            }
            let Some(&(turn, first)) = boards.since.front() else {
                break;
            };
            if end - first <= RING as u64 {
                break;
            }
            let more = boards.since.get(boards.since.len() / 4);
            if !self.is_shown_read(boards, more.map_or(turn, |m| m.0), None) {
                return None;
            }
        }
        boards.since.push_back((boards.turn + phase, begin));
        boards.used = end;
        Some(at)
    }

    /// Have all (or this one) read what was shown up to this number of phases?
    fn is_shown_read(&mut self, boards: &mut Boards, turn: u64, by: Option<u32>) -> bool {
        let peers = &self.peers;
        let gone = |peer: u32| peers[peer as usize].as_ref().is_some_and(|p| p.gone);
        match boards.unread(turn, by, gone) {
            None => {
                self.boards.awaited[boards.index] = None;
                true
            }
            Some(awaited) => {
                self.boards.awaited[boards.index] = Some(awaited);
                false
            }
        }
    }

    /// Shows `length` bytes (at most [`ROOM`]), which `fill` writes; false, and nothing is written, while others still
    /// have to read what was shown at this place before.
    #[inline]
    pub fn show(
        &mut self,
        boards: &mut Boards,
        phase: u32,
        length: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> bool {
        assert!(length <= ROOM, "more than a board has room for");
        if !self.has_place(boards, u64::from(phase)) {
            return false;
        }
        let mut at = 0;
        if length > BESIDE {
            match self.find_room(boards, u64::from(phase), length) {
                Some(found) => at = found,
                None => return false,
            }
        }
        let turn = boards.turn + u64::from(phase);
        let mine = &boards.members[boards.me];
        let place = mine.place(turn);
        if length > 0 {
            // SAFETY: nobody reads this place, and this part of the ring, before the number is written: all are done with
            // what was there.
            unsafe {
                let beside = std::ptr::addr_of_mut!((*place).beside).cast::<u8>();
                let mut to = beside;
                if length > BESIDE {
                    beside.cast::<u64>().write_unaligned(at as u64);
                    to = mine.ring(at);
                }
                fill(std::slice::from_raw_parts_mut(to, length));
            }
        }
        self.publish(boards, turn, length as u64);
        if length > BESIDE {
            boards.fresh = Some((at, length));
            boards.call(0..length.min(CALLED));
        }
        true
    }

    /// The same of bytes in this rank's own memory, which must stay there until they have been read.
    pub fn show_at(
        &mut self,
        boards: &mut Boards,
        phase: u32,
        address: u64,
        length: usize,
    ) -> bool {
        if !self.has_place(boards, u64::from(phase)) {
            return false;
        }
        let turn = boards.turn + u64::from(phase);
        let place = boards.members[boards.me].place(turn);
        // SAFETY: as in `show`.
        unsafe {
            let to = std::ptr::addr_of_mut!((*place).beside).cast::<u64>();
            to.write_unaligned(address);
        }
        self.publish(boards, turn, length as u64 | ELSEWHERE);
        true
    }

    #[inline]
    fn publish(&mut self, boards: &Boards, turn: u64, word: u64) {
        let mine = &boards.members[boards.me];
        // SAFETY: as in `show`.
        unsafe { (*mine.place(turn)).word = word };
        let number = mine.number(turn);
        number.store(mine.base + turn, Ordering::Release);
        lines::call(mine.place(turn + PHASES).cast());
        self.wake_members(boards);
    }

    /// After something was published: who sleeps has to hear of it. In one order with the sleeper's announcement and look:
    /// see `Producer::send`.
    #[inline]
    fn wake_members(&mut self, boards: &Boards) {
        boards.order();
        let me = boards.members[boards.me].peer;
        for (rank, member) in boards.members.iter().enumerate() {
            let head = member.head();
            if head.sleeping.0.load(Ordering::SeqCst) == 0 || rank == boards.me {
                continue;
            }
            let awaits = head.awaits.0.load(Ordering::SeqCst);
            if awaits == 0 || awaits == me + 1 {
                if let Some(p) = &self.peers[member.peer as usize] {
                    wake::wake(p.map.head(), &p.name, &mut self.waker);
                    self.woke = true;
                }
            }
        }
    }

    /// What that member shows in this phase; `None`: nothing yet, and it is waited for.
    ///
    /// # Errors
    /// `ProcAborted` when it has left the collective or finalized, or its board holds nonsense.
    #[inline]
    pub fn look(
        &mut self,
        boards: &mut Boards,
        phase: u32,
        from: u32,
        spins: u32,
    ) -> Option<Result<Shown>> {
        let member = &boards.members[from as usize];
        let turn = boards.turn + u64::from(phase);
        let wanted = member.base + turn;
        let number = member.number(turn);
        let mut left = spins;
        // Acquire pairs with the release of the number: what it says is there.
        while number.load(Ordering::Acquire) != wanted {
            if let Some((at, bytes)) = boards.fresh.take() {
                // A pause: what others want is brought nearer to them, and the place of the next is made ready.
                boards.pause(at, bytes);
                continue;
            }
            if left == 0 {
                return self.miss(boards, number, wanted, from);
            }
            left -= 1;
            std::hint::spin_loop();
        }
        if left == spins {
            // Its owner is ahead.
            lines::await_line(member.place(turn + PHASES).cast());
        }
        if let Some(awaited) = self.boards.awaited.get_mut(boards.index) {
            *awaited = None;
        }
        let place = member.place(turn);
        // SAFETY: the owner writes there again only when this rank has said that it is done with this number.
        let shown = unsafe {
            let word = (*place).word;
            let length = (word & !ELSEWHERE) as usize;
            let beside = std::ptr::addr_of!((*place).beside).cast::<u8>();
            match (word & ELSEWHERE != 0, length <= BESIDE) {
                (true, _) => Shown::There(beside.cast::<u64>().read_unaligned(), length),
                (false, true) => Shown::Here(beside, length),
                (false, false) => {
                    let at = beside.cast::<u64>().read_unaligned() as usize;
                    if length > ROOM || at > RING - length {
                        return Some(nonsense(member.peer));
                    }
                    Shown::Here(member.ring(at), length)
                }
            }
        };
        Some(Ok(shown))
    }

    #[cold]
    fn miss(
        &mut self,
        boards: &Boards,
        word: &AtomicU64,
        number: u64,
        from: u32,
    ) -> Option<Result<Shown>> {
        let peer = boards.members[from as usize].peer;
        // In this order: what it showed before it finalized is there then.
        let closed = boards.members[from as usize].has_closed();
        let found = word.load(Ordering::Acquire);
        // A mark of its own, or the owner would be at a number behind it, which it comes to only when this one was read.
        if found == number | WITHDRAWN || found & !WITHDRAWN > number {
            return Some(left(peer));
        }
        if closed && found != number {
            return Some(finalized(peer));
        }
        let awaited = Awaited {
            word,
            number,
            peer,
            wanted: std::ptr::null(),
        };
        self.boards.awaited[boards.index] = Some(awaited);
        None
    }

    /// Reads what a member shows elsewhere: `into` gets `length` bytes at `remote`.
    ///
    /// # Errors
    /// `Other` when the kernel refuses, `ProcAborted` when the member has ended or taken back what it showed.
    pub fn fetch_shown(
        &mut self,
        boards: &Boards,
        (phase, from): (u32, u32),
        remote: u64,
        into: *mut u8,
        length: usize,
    ) -> Result<()> {
        let member = &boards.members[from as usize];
        let turn = boards.turn + u64::from(phase);
        let end = self.fetch(PeerId(member.peer), remote, into, length);
        fence(Ordering::Acquire);
        if member.number(turn).load(Ordering::Acquire) != member.base + turn {
            return left(member.peer);
        }
        // The reason may be its end, of which nobody has told yet.
        if end.is_err() && self.has_ended(member.peer) {
            return left(member.peer);
        }
        end
    }

    /// This rank has read what it wanted of the collective's phases.
    #[inline]
    pub fn say_done(&mut self, boards: &mut Boards, phases: u32) {
        let mine = &boards.members[boards.me];
        let done = mine.base + boards.turn + u64::from(phases);
        mine.done().store(done, Ordering::Release);
        boards.order();
        let wanted = mine.wanted();
        if (1..=done).contains(&wanted.load(Ordering::SeqCst)) {
            wanted.store(0, Ordering::SeqCst);
            self.wake_members(boards);
        }
    }

    /// Has what this rank showed in this collective been read by all, or by that member? Else it is waited for.
    pub fn is_read(&mut self, boards: &mut Boards, phases: u32, by: Option<u32>) -> bool {
        let turn = boards.turn + u64::from(phases);
        self.is_shown_read(boards, turn, by)
    }

    /// This rank gives the collective up: what it showed is there no more, and nothing more comes. Who waits for it, or reads
    /// it now, is told so.
    #[cold]
    pub fn withdraw_shown(&mut self, boards: &Boards, phases: u32) {
        let mine = &boards.members[boards.me];
        for turn in (1..=u64::from(phases)).map(|phase| boards.turn + phase) {
            let mark = (mine.base + turn) | WITHDRAWN;
            mine.number(turn).store(mark, Ordering::SeqCst);
        }
        // Before the program's next stores to what was shown.
        fence(Ordering::SeqCst);
        self.wake_members(boards);
    }

    /// A collective of so many phases is over.
    #[inline]
    pub fn end_turn(&mut self, boards: &mut Boards, phases: u32) {
        boards.turn += u64::from(phases);
        // After an error something may still be waited for.
        if let Some(awaited) = self.boards.awaited.get_mut(boards.index) {
            *awaited = None;
        }
    }

    /// Whose boards are waited for.
    pub fn awaited(&self) -> impl Iterator<Item = PeerId> + '_ {
        let all = self.boards.awaited.iter().flatten();
        all.map(|awaited| PeerId(awaited.peer))
    }

    /// Whose board alone can wake this rank, and 1 more; 0: anybody's. Before the announcement of sleep.
    pub(in crate::transport::shm) fn awaited_rank(&self) -> u32 {
        let mut all = self.boards.awaited.iter().flatten();
        match (all.next(), all.next()) {
            (Some(one), None) => one.peer + 1,
            _ => 0,
        }
    }

    /// Tells whose reading is waited for. Behind the announcement of sleep, before the order with others' words.
    pub(in crate::transport::shm) fn want(&self) {
        self.boards.awaited.iter().flatten().for_each(Awaited::want);
    }

    /// Does a communicator wait for something that is there already? Asked in one order with the announcement of sleep.
    pub(in crate::transport::shm) fn is_awaited_there(&self) -> bool {
        self.boards.awaited.iter().flatten().any(Awaited::has_come)
    }
}
