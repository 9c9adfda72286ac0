//! The structs against the real header: a C program prints what C sees, wherever libibverbs-dev and a compiler are.

use super::*;
use std::fmt::Write;
use std::mem::{offset_of, size_of};
use std::process::Command;

/// What Rust sees, a line each, and the C expressions that must give the same.
struct Sheet {
    lines: String,
    program: String,
}

impl Sheet {
    fn add(&mut self, name: &str, value: usize, expression: &str) {
        writeln!(self.lines, "{name} {value}").unwrap();
        writeln!(
            self.program,
            "printf(\"{name} %zu\\n\", (size_t)({expression}));"
        )
        .unwrap();
    }
}

/// Structs of which we know all are compared in size too.
macro_rules! compare {
    ($sheet:ident, whole, $rust:ty, $c:literal: $($field:ident = $place:literal),* $(,)?) => {
        $sheet.add(concat!("sizeof ", $c), size_of::<$rust>(), concat!("sizeof(", $c, ")"));
        compare!($sheet, head, $rust, $c: $($field = $place),*);
    };
    ($sheet:ident, head, $rust:ty, $c:literal: $($field:ident = $place:literal),* $(,)?) => {
        $($sheet.add(
            concat!($c, ".", $place),
            offset_of!($rust, $field),
            concat!("offsetof(", $c, ", ", $place, ")"),
        );)*
    };
}

/// Fields that are called the same.
macro_rules! same {
    ($sheet:ident, $rust:ty, $c:literal: $($field:ident)*) => {
        $($sheet.add(
            concat!($c, ".", stringify!($field)),
            offset_of!($rust, $field),
            concat!("offsetof(", $c, ", ", stringify!($field), ")"),
        );)*
    };
}

