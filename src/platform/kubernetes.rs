//! A job as Kubernetes objects: an Indexed Job (a pod an instance), a headless Service (pods find each other by name)
//! and a Secret with the start. Written out by `mayfly pack --to X.yaml` and `mayfly run --on kubernetes --dry-run`, created by
//! `mayfly run --on kubernetes`. Fields: the Kubernetes API reference, batch/v1 and v1.

use serde_json::{json, Value};
use std::collections::BTreeMap;

/// The longest name: a pod's host name is `NAME-INDEX`, a DNS label of at most 63 characters.
pub const NAME_MAX: usize = 52;
/// Where the start is in a pod.
const START: &str = "/run/mayfly/start.json";
/// Nobody, as in the packed image.
const USER: u32 = 65534;
/// What stands in the Secret until a launcher writes a job's start there.
pub const PLACEHOLDER: &str = "set by mayfly run";
/// Finished jobs go away by themselves after so many seconds.
const KEEP_S: u32 = 600;

/// What is to run, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub name: String,
    pub namespace: Option<String>,
    pub image: String,
    pub instances: u32,
    /// Of each pod, in Kubernetes' quantities (`500m`, `2Gi`).
    pub cpu: String,
    pub memory: String,
    /// Size limit of /tmp.
    pub scratch: String,
    /// The job ends after so many seconds, whatever happens.
    pub limit_s: Option<u64>,
    /// The LocalQueue of Kueue that admits the job as a whole.
    pub queue: Option<String>,
    /// A secret with which the image is pulled.
    pub pull_secret: Option<String>,
    /// Labels that the nodes must have.
    pub nodes: BTreeMap<String, String>,
    /// Created without pods, until the rest is there.
    pub suspended: bool,
}

impl Job {
    /// The usual one for an image.
    pub fn new(name: &str, image: &str, instances: u32) -> Job {
        Job {
            name: name.into(),
            namespace: None,
            image: image.into(),
            instances,
            cpu: "1".into(),
            memory: "2Gi".into(),
            scratch: "1Gi".into(),
            limit_s: None,
            queue: None,
            pull_secret: None,
            nodes: BTreeMap::new(),
            suspended: false,
        }
    }

    /// What the API server would refuse, in one line.
    pub fn check(&self) -> Result<(), String> {
        if !is_label(&self.name) || self.name.len() > NAME_MAX {
            return Err(format!(
                "{:?} is no name for a Kubernetes job (a-z, 0-9, -; {NAME_MAX} at most)",
                self.name
            ));
        }
        if let Some(namespace) = self
            .namespace
            .as_deref()
            .filter(|n| !is_label(n) || n.len() > 63)
        {
            return Err(format!("{namespace:?} is no namespace"));
        }
        if self.image.is_empty() || self.image.contains(char::is_whitespace) {
            return Err(
                "which image? (image=REGISTRY/NAME:TAG; mayfly pack --to oci:DIR makes one)".into(),
            );
        }
        // The Job controller's limit for Indexed Jobs whose failed indexes are remembered exactly.
        if self.instances == 0 || self.instances > 100_000 {
            return Err(format!(
                "{} instances; an Indexed Job has 1 to 100000",
                self.instances
            ));
        }
        for (what, amount) in [
            ("cpu", &self.cpu),
            ("memory", &self.memory),
            ("scratch", &self.scratch),
        ] {
            if quantity(amount).is_none_or(|amount| amount <= 0.0) {
                return Err(format!(
                    "{what}={amount}: is no amount (500m, 2, 512Mi, 2Gi)"
                ));
            }
        }
        Ok(())
    }

    fn labels(&self) -> Value {
        json!({
            "app.kubernetes.io/name": self.name,
            "app.kubernetes.io/managed-by": "mayfly",
        })
    }

    fn metadata(&self) -> Value {
        let mut metadata = json!({"name": self.name, "labels": self.labels()});
        if let Some(namespace) = &self.namespace {
            metadata["namespace"] = namespace.as_str().into();
        }
        metadata
    }

