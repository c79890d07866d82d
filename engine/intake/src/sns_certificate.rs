//! The certificate that an SNS message was signed with.

use jiff::Timestamp;
use untoil_model::Hash;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate, parse_x509_pem};

use crate::sns_url::CertificateUrl;

/// What of a certificate counts here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SigningCertificate {
    /// The RSA key as PKCS#1.
    pub(crate) key: Vec<u8>,
    names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    is_self_signed: bool,
    fingerprint: Hash,
}

/// Whether something is a PEM file at all. What is not is no answer of SNS: a proxy's page, a cut.
pub(crate) fn is_pem(bytes: &[u8]) -> bool {
    parse_x509_pem(bytes).is_ok()
}

impl SigningCertificate {
    /// Reads the first certificate of a PEM file; SNS serves the leaf alone.
    pub(crate) fn parse(pem: &[u8]) -> Result<Self, &'static str> {
        let (_, pem) = parse_x509_pem(pem).map_err(|_| "it is not a PEM file")?;
        if pem.label != "CERTIFICATE" {
            return Err("it holds no certificate");
        }
        let (rest, certificate) = X509Certificate::from_der(&pem.contents)
            .map_err(|_| "it is not an X.509 certificate")?;
        if !rest.is_empty() {
            return Err("something follows the certificate");
        }
        if certificate.is_ca() {
            return Err("it is an authority's certificate, not a signer's");
        }
        let moment = |at: i64| Timestamp::from_second(at).map_err(|_| "its validity is not a time");
        Ok(Self {
            key: certificate.public_key().subject_public_key.data.to_vec(),
            names: names(&certificate),
            not_before: moment(certificate.validity().not_before.timestamp())?,
            not_after: moment(certificate.validity().not_after.timestamp())?,
            is_self_signed: certificate.issuer().as_raw() == certificate.subject().as_raw(),
            fingerprint: Hash::of(&pem.contents),
        })
    }

    /// Whether it may speak for SNS at `now`, having been fetched from `url`.
    ///
    /// SNS serves no chain, so none can be built here: that the certificate is SNS's is known from
    /// the TLS identity of the pinned host it was fetched from, which is what AWS's own validators
    /// rely on. A self-signed one is refused all the same, unless it is one of `trusted`.
    pub(crate) fn check(
        &self,
        url: &CertificateUrl,
        now: Timestamp,
        trusted: &[Hash],
    ) -> Result<(), &'static str> {
        if now < self.not_before || now > self.not_after {
            return Err("it is not valid at this time");
        }
        if !self.names.iter().any(|name| url.may_be_named(name)) {
            return Err("it is not made out to SNS");
        }
        if self.is_self_signed && !trusted.contains(&self.fingerprint) {
            return Err("it is self-signed");
        }
        Ok(())
    }
}

/// Its DNS names; the common name counts only where there is none.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let dns: Vec<String> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| {
            if let GeneralName::DNSName(dns) = name { Some((*dns).to_owned()) } else { None }
        })
        .collect();
    if !dns.is_empty() {
        return dns;
    }
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    common.map(str::to_owned).collect()
}
