//! Large payloads without a copy between: sent from where they lie, and read to where they belong. Only on connections in the
//! clear that do not outlive their relay; the others go through buffers, for sealing and for being sent again.

use crate::base::id::PeerId;
use crate::transport::tcp::link::Link;
use crate::transport::tcp::seal::Seal;
use crate::transport::tcp::{net, Tcp, MAX_PAYLOAD, NONE};
use crate::transport::{Sent, Sink, LEAST_RUN};
use crate::wire::frame::{Header, Kind, HEADER};
use std::io;

impl Link {
    /// Is what is sent what the peer reads?
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.lane.is_none() && matches!(self.seal, Seal::None)
    }
}

impl Tcp {
    /// As [`Tcp::send`], of a payload that lies in one piece.
    pub fn send_run(&mut self, peer: PeerId, header: &Header, run: &[u8]) -> Sent {
        let at = self.peers[peer.0 as usize].out;
        let link = match at {
            NONE => None,
            _ => self.links[at as usize].as_deref_mut(),
        };
        let usable =
            |l: &&mut Link| l.output.is_empty() && l.is_plain() && l.broken.is_none() && !l.rests();
        let (Some(link), true) = (link.filter(usable), run.len() >= LEAST_RUN) else {
            return self.send(peer, header, |room| room.copy_from_slice(run));
        };
        assert!(run.len() <= MAX_PAYLOAD, "payload beyond the limit");
        let head = header.encode();
        let taken = match net::send_both(&link.fd, &head, run) {
            Ok(taken) => taken,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => {
                link.broken = Some(error.to_string());
                self.failed.push(at);
                return Sent::Done;
            }
        };
        link.used = self.turn;
        // The program may change its memory when the call is over, so what the kernel has not taken is kept here.
        let left = HEADER + run.len() - taken;
        if left > 0 {
            // It was empty, and holds two frames.
            let Some(room) = link.output.room(left, &mut self.pool) else {
                link.broken = Some("no room for the rest of a frame".to_string());
                self.failed.push(at);
                return Sent::Done;
            };
            let (first, second) = room.split_at_mut(HEADER.saturating_sub(taken));
            first.copy_from_slice(&head[taken.min(HEADER)..]);
            second.copy_from_slice(&run[taken.saturating_sub(HEADER)..]);
            link.output.commit(left);
            if !link.pending {
                link.pending = true;
                self.pending.push(at);
            }
        }
        Sent::Done
    }

    /// Reads on in the payload of a frame, and what comes behind it to the input. Bytes read, 0 at the end.
    pub(super) fn read_inside(&mut self, at: u32, sink: &mut impl Sink) -> io::Result<usize> {
        let Some(link) = &mut self.links[at as usize] else {
            return Ok(0);
        };
        let Some(header) = link.inside else {
            return Ok(0);
        };
        let peer = PeerId(link.peer);
        let length = header.length as usize;
        // Asked each time: the operation may be over, and its memory the program's again.
        let place = sink.place(peer, &header);
        let got = match place {
            Some(place) => {
                // Of what is behind it the next header: then its payload too can be read to its place.
                let rest = &mut link.input.rest(HEADER, &mut self.pool)[..HEADER];
                // SAFETY: the sink says that the receive's memory has room for this payload there.
                unsafe { net::receive_both(&link.fd, place, length, rest)? }
            }
            // Nobody wants it any more.
            None => {
                let rest = link.input.rest(length, &mut self.pool);
                let most = rest.len().min(length);
                net::receive(&link.fd, &mut rest[..most])?
            }
        };
        let within = got.min(length);
        link.inside = Some(behind(&header, within)).filter(|h| h.length > 0);
        if place.is_some() {
            link.input.commit(got - within);
            if within > 0 {
                sink.placed(peer, &header, within);
            }
        }
        link.used = self.turn;
        Ok(got)
    }
}

/// What became of a frame of which only the beginning has come.
#[derive(Default)]
pub struct Begun {
    /// The rest, which is read to its place; what had come is there.
    pub inside: Option<Header>,
    /// What the frame is from now on.
    pub renamed: Option<Header>,
}

/// A frame of which `part` of the payload has come: hands that out, if the sink knows the payload's place.
#[inline(never)]
pub fn begin(peer: PeerId, header: &Header, part: &[u8], sink: &mut impl Sink) -> Begun {
    let mut begun = Begun::default();
    let left = header.length as usize - part.len();
    if left < LEAST_RUN {
        return begun;
    }
    let mut header = *header;
    if header.kind == Kind::Eager {
        begun.renamed = sink.begun(peer, &header);
        header = begun.renamed.unwrap_or(header);
    }
    if header.kind != Kind::Piece || sink.place(peer, &header).is_none() {
        return begun;
    }
    if !part.is_empty() {
        let length = part.len() as u32;
        sink.frame(peer, &Header { length, ..header }, part);
    }
    begun.inside = Some(behind(&header, part.len()));
    begun
}

/// What is left of a piece when so many bytes of it have come.
fn behind(header: &Header, bytes: usize) -> Header {
    Header {
        length: header.length - bytes as u32,
        cookie: header.cookie.wrapping_add(bytes as u64),
        ..*header
    }
}
