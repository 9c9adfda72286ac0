//! Which device, port and address this rank uses, and what the device can do.
//!
//! The kernel's lists tell of ports without opening anything. Only the best port's device is opened; when that fails, the
//! next one's. `MAYFLY_VERBS_DEVICE` and `MAYFLY_VERBS_GID` decide otherwise.

use super::sys::{Context, Fork, GidEntry, GidKind, Library};
use crate::base::config::Config;
use crate::wire::verbs_address::Fabric;
use std::fs;
use std::path::Path;
use std::sync::Arc;

const DEVICES: &str = "/sys/class/infiniband";

/// What the user asks for.
#[derive(Clone, Default, Debug)]
pub struct Wish {
    /// `name` or `name:port`.
    pub device: Option<(String, Option<u8>)>,
    pub gid: Option<u8>,
}

impl Wish {
    /// Errors: `MAYFLY_VERBS_DEVICE` is not `name` or `name:port`, `MAYFLY_VERBS_GID` not a small number.
    pub fn of(config: &Config) -> Result<Wish, String> {
        let device = match config.verbs_device.split_once(':') {
            _ if config.verbs_device.is_empty() => None,
            None => Some((config.verbs_device.clone(), None)),
            Some((name, port)) => match port.parse::<u8>() {
                Ok(port) if port > 0 && !name.is_empty() => Some((name.to_string(), Some(port))),
                _ => {
                    let text = &config.verbs_device;
                    return Err(format!(
                        "MAYFLY_VERBS_DEVICE={text} is not NAME or NAME:PORT (ports count from 1)"
                    ));
                }
            },
        };
        let gid = match config.verbs_gid {
            None => None,
            Some(index) => Some(u8::try_from(index).map_err(|_| {
                format!("MAYFLY_VERBS_GID={index} is not the index of a GID (0 to 255)")
            })?),
        };
        Ok(Wish { device, gid })
    }
}

/// A port as the kernel's lists show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    pub device: String,
    pub number: u8,
    /// `4: ACTIVE`, as the kernel writes it.
    pub state: String,
    /// `1: CA`, `4: RNIC` and so on.
    pub node: String,
    /// Of no card, but made by the kernel: rxe, siw.
    pub software: bool,
    /// Gigabits a second.
    pub rate: u32,
}

impl Port {
    /// Why it cannot be used; nothing when it can.
    fn unfit(&self) -> Option<String> {
        let words = match self.node.split(':').next().unwrap_or_default() {
            "1" if self.state.starts_with("4") => return None,
            "1" => {
                let state = self
                    .state
                    .split_once(": ")
                    .map_or("unknown", |(_, word)| word);
                format!("is not active ({})", state.to_lowercase())
            }
            "4" => "is iWARP, which this library does not speak".to_string(),
            _ => "has no reliable connections".to_string(),
        };
        Some(format!("{}:{} {words}", self.device, self.number))
    }
}

/// All ports of this machine.
fn ports(root: &Path) -> Vec<Port> {
    let names = |path: &Path| -> Vec<String> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries
            .filter_map(|e| e.file_name().into_string().ok())
            .collect()
    };
    let read = |path: &Path| {
        fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_string()
    };
    let mut found = Vec::new();
    for device in names(root) {
        let folder = root.join(&device);
        let place = fs::canonicalize(&folder).unwrap_or_default();
        let software = place.components().any(|c| c.as_os_str() == "virtual");
        for port in names(&folder.join("ports")) {
            let Ok(number) = port.parse() else { continue };
            let at = folder.join("ports").join(&port);
            let rate = read(&at.join("rate"));
            found.push(Port {
                device: device.clone(),
                number,
                state: read(&at.join("state")),
                node: read(&folder.join("node_type")),
                software,
                rate: rate
                    .split(['.', ' '])
                    .next()
                    .and_then(|n| n.parse().ok())
                    .unwrap_or(0),
            });
        }
    }
    found
}

