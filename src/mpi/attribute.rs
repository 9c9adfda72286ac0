//! Attributes and their keys (MPI-5.0 §7.7).

use crate::base::id::KeyvalId;

/// The attributes cached on one object, in the order they were set.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    pub values: Vec<(KeyvalId, usize)>,
}

/// All attribute keys.
#[derive(Default)]
pub struct Keyvals {}
