//! `kubernetes:[NAMESPACE/]image=IMAGE`: an Indexed Job, a pod an instance, created and watched through the API server.

mod access;
mod api;
pub mod kubeconfig;
mod plugin;
mod pods;
mod preflight;

use super::{Answer, Delivery, Failure, Letter, Platform, Ready, Setting, Wish};
use crate::platform::kubernetes::{name_from, quantity, Job, NAME_MAX};
use access::{Access, Choice};
use api::{Api, Body, Refusal};
use pods::Pods;
use reqwest::Method;
use serde_json::{json, Value};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Nodes may have to be brought up first.
const JOIN: Duration = Duration::from_secs(300);
/// How often we look at what no watch tells.
const LOOK: Duration = Duration::from_secs(2);
/// Pods appear within moments; later, the events say why not.
const APPEAR: Duration = Duration::from_secs(4);
/// How long pods may stay without a node.
const UNSCHEDULABLE: u64 = 120;

type Variables = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

pub struct Kubernetes {
    target: String,
    /// Without name and number of instances.
    job: Job,
    choice: Choice,
    unschedulable: Duration,
    variables: Variables,
    /// The way to the API server and the namespace, looked for when it is first needed.
    way: OnceLock<Result<(Api, String), String>>,
    /// The name of what we created.
    created: Mutex<Option<String>>,
}

impl Kubernetes {
    /// Settings: `image`, `namespace`, `cpu`, `memory`, `scratch`, `queue`, `pull-secret`, `node` (LABEL=VALUE, any number), `context`,
    /// `kubeconfig`, `unschedulable` (seconds).
    pub fn open(
        rest: &str,
        settings: &[Setting],
        variables: Variables,
    ) -> Result<Kubernetes, String> {
        let mut job = Job::new("mayfly", "", 1);
        let (namespace, image) = match rest.find("image=") {
            Some(at) => (rest[..at].trim_end_matches('/'), &rest[at + 6..]),
            None => (rest.trim_end_matches('/'), ""),
        };
        job.image = image.into();
        job.namespace = Some(namespace).filter(|n| !n.is_empty()).map(String::from);
        let mut choice = Choice::default();
        let mut unschedulable = UNSCHEDULABLE;
        for (name, value) in settings {
            let value = value.clone();
            match name.as_str() {
                "image" => job.image = value,
                "namespace" => job.namespace = Some(value),
                "cpu" => job.cpu = value,
                "memory" => job.memory = value,
                "scratch" => job.scratch = value,
                "queue" => job.queue = Some(value),
                "pull-secret" => job.pull_secret = Some(value),
                "context" => choice.context = Some(value),
                "kubeconfig" => choice.kubeconfig = Some(value),
                "node" => {
                    let (label, value) = value.split_once('=').ok_or_else(|| format!("--with node={value}: should be node=LABEL=VALUE"))?;
                    job.nodes.insert(label.into(), value.into());
                }
                "unschedulable" => {
                    unschedulable = value.parse().map_err(|_| format!("--with unschedulable={value}: should be seconds"))?;
                }
                other => {
                    return Err(format!(
                        "--with {other}: unknown here; known: image, namespace, cpu, memory, scratch, queue, pull-secret, node, context, \
                         kubeconfig, unschedulable"
                    ))
                }
            }
        }
        job.check()?;
        Ok(Kubernetes {
            target: format!("kubernetes:{rest}"),
            job,
            choice,
            unschedulable: Duration::from_secs(unschedulable),
            variables,
            way: OnceLock::new(),
            created: Mutex::new(None),
        })
    }

    fn way(&self) -> Result<&(Api, String), String> {
        let way = self.way.get_or_init(|| {
            let access = Access::find(&self.choice, |name| (self.variables)(name))?;
            let namespace = self
                .job
                .namespace
                .clone()
                .unwrap_or_else(|| access.namespace.clone());
            Ok((Api::new(access)?, namespace))
        });
        way.as_ref().map_err(String::clone)
    }

    fn job(&self, wish: &Wish, name: String) -> Job {
        Job {
            name,
            instances: wish.instances,
            // A little later than our own end, for the case that we are gone.
            limit_s: wish.timeout.map(|limit| limit.as_secs() + 60),
            ..self.job.clone()
        }
    }

    async fn check(&self, wish: &Wish) -> Result<Ready, String> {
        let (api, namespace) = self.way()?;
        let job = self.job(wish, "mayfly".into());
        job.check()?;
        let mut ready = Ready::new(JOIN.max(self.unschedulable + Duration::from_secs(60)));
        ready
            .notices
            .extend(preflight::rights(api, namespace).await?);
        ready
            .notices
            .extend(preflight::quotas(api, namespace, &job).await?);
        ready.limit = wish.timeout;
        ready.cpus = quantity(&job.cpu);
        ready.memory_mib = quantity(&job.memory).map(|bytes| bytes / f64::from(1 << 20));
        Ok(ready)
    }

