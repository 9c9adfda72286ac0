//! Collective communication (MPI-5.0 §6): a collective is a schedule, that is data. The functions named as MPI's
//! procedures check arguments and build it; [`running::Running`] runs it.

mod allgather;
mod allreduce;
mod alltoall;
mod arguments;
mod barrier;
mod bcast;
mod blocks;
mod gather;
pub mod limits;
mod neighbor;
mod reduce;
mod reduce_scatter;
mod rooted;
pub mod running;
mod scan;
mod scatter;
pub mod schedule;
mod showing;
pub mod shown;
#[cfg(test)]
mod tests;
pub mod tuned;
mod vector;

pub use allgather::{allgather, allgatherv};
pub use allreduce::allreduce;
pub use alltoall::{alltoall, alltoallv, alltoallw};
pub use arguments::{Call, Place};
pub use barrier::barrier;
pub use bcast::{bcast, tree};
pub use gather::{gather, gatherv};
pub use neighbor::{
    neighbor_allgather, neighbor_allgatherv, neighbor_alltoall, neighbor_alltoallv,
    neighbor_alltoallw,
};
pub use reduce::reduce;
pub use reduce_scatter::{reduce_scatter, reduce_scatter_block};
pub use scan::{exscan, scan};
pub use scatter::{scatter, scatterv};
