//! Sealed connections: Noise (KKpsk0 with X25519, ChaCha20-Poly1305 and BLAKE2s), records of at most 65,535 bytes with
//! a length before each. What is to be sent waits as plain bytes and is sealed when the kernel may take it; what came
//! is opened into the same queue that an open connection reads into. Buffers come from the pool, none is made a message.

use crate::transport::os::Fd;
use crate::transport::tcp::link::{Pool, Queue};
use crate::transport::tcp::net;
use crate::wire::hello::PROOF;
use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::{Builder, HandshakeState, TransportState};
use std::io;

const PATTERN: &str = "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s";
/// Bytes of the first Noise message: a key and the tag of nothing.
pub const FIRST: usize = 32 + TAG;
/// Bytes of the second: a key, the listener's proof, a tag.
pub const SECOND: usize = 32 + PROOF + TAG;
const TAG: usize = 16;
/// Bytes of a record's length.
const LENGTH: usize = 2;
/// The most bytes that a record carries, and its own.
const MOST: usize = 65_535 - TAG;
const RECORD: usize = LENGTH + 65_535;

const CANNOT: &str = "encryption cannot begin";
/// Said of whoever fails in the handshake.
pub const UNKNOWN: &str = "it does not know the job's token, or is not the rank that it says";
const CHANGED: &str = "it sent what cannot be deciphered";

/// This rank's keys, made at its start.
pub struct Keys {
    private: [u8; 32],
    pub public: [u8; 32],
}

impl Keys {
    /// Fresh keys; `None` when the kernel has no random bytes.
    pub fn new() -> Option<Keys> {
        let resolver = DefaultResolver;
        let mut dh = resolver.resolve_dh(&DHChoice::Curve25519)?;
        let mut random = resolver.resolve_rng()?;
        dh.generate(random.as_mut()).ok()?;
        Some(Keys {
            private: dh.privkey().try_into().ok()?,
            public: dh.pubkey().try_into().ok()?,
        })
    }

    /// What only the owners of these keys and of the keys behind `theirs` can compute.
    pub fn agree(&self, theirs: &[u8; 32]) -> Option<[u8; 32]> {
        let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519)?;
        dh.set(&self.private);
        let mut out = [0; 32];
        dh.dh(theirs, &mut out).ok()?;
        Some(out)
    }

    fn builder<'a>(
        &'a self,
        theirs: &'a [u8; 32],
        token: &'a [u8; 32],
        hello: &'a [u8],
    ) -> Result<Builder<'a>, snow::Error> {
        Builder::new(PATTERN.parse()?)
            .local_private_key(&self.private)?
            .remote_public_key(theirs)?
            .psk(0, token)?
            .prologue(hello)
    }

    /// Dialler: the first message, behind the hello.
    pub fn begin(
        &self,
        theirs: &[u8; 32],
        token: &[u8; 32],
        hello: &[u8],
    ) -> Result<(Box<HandshakeState>, [u8; FIRST]), &'static str> {
        let begun = self.builder(theirs, token, hello);
        let mut noise = begun
            .and_then(Builder::build_initiator)
            .map_err(|_| CANNOT)?;
        let mut first = [0; FIRST];
        noise.write_message(&[], &mut first).map_err(|_| CANNOT)?;
        Ok((Box::new(noise), first))
    }

    /// Listener: the answer to the first message, with the proof in it.
    pub fn answer(
        &self,
        theirs: &[u8; 32],
        token: &[u8; 32],
        hello: &[u8],
        first: &[u8],
        proof: &[u8; PROOF],
    ) -> Result<(Channel, [u8; SECOND]), &'static str> {
        let begun = self.builder(theirs, token, hello);
        let mut noise = begun
            .and_then(Builder::build_responder)
            .map_err(|_| CANNOT)?;
        noise.read_message(first, &mut []).map_err(|_| UNKNOWN)?;
        let mut second = [0; SECOND];
        noise
            .write_message(proof, &mut second)
            .map_err(|_| CANNOT)?;
        let channel = Channel::new(noise)?;
        Ok((channel, second))
    }
}

/// Dialler: what came in answer; gives the listener's proof.
pub fn finish(
    mut noise: Box<HandshakeState>,
    second: &[u8],
) -> Result<(Channel, [u8; PROOF]), &'static str> {
    let mut proof = [0; PROOF];
    noise
        .read_message(second, &mut proof)
        .map_err(|_| UNKNOWN)?;
    Ok((Channel::new(*noise)?, proof))
}