    /// Creates the three objects. The Job comes first and owns the others, so that whoever deletes it, the cluster itself after a while,
    /// deletes all; it is suspended until its Secret is there.
    async fn create(&self, wish: &Wish, start: &str) -> Result<Job, Refusal> {
        let (api, namespace) = self.way().map_err(|text| Refusal {
            status: 0,
            reason: String::new(),
            text,
        })?;
        let jobs = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
        let (mut job, made) = loop {
            let mut job = self.job(wish, fresh_name(&wish.name));
            job.namespace = Some(namespace.clone());
            job.suspended = true;
            // Before the request: its answer may be lost.
            *self.created.lock().unwrap_or_else(PoisonError::into_inner) = Some(job.name.clone());
            match api.ask(Method::POST, &jobs, Body::Json(&job.job())).await {
                Ok(made) => break (job, made),
                Err(refusal) if refusal.status == 409 => {
                    // Ours, when an answer was lost and the request repeated; somebody else's has other labels.
                    let path = format!("{jobs}/{}", job.name);
                    match api.get(&path).await {
                        Ok(there)
                            if there["metadata"]["labels"] == job.job()["metadata"]["labels"] =>
                        {
                            break (job, there)
                        }
                        _ => continue,
                    }
                }
                Err(refusal) => return Err(refusal),
            }
        };
        let owner = json!([{
            "apiVersion": "batch/v1", "kind": "Job", "name": job.name, "uid": made["metadata"]["uid"],
        }]);
        for (kind, mut object) in [("secrets", job.secret(start)), ("services", job.service())] {
            object["metadata"]["ownerReferences"] = owner.clone();
            let path = format!("/api/v1/namespaces/{namespace}/{kind}");
            match api.ask(Method::POST, &path, Body::Json(&object)).await {
                // The name is the Job's, which is ours.
                Err(refusal) if refusal.status != 409 => return Err(refusal),
                _ => {}
            }
        }
        job.suspended = false;
        if job.queue.is_none() {
            let path = format!("{jobs}/{}", job.name);
            api.ask(
                Method::PATCH,
                &path,
                Body::Merge(&json!({"spec": {"suspend": false}})),
            )
            .await?;
        }
        Ok(job)
    }

