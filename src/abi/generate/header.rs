//! mpi.h of each ABI, under include/.

use crate::c_types::prototype;
use crate::table::{constants, procedures, Constant, Family};

/// Where it stands, from the project's root.
pub fn path(family: Family) -> String {
    format!("include/{}/mpi.h", family.name())
}

/// The whole header.
pub fn write(family: Family) -> String {
    let mut text = String::from(BEGIN);
    text = text.replace("ABI_NAME", title(family));
    text += types(family);
    text += CALLBACKS;
    text += LARGE_CALLBACKS;
    if family == Family::Mpich {
        text += MPICH_CALLBACKS;
    }
    text += &tool_types(family);
    text += &objects(family);
    text += &values(family);
    text += &prototypes(family, "");
    text += "\n/* The same for tools that put their own functions in front. */\n\n";
    text += &prototypes(family, "P");
    text += &macros(family);
    text += END;
    text
}

fn title(family: Family) -> &'static str {
    match family {
        Family::Mpich => "the ABI of MPICH and its kin (libmpi.so.12)",
        Family::OpenMpi => "the ABI of Open MPI 4 and 5 (libmpi.so.40)",
        Family::Standard => "the ABI of the MPI-5.0 standard (libmpi_abi.so.1)",
    }
}

const BEGIN: &str = "/* MPI 5.0 in C, with ABI_NAME.
 * Written by mayfly-generate from procedures.table and constants.table: do not edit. */

#ifndef MPI_H_MAYFLY
#define MPI_H_MAYFLY

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern \"C\" {
#endif

#define MAYFLY 1
";

const END: &str = "
#ifdef __cplusplus
}
#endif

#endif
";

fn types(family: Family) -> &'static str {
    match family {
        Family::Mpich => {
            "
typedef long MPI_Aint;
typedef long long MPI_Count;
typedef long long MPI_Offset;
typedef int MPI_Fint;

typedef int MPI_Comm;
typedef int MPI_Group;
typedef int MPI_Datatype;
typedef int MPI_Op;
typedef int MPI_Request;
typedef int MPI_Message;
typedef int MPI_Info;
typedef int MPI_Errhandler;
typedef int MPI_Win;
typedef int MPI_Session;
typedef struct ADIOI_FileD *MPI_File;
typedef int MPIX_Grequest_class;

typedef struct MPI_Status {
    int mayfly_count_low;
    int mayfly_count_high_and_cancelled;
    int MPI_SOURCE;
    int MPI_TAG;
    int MPI_ERROR;
} MPI_Status;

typedef struct {
    MPI_Fint mayfly_count_low;
    MPI_Fint mayfly_count_high_and_cancelled;
    MPI_Fint MPI_SOURCE;
    MPI_Fint MPI_TAG;
    MPI_Fint MPI_ERROR;
} MPI_F08_status;
"
        }
        Family::OpenMpi => {
            "
typedef ptrdiff_t MPI_Aint;
typedef long long MPI_Count;
typedef long long MPI_Offset;
typedef int MPI_Fint;

typedef struct ompi_communicator_t *MPI_Comm;
typedef struct ompi_group_t *MPI_Group;
typedef struct ompi_datatype_t *MPI_Datatype;
typedef struct ompi_op_t *MPI_Op;
typedef struct ompi_request_t *MPI_Request;
typedef struct ompi_message_t *MPI_Message;
typedef struct ompi_info_t *MPI_Info;
typedef struct ompi_errhandler_t *MPI_Errhandler;
typedef struct ompi_win_t *MPI_Win;
typedef struct ompi_instance_t *MPI_Session;
typedef struct ompi_file_t *MPI_File;

typedef struct ompi_status_public_t {
    int MPI_SOURCE;
    int MPI_TAG;
    int MPI_ERROR;
    int mayfly_cancelled;
    size_t mayfly_bytes;
} MPI_Status;

typedef struct ompi_f08_status_public_t {
    MPI_Fint MPI_SOURCE;
    MPI_Fint MPI_TAG;
    MPI_Fint MPI_ERROR;
    MPI_Fint mayfly_cancelled;
    size_t mayfly_bytes;
} MPI_F08_status;
"
        }
        Family::Standard => {
            "
typedef intptr_t MPI_Aint;
typedef int64_t MPI_Offset;
typedef int64_t MPI_Count;

typedef struct MPI_ABI_Comm *MPI_Comm;
typedef struct MPI_ABI_Group *MPI_Group;
typedef struct MPI_ABI_Datatype *MPI_Datatype;
typedef struct MPI_ABI_Op *MPI_Op;
typedef struct MPI_ABI_Request *MPI_Request;
typedef struct MPI_ABI_Message *MPI_Message;
typedef struct MPI_ABI_Info *MPI_Info;
typedef struct MPI_ABI_Errhandler *MPI_Errhandler;
typedef struct MPI_ABI_Win *MPI_Win;
typedef struct MPI_ABI_Session *MPI_Session;
typedef struct MPI_ABI_File *MPI_File;

typedef struct {
    int MPI_SOURCE;
    int MPI_TAG;
    int MPI_ERROR;
    int MPI_internal[5];
} MPI_Status;
"
        }
    }
}

