//! The numbers that the engine uses: those of the MPI-5.0 ABI (MPI-5.0 Appendix A). Each library translates its
//! own ABI's numbers at the door.

/// Predefined objects. A name is MPI's without its prefix; names that begin with a digit get `TWO_` for the 2.
pub mod handle {
    use crate::base::id::*;

    pub const COMM_NULL: CommId = CommId(0x100);
    pub const COMM_WORLD: CommId = CommId(0x101);
    pub const COMM_SELF: CommId = CommId(0x102);
    pub const GROUP_NULL: GroupId = GroupId(0x108);
    pub const GROUP_EMPTY: GroupId = GroupId(0x109);
    pub const WIN_NULL: WinId = WinId(0x110);
    pub const FILE_NULL: FileId = FileId(0x118);
    pub const SESSION_NULL: SessionId = SessionId(0x120);
    pub const MESSAGE_NULL: MessageId = MessageId(0x128);
    pub const MESSAGE_NO_PROC: MessageId = MessageId(0x129);
    pub const INFO_NULL: InfoId = InfoId(0x130);
    pub const INFO_ENV: InfoId = InfoId(0x131);
    pub const ERRHANDLER_NULL: ErrhandlerId = ErrhandlerId(0x140);
    pub const ERRORS_ARE_FATAL: ErrhandlerId = ErrhandlerId(0x141);
    pub const ERRORS_ABORT: ErrhandlerId = ErrhandlerId(0x142);
    pub const ERRORS_RETURN: ErrhandlerId = ErrhandlerId(0x143);
    pub const REQUEST_NULL: RequestId = RequestId(0x180);
    pub const KEYVAL_INVALID: KeyvalId = KeyvalId(0);

    pub const OP_NULL: OpId = OpId(0x20);
    pub const SUM: OpId = OpId(0x21);
    pub const MIN: OpId = OpId(0x22);
    pub const MAX: OpId = OpId(0x23);
    pub const PROD: OpId = OpId(0x24);
    pub const BAND: OpId = OpId(0x28);
    pub const BOR: OpId = OpId(0x29);
    pub const BXOR: OpId = OpId(0x2a);
    pub const LAND: OpId = OpId(0x30);
    pub const LOR: OpId = OpId(0x31);
    pub const LXOR: OpId = OpId(0x32);
    pub const MINLOC: OpId = OpId(0x38);
    pub const MAXLOC: OpId = OpId(0x39);
    pub const REPLACE: OpId = OpId(0x3c);
    pub const NO_OP: OpId = OpId(0x3d);

