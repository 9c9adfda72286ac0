//! Settings: the `MAYFLY_*` variables, read once.

use crate::base::trace;
use std::sync::OnceLock;
use std::time::Duration;

/// What a user may set; each field names its variable.
#[derive(Clone, Debug)]
pub struct Config {
    /// `MAYFLY_LOG`: how much to say on standard error.
    pub log: Level,
    /// `MAYFLY_TRANSPORT`: comma-separated transports that may be used (`shm`, `tcp`); empty: all.
    pub transports: Vec<String>,
    /// `MAYFLY_SHM`: where the shared segment lives: `memfd`, `file`, or empty for the first that works.
    pub shm: String,
    /// `MAYFLY_SHM_DIR`: the folder of a segment that is a file.
    pub shm_dir: Option<String>,
    /// `MAYFLY_CMA=0` forbids cross-memory attach.
    pub cma: bool,
    /// `MAYFLY_BOARDS`: communicators at a time whose members show each other what collectives bring.
    pub boards: u32,
    /// `MAYFLY_EAGER`: the largest eager payload, bytes; 0: the transport's own.
    pub eager: usize,
    /// `MAYFLY_LIMITS`: where collectives change their algorithm, `name=value,...`, as `mayfly tune` writes them.
    pub limits: String,
    /// `MAYFLY_SPIN`: how many empty polls before a waiting rank yields; negative: by cores and ranks.
    pub spin: i64,
    /// `MAYFLY_INTERFACE`: the address or interface that TCP listens on; empty: all.
    pub interface: String,
    /// `MAYFLY_TREE_FROM`: in jobs of so many ranks and more the table of addresses travels down a tree.
    pub tree_from: u32,
    /// `MAYFLY_CONNECT_TIMEOUT`: seconds until a connection attempt is given up.
    pub connect_timeout: Duration,
    /// `MAYFLY_ENCRYPT`: `auto` (what leaves the platform's network), `always` or `never`.
    pub encrypt: Encrypt,
    /// `MAYFLY_VERBS_PINNED`: bytes of users' memory that may be registered with a device at a time (also `64M`, `2G`); unset: by the
    /// process's limit and the machine's memory.
    pub verbs_pinned: Option<u64>,
    /// `MAYFLY_PATHS`: comma-separated ways by which TCP may reach a peer (`direct`, `punch`, `relay`); empty: all.
    pub paths: Vec<String>,
    /// `MAYFLY_VERBS_DEVICE`: the RDMA device, `name` or `name:port`; empty: the best one.
    pub verbs_device: String,
    /// `MAYFLY_VERBS_GID`: the index of the port's address that is used; none: the best one.
    pub verbs_gid: Option<i64>,
    /// `MAYFLY_VERBS_EAGER`: how small messages go by RDMA: `send`, or `ring` (written to the peer's memory); empty: `ring`
    /// where the device is software.
    pub verbs_eager: String,
    /// `MAYFLY_VERBS_RNDV`: how large messages go by RDMA: `get`, `put` or `pieces`; empty: the best.
    pub verbs_rndv: String,
}

/// Which connections are encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encrypt {
    /// Those whose bytes leave the platform's network.
    Auto,
    Always,
    Never,
}

/// How much [`crate::base::trace`] says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

impl Config {
    /// From any source of variables; an unreadable value is reported and the default taken.
    pub fn from_lookup(get: impl Fn(&str) -> Option<String>) -> Config {
        let number = |name: &str, default: i64| match get(name) {
            None => default,
            Some(text) => text.trim().parse().unwrap_or_else(|_| {
                trace::say(&format!(
                    "mayfly: {name}={text} is not a number; using {default}"
                ));
                default
            }),
        };
        let size = |name: &str| {
            let text = get(name).filter(|text| !text.trim().is_empty())?;
            let size = bytes(text.trim());
            if size.is_none() {
                trace::say(&format!("mayfly: {name}={text} is no number of bytes (such as 65536, 64M or 2G); using the default"));
            }
            size
        };
        let word = |name: &str| get(name).unwrap_or_default().trim().to_string();
        let list = |name: &str| -> Vec<String> {
            let text = get(name).unwrap_or_default();
            let words = text.split(',').map(|s| s.trim().to_string());
            words.filter(|s| !s.is_empty()).collect()
        };
        Config {
            log: match get("MAYFLY_LOG").as_deref().map(str::trim) {
                Some("error") => Level::Error,
                Some("info") => Level::Info,
                Some("debug") => Level::Debug,
                None | Some("" | "warn") => Level::Warn,
                Some(other) => {
                    trace::say(&format!("mayfly: MAYFLY_LOG={other} is none of error, warn, info, debug; using warn"));
                    Level::Warn
                }
            },
            transports: list("MAYFLY_TRANSPORT"),
            shm: get("MAYFLY_SHM").unwrap_or_default(),
            shm_dir: get("MAYFLY_SHM_DIR"),
            cma: number("MAYFLY_CMA", 1) != 0,
            boards: number("MAYFLY_BOARDS", 4).clamp(0, 64) as u32,
            eager: number("MAYFLY_EAGER", 0).max(0) as usize,
            limits: word("MAYFLY_LIMITS"),
            spin: number("MAYFLY_SPIN", -1),
            interface: get("MAYFLY_INTERFACE").unwrap_or_default(),
            tree_from: number("MAYFLY_TREE_FROM", 256).clamp(2, 1 << 30) as u32,
            connect_timeout: Duration::from_secs(number("MAYFLY_CONNECT_TIMEOUT", 30).max(1) as u64),
            encrypt: match get("MAYFLY_ENCRYPT").as_deref().map(str::trim) {
                None | Some("" | "auto") => Encrypt::Auto,
                Some("never") => Encrypt::Never,
                Some("always") => Encrypt::Always,
                Some(other) => {
                    // The safe side of a slip.
                    trace::say(&format!("mayfly: MAYFLY_ENCRYPT={other} is none of auto, always, never; using always"));
                    Encrypt::Always
                }
            },
            verbs_pinned: size("MAYFLY_VERBS_PINNED"),
            paths: list("MAYFLY_PATHS"),
            verbs_device: get("MAYFLY_VERBS_DEVICE")
                .unwrap_or_default()
                .trim()
                .to_string(),
            verbs_gid: get("MAYFLY_VERBS_GID").map(|_| number("MAYFLY_VERBS_GID", -1)),
            verbs_eager: word("MAYFLY_VERBS_EAGER"),
            verbs_rndv: word("MAYFLY_VERBS_RNDV"),
        }
    }
}

/// A number of bytes, perhaps with K, M or G behind it.
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (digits, unit) = text.split_at(end.unwrap_or(text.len()));
    let factor = match unit {
        "" => 1,
        "K" | "k" => 1 << 10,
        "M" | "m" => 1 << 20,
        "G" | "g" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// The process's settings.
pub fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| Config::from_lookup(|name| std::env::var(name).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_with_their_unit() {
        assert_eq!(bytes("65536"), Some(65536));
        assert_eq!(bytes("64M"), Some(64 << 20));
        assert_eq!(bytes("2g"), Some(2 << 30));
        for wrong in [
            "",
            "M",
            "64MB",
            "-1",
            "99999999999999999999",
            "18446744073709551615K",
        ] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
        let with = |value: &'static str| {
            Config::from_lookup(move |name| (name == "MAYFLY_VERBS_PINNED").then(|| value.into()))
                .verbs_pinned
        };
        assert_eq!(with(" 64K "), Some(65536));
        assert_eq!(with(""), None);
    }
}
