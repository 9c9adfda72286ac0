//! How two ranks get a reliable connection: hellos by datagrams, from the queue pair that one's address names to the one
//! that the other's does. [`pair`] says how one pair meets; here is who may speak at all, how long a peer may be silent,
//! and what is learnt of machines. It knows neither device nor clock: what it makes and says goes through [`Ends`].

mod pair;
#[cfg(test)]
mod simulation;

use crate::debug;
use crate::transport::tcp::Keys;
use crate::wire::address::Address;
use crate::wire::hello::pair_key;
use crate::wire::verbs_address::VerbsAddress;
use crate::wire::verbs_hello::{Offer, VerbsHello, HELLO, TERMS};
use pair::{End, News, Pair, Said, Word};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a machine of which nobody was ever heard may be silent when there is another way to it.
const PATIENCE: Duration = Duration::from_secs(2);

/// This side of a connection to be, as the peer must know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ours {
    pub queue_pair: u32,
    /// The number of its first packet.
    pub first_packet: u32,
    pub terms: [u8; TERMS],
}

impl Default for Ours {
    fn default() -> Ours {
        Ours {
            queue_pair: 0,
            first_packet: 0,
            terms: [0; TERMS],
        }
    }
}

/// What a meeting does to queue pairs, and tells their owner.
pub trait Ends {
    /// Makes the queue pair to this peer, or answers the one that is made.
    ///
    /// # Errors
    /// One line: why there is none.
    fn prepare(&mut self, peer: u32) -> Result<Ours, String>;

    /// Takes it to receiving from and sending to this one of the peer's at that port, also when it was taken to another
    /// before, which the peer has given up.
    ///
    /// # Errors
    /// One line: why it cannot.
    fn connect(&mut self, peer: u32, at: &VerbsAddress, theirs: &Offer) -> Result<(), String>;

    /// The peer receives: frames may go.
    fn connected(&mut self, peer: u32, theirs: &Offer);

    /// No frame goes either way: what `prepare` made is not needed.
    fn failed(&mut self, peer: u32, why: String);

    /// No frame will go to the peer; but some may come.
    fn unheard(&mut self, peer: u32, why: String);

    /// Sends a hello; it may get lost.
    ///
    /// # Errors
    /// One line: why nothing can ever get there.
    fn post(&mut self, peer: u32, to: &VerbsAddress, hello: &[u8; HELLO]) -> Result<(), String>;
}

/// Who meets, and how long it waits.
pub struct Settings {
    pub me: u32,
    pub job: [u8; 16],
    pub token: [u8; 32],
    pub keys: Option<Arc<Keys>>,
    /// This rank's port, for what it says of itself.
    pub mtu: u8,
    pub reads: u8,
    /// How long a peer may be silent that is known to be reachable, or that has no other way.
    pub patience: Duration,
    /// Peers can be reached otherwise.
    pub spare: bool,
}

/// A peer that was introduced.
struct Guest {
    at: VerbsAddress,
    /// Its machine.
    host: [u8; 16],
    public: Option<[u8; 32]>,
    /// The key of the pair's proofs, once needed.
    key: Option<[u8; 32]>,
    pair: Pair,
    /// It is lost, or said goodbye.
    gone: bool,
}

impl Guest {
    fn may_want(&self) -> bool {
        let pair = &self.pair;
        !(self.gone || pair.connected || pair.over || pair.asks())
    }
}

/// What is known of a machine.
enum Host {
    /// A rank of it was heard.
    Heard,
    /// None answered when one was asked.
    Silent(String),
}

/// What came and was no use.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Strange {
    /// No hello, or one of another job or to another rank.
    pub foreign: u64,
    /// A hello that was not made with the pair's key.
    pub forged: u64,
}

