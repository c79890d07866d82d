//! The program that is tried: built as cargo builds it, beside this one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The folder of cargo's profile that this program lies in.
fn profile() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("a program lies in a folder")?;
    let folder = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    Ok(folder.context("`deps` lies in a profile")?.to_owned())
}

/// Builds `untoil` in the profile of this program; answers where it is.
///
/// # Errors
/// When it cannot be built.
pub fn built() -> Result<PathBuf> {
    let profile = profile()?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "untoil", "--bin", "untoil"]);
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    if let Some(target) = profile.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    if !cargo.status()?.success() {
        bail!("`untoil` cannot be built; name one that is with `--binary`");
    }
    Ok(profile.join("untoil"))
}

/// The folder that trials are played in, and left in when they fail, unless another is named:
/// `target/crash`.
///
/// # Errors
/// When this program does not lie where cargo puts it.
pub fn folder() -> Result<PathBuf> {
    Ok(profile()?.parent().context("a profile lies in `target`")?.join("crash"))
}
