//! TLS at both ends of a connection to the rendezvous: rustls with ring, chosen here and never by process default.
//!
//! A rendezvous that nobody gave a certificate makes one and signs it itself. Who connects then knows it by its
//! *pin*, the SHA-256 digest of the certificate's DER: that says more than any authority would.

use crate::base::os;
use crate::rendezvous::message::hex;
use crate::wire::sha256;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{ring, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The SHA-256 digest of a certificate's DER.
pub type Pin = [u8; 32];

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn trouble(what: &str, why: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{what}: {why}"))
}

/// What a service shows to those who connect.
#[derive(Clone)]
pub struct Identity {
    pub(super) server: Arc<ServerConfig>,
    pin: Pin,
}

impl Identity {
    /// From PEM files: the certificate with those between it and its authority, and its key.
    pub fn from_files(certificate: &Path, key: &Path) -> io::Result<Identity> {
        let at = |path: &Path| path.display().to_string();
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate)
            .map_err(|e| trouble(&at(certificate), e))?
            .collect();
        let chain = chain.map_err(|e| trouble(&at(certificate), e))?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| trouble(&at(key), e))?;
        Identity::new(chain, secret).map_err(|e| trouble(&at(certificate), e))
    }

    /// A new certificate, signed by itself, for these names and addresses. Its key is nowhere but in memory.
    pub fn fresh(names: &[String]) -> io::Result<Identity> {
        let (chain, key) = made(names)?;
        let chain = CertificateDer::from_pem_slice(chain.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
        match (chain, key) {
            (Ok(chain), Ok(key)) => Identity::new(vec![chain], key),
            (Err(e), _) | (_, Err(e)) => Err(trouble("our own certificate", e)),
        }
    }

    /// The certificate kept in this folder (`certificate.pem`, `key.pem`), made when there is none, so that the pin
    /// outlives a restart.
    pub fn kept(folder: &Path, names: &[String]) -> io::Result<Identity> {
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        if !certificate.exists() || !key.exists() {
            let (chain, secret) = made(names)?;
            write_new(&key, &secret, 0o600)?;
            write_new(&certificate, &chain, 0o644)?;
        }
        Identity::from_files(&certificate, &key)
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> io::Result<Self> {
        let Some(leaf) = chain.first() else {
            return Err(io::Error::other("it holds no certificate"));
        };
        let pin = sha256::digest(&[leaf]);
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let builder = builder.with_no_client_auth();
                builder.with_single_cert(chain, key)
            });
        let mut server = server.map_err(io::Error::other)?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A connection lives as long as its rank: tickets to resume it would only cost memory.
        server.send_tls13_tickets = 0;
        Ok(Identity {
            server: Arc::new(server),
            pin,
        })
    }

    /// By which those who connect know us.
    pub fn pin(&self) -> Pin {
        self.pin
    }
}

/// Certificate and key in PEM.
fn made(names: &[String]) -> io::Result<(String, String)> {
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|e| trouble("cannot make a certificate", e))?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let at = |e| trouble(&path.display().to_string(), e);
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at(e)),
        _ => {}
    }
    os::write_new(path, text, mode).map_err(at)
}

/// How to speak TLS to a rendezvous: with this pin, to that certificate only, whatever it says; without, to whoever
/// the public authorities vouch for, or those in the PEM file that SSL_CERT_FILE names.
pub fn client(pin: Option<Pin>) -> io::Result<Arc<ClientConfig>> {
    let more = std::env::var("SSL_CERT_FILE").unwrap_or_default();
    let more = (!more.is_empty()).then(|| Path::new(&more));
    trusting(pin, more)
}

