//! How a cluster is reached and as whom: a kubeconfig as kubectl finds it, or a pod's own service account.
//! (Kubernetes documentation: "Organizing Cluster Access Using kubeconfig Files", "client-go credential plugins", "Accessing the API from a Pod".)

use super::super::client;
use super::kubeconfig::{Cluster, Config, User};
use super::plugin::{self, Plugin};
use base64::Engine;
use reqwest::Url;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a pod finds its service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A cluster and an identity there.
pub struct Access {
    pub server: Url,
    /// The namespace that the context names.
    pub namespace: String,
    pub token: Token,
    pub tls: rustls::ClientConfig,
}

/// What stands after `Authorization: Bearer`.
pub enum Token {
    /// None: the certificate says who we are.
    None,
    Fixed(String),
    /// Read each time: the kubelet renews it.
    File(PathBuf),
    /// A program tells it; the first one is already there.
    Plugin(Plugin, String),
}

/// What the user's settings say; the environment says the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    pub kubeconfig: Option<String>,
    pub context: Option<String>,
}

impl Access {
    /// `--with kubeconfig=`, KUBECONFIG, ~/.kube/config, the pod's service account: the first that is there.
    pub fn find(choice: &Choice, get: impl Fn(&str) -> Option<String>) -> Result<Access, String> {
        let set = |name: &str| get(name).filter(|value| !value.is_empty());
        let named = choice.kubeconfig.clone().or_else(|| set("KUBECONFIG"));
        if let Some(list) = named {
            let files: Vec<PathBuf> = list
                .split(':')
                .filter(|f| !f.is_empty())
                .map(PathBuf::from)
                .collect();
            return from_files(&files, choice.context.as_deref());
        }
        if let Some(home) = set("HOME") {
            let file = Path::new(&home).join(".kube/config");
            if file.is_file() {
                return from_files(&[file], choice.context.as_deref());
            }
        }
        match set("KUBERNETES_SERVICE_HOST") {
            Some(host) => {
                let port = set("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".into());
                in_pod(&host, &port, Path::new(ACCOUNT))
            }
            None => Err("no cluster: there is no kubeconfig (KUBECONFIG, ~/.kube/config) and this is no pod".into()),
        }
    }
}

/// The API server as a pod sees it.
fn in_pod(host: &str, port: &str, account: &Path) -> Result<Access, String> {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_string()
    };
    let namespace = fs::read_to_string(account.join("namespace")).unwrap_or_default();
    let token = account.join("token");
    fs::metadata(&token).map_err(|e| {
        format!(
            "{}: {e} (is the service account's token mounted?)",
            token.display()
        )
    })?;
    Ok(Access {
        server: server(&format!("https://{host}:{port}"))?,
        namespace: Some(namespace.trim())
            .filter(|n| !n.is_empty())
            .unwrap_or("default")
            .into(),
        token: Token::File(token),
        tls: tls(Some(read(&account.join("ca.crt"))?), None)?,
    })
}

fn from_files(files: &[PathBuf], context: Option<&str>) -> Result<Access, String> {
    let mut all = Config::default();
    let mut seen = false;
    for file in files {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && files.len() > 1 => continue,
            Err(e) => return Err(format!("{}: {e}", file.display())),
        };
        seen = true;
        let one = Config::parse(&text).map_err(|why| format!("{}: {why}", file.display()))?;
        all.add(one, file.parent().unwrap_or(Path::new("")));
    }
    let shown: Vec<_> = files.iter().map(|f| f.display().to_string()).collect();
    let shown = shown.join(":");
    if !seen {
        return Err(format!("{shown}: there is no such kubeconfig"));
    }
    let found = all.select(context).map_err(|e| format!("{shown}: {e}"))?;
    open(found.cluster, found.user, found.namespace)
        .map_err(|e| format!("{shown}, context {}: {e}", found.name))
}

