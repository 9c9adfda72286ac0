//! What Lambda says of the function and the account, and what that means for a launch.

use crate::platform::on::{Ready, Wish};
use serde::Deserialize;
use std::time::Duration;

/// A cold start with a large container image takes seconds; some room for throttled starts.
const JOIN: Duration = Duration::from_secs(60);
/// A function's instances may grow by this many in each [`RAMP_STEP`].
const RAMP: u32 = 1000;
const RAMP_STEP: Duration = Duration::from_secs(10);
/// The largest payload, bytes: of an asynchronous start, and of a synchronous one.
const PAYLOAD: (usize, usize) = (1024 * 1024, 6 * 1024 * 1024);
/// A function that may run for less than this was hardly meant to hold a rank; 3 s is the default.
const SHORT: u64 = 60;
/// Memory that comes with one virtual CPU, MB.
const MEMORY_OF_A_CPU: f64 = 1769.0;

/// An answer, or why there is none.
pub enum Checked<T> {
    Known(T),
    /// There is no such thing.
    Missing,
    /// Not allowed to ask, or an emulator that has no such question.
    Unknown(String),
}

pub struct Findings {
    pub function: Checked<Function>,
    pub reserved: Checked<Reserved>,
    pub account: Checked<Account>,
    pub repeats: Checked<Repeats>,
}

/// GetFunctionConfiguration.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct Function {
    /// Seconds.
    timeout: Option<u64>,
    /// MB.
    memory_size: Option<f64>,
    state: Option<String>,
    state_reason: Option<String>,
    last_update_status: Option<String>,
    architectures: Vec<String>,
    vpc_config: Option<Vpc>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Vpc {
    vpc_id: Option<String>,
}

/// GetFunctionConcurrency.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct Reserved {
    reserved_concurrent_executions: Option<u32>,
}

/// GetAccountSettings.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct Account {
    account_limit: AccountLimit,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct AccountLimit {
    unreserved_concurrent_executions: Option<u32>,
}

/// GetFunctionEventInvokeConfig.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct Repeats {
    maximum_retry_attempts: Option<u32>,
}

/// Refuses what would fail or wait for ever; warns of the rest.
pub fn judge(findings: &Findings, wish: &Wish, sync: bool, name: &str) -> Result<Ready, String> {
    let mut ready = Ready::new(JOIN + RAMP_STEP * (wish.instances / RAMP));
    let largest = if sync { PAYLOAD.1 } else { PAYLOAD.0 };
    if wish.letter > largest {
        return Err(format!(
            "a start of {} bytes is more than Lambda's {largest}",
            wish.letter
        ));
    }
    match &findings.function {
        Checked::Known(function) => of_function(function, wish, &mut ready)?,
        Checked::Missing => {
            return Err(format!("there is no Lambda function {name} in this region"))
        }
        Checked::Unknown(why) => ready
            .notices
            .push(format!("the function's limits cannot be checked: {why}")),
    }
    concurrency(findings, wish, &mut ready)?;
    if !sync {
        let times = match &findings.repeats {
            Checked::Known(repeats) => repeats.maximum_retry_attempts.unwrap_or(2),
            Checked::Missing => 2,
            Checked::Unknown(_) => 0,
        };
        if times > 0 {
            ready.notices.push(format!(
                "Lambda repeats a failed start up to {times} times; the rendezvous turns repetitions away, but each is \
                 billed. Switch it off: aws lambda put-function-event-invoke-config --function-name {name} \
                 --maximum-retry-attempts 0"
            ));
        }
    }
    Ok(ready)
}

fn of_function(function: &Function, wish: &Wish, ready: &mut Ready) -> Result<(), String> {
    let reason = function
        .state_reason
        .as_deref()
        .unwrap_or("no reason given");
    match function.state.as_deref() {
        Some("Failed") => return Err(format!("the function cannot run: {reason}")),
        Some("Pending") => {
            return Err("the function is still being created; try again when it is Active".into())
        }
        Some("Inactive") => ready.notices.push(
            "the function is Inactive: Lambda prepares it anew, and the first starts may fail"
                .into(),
        ),
        _ => {}
    }
    if function.last_update_status.as_deref() == Some("InProgress") {
        ready
            .notices
            .push("the function is being updated; instances may run the version before".into());
    }
    if let Some(limit) = function.timeout {
        if let Some(timeout) = wish.timeout.filter(|t| *t > Duration::from_secs(limit)) {
            return Err(format!(
                "the function's time limit is {limit} s, less than the {} s of --timeout; raise it: aws lambda \
                 update-function-configuration --timeout (900 at most)",
                timeout.as_secs_f64()
            ));
        }
        if limit < SHORT {
            ready.notices.push(format!(
                "the function's time limit is {limit} s: every instance ends then"
            ));
        }
        ready.limit = Some(Duration::from_secs(limit));
    }
    let vpc = function
        .vpc_config
        .as_ref()
        .and_then(|vpc| vpc.vpc_id.as_deref());
    if vpc.is_some_and(|id| !id.is_empty()) {
        ready.notices.push(
            "the function is in a VPC: it needs a way out to the rendezvous, and direct connections between ranks may \
             not come about (the relay carries them)"
                .into(),
        );
    }
    ready.memory_mib = function.memory_size;
    ready.cpus = function.memory_size.map(|mb| mb / MEMORY_OF_A_CPU);
    ready.architecture = function.architectures.first().cloned();
    Ok(())
}

