//! Process topologies (MPI-5.0 §8).

/// The topology attached to a communicator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    Cart {
        dims: Vec<i32>,
        periods: Vec<bool>,
        coords: Vec<i32>,
    },
    Graph {
        index: Vec<i32>,
        edges: Vec<i32>,
    },
    DistGraph {
        sources: Vec<i32>,
        source_weights: Vec<i32>,
        destinations: Vec<i32>,
        destination_weights: Vec<i32>,
        weighted: bool,
    },
}
