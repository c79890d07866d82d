//! A small disk that can be filled: a tmpfs, which takes root to mount.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

/// What is written at a time, down to the last byte.
const CHUNKS: [usize; 3] = [1 << 20, 4_096, 1];

/// A mounted disk; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Mounts one of a size such as `24m`; fails without root.
    pub(crate) fn mount(at: &Path, size: &str) -> Result<Self> {
        fs::create_dir_all(at)?;
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(at)
            .stderr(Stdio::null());
        mount.status()?.success().then_some(()).context("a disk cannot be mounted")?;
        Ok(Self { at: at.to_owned() })
    }

    /// Leaves no byte free.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.at.join("ballast"))?;
        for chunk in CHUNKS {
            while ballast.write_all(&vec![7; chunk]).is_ok() {}
        }
        Ok(())
    }

    /// Frees it again.
    pub(crate) fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.at.join("ballast"))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that still has a file open is on its way out.
        let mut unmount = Command::new("umount");
        drop(unmount.arg("-l").arg(&self.at).stderr(Stdio::null()).status());
    }
}