/// The ports that may be used, the best first: cards before software, fast before slow, then by name.
///
/// # Errors
/// None may be, with each one's reason.
fn preferred(ports: &[Port], wish: &Wish) -> Result<Vec<Port>, String> {
    let wanted = |p: &&Port| match &wish.device {
        None => true,
        Some((name, port)) => p.device == *name && port.is_none_or(|n| n == p.number),
    };
    let mut fit: Vec<Port> = ports.iter().filter(wanted).cloned().collect();
    if let (true, Some((name, port))) = (fit.is_empty(), &wish.device) {
        let port = port.map_or(String::new(), |p| format!(":{p}"));
        let all: Vec<String> = ports
            .iter()
            .map(|p| format!("{}:{}", p.device, p.number))
            .collect();
        let all = if all.is_empty() {
            "none".into()
        } else {
            all.join(", ")
        };
        return Err(format!(
            "MAYFLY_VERBS_DEVICE={name}{port} is not here; there are: {all}"
        ));
    }
    let reasons: Vec<String> = fit.iter().filter_map(Port::unfit).collect();
    fit.retain(|p| p.unfit().is_none());
    if fit.is_empty() {
        let reasons = if reasons.is_empty() {
            "no device has a port".into()
        } else {
            reasons.join(", ")
        };
        return Err(reasons);
    }
    fit.sort_by(|a, b| {
        let rank = |p: &Port| (p.software, std::cmp::Reverse(p.rate));
        rank(a)
            .cmp(&rank(b))
            .then_with(|| natural(&a.device).cmp(&natural(&b.device)))
            .then(a.number.cmp(&b.number))
    });
    Ok(fit)
}

/// Sorts `mlx5_2` before `mlx5_10`.
fn natural(name: &str) -> (usize, &str) {
    (name.len(), name)
}

/// The address by which peers reach the port.
///
/// # Errors
/// The port has none, or not the one that was asked for.
fn address(entries: &[GidEntry], wish: &Wish) -> Result<GidEntry, String> {
    if let Some(index) = wish.gid {
        return entries
            .iter()
            .find(|e| e.index == index)
            .copied()
            .ok_or_else(|| {
                let all: Vec<String> = entries.iter().map(|e| e.index.to_string()).collect();
                format!(
                    "MAYFLY_VERBS_GID={index} is not set at this port; set are: {}",
                    all.join(", ")
                )
            });
    }
    let order = |e: &GidEntry| {
        let kind = match e.kind {
            GidKind::RoceV2 => 0,
            GidKind::RoceV1 => 1,
            GidKind::InfiniBand => 2,
        };
        let family = match e.gid {
            gid if gid[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff] => 0,
            // Of InfiniBand's, the first is the port's own.
            _ if e.kind == GidKind::InfiniBand => 0,
            gid if gid[0] == 0xfe && gid[1] & 0xc0 == 0x80 => 2,
            _ => 1,
        };
        (kind, family, e.index)
    };
    let best = entries.iter().min_by_key(|e| order(e));
    best.copied().ok_or_else(|| {
        "the port has no address (GID); its network interface needs an IP address".into()
    })
}

/// What can be done to eight bytes of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Atomics {
    No,
    /// Atomic among what this one device does: not together with the processor.
    ByDevice,
    /// Atomic also together with the processor.
    Everywhere,
}

/// What the device can do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of no card: a kernel's thread does its work, on the processors of the ranks.
    pub software: bool,
    /// Queue pairs.
    pub pairs: u32,
    /// Work under way in a queue pair.
    pub sends: u32,
    /// Entries of a completion queue.
    pub completions: u32,
    /// Buffers of a shared receive queue; 0: it has none.
    pub receives: u32,
    /// Pieces of memory in a piece of work.
    pub pieces: u32,
    /// Registrations.
    pub regions: u32,
    /// Bytes of the largest message.
    pub message: u32,
    /// Reads and atomics of peers that may be under way at a queue pair here, and from a queue pair here.
    pub reads_here: u8,
    pub reads_there: u8,
    pub atomics: Atomics,
    /// What a fork does to registered pages.
    pub fork: Fork,
}

