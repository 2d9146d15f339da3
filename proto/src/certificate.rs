//! Certificates for mutual TLS between Stead's own parts: one authority, one certificate a node.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use stead_model::name::{DomainName, NodeId};
use stead_model::{Error, Result};

/// The name that every authority has: an issued certificate refers to it.
const AUTHORITY: &str = "Stead certificate authority";

/// How far back a certificate begins, for hosts whose clocks are behind.
const SKEW: Duration = Duration::from_secs(3600);

/// A certificate and its private key, both PEM. Its `Debug` does not show the key.
#[derive(Clone)]
pub struct KeyedCertificate {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl fmt::Debug for KeyedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCertificate")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy)]
pub struct Validity {
    /// The present time.
    pub now: SystemTime,
    /// How long from now.
    pub lasts: Duration,
}

/// Makes an authority: its key signs certificates with [`issue`] and belongs in a safe place.
pub fn generate_ca(validity: Validity) -> Result<KeyedCertificate> {
    let key = KeyPair::generate().map_err(failed)?;
    let mut parameters = authority();
    limit(&mut parameters, validity)?;
    let certificate = parameters.self_signed(&key).map_err(failed)?;
    Ok(KeyedCertificate { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Issues a certificate for a node, good for both ends of a connection. It is valid for the node's
/// id, where that is a DNS name, and for `names`: DNS names and addresses that others reach it by.
pub fn issue(
    authority_key: &str,
    node: &NodeId,
    names: &[String],
    validity: Validity,
) -> Result<KeyedCertificate> {
    let signer = KeyPair::from_pem(authority_key).map_err(|error| {
        Error::invalid("the key of the certificate authority is not a PEM private key")
            .because(error)
    })?;
    let mut names = names.to_vec();
    if node.as_str().parse::<DomainName>().is_ok() && !names.iter().any(|one| one == node.as_str())
    {
        names.push(node.to_string());
    }
    let mut parameters = CertificateParams::new(names).map_err(|error| {
        Error::invalid("use DNS names and IP addresses as the names of a certificate")
            .because(error)
    })?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, node.as_str());
    parameters.use_authority_key_identifier_extension = true;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    limit(&mut parameters, validity)?;
    let key = KeyPair::generate().map_err(failed)?;
    // The authority's certificate need not be read: it is its name and its key that sign.
    let issuer = Issuer::new(authority(), signer);
    let certificate = parameters.signed_by(&key, &issuer).map_err(failed)?;
    Ok(KeyedCertificate { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn authority() -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, AUTHORITY);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

fn limit(parameters: &mut CertificateParams, validity: Validity) -> Result<()> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        epoch.checked_add(since.try_into().ok()?)
    };
    let end = validity.now.checked_add(validity.lasts).and_then(at);
    let (Some(start), Some(end)) = (at(validity.now - SKEW), end) else {
        return Err(Error::invalid("the time that the certificate is valid for is out of range"));
    };
    (parameters.not_before, parameters.not_after) = (start, end);
    Ok(())
}

fn failed(error: rcgen::Error) -> Error {
    Error::unavailable("the certificate could not be made").because(error)
}
