//! A member under foreign launchers: a PMI-1 and a PMI-2 server as Hydra and Slurm have them, and Hydra itself where
//! it is installed.

mod common;

use common::{member, Run};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Barrier, Mutex};

/// What the ranks of a job share in their launcher.
struct Launcher {
    size: usize,
    store: Mutex<HashMap<String, String>>,
    barrier: Barrier,
    aborted: Mutex<Option<String>>,
}

/// An end of the conversation with one rank.
trait Talk: Read + Write + Send {}
impl<T: Read + Write + Send> Talk for T {}

fn field<'a>(text: &'a str, separator: char, key: &str) -> &'a str {
    let mut pairs = text
        .split(separator)
        .filter_map(|pair| pair.split_once('='));
    pairs.find(|(k, _)| *k == key).map_or("", |(_, v)| v)
}

impl Launcher {
    fn new(size: usize) -> Arc<Launcher> {
        let nodes = "(vector,(0,2,1))".to_string();
        Arc::new(Launcher {
            size,
            store: Mutex::new(HashMap::from([("PMI_process_mapping".to_string(), nodes)])),
            barrier: Barrier::new(size),
            aborted: Mutex::new(None),
        })
    }

    fn put(&self, key: &str, value: &str) {
        assert!(
            key.len() < 64 && value.len() < 1024,
            "{key}: {} bytes",
            value.len()
        );
        let before = self.store.lock().unwrap().insert(key.into(), value.into());
        assert_eq!(before, None, "{key} is put twice");
    }

    fn get(&self, key: &str) -> Option<String> {
        self.store.lock().unwrap().get(key).cloned()
    }

    /// PMI-1 with one rank until it finalizes; false: it aborted.
    fn serve1(&self, talk: &mut dyn Talk) -> bool {
        let mut lines = BufReader::new(talk);
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            let line = line.trim_end();
            let get = |key| field(line, ' ', key);
            let answer = match get("cmd") {
                "init" => "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0".into(),
                "get_maxes" => {
                    "cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024 rc=0".into()
                }
                "get_appnum" => "cmd=appnum appnum=0 rc=0".into(),
                "get_universe_size" => format!("cmd=universe_size size={} rc=0", self.size),
                "get_my_kvsname" => "cmd=my_kvsname kvsname=kvs_1 rc=0".into(),
                "put" => {
                    assert_eq!(get("kvsname"), "kvs_1");
                    self.put(get("key"), get("value"));
                    "cmd=put_result rc=0 msg=success".into()
                }
                "barrier_in" => {
                    self.barrier.wait();
                    "cmd=barrier_out rc=0".into()
                }
                "get" => match self.get(get("key")) {
                    Some(value) => format!("cmd=get_result rc=0 msg=success value={value}"),
                    None => "cmd=get_result rc=-1 msg=key_not_found value=unknown".into(),
                },
                "finalize" => {
                    lines
                        .get_mut()
                        .write_all(b"cmd=finalize_ack rc=0\n")
                        .unwrap();
                    return true;
                }
                "abort" => {
                    *self.aborted.lock().unwrap() = Some(get("exitcode").into());
                    return false;
                }
                _ => panic!("{line:?}"),
            };
            writeln!(lines.get_mut(), "{answer}").unwrap();
        }
    }

    /// PMI-2, the same way.
    fn serve2(&self, talk: &mut dyn Talk) -> bool {
        let mut init = String::new();
        let mut byte = [0];
        while !init.ends_with('\n') {
            talk.read_exact(&mut byte).unwrap();
            init.push(byte[0] as char);
        }
        assert_eq!(init, "cmd=init pmi_version=2 pmi_subversion=0\n");
        talk.write_all(b"cmd=response_to_init pmi_version=2 pmi_subversion=0 rc=0\n")
            .unwrap();
        loop {
            let mut length = [0; 6];
            talk.read_exact(&mut length).unwrap();
            let length: usize = std::str::from_utf8(&length)
                .unwrap()
                .trim()
                .parse()
                .unwrap();
            let mut command = vec![0; length];
            talk.read_exact(&mut command).unwrap();
            let command = String::from_utf8(command).unwrap();
            let get = |key| field(&command, ';', key);
            let found = |value: Option<String>| match value {
                Some(value) => format!("found=TRUE;value={value};rc=0;"),
                None => "found=FALSE;rc=0;".into(),
            };
            let name = get("cmd").to_string();
            let answer = match name.as_str() {
                // Slurm's: rc=3 and no rank, which is in the environment.
                "fullinit" => {
                    assert_eq!(get("pmijobid"), "7.0");
                    "pmi-version=2;pmi-subversion=0;appnum=4;rc=3;".into()
                }
                "job-getid" => "jobid=7.0;rc=0;".into(),
                "info-getjobattr" => found(self.get(get("key"))),
                "kvs-put" => {
                    self.put(get("key"), get("value"));
                    "rc=0;".into()
                }
                "kvs-fence" => {
                    self.barrier.wait();
                    "rc=0;".into()
                }
                "kvs-get" => found(self.get(get("key"))),
                "finalize" => "rc=0;".into(),
                "abort" => {
                    *self.aborted.lock().unwrap() = Some(get("exitcode").into());
                    return false;
                }
                _ => panic!("{command:?}"),
            };
            let text = format!("cmd={name}-response;{answer}");
            write!(talk, "{:>6}{text}", text.len()).unwrap();
            if name == "finalize" {
                return true;
            }
        }
    }
}

