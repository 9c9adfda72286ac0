//! Types by precision and range, by size, and by value and index (MPI-5.0 §19.1.5, §19.1.6, §5.1.12).

use super::make::Make;
use super::{Datatype, Types};
use crate::base::constant::handle::*;
use crate::base::constant::{
    COMBINER_F90_COMPLEX, COMBINER_F90_INTEGER, COMBINER_F90_REAL, TYPECLASS_COMPLEX,
    TYPECLASS_INTEGER, TYPECLASS_REAL, UNDEFINED,
};
use crate::base::error::Result;
use crate::base::id::DatatypeId;
use crate::fail;

/// Real kinds as GNU Fortran has them: decimal digits, decimal exponent range, real type, complex type.
const REALS: [(i32, i32, DatatypeId, DatatypeId); 4] = [
    (6, 37, REAL, COMPLEX),
    (15, 307, DOUBLE_PRECISION, DOUBLE_COMPLEX),
    (18, 4931, LONG_DOUBLE, C_LONG_DOUBLE_COMPLEX),
    (33, 4931, REAL16, COMPLEX32),
];

/// Integer kinds: decimal digits and type.
const INTEGERS: [(i32, DatatypeId); 5] = [
    (2, INTEGER1),
    (4, INTEGER2),
    (9, INTEGER4),
    (18, INTEGER8),
    (38, INTEGER16),
];

impl Types {
    /// MPI_Type_create_f90_real: at least `p` digits and exponents to ±`r`; either may be MPI_UNDEFINED.
    pub fn f90_real(&mut self, p: i32, r: i32) -> Result<DatatypeId> {
        let base = real_kind(p, r)?.2;
        self.f90(COMBINER_F90_REAL, &[p, r], base)
    }

    /// MPI_Type_create_f90_complex.
    pub fn f90_complex(&mut self, p: i32, r: i32) -> Result<DatatypeId> {
        let base = real_kind(p, r)?.3;
        self.f90(COMBINER_F90_COMPLEX, &[p, r], base)
    }

    /// MPI_Type_create_f90_integer: at least `r` digits.
    pub fn f90_integer(&mut self, r: i32) -> Result<DatatypeId> {
        match INTEGERS.iter().find(|(digits, _)| r <= *digits) {
            Some((_, base)) => self.f90(COMBINER_F90_INTEGER, &[r], *base),
            None => fail!(Arg, "no integer of {r} decimal digits"),
        }
    }

    fn f90(&mut self, combiner: i32, parameters: &[i32], base: DatatypeId) -> Result<DatatypeId> {
        let key = (
            combiner,
            parameters[0],
            parameters.get(1).copied().unwrap_or(0),
        );
        if let Some(&id) = self.parametrised.get(&key) {
            return Ok(id);
        }
        let make = Make::F90 {
            combiner,
            parameters: parameters.into(),
            base: self.get(base)?.clone(),
        };
        let id = self.insert_fixed(Datatype::fixed(make, Some(base), None)?);
        self.parametrised.insert(key, id);
        Ok(id)
    }

    /// MPI_Type_get_value_index: the named pair type for MINLOC and MAXLOC. For other pairs there is none, which the
    /// standard allows: MPI_DATATYPE_NULL.
    pub fn value_index(&self, value: DatatypeId, index: DatatypeId) -> Result<DatatypeId> {
        self.get(value)?;
        self.get(index)?;
        Ok(match (value, index) {
            (FLOAT, INT) => FLOAT_INT,
            (DOUBLE, INT) => DOUBLE_INT,
            (LONG, INT) => LONG_INT,
            (SHORT, INT) => SHORT_INT,
            (LONG_DOUBLE, INT) => LONG_DOUBLE_INT,
            (INT, INT) => TWO_INT,
            (INTEGER, INTEGER) => TWO_INTEGER,
            _ => DATATYPE_NULL,
        })
    }
}

/// MPI_Type_match_size: the Fortran type of a class (MPI_TYPECLASS_*) that has `size` bytes.
pub fn match_size(class: i32, size: i32) -> Result<DatatypeId> {
    Ok(match (class, size) {
        (TYPECLASS_INTEGER, 1) => INTEGER1,
        (TYPECLASS_INTEGER, 2) => INTEGER2,
        (TYPECLASS_INTEGER, 4) => INTEGER4,
        (TYPECLASS_INTEGER, 8) => INTEGER8,
        (TYPECLASS_INTEGER, 16) => INTEGER16,
        (TYPECLASS_REAL, 2) => REAL2,
        (TYPECLASS_REAL, 4) => REAL4,
        (TYPECLASS_REAL, 8) => REAL8,
        (TYPECLASS_REAL, 16) => REAL16,
        (TYPECLASS_COMPLEX, 4) => COMPLEX4,
        (TYPECLASS_COMPLEX, 8) => COMPLEX8,
        (TYPECLASS_COMPLEX, 16) => COMPLEX16,
        (TYPECLASS_COMPLEX, 32) => COMPLEX32,
        (TYPECLASS_INTEGER | TYPECLASS_REAL | TYPECLASS_COMPLEX, _) => {
            fail!(Arg, "no type of that class has {size} bytes")
        }
        _ => fail!(Arg, "{class} is not a type class"),
    })
}

fn real_kind(p: i32, r: i32) -> Result<&'static (i32, i32, DatatypeId, DatatypeId)> {
    if p == UNDEFINED && r == UNDEFINED {
        fail!(Arg, "neither precision nor range is given");
    }
    // MPI_UNDEFINED is below every kind's digits and range.
    match REALS.iter().find(|kind| p <= kind.0 && r <= kind.1) {
        Some(kind) => Ok(kind),
        None => fail!(Arg, "no real of {p} decimal digits and exponent range {r}"),
    }
}
