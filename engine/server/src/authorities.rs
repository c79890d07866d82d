//! The certificates of authorities by which others are believed.
//!
//! Those of a system take longer to read than all else at a start, so only the first is before the service
//! says that it is ready: without any, no delivery could be believed and nobody called.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::bail;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};

use crate::config::env_as_it_is;

/// Where the certificates are, as the verifier looks for them.
#[derive(Debug)]
struct Places {
    file: Option<PathBuf>,
    dirs: Vec<PathBuf>,
}

impl Places {
    /// Those that the environment names, and no others then; the system's otherwise. A file that is named
    /// by an empty text is named.
    fn here() -> Self {
        let file = env_as_it_is("SSL_CERT_FILE").map(PathBuf::from);
        let dirs = env_as_it_is("SSL_CERT_DIR").unwrap_or_default();
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
        if places.file.as_ref().is_some_and(|file| file.as_os_str().is_empty()) {
            bail!(
                "TLS cannot be set up: `SSL_CERT_FILE` is set, and empty; unset it, or name a file in PEM in it"
            );
        }
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

/// Whether a certificate is in a file that TLS would go by. No more is read than it takes, and only of what
/// is a file: the opening of a pipe waits for whoever writes into it.
fn holds_one(file: &Path) -> bool {
    if !fs::metadata(file).is_ok_and(|found| found.is_file()) {
        return false;
    }
    let certificates = CertificateDer::pem_file_iter(file).into_iter().flatten();
    // Behind a section that makes no sense the next is read; behind a file that cannot be, nothing.
    let mut readable = certificates.take_while(|one| !matches!(one, Err(pem::Error::Io(_))));
    readable.any(|one| one.is_ok_and(|one| RootCertStore::empty().add(one).is_ok()))
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
        let no_base64 = no_der.replace("AAAA", "!!!");
        let cut = &own[..own.len() / 2];
        for (text, is_readable) in [
            (own.as_str(), true),
            (&format!("an authority\n{own}"), true),
            (&format!("{no_der}{own}"), true),
            (&format!("{no_base64}{own}"), true),
            (&no_base64, false),
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
        let empty = check_in(&found(Some(Path::new("")), &[])).unwrap_err().to_string();
        assert!(empty.contains("`SSL_CERT_FILE` is set, and empty"), "{empty}");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "no engine runs here, and mkfifo(1) is safe")]
    fn a_pipe_among_the_certificates_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("0-pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(check_in(&found(Some(&pipe), &[folder.path()])).is_err());
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(folder.path().join("own.pem"), own.cert.pem()).unwrap();
        check_in(&found(None, &[folder.path()])).unwrap();
    }
}
