//! Graphs: all edges known everywhere (MPI-5.0 §8.5.3), or each process's own (§8.5.4).

use crate::base::error::Result;
use crate::fail;

/// Are these the cumulated degrees and the edges of a graph? Gives the number of edges.
///
/// # Errors
/// `Arg`: degrees that fall; `Rank`: an edge to a process that is not there.
pub fn check(index: &[i32], edges: &[i32], size: u32) -> Result<usize> {
    let mut before = 0;
    for (node, &end) in index.iter().enumerate() {
        if end < before {
            fail!(Arg, "index[{node}] is {end}, less than {before} before it");
        }
        before = end;
    }
    let count = before as usize;
    if edges.len() < count {
        fail!(Arg, "{} edges where index counts {count}", edges.len());
    }
    in_range(&edges[..count], size, "edge")?;
    Ok(count)
}

/// All are ranks of the communicator.
pub fn in_range(ranks: &[i32], size: u32, what: &str) -> Result<()> {
    match ranks.iter().find(|&&r| r < 0 || r as u32 >= size) {
        Some(rank) => fail!(
            Rank,
            "{what} {rank} is not in 0..{size} of the communicator"
        ),
        None => Ok(()),
    }
}

/// No weight is negative.
pub fn weights(weights: Option<&[i32]>) -> Result<()> {
    match weights.unwrap_or(&[]).iter().find(|&&w| w < 0) {
        Some(weight) => fail!(Arg, "weight {weight} is negative"),
        None => Ok(()),
    }
}

/// The neighbors of a node.
///
/// # Errors
/// `Rank`: no such node.
pub fn neighbors<'a>(index: &[i32], edges: &'a [i32], rank: i32) -> Result<&'a [i32]> {
    let node = match usize::try_from(rank) {
        Ok(node) if node < index.len() => node,
        _ => fail!(
            Rank,
            "rank {rank} is not in 0..{} of the graph",
            index.len()
        ),
    };
    let begin = if node == 0 { 0 } else { index[node - 1] };
    Ok(&edges[begin as usize..index[node] as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Class;
    use crate::mpi::topology::Topology;

    /// The standard's example: 0: 1, 3; 1: 0; 2: 3; 3: 0, 2.
    const INDEX: [i32; 4] = [2, 3, 4, 6];
    const EDGES: [i32; 6] = [1, 3, 0, 3, 0, 2];

    #[test]
    fn neighbors_of_the_standards_example() {
        assert_eq!(check(&INDEX, &EDGES, 4).unwrap(), 6);
        assert_eq!(neighbors(&INDEX, &EDGES, 0).unwrap(), [1, 3]);
        assert_eq!(neighbors(&INDEX, &EDGES, 3).unwrap(), [0, 2]);
        assert_eq!(neighbors(&INDEX, &EDGES, 4).unwrap_err().class, Class::Rank);
        let graph = Topology::Graph {
            index: INDEX.to_vec(),
            edges: EDGES.to_vec(),
        };
        assert_eq!(graph.neighbors(1).unwrap(), (vec![0], vec![0]));
    }

    #[test]
    fn wrong_graphs() {
        assert_eq!(check(&[2, 1], &[0, 0], 2).unwrap_err().class, Class::Arg);
        assert_eq!(check(&[-1], &[], 2).unwrap_err().class, Class::Arg);
        assert_eq!(check(&[1], &[2], 2).unwrap_err().class, Class::Rank);
        assert_eq!(check(&[2], &[0], 2).unwrap_err().class, Class::Arg);
        assert_eq!(check(&[], &[], 2).unwrap(), 0);
        assert_eq!(weights(Some(&[1, -1])).unwrap_err().class, Class::Arg);
        assert!(weights(None).is_ok());
    }

    #[test]
    fn a_grids_neighbors_come_in_pairs() {
        use crate::base::constant::PROC_NULL;
        let grid = Topology::Cart {
            dims: vec![3, 2],
            periods: vec![false, true],
            coords: vec![0, 1],
        };
        let (sources, destinations) = grid.neighbors(1).unwrap();
        assert_eq!(sources, [PROC_NULL, 3, 0, 0]);
        assert_eq!(sources, destinations);
    }
}
