//! Process topologies (MPI-5.0 §8): what is attached to a communicator, and the arithmetic on it.

pub mod cart;
pub mod dims;
pub mod graph;

use crate::base::error::Result;
use crate::fail;

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

impl Topology {
    /// The processes that this one, of rank `rank`, receives from and sends to in neighborhood collectives, in their
    /// order (MPI-5.0 §8.6); MPI_PROC_NULL beyond an edge that is not periodic.
    pub fn neighbors(&self, rank: i32) -> Result<(Vec<i32>, Vec<i32>)> {
        match self {
            Topology::Cart {
                dims,
                periods,
                coords,
            } => {
                let mut around = Vec::with_capacity(2 * dims.len());
                for direction in 0..dims.len() {
                    let (before, after) = cart::shift(dims, periods, coords, direction as i32, 1)?;
                    around.extend([before, after]);
                }
                Ok((around.clone(), around))
            }
            Topology::Graph { index, edges } => {
                let around = graph::neighbors(index, edges, rank)?.to_vec();
                Ok((around.clone(), around))
            }
            Topology::DistGraph {
                sources,
                destinations,
                ..
            } => Ok((sources.clone(), destinations.clone())),
        }
    }
}

/// How many processes these dimensions make, if no more than `available`.
///
/// # Errors
/// `Dims`: a dimension below 1, or too many processes.
pub fn grid_size(dims: &[i32], available: u32) -> Result<u32> {
    if let Some(small) = dims.iter().find(|&&d| d < 1) {
        fail!(Dims, "dimension {small} is not positive");
    }
    let size = dims
        .iter()
        .fold(1i64, |p, &d| p.saturating_mul(i64::from(d)));
    if size > i64::from(available) {
        fail!(
            Dims,
            "the grid has {size} places, the communicator only {available} processes"
        );
    }
    Ok(size as u32)
}