const CALLBACKS: &str = "
typedef void (MPI_User_function)(void *invec, void *inoutvec, int *len, MPI_Datatype *datatype);
typedef int (MPI_Copy_function)(MPI_Comm oldcomm, int keyval, void *extra_state, void *attribute_val_in,
    void *attribute_val_out, int *flag);
typedef int (MPI_Delete_function)(MPI_Comm comm, int keyval, void *attribute_val, void *extra_state);
typedef int (MPI_Comm_copy_attr_function)(MPI_Comm oldcomm, int comm_keyval, void *extra_state,
    void *attribute_val_in, void *attribute_val_out, int *flag);
typedef int (MPI_Comm_delete_attr_function)(MPI_Comm comm, int comm_keyval, void *attribute_val, void *extra_state);
typedef int (MPI_Type_copy_attr_function)(MPI_Datatype oldtype, int type_keyval, void *extra_state,
    void *attribute_val_in, void *attribute_val_out, int *flag);
typedef int (MPI_Type_delete_attr_function)(MPI_Datatype datatype, int type_keyval, void *attribute_val,
    void *extra_state);
typedef int (MPI_Win_copy_attr_function)(MPI_Win oldwin, int win_keyval, void *extra_state, void *attribute_val_in,
    void *attribute_val_out, int *flag);
typedef int (MPI_Win_delete_attr_function)(MPI_Win win, int win_keyval, void *attribute_val, void *extra_state);
typedef void (MPI_Comm_errhandler_function)(MPI_Comm *comm, int *error_code, ...);
typedef void (MPI_Win_errhandler_function)(MPI_Win *win, int *error_code, ...);
typedef void (MPI_File_errhandler_function)(MPI_File *file, int *error_code, ...);
typedef void (MPI_Session_errhandler_function)(MPI_Session *session, int *error_code, ...);
typedef MPI_Comm_errhandler_function MPI_Handler_function;
typedef MPI_Comm_errhandler_function MPI_Comm_errhandler_fn;
typedef MPI_Win_errhandler_function MPI_Win_errhandler_fn;
typedef MPI_File_errhandler_function MPI_File_errhandler_fn;
typedef MPI_Session_errhandler_function MPI_Session_errhandler_fn;
typedef int (MPI_Grequest_query_function)(void *extra_state, MPI_Status *status);
typedef int (MPI_Grequest_free_function)(void *extra_state);
typedef int (MPI_Grequest_cancel_function)(void *extra_state, int complete);
typedef int (MPI_Datarep_extent_function)(MPI_Datatype datatype, MPI_Aint *extent, void *extra_state);
typedef int (MPI_Datarep_conversion_function)(void *userbuf, MPI_Datatype datatype, int count, void *filebuf,
    MPI_Offset position, void *extra_state);
";

const LARGE_CALLBACKS: &str = "typedef void (MPI_User_function_c)(void *invec, void *inoutvec, MPI_Count *len, MPI_Datatype *datatype);
typedef int (MPI_Datarep_conversion_function_c)(void *userbuf, MPI_Datatype datatype, MPI_Count count, void *filebuf,
    MPI_Offset position, void *extra_state);
