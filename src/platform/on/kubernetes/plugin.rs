//! A program that tells a cluster's credentials (client.authentication.k8s.io, "client-go credential plugins"): aws, gke-gcloud-auth-plugin, kubelogin ...

use serde::Deserialize;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A login may ask a person; longer than this nobody waits.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest answer, bytes.
const ANSWER_MAX: u64 = 1 << 20;

/// `users[].user.exec` of a kubeconfig.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Plugin {
    command: String,
    args: Option<Vec<String>>,
    env: Option<Vec<Variable>>,
    api_version: String,
    install_hint: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Variable {
    name: String,
    value: String,
}

/// What it told.
#[derive(Default)]
pub struct Credential {
    pub token: Option<String>,
    /// Certificate and key, PEM.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
}

#[derive(Deserialize)]
struct Answer {
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

impl Plugin {
    /// A command with a slash is relative to the kubeconfig's folder.
    pub fn beside(mut self, folder: &Path) -> Plugin {
        if self.command.contains('/') && !self.command.starts_with('/') {
            self.command = folder.join(&self.command).to_string_lossy().into_owned();
        }
        self
    }
}

/// Runs the program and reads its answer; the error never repeats it.
pub fn run(plugin: &Plugin) -> Result<Credential, String> {
    let name = PathBuf::from(&plugin.command);
    let name = name.display();
    let info = serde_json::json!({
        "apiVersion": plugin.api_version,
        "kind": "ExecCredential",
        "spec": {"interactive": false},
    });
    let mut command = Command::new(&plugin.command);
    command
        .args(plugin.args.iter().flatten())
        .envs(plugin.env.iter().flatten().map(|v| (&v.name, &v.value)))
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|e| {
        let hint = plugin
            .install_hint
            .as_deref()
            .and_then(|hint| hint.lines().find(|l| !l.trim().is_empty()));
        format!(
            "the credential plugin {name} cannot be run: {e}{}",
            hint.map(|h| format!(" ({})", h.trim())).unwrap_or_default()
        )
    })?;
    let out = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(out) = out {
            let _ = out.take(ANSWER_MAX).read_to_end(&mut text);
        }
        text
    });
    let end = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "the credential plugin {name} did not answer within {} s",
                    PATIENCE.as_secs()
                ));
            }
        }
    };
    if !status.success() {
        return Err(format!(
            "the credential plugin {name} failed ({status}); its own words are above"
        ));
    }
    let text = reader.join().unwrap_or_default();
    let answer: Answer = serde_json::from_slice(&text)
        .map_err(|_| format!("the credential plugin {name} answers no ExecCredential"))?;
    let status = answer.status.unwrap_or_default();
    let certificate = match (status.client_certificate_data, status.client_key_data) {
        (Some(certificate), Some(key)) => Some((certificate.into_bytes(), key.into_bytes())),
        _ => None,
    };
    if status.token.is_none() && certificate.is_none() {
        return Err(format!(
            "the credential plugin {name} tells neither a token nor a certificate"
        ));
    }
    Ok(Credential {
        token: status.token,
        certificate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Plugin {
        Plugin {
            command: "/bin/sh".into(),
            args: Some(vec!["-c".into(), script.into()]),
            env: Some(vec![Variable {
                name: "TOLD".into(),
                value: "tok".into(),
            }]),
            api_version: "client.authentication.k8s.io/v1".into(),
            install_hint: Some("\nget it there\n".into()),
        }
    }

    #[test]
    fn a_plugin_tells_a_token() {
        let script = r#"case $KUBERNETES_EXEC_INFO in *'"apiVersion":"client.authentication.k8s.io/v1"'*)
            printf '{"kind":"ExecCredential","status":{"token":"%s"}}' $TOLD;; esac"#;
        assert_eq!(run(&shell(script)).unwrap().token.as_deref(), Some("tok"));
    }

    #[test]
    fn what_goes_wrong_is_said_without_the_answer() {
        let says = |plugin: &Plugin| run(plugin).err().unwrap();
        assert!(says(&shell("exit 3")).contains("failed (exit status: 3)"));
        let odd = says(&shell("echo s3cret"));
        assert!(
            odd.contains("answers no ExecCredential") && !odd.contains("s3cret"),
            "{odd}"
        );
        assert!(says(&shell("echo '{\"status\":{}}'")).contains("neither a token"));
        let gone = Plugin {
            command: "/nowhere/login".into(),
            ..shell("")
        };
        let text = says(&gone);
        assert!(
            text.contains("/nowhere/login cannot be run") && text.contains("(get it there)"),
            "{text}"
        );
    }

    #[test]
    fn a_relative_command_stands_beside_the_kubeconfig() {
        let plugin = |command: &str| Plugin {
            command: command.into(),
            ..Plugin::default()
        };
        let at = Path::new("/k");
        assert_eq!(plugin("./login").beside(at).command, "/k/./login");
        assert_eq!(plugin("aws").beside(at).command, "aws");
        assert_eq!(plugin("/bin/aws").beside(at).command, "/bin/aws");
    }
}
