//! How a process learns who it is and meets the others: through Mayfly's rendezvous, through the PMI of a foreign
//! launcher, or alone.

pub mod pmi;
pub mod pmi1;
pub mod pmi2;
mod ticket;

use crate::base::error::Result;
use crate::base::{os, trace};
use crate::fail;
use crate::rendezvous::client::{End, Entry, Member, OnNote};
use std::time::Duration;

pub use crate::rendezvous::client::Notes;
pub use crate::rendezvous::message::{exit_status, tree_children, tree_parent};

/// Some ranks' blobs, each with its rank.
pub type Branch = Vec<(u32, Vec<u8>)>;

/// Who a process is within its job.
#[derive(Clone)]
pub struct Identity {
    pub rank: u32,
    pub size: u32,
    /// The same in all ranks of the job and in no other job.
    pub job: [u8; 16],
    /// The job's secret, the same in all its ranks.
    pub token: [u8; 32],
    /// Among the ranks that the launcher started on the same machine.
    pub local_rank: u32,
    pub local_size: u32,
    /// MPI_APPNUM: which part of a `:`-separated command line.
    pub appnum: i32,
    /// MPI_UNIVERSE_SIZE, where known.
    pub universe: Option<i32>,
    /// Relays that this job may use.
    pub relays: Relays,
    /// When the platform ends this instance, milliseconds since 1970; 0: not known.
    pub deadline_ms: u64,
    /// Who started us, for people: `mayfly`, `PMI-1`, `PMI-2`, `singleton`.
    pub launcher: &'static str,
}

/// Relays, and what lets this job use them.
#[derive(Clone, Default)]
pub struct Relays {
    /// `host:port,host:port` each: the two ports of a relay.
    pub addresses: Vec<String>,
    /// Until when the grant is good, seconds since 1970.
    pub expiry: u64,
    pub grant: [u8; 32],
}

impl std::fmt::Debug for Identity {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rank {} of {} ({})", self.rank, self.size, self.launcher)
    }
}

/// A way to the other ranks.
pub struct Bootstrap {
    identity: Identity,
    means: Means,
    /// Exchanges so far; all ranks count alike, as they are collective.
    exchanges: u32,
    /// The process that joined; a child of its fork has no part in the job.
    process: u32,
}

enum Means {
    Member(Member),
    Pmi(Box<dyn pmi::Store + Send>),
    Alone,
    Ended,
}

impl Bootstrap {
    /// Looks for whoever started this process, in this order: a ticket of Mayfly's, a PMI-1 or PMI-2 server, nobody.
    /// Under PMIx, or under Slurm without PMI, it fails rather than let N ranks run as N jobs of one.
    /// `on_note` is called for each note that another rank sent, on a thread of its own.
    pub fn find(on_note: OnNote) -> Result<Bootstrap> {
        let (mut identity, means) = if let Some(ticket) = ticket::take()? {
            Bootstrap::join(&ticket, on_note)?
        } else if let Some((identity, store)) = pmi::find()? {
            (identity, Means::Pmi(store))
        } else {
            refuse_foreign(|name| std::env::var(name).ok())?;
            (alone()?, Means::Alone)
        };
        if identity.deadline_ms == 0 {
            identity.deadline_ms = deadline(std::env::var("MAYFLY_DEADLINE").ok());
        }
        Ok(Bootstrap {
            identity,
            means,
            exchanges: 0,
            process: std::process::id(),
        })
    }

    fn join(
        ticket: &crate::rendezvous::message::Ticket,
        on_note: OnNote,
    ) -> Result<(Identity, Means)> {
        let entry = Entry {
            service: &ticket.service,
            job: &ticket.job,
            pass: &ticket.pass,
            rank: ticket.rank,
            size: ticket.size,
            epoch: ticket.epoch,
            patience: Duration::from_secs(30),
        };
        let member = match Member::join(&entry, Box::new(ended), Some(on_note)) {
            Ok(member) => member,
            Err(e) => fail!(
                Other,
                "rank {} cannot join its job at the rendezvous {}: {e}",
                ticket.rank,
                ticket.service
            ),
        };
        let identity = Identity {
            rank: ticket.rank,
            size: ticket.size,
            job: ticket.job,
            token: ticket.token,
            local_rank: ticket.local_rank,
            local_size: ticket.local_size,
            appnum: ticket.appnum,
            universe: (ticket.universe >= 0).then_some(ticket.universe),
            relays: Relays {
                addresses: ticket.relays.clone(),
                expiry: ticket.relay_expiry,
                grant: ticket.relay_grant,
            },
            deadline_ms: ticket.deadline_ms,
            launcher: "mayfly",
        };
        Ok((identity, Means::Member(member)))
    }

