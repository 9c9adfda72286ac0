#!/usr/bin/env python3
"""Compares procedures.table with the MPI standard's own machine-readable list of procedures.

The list is `data/apis.json` of the Python package pympistandard. Usage:

    python3 mpi-tests/abi/compare_standard.py [path to apis.json]

Without a path the installed package is used. Every procedure that C has must be in the table with the same parameters in
the same order, of the kind and direction that the standard says; what the table says differently on purpose stands in
EXPECTED below, with its reason. Exit status 1 and a line for each difference.
"""

import json
import pathlib
import re
import sys

# Kinds of the table, and the standard's kinds that they cover.
KINDS = {
    "count": "POLYXFER_NUM_ELEM_NNI POLYXFER_NUM_ELEM POLYDTYPE_NUM_ELEM_NNI POLYDTYPE_NUM_ELEM POLYDTYPE_NUM_ELEM_PI "
    "POLYNUM_BYTES_NNI POLYNUM_BYTES POLYNUM_PARAM_VALUES POLYDISPLACEMENT_COUNT",
    "displ": "POLYDISPLACEMENT POLYRMA_DISPLACEMENT",
    "extent": "POLYDISPLACEMENT_AINT_COUNT POLYDISPOFFSET POLYDTYPE_PACK_SIZE POLYDTYPE_STRIDE_BYTES POLYLOCATION",
    "aint": "ALLOC_MEM_NUM_BYTES DISPLACEMENT DISPLACEMENT_NNI DISPOFFSET_SMALL LOCATION_SMALL RMA_DISPLACEMENT_NNI "
    "WINDOW_SIZE WIN_ATTACH_SIZE",
    "large": "XFER_NUM_ELEM XFER_NUM_ELEM_NNI NUM_BYTES GENERIC_DTYPE_COUNT TOOLS_TICK_COUNT DROPPED_COUNT",
    "offset": "OFFSET",
    "length": "ARRAY_LENGTH ARRAY_LENGTH_NNI ARRAY_LENGTH_PI",
    "comm": "COMMUNICATOR",
    "group": "GROUP",
    "datatype": "DATATYPE",
    "op": "OPERATION",
    "request": "REQUEST",
    "message": "MESSAGE",
    "info": "INFO",
    "errhandler": "ERRHANDLER",
    "win": "WINDOW",
    "file": "FILE",
    "session": "SESSION",
    "rank": "RANK RANK_NNI",
    "root": "RANK",
    "triple": "RANK",
    "tag": "TAG",
    "logical": "LOGICAL",
    "keyval": "KEYVAL",
    "errcode": "ERROR_CODE ERROR_CODE_SHOW_INTENT",
    "usercode": "ERROR_CODE ERROR_CODE_SHOW_INTENT",
    "errclass": "ERROR_CLASS",
    "threadlevel": "THREAD_LEVEL",
    "comparison": "COMM_COMPARISON GROUP_COMPARISON",
    "order": "ORDER",
    "distribution": "DISTRIB_ENUM",
    "darg": "DTYPE_DISTRIBUTION",
    "combiner": "COMBINER",
    "typeclass": "TYPECLASS",
    "splittype": "SPLIT_TYPE",
    "locktype": "LOCK_TYPE",
    "assert": "ASSERT",
    "amode": "ACCESS_MODE",
    "whence": "UPDATE_MODE",
    "topology": "TOPOLOGY_TYPE",
    "weight": "WEIGHT",
    "status": "STATUS",
    "fstatus": "F90_STATUS",
    "f08status": "F08_STATUS",
    "string": "STRING",
    "strings": "STRING_ARRAY",
    "argvs": "STRING_2DARRAY",
    "argc": "ARGUMENT_COUNT",
    "argv": "ARGUMENT_LIST",
    "attribute": "ATTRIBUTE_VAL ATTRIBUTE_VAL_10",
    "state": "EXTRA_STATE EXTRA_STATE2",
    "varargs": "VARARGS",
    "pointer": "C_BUFFER C_BUFFER2",
    "buffer": "BUFFER",
    "location": "BUFFER",
    "void": "LOGICAL_VOID",
    "object": "TOOL_MPI_OBJ",
    "function": "FUNCTION EVENT_CB_FUNCTION EVENT_FREE_CB_FUNCTION EVENT_DROP_CB_FUNCTION",
    "polyfunction": "POLYFUNCTION",
    "cvar": "CVAR",
    "pvar": "PVAR",
    "pvar_session": "PVAR_SESSION",
    "enum": "TOOLS_ENUM",
    "event_registration": "EVENT_REGISTRATION",
    "event_instance": "EVENT_INSTANCE",
    "cb_safety": "CALLBACK_SAFETY",
    "source_order": "SOURCE_ORDERING",
    "resultlen": "STRING_LENGTH",
    "fint": "F90_COMM F90_DATATYPE F90_ERRHANDLER F90_FILE F90_GROUP F90_INFO F90_MESSAGE F90_OP F90_REQUEST "
    "F90_SESSION F90_WIN",
    "int": "CAT_INDEX COLOR COMM_SIZE COMM_SIZE_PI COORDINATE CVAR_INDEX CVAR_INDEX_SPECIAL DEGREE DIMENSION EVENT_INDEX "
    "FILE_DESCRIPTOR INDEX INFO_VALUE_LENGTH KEY KEY_INDEX LOGICAL_OPTIONAL MATH NUM_DIMS PARTITION PROCESS_GRID_SIZE "
    "PROFILE_LEVEL PVAR_CLASS PVAR_INDEX SOURCE_INDEX TOOLENUM_INDEX TOOLENUM_SIZE TOOLS_NUM_ELEM_SMALL TOOL_VAR_VALUE "
    "TOOL_VAR_VERBOSITY TYPECLASS_SIZE UPDATE_NUMBER VARIABLE_SCOPE GENERIC_DTYPE_INT VERSION BIND_TYPE",
}
KINDS = {kind: set(names.split()) for kind, names in KINDS.items()}
# Output counts of arrays are plain integers, lengths of strings that go in and out too.
KINDS["int"] |= {"ARRAY_LENGTH", "ARRAY_LENGTH_NNI", "STRING_LENGTH"}

