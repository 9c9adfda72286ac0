//! The predefined communicators (MPI-5.0 §7.2.4).

use crate::base::constant::handle;
use crate::base::id::PeerId;
use crate::engine::Engine;
use crate::mpi::attribute::Attributes;
use crate::mpi::boards::Showing;
use crate::mpi::comm::Comm;
use crate::mpi::group::Group;
use crate::mpi::info::Info;
use crate::mpi::World;
use std::sync::Arc;

/// Contexts of the predefined communicators; those of others begin at 2^40.
const WORLD_CONTEXT: u64 = 8;
const SELF_CONTEXT: u64 = 16;

impl World {
    /// From here on this process is one of `size`, and talks by this engine. `appnum` and `universe`: the attributes.
    pub fn begin(&mut self, engine: Engine, size: u32, appnum: i32, universe: Option<i32>) {
        let me = engine.core.me;
        self.groups.me = me;
        self.keyvals.set_predefined(Some(appnum), universe);
        let all = Group::new((0..size).map(PeerId).collect(), me);
        let alone = Group::new(vec![me], me);
        let comm = |context, group: &Arc<Group>, name: &str| {
            Box::new(Comm {
                context,
                rank: group.me.unwrap_or(0),
                group: group.clone(),
                remote: None,
                local: None,
                local_context: context,
                collectives: 0,
                boards: Showing::default(),
                nodes: None,
                attributes: Attributes::default(),
                topology: None,
                name: name.to_string(),
                errhandler: handle::ERRORS_ARE_FATAL,
                info: Info::default(),
            })
        };
        self.comms.table.set(
            handle::COMM_WORLD,
            comm(WORLD_CONTEXT, &all, "MPI_COMM_WORLD"),
        );
        self.comms.table.set(
            handle::COMM_SELF,
            comm(SELF_CONTEXT, &alone, "MPI_COMM_SELF"),
        );
        self.engine = Some(engine);
    }
}