    pub const DATATYPE_NULL: DatatypeId = DatatypeId(0x200);
    pub const AINT: DatatypeId = DatatypeId(0x201);
    pub const COUNT: DatatypeId = DatatypeId(0x202);
    pub const OFFSET: DatatypeId = DatatypeId(0x203);
    pub const PACKED: DatatypeId = DatatypeId(0x207);
    pub const SHORT: DatatypeId = DatatypeId(0x208);
    pub const INT: DatatypeId = DatatypeId(0x209);
    pub const LONG: DatatypeId = DatatypeId(0x20a);
    pub const LONG_LONG: DatatypeId = DatatypeId(0x20b);
    pub const UNSIGNED_SHORT: DatatypeId = DatatypeId(0x20c);
    pub const UNSIGNED: DatatypeId = DatatypeId(0x20d);
    pub const UNSIGNED_LONG: DatatypeId = DatatypeId(0x20e);
    pub const UNSIGNED_LONG_LONG: DatatypeId = DatatypeId(0x20f);
    pub const FLOAT: DatatypeId = DatatypeId(0x210);
    pub const C_FLOAT_COMPLEX: DatatypeId = DatatypeId(0x212);
    pub const CXX_FLOAT_COMPLEX: DatatypeId = DatatypeId(0x213);
    pub const DOUBLE: DatatypeId = DatatypeId(0x214);
    pub const C_DOUBLE_COMPLEX: DatatypeId = DatatypeId(0x216);
    pub const CXX_DOUBLE_COMPLEX: DatatypeId = DatatypeId(0x217);
    pub const LOGICAL: DatatypeId = DatatypeId(0x218);
    pub const INTEGER: DatatypeId = DatatypeId(0x219);
    pub const REAL: DatatypeId = DatatypeId(0x21a);
    pub const COMPLEX: DatatypeId = DatatypeId(0x21b);
    pub const DOUBLE_PRECISION: DatatypeId = DatatypeId(0x21c);
    pub const DOUBLE_COMPLEX: DatatypeId = DatatypeId(0x21d);
    pub const CHARACTER: DatatypeId = DatatypeId(0x21e);
    pub const LONG_DOUBLE: DatatypeId = DatatypeId(0x220);
    pub const C_LONG_DOUBLE_COMPLEX: DatatypeId = DatatypeId(0x224);
    pub const CXX_LONG_DOUBLE_COMPLEX: DatatypeId = DatatypeId(0x225);
    pub const FLOAT_INT: DatatypeId = DatatypeId(0x228);
    pub const DOUBLE_INT: DatatypeId = DatatypeId(0x229);
    pub const LONG_INT: DatatypeId = DatatypeId(0x22a);
    pub const TWO_INT: DatatypeId = DatatypeId(0x22b);
    pub const SHORT_INT: DatatypeId = DatatypeId(0x22c);
    pub const LONG_DOUBLE_INT: DatatypeId = DatatypeId(0x22d);
    pub const TWO_REAL: DatatypeId = DatatypeId(0x230);
    pub const TWO_DOUBLE_PRECISION: DatatypeId = DatatypeId(0x231);
    pub const TWO_INTEGER: DatatypeId = DatatypeId(0x232);
    pub const C_BOOL: DatatypeId = DatatypeId(0x238);
    pub const CXX_BOOL: DatatypeId = DatatypeId(0x239);
    pub const WCHAR: DatatypeId = DatatypeId(0x23c);
    pub const INT8_T: DatatypeId = DatatypeId(0x240);
    pub const UINT8_T: DatatypeId = DatatypeId(0x241);
    pub const CHAR: DatatypeId = DatatypeId(0x243);
    pub const SIGNED_CHAR: DatatypeId = DatatypeId(0x244);
    pub const UNSIGNED_CHAR: DatatypeId = DatatypeId(0x245);
    pub const BYTE: DatatypeId = DatatypeId(0x247);
    pub const INT16_T: DatatypeId = DatatypeId(0x248);
    pub const UINT16_T: DatatypeId = DatatypeId(0x249);
    pub const INT32_T: DatatypeId = DatatypeId(0x250);
    pub const UINT32_T: DatatypeId = DatatypeId(0x251);
    pub const INT64_T: DatatypeId = DatatypeId(0x258);
    pub const UINT64_T: DatatypeId = DatatypeId(0x259);
    pub const LOGICAL1: DatatypeId = DatatypeId(0x2c0);
    pub const INTEGER1: DatatypeId = DatatypeId(0x2c1);
    pub const LOGICAL2: DatatypeId = DatatypeId(0x2c8);
    pub const INTEGER2: DatatypeId = DatatypeId(0x2c9);
    pub const REAL2: DatatypeId = DatatypeId(0x2ca);
    pub const LOGICAL4: DatatypeId = DatatypeId(0x2d0);
    pub const INTEGER4: DatatypeId = DatatypeId(0x2d1);
    pub const REAL4: DatatypeId = DatatypeId(0x2d2);
    pub const COMPLEX4: DatatypeId = DatatypeId(0x2d3);
    pub const LOGICAL8: DatatypeId = DatatypeId(0x2d8);
    pub const INTEGER8: DatatypeId = DatatypeId(0x2d9);
    pub const REAL8: DatatypeId = DatatypeId(0x2da);
    pub const COMPLEX8: DatatypeId = DatatypeId(0x2db);
    pub const LOGICAL16: DatatypeId = DatatypeId(0x2e0);
    pub const INTEGER16: DatatypeId = DatatypeId(0x2e1);
    pub const REAL16: DatatypeId = DatatypeId(0x2e2);
    pub const COMPLEX16: DatatypeId = DatatypeId(0x2e3);
    pub const COMPLEX32: DatatypeId = DatatypeId(0x2eb);

    /// MPI-1's bound markers, removed in MPI-3.0 but still in the MPICH and Open MPI ABIs; numbers of our own.
    pub const LB: DatatypeId = DatatypeId(0x3f0);
    pub const UB: DatatypeId = DatatypeId(0x3f1);
    /// MPICH's type of a half float in C; Fortran's is REAL2.
    pub const C_FLOAT16: DatatypeId = DatatypeId(0x3f2);

    // Predefined attribute keys (MPI-5.0 §9.1.2, §12.2.7).
    pub const TAG_UB: KeyvalId = KeyvalId(501);
    pub const IO: KeyvalId = KeyvalId(502);
    pub const HOST: KeyvalId = KeyvalId(503);
    pub const WTIME_IS_GLOBAL: KeyvalId = KeyvalId(504);
    pub const APPNUM: KeyvalId = KeyvalId(505);
    pub const LASTUSEDCODE: KeyvalId = KeyvalId(506);
    pub const UNIVERSE_SIZE: KeyvalId = KeyvalId(507);
    /// MAYFLY_SECONDS_LEFT of include/mayfly.h, not MPI's. The same number in every ABI: "MAYF", which no key that a
    /// program makes ever reaches.
    pub const SECONDS_LEFT: KeyvalId = KeyvalId(0x4d41_5946);
    pub const WIN_BASE: KeyvalId = KeyvalId(601);
    pub const WIN_DISP_UNIT: KeyvalId = KeyvalId(602);
    pub const WIN_SIZE: KeyvalId = KeyvalId(603);
    pub const WIN_CREATE_FLAVOR: KeyvalId = KeyvalId(604);
    pub const WIN_MODEL: KeyvalId = KeyvalId(605);
}