# (procedure, parameter): (direction in the table, why it is not the standard's).
EXPECTED = {
    ("MPI_Type_commit", "datatype"): ("ref", "the handle stays as it is"),
    ("MPI_Start", "request"): ("ref", "the handle stays as it is"),
    ("MPI_Startall", "array_of_requests"): ("ref", "the handles stay as they are"),
    ("MPI_Cancel", "request"): ("ref", "a pointer to a handle that is only read"),
    ("MPI_Precv_init", "buf"): ("out", "data come into it"),
    ("MPI_Abi_set_fortran_booleans", "logical_true"): ("inout", "a pointer that is not const"),
    ("MPI_Abi_set_fortran_booleans", "logical_false"): ("inout", "a pointer that is not const"),
    ("MPI_Info_create_env", "argc"): ("in", "an int, not a pointer to one"),
    ("MPI_Info_create_env", "argv"): ("in", "an array of strings, not a pointer to one"),
}
# The same for kinds.
EXPECTED_KINDS = {
    ("MPI_Info_create_env", "argc"): "int",
    ("MPI_Info_create_env", "argv"): "strings",
    ("MPI_T_event_copy", "buffer"): "buffer",
    ("MPI_T_event_read", "buffer"): "buffer",
}


def read_table(path):
    """Rows of procedures.table: name -> (chapter, flags, [(parameter, kind, word, length, mark)])."""
    rows, last = {}, None
    for line in path.read_text().splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if not line.startswith(" "):
            name, chapter, _state, *flags = line.split()
            last = rows[name] = (chapter, flags, [])
            continue
        for word in line.split():
            word, _, mark = word.partition("+")
            text, _, length = word.partition("[")
            name, _, kind = text.partition(":")
            kind, _, detail = (kind or name).partition(".")
            last[2].append((name, kind, detail, length.rstrip("]"), mark))
    return rows