fn sheet() -> Sheet {
    let mut s = Sheet {
        lines: String::new(),
        program: String::new(),
    };
    compare!(s, whole, Device, "struct ibv_device": ops = "_ops");
    same!(s, Device, "struct ibv_device": node_type transport_type name dev_name dev_path ibdev_path);
    compare!(s, whole, Operations, "struct ibv_context_ops": poll_cq = "poll_cq", before_srq = "_compat_cq_event",
        before_send = "_compat_create_qp", rest = "_compat_create_ah");
    same!(s, Operations, "struct ibv_context_ops": req_notify_cq post_srq_recv post_send post_recv);
    same!(s, Context, "struct ibv_context": device ops cmd_fd async_fd num_comp_vectors);
    compare!(s, whole, Pd, "struct ibv_pd": context = "context", handle = "handle");
    compare!(s, whole, Mr, "struct ibv_mr": context = "context");
    same!(s, Mr, "struct ibv_mr": pd addr length handle lkey rkey);
    compare!(s, whole, Channel, "struct ibv_comp_channel": context = "context", fd = "fd", refcnt = "refcnt");
    same!(s, Cq, "struct ibv_cq": context channel cq_context handle cqe);
    same!(s, Srq, "struct ibv_srq": context srq_context pd handle);
    same!(s, Qp, "struct ibv_qp": context qp_context pd send_cq recv_cq srq handle qp_num state qp_type);
    compare!(s, whole, Ah, "struct ibv_ah": context = "context", pd = "pd", handle = "handle");
    compare!(s, whole, DeviceAttr, "struct ibv_device_attr": fw_ver = "fw_ver");
    same!(s, DeviceAttr, "struct ibv_device_attr": node_guid sys_image_guid max_mr_size page_size_cap vendor_id
        vendor_part_id hw_ver max_qp max_qp_wr device_cap_flags max_sge max_sge_rd max_cq max_cqe max_mr max_pd
        max_qp_rd_atom max_ee_rd_atom max_res_rd_atom max_qp_init_rd_atom max_ee_init_rd_atom atomic_cap max_ee max_rdd
        max_mw max_raw_ipv6_qp max_raw_ethy_qp max_mcast_grp max_mcast_qp_attach max_total_mcast_qp_attach max_ah max_fmr
        max_map_per_fmr max_srq max_srq_wr max_srq_sge max_pkeys local_ca_ack_delay phys_port_cnt);
    compare!(s, whole, PortAttr, "struct ibv_port_attr": state = "state");
    same!(s, PortAttr, "struct ibv_port_attr": max_mtu active_mtu gid_tbl_len port_cap_flags max_msg_sz bad_pkey_cntr
        qkey_viol_cntr pkey_tbl_len lid sm_lid lmc max_vl_num sm_sl subnet_timeout init_type_reply active_width active_speed
        phys_state link_layer flags port_cap_flags2);
    compare!(s, whole, GidEntry, "struct ibv_gid_entry": gid = "gid");
    same!(s, GidEntry, "struct ibv_gid_entry": gid_index port_num gid_type ndev_ifindex);
    compare!(s, whole, AsyncEvent, "struct ibv_async_event": element = "element", event_type = "event_type");
    compare!(s, whole, Wc, "struct ibv_wc": wr_id = "wr_id");
    same!(s, Wc, "struct ibv_wc": status opcode vendor_err byte_len imm_data qp_num src_qp wc_flags pkey_index slid sl
        dlid_path_bits);
    compare!(s, whole, GlobalRoute, "struct ibv_global_route": dgid = "dgid");
    same!(s, GlobalRoute, "struct ibv_global_route": flow_label sgid_index hop_limit traffic_class);
    compare!(s, whole, AhAttr, "struct ibv_ah_attr": grh = "grh");
    same!(s, AhAttr, "struct ibv_ah_attr": dlid sl src_path_bits static_rate is_global port_num);
    compare!(s, whole, SrqInitAttr, "struct ibv_srq_init_attr": srq_context = "srq_context", max_wr = "attr.max_wr",
        max_sge = "attr.max_sge", srq_limit = "attr.srq_limit");
    compare!(s, whole, QpCap, "struct ibv_qp_cap": max_send_wr = "max_send_wr");
    same!(s, QpCap, "struct ibv_qp_cap": max_recv_wr max_send_sge max_recv_sge max_inline_data);
    compare!(s, whole, QpInitAttr, "struct ibv_qp_init_attr": qp_context = "qp_context");
    same!(s, QpInitAttr, "struct ibv_qp_init_attr": send_cq recv_cq srq cap qp_type sq_sig_all);
    compare!(s, whole, QpAttr, "struct ibv_qp_attr": qp_state = "qp_state");
    same!(s, QpAttr, "struct ibv_qp_attr": cur_qp_state path_mtu path_mig_state qkey rq_psn sq_psn dest_qp_num
        qp_access_flags cap ah_attr alt_ah_attr pkey_index alt_pkey_index en_sqd_async_notify sq_draining max_rd_atomic
        max_dest_rd_atomic min_rnr_timer port_num timeout retry_cnt rnr_retry alt_port_num alt_timeout rate_limit);
    compare!(s, whole, Sge, "struct ibv_sge": addr = "addr", length = "length", lkey = "lkey");
    compare!(s, whole, SendWr, "struct ibv_send_wr": xrc_srqn = "qp_type.xrc.remote_srqn", unused = "bind_mw");
    same!(s, SendWr, "struct ibv_send_wr": wr_id next sg_list num_sge opcode send_flags imm_data wr);
    let base = offset_of!(SendWr, wr);
    for (place, at) in [
        ("rdma.remote_addr", offset_of!(Rdma, remote_addr)),
        ("rdma.rkey", offset_of!(Rdma, rkey)),
        ("atomic.remote_addr", offset_of!(Atomic, remote_addr)),
        ("atomic.compare_add", offset_of!(Atomic, compare_add)),
        ("atomic.swap", offset_of!(Atomic, swap)),
        ("atomic.rkey", offset_of!(Atomic, rkey)),
        ("ud.ah", offset_of!(Ud, ah)),
        ("ud.remote_qpn", offset_of!(Ud, remote_qpn)),
        ("ud.remote_qkey", offset_of!(Ud, remote_qkey)),
    ] {
        let expression = format!("offsetof(struct ibv_send_wr, wr.{place})");
        s.add(
            &format!("struct ibv_send_wr.wr.{place}"),
            base + at,
            &expression,
        );
    }
    compare!(s, whole, RecvWr, "struct ibv_recv_wr": wr_id = "wr_id");
    same!(s, RecvWr, "struct ibv_recv_wr": next sg_list num_sge);
    // Numbers that the wrappers use.
    for (value, name) in [
        (2, "IBV_QPT_RC"),
        (4, "IBV_QPT_UD"),
        (0, "IBV_WR_RDMA_WRITE"),
        (1, "IBV_WR_RDMA_WRITE_WITH_IMM"),
        (2, "IBV_WR_SEND"),
        (3, "IBV_WR_SEND_WITH_IMM"),
        (4, "IBV_WR_RDMA_READ"),
        (5, "IBV_WR_ATOMIC_CMP_AND_SWP"),
        (6, "IBV_WR_ATOMIC_FETCH_AND_ADD"),
        (1, "IBV_SEND_FENCE"),
        (2, "IBV_SEND_SIGNALED"),
        (4, "IBV_SEND_SOLICITED"),
        (8, "IBV_SEND_INLINE"),
        (128, "IBV_WC_RECV"),
        (129, "IBV_WC_RECV_RDMA_WITH_IMM"),
        (1, "IBV_WC_GRH"),
        (2, "IBV_WC_WITH_IMM"),
        (5, "IBV_WC_WR_FLUSH_ERR"),
        (12, "IBV_WC_RETRY_EXC_ERR"),
        (13, "IBV_WC_RNR_RETRY_EXC_ERR"),
        (8, "IBV_EVENT_DEVICE_FATAL"),
        (14, "IBV_EVENT_SRQ_ERR"),
        (19, "IBV_EVENT_WQ_FATAL"),
        (2, "IBV_FORK_UNNEEDED"),
        (1 << 17, "IBV_QP_MAX_DEST_RD_ATOMIC"),
        (1 << 20, "IBV_QP_DEST_QPN"),
        (6, "IBV_QPS_ERR"),
        (15, "IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC"),
        (2, "IBV_LINK_LAYER_ETHERNET"),
        (2, "IBV_GID_TYPE_ROCE_V2"),
    ] {
        s.add(name, value, name);
    }
    s
}

#[test]
fn the_structs_are_those_of_the_header() {
    let sheet = sheet();
    assert!(sheet.lines.lines().count() > 200);
    let compiler = Command::new("cc").arg("--version").output();
    if !std::path::Path::new("/usr/include/infiniband/verbs.h").exists() || compiler.is_err() {
        // Nothing to compare with here; ci/setup installs it where the whole check runs.
        return;
    }
    let folder = std::env::temp_dir().join(format!("mayfly-layout-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (source, program) = (folder.join("layout.c"), folder.join("layout"));
    let body = &sheet.program;
    let text = format!(
        "#include <infiniband/verbs.h>\n#include <stdio.h>\n#include <stddef.h>\nint main(void) {{\n{body}return 0;\n}}\n"
    );
    std::fs::write(&source, text).unwrap();
    let built = Command::new("cc")
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let said = Command::new(&program).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    for (ours, theirs) in sheet.lines.lines().zip(said.lines()) {
        assert_eq!(ours, theirs, "left: here, right: the header");
    }
    assert_eq!(sheet.lines.lines().count(), said.lines().count());
}
