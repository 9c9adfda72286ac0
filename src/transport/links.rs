//! (being written)
pub struct Links;