fn trusting(pin: Option<Pin>, more: Option<&Path>) -> io::Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = match pin {
        Some(pin) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned {
                pin,
                provider: provider(),
            })),
        None => {
            let mut roots = RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            };
            if let Some(path) = more {
                let wrong = |e: &dyn std::fmt::Display| trouble(&path.display().to_string(), e);
                for root in CertificateDer::pem_file_iter(path).map_err(|e| wrong(&e))? {
                    roots
                        .add(root.map_err(|e| wrong(&e))?)
                        .map_err(|e| wrong(&e))?;
                }
            }
            builder.with_root_certificates(roots)
        }
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Trusts one certificate.
#[derive(Debug)]
struct Pinned {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = sha256::digest(&[leaf]);
        if sha256::same(&shown, &self.pin) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::General(format!(
            "its certificate has the pin {}, not {}",
            hex(&shown),
            hex(&self.pin)
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, leaf, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{ClientConnection, ServerConnection};
    use std::os::unix::fs::PermissionsExt;

    /// Shakes hands in memory.
    fn meet(identity: &Identity, pin: Option<Pin>) -> Result<(), Error> {
        shake(identity, client(pin).unwrap(), "rendezvous.invalid")
    }

    fn shake(identity: &Identity, by: Arc<ClientConfig>, name: &'static str) -> Result<(), Error> {
        let name = ServerName::try_from(name).unwrap();
        let mut client = ClientConnection::new(by, name)?;
        let mut server = ServerConnection::new(identity.server.clone())?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut &wire[..]).unwrap();
            server.process_new_packets()?;
            wire.clear();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut &wire[..]).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn a_pin_lets_one_certificate_in() {
        let names = ["localhost".to_string(), "192.0.2.1".to_string()];
        let (one, two) = (
            Identity::fresh(&names).unwrap(),
            Identity::fresh(&names).unwrap(),
        );
        assert_ne!(one.pin(), two.pin());
        meet(&one, Some(one.pin())).unwrap();
        let text = meet(&one, Some(two.pin())).unwrap_err().to_string();
        assert!(text.contains(&hex(&one.pin())), "{text}");
        // Nobody vouches for it.
        assert!(meet(&one, None).is_err());
    }

    /// As a public authority has it: a root, one between, and the certificate of a name.
    #[test]
    fn a_certificate_of_an_authority_is_believed_for_its_name_by_who_knows_the_authority() {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
        let key = || KeyPair::generate().unwrap();
        let params = |names: &[&str], authority: bool| {
            let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
            let mut params = CertificateParams::new(names).unwrap();
            if authority {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
            params
        };
        let named = |name: &str, authority| {
            let mut params = params(&[], authority);
            params
                .distinguished_name
                .push(rcgen::DnType::CommonName, name);
            params
        };
        let root = CertifiedIssuer::self_signed(named("a root", true), key()).unwrap();
        let other = CertifiedIssuer::self_signed(named("another", true), key()).unwrap();
        let between = CertifiedIssuer::signed_by(named("between", true), key(), &root).unwrap();
        let secret = key();
        let names = ["meet.example.org", "192.0.2.1"];
        let leaf = params(&names, false).signed_by(&secret, &between).unwrap();
        let folder = std::env::temp_dir().join(format!("mayfly-ca-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let chain = write("chain.pem", leaf.pem() + &between.pem());
        let key = write("key.pem", secret.serialize_pem());
        let [root, other] = [("root.pem", root.pem()), ("other.pem", other.pem())]
            .map(|(name, pem)| write(name, pem));
        let identity = Identity::from_files(&chain, &key).unwrap();
        let try_one =
            |root: &Path, name| shake(&identity, trusting(None, Some(root)).unwrap(), name);
        try_one(&root, "meet.example.org").unwrap();
        try_one(&root, "192.0.2.1").unwrap();
        assert!(try_one(&root, "other.example.org").is_err());
        assert!(try_one(&other, "meet.example.org").is_err());
        assert!(shake(&identity, trusting(None, None).unwrap(), "meet.example.org").is_err());
        let text = trusting(None, Some(&folder.join("none.pem"))).unwrap_err();
        assert!(text.to_string().contains("none.pem"), "{text}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_kept_certificate_keeps_its_pin_and_its_key_to_itself() {
        let folder = std::env::temp_dir().join(format!("mayfly-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let first = Identity::kept(&folder, &["localhost".into()]).unwrap();
        let again = Identity::kept(&folder, &["localhost".into()]).unwrap();
        assert_eq!(first.pin(), again.pin());
        let mode = std::fs::metadata(folder.join("key.pem")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
        // Half a pair is made anew, a broken one is an error that names the file.
        std::fs::remove_file(folder.join("certificate.pem")).unwrap();
        let renewed = Identity::kept(&folder, &["localhost".into()]).unwrap();
        assert_ne!(first.pin(), renewed.pin());
        std::fs::write(folder.join("key.pem"), "nonsense").unwrap();
        let text = match Identity::kept(&folder, &[]) {
            Err(e) => e.to_string(),
            Ok(_) => panic!("nonsense is no key"),
        };
        assert!(text.contains("key.pem"), "{text}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
