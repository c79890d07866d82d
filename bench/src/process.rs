//! What a process has used, from `/proc` (proc(5)).

use anyhow::{Context as _, Result};

/// Linux reports processor time in hundredths of a second to every program (`USER_HZ`, times(2)).
const TICK_MICROS: u64 = 10_000;

/// The processor time of a process and all its threads so far, in microseconds.
pub(crate) fn cpu_micros(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may hold spaces; the 14th and 15th field are utime and stime.
    let (_, fields) = stat.rsplit_once(')').context("no process status")?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || -> Result<u64> { Ok(fields.next().context("no processor time")?.parse()?) };
    Ok((ticks()? + ticks()?) * TICK_MICROS)
}

/// Memory of a process in KiB: resident now, and the most it ever was.
pub(crate) fn resident_kib(pid: u32) -> Result<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.split_ascii_whitespace().next());
        Ok(value.with_context(|| format!("no `{name}`"))?.parse()?)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}
