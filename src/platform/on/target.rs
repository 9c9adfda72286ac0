//! What stands after `--on`.

use super::{file, http, kubernetes, lambda, openfaas, openwhisk, Platform};

/// `--with NAME=VALUE`: something for the platform to know; it refuses names that it does not know.
pub type Setting = (String, String);

/// A platform's name and what it needs to be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As written: `lambda:my-fn`, `https://host/path`.
    pub text: String,
    pub settings: Vec<Setting>,
    /// Waits for each answer, where a platform has both manners (`--sync`).
    pub sync: bool,
}

impl Target {
    /// The platform that is meant. An error is one line that says what is wrong with the name or its settings.
    pub fn open(&self) -> Result<Box<dyn Platform>, String> {
        let variable = |name: &str| std::env::var(name).ok();
        let (kind, rest) = self.text.split_once(':').unwrap_or((&self.text, ""));
        Ok(match kind {
            "file" => Box::new(file::StartFile::open(rest, &self.settings)?),
            "http" | "https" => Box::new(http::Http::open(&self.text, &self.settings)?),
            "kubernetes" => {
                let get = std::sync::Arc::new(variable);
                Box::new(kubernetes::Kubernetes::open(rest, &self.settings, get)?)
            }
            "lambda" => {
                let get = std::sync::Arc::new(variable);
                Box::new(lambda::Lambda::open(rest, &self.settings, self.sync, get)?)
            }
            "openfaas" => Box::new(openfaas::OpenFaas::open(rest, &self.settings, variable)?),
            "openwhisk" => Box::new(openwhisk::OpenWhisk::open(rest, &self.settings, variable)?),
            _ => {
                return Err(format!(
                    "--on {}: unknown platform; known: local, lambda:NAME, http(s)://URL, openfaas:NAME, \
                     openwhisk:NAME, kubernetes:..., file:PATH",
                    self.text
                ))
            }
        })
    }
}