/// All meetings of a rank.
pub struct Meet {
    settings: Settings,
    guests: HashMap<u32, Guest>,
    /// Those that are asked.
    asked: Vec<u32>,
    hosts: BTreeMap<[u8; 16], Host>,
    /// Peers whose hello came before they were introduced; whoever polls introduces them.
    pub wanted: Vec<u32>,
    pub strange: Strange,
}

impl Meet {
    pub fn new(settings: Settings) -> Meet {
        Meet {
            settings,
            guests: HashMap::new(),
            asked: Vec::new(),
            hosts: BTreeMap::new(),
            wanted: Vec::new(),
            strange: Strange::default(),
        }
    }

    /// Takes a peer's address in; nothing happens when it has none for verbs or is known.
    pub fn introduce(&mut self, peer: u32, address: &Address) {
        let Some(at) = address.verbs else { return };
        self.guests.entry(peer).or_insert_with(|| Guest {
            at,
            // Of a machine whose name nobody knows, one port.
            host: match address.boot {
                boot if boot == [0; 16] => at.gid,
                boot => boot,
            },
            public: address.key,
            key: None,
            pair: Pair::default(),
            gone: false,
        });
    }

    /// Where a peer's port is.
    pub fn place(&self, peer: u32) -> Option<&VerbsAddress> {
        self.guests.get(&peer).map(|g| &g.at)
    }

    /// Is there anything to be done when this rank has something for the peer?
    pub fn may_want(&self, peer: u32) -> bool {
        self.guests.get(&peer).is_some_and(Guest::may_want)
    }

    /// This rank has something for the peer: it is asked until it answers.
    pub fn want(&mut self, peer: u32, now: Instant, ends: &mut impl Ends) {
        let Some(guest) = self.guests.get_mut(&peer).filter(|g| g.may_want()) else {
            return;
        };
        let begun = match self.hosts.get(&guest.host) {
            Some(Host::Silent(why)) if self.settings.spare && !guest.pair.heard() => {
                Err(guest.pair.give_up(why.clone()))
            }
            _ => guest.pair.want(peer, now, ends),
        };
        match begun {
            Ok(()) => {
                self.asked.push(peer);
                self.tick(now, ends);
            }
            Err(news) => tell(peer, news, ends),
        }
    }

    /// Takes a datagram.
    pub fn came(&mut self, bytes: &[u8; HELLO], ends: &mut impl Ends) {
        let settings = &self.settings;
        let hello = VerbsHello::decode(bytes)
            .filter(|h| h.job == settings.job && h.to == settings.me && h.from != settings.me);
        let Some(hello) = hello else {
            self.strange.foreign += 1;
            said_seldom(self.strange.foreign, "what is no hello to this rank");
            return;
        };
        let peer = hello.from;
        let Some(guest) = self.guests.get_mut(&peer) else {
            if !self.wanted.contains(&peer) {
                self.wanted.push(peer);
            }
            return;
        };
        if guest.gone {
            return;
        }
        let key = *guest
            .key
            .get_or_insert_with(|| key_with(settings, guest.public.as_ref()));
        if !VerbsHello::proven(bytes, &key) {
            self.strange.forged += 1;
            said_seldom(
                self.strange.forged,
                "hellos of somebody who does not know the job's token, or is not the rank that it says",
            );
            return;
        }
        self.hosts.insert(guest.host, Host::Heard);
        let said = Said {
            attempt: hello.attempt,
            ready_for: hello.ready_for,
            asks: hello.asks,
            refuses: hello.refuses,
            offer: hello.offer,
        };
        let say = match guest.pair.came(peer, &guest.at, &said, ends) {
            Ok(say) => say,
            Err(End { news, say }) => {
                tell(peer, news, ends);
                say
            }
        };
        if guest.pair.connected || guest.pair.over {
            self.asked.retain(|p| *p != peer);
        }
        if let Some(word) = say {
            self.say(peer, word, ends);
        }
    }

