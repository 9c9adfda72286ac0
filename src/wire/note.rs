//! What ranks that have no link say to each other through the rendezvous, to meet.
//!
//! A rank that cannot connect to a peer calls it; the peer answers when it next looks. From then on both try the same
//! ways in the same order: punch, then the relay.

const MAGIC: &[u8; 4] = b"MfN\x01";
/// Bytes of a note.
pub const NOTE: usize = 9;

/// A note about one effort to meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note {
    /// Let us meet.
    Call(u32),
    /// I begin now, and so do you.
    Answer(u32),
    /// You are lost to me already.
    Refusal(u32),
    /// Punching: the next round, of this number.
    Next(u32),
    /// I connect in this round now, and so do you.
    Go(u32),
}

impl Note {
    pub fn encode(self) -> [u8; NOTE] {
        let (kind, effort) = match self {
            Note::Call(effort) => (b'c', effort),
            Note::Answer(effort) => (b'a', effort),
            Note::Refusal(effort) => (b'r', effort),
            Note::Next(round) => (b'n', round),
            Note::Go(round) => (b'g', round),
        };
        let mut out = [0; NOTE];
        out[..4].copy_from_slice(MAGIC);
        out[4] = kind;
        out[5..].copy_from_slice(&effort.to_le_bytes());
        out
    }

    /// `None` when it is none, of this version at least.
    pub fn decode(bytes: &[u8]) -> Option<Note> {
        let bytes: &[u8; NOTE] = bytes.try_into().ok()?;
        let effort = u32::from_le_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
        match (&bytes[..4] == MAGIC, bytes[4]) {
            (true, b'c') => Some(Note::Call(effort)),
            (true, b'a') => Some(Note::Answer(effort)),
            (true, b'r') => Some(Note::Refusal(effort)),
            (true, b'n') => Some(Note::Next(effort)),
            (true, b'g') => Some(Note::Go(effort)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_survive_the_wire_and_nonsense_is_none() {
        for note in [
            Note::Call(7),
            Note::Answer(u32::MAX),
            Note::Refusal(1),
            Note::Next(2),
            Note::Go(3),
        ] {
            let bytes = note.encode();
            assert_eq!(Note::decode(&bytes), Some(note));
            assert_eq!(Note::decode(&bytes[..NOTE - 1]), None);
            for at in 0..5 {
                for byte in 0..=255u8 {
                    let mut wrong = bytes;
                    wrong[at] = byte;
                    let read = Note::decode(&wrong);
                    assert!(read.is_none() || read.map(Note::encode) == Some(wrong));
                }
            }
        }
        assert_eq!(Note::decode(b""), None);
    }
}
