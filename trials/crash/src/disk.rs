//! Disks that can be filled, fail, and lose what they were not told to keep. They take root.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// What is written at a time, down to the last byte.
const CHUNKS: [usize; 3] = [1 << 20, 4_096, 1];
/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: from now on nothing comes to the disk, as
/// when the power goes. Kernels offer it for tests such as this.
const SHUT: &str = "open(my $at, '<', $ARGV[0]) or exit 1; my $flags = pack('I', 2); \
                    ioctl($at, 0x8004587d, $flags) or exit 2";
/// How long processes that were killed may keep a disk busy.
const FREE_WITHIN: Duration = Duration::from_secs(10);
/// Between two tries to unmount one.
const PAUSE: Duration = Duration::from_millis(5);

/// A mounted disk; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    at: PathBuf,
    /// The file that holds what was kept, where it can be told from what was only written.
    image: Option<PathBuf>,
}

impl Disk {
    /// Mounts one in memory of a size such as `24m`; fails without root.
    pub(crate) fn mount(at: &Path, size: &str) -> Result<Self> {
        fs::create_dir_all(at)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(at);
        quietly(&mut mount).context("a disk cannot be mounted")?;
        Ok(Self { at: at.to_owned(), image: None })
    }

    /// Mounts one with a real file system, whose power can be cut; fails without root.
    pub(crate) fn real(at: &Path, size: &str) -> Result<Self> {
        fs::create_dir_all(at)?;
        let image = at.with_extension("img");
        quietly(Command::new("truncate").args(["-s", size]).arg(&image))?;
        quietly(Command::new("mkfs.ext4").args(["-q", "-F", "-b", "4096"]).arg(&image))
            .context("a file system cannot be made")?;
        let disk = Self { at: at.to_owned(), image: Some(image) };
        disk.mount_image()?;
        Ok(disk)
    }

    fn mount_image(&self) -> Result<()> {
        let image = self.image.as_ref().context("a disk in memory has no power to cut")?;
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(image).arg(&self.at);
        quietly(&mut mount).context("a disk cannot be mounted")
    }

    /// Keeps what was written so far.
    pub(crate) fn keep(&self) -> Result<()> {
        quietly(Command::new("sync").arg("-f").arg(&self.at))
    }

    /// From now on every operation fails.
    pub(crate) fn shut(&self) -> Result<()> {
        quietly(Command::new("perl").args(["-e", SHUT]).arg(&self.at))
            .context("a disk cannot be shut")
    }

    /// Cuts its power and puts it on again: what it was not told to keep is gone. Whoever used it must
    /// have ended, or be about to.
    pub(crate) async fn cut(&self) -> Result<()> {
        self.shut()?;
        let began = Instant::now();
        while quietly(Command::new("umount").arg(&self.at)).is_err() {
            if began.elapsed() > FREE_WITHIN {
                bail!("somebody uses a disk whose power is cut");
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.mount_image()
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
        drop(quietly(Command::new("umount").arg("-l").arg(&self.at)));
    }
}

fn quietly(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    status.success().then_some(()).with_context(|| format!("{command:?}: {status}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_power_cut_takes_what_the_disk_was_not_told_to_keep() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("disk");
        let Ok(disk) = Disk::real(&at, "16m") else {
            // Without root there is nothing to show here; trials say so, too.
            eprintln!("SKIPPED: no disk can be mounted here, so none lost its power");
            return;
        };
        let write = |name: &str, kept: bool| {
            let mut file = File::create(at.join(name)).unwrap();
            file.write_all(name.as_bytes()).unwrap();
            if kept {
                file.sync_all().unwrap();
            }
        };
        write("kept", true);
        write("written", false);
        disk.cut().await.unwrap();
        assert_eq!(fs::read_to_string(at.join("kept")).unwrap(), "kept");
        assert_ne!(fs::read_to_string(at.join("written")).unwrap_or_default(), "written");
        disk.shut().unwrap();
        assert!(File::create(at.join("later")).is_err(), "a dead disk takes nothing");
        disk.cut().await.unwrap();
        assert_eq!(fs::read_to_string(at.join("kept")).unwrap(), "kept");
    }
}