";

const MPICH_CALLBACKS: &str = "typedef int (MPIX_Grequest_poll_function)(void *extra_state, MPI_Status *status);
typedef int (MPIX_Grequest_wait_function)(int count, void **array_of_states, double timeout, MPI_Status *status);
";

/// The types of the tool interface.
fn tool_types(family: Family) -> String {
    let tags = match family {
        Family::Mpich => [
            "MPIR_T_enum_s",
            "MPIR_T_cvar_handle_s",
            "MPIR_T_pvar_handle_s",
            "MPIR_T_pvar_session_s",
        ],
        Family::OpenMpi => [
            "mca_base_var_enum_t",
            "ompi_mpit_cvar_handle_t",
            "mca_base_pvar_handle_t",
            "mca_base_pvar_session_t",
        ],
        Family::Standard => [
            "MPI_T_enum_t",
            "MPI_T_cvar_handle_t",
            "MPI_T_pvar_handle_t",
            "MPI_T_pvar_session_t",
        ],
    };
    let events = match family {
        Family::Mpich => ["MPIR_T_event_registration_s", "MPIR_T_event_instance_s"],
        _ => ["MPI_T_event_registration_t", "MPI_T_event_instance_t"],
    };
    let names = [
        "MPI_T_enum",
        "MPI_T_cvar_handle",
        "MPI_T_pvar_handle",
        "MPI_T_pvar_session",
    ];
    let mut text = String::from("\n");
    for (tag, name) in tags.iter().zip(names) {
        text += &format!("typedef struct {tag} *{name};\n");
    }
    for (tag, name) in events
        .iter()
        .zip(["MPI_T_event_registration", "MPI_T_event_instance"])
    {
        text += &format!("typedef struct {tag} *{name};\n");
    }
    for (name, prefix) in [
        ("MPI_T_cb_safety", "MPI_T_CB_"),
        ("MPI_T_source_order", "MPI_T_SOURCE_"),
    ] {
        let rows = constants().iter().filter(|c| c.name.starts_with(prefix));
        let list: Vec<String> = rows
            .map(|c| format!("    {} = {}", c.name, enumerated(c, family)))
            .collect();
        text += &format!("typedef enum {name} {{\n{}\n}} {name};\n", list.join(",\n"));
    }
    text + "typedef void (MPI_T_event_cb_function)(MPI_T_event_instance event_instance,
    MPI_T_event_registration event_registration, MPI_T_cb_safety cb_safety, void *user_data);
typedef void (MPI_T_event_free_cb_function)(MPI_T_event_registration event_registration, MPI_T_cb_safety cb_safety,
    void *user_data);
typedef void (MPI_T_event_dropped_cb_function)(MPI_Count count, MPI_T_event_registration event_registration,
    int source_index, MPI_T_cb_safety cb_safety, void *user_data);
"
}

/// Events came to Open MPI's family with the standard's numbers: it has none of its own.
fn enumerated(c: &Constant, family: Family) -> &'static str {
    match c.value(family) {
        "-" => c.standard,
        value => value,
    }
}

fn is_event(c: &Constant) -> bool {
    c.name.starts_with("MPI_T_CB_") || c.name.starts_with("MPI_T_SOURCE_")
}

/// The C type of a handle or pointer constant.
fn type_of(c: &Constant) -> Option<String> {
    let (kind, detail) = c.kind.split_once('.').unwrap_or((c.kind, ""));
    let name = match kind {
        "comm" => "MPI_Comm",
        "group" => "MPI_Group",
        "datatype" => "MPI_Datatype",
        "op" => "MPI_Op",
        "request" => "MPI_Request",
        "message" => "MPI_Message",
        "info" => "MPI_Info",
        "errhandler" => "MPI_Errhandler",
        "win" => "MPI_Win",
        "file" => "MPI_File",
        "session" => "MPI_Session",
        "buffer" => "void *",
        "status" => "MPI_Status *",
        "weights" | "errcodes" => "int *",
        "argv" => "char **",
        "argvs" => "char ***",
        "offset" => "MPI_Offset",
        "function" => return Some(format!("{detail} *")),
        "tool" if !detail.is_empty() => return Some(detail.into()),
        _ => return None,
    };
    Some(name.into())
}