/// How far the sealing of a connection is.
#[derive(Default)]
pub enum Seal {
    /// It is open, or not sealed yet.
    #[default]
    None,
    /// The first message is sent.
    Begun(Box<HandshakeState>),
    Channel(Box<Channel>),
}

/// A connection whose bytes are sealed.
pub struct Channel {
    noise: TransportState,
    /// Sealed, and not taken by the kernel yet.
    sealed: Queue,
    /// Came, and not opened yet.
    raw: Queue,
}

impl Channel {
    fn new(noise: HandshakeState) -> Result<Channel, &'static str> {
        Ok(Channel {
            noise: noise.into_transport_mode().map_err(|_| CANNOT)?,
            sealed: Queue::default(),
            raw: Queue::default(),
        })
    }

    /// Is nothing left that is sealed and not sent?
    pub fn is_empty(&self) -> bool {
        self.sealed.is_empty()
    }

    /// Bytes that are sealed and not sent.
    pub fn left(&self) -> usize {
        self.sealed.bytes().len()
    }

    /// What came behind the handshake.
    pub fn came(&mut self, raw: Queue) {
        self.raw = raw;
    }

    /// Sends of the output what the kernel takes.
    pub fn flush(&mut self, fd: &Fd, output: &mut Queue, pool: &mut Pool) -> io::Result<()> {
        loop {
            while !output.is_empty() {
                let length = output.bytes().len().min(MOST);
                let Some(room) = self.sealed.room(LENGTH + length + TAG, pool) else {
                    break;
                };
                let (head, body) = room.split_at_mut(LENGTH);
                head.copy_from_slice(&((length + TAG) as u16).to_le_bytes());
                self.noise
                    .write_message(&output.bytes()[..length], body)
                    .map_err(|_| io::Error::other("encryption failed"))?;
                self.sealed.commit(LENGTH + length + TAG);
                output.consume(length, pool);
            }
            if self.sealed.is_empty() {
                return Ok(());
            }
            match net::send(fd, self.sealed.bytes()) {
                Ok(n) => self.sealed.consume(n, pool),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
                Err(e) => return Err(e),
            }
        }
    }

    /// Receives what is there, as `net::receive` does.
    pub fn receive(&mut self, fd: &Fd, pool: &mut Pool) -> io::Result<usize> {
        let got = net::receive(fd, self.raw.rest(RECORD, pool));
        match &got {
            Ok(n) => self.raw.commit(*n),
            Err(_) => self.raw.consume(0, pool),
        }
        got
    }

    /// Opens whole records behind the input, as far as there is room; true when there was one.
    pub fn open(&mut self, input: &mut Queue, pool: &mut Pool) -> Result<bool, &'static str> {
        let mut opened = false;
        while let Some(head) = self.raw.bytes().first_chunk::<LENGTH>() {
            let total = LENGTH + u16::from_le_bytes(*head) as usize;
            if total < LENGTH + TAG {
                return Err(CHANGED);
            }
            let Some(record) = self.raw.bytes().get(LENGTH..total) else {
                break;
            };
            let Some(room) = input.space(total - LENGTH - TAG, pool) else {
                break;
            };
            let length = self.noise.read_message(record, room).map_err(|_| CHANGED)?;
            input.commit(length);
            input.consume(0, pool);
            self.raw.consume(total, pool);
            opened = true;
        }
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, Channel) {
        let (a, b) = (Keys::new().expect("keys"), Keys::new().expect("keys"));
        let token = [7; 32];
        let (noise, first) = a.begin(&b.public, &token, b"hello").expect("begun");
        let answered = b.answer(&a.public, &token, b"hello", &first, &[5; PROOF]);
        let (listener, second) = answered.expect("answered");
        let (dialler, proof) = finish(noise, &second).expect("finished");
        assert_eq!(proof, [5; PROOF]);
        (dialler, listener)
    }

    /// Seals without a socket.
    fn seal(channel: &mut Channel, plain: &[u8]) -> Vec<u8> {
        let mut out = vec![0; LENGTH + plain.len() + TAG];
        out[..LENGTH].copy_from_slice(&((plain.len() + TAG) as u16).to_le_bytes());
        let n = channel.noise.write_message(plain, &mut out[LENGTH..]);
        assert_eq!(n.expect("sealed"), plain.len() + TAG);
        out
    }

    fn feed(channel: &mut Channel, bytes: &[u8], pool: &mut Pool) {
        let room = channel.raw.space(bytes.len(), pool).expect("room");
        room.copy_from_slice(bytes);
        channel.raw.commit(bytes.len());
    }

    #[test]
    fn both_compute_the_same_and_nobody_else() {
        let keys: Vec<Keys> = (0..3).map(|_| Keys::new().expect("keys")).collect();
        let agree = |a: usize, b: usize| keys[a].agree(&keys[b].public).expect("agreed");
        assert_eq!(agree(0, 1), agree(1, 0));
        assert_ne!(agree(0, 1), agree(2, 1));
    }

    #[test]
    fn records_in_pieces_of_any_size_come_out_whole() {
        let mut pool = Pool::default();
        let (mut a, mut b) = pair();
        let mut input = Queue::default();
        let mut sent: Vec<u8> = Vec::new();
        let mut wire: Vec<u8> = Vec::new();
        for (i, length) in [0, 1, 3000, MOST, 17, MOST].into_iter().enumerate() {
            let plain: Vec<u8> = (0..length).map(|b| (b * 7 + i) as u8).collect();
            wire.extend_from_slice(&seal(&mut a, &plain));
            sent.extend_from_slice(&plain);
        }
        let mut got = Vec::new();
        let mut size = 1;
        while !wire.is_empty() {
            let piece: Vec<u8> = wire.drain(..size.min(wire.len())).collect();
            size = (size * 5 + 3) % 60_000;
            feed(&mut b, &piece, &mut pool);
            b.open(&mut input, &mut pool).expect("opened");
            got.extend_from_slice(input.bytes());
            input.consume(input.bytes().len(), &mut pool);
        }
        assert!(got == sent);
    }

    #[test]
    fn what_was_changed_replayed_or_forged_is_refused() {
        let mut pool = Pool::default();
        for at in [0, 1, 2, 9, 12, 17] {
            let (mut a, mut b) = pair();
            let mut record = seal(&mut a, b"secret");
            record[at] ^= 0x81;
            feed(&mut b, &record, &mut pool);
            feed(&mut b, &[0; 66_000], &mut pool);
            let mut input = Queue::default();
            assert!(b.open(&mut input, &mut pool).is_err(), "byte {at}");
            assert!(input.is_empty());
        }
        let (mut a, mut b) = pair();
        let record = seal(&mut a, b"once");
        feed(&mut b, &record, &mut pool);
        feed(&mut b, &record, &mut pool);
        assert_eq!(b.open(&mut Queue::default(), &mut pool), Err(CHANGED));
    }

    #[test]
    fn another_token_key_or_hello_does_not_meet() {
        let (a, b, c) = (Keys::new(), Keys::new(), Keys::new());
        let (a, b, c) = (a.expect("keys"), b.expect("keys"), c.expect("keys"));
        let first = |from: &Keys, token: u8, hello: &[u8]| {
            let begun = from.begin(&b.public, &[token; 32], hello);
            begun.expect("begun").1
        };
        let try_one = |first: &[u8]| {
            let answered = b.answer(&a.public, &[1; 32], b"x", first, &[0; PROOF]);
            answered.err()
        };
        assert_eq!(try_one(&first(&a, 1, b"x")), None);
        assert_eq!(try_one(&first(&a, 2, b"x")), Some(UNKNOWN));
        assert_eq!(try_one(&first(&c, 1, b"x")), Some(UNKNOWN));
        assert_eq!(try_one(&first(&a, 1, b"y")), Some(UNKNOWN));
        let mut state = 5u64;
        for _ in 0..200 {
            let mut bytes = [0; FIRST];
            for b in &mut bytes {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                *b = (state >> 40) as u8;
            }
            assert_eq!(try_one(&bytes), Some(UNKNOWN));
            let begun = a.begin(&b.public, &[1; 32], b"x").expect("begun").0;
            let mut second = [0; SECOND];
            second[..FIRST].copy_from_slice(&bytes);
            assert_eq!(finish(begun, &second).err(), Some(UNKNOWN));
        }
    }
}