def standard_parameters(api):
    """Parameters that C has."""
    return [p for p in api["parameters"] if "c_parameter" not in p["suppress"]]


def compare(name, row, api):
    """Lines that tell the differences of one procedure."""
    chapter, flags, ours = row
    theirs = standard_parameters(api)
    names = [p["name"] if p["kind"] != "VARARGS" else "varargs" for p in theirs]
    if [p[0] for p in ours] != names:
        yield f"{name}: parameters {[p[0] for p in ours]}, the standard says {names}"
        return
    for (parameter, kind, detail, length, mark), p in zip(ours, theirs):
        key = (name, parameter)
        where = f"{name}, {parameter}"
        if kind not in KINDS:
            yield f"{where}: kind {kind} is unknown to this script"
        elif key in EXPECTED_KINDS:
            if kind != EXPECTED_KINDS[key]:
                yield f"{where}: kind {kind}, expected {EXPECTED_KINDS[key]}"
        elif p["kind"] not in KINDS[kind]:
            yield f"{where}: kind {kind}, the standard says {p['kind']}"
        if kind in ("function", "polyfunction"):
            if p["func_type"] and detail != p["func_type"]:
                yield f"{where}: callback {detail}, the standard says {p['func_type']}"
            continue
        if kind == "varargs":
            continue
        direction = detail or "in"
        wanted = p["param_direction"]
        if kind == "buffer" and wanted == "in" and not p["constant"]:
            wanted = "inout"
        wanted = EXPECTED.get(key, (wanted,))[0]
        if direction != wanted:
            yield f"{where}: direction {direction}, the standard says {wanted}"
        if (mark == "large") != p["large_only"]:
            yield f"{where}: only in the large-count form: {mark == 'large'}, the standard says {p['large_only']}"
        if mark == "root" and not p["root_only"]:
            yield f"{where}: looked at only at the root, the standard says everywhere"
        theirs_length = p["length"]
        scalar = theirs_length is None or kind in ("string", "argv", "argc") or key in EXPECTED_KINDS
        array = kind == "strings" and key not in EXPECTED_KINDS
        if not scalar and not length:
            yield f"{where}: no array, the standard says [{theirs_length}]"
        if isinstance(theirs_length, str) and re.fullmatch(r"[a-z]\w*", theirs_length) and not array and not scalar:
            if length != theirs_length:
                yield f"{where}: length {length}, the standard says {theirs_length}"
    poly = any(p["kind"].startswith("POLY") for p in theirs)
    ours_poly = any(p[1] in ("count", "displ", "extent", "polyfunction") for p in ours)
    if poly != ours_poly:
        yield f"{name}: has a large-count form: {ours_poly}, the standard says {poly}"
    if api["attributes"]["deprecated"] != ("deprecated" in flags):
        yield f"{name}: deprecated: {'deprecated' in flags}, the standard says {api['attributes']['deprecated']}"


def apis(arguments):
    """The standard's procedures that C has."""
    if arguments:
        path = pathlib.Path(arguments[0])
    else:
        import pympistandard

        path = pathlib.Path(pympistandard.__file__).parent / "data" / "apis.json"
    every = json.loads(path.read_text()).values()
    for api in every:
        attributes = api["attributes"]
        other = attributes["callback"] or attributes["predefined_function"]
        # MPI_Sizeof exists in Fortran only, whatever the list says.
        if attributes["c_expressible"] and not other and api["name"] != "MPI_Sizeof":
            yield api["name"], api


def main():
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    rows = read_table(root / "src" / "abi" / "procedures.table")
    lines = []
    standard = dict(apis(sys.argv[1:]))
    for name, api in standard.items():
        if name not in rows:
            lines.append(f"{name}: not in procedures.table")
            continue
        lines.extend(compare(name, rows[name], api))
    for name, (chapter, _, _) in rows.items():
        if name not in standard and chapter not in ("removed", "extension"):
            lines.append(f"{name}: not in the standard")
    for line in lines:
        print(line)
    print(f"{len(standard)} procedures compared, {len(lines)} differences")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
