//! A host as its own process, as a platform starts it.

use crate::common::{eventually, mayfly_path, Folder};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

pub struct Instance {
    pub child: Child,
    pub out: Arc<Mutex<String>>,
    pub err: Arc<Mutex<String>>,
    /// Its place for files.
    pub folder: Folder,
}

fn collect(mut from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let all = Arc::new(Mutex::new(String::new()));
    let into = all.clone();
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut chunk) {
            let text = String::from_utf8_lossy(&chunk[..n]);
            into.lock().unwrap().push_str(&text);
        }
    });
    all
}

impl Instance {
    /// With these variables and little else.
    pub fn start(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Instance {
        let words = [&["host"], arguments].concat();
        Instance::of(mayfly_path(), name, &words, variables)
    }

    /// Of the command under another name.
    pub fn of(path: &str, name: &str, words: &[&str], variables: &[(&str, &str)]) -> Instance {
        let folder = Folder::new(&format!("host-{name}"));
        let mut command = Command::new(path);
        command
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TMPDIR", folder.path(""))
            .env("MAYFLY_LOG", "info")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Instance {
            out: collect(child.stdout.take().unwrap()),
            err: collect(child.stderr.take().unwrap()),
            child,
            folder,
        }
    }

    pub fn err(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    pub fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    /// Descriptors that are open in it.
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Its children, the guard among them.
    pub fn children(&self) -> usize {
        let id = self.child.id();
        let path = format!("/proc/{id}/task/{id}/children");
        let list = std::fs::read_to_string(path).unwrap();
        list.split_whitespace().count()
    }

    /// A thread that waits, and counts time, would wake up in a frozen instance's future.
    pub fn threads(&self) -> usize {
        let folder = format!("/proc/{}/task", self.child.id());
        std::fs::read_dir(folder).unwrap().count()
    }

    /// What lies in its place for files, besides its own empty folder there.
    pub fn files(&self) -> usize {
        let entries = std::fs::read_dir(self.folder.path("")).unwrap().flatten();
        let count = |entry: std::fs::DirEntry| {
            let own = entry
                .file_name()
                .to_string_lossy()
                .starts_with("mayfly-host-");
            match own {
                true => std::fs::read_dir(entry.path()).map_or(0, Iterator::count),
                false => 1,
            }
        };
        entries.map(count).sum()
    }

    /// After its end nothing lies there, the folder itself included.
    #[track_caller]
    pub fn left_nothing(&self) {
        let left = || std::fs::read_dir(self.folder.path("")).unwrap().count();
        assert!(eventually(|| left() == 0), "{} files are left", left());
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: kill takes numbers only, and this child has not been waited for.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Its exit status, when it ends soon.
    #[track_caller]
    pub fn status(&mut self) -> i32 {
        let ended = eventually(|| self.child.try_wait().unwrap().is_some());
        assert!(ended, "the host does not end: {}", self.err());
        let status = self.child.wait().unwrap();
        // Its last words as well: who collects them holds them until the end.
        let read = || Arc::strong_count(&self.out) + Arc::strong_count(&self.err) == 2;
        assert!(
            eventually(read),
            "somebody has inherited the host's streams"
        );
        status.code().unwrap_or(-1)
    }

    /// Nothing of a job is left: one guard, no files, as many descriptors as before.
    #[track_caller]
    pub fn clean(&self, descriptors: usize) {
        let clean = || {
            self.children() == 1
                && self.threads() == 1
                && self.files() == 0
                && self.descriptors() <= descriptors
        };
        assert!(
            eventually(clean),
            "{} threads, {} children, {} files, {} descriptors, {descriptors} before",
            self.threads(),
            self.children(),
            self.files(),
            self.descriptors()
        );
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the host said: {}", self.err());
        }
    }
}
