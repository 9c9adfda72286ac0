//! A job's secret and what is derived from it. Everything is HMAC-SHA-256 (RFC 2104) under a 32-byte key, so that who
//! has one pass can make no other.

use crate::wire::sha256::hmac;

/// What ranks prove to each other that they are of one job, and the key of what they encrypt.
pub fn mesh(secret: &[u8; 32]) -> [u8; 32] {
    hmac(secret, &[b"mesh"])
}

/// Lets one attempt (`epoch`) to start this rank join, once.
pub fn member_pass(secret: &[u8; 32], rank: u32, epoch: u32) -> [u8; 32] {
    let (rank, epoch) = (rank.to_le_bytes(), epoch.to_le_bytes());
    hmac(secret, &[b"member", &rank, &epoch])
}

/// What makes host passes: given to instances that learn their number from the platform.
pub fn hosts_key(secret: &[u8; 32]) -> [u8; 32] {
    hmac(secret, &[b"hosts"])
}

/// Lets one attempt to start this instance begin, once.
pub fn host_pass(hosts_key: &[u8; 32], instance: u32, attempt: u32) -> [u8; 32] {
    let (instance, attempt) = (instance.to_le_bytes(), attempt.to_le_bytes());
    hmac(hosts_key, &[&instance, &attempt])
}

/// Lets the ranks of a job use a relay whose operator has this key, until `expiry` (seconds since 1970).
pub fn relay_grant(key: &[u8; 32], job: &[u8; 16], expiry: u64) -> [u8; 32] {
    hmac(key, &[b"relay", job, &expiry.to_le_bytes()])
}
