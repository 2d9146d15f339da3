//! Mutual TLS from PEM files: both ends show a certificate of the same authority.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stead_model::{Error, Result};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Where the PEM files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of the authority (several may follow each other while it is replaced).
    pub ca: PathBuf,
    /// The certificate of this host.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What mutual TLS needs, read and ready. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Tls {
    ca: Certificate,
    identity: Identity,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    pub fn load(files: &TlsFiles) -> Result<Self> {
        let ca = read(&files.ca, "CERTIFICATE")?;
        let certificate = read(&files.certificate, "CERTIFICATE")?;
        let key = read(&files.key, "PRIVATE KEY")?;
        Ok(Self::from_pem(&ca, &certificate, &key))
    }

    /// What the files would hold.
    pub fn from_pem(ca: &str, certificate: &str, key: &str) -> Self {
        Self { ca: Certificate::from_pem(ca), identity: Identity::from_pem(certificate, key) }
    }

    /// For a server: it serves nobody without a certificate of the authority.
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.identity.clone())
            .client_ca_root(self.ca.clone())
            .client_auth_optional(false)
            .timeout(HANDSHAKE)
    }

    /// For a client: it trusts this authority and no other.
    pub fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .identity(self.identity.clone())
            .ca_certificate(self.ca.clone())
            .timeout(HANDSHAKE)
    }
}

fn read(path: &Path, holds: &str) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::precondition(format!("the TLS file '{}' cannot be read", path.display()))
            .because(error)
    })?;
    if text.contains("-----BEGIN ") && text.contains(holds) {
        return Ok(text);
    }
    let path = path.display();
    Err(Error::precondition(format!("the TLS file '{path}' holds no {holds} in PEM form")))
}
