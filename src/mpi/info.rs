//! Info objects (MPI-5.0 §10).

/// Keys and values in the order they were first set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    pub pairs: Vec<(String, String)>,
}

/// All info handles.
#[derive(Default)]
pub struct Infos {}