    /// Stays until all pods have ended well or one is lost.
    async fn stay(&self, job: &Job) -> Result<Delivery, Failure> {
        let (api, namespace) = self.way().map_err(Failure::last)?;
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods?labelSelector=job-name%3D{}",
            job.name
        );
        let mut pods = Pods::default();
        let begun = Instant::now();
        let mut waiting: Option<Instant> = None;
        loop {
            let list = api
                .get(&path)
                .await
                .map_err(|refusal| Failure::last(refusal.text))?;
            pods.clear();
            for pod in list["items"].as_array().into_iter().flatten() {
                pods.see(pod);
            }
            let version = list
                .pointer("/metadata/resourceVersion")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let watch =
                format!("{path}&watch=1&allowWatchBookmarks=true&resourceVersion={version}");
            let mut watch = match api.watch(&watch).await {
                Ok(watch) => watch,
                // Too old a version, or a server that is busy: listed anew.
                Err(_) => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            loop {
                if let Some(why) = pods.lost() {
                    return Err(Failure::last(why));
                }
                if pods.succeeded() == job.instances as usize {
                    return Ok(Delivery::Answered(format!(
                        "all {} pods of job {} have ended well",
                        job.instances, job.name
                    )));
                }
                waiting = pods
                    .unschedulable()
                    .map(|_| waiting.unwrap_or_else(Instant::now));
                if let (Some(since), Some((count, why))) = (waiting, pods.unschedulable()) {
                    if since.elapsed() >= self.unschedulable {
                        return Err(Failure::last(format!(
                            "{count} of {} pods find no node within {} s (Unschedulable: {why})",
                            job.instances,
                            self.unschedulable.as_secs()
                        )));
                    }
                }
                let late = begun.elapsed() >= APPEAR
                    && pods.count() < job.instances as usize
                    && job.queue.is_none();
                if late {
                    if let Some(why) = self.refused_pods(api, namespace, job).await {
                        return Err(Failure::last(format!(
                            "job {} gets no pods: {why}",
                            job.name
                        )));
                    }
                }
                match tokio::time::timeout(LOOK, watch.next()).await {
                    Err(_) => continue,
                    Ok(None) => break,
                    Ok(Some(event)) => match event["type"].as_str() {
                        Some("ADDED" | "MODIFIED") => pods.see(&event["object"]),
                        Some("DELETED") => pods.gone(&event["object"]),
                        Some("BOOKMARK") => {}
                        // 410 Gone: the version is too old.
                        _ => break,
                    },
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What the Job controller says of pods that it could not create (a quota, an admission policy).
    async fn refused_pods(&self, api: &Api, namespace: &str, job: &Job) -> Option<String> {
        let path = format!("/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.kind%3DJob%2CinvolvedObject.name%3D{}", job.name);
        let list = api.get(&path).await.ok()?;
        let events = list["items"].as_array()?;
        let failed = events
            .iter()
            .rev()
            .find(|event| event["reason"] == "FailedCreate")?;
        Some(super::client::one_line(failed["message"].as_str()?))
    }

    async fn bring(&self, wish: &Wish, letter: &Letter) -> Result<Delivery, Failure> {
        let job = self
            .create(wish, &letter.body)
            .await
            .map_err(|refusal| Failure::last(refusal.text))?;
        self.stay(&job).await
    }

    async fn delete(&self) -> Result<(), String> {
        let name = self
            .created
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(name) = name else {
            return Ok(());
        };
        let (api, namespace) = self.way()?;
        let options =
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        let mut wrong = Vec::new();
        for (group, kind) in [
            ("apis/batch/v1", "jobs"),
            ("api/v1", "secrets"),
            ("api/v1", "services"),
        ] {
            let path = format!("/{group}/namespaces/{namespace}/{kind}/{name}");
            match api.ask(Method::DELETE, &path, Body::Json(&options)).await {
                Ok(_) | Err(Refusal { status: 404, .. }) => {}
                // The cluster deletes what the Job owns.
                Err(Refusal { status: 403, .. }) if kind != "jobs" => {}
                Err(refusal) => wrong.push(refusal.text),
            }
        }
        match wrong.first() {
            None => Ok(()),
            Some(why) => Err(format!(
                "{why}; job {name} may still run: kubectl delete job -n {namespace} {name}"
            )),
        }
    }
}

/// The program's name and something that no other job has.
fn fresh_name(program: &str) -> String {
    let mut random = [0u8; 4];
    // Without random bytes the server's conflict tells.
    let _ = crate::base::os::random(&mut random);
    let tail: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let last = program.rsplit('/').next().unwrap_or(program);
    format!("{}-{tail}", name_from(last, NAME_MAX - 9))
}

impl Platform for Kubernetes {
    fn name(&self) -> String {
        self.target.clone()
    }

    fn preflight<'a>(&'a self, wish: &'a Wish) -> Answer<'a, Result<Ready, String>> {
        Box::pin(self.check(wish))
    }

    fn start<'a>(&'a self, _letter: &'a Letter) -> Answer<'a, Result<Delivery, Failure>> {
        Box::pin(async { Err(Failure::last("starts all instances of a job at once")) })
    }

    fn start_all<'a>(
        &'a self,
        wish: &'a Wish,
        letter: &'a Letter,
    ) -> Option<Answer<'a, Result<Delivery, Failure>>> {
        Some(Box::pin(self.bring(wish, letter)))
    }

    fn describe(&self, wish: &Wish) -> Result<String, String> {
        let last = wish.name.rsplit('/').next().unwrap_or(&wish.name);
        self.job(wish, name_from(last, NAME_MAX)).yaml(false)
    }

    fn stop<'a>(&'a self) -> Answer<'a, Result<(), String>> {
        Box::pin(self.delete())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(rest: &str, settings: &[(&str, &str)]) -> Result<Kubernetes, String> {
        let settings: Vec<Setting> = settings
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect();
        Kubernetes::open(rest, &settings, Arc::new(|_| None))
    }

    fn wish() -> Wish {
        Wish {
            name: "./build/Solver".into(),
            ranks: 8,
            per_instance: 2,
            ..Wish::of(4)
        }
    }

    #[test]
    fn a_target_names_namespace_and_image() {
        let job = |rest: &str, settings: &[(&str, &str)]| {
            open(rest, settings).map(|k| (k.job.namespace, k.job.image))
        };
        let some = |n: &str| Some(n.to_string());
        assert_eq!(
            job("team/image=r/x:1", &[]).unwrap(),
            (some("team"), "r/x:1".into())
        );
        assert_eq!(job("image=r/x:1", &[]).unwrap(), (None, "r/x:1".into()));
        assert_eq!(
            job("team", &[("image", "r/x@sha256:0")]).unwrap(),
            (some("team"), "r/x@sha256:0".into())
        );
        assert_eq!(
            job("", &[("image", "x"), ("namespace", "n")]).unwrap(),
            (some("n"), "x".into())
        );
        assert!(job("team", &[]).unwrap_err().contains("which image?"));
        assert!(job("image=x", &[("imag", "y")])
            .unwrap_err()
            .contains("--with imag: unknown"));
        assert!(job("image=x", &[("node", "y")])
            .unwrap_err()
            .contains("LABEL=VALUE"));
        assert!(job("image=x", &[("memory", "much")])
            .unwrap_err()
            .contains("memory=much"));
    }

    #[test]
    fn what_would_be_created_is_shown_without_a_cluster() {
        let kubernetes = open("team/image=r/x:1", &[("node", "disk=ssd")]).unwrap();
        let text = kubernetes.describe(&wish()).unwrap();
        for line in [
            "name: solver",
            "namespace: team",
            "completions: 4",
            "disk: ssd",
            "image: r/x:1",
        ] {
            assert!(text.contains(line), "{line}:\n{text}");
        }
        assert!(!text.contains("suspend"));
    }

    #[test]
    fn names_differ_and_fit() {
        let name = fresh_name(&"long/Program_name".repeat(9));
        assert!(
            name.len() <= NAME_MAX && name.starts_with("program-name-"),
            "{name}"
        );
        assert_ne!(fresh_name("x"), fresh_name("x"));
    }
}
