//! What a pod's status says about its instance: whether it will come, and why not.

use super::super::client::one_line;
use serde_json::Value;
use std::collections::BTreeMap;

/// One pod, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// On its way.
    Coming,
    /// No node takes it now; one may later.
    Unschedulable(String),
    Running,
    Succeeded,
    /// It will never run, or has failed; why.
    Lost(String),
}

/// All pods of a job, by name.
#[derive(Debug, Default)]
pub struct Pods {
    states: BTreeMap<String, State>,
    /// What the first failed pull said; the later back-off only says that it waits.
    pulls: BTreeMap<String, String>,
}

/// The kubelet's reasons for a waiting container that no waiting mends ("Debug Pods", kubelet's images/types.go).
const HOPELESS: [&str; 7] = [
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

impl Pods {
    /// Takes note of a pod's present state.
    pub fn see(&mut self, pod: &Value) {
        let name = text(pod, "/metadata/name").to_string();
        if let Some((reason, message)) =
            waiting(pod).filter(|(reason, _)| *reason == "ErrImagePull")
        {
            let said = if message.is_empty() { reason } else { message };
            self.pulls.insert(name.clone(), one_line(said));
        }
        let state = judge(pod, self.pulls.get(&name));
        self.states.insert(name, state);
    }

    /// A pod is gone. One that had ended well stays so.
    pub fn gone(&mut self, pod: &Value) {
        let name = text(pod, "/metadata/name").to_string();
        if self.states.get(&name) != Some(&State::Succeeded) {
            let why = disruption(pod).unwrap_or_else(|| "was deleted".into());
            self.states
                .insert(name.clone(), State::Lost(format!("pod {name} {why}")));
        }
    }

    /// Forgets all; a fresh list follows.
    pub fn clear(&mut self) {
        self.states.clear();
    }

    pub fn count(&self) -> usize {
        self.states.len()
    }

    pub fn succeeded(&self) -> usize {
        self.states
            .values()
            .filter(|s| **s == State::Succeeded)
            .count()
    }

    /// The first pod that is lost.
    pub fn lost(&self) -> Option<&str> {
        self.states.values().find_map(|state| match state {
            State::Lost(why) => Some(why.as_str()),
            _ => None,
        })
    }

    /// How many pods no node takes, and what the scheduler says of the first.
    pub fn unschedulable(&self) -> Option<(usize, &str)> {
        let mut texts = self.states.values().filter_map(|state| match state {
            State::Unschedulable(why) => Some(why.as_str()),
            _ => None,
        });
        let first = texts.next()?;
        Some((1 + texts.count(), first))
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    lists
        .into_iter()
        .filter_map(|list| pod.pointer(list)?.as_array())
        .flatten()
}

/// A container that waits: reason and message.
fn waiting(pod: &Value) -> Option<(&str, &str)> {
    statuses(pod).find_map(|status| {
        let state = status.pointer("/state/waiting")?;
        Some((text(state, "/reason"), text(state, "/message")))
    })
}

/// Why the cluster took the pod away ("Pod disruption conditions").
fn disruption(pod: &Value) -> Option<String> {
    let conditions = pod.pointer("/status/conditions")?.as_array()?;
    let found = conditions
        .iter()
        .find(|c| text(c, "/type") == "DisruptionTarget" && text(c, "/status") == "True")?;
    Some(format!(
        "was taken away by the cluster ({}: {})",
        text(found, "/reason"),
        one_line(text(found, "/message"))
    ))
}

fn judge(pod: &Value, pull: Option<&String>) -> State {
    let name = text(pod, "/metadata/name");
    let lost = |why: String| State::Lost(format!("pod {name} {why}"));
    match text(pod, "/status/phase") {
        "Succeeded" => return State::Succeeded,
        "Failed" => return lost(failure(pod)),
        _ => {}
    }
    if let Some((reason, message)) = waiting(pod) {
        if HOPELESS.contains(&reason) {
            let image = text(pod, "/spec/containers/0/image");
            let what = if reason.contains("Image") {
                format!(" of {image}")
            } else {
                String::new()
            };
            let said = match pull {
                Some(pull) => format!(": {pull}"),
                None if message.is_empty() => String::new(),
                None => format!(": {}", one_line(message)),
            };
            return lost(format!("cannot start, {reason}{what}{said}"));
        }
    }
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let refused = conditions.into_iter().flatten().find(|c| {
        text(c, "/type") == "PodScheduled"
            && text(c, "/status") == "False"
            && text(c, "/reason") == "Unschedulable"
    });
    match refused {
        Some(condition) => State::Unschedulable(one_line(text(condition, "/message"))),
        None if text(pod, "/status/phase") == "Running" => State::Running,
        None => State::Coming,
    }
}

/// How a failed pod ended.
fn failure(pod: &Value) -> String {
    if let Some(why) = disruption(pod) {
        return why;
    }
    let reason = text(pod, "/status/reason");
    if !reason.is_empty() {
        let message = one_line(text(pod, "/status/message"));
        return format!(
            "failed, {reason}{}",
            if message.is_empty() {
                message
            } else {
                format!(": {message}")
            }
        );
    }
    let ended = statuses(pod).find_map(|status| status.pointer("/state/terminated"));
    let Some(ended) = ended else {
        return "failed".into();
    };
    let code = ended["exitCode"].as_i64().unwrap_or(-1);
    match text(ended, "/reason") {
        "OOMKilled" => {
            "was killed for want of memory (OOMKilled); give it more (--with memory=4Gi)".into()
        }
        "" | "Error" => format!("ended with status {code}"),
        reason => {
            let message = one_line(text(ended, "/message"));
            format!(
                "ended with status {code}, {reason}{}",
                if message.is_empty() {
                    message
                } else {
                    format!(": {message}")
                }
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: Value) -> Value {
        json!({"metadata": {"name": "x-3"}, "spec": {"containers": [{"image": "r/x:1"}]}, "status": status})
    }

    fn waits(reason: &str, message: &str) -> Value {
        let waiting = json!({"reason": reason, "message": message});
        pod(json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}]}))
    }

    fn lost(status: Value) -> String {
        let mut pods = Pods::default();
        pods.see(&pod(status));
        pods.lost().unwrap().to_string()
    }

    #[test]
    fn a_pull_that_fails_says_its_first_reason() {
        let mut pods = Pods::default();
        pods.see(&waits("ContainerCreating", ""));
        pods.see(&waits("ErrImagePull", "manifest for r/x:1 not\nfound"));
        assert!(pods.lost().is_none());
        pods.see(&waits("ImagePullBackOff", "Back-off pulling image"));
        assert_eq!(
            pods.lost(),
            Some("pod x-3 cannot start, ImagePullBackOff of r/x:1: manifest for r/x:1 not found")
        );
    }

    #[test]
    fn what_no_node_takes_may_come_later() {
        let mut pods = Pods::default();
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient cpu."});
        pods.see(&pod(json!({"phase": "Pending", "conditions": [condition]})));
        assert_eq!(
            pods.unschedulable(),
            Some((1, "0/3 nodes are available: 3 Insufficient cpu."))
        );
        assert!(pods.lost().is_none());
        pods.see(&pod(json!({"phase": "Running"})));
        assert!(pods.unschedulable().is_none());
        assert_eq!((pods.count(), pods.succeeded()), (1, 0));
    }

    #[test]
    fn how_pods_fail() {
        let ended = |terminated: Value| {
            lost(
                json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": terminated}}]}),
            )
        };
        assert_eq!(
            ended(json!({"exitCode": 3, "reason": "Error"})),
            "pod x-3 ended with status 3"
        );
        assert!(ended(json!({"exitCode": 137, "reason": "OOMKilled"})).contains("want of memory"));
        assert_eq!(
            ended(
                json!({"exitCode": 128, "reason": "StartError", "message": "exec: no such file"})
            ),
            "pod x-3 ended with status 128, StartError: exec: no such file"
        );
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."});
        assert_eq!(
            lost(evicted),
            "pod x-3 failed, Evicted: The node was low on memory."
        );
        let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "for a better"});
        let preempted = lost(json!({"phase": "Failed", "conditions": [condition]}));
        assert!(
            preempted.contains("taken away by the cluster (PreemptionByScheduler: for a better)"),
            "{preempted}"
        );
        assert_eq!(lost(json!({"phase": "Failed"})), "pod x-3 failed");
    }

    #[test]
    fn a_pod_that_ended_well_may_go() {
        let mut pods = Pods::default();
        let done = pod(json!({"phase": "Succeeded"}));
        pods.see(&done);
        pods.gone(&done);
        assert_eq!((pods.succeeded(), pods.lost()), (1, None));
        let mut pods = Pods::default();
        pods.see(&pod(json!({"phase": "Running"})));
        pods.gone(&pod(json!({"phase": "Running"})));
        assert_eq!(pods.lost(), Some("pod x-3 was deleted"));
    }
}
