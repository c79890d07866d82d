//! The journal and its archive files as one, for readers: `audit list` and `show`.

use std::path::PathBuf;

use anyhow::bail;
use untoil_journal::{Archive, Archived, Journal, Segment, segments};
use untoil_model::{Delivery, DeliveryId, Entry, Seq, Stream};

use crate::out;

/// Entries read at a time.
const PAGE: usize = 1_000;

/// The journal with its archive behind it.
pub(crate) struct Trail<'a> {
    pub(crate) journal: &'a dyn Journal,
    archive: Archive,
    segments: Vec<Segment>,
    /// The file that was read last: entries are asked for in their order.
    open: Option<(Segment, Vec<Archived>)>,
    /// The last file that was said to be missing.
    missed: Option<Seq>,
}

/// An entry and where it was found.
pub(crate) struct Found {
    pub(crate) entry: Entry,
    /// The file, when the entry or its delivery is not in the store any more.
    pub(crate) file: Option<PathBuf>,
    pub(crate) delivery: Option<Delivery>,
}

impl<'a> Trail<'a> {
    pub(crate) async fn of(journal: &'a dyn Journal, archive: Archive) -> anyhow::Result<Self> {
        let segments = match segments(journal).await? {
            Ok(segments) => segments,
            Err(broken) => bail!("the journal is damaged: {broken}; run `untoil audit verify`"),
        };
        Ok(Self { journal, archive, segments, open: None, missed: None })
    }

    /// Entries behind a place, in order; none at the end. Of a file that is not there, what the store
    /// still has; that is said on standard error.
    pub(crate) async fn after(&mut self, after: Seq) -> anyhow::Result<Vec<Entry>> {
        let at = self.segments.partition_point(|segment| segment.last <= after);
        let Some(segment) = self.segments.get(at).cloned() else {
            return Ok(self.journal.read(&Stream::All, after, PAGE).await?);
        };
        if !self.archive.has(&segment.file) {
            return self.left_of(&segment, after).await;
        }
        let mut entries = Vec::new();
        for archived in self.read(&segment)?.iter().filter(|archived| archived.raw.seq > after) {
            entries.push(opened(archived)?);
            if entries.len() == PAGE {
                break;
            }
        }
        Ok(entries)
    }

    async fn left_of(&mut self, segment: &Segment, after: Seq) -> anyhow::Result<Vec<Entry>> {
        if self.missed.replace(segment.last) != Some(segment.last) {
            out::complain(&self.where_is(segment));
        }
        let mut at = after;
        loop {
            let page = self.journal.read(&Stream::All, at, PAGE).await?;
            let Some(last) = page.last().map(|entry| entry.seq) else { return Ok(page) };
            let within: Vec<_> =
                page.into_iter().filter(|entry| entry.seq <= segment.last).collect();
            if !within.is_empty() {
                return Ok(within);
            }
            // Nothing of it is left: go on behind it, where the next file may be there again.
            if last > segment.last {
                return Box::pin(self.after(segment.last)).await;
            }
            at = last;
        }
    }

    /// One entry with its delivery, from wherever they are.
    pub(crate) async fn one(
        &mut self,
        seq: Seq,
        delivery: impl Fn(&Entry) -> Option<DeliveryId>,
    ) -> anyhow::Result<Found> {
        let before = Seq(seq.0.saturating_sub(1));
        let kept = self.journal.read(&Stream::All, before, 1).await?.into_iter().next();
        let kept = kept.filter(|entry| entry.seq == seq);
        if let Some(entry) = &kept {
            let mut kept = None;
            if let Some(id) = delivery(entry) {
                kept = self.journal.delivery(&id).await?;
            }
            let is_whole = kept.is_some() || delivery(entry).is_none();
            if is_whole || !self.segments.iter().any(|segment| segment.has(seq)) {
                return Ok(Found { entry: entry.clone(), file: None, delivery: kept });
            }
        }
        let Some(segment) = self.segments.iter().find(|segment| segment.has(seq)).cloned() else {
            bail!("there is no entry {seq}")
        };
        if !self.archive.has(&segment.file) {
            let where_is = self.where_is(&segment);
            let Some(entry) = kept else { bail!("entry {seq} is archived: {where_is}") };
            out::complain(&where_is);
            return Ok(Found { entry, file: None, delivery: None });
        }
        let path = self.archive.folder().join(&segment.file);
        let entries = self.read(&segment)?;
        let Some(archived) = entries.iter().find(|archived| archived.raw.seq == seq) else {
            bail!("`{}` does not hold entry {seq}; run `untoil audit verify`", path.display())
        };
        let entry = opened(archived)?;
        let mut kept = archived.delivery.clone();
        if let Some(id) = delivery(&entry).filter(|_| kept.is_none()) {
            let of = entries.iter().filter_map(|archived| archived.delivery.as_ref());
            kept = of.into_iter().find(|delivery| delivery.id == id).cloned();
        }
        Ok(Found { entry, file: Some(path), delivery: kept })
    }

    fn read(&mut self, segment: &Segment) -> anyhow::Result<&[Archived]> {
        if self.open.as_ref().is_none_or(|(open, _)| open != segment) {
            let entries = self.archive.read(&segment.file)?;
            self.open = Some((segment.clone(), entries));
        }
        Ok(self.open.as_ref().map_or(&[], |(_, entries)| entries))
    }

    fn where_is(&self, segment: &Segment) -> String {
        format!(
            "entries {} to {} are in the file `{}`, which is not in `{}`; name its folder with \
             `--archive`",
            segment.first,
            segment.last,
            segment.file,
            self.archive.folder().display(),
        )
    }
}

fn opened(archived: &Archived) -> anyhow::Result<Entry> {
    Ok(archived.raw.open()?)
}