pub const ANY_SOURCE: i32 = -1;
pub const ANY_TAG: i32 = -2;
pub const PROC_NULL: i32 = -3;
pub const ROOT: i32 = -4;
pub const UNDEFINED: i32 = -32766;

/// The largest tag: MPI_TAG_UB's value.
pub const TAG_MAX: i32 = i32::MAX;

/// MPI_BOTTOM, MPI_IN_PLACE and MPI_BUFFER_AUTOMATIC as buffer addresses.
pub const BOTTOM: *mut u8 = std::ptr::null_mut();
pub const IN_PLACE: *mut u8 = std::ptr::without_provenance_mut(1);
pub const BUFFER_AUTOMATIC: *mut u8 = std::ptr::without_provenance_mut(2);

pub const BSEND_OVERHEAD: i32 = 512;
pub const MODE_APPEND: i32 = 1;
pub const MODE_CREATE: i32 = 2;
pub const MODE_DELETE_ON_CLOSE: i32 = 4;
pub const MODE_EXCL: i32 = 8;
pub const MODE_RDONLY: i32 = 16;
pub const MODE_RDWR: i32 = 32;
pub const MODE_SEQUENTIAL: i32 = 64;
pub const MODE_UNIQUE_OPEN: i32 = 128;
pub const MODE_WRONLY: i32 = 256;
pub const MODE_NOCHECK: i32 = 1024;
pub const MODE_NOPRECEDE: i32 = 2048;
pub const MODE_NOPUT: i32 = 4096;
pub const MODE_NOSTORE: i32 = 8192;
pub const MODE_NOSUCCEED: i32 = 16384;
pub const THREAD_SINGLE: i32 = 0;
pub const THREAD_FUNNELED: i32 = 1024;
pub const THREAD_SERIALIZED: i32 = 2048;
pub const THREAD_MULTIPLE: i32 = 4096;
pub const ORDER_C: i32 = 12;
pub const ORDER_FORTRAN: i32 = 15;
pub const DISTRIBUTE_NONE: i32 = 16;
pub const DISTRIBUTE_BLOCK: i32 = 17;
pub const DISTRIBUTE_CYCLIC: i32 = 18;
/// Not the 19 of the standard's ABI, which is also a block size.
pub const DISTRIBUTE_DFLT_DARG: i32 = -1;
pub const COMBINER_NAMED: i32 = 101;
pub const COMBINER_DUP: i32 = 102;
pub const COMBINER_CONTIGUOUS: i32 = 103;
pub const COMBINER_VECTOR: i32 = 104;
pub const COMBINER_HVECTOR: i32 = 105;
pub const COMBINER_INDEXED: i32 = 106;
pub const COMBINER_HINDEXED: i32 = 107;
pub const COMBINER_INDEXED_BLOCK: i32 = 108;
pub const COMBINER_HINDEXED_BLOCK: i32 = 109;
pub const COMBINER_STRUCT: i32 = 110;
pub const COMBINER_SUBARRAY: i32 = 111;
pub const COMBINER_DARRAY: i32 = 112;
pub const COMBINER_F90_REAL: i32 = 113;
pub const COMBINER_F90_COMPLEX: i32 = 114;
pub const COMBINER_F90_INTEGER: i32 = 115;
pub const COMBINER_RESIZED: i32 = 116;
pub const COMBINER_VALUE_INDEX: i32 = 117;
pub const TYPECLASS_INTEGER: i32 = 192;
pub const TYPECLASS_REAL: i32 = 193;
pub const TYPECLASS_COMPLEX: i32 = 194;
pub const IDENT: i32 = 201;
pub const CONGRUENT: i32 = 202;
pub const SIMILAR: i32 = 203;
pub const UNEQUAL: i32 = 204;
pub const CART: i32 = 211;
pub const GRAPH: i32 = 212;
pub const DIST_GRAPH: i32 = 213;
pub const COMM_TYPE_SHARED: i32 = 221;
pub const COMM_TYPE_HW_UNGUIDED: i32 = 222;
pub const COMM_TYPE_HW_GUIDED: i32 = 223;
pub const COMM_TYPE_RESOURCE_GUIDED: i32 = 224;
pub const LOCK_EXCLUSIVE: i32 = 301;
pub const LOCK_SHARED: i32 = 302;
pub const WIN_FLAVOR_CREATE: i32 = 311;
pub const WIN_FLAVOR_ALLOCATE: i32 = 312;
pub const WIN_FLAVOR_DYNAMIC: i32 = 313;
pub const WIN_FLAVOR_SHARED: i32 = 314;
pub const WIN_UNIFIED: i32 = 321;
pub const WIN_SEPARATE: i32 = 322;
pub const SEEK_CUR: i32 = 401;
pub const SEEK_END: i32 = 402;
pub const SEEK_SET: i32 = 403;