fn open(cluster: Cluster, user: User, namespace: Option<String>) -> Result<Access, String> {
    if cluster.insecure_skip_tls_verify {
        return Err("insecure-skip-tls-verify: a job's secret is not handed to a server that nobody verified; name its certificate-authority".into());
    }
    for (field, there) in [
        ("tls-server-name", cluster.tls_server_name.is_some()),
        ("proxy-url", cluster.proxy_url.is_some()),
    ] {
        if there {
            return Err(format!("{field} is not supported"));
        }
    }
    if user.auth_provider.is_some() || user.username.is_some() {
        return Err("auth-provider and passwords are gone from Kubernetes; use an exec plugin, a token or a certificate".into());
    }
    let folder = &cluster.folder;
    let authority = material(
        &cluster.certificate_authority_data,
        &cluster.certificate_authority,
        folder,
        "certificate-authority",
    )?;
    let folder = &user.folder;
    let certificate = material(
        &user.client_certificate_data,
        &user.client_certificate,
        folder,
        "client-certificate",
    )?;
    let key = material(
        &user.client_key_data,
        &user.client_key,
        folder,
        "client-key",
    )?;
    let mut identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err("a client certificate needs its key, and a key its certificate".into()),
    };
    let token = match (user.token_file, user.token, user.exec) {
        (Some(file), _, _) => Token::File(folder.join(file)),
        (None, Some(token), _) => Token::Fixed(token),
        (None, None, Some(plugin)) => {
            let plugin = plugin.beside(folder);
            let credential = plugin::run(&plugin)?;
            if let Some(both) = credential.certificate {
                identity = Some(both);
            }
            match credential.token {
                Some(token) => Token::Plugin(plugin, token),
                None => Token::None,
            }
        }
        (None, None, None) => Token::None,
    };
    Ok(Access {
        server: server(&cluster.server)?,
        namespace: namespace
            .filter(|n| !n.is_empty())
            .unwrap_or_else(|| "default".into()),
        token,
        tls: tls(authority, identity)?,
    })
}

/// Bytes that a kubeconfig holds itself (base64) or names by path.
fn material(
    data: &Option<String>,
    path: &Option<PathBuf>,
    folder: &Path,
    what: &str,
) -> Result<Option<Vec<u8>>, String> {
    match (data, path) {
        (Some(data), _) if !data.is_empty() => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(data.trim());
            Ok(Some(
                bytes.map_err(|_| format!("{what}-data is not base64"))?,
            ))
        }
        (_, Some(path)) => read(&folder.join(path)).map(Some),
        _ => Ok(None),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn server(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| format!("{text:?} is no URL of an API server"))?;
    let host = url.host_str().unwrap_or_default().to_string();
    let near = host == "localhost" || host.starts_with("127.") || host == "[::1]";
    match url.scheme() {
        "https" => Ok(url),
        "http" if near => Ok(url),
        "http" => Err(format!(
            "{text}: a job's secret does not travel unencrypted; use https"
        )),
        _ => Err(format!("{text:?} is no URL of an API server")),
    }
}