    /// The Secret with the start; the text is [`PLACEHOLDER`] in what is shown or packed.
    pub fn secret(&self, start: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": self.metadata(),
            "type": "Opaque",
            "stringData": {"start.json": start},
        })
    }

    /// The headless Service that gives each pod the name `NAME-INDEX.NAME`.
    pub fn service(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(),
            "spec": {
                "clusterIP": "None",
                "publishNotReadyAddresses": true,
                "selector": self.labels(),
            },
        })
    }

    pub fn job(&self) -> Value {
        let mut metadata = self.metadata();
        if let Some(queue) = &self.queue {
            metadata["labels"]["kueue.x-k8s.io/queue-name"] = queue.as_str().into();
        }
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata,
            "spec": self.spec(),
        })
    }

    /// The same as a JobSet, which makes the Service itself.
    pub fn job_set(&self) -> Value {
        let mut metadata = self.metadata();
        if let Some(queue) = &self.queue {
            metadata["labels"]["kueue.x-k8s.io/queue-name"] = queue.as_str().into();
        }
        let mut spec = self.spec();
        // These are the JobSet's business.
        if let Some(fields) = spec.as_object_mut() {
            fields.remove("suspend");
            fields.remove("ttlSecondsAfterFinished");
        }
        json!({
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": metadata,
            "spec": {
                "suspend": self.suspended || self.queue.is_some(),
                "ttlSecondsAfterFinished": KEEP_S,
                "failurePolicy": {"maxRestarts": 0},
                "network": {"enableDNSHostnames": true, "publishNotReadyAddresses": true},
                "replicatedJobs": [{"name": "ranks", "replicas": 1, "template": {"spec": spec}}],
            },
        })
    }

    fn spec(&self) -> Value {
        let mut spec = json!({
            "completionMode": "Indexed",
            "completions": self.instances,
            "parallelism": self.instances,
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": KEEP_S,
            "template": {
                "metadata": {"labels": self.labels()},
                "spec": self.pod(),
            },
        });
        if let Some(limit) = self.limit_s {
            spec["activeDeadlineSeconds"] = limit.into();
        }
        // Kueue sets a job free when there is room for all of it.
        if self.suspended || self.queue.is_some() {
            spec["suspend"] = true.into();
        }
        spec
    }

    fn pod(&self) -> Value {
        let amounts = json!({"cpu": self.cpu, "memory": self.memory});
        let mut pod = json!({
            "subdomain": self.name,
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 15,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "runAsGroup": USER,
                // So that the group may read the Secret's file, whose owner is root.
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "mayfly",
                "image": self.image,
                "command": ["/bootstrap", "host"],
                "env": [
                    {"name": "MAYFLY_START_FILE", "value": START},
                    {"name": "MAYFLY_INDEX", "valueFrom": {"fieldRef": {
                        "fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']",
                    }}},
                ],
                "resources": {"requests": amounts, "limits": amounts},
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "start", "mountPath": "/run/mayfly", "readOnly": true},
                    {"name": "scratch", "mountPath": "/tmp"},
                ],
            }],
            "volumes": [
                {"name": "start", "secret": {"secretName": self.name, "defaultMode": 0o400}},
                {"name": "scratch", "emptyDir": {"sizeLimit": self.scratch}},
            ],
        });
        if let Some(secret) = &self.pull_secret {
            pod["imagePullSecrets"] = json!([{"name": secret}]);
        }
        if !self.nodes.is_empty() {
            pod["nodeSelector"] = json!(self.nodes);
        }
        pod
    }

    /// All objects as YAML documents, without a secret in them.
    pub fn yaml(&self, job_set: bool) -> Result<String, String> {
        self.check()?;
        let mut objects = vec![self.secret(PLACEHOLDER)];
        if job_set {
            objects.push(self.job_set());
        } else {
            objects.extend([self.service(), self.job()]);
        }
        let mut text = String::new();
        for object in objects {
            let document = serde_yaml_ng::to_string(&object).map_err(|e| e.to_string())?;
            text.push_str("---\n");
            text.push_str(&document);
        }
        Ok(text)
    }
}

/// A DNS label (RFC 1123 §2.1), as Kubernetes wants them: lower case.
fn is_label(text: &str) -> bool {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(sound) && !text.starts_with('-') && !text.ends_with('-')
}

/// A name for Kubernetes from any text: `LAMMPS_2` gives `lammps-2`. At most `longest` characters.
pub fn name_from(text: &str, longest: usize) -> String {
    let mut name = String::new();
    for c in text.to_lowercase().chars() {
        let fits = c.is_ascii_lowercase() || c.is_ascii_digit();
        match fits {
            true => name.push(c),
            false if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            false => {}
        }
    }
    name.truncate(longest);
    let name = name.trim_end_matches('-');
    if name.is_empty() {
        "mayfly".into()
    } else {
        name.into()
    }
}