    /// Carries notes to other ranks, where the rendezvous is Mayfly's own.
    pub fn notes(&self) -> Option<Notes> {
        match &self.means {
            Means::Member(member) => Some(member.notes()),
            Means::Pmi(_) | Means::Alone | Means::Ended => None,
        }
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    fn here(&self) -> Result<()> {
        if self.process != std::process::id() {
            fail!(
                Other,
                "this process was forked from rank {} and is no rank itself",
                self.identity.rank
            );
        }
        Ok(())
    }

    /// Everybody's blob, by rank. Collective: every rank calls it equally often.
    pub fn exchange(&mut self, blob: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.here()?;
        self.exchanges += 1;
        let blobs = match &mut self.means {
            Means::Member(member) => {
                match member.fence(&format!("exchange {}", self.exchanges), blob) {
                    Ok(blobs) => blobs,
                    Err(e) => fail!(Other, "the exchange with the other ranks failed: {e}"),
                }
            }
            Means::Pmi(store) => {
                pmi::exchange(store.as_mut(), &self.identity, self.exchanges, blob)?
            }
            Means::Alone => vec![blob.to_vec()],
            Means::Ended => fail!(Other, "this rank has already left its job"),
        };
        if blobs.len() != self.identity.size as usize {
            fail!(
                Intern,
                "the exchange gave {} blobs for {} ranks",
                blobs.len(),
                self.identity.size
            );
        }
        Ok(blobs)
    }

    /// The blobs of this rank's parent and children in the tree, at rank 0 everybody's, each with its rank; `None`
    /// where there is no tree to be had (PMI). Collective, as [`Bootstrap::exchange`].
    pub fn tree_exchange(&mut self, blob: &[u8]) -> Result<Option<Branch>> {
        self.here()?;
        let Means::Member(member) = &mut self.means else {
            return Ok(None);
        };
        self.exchanges += 1;
        match member.tree_fence(&format!("exchange {}", self.exchanges), blob) {
            Ok(branch) => Ok(Some(branch)),
            Err(e) => fail!(Other, "the exchange with the other ranks failed: {e}"),
        }
    }

    /// Returns when every rank has called it.
    pub fn barrier(&mut self) -> Result<()> {
        self.here()?;
        match &mut self.means {
            Means::Pmi(store) => store.fence(),
            _ => self.exchange(&[]).map(drop),
        }
    }

    /// Tells the job that it is to end with this code. The caller ends the process afterwards.
    pub fn abort(&mut self, code: i32, text: &str) {
        if self.here().is_err() {
            return;
        }
        match &mut self.means {
            Means::Member(member) => member.abort(code, text),
            Means::Pmi(store) => store.abort(code, text),
            Means::Alone | Means::Ended => {}
        }
        self.means = Means::Ended;
    }

    /// Leaves the job in order; from now on its fate is not ours.
    pub fn finalize(&mut self) -> Result<()> {
        if self.here().is_err() {
            return Ok(());
        }
        match std::mem::replace(&mut self.means, Means::Ended) {
            Means::Member(mut member) => member.finish(),
            Means::Pmi(mut store) => store.finalize()?,
            Means::Alone | Means::Ended => {}
        }
        Ok(())
    }

    /// In the child of a fork: closes its copies of the connection, without a word to anyone. Only makes calls that are
    /// allowed between fork and exec.
    pub fn after_fork(&self) {
        match &self.means {
            Means::Member(member) => member.after_fork(),
            Means::Pmi(store) => os::close(store.descriptor()),
            Means::Alone | Means::Ended => {}
        }
    }
}

impl Drop for Bootstrap {
    /// Dropped without [`Bootstrap::finalize`], the rank counts as lost; a forked child's copy must stay silent.
    fn drop(&mut self) {
        if self.here().is_err() {
            std::mem::forget(std::mem::replace(&mut self.means, Means::Ended));
        }
    }
}

/// What the helper thread does when the job or the connection came to an end.
fn ended(end: End) {
    match end {
        End::Goodbye => {}
        // The launcher names the cause, once for all ranks.
        End::Aborted { rank, code, text } => {
            crate::info!("the job has been ended by rank {rank} with code {code}: {text}");
            os::leave(exit_status(code));
        }
        End::Lost(why) => {
            trace::line(&format!("lost the rendezvous ({why}); this rank ends"));
            os::leave(1);
        }
    }
}

fn alone() -> Result<Identity> {
    let (mut job, mut token) = ([0; 16], [0; 32]);
    if let Err(e) = os::random(&mut job).and_then(|()| os::random(&mut token)) {
        fail!(Other, "the system gives no random numbers: {e}");
    }
    Ok(Identity {
        rank: 0,
        size: 1,
        job,
        token,
        local_rank: 0,
        local_size: 1,
        appnum: 0,
        universe: None,
        relays: Relays::default(),
        deadline_ms: 0,
        launcher: "singleton",
    })
}

/// The variable MAYFLY_DEADLINE, seconds since 1970, in milliseconds; 0 when it is not set or no number.
fn deadline(variable: Option<String>) -> u64 {
    let seconds = variable.and_then(|text| text.trim().parse::<u64>().ok());
    seconds.unwrap_or(0).saturating_mul(1000)
}

/// Fails when a launcher that we cannot talk to has started several ranks.
fn refuse_foreign(get: impl Fn(&str) -> Option<String>) -> Result<()> {
    if get("PMIX_NAMESPACE").is_some() {
        fail!(
            Other,
            "started by a PMIx launcher, which Mayfly does not support yet; use `mayfly run`, or `srun --mpi=pmi2` \
             under Slurm"
        );
    }
    // Slurm sets the SLURM_STEP_ variables for srun's tasks only, not for the batch script itself.
    let tasks = get("SLURM_STEP_NUM_TASKS")
        .or_else(|| get("SLURM_STEP_ID").and_then(|_| get("SLURM_NTASKS")));
    let tasks = tasks
        .and_then(|text| text.trim().parse::<u32>().ok())
        .unwrap_or(1);
    if tasks > 1 && get("SLURM_PROCID").is_some() {
        fail!(
            Other,
            "one of {tasks} tasks that srun started without PMI, so that each would be a job of its own; use \
             `srun --mpi=pmi2` or `mayfly run`"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(variables: &[(&str, &str)]) -> bool {
        refuse_foreign(|name| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| value.to_string())
        })
        .is_err()
    }

    #[test]
    fn foreign_launchers_are_refused_but_not_their_absence() {
        assert!(!refused(&[]));
        assert!(refused(&[("PMIX_NAMESPACE", "x")]));
        assert!(refused(&[
            ("SLURM_PROCID", "0"),
            ("SLURM_STEP_NUM_TASKS", "2")
        ]));
        assert!(!refused(&[
            ("SLURM_PROCID", "0"),
            ("SLURM_STEP_NUM_TASKS", "1")
        ]));
        // A batch script's own process.
        assert!(!refused(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")]));
        // What `mayfly run` sets for programs that ask.
        assert!(!refused(&[("PMI_RANK", "0"), ("PMI_SIZE", "4")]));
    }

    #[test]
    fn the_deadline_is_in_seconds() {
        assert_eq!(deadline(Some("1700000000".into())), 1_700_000_000_000);
        assert_eq!(deadline(Some("soon".into())), 0);
        assert_eq!(deadline(None), 0);
    }

    #[test]
    fn alone_a_process_is_a_job_of_one() {
        let identity = alone().unwrap();
        assert_eq!((identity.rank, identity.size), (0, 1));
        let mut bootstrap = Bootstrap {
            identity,
            means: Means::Alone,
            exchanges: 0,
            process: std::process::id(),
        };
        assert_eq!(bootstrap.exchange(b"me").unwrap(), vec![b"me".to_vec()]);
        bootstrap.barrier().unwrap();
        bootstrap.finalize().unwrap();
        assert!(bootstrap.exchange(b"me").is_err());
        assert_ne!(alone().unwrap().token, alone().unwrap().token);
    }
}
