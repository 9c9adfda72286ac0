//! What travels between ranks: pure encoders and decoders.

pub mod frame;
