//! How a platform hands over starts, and how to tell from the environment.

/// A platform's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    /// AWS Lambda's Runtime API: we ask for the next.
    Lambda,
    /// A request a start, on $PORT or 8080: Knative, Cloud Run, OpenFaaS, anything.
    Http,
    /// The same on 8888.
    Fission,
    /// The same on 8080, with health on 8082.
    Nuclio,
    /// The same on $FUNCTIONS_CUSTOMHANDLER_PORT.
    Azure,
    /// /init and /run on 8080.
    OpenWhisk,
    /// No trigger: the start stands in MAYFLY_START or MAYFLY_START_FILE, our number in the environment.
    Index,
}

impl Contract {
    pub const NAMES: [(&'static str, Contract); 10] = [
        ("lambda", Contract::Lambda),
        ("http", Contract::Http),
        ("knative", Contract::Http),
        ("cloud-run", Contract::Http),
        ("openfaas", Contract::Http),
        ("fission", Contract::Fission),
        ("nuclio", Contract::Nuclio),
        ("azure", Contract::Azure),
        ("openwhisk", Contract::OpenWhisk),
        ("index", Contract::Index),
    ];

    pub fn named(name: &str) -> Option<Contract> {
        let found = Contract::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|&(_, contract)| contract)
    }

    /// From the variables that each platform sets.
    pub fn detect(get: impl Fn(&str) -> Option<String>) -> Contract {
        let has = |name: &str| get(name).is_some_and(|value| !value.is_empty());
        if has("AWS_LAMBDA_RUNTIME_API") {
            Contract::Lambda
        } else if has("MAYFLY_START") || has("MAYFLY_START_FILE") {
            Contract::Index
        } else if has("FUNCTIONS_CUSTOMHANDLER_PORT") {
            Contract::Azure
        } else if has("__OW_API_HOST") {
            Contract::OpenWhisk
        } else {
            Contract::Http
        }
    }

    /// For people, in the launcher's messages.
    pub fn platform(self, get: impl Fn(&str) -> Option<String>) -> &'static str {
        let has = |name: &str| get(name).is_some();
        match self {
            Contract::Lambda => "lambda",
            Contract::Fission => "fission",
            Contract::Nuclio => "nuclio",
            Contract::Azure => "azure",
            Contract::OpenWhisk => "openwhisk",
            Contract::Http if has("K_SERVICE") => "knative",
            Contract::Http => "http",
            Contract::Index if has("CLOUD_RUN_TASK_INDEX") => "cloud-run-job",
            Contract::Index if has("JOB_COMPLETION_INDEX") => "kubernetes",
            Contract::Index if has("SLURM_PROCID") => "slurm",
            Contract::Index => "index",
        }
    }

    /// Where to listen when nobody says.
    pub fn port(self, get: impl Fn(&str) -> Option<String>) -> Result<u16, String> {
        let (name, otherwise) = match self {
            Contract::Azure => ("FUNCTIONS_CUSTOMHANDLER_PORT", 8080),
            Contract::Fission => ("PORT", 8888),
            _ => ("PORT", 8080),
        };
        match get(name) {
            None => Ok(otherwise),
            Some(text) => match text.trim().parse() {
                Ok(port) if port > 0 => Ok(port),
                _ => Err(format!("{name}={text:?} is no port")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(variables: &[(&str, &str)]) -> (Contract, &'static str, Result<u16, String>) {
        let get = |name: &str| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| value.to_string())
        };
        let contract = Contract::detect(get);
        (contract, contract.platform(get), contract.port(get))
    }

    #[test]
    fn a_platform_shows_in_its_variables() {
        let lambda = detect(&[("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"), ("PORT", "1")]);
        assert_eq!((lambda.0, lambda.1), (Contract::Lambda, "lambda"));
        let knative = detect(&[("PORT", "8123"), ("K_SERVICE", "f")]);
        assert_eq!(knative, (Contract::Http, "knative", Ok(8123)));
        let azure = detect(&[("FUNCTIONS_CUSTOMHANDLER_PORT", "7071")]);
        assert_eq!(azure, (Contract::Azure, "azure", Ok(7071)));
        let job = detect(&[("MAYFLY_START_FILE", "/s"), ("JOB_COMPLETION_INDEX", "3")]);
        assert_eq!((job.0, job.1), (Contract::Index, "kubernetes"));
        assert_eq!(detect(&[]), (Contract::Http, "http", Ok(8080)));
        assert!(detect(&[("PORT", "0")]).2.is_err());
        assert_eq!(detect(&[("__OW_API_HOST", "h")]).0, Contract::OpenWhisk);
        assert_eq!(Contract::Fission.port(|_| None), Ok(8888));
        assert_eq!(Contract::named("openfaas"), Some(Contract::Http));
        assert_eq!(Contract::named("else"), None);
    }
}
