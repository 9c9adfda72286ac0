//! The door: what the three libraries share.
