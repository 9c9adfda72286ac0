//! A kubeconfig's text: clusters, users, and contexts that name one of each.
//! (Kubernetes documentation: "Organizing Cluster Access Using kubeconfig Files", "kubeconfig (v1)".)

use super::plugin::Plugin;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// One file, or several merged.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Config {
    current_context: String,
    contexts: Vec<NamedContext>,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
    namespace: Option<String>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

/// How its API server is reached.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Cluster {
    pub server: String,
    pub certificate_authority: Option<PathBuf>,
    pub certificate_authority_data: Option<String>,
    pub insecure_skip_tls_verify: bool,
    pub tls_server_name: Option<String>,
    pub proxy_url: Option<String>,
    /// The folder of the file it stands in; paths are relative to it.
    #[serde(skip)]
    pub folder: PathBuf,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

/// As whom.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct User {
    pub token: Option<String>,
    #[serde(rename = "tokenFile")]
    pub token_file: Option<PathBuf>,
    pub client_certificate: Option<PathBuf>,
    pub client_certificate_data: Option<String>,
    pub client_key: Option<PathBuf>,
    pub client_key_data: Option<String>,
    pub exec: Option<Plugin>,
    pub auth_provider: Option<serde_yaml_ng::Value>,
    pub username: Option<String>,
    #[serde(skip)]
    pub folder: PathBuf,
}

/// What a context names.
pub struct Selected {
    pub name: String,
    pub cluster: Cluster,
    pub user: User,
    pub namespace: Option<String>,
}

impl Config {
    /// One file. The error says where, never what: serde's words could repeat a key.
    pub fn parse(text: &str) -> Result<Config, String> {
        serde_yaml_ng::from_str(text).map_err(|e| {
            let line = e.location().map(|l| format!(" (line {})", l.line()));
            format!("is no kubeconfig{}", line.unwrap_or_default())
        })
    }

    /// Files are merged as kubectl does it: what a name means is what the first file says of it. Paths in `one` are
    /// relative to `folder`.
    pub fn add(&mut self, mut one: Config, folder: &Path) {
        for cluster in &mut one.clusters {
            cluster.cluster.folder = folder.into();
        }
        for user in &mut one.users {
            user.user.folder = folder.into();
        }
        if self.current_context.is_empty() {
            self.current_context = one.current_context;
        }
        self.contexts.append(&mut one.contexts);
        self.clusters.append(&mut one.clusters);
        self.users.append(&mut one.users);
    }

    /// What this context names, or the current one. A user that is nowhere is nobody.
    pub fn select(self, context: Option<&str>) -> Result<Selected, String> {
        let name = context.unwrap_or(&self.current_context).to_string();
        let found = self.contexts.iter().find(|c| c.name == name);
        let context = found.map(|c| c.context.clone()).ok_or_else(|| {
            let names: Vec<_> = self.contexts.iter().map(|c| c.name.as_str()).collect();
            format!("has no context {name:?} (it has: {})", names.join(", "))
        })?;
        let mut clusters = self.clusters.into_iter();
        let cluster = clusters.find(|c| c.name == context.cluster);
        let cluster = cluster.ok_or_else(|| format!("has no cluster {:?}", context.cluster))?;
        let user = self.users.into_iter().find(|u| u.name == context.user);
        Ok(Selected {
            name,
            cluster: cluster.cluster,
            user: user.map(|u| u.user).unwrap_or_default(),
            namespace: context.namespace,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_has_the_say_and_paths_are_its_own() {
        let text = |server: &str| {
            format!(
                "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
                 clusters: [{{name: k, cluster: {{server: {server}}}}}]\nusers: [{{name: u, user: {{token: {server}}}}}]\n"
            )
        };
        let mut all = Config::default();
        for (server, folder) in [("one", "/a"), ("two", "/b")] {
            all.add(Config::parse(&text(server)).unwrap(), Path::new(folder));
        }
        let found = all.select(None).unwrap();
        assert_eq!(
            (found.name.as_str(), found.cluster.server.as_str()),
            ("c", "one")
        );
        assert_eq!(found.user.token.as_deref(), Some("one"));
        assert_eq!(found.user.folder, Path::new("/a"));
        let why = Config::parse(&text("s")).unwrap().select(Some("x"));
        assert!(why.err().unwrap().contains("it has: c"));
    }

    #[test]
    fn what_is_no_kubeconfig_repeats_nothing_of_it() {
        let why = Config::parse("users:\n- name: u\n  user: s3cret\n").err();
        assert!(!why.unwrap().contains("s3cret"));
        // Aliases that would unfold to gigabytes.
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_string();
        for n in 1..20 {
            let before = format!("*a{}, ", n - 1).repeat(9);
            bomb += &format!("a{n}: &a{n} [{before}]\n");
        }
        bomb += "users: [{name: u, user: {auth-provider: *a19}}]\n";
        assert!(Config::parse(&bomb).is_err());
    }
}