/// The cluster's own authority, or the public ones; a certificate of ours if there is one.
fn tls(
    authority: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    match authority {
        None => roots.roots = webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let sound = certificate.ok().and_then(|c| roots.add(c).ok());
                sound.ok_or("the certificate authority is no certificate")?;
            }
            if roots.is_empty() {
                return Err("the certificate authority is no certificate in PEM".into());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?
        .with_root_certificates(roots);
    let Some((certificate, key)) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
    let chain = chain.map_err(|_| "the client certificate is no certificate in PEM")?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| "the client key is no key in PEM")?;
    let both = builder.with_client_auth_cert(chain, key);
    both.map_err(|e| {
        format!(
            "the client certificate and key cannot be used: {}",
            client::cause(&e)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir()
                .join(format!("mayfly-kubeconfig-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            fs::write(self.0.join(name), text).unwrap();
            self.0.join(name)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn config(cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: main\ncontexts:\n- name: main\n  context: {{cluster: c, user: u, namespace: team}}\n\
             clusters:\n- name: c\n  cluster: {{{cluster}}}\nusers:\n- name: u\n  user: {{{user}}}\n"
        )
    }

    fn says(cluster: &str, user: &str) -> String {
        let folder = Folder::new("says");
        let file = folder.write("config", &config(cluster, user));
        from_files(&[file], None).err().unwrap()
    }

    const SERVER: &str = "server: 'https://k.example:6443'";

    #[test]
    fn a_kubeconfig_with_a_token_and_one_in_a_file() {
        let folder = Folder::new("token");
        let file = folder.write("config", &config(SERVER, "token: abc"));
        let access = from_files(&[file], None).unwrap();
        assert_eq!(access.server.as_str(), "https://k.example:6443/");
        assert_eq!(access.namespace, "team");
        assert!(matches!(access.token, Token::Fixed(token) if token == "abc"));
        let file = folder.write("config", &config(SERVER, "tokenFile: t"));
        let access = from_files(&[file], None).unwrap();
        assert!(matches!(access.token, Token::File(path) if path == folder.0.join("t")));
    }

    #[test]
    fn the_first_file_wins_and_one_may_be_missing() {
        let folder = Folder::new("merge");
        let first = folder.write("1", &config(SERVER, "token: one"));
        let second = folder.write(
            "2",
            &config("server: 'https://other'", "token: two").replace("name: main", "name: second"),
        );
        let files = [folder.0.join("0"), first, second];
        assert!(
            matches!(from_files(&files, None).unwrap().token, Token::Fixed(token) if token == "one")
        );
        let access = from_files(&files, Some("second")).unwrap();
        assert_eq!(access.server.host_str(), Some("k.example"));
        let wrong = from_files(&files, Some("third")).err().unwrap();
        assert!(
            wrong.contains("no context \"third\" (it has: main, second)"),
            "{wrong}"
        );
        assert!(from_files(&files[..1], None)
            .err()
            .unwrap()
            .contains("No such file"));
    }

    #[test]
    fn what_is_unsafe_or_unknown_is_refused() {
        assert!(
            says("server: 'http://k.example'", "token: x").contains("does not travel unencrypted")
        );
        assert!(
            says(&format!("{SERVER}, insecure-skip-tls-verify: true"), "")
                .contains("nobody verified")
        );
        assert!(says(SERVER, "auth-provider: {name: gcp}").contains("exec plugin"));
        assert!(says(SERVER, "client-key-data: eA==").contains("needs its key"));
        assert!(
            says(&format!("{SERVER}, certificate-authority-data: '!'"), "")
                .contains("is not base64")
        );
        assert!(
            says(&format!("{SERVER}, certificate-authority-data: eA=="), "")
                .contains("no certificate")
        );
        assert!(
            says(SERVER, "client-certificate: nowhere, client-key: nowhere").contains("nowhere")
        );
        // A broken file may hold a key where none belongs.
        let folder = Folder::new("broken");
        let file = folder.write("config", "users: s3cret");
        let wrong = from_files(&[file], None).err().unwrap();
        assert!(
            wrong.contains("is no kubeconfig") && !wrong.contains("s3cret"),
            "{wrong}"
        );
    }

    #[test]
    fn a_pod_uses_its_service_account() {
        let folder = Folder::new("pod");
        let certificate = rcgen::generate_simple_self_signed(vec!["kubernetes".into()]).unwrap();
        folder.write("ca.crt", &certificate.cert.pem());
        folder.write("namespace", "jobs\n");
        assert!(in_pod("10.0.0.1", "443", &folder.0)
            .err()
            .unwrap()
            .contains("token mounted"));
        folder.write("token", "t");
        let access = in_pod("fd00::1", "6443", &folder.0).unwrap();
        assert_eq!(
            (access.server.as_str(), access.namespace.as_str()),
            ("https://[fd00::1]:6443/", "jobs")
        );
        let nothing = Access::find(&Choice::default(), |_| None).err().unwrap();
        assert!(nothing.contains("no cluster"), "{nothing}");
    }
}
