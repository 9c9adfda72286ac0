//! What would fail or wait for ever, asked before anything is created: rights and quotas.

use super::api::{Api, Body, Refusal};
use crate::platform::kubernetes::{quantity, Job};
use reqwest::Method;
use serde_json::{json, Value};

/// What a job needs to be allowed: verb, group, resource.
const RIGHTS: [(&str, &str, &str); 8] = [
    ("create", "batch", "jobs"),
    ("patch", "batch", "jobs"),
    ("delete", "batch", "jobs"),
    ("create", "", "secrets"),
    ("create", "", "services"),
    ("list", "", "pods"),
    ("watch", "", "pods"),
    ("list", "", "events"),
];

/// Asks the API server whether it will let us ("Checking API access"); gives warnings.
pub async fn rights(api: &Api, namespace: &str) -> Result<Vec<String>, String> {
    let mut denied = Vec::new();
    for (verb, group, resource) in RIGHTS {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"namespace": namespace, "verb": verb, "group": group, "resource": resource}},
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = match api.ask(Method::POST, path, Body::Json(&review)).await {
            Ok(answer) => answer,
            Err(Refusal {
                status: 403 | 404,
                text,
                ..
            }) => return Ok(vec![format!("rights are not known beforehand: {text}")]),
            Err(refusal) => return Err(refusal.text),
        };
        if answer.pointer("/status/allowed") != Some(&Value::Bool(true)) {
            denied.push(format!("{verb} {resource}"));
        }
    }
    if denied.iter().any(|right| right != "list events") {
        return Err(format!(
            "in namespace {namespace} we may not: {}; a Role must allow it",
            denied.join(", ")
        ));
    }
    Ok(denied
        .iter()
        .map(|right| format!("we may not {right}: why pods do not appear will not be known"))
        .collect())
}

/// Whether the namespace's quotas have room for all pods at once; a gang that half fits waits for ever.
pub async fn quotas(api: &Api, namespace: &str, job: &Job) -> Result<Vec<String>, String> {
    let list = match api
        .get(&format!("/api/v1/namespaces/{namespace}/resourcequotas"))
        .await
    {
        Ok(list) => list,
        Err(Refusal { status: 403, .. }) => return Ok(Vec::new()),
        Err(refusal) => return Err(refusal.text),
    };
    let mut lines = Vec::new();
    for quota in list["items"].as_array().into_iter().flatten() {
        lines.extend(short(quota, job));
    }
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    Err(lines.join("; "))
}

/// What of a quota the job would exceed.
fn short(quota: &Value, job: &Job) -> Vec<String> {
    let each = |text: &str| quantity(text).unwrap_or(0.0);
    let pods = f64::from(job.instances);
    let needs = [
        ("pods", pods),
        ("count/pods", pods),
        ("count/jobs.batch", 1.0),
        ("count/secrets", 1.0),
        ("secrets", 1.0),
        ("services", 1.0),
        ("count/services", 1.0),
        ("cpu", pods * each(&job.cpu)),
        ("requests.cpu", pods * each(&job.cpu)),
        ("limits.cpu", pods * each(&job.cpu)),
        ("memory", pods * each(&job.memory)),
        ("requests.memory", pods * each(&job.memory)),
        ("limits.memory", pods * each(&job.memory)),
    ];
    // A scoped quota may concern other pods than ours.
    if quota.pointer("/spec/scopes").is_some() || quota.pointer("/spec/scopeSelector").is_some() {
        return Vec::new();
    }
    let name = quota
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or("?");
    let amount = |kind: &str, what: &str| quota["status"][kind][what].as_str().and_then(quantity);
    let over = needs.into_iter().filter_map(|(what, need)| {
        let hard = amount("hard", what)?;
        let left = hard - amount("used", what).unwrap_or(0.0);
        (need > left * (1.0 + 1e-9)).then(|| {
            format!(
                "quota {name} leaves {} of {what}, the job needs {}",
                shown(left, what),
                shown(need, what)
            )
        })
    });
    over.collect()
}

fn shown(amount: f64, what: &str) -> String {
    if what.ends_with("memory") {
        format!("{:.1} GiB", amount / f64::from(1 << 30))
    } else {
        format!("{amount}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_that_is_too_small_is_named() {
        let job = Job::new("x", "r/x", 8);
        let quota = |hard: Value, used: Value| json!({"metadata": {"name": "team"}, "status": {"hard": hard, "used": used}});
        let small = quota(
            json!({"pods": "10", "requests.cpu": "8", "limits.memory": "32Gi"}),
            json!({"pods": "3", "limits.memory": "20Gi"}),
        );
        assert_eq!(
            short(&small, &job),
            [
                "quota team leaves 7 of pods, the job needs 8",
                "quota team leaves 12.0 GiB of limits.memory, the job needs 16.0 GiB"
            ]
        );
        assert!(short(
            &quota(json!({"pods": "8", "configmaps": "0"}), json!({})),
            &job
        )
        .is_empty());
        let mut scoped = small;
        scoped["spec"] = json!({"scopes": ["BestEffort"]});
        assert!(short(&scoped, &job).is_empty());
    }
}