/// Runs members under a server of ours; gives how each ended.
fn launch(
    version: u32,
    by_port: bool,
    size: usize,
    arguments: &[&str],
) -> (Vec<Run>, Option<String>) {
    let launcher = Launcher::new(size);
    let runs = std::thread::scope(|scope| {
        let ranks: Vec<_> = (0..size)
            .map(|rank| {
                let (launcher, mut command) = (launcher.clone(), Command::new(member()));
                command
                    .args(arguments)
                    .env("MAYFLY_PMI", version.to_string())
                    .env("PMI_JOBID", "7.0");
                scope.spawn(move || launch_one(&launcher, version, by_port, rank, &mut command))
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    let aborted = launcher.aborted.lock().unwrap().clone();
    (runs, aborted)
}

fn launch_one(
    launcher: &Launcher,
    version: u32,
    by_port: bool,
    rank: usize,
    command: &mut Command,
) -> Run {
    let serve = |talk: &mut dyn Talk| match version {
        1 => launcher.serve1(talk),
        _ => launcher.serve2(talk),
    };
    std::thread::scope(|scope| {
        if by_port {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            command
                .env("PMI_PORT", listener.local_addr().unwrap().to_string())
                .env("PMI_ID", "5");
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut hello = [0; 20];
                stream.read_exact(&mut hello).unwrap();
                assert_eq!(&hello, b"cmd=initack pmiid=5\n");
                let size = launcher.size;
                write!(
                    stream,
                    "cmd=initack rc=0\ncmd=set size={size}\ncmd=set rank={rank}\ncmd=set debug=0\n"
                )
                .unwrap();
                serve(&mut stream);
            });
            return common::run(command);
        }
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let fd = theirs.as_raw_fd();
        command
            .env("PMI_FD", fd.to_string())
            .env("PMI_RANK", rank.to_string());
        command.env("PMI_SIZE", launcher.size.to_string());
        // SAFETY: fcntl may be called between fork and exec.
        unsafe {
            command.pre_exec(move || match libc::fcntl(fd, libc::F_SETFD, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        scope.spawn(move || serve(&mut ours));
        common::run(command)
    })
}

#[test]
fn members_join_a_foreign_launchers_job() {
    for (version, by_port) in [(1, false), (1, true), (2, false), (2, true)] {
        let (runs, aborted) = launch(version, by_port, 3, &[]);
        for (rank, run) in runs.iter().enumerate() {
            // Two nodes, in turns: ranks 0 and 2 share one.
            let (local, locals) = [(0, 2), (0, 1), (1, 2)][rank];
            let part = if version == 2 { 4 } else { 0 };
            let expected = format!(
                "rank {rank} of 3, part {part}, local {local} of {locals}, by PMI-{version}\n"
            );
            assert_eq!(
                (run.status, &run.out),
                (0, &expected),
                "PMI-{version}, {by_port}: {}",
                run.err
            );
        }
        assert_eq!(aborted, None);
    }
}

#[test]
fn an_abort_is_the_launchers_business() {
    for version in [1, 2] {
        let (runs, aborted) = launch(version, false, 1, &["abort", "0", "5"]);
        assert_eq!(
            (runs[0].status, aborted.as_deref()),
            (5, Some("5")),
            "PMI-{version}"
        );
    }
}

#[test]
fn launchers_that_we_cannot_talk_to_are_refused_in_one_line() {
    let under = |variables: &[(&str, &str)]| {
        common::run(Command::new(member()).envs(variables.iter().copied()))
    };
    for (variables, expected) in [
        (
            &[("PMIX_NAMESPACE", "prterun-1"), ("PMIX_RANK", "0")][..],
            "mayfly run",
        ),
        (
            &[("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "2")],
            "srun --mpi=pmi2",
        ),
        (
            &[("PMI_FD", "999"), ("PMI_RANK", "0"), ("PMI_SIZE", "2")],
            "no open descriptor",
        ),
        (&[("PMI_PORT", "127.0.0.1:1")], "PMI_ID is not"),
        (&[("MAYFLY_JOB_FD", "nonsense")], "DESCRIPTOR:INODE"),
        (&[("MAYFLY_JOB_FD", "0:1")], "no longer leads to the job"),
    ] {
        let run = under(variables);
        assert_eq!(run.status, 3, "{variables:?}");
        assert!(run.err.contains(expected), "{variables:?}: {}", run.err);
        assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    }
    // Nobody at all: a job of one; and what other launchers leave behind by name alone means nothing.
    for variables in [
        &[][..],
        &[
            ("PMI_RANK", "1"),
            ("PMI_SIZE", "2"),
            ("OMPI_COMM_WORLD_SIZE", "2"),
        ],
    ] {
        let run = under(variables);
        assert_eq!(
            run.out, "rank 0 of 1, part 0, local 0 of 1, by singleton\n",
            "{}",
            run.err
        );
    }
}

#[test]
fn hydra_where_it_is_installed() {
    // Named by the variable, or in PATH; Open MPI's mpiexec of the same name is not meant.
    let in_path = || {
        let folders = std::env::var_os("PATH")?;
        std::env::split_paths(&folders)
            .map(|f| f.join("mpiexec.hydra"))
            .find(|p| p.exists())
    };
    let named = std::env::var_os("MAYFLY_TEST_HYDRA").map(std::path::PathBuf::from);
    let Some(hydra) = named.or_else(in_path) else {
        return;
    };
    for version in ["1", "2"] {
        for flags in [&[][..], &["-pmi-port"]] {
            let mut command = Command::new(&hydra);
            command
                .args(flags)
                .args(["-n", "4", &member()])
                .env("MAYFLY_PMI", version);
            let run = common::run(&mut command);
            assert_eq!(
                (run.status, run.out.lines().count()),
                (0, 4),
                "{flags:?}: {}",
                run.err
            );
            assert!(
                run.out.contains(&format!("local 3 of 4, by PMI-{version}")),
                "{}",
                run.out
            );
        }
        let mut command = Command::new(&hydra);
        command
            .args(["-n", "3", &member(), "abort", "1", "5"])
            .env("MAYFLY_PMI", version);
        // Which status is Hydra's affair, and differs from version to version.
        assert_ne!(common::run(&mut command).status, 0);
    }
}