    /// Something came on the peer's queue pair: it receives as well.
    pub fn heard(&mut self, peer: u32, ends: &mut impl Ends) {
        if let Some(guest) = self.guests.get_mut(&peer) {
            guest.pair.heard_of(peer, ends);
            self.asked.retain(|p| *p != peer);
        }
    }

    /// What time brings.
    pub fn tick(&mut self, now: Instant, ends: &mut impl Ends) {
        for i in (0..self.asked.len()).rev() {
            let Some(&peer) = self.asked.get(i) else {
                continue;
            };
            let patience = self.patience(peer);
            let Some(guest) = self.guests.get_mut(&peer) else {
                continue;
            };
            match guest.pair.tick(now, patience) {
                Ok(Some(word)) => self.say(peer, word, ends),
                Ok(None) => (),
                Err(news) => {
                    self.asked.swap_remove(i);
                    if let News::Failed(why) = &news {
                        let silent = || Host::Silent(why.clone());
                        self.hosts.entry(guest.host).or_insert_with(silent);
                    }
                    tell(peer, news, ends);
                }
            }
        }
    }

    /// When time brings something.
    pub fn next_tick(&self) -> Option<Instant> {
        let tick = |peer: &u32| self.guests[peer].pair.next_tick(self.patience(*peer));
        self.asked.iter().filter_map(tick).min()
    }

    /// Nothing is said to the peer any more, and nothing it says is heard.
    pub fn forget(&mut self, peer: u32) {
        self.asked.retain(|p| *p != peer);
        if let Some(guest) = self.guests.get_mut(&peer) {
            guest.pair = Pair::default();
            guest.gone = true;
        }
    }

    /// How long this peer may be silent.
    fn patience(&self, peer: u32) -> Duration {
        let heard =
            |g: &Guest| g.pair.heard() || matches!(self.hosts.get(&g.host), Some(Host::Heard));
        let known = self.guests.get(&peer).is_some_and(heard);
        match known || !self.settings.spare {
            true => self.settings.patience,
            false => self.settings.patience.min(PATIENCE),
        }
    }

    fn say(&mut self, peer: u32, word: Word, ends: &mut impl Ends) {
        let settings = &self.settings;
        let Some(guest) = self.guests.get_mut(&peer) else {
            return;
        };
        let key = *guest
            .key
            .get_or_insert_with(|| key_with(settings, guest.public.as_ref()));
        let hello = VerbsHello {
            job: settings.job,
            from: settings.me,
            to: peer,
            attempt: word.attempt,
            ready_for: word.ready_for,
            asks: word.asks,
            refuses: word.refuses,
            offer: Offer {
                queue_pair: word.ours.queue_pair,
                first_packet: word.ours.first_packet,
                mtu: settings.mtu,
                reads: settings.reads,
                terms: word.ours.terms,
            },
        };
        if let Err(why) = ends.post(peer, &guest.at, &hello.encode(&key)) {
            if guest.pair.connected || guest.pair.over {
                return;
            }
            let news = guest.pair.give_up(why.clone());
            self.hosts.entry(guest.host).or_insert(Host::Silent(why));
            self.asked.retain(|p| *p != peer);
            tell(peer, news, ends);
        }
    }
}

fn tell(peer: u32, news: News, ends: &mut impl Ends) {
    match news {
        News::Failed(why) => ends.failed(peer, why),
        News::Unheard(why) => ends.unheard(peer, why),
    }
}

/// The key of a pair's proofs, as TCP's greetings have it.
fn key_with(settings: &Settings, public: Option<&[u8; 32]>) -> [u8; 32] {
    let agreed = match (&settings.keys, public) {
        (Some(keys), Some(theirs)) => keys.agree(theirs),
        _ => None,
    };
    agreed.map_or(settings.token, |agreed| pair_key(&settings.token, &agreed))
}

/// The first, and then each time it has doubled.
fn said_seldom(count: u64, what: &str) {
    if count.is_power_of_two() {
        debug!("verbs: {count} datagrams brought {what}");
    }
}