/// The value of a Kubernetes quantity: `500m` is 0.5, `2Gi` is 2147483648.
pub fn quantity(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 13] = [
        ("Ki", 1024.0),
        ("Mi", 1048576.0),
        ("Gi", 1073741824.0),
        ("Ti", 1099511627776.0),
        ("Pi", 1125899906842624.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
    ];
    let unit = UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = unit.unwrap_or((text, 1.0));
    let digits = number
        .chars()
        .all(|c| c.is_ascii_digit() || ".eE+-".contains(c));
    let number: f64 = number.parse().ok().filter(|_| digits)?;
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job::new("lmp", "registry.example/lmp:1", 8)
    }

    #[test]
    fn the_manifest_has_what_a_gang_needs() {
        let mut job = job();
        job.limit_s = Some(900);
        let object = job.job();
        let spec = &object["spec"];
        assert_eq!(
            (&spec["completions"], &spec["parallelism"]),
            (&json!(8), &json!(8))
        );
        assert_eq!(
            (&spec["backoffLimit"], &spec["activeDeadlineSeconds"]),
            (&json!(0), &json!(900))
        );
        assert_eq!(spec["completionMode"], "Indexed");
        assert!(spec.get("suspend").is_none());
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["restartPolicy"], "Never");
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(
            pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"],
            true
        );
        assert_eq!(pod["volumes"][0]["secret"]["defaultMode"], 256);
        // The Service finds the pods, the pods name the Service.
        assert_eq!(
            job.service()["spec"]["selector"],
            spec["template"]["metadata"]["labels"]
        );
        assert_eq!(pod["subdomain"], job.service()["metadata"]["name"]);
    }

    #[test]
    fn yaml_holds_no_start_and_reads_back() {
        let text = job().yaml(false).unwrap();
        assert!(text.contains(PLACEHOLDER) && !text.contains("hosts_key"));
        let kinds: Vec<String> = serde_yaml_ng::Deserializer::from_str(&text)
            .map(|document| {
                let value: Value = serde::Deserialize::deserialize(document).unwrap();
                value["kind"].as_str().unwrap().to_string()
            })
            .collect();
        assert_eq!(kinds, ["Secret", "Service", "Job"]);
        let text = job().yaml(true).unwrap();
        assert!(text.contains("kind: JobSet") && !text.contains("kind: Service"));
    }

    #[test]
    fn kueue_releases_the_job() {
        let mut job = job();
        job.queue = Some("team".into());
        assert_eq!(job.job()["spec"]["suspend"], true);
        assert_eq!(
            job.job()["metadata"]["labels"]["kueue.x-k8s.io/queue-name"],
            "team"
        );
        assert_eq!(job.job_set()["spec"]["suspend"], true);
        assert!(
            job.job_set()["spec"]["replicatedJobs"][0]["template"]["spec"]
                .get("suspend")
                .is_none()
        );
    }

    #[test]
    fn what_the_server_would_refuse_is_said_before() {
        let with = |change: fn(&mut Job)| {
            let mut job = job();
            change(&mut job);
            job.check().unwrap_err()
        };
        assert!(with(|j| j.name = "Lmp".into()).contains("no name"));
        assert!(with(|j| j.name = "x".repeat(53)).contains("52 at most"));
        assert!(with(|j| j.image.clear()).contains("which image?"));
        assert!(with(|j| j.instances = 0).contains("1 to 100000"));
        assert!(with(|j| j.memory = "lots".into()).contains("memory=lots"));
        assert!(with(|j| j.namespace = Some("a b".into())).contains("no namespace"));
        assert!(job().check().is_ok());
    }

    #[test]
    fn names_and_quantities() {
        assert_eq!(name_from("./LAMMPS_2 (x)", 20), "lammps-2-x");
        assert_eq!(name_from("a-very-long-name", 7), "a-very");
        assert_eq!(name_from("§", 20), "mayfly");
        for (text, value) in [
            ("500m", 0.5),
            ("2", 2.0),
            ("2Gi", 2147483648.0),
            ("1e3", 1000.0),
            ("1.5k", 1500.0),
        ] {
            assert_eq!(quantity(text), Some(value), "{text}");
        }
        for text in ["", "x", "2 Gi", "inf", "nan", "Gi"] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }
}
