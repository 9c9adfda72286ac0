//! The predefined types (MPI-5.0 §3.2.2, §19.1.9): sizes and alignments of the x86-64 and AArch64 Linux ABIs.

use super::make::Make;
use super::{Datatype, Measure, Type};
use crate::base::constant::handle::*;
use crate::base::id::DatatypeId;

/// How a basic type's bytes read; what external32 needs to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// Uninterpreted or of one byte.
    Byte,
    Signed,
    Unsigned,
    /// IEEE 754 binary of the type's size.
    Float,
    /// Two IEEE 754 numbers.
    Complex,
    /// C's `long double`.
    Extended,
    ExtendedComplex,
    /// Two equal numbers of half the size each: MPI_2INT and its like.
    Twin,
    /// A bound of MPI-1, no data.
    Marker,
}

pub(super) struct Basic {
    pub id: DatatypeId,
    pub name: &'static str,
    pub size: usize,
    pub align: usize,
    pub form: Form,
    /// Bytes in external32 (MPI-5.0 §14.5.2).
    pub external: usize,
}

const fn entry(id: DatatypeId, name: &'static str, size: usize, align: usize, form: Form) -> Basic {
    Basic {
        id,
        name,
        size,
        align,
        form,
        external: size,
    }
}

/// One whose size in external32 differs.
const fn shorter(mut basic: Basic, external: usize) -> Basic {
    basic.external = external;
    basic
}

use Form::{Byte, Complex, Extended, ExtendedComplex, Float, Marker, Signed, Twin, Unsigned};

/// By id.
static BASICS: [Basic; 68] = [
    entry(AINT, "MPI_AINT", 8, 8, Signed),
    entry(COUNT, "MPI_COUNT", 8, 8, Signed),
    entry(OFFSET, "MPI_OFFSET", 8, 8, Signed),
    entry(PACKED, "MPI_PACKED", 1, 1, Byte),
    entry(SHORT, "MPI_SHORT", 2, 2, Signed),
    entry(INT, "MPI_INT", 4, 4, Signed),
    shorter(entry(LONG, "MPI_LONG", 8, 8, Signed), 4),
    entry(LONG_LONG, "MPI_LONG_LONG_INT", 8, 8, Signed),
    entry(UNSIGNED_SHORT, "MPI_UNSIGNED_SHORT", 2, 2, Unsigned),
    entry(UNSIGNED, "MPI_UNSIGNED", 4, 4, Unsigned),
    shorter(entry(UNSIGNED_LONG, "MPI_UNSIGNED_LONG", 8, 8, Unsigned), 4),
    entry(UNSIGNED_LONG_LONG, "MPI_UNSIGNED_LONG_LONG", 8, 8, Unsigned),
    entry(FLOAT, "MPI_FLOAT", 4, 4, Float),
    entry(C_FLOAT_COMPLEX, "MPI_C_COMPLEX", 8, 4, Complex),
    entry(CXX_FLOAT_COMPLEX, "MPI_CXX_FLOAT_COMPLEX", 8, 4, Complex),
    entry(DOUBLE, "MPI_DOUBLE", 8, 8, Float),
    entry(C_DOUBLE_COMPLEX, "MPI_C_DOUBLE_COMPLEX", 16, 8, Complex),
    entry(CXX_DOUBLE_COMPLEX, "MPI_CXX_DOUBLE_COMPLEX", 16, 8, Complex),
    entry(LOGICAL, "MPI_LOGICAL", 4, 4, Signed),
    entry(INTEGER, "MPI_INTEGER", 4, 4, Signed),
    entry(REAL, "MPI_REAL", 4, 4, Float),
    entry(COMPLEX, "MPI_COMPLEX", 8, 4, Complex),
    entry(DOUBLE_PRECISION, "MPI_DOUBLE_PRECISION", 8, 8, Float),
    entry(DOUBLE_COMPLEX, "MPI_DOUBLE_COMPLEX", 16, 8, Complex),
    entry(CHARACTER, "MPI_CHARACTER", 1, 1, Byte),
    entry(LONG_DOUBLE, "MPI_LONG_DOUBLE", 16, 16, Extended),
    entry(
        C_LONG_DOUBLE_COMPLEX,
        "MPI_C_LONG_DOUBLE_COMPLEX",
        32,
        16,
        ExtendedComplex,
    ),
    entry(
        CXX_LONG_DOUBLE_COMPLEX,
        "MPI_CXX_LONG_DOUBLE_COMPLEX",
        32,
        16,
        ExtendedComplex,
    ),
    entry(TWO_INT, "MPI_2INT", 8, 4, Twin),
    entry(TWO_REAL, "MPI_2REAL", 8, 4, Twin),
    entry(TWO_DOUBLE_PRECISION, "MPI_2DOUBLE_PRECISION", 16, 8, Twin),
    entry(TWO_INTEGER, "MPI_2INTEGER", 8, 4, Twin),
    entry(C_BOOL, "MPI_C_BOOL", 1, 1, Byte),
    entry(CXX_BOOL, "MPI_CXX_BOOL", 1, 1, Byte),
    shorter(entry(WCHAR, "MPI_WCHAR", 4, 4, Unsigned), 2),
    entry(INT8_T, "MPI_INT8_T", 1, 1, Byte),
    entry(UINT8_T, "MPI_UINT8_T", 1, 1, Byte),
    entry(CHAR, "MPI_CHAR", 1, 1, Byte),
    entry(SIGNED_CHAR, "MPI_SIGNED_CHAR", 1, 1, Byte),
    entry(UNSIGNED_CHAR, "MPI_UNSIGNED_CHAR", 1, 1, Byte),
    entry(BYTE, "MPI_BYTE", 1, 1, Byte),
    entry(INT16_T, "MPI_INT16_T", 2, 2, Signed),
    entry(UINT16_T, "MPI_UINT16_T", 2, 2, Unsigned),
    entry(INT32_T, "MPI_INT32_T", 4, 4, Signed),
    entry(UINT32_T, "MPI_UINT32_T", 4, 4, Unsigned),
    entry(INT64_T, "MPI_INT64_T", 8, 8, Signed),
    entry(UINT64_T, "MPI_UINT64_T", 8, 8, Unsigned),
    entry(LOGICAL1, "MPI_LOGICAL1", 1, 1, Byte),
    entry(INTEGER1, "MPI_INTEGER1", 1, 1, Byte),
    entry(LOGICAL2, "MPI_LOGICAL2", 2, 2, Signed),
    entry(INTEGER2, "MPI_INTEGER2", 2, 2, Signed),
    entry(REAL2, "MPI_REAL2", 2, 2, Float),
    entry(LOGICAL4, "MPI_LOGICAL4", 4, 4, Signed),
    entry(INTEGER4, "MPI_INTEGER4", 4, 4, Signed),
    entry(REAL4, "MPI_REAL4", 4, 4, Float),
    entry(COMPLEX4, "MPI_COMPLEX4", 4, 2, Complex),
    entry(LOGICAL8, "MPI_LOGICAL8", 8, 8, Signed),
    entry(INTEGER8, "MPI_INTEGER8", 8, 8, Signed),
    entry(REAL8, "MPI_REAL8", 8, 8, Float),
    entry(COMPLEX8, "MPI_COMPLEX8", 8, 4, Complex),
    entry(LOGICAL16, "MPI_LOGICAL16", 16, 16, Signed),
    entry(INTEGER16, "MPI_INTEGER16", 16, 16, Signed),
    entry(REAL16, "MPI_REAL16", 16, 16, Float),
    entry(COMPLEX16, "MPI_COMPLEX16", 16, 8, Complex),
    entry(COMPLEX32, "MPI_COMPLEX32", 32, 16, Complex),
    entry(LB, "MPI_LB", 0, 1, Marker),
    entry(UB, "MPI_UB", 0, 1, Marker),
    entry(C_FLOAT16, "MPIX_C_FLOAT16", 2, 2, Float),
];