/// The device, open, and the place in its network.
pub struct Opened {
    pub context: Arc<Context>,
    pub port: u8,
    pub fabric: Fabric,
    /// The port's number in an InfiniBand subnet; 0 on Ethernet.
    pub lid: u16,
    /// `enum ibv_mtu`: 1 is 256 bytes, 5 is 4096.
    pub mtu: u8,
    pub gid: GidEntry,
    pub limits: Limits,
}

/// Opens the best device; `Ok(None)` when this machine has none (which costs one system call).
///
/// # Errors
/// There is a device, but it cannot be used: why, in one line.
pub fn open(wish: &Wish) -> Result<Option<Opened>, String> {
    let Some(library) = Library::open()? else {
        return Ok(None);
    };
    let ports = preferred(&ports(Path::new(DEVICES)), wish)?;
    let mut reasons: Vec<String> = Vec::new();
    for port in &ports {
        match open_port(library, port, wish) {
            Ok(opened) => return Ok(Some(opened)),
            Err(why) if reasons.contains(&why) => {}
            Err(why) => reasons.push(why),
        }
    }
    Err(reasons.join("; "))
}

fn open_port(library: &'static Library, port: &Port, wish: &Wish) -> Result<Opened, String> {
    let context = library.devices()?.open(&port.device)?;
    let what = context.attributes()?;
    let state = context.port(port.number)?;
    let ethernet = state.link_layer == 2;
    let gids = context.gids(port.number)?;
    let gid =
        address(&gids, wish).map_err(|why| format!("{}:{}: {why}", port.device, port.number))?;
    let count = |n: i32| n.max(0) as u32;
    let small = |n: i32| n.clamp(0, 255) as u8;
    let limits = Limits {
        software: port.software,
        pairs: count(what.max_qp),
        sends: count(what.max_qp_wr),
        completions: count(what.max_cqe),
        receives: if what.max_srq > 0 {
            count(what.max_srq_wr)
        } else {
            0
        },
        pieces: count(what.max_sge),
        regions: count(what.max_mr),
        message: state.max_msg_sz,
        reads_here: small(what.max_qp_rd_atom),
        reads_there: small(what.max_qp_init_rd_atom),
        atomics: match what.atomic_cap {
            0 => Atomics::No,
            1 => Atomics::ByDevice,
            _ => Atomics::Everywhere,
        },
        fork: library.fork(),
    };
    Ok(Opened {
        port: port.number,
        fabric: match gid.kind {
            _ if !ethernet => Fabric::Infiniband,
            GidKind::RoceV2 => Fabric::RoceV2,
            _ => Fabric::RoceV1,
        },
        lid: state.lid,
        mtu: state.active_mtu.clamp(1, 5) as u8,
        gid,
        limits,
        context,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(device: &str, number: u8, state: &str, software: bool, rate: u32) -> Port {
        Port {
            device: device.into(),
            number,
            state: state.into(),
            node: "1: CA".into(),
            software,
            rate,
        }
    }

    fn wish(device: &str, gid: Option<i64>) -> Wish {
        let mut config = Config::from_lookup(|_| None);
        config.verbs_device = device.into();
        config.verbs_gid = gid;
        Wish::of(&config).unwrap()
    }

    #[test]
    fn cards_go_before_software_and_fast_before_slow() {
        let all = [
            port("rxe0", 1, "4: ACTIVE", true, 400),
            port("mlx5_10", 1, "4: ACTIVE", false, 100),
            port("mlx5_2", 2, "4: ACTIVE", false, 100),
            port("mlx5_2", 1, "4: ACTIVE", false, 100),
            port("mlx5_3", 1, "1: DOWN", false, 400),
            port("bnxt0", 1, "4: ACTIVE", false, 200),
        ];
        let names = |wish: &Wish| -> Vec<String> {
            let order = preferred(&all, wish).unwrap();
            order
                .iter()
                .map(|p| format!("{}:{}", p.device, p.number))
                .collect()
        };
        let order = ["bnxt0:1", "mlx5_2:1", "mlx5_2:2", "mlx5_10:1", "rxe0:1"];
        assert_eq!(names(&Wish::default()), order);
        assert_eq!(names(&wish("rxe0", None)), ["rxe0:1"]);
        assert_eq!(names(&wish("mlx5_2:2", None)), ["mlx5_2:2"]);
        let down = preferred(&all, &wish("mlx5_3", None)).unwrap_err();
        assert_eq!(down, "mlx5_3:1 is not active (down)");
        let other = preferred(&all[..1], &wish("mlx4_0:2", None)).unwrap_err();
        assert_eq!(
            other,
            "MAYFLY_VERBS_DEVICE=mlx4_0:2 is not here; there are: rxe0:1"
        );
        let mut siw = port("siw0", 1, "4: ACTIVE", true, 10);
        siw.node = "4: RNIC".into();
        let mut efa = port("efa_0", 1, "4: ACTIVE", false, 100);
        efa.node = "7: unspecified".into();
        let none = preferred(&[siw, efa], &Wish::default()).unwrap_err();
        assert!(
            none.contains("siw0:1 is iWARP") && none.contains("efa_0:1 has no reliable"),
            "{none}"
        );
        assert_eq!(
            preferred(&[], &Wish::default()).unwrap_err(),
            "no device has a port"
        );
    }

    #[test]
    fn a_wish_that_makes_no_sense_is_named() {
        let mut config = Config::from_lookup(|_| None);
        for text in ["mlx5_0:", "mlx5_0:x", "mlx5_0:0", ":1"] {
            config.verbs_device = text.into();
            let said = Wish::of(&config).unwrap_err();
            assert!(said.contains(text), "{said}");
        }
        config.verbs_device.clear();
        config.verbs_gid = Some(-1);
        assert!(Wish::of(&config)
            .unwrap_err()
            .contains("MAYFLY_VERBS_GID=-1"));
    }

    #[test]
    fn routable_addresses_of_the_newer_kind_go_first() {
        let entry = |index, kind, start: &[u8]| {
            let mut gid = [1; 16];
            gid[..start.len()].copy_from_slice(start);
            GidEntry { index, gid, kind }
        };
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        let table = [
            entry(0, GidKind::RoceV1, &[0xfe, 0x80]),
            entry(1, GidKind::RoceV2, &[0xfe, 0x80]),
            entry(2, GidKind::RoceV1, &mapped),
            entry(3, GidKind::RoceV2, &[0x20, 1]),
            entry(4, GidKind::RoceV2, &mapped),
            entry(5, GidKind::RoceV2, &mapped),
        ];
        let chosen = |count| address(&table[..count], &Wish::default()).unwrap().index;
        assert_eq!([1, 2, 3, 4, 5, 6].map(chosen), [0, 1, 1, 3, 4, 4]);
        assert_eq!(address(&table, &wish("", Some(2))).unwrap().index, 2);
        let said = address(&table[..2], &wish("", Some(7))).unwrap_err();
        assert_eq!(
            said,
            "MAYFLY_VERBS_GID=7 is not set at this port; set are: 0, 1"
        );
        assert!(address(&[], &Wish::default())
            .unwrap_err()
            .contains("IP address"));
        let own = [
            entry(0, GidKind::InfiniBand, &[0xfe, 0x80]),
            entry(1, GidKind::InfiniBand, &[0x20]),
        ];
        assert_eq!(address(&own, &Wish::default()).unwrap().index, 0);
    }

    #[test]
    fn ports_are_read_from_the_kernels_lists() {
        let root = std::env::temp_dir().join(format!("mayfly-ports-{}", std::process::id()));
        let at = root.join("virtual/rxe0/ports/1");
        fs::create_dir_all(&at).unwrap();
        fs::write(root.join("virtual/rxe0/node_type"), "1: CA\n").unwrap();
        fs::write(at.join("state"), "4: ACTIVE\n").unwrap();
        fs::write(at.join("rate"), "2.5 Gb/sec (1X SDR)\n").unwrap();
        let list = root.join("list");
        fs::create_dir(&list).unwrap();
        std::os::unix::fs::symlink(root.join("virtual/rxe0"), list.join("rxe0")).unwrap();
        let found = ports(&list);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, [port("rxe0", 1, "4: ACTIVE", true, 2)]);
        assert!(ports(&list).is_empty());
    }
}
