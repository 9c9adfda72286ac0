//! Which region, which endpoint, which profile: as the AWS tools decide.
//!
//! Source: AWS SDKs and Tools Reference Guide ("Settings reference", "Service-specific endpoints").

use super::ini::{self, Section};
use std::collections::HashMap;

/// Looks up an environment variable.
pub type Variables = dyn Fn(&str) -> Option<String> + Send + Sync;

/// A variable that is set and not empty.
pub fn variable(get: &Variables, name: &str) -> Option<String> {
    get(name).filter(|value| !value.trim().is_empty())
}

/// The shared files, as far as they are there.
pub struct Files {
    config: HashMap<String, Section>,
    credentials: HashMap<String, Section>,
    /// The profile in use.
    pub profile: String,
    /// The user named it; so it must exist.
    named: bool,
}

impl Files {
    /// Reads `~/.aws/config` and `~/.aws/credentials`, or where AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE say.
    pub fn read(get: &Variables, profile: Option<&str>) -> Result<Files, String> {
        let home = variable(get, "HOME").unwrap_or_default();
        let load = |name: &str, usual: &str| {
            let named = variable(get, name);
            let path = named.unwrap_or_else(|| format!("{home}/.aws/{usual}"));
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok(ini::parse(&text)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(HashMap::new()),
                Err(e) => Err(format!("{path}: cannot be read: {e}")),
            }
        };
        let wanted = profile.map(str::to_string);
        let wanted = wanted.or_else(|| variable(get, "AWS_PROFILE"));
        let files = Files {
            config: load("AWS_CONFIG_FILE", "config")?,
            credentials: load("AWS_SHARED_CREDENTIALS_FILE", "credentials")?,
            named: wanted.is_some(),
            profile: wanted.unwrap_or_else(|| "default".into()),
        };
        if files.named && !files.sections().any(|_| true) {
            return Err(format!(
                "the profile {} stands in neither ~/.aws/config nor ~/.aws/credentials",
                files.profile
            ));
        }
        Ok(files)
    }

    /// The profile's sections, the more telling first.
    fn sections(&self) -> impl Iterator<Item = &Section> {
        let in_config = self.config.get(&format!("profile {}", self.profile));
        let bare = (self.profile == "default")
            .then(|| self.config.get("default"))
            .flatten();
        let credentials = self.credentials.get(&self.profile);
        credentials.into_iter().chain(in_config).chain(bare)
    }

    /// A setting of the profile.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.sections().find_map(|section| section.get(name));
        found.map(String::as_str).filter(|value| !value.is_empty())
    }

    /// `services = NAME` and, in `[services NAME]`, `lambda =` with `endpoint_url` under it.
    fn service_endpoint(&self) -> Option<&str> {
        let services = self
            .config
            .get(&format!("services {}", self.get("services")?))?;
        services.get("lambda.endpoint_url").map(String::as_str)
    }
}

/// The region to call; `from_arn` is the function's own.
pub fn region(get: &Variables, files: &Files, from_arn: Option<&str>) -> Result<String, String> {
    let set = ["AWS_REGION", "AWS_DEFAULT_REGION"];
    let found = from_arn
        .map(str::to_string)
        .or_else(|| set.iter().find_map(|name| variable(get, name)))
        .or_else(|| files.get("region").map(str::to_string))
        .ok_or("which AWS region? Set AWS_REGION, or region in ~/.aws/config")?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if found.chars().all(fits) {
        Ok(found)
    } else {
        Err(format!("{found:?} is no AWS region"))
    }
}

/// Where Lambda's interface is.
pub fn endpoint(get: &Variables, files: &Files, region: &str) -> String {
    let yes = |name: &str| variable(get, name).is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let configured = || {
        let from_variables = ["AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL"];
        let mut from_variables = from_variables.iter().filter_map(|name| variable(get, name));
        from_variables
            .next()
            .or_else(|| files.service_endpoint().map(str::to_string))
            .or_else(|| files.get("endpoint_url").map(str::to_string))
    };
    let own = if yes("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") {
        None
    } else {
        configured()
    };
    own.unwrap_or_else(|| {
        let service = if yes("AWS_USE_FIPS_ENDPOINT") {
            "lambda-fips"
        } else {
            "lambda"
        };
        let domain = if region.starts_with("cn-") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        };
        format!("https://{service}.{region}.{domain}")
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Variables from a list.
    pub fn variables(list: &[(&str, &str)]) -> Box<Variables> {
        let list: HashMap<String, String> = list
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect();
        Box::new(move |name| list.get(name).cloned())
    }

    /// A profile made of these texts.
    pub fn files(config: &str, credentials: &str, profile: &str) -> Files {
        Files {
            config: ini::parse(config),
            credentials: ini::parse(credentials),
            profile: profile.into(),
            named: true,
        }
    }

    #[test]
    fn the_region_is_the_functions_then_the_variables_then_the_profiles() {
        let files = files("[profile p]\nregion = eu-west-1", "", "p");
        let none = variables(&[]);
        assert_eq!(
            region(&*none, &files, Some("us-east-2")).unwrap(),
            "us-east-2"
        );
        assert_eq!(region(&*none, &files, None).unwrap(), "eu-west-1");
        let set = variables(&[("AWS_DEFAULT_REGION", "ap-south-1"), ("AWS_REGION", "")]);
        assert_eq!(region(&*set, &files, None).unwrap(), "ap-south-1");
        let empty = super::tests::files("", "", "p");
        assert!(region(&*none, &empty, None)
            .unwrap_err()
            .contains("AWS_REGION"));
        let odd = variables(&[("AWS_REGION", "evil.example/")]);
        assert!(region(&*odd, &files, None).is_err());
    }

    #[test]
    fn the_endpoint_may_be_elsewhere() {
        let config = "[profile p]\nendpoint_url = http://all\nservices = s\n[services s]\nlambda =\n  endpoint_url = http://one";
        let p = files(config, "", "p");
        let none = variables(&[]);
        assert_eq!(endpoint(&*none, &p, "r"), "http://one");
        let both = [
            ("AWS_ENDPOINT_URL", "http://a"),
            ("AWS_ENDPOINT_URL_LAMBDA", "http://b"),
        ];
        assert_eq!(endpoint(&*variables(&both), &p, "r"), "http://b");
        assert_eq!(endpoint(&*variables(&both[..1]), &p, "r"), "http://a");
        let ignored = variables(&[("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")]);
        assert_eq!(
            endpoint(&*ignored, &p, "us-east-1"),
            "https://lambda.us-east-1.amazonaws.com"
        );
        let empty = files("", "", "p");
        assert_eq!(
            endpoint(&*none, &empty, "cn-north-1"),
            "https://lambda.cn-north-1.amazonaws.com.cn"
        );
    }

    #[test]
    fn credentials_stand_before_the_configuration_and_a_named_profile_must_exist() {
        let both = files(
            "[default]\nregion=a\naws_access_key_id=2",
            "[default]\naws_access_key_id=1",
            "default",
        );
        assert_eq!(both.get("aws_access_key_id"), Some("1"));
        assert_eq!(both.get("region"), Some("a"));
        let nowhere = [("HOME", "/does/not/exist"), ("AWS_PROFILE", "p")];
        let error = Files::read(&*variables(&nowhere), None).err().unwrap();
        assert!(error.contains("profile p"), "{error}");
        assert!(Files::read(&*variables(&nowhere[..1]), None).is_ok());
    }
}