/// Value and index of the pair types that are structs.
const PAIRS: [(DatatypeId, &str, DatatypeId); 5] = [
    (FLOAT_INT, "MPI_FLOAT_INT", FLOAT),
    (DOUBLE_INT, "MPI_DOUBLE_INT", DOUBLE),
    (LONG_INT, "MPI_LONG_INT", LONG),
    (SHORT_INT, "MPI_SHORT_INT", SHORT),
    (LONG_DOUBLE_INT, "MPI_LONG_DOUBLE_INT", LONG_DOUBLE),
];

/// Value, then index, as a C compiler lays out a struct of both.
fn pair(value: &Type, index: &Type) -> Make {
    let offset = (value.extent() + index.alignment() - 1) / index.alignment() * index.alignment();
    Make::Pair {
        offsets: [0, offset],
        olds: [value.clone(), index.clone()],
    }
}

/// Every named type with its id and name.
pub(super) fn all() -> Vec<(DatatypeId, &'static str, Type)> {
    let mut all: Vec<(DatatypeId, &'static str, Type)> = Vec::new();
    for b in &BASICS {
        let mut measure = Measure::basic(b.size as i64, b.align as i64);
        match b.id {
            LB => measure.lb_mark = Some(0),
            UB => measure.ub_mark = Some(0),
            _ => {}
        }
        let ty = Datatype::fixed(Make::Basic(b), Some(b.id), Some(measure));
        all.push((b.id, b.name, ty.expect("a basic type is valid")));
    }
    let find = |id: DatatypeId| {
        all.iter()
            .find(|(i, ..)| *i == id)
            .expect("listed")
            .2
            .clone()
    };
    let index = find(INT);
    let mut pairs = Vec::new();
    for (id, name, value) in PAIRS {
        let ty = Datatype::fixed(pair(&find(value), &index), Some(id), None);
        pairs.push((id, name, ty.expect("a pair type is valid")));
    }
    all.extend(pairs);
    for (id, _, ty) in &all {
        ty.handle.set(*id).expect("set once");
    }
    all
}
