//! Where the job meets: a rendezvous of our own that instances can reach, or one that runs elsewhere.

use crate::base::os;
use crate::platform::launch::{Refusal, Standalone};
use crate::platform::start;
use crate::rendezvous::dial::{self, Link, Owner};
use crate::rendezvous::message::{hex, secrets};
use crate::rendezvous::operator::Operator;
use crate::rendezvous::place::Place;
use crate::rendezvous::relay::{self, Relay};
use crate::rendezvous::server::{self, JobRequest, Relays, Service};
use crate::rendezvous::tls;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// How long the rendezvous may take to answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// Which rendezvous.
#[derive(Clone, Debug)]
pub enum Meeting {
    /// One that runs elsewhere (`mayfly serve`).
    Elsewhere(Standalone),
    /// One in this process: where it listens, and under which name or address instances find it.
    Own {
        listen: String,
        advertise: Option<String>,
    },
}

/// The job to be opened.
pub struct Opening {
    pub name: String,
    pub size: u32,
    pub per_instance: u32,
    pub join_within: Duration,
    pub lease: Duration,
    pub task: serde_json::Value,
}

/// A job that is open, and we are its owner.
pub struct Job {
    pub common: start::Common,
    pub link: Link<Owner>,
    /// Dropped, it stops.
    pub service: Option<Service>,
}

fn refusal(text: impl Into<String>) -> Refusal {
    Refusal::new(1, text)
}

impl Meeting {
    /// Where instances will find it, as far as that is known beforehand; for the size of a start.
    pub fn length(&self) -> usize {
        match self {
            Meeting::Elsewhere(there) => there.place.url().len(),
            Meeting::Own { listen, advertise } => advertise.as_ref().unwrap_or(listen).len() + 16,
        }
    }

    /// Opens the job and becomes its owner.
    pub async fn open(&self, opening: &Opening) -> Result<Job, Refusal> {
        let (place, near, key, service) = match self {
            Meeting::Elsewhere(there) => {
                let place = there.place.clone();
                (place.clone(), place, there.operator_key.clone(), None)
            }
            Meeting::Own { listen, advertise } => {
                let own = Own::start(listen, advertise.as_deref())?;
                (own.place, own.near, own.key, Some(own.service))
            }
        };
        let (job, secret) = create(&near, &key, opening).await?;
        let link = dial::owner(&near, &job, &secret, PATIENCE)
            .await
            .map_err(|e| refusal(of_rendezvous(&near, e.to_string())))?;
        Ok(Job {
            common: start::Common {
                place: start::Place {
                    rendezvous: place.url(),
                    pin: place.pin,
                    job,
                },
                hosts_key: secrets::hosts_key(&secret),
            },
            link,
            service,
        })
    }
}

/// A rendezvous of ours.
struct Own {
    service: Service,
    /// For instances.
    place: Place,
    /// For ourselves.
    near: Place,
    key: String,
}

impl Own {
    fn start(listen: &str, advertise: Option<&str>) -> Result<Own, Refusal> {
        let cannot = |e: std::io::Error| refusal(format!("cannot listen on {listen}: {e}"));
        let addresses: Vec<_> = listen.to_socket_addrs().map_err(cannot)?.collect();
        let listener = TcpListener::bind(&addresses[..]).map_err(cannot)?;
        let bound = listener.local_addr().map_err(cannot)?;
        let (host, port) = advertised(advertise, bound.ip(), bound.port())?;
        let near = if bound.ip().is_unspecified() {
            match bound.ip() {
                IpAddr::V4(_) => "127.0.0.1".to_string(),
                IpAddr::V6(_) => "::1".to_string(),
            }
        } else {
            bound.ip().to_string()
        };
        // What stays on this machine needs no TLS.
        let alone = bound.ip().is_loopback() && advertise.is_none();
        let mut key = [0; 32];
        os::random(&mut key).map_err(cannot)?;
        let key = hex(&key);
        let identity = if alone {
            None
        } else {
            Some(tls::Identity::fresh(std::slice::from_ref(&host)).map_err(cannot)?)
        };
        let pin = identity.as_ref().map(tls::Identity::pin);
        let mut relays = Relays::default();
        let relay = if alone {
            None
        } else {
            os::random(&mut relays.key).map_err(cannot)?;
            let relay = relay(bound, relays.key).map_err(cannot)?;
            let [first, second] = relay.addresses().map(|address| address.port());
            let at = Place {
                tls: false,
                host: host.clone(),
                port: first,
                pin: None,
            };
            let other = Place {
                port: second,
                ..at.clone()
            };
            relays.places = vec![format!("{},{}", at.authority(), other.authority())];
            crate::info!("relay at {}", relays.places[0]);
            Some(Arc::new(relay))
        };
        let options = server::Options {
            operator_key: Some(key.clone()),
            tls: identity,
            relays,
            relay,
            ..server::Options::default()
        };
        let service = Service::start(listener, options, Box::new(|_, _| {})).map_err(cannot)?;
        let place = |host: String, port: u16| Place {
            tls: pin.is_some(),
            host,
            port,
            pin,
        };
        Ok(Own {
            service,
            place: place(host, port),
            near: place(near, bound.port()),
            key,
        })
    }
}

