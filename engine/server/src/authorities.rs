//! The certificates of authorities by which others are believed.
//!
//! Those of a system take longer to read than all else at a start, so only the first is before the service
//! says that it is ready: without any, no delivery could be believed and nobody called.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::bail;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::env;

/// Where the certificates are, as the verifier looks for them.
#[derive(Debug)]
struct Places {
    file: Option<PathBuf>,
    dirs: Vec<PathBuf>,
}

impl Places {
    /// Those that the environment names, and no others then; the system's otherwise.
    fn here() -> Self {
        let file = env("SSL_CERT_FILE").map(PathBuf::from);
        let dirs = env("SSL_CERT_DIR").unwrap_or_default();
        let dirs: Vec<_> =
            std::env::split_paths(&dirs).filter(|dir| !dir.as_os_str().is_empty()).collect();
        if file.is_some() || !dirs.is_empty() {
            return Self { file, dirs };
        }
        let found = openssl_probe::probe();
        Self { file: found.cert_file, dirs: found.cert_dir }
    }
}

/// Refuses a machine on which no authority can be read, whether none is there or none makes sense.
pub(crate) fn check() -> anyhow::Result<()> {
    check_in(&Places::here())
}

fn check_in(places: &Places) -> anyhow::Result<()> {
    let listed = places.dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
    let listed = listed.filter_map(Result::ok).map(|entry| entry.path());
    let mut files = places.file.iter().cloned().chain(listed).peekable();
    if files.peek().is_none() {
        bail!(
            "TLS cannot be set up: this machine has no certificates of authorities; install \
            `ca-certificates`, or name a file in `SSL_CERT_FILE`"
        );
    }
    if !files.any(|file| holds_one(&file)) {
        let places = places.file.iter().chain(&places.dirs);
        let places: Vec<_> = places.map(|place| format!("`{}`", place.display())).collect();
        bail!(
            "TLS cannot be set up: no certificate of an authority can be read in {}; install \
            `ca-certificates` again, or name a file in PEM in `SSL_CERT_FILE`",
            places.join(", ")
        );
    }
    Ok(())
}

/// Whether a certificate is in a file that TLS would go by. No more is read than it takes.
fn holds_one(file: &Path) -> bool {
    let certificates = CertificateDer::pem_file_iter(file).into_iter().flatten();
    let mut readable = certificates.map_while(Result::ok);
    readable.any(|one| RootCertStore::empty().add(one).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: Option<&Path>, dirs: &[&Path]) -> Places {
        let dirs = dirs.iter().map(|dir| dir.to_path_buf()).collect();
        Places { file: file.map(Path::to_owned), dirs }
    }

    #[test]
    fn a_machine_without_certificates_is_told_of_before_anything_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        for nowhere in [found(None, &[]), found(None, &[folder.path()])] {
            let refused = check_in(&nowhere).unwrap_err().to_string();
            assert!(refused.contains("has no certificates"), "{refused}");
        }
    }

    #[test]
    fn certificates_that_cannot_be_read_are_told_of_by_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let own = own.cert.pem();
        let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let cut = &own[..own.len() / 2];
        for (text, is_readable) in [
            (own.as_str(), true),
            (&format!("an authority\n{own}"), true),
            (&format!("{no_der}{own}"), true),
            ("", false),
            ("no certificate\n", false),
            (cut, false),
            (no_der, false),
        ] {
            fs::write(&file, text).unwrap();
            for place in [found(Some(&file), &[]), found(None, &[folder.path()])] {
                let said = check_in(&place).map_err(|refused| refused.to_string());
                assert_eq!(said.is_ok(), is_readable, "{text:?}: {said:?}");
                let names = |said: String| said.contains(&folder.path().display().to_string());
                assert!(said.is_ok() || said.is_err_and(names), "{text:?}");
            }
        }
        let gone = folder.path().join("gone.pem");
        assert!(check_in(&found(Some(&gone), &[])).is_err());
    }
}
