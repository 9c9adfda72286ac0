//! AWS Lambda's Runtime API: we ask for the next invocation, run it and answer it, one at a time, in a loop that the
//! platform freezes while there is nothing to do. Nothing here counts time across invocations.
//!
//! Source: AWS Lambda Developer Guide, "Using the Lambda runtime API". AWS's own emulator and cargo-lambda's differ in
//! small ways, which are let pass: an API address with a scheme and a path, deadlines that are none.

mod api;

use super::answer::{Outcome, Trouble};
use super::clock::{now_ms, plausible};
use super::{ended, letter, Ending, Host, Situation};
use crate::base::trace;
use api::{Api, Invocation};
use std::time::Duration;

/// Until here nothing has ever answered: the API may not be up yet.
const ATTEMPTS: u32 = 50;

/// Serves invocations until the platform ends us; gives the exit status.
pub async fn serve(
    mut host: Host,
    mut ending: Ending,
    fault: Option<String>,
) -> Result<i32, String> {
    let address = std::env::var("AWS_LAMBDA_RUNTIME_API")
        .map_err(|_| "AWS_LAMBDA_RUNTIME_API is not set: this is no Lambda function")?;
    let api = Api::parse(&address)?;
    if let Some(text) = fault {
        let trouble = Trouble::Unfit(text.clone());
        api.init_error(&trouble).await?;
        return Err(text);
    }
    let mut failures = 0;
    loop {
        let next = tokio::select! {
            next = api.next() => next,
            _ = ended(&mut ending) => return Ok(0),
        };
        match next {
            Ok(invocation) => {
                failures = 0;
                let result = invoke(&mut host, &invocation).await;
                if let Err(trouble) = &result {
                    trace::line(trouble.text());
                }
                if let Err(e) = api.answer(&invocation.id, &result).await {
                    // The platform has given up on this invocation; the next one may be well.
                    trace::line(&format!("the answer to {}: {e}", invocation.id));
                }
                let signal = *ending.borrow();
                if signal != 0 {
                    return Ok(128 + signal);
                }
            }
            Err(e) if failures < ATTEMPTS => {
                crate::info!("{e}; trying again");
                failures += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(e) => return Err(e),
        }
    }
}

async fn invoke(host: &mut Host, invocation: &Invocation) -> Result<Outcome, Trouble> {
    let start = match &invocation.body {
        Ok(body) => letter::open(body)?,
        Err(size) => return Err(letter::too_large(*size)),
    };
    let mut variables = Vec::new();
    if let Some(trace) = &invocation.trace {
        variables.push(("_X_AMZN_TRACE_ID".to_string(), trace.clone()));
    }
    let situation = Situation {
        platform: "lambda",
        deadline_ms: plausible(invocation.deadline_ms, now_ms()),
        variables,
    };
    host.run(&start, &situation, || {}).await
}
