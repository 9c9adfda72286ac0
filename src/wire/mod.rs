//! What travels between ranks: pure encoders and decoders.

pub mod address;
pub mod frame;
pub mod hello;
pub mod note;
pub mod relay;
pub mod sha256;
pub mod verbs_address;
pub mod verbs_hello;