/// Declarations of what constants refer to.
fn objects(family: Family) -> String {
    let mut text = String::from("\n");
    let mut seen: Vec<&str> = Vec::new();
    for c in constants() {
        let value = c.value(family);
        let name = value.trim_start_matches('&');
        if seen.contains(&name) {
            continue;
        }
        let declaration = match (c.kind.split_once('.'), c.kind) {
            (Some(("function", of)), _) if name.starts_with(|l: char| l.is_ascii_uppercase()) => {
                format!("extern {of} {name};\n")
            }
            (_, "fortran") if value.starts_with('&') => {
                let of = if name.contains("F08") {
                    "MPI_F08_status"
                } else {
                    "MPI_Fint"
                };
                format!("extern {of} *{name};\n")
            }
            (_, "weights") if value.starts_with('&') => format!("extern int *const {name};\n"),
            (Some(("tool", of)), _) if value.starts_with('&') => format!("extern {of} {name};\n"),
            _ if value.starts_with('&') => format!("extern struct mayfly_object {name};\n"),
            _ => continue,
        };
        seen.push(name);
        text += &declaration;
    }
    if text.len() > 1 {
        text
    } else {
        String::new()
    }
}

/// The constants themselves.
fn values(family: Family) -> String {
    let mut text = String::from("\n");
    for c in constants() {
        if c.kind == "alias" {
            let known = constants().iter().find(|o| o.name == c.standard);
            if known.is_some_and(|o| o.value(family) != "-") {
                text += &format!("#define {} {}\n", c.name, c.standard);
            }
            continue;
        }
        let value = c.value(family);
        let same_object = value.strip_prefix('&') == Some(c.name);
        if value == "-" || same_object || is_event(c) {
            continue;
        }
        let object = value.starts_with('&');
        let value = match type_of(c) {
            Some(of) if object => format!("(({of})(void *){value})"),
            Some(of) => format!("(({of}){value})"),
            None if value.starts_with('-') => format!("({value})"),
            None => value.to_string(),
        };
        text += &format!("#define {} {value}\n", c.name);
    }
    text + "\n"
}

/// Functions of the ABI's mpi.h.
fn prototypes(family: Family, prefix: &str) -> String {
    let mut text = String::new();
    for p in procedures().iter().filter(|p| p.exported(family)) {
        // The standard's ABI never had what MPI-3.0 removed.
        if family == Family::Standard && p.chapter == "removed" {
            continue;
        }
        text += &prototype(p, false, prefix);
        if p.has_large() {
            text += &prototype(p, true, prefix);
        }
    }
    text
}

/// What other libraries of the family have as macros only, so that programs run with those too.
fn macros(family: Family) -> String {
    let mut text = String::new();
    let pairs = [
        ("Comm", "MPI_Comm"),
        ("Group", "MPI_Group"),
        ("Type", "MPI_Datatype"),
        ("Op", "MPI_Op"),
        ("Request", "MPI_Request"),
        ("Message", "MPI_Message"),
        ("Info", "MPI_Info"),
        ("Errhandler", "MPI_Errhandler"),
        ("Win", "MPI_Win"),
        ("Session", "MPI_Session"),
    ];
    if family == Family::Mpich {
        text += "\n/* Functions too, but not in every library of this ABI. */\n";
        for (name, of) in pairs {
            text += &format!("#define MPI_{name}_c2f(handle) ((MPI_Fint)(handle))\n");
            text += &format!("#define MPI_{name}_f2c(handle) (({of})(handle))\n");
        }
    }
    if family == Family::OpenMpi {
        text += "\n/* Functions too, but not in every library of this ABI. */\n";
        text += "#define MPI_Aint_add(base, disp) ((MPI_Aint)((char *)(base) + (disp)))\n";
        text +=
            "#define MPI_Aint_diff(addr1, addr2) ((MPI_Aint)((char *)(addr1) - (char *)(addr2)))\n";
    }
    text
}
