//! Cartesian grids: ranks in row-major order (MPI-5.0 §8.2).

use crate::base::constant::PROC_NULL;
use crate::base::error::Result;
use crate::fail;

/// The rank at these coordinates; periodic dimensions wrap.
///
/// # Errors
/// `Arg`: outside of a dimension that is not periodic, or too few coordinates.
pub fn rank(dims: &[i32], periods: &[bool], coords: &[i32]) -> Result<i32> {
    if coords.len() < dims.len() {
        fail!(
            Arg,
            "{} coordinates for {} dimensions",
            coords.len(),
            dims.len()
        );
    }
    let mut rank = 0;
    for (i, &size) in dims.iter().enumerate() {
        let mut at = coords[i];
        if !(0..size).contains(&at) {
            if !periods[i] {
                fail!(Arg, "coordinate {at} in dimension {i} is not in 0..{size}, and that is not periodic");
            }
            at = at.rem_euclid(size);
        }
        rank = rank * size + at;
    }
    Ok(rank)
}

/// The coordinates of a rank, which is one of the grid.
pub fn coords(dims: &[i32], rank: i32) -> Vec<i32> {
    let mut rest = rank;
    let mut coords = vec![0; dims.len()];
    for (at, &size) in coords.iter_mut().zip(dims).rev() {
        *at = rest % size;
        rest /= size;
    }
    coords
}

/// Source and destination of a shift by `disp` along `direction` (MPI-5.0 §8.5.6).
///
/// # Errors
/// `Dims`: no such dimension.
pub fn shift(
    dims: &[i32],
    periods: &[bool],
    coords: &[i32],
    direction: i32,
    disp: i32,
) -> Result<(i32, i32)> {
    let along = match usize::try_from(direction) {
        Ok(along) if along < dims.len() => along,
        _ => fail!(Dims, "direction {direction} is not in 0..{}", dims.len()),
    };
    let neighbor = |by: i64| {
        let size = i64::from(dims[along]);
        let mut at = i64::from(coords[along]) + by;
        if !(0..size).contains(&at) {
            if !periods[along] {
                return Ok(PROC_NULL);
            }
            at = at.rem_euclid(size);
        }
        let mut there = coords.to_vec();
        there[along] = at as i32;
        rank(dims, periods, &there)
    };
    Ok((neighbor(-i64::from(disp))?, neighbor(i64::from(disp))?))
}

/// Which part of a partitioned grid: (color, rank in the part) by the dimensions that remain.
pub fn part(dims: &[i32], coords: &[i32], remain: &[bool]) -> (i32, i32) {
    let (mut color, mut key) = (0, 0);
    for ((&size, &at), &stays) in dims.iter().zip(coords).zip(remain) {
        let number = if stays { &mut key } else { &mut color };
        *number = *number * size + at;
    }
    (color, key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Class;

    const DIMS: [i32; 3] = [2, 3, 4];
    const PERIODS: [bool; 3] = [false, true, false];

    #[test]
    fn ranks_and_coordinates_are_inverse() {
        for r in 0..24 {
            assert_eq!(rank(&DIMS, &PERIODS, &coords(&DIMS, r)).unwrap(), r);
        }
        assert_eq!(coords(&DIMS, 23), [1, 2, 3]);
        assert_eq!(rank(&[], &[], &[]).unwrap(), 0);
        assert!(coords(&[], 0).is_empty());
    }

    #[test]
    fn only_periodic_dimensions_wrap() {
        assert_eq!(
            rank(&DIMS, &PERIODS, &[0, -1, 0]).unwrap(),
            rank(&DIMS, &PERIODS, &[0, 2, 0]).unwrap()
        );
        assert_eq!(
            rank(&DIMS, &PERIODS, &[0, 7, 0]).unwrap(),
            rank(&DIMS, &PERIODS, &[0, 1, 0]).unwrap()
        );
        assert_eq!(
            rank(&DIMS, &PERIODS, &[2, 0, 0]).unwrap_err().class,
            Class::Arg
        );
        assert_eq!(rank(&DIMS, &PERIODS, &[0]).unwrap_err().class, Class::Arg);
    }

    #[test]
    fn shifts() {
        let at = [0, 0, 1];
        assert_eq!(shift(&DIMS, &PERIODS, &at, 0, 1).unwrap(), (PROC_NULL, 13));
        assert_eq!(shift(&DIMS, &PERIODS, &at, 1, 1).unwrap(), (9, 5));
        assert_eq!(shift(&DIMS, &PERIODS, &at, 2, -1).unwrap(), (2, 0));
        assert_eq!(shift(&DIMS, &PERIODS, &at, 2, 0).unwrap(), (1, 1));
        assert_eq!(shift(&DIMS, &PERIODS, &at, 1, i32::MIN).unwrap(), (9, 5));
        assert_eq!(
            shift(&DIMS, &PERIODS, &at, 3, 1).unwrap_err().class,
            Class::Dims
        );
        assert_eq!(
            shift(&DIMS, &PERIODS, &at, -1, 1).unwrap_err().class,
            Class::Dims
        );
    }

    #[test]
    fn parts_number_the_rest() {
        assert_eq!(part(&DIMS, &[1, 2, 3], &[true, false, true]), (2, 7));
        assert_eq!(part(&DIMS, &[1, 2, 3], &[false; 3]), (23, 0));
        assert_eq!(part(&DIMS, &[1, 2, 3], &[true; 3]), (0, 23));
    }
}