/// Fewer instances at a time than the job needs: those that run would wait for the others until the deadline.
fn concurrency(findings: &Findings, wish: &Wish, ready: &mut Ready) -> Result<(), String> {
    let n = wish.instances;
    let reserved = match &findings.reserved {
        Checked::Known(reserved) => reserved.reserved_concurrent_executions,
        _ => None,
    };
    if let Some(reserved) = reserved {
        return if reserved < n {
            Err(format!(
                "the function's reserved concurrency is {reserved}, but {n} instances must run at once; raise it (aws \
                 lambda put-function-concurrency), or take more ranks per instance (-per-instance)"
            ))
        } else {
            Ok(())
        };
    }
    match &findings.account {
        Checked::Known(account) => match account.account_limit.unreserved_concurrent_executions {
            Some(limit) if limit < n => Err(format!(
                "the account may run {limit} instances at once in this region, but {n} are needed; ask AWS for more \
                 (Service Quotas: Concurrent executions), or take more ranks per instance (-per-instance)"
            )),
            _ => Ok(()),
        },
        Checked::Missing => Ok(()),
        Checked::Unknown(why) => {
            ready.notices.push(format!(
                "whether {n} instances may run at once cannot be checked: {why}"
            ));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known<T: serde::de::DeserializeOwned>(json: &str) -> Checked<T> {
        Checked::Known(serde_json::from_str(json).unwrap())
    }

    fn usual() -> Findings {
        Findings {
            function: known(
                r#"{"FunctionName":"f","Timeout":900,"MemorySize":1769,"State":"Active","Architectures":["arm64"],
                    "VpcConfig":{"VpcId":"","SubnetIds":[]}}"#,
            ),
            reserved: known("{}"),
            account: known(
                r#"{"AccountLimit":{"ConcurrentExecutions":1000,"UnreservedConcurrentExecutions":900},"AccountUsage":{}}"#,
            ),
            repeats: known(r#"{"MaximumRetryAttempts":0}"#),
        }
    }

    #[test]
    fn a_function_made_for_it_gives_no_cause_for_notice() {
        let ready = judge(&usual(), &Wish::of(900), false, "f").unwrap();
        assert_eq!(ready.notices, Vec::<String>::new());
        assert_eq!(ready.limit, Some(Duration::from_secs(900)));
        assert_eq!(
            (ready.cpus, ready.architecture.as_deref()),
            (Some(1.0), Some("arm64"))
        );
    }

    #[test]
    fn what_would_deadlock_is_refused_before_a_cent_is_spent() {
        let error = judge(&usual(), &Wish::of(901), false, "f").unwrap_err();
        assert!(error.contains("900 instances at once"), "{error}");
        let mut few = usual();
        few.reserved = known(r#"{"ReservedConcurrentExecutions":3}"#);
        let error = judge(&few, &Wish::of(4), false, "f").unwrap_err();
        assert!(error.contains("reserved concurrency is 3"), "{error}");
        few.account = known("{}");
        assert!(judge(&few, &Wish::of(3), false, "f").is_ok());
        let long = Wish {
            timeout: Some(Duration::from_secs(1000)),
            ..Wish::of(1)
        };
        let error = judge(&usual(), &long, false, "f").unwrap_err();
        assert!(error.contains("900 s, less than the 1000 s"), "{error}");
        let mut gone = usual();
        gone.function = Checked::Missing;
        assert!(judge(&gone, &Wish::of(1), false, "f")
            .unwrap_err()
            .contains("no Lambda function f"));
        for state in ["Failed", "Pending"] {
            gone.function = known(&format!("{{\"State\":\"{state}\"}}"));
            assert!(judge(&gone, &Wish::of(1), false, "f").is_err(), "{state}");
        }
    }

    #[test]
    fn doubtful_things_are_said() {
        let doubtful = Findings {
            function: known(
                r#"{"Timeout":3,"State":"Inactive","LastUpdateStatus":"InProgress","VpcConfig":{"VpcId":"v"}}"#,
            ),
            reserved: Checked::Unknown("forbidden".into()),
            account: Checked::Unknown("forbidden".into()),
            repeats: Checked::Missing,
        };
        let notices = judge(&doubtful, &Wish::of(2), false, "f").unwrap().notices;
        assert_eq!(notices.len(), 6, "{notices:#?}");
        assert!(notices[5].contains("--maximum-retry-attempts 0"));
        assert_eq!(
            judge(&doubtful, &Wish::of(2), true, "f")
                .unwrap()
                .notices
                .len(),
            5
        );
    }
}