/// A relay beside the rendezvous: on the two ports after its own, or any when they are taken.
fn relay(beside: SocketAddr, key: [u8; 32]) -> std::io::Result<Relay> {
    let listener = |step: u16| {
        let wanted = beside.port().checked_add(step).unwrap_or(0);
        TcpListener::bind((beside.ip(), wanted)).or_else(|_| TcpListener::bind((beside.ip(), 0)))
    };
    Relay::start(
        [listener(1)?, listener(2)?],
        relay::Options::beside_a_rendezvous(key),
    )
}

/// Name and port under which instances find us.
fn advertised(advertise: Option<&str>, bound: IpAddr, port: u16) -> Result<(String, u16), Refusal> {
    let Some(text) = advertise else {
        if bound.is_unspecified() {
            return Err(refusal(
                "--listen on all addresses needs --advertise HOST[:PORT]: under which name do the instances find this \
                 machine?",
            ));
        }
        return Ok((bound.to_string(), port));
    };
    let named = text
        .rsplit(']')
        .next()
        .is_some_and(|tail| tail.contains(':'));
    // Where no port is said it is ours, and not the one that a rendezvous usually has.
    let whole = if named {
        text.to_string()
    } else {
        format!("{text}:{port}")
    };
    match Place::parse(&whole) {
        Ok(place) if !text.contains("://") && !text.contains('#') => Ok((place.host, place.port)),
        _ => Err(refusal(format!(
            "--advertise {text}: is not HOST or HOST:PORT"
        ))),
    }
}

/// A connection's own error does not say whose it was.
fn of_rendezvous(place: &Place, why: String) -> String {
    if why.contains("rendezvous") {
        why
    } else {
        format!("the rendezvous {place}: {why}")
    }
}

/// `POST /v1/jobs`.
async fn create(
    place: &Place,
    key: &str,
    opening: &Opening,
) -> Result<([u8; 16], [u8; 32]), Refusal> {
    let seconds = |time: Duration| time.as_secs_f64().ceil() as u32;
    let request = JobRequest {
        per_instance: opening.per_instance,
        join_within_s: seconds(opening.join_within),
        lease_s: seconds(opening.lease),
        name: opening.name.clone(),
        owned: true,
        task: Some(opening.task.clone()),
        ..JobRequest::new(opening.size)
    };
    let operator = Operator::new(place.clone(), key.to_string()).map_err(refusal)?;
    let opened = operator.open(&request).await;
    opened.map_err(|why| refusal(of_rendezvous(place, why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_told_an_address_that_they_can_use() {
        let any: IpAddr = "0.0.0.0".parse().unwrap();
        let of = |text: Option<&str>| advertised(text, any, 7000).map_err(|r| r.text);
        assert_eq!(of(Some("me.example")), Ok(("me.example".into(), 7000)));
        assert_eq!(of(Some("me.example:443")), Ok(("me.example".into(), 443)));
        assert_eq!(of(Some("[2001:db8::1]")), Ok(("2001:db8::1".into(), 7000)));
        assert!(of(None).unwrap_err().contains("--advertise"));
        for wrong in ["http://x", "x:y", "", "a/b"] {
            assert!(of(Some(wrong)).is_err(), "{wrong}");
        }
        let own: IpAddr = "192.0.2.7".parse().unwrap();
        assert_eq!(
            advertised(None, own, 1).map_err(|r| r.text),
            Ok(("192.0.2.7".into(), 1))
        );
    }
}
