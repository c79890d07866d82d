//! What has been told to one outlet, and what is still to be told: stories, notes and edits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use untoil_clock::Clock;
use untoil_journal::{Journal, JournalError, Put, incident_memo};
use untoil_model::{Body, Entry, Hash, IncidentId, Seq, Source, Stream};

use crate::courier::{Address, Courier, Delivered, Edited};
use crate::notices::{Notice, NoticeBook};
use crate::notifier::Halt;
use crate::story::{Parent, Story};
use crate::{Message, NotifierConfig, Posted};

/// Stories in memory; others are told again from their entries when needed.
const STORIES_MAX: usize = 256;
/// Entries of an incident read at once when its story is told again.
const PAGE: usize = 500;
/// Edits that wait; beyond it the oldest are made before going on.
const EDITS_MAX: usize = 200;
/// Within a backlog an edit waits this long for what may change it again.
const EDIT_SETTLES: Duration = Duration::from_secs(5);

/// Something that has to be edited to read as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Edit {
    /// The parent of an incident's thread.
    Parent(IncidentId),
    /// The shared notice about a source's unreadable deliveries.
    Shared(Source),
}

/// What is noted of an incident's thread, beside the cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    /// Its parent; none when it was refused for good.
    parent: Option<Posted>,
    /// The channel that was configured then; a name there is an id in `parent`.
    under: Option<String>,
    /// The last entry that the thread tells.
    told: Seq,
    /// The parent as it was last written.
    shown: Option<Hash>,
}

impl Note {
    /// Forgets a parent in a channel that is no longer the configured one: nothing can be added to
    /// it there, so the thread begins anew. What was told there stays told.
    fn moved_to(mut self, channel: &str) -> Self {
        let elsewhere = |parent: &Posted| parent.is_elsewhere(self.under.as_deref(), channel);
        if self.parent.as_ref().is_some_and(elsewhere) {
            (self.parent, self.under, self.shown) = (None, None, None);
        }
        self
    }
}

#[derive(Debug)]
struct Known {
    story: Story,
    note: Note,
    used: u64,
}

/// The state of one outlet. Whatever it holds can be made again from the journal.
#[derive(Debug)]
pub(crate) struct Teller<'a> {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    config: &'a NotifierConfig,
    cursor: Seq,
    known: BTreeMap<IncidentId, Known>,
    uses: u64,
    edits: Vec<(Edit, Timestamp)>,
    book: NoticeBook,
    /// The notes about the two above as they were last written.
    written: BTreeMap<&'static str, String>,
}

impl<'a> Teller<'a> {
    pub(crate) async fn load(
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        config: &'a NotifierConfig,
    ) -> Result<Self, JournalError> {
        let now = clock.now();
        let reader = &config.reader;
        let cursor = journal.cursor(reader).await?;
        let edits: Vec<Edit> = noted(&*journal, reader, "edits").await?.unwrap_or_default();
        let mut book: NoticeBook = noted(&*journal, reader, "notices").await?.unwrap_or_default();
        book.move_to(config.channel());
        let edits = edits.into_iter().map(|edit| (edit, now)).collect();
        let (known, written) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { journal, clock, config, cursor, known, uses: 0, edits, book, written })
    }

    pub(crate) fn cursor(&self) -> Seq {
        self.cursor
    }

    /// How long until the next edit may go; `None` when there is none.
    pub(crate) fn edit_due_in(&self, courier: &Courier) -> Option<Duration> {
        (!self.edits.is_empty()).then(|| courier.edit_in())
    }

    /// Tells the entries that follow the cursor, in order.
    pub(crate) async fn tell(
        &mut self,
        window: &[Entry],
        courier: &mut Courier,
    ) -> Result<(), Halt> {
        for (n, entry) in window.iter().enumerate() {
            match &entry.incident {
                Some(id) => self.tell_entry(id, entry, (&window[n..], courier)).await?,
                None => self.tell_notice(entry, courier).await?,
            }
            self.edit_settled(courier).await?;
        }
        let last = window.last().map_or(self.cursor, |entry| entry.seq);
        self.advance(last, Vec::new()).await
    }

    async fn tell_entry(
        &mut self,
        id: &IncidentId,
        entry: &Entry,
        (rest, courier): (&[Entry], &mut Courier),
    ) -> Result<(), Halt> {
        if !self.knows(id, entry).await? {
            return Ok(());
        }
        let now = self.clock.now();
        let voice = &self.config.voice;
        let Some(known) = self.known.get_mut(id) else { return Ok(()) };
        let told_before = entry.seq <= known.note.told;
        let digest = if told_before { None } else { digest(known, rest, now, self.config) };
        let heard = known.story.hear(entry, voice);
        if heard.parent == Parent::Changed {
            self.edits_add(Edit::Parent(id.clone()), now);
        }
        let Some(known) = self.known.get(id) else { return Ok(()) };
        let (message, parent) = match (digest, heard.reply) {
            _ if told_before => return Ok(()),
            (Some(digest), _) => (digest.message, digest.parent),
            (None, Some(reply)) => (reply, known.story.parent(voice)),
            (None, None) => return Ok(()),
        };
        let begun = known.note.parent.is_some() || known.note.told > Seq::START;
        if !begun && is_too_old(entry.at, now, self.config) {
            return Ok(());
        }
        self.say(id, entry, (message, parent), courier).await
    }

    /// Posts a reply, and the parent before it where there is none.
    async fn say(
        &mut self,
        id: &IncidentId,
        entry: &Entry,
        (reply, parent): (Message, Message),
        courier: &mut Courier,
    ) -> Result<(), Halt> {
        let channel = self.config.channel();
        let Some(known) = self.known.get(id) else { return Ok(()) };
        let mut note = known.note.clone();
        if note.parent.is_none() {
            let to = Address { channel, thread: None };
            if let Delivered::There(posted, _) = courier.post(to, &parent, entry.at).await? {
                note.parent = Some(posted);
                note.under = Some(channel.to_owned());
                note.shown = Some(shown(&parent));
            }
            self.note(id, note.clone(), self.cursor).await?;
        }
        let mut told = reply.key.upto;
        if let Some(thread) = &note.parent {
            let to = Address { channel, thread: Some(thread) };
            if let Delivered::There(_, upto) = courier.post(to, &reply, entry.at).await? {
                told = upto;
            }
        }
        note.told = told.max(note.told);
        self.note(id, note, entry.seq).await
    }

    async fn tell_notice(&mut self, entry: &Entry, courier: &mut Courier) -> Result<(), Halt> {
        let now = self.clock.now();
        let old = is_too_old(entry.at, now, self.config);
        match self.book.hear(entry, &self.config.voice) {
            Notice::Silent => Ok(()),
            Notice::Edit(source) => {
                self.edits_add(Edit::Shared(source), now);
                Ok(())
            }
            Notice::Post(_) if old => Ok(()),
            Notice::Post(message) => {
                let channel = self.config.channel();
                let to = Address { channel, thread: None };
                if let Delivered::There(posted, _) = courier.post(to, &message, entry.at).await? {
                    self.book.posted(entry, &posted, channel);
                }
                self.advance(entry.seq, Vec::new()).await
            }
        }
    }

    /// Makes sure that the story up to, but without, `entry` is known. No story: nothing to tell.
    async fn knows(&mut self, id: &IncidentId, entry: &Entry) -> Result<bool, Halt> {
        self.uses += 1;
        if let Some(known) = self.known.get_mut(id) {
            known.used = self.uses;
            return Ok(true);
        }
        let story = match (&entry.body, Story::open(entry)) {
            (Body::Opened { .. }, Some(story)) => Some(story),
            _ => self.retold(id, entry.seq).await?,
        };
        let Some(story) = story else {
            tracing::warn!(incident.id = %id, entry.seq = entry.seq.0, "an entry of an incident that was never opened is not told");
            return Ok(false);
        };
        self.remember(id, story).await?;
        Ok(true)
    }

    async fn remember(&mut self, id: &IncidentId, story: Story) -> Result<(), Halt> {
        let key = incident_memo(id);
        let note: Option<Note> = noted(&*self.journal, &self.config.reader, &key).await?;
        let note = note.unwrap_or_default().moved_to(self.config.channel());
        while self.known.len() >= STORIES_MAX {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.used);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { break };
            self.known.remove(&oldest);
        }
        self.known.insert(id.clone(), Known { story, note, used: self.uses });
        Ok(())
    }

    /// The story of an incident from its entries before `before`.
    async fn retold(&self, id: &IncidentId, before: Seq) -> Result<Option<Story>, Halt> {
        let stream = Stream::Incident(id.clone());
        let mut story: Option<Story> = None;
        let mut after = Seq::START;
        loop {
            let page = self.journal.read(&stream, after, PAGE).await?;
            for entry in page.iter().take_while(|entry| entry.seq < before) {
                if story.is_none() {
                    story = Story::open(entry);
                }
                // The first entry of an incident opens it; without that there is no story.
                let Some(story) = &mut story else { return Ok(None) };
                drop(story.hear(entry, &self.config.voice));
            }
            match page.last() {
                Some(last) if last.seq < before && page.len() == PAGE => after = last.seq,
                _ => return Ok(story),
            }
        }
    }

    fn edits_add(&mut self, edit: Edit, now: Timestamp) {
        if !self.edits.iter().any(|(waiting, _)| *waiting == edit) {
            self.edits.push((edit, now));
        }
    }

    /// Within a backlog: edits that have settled, and those that are too many.
    async fn edit_settled(&mut self, courier: &mut Courier) -> Result<(), Halt> {
        let now = self.clock.now();
        let settled = self.edits.first().is_some_and(|(_, since)| {
            Duration::try_from(now.duration_since(*since))
                .is_ok_and(|passed| passed >= EDIT_SETTLES)
        });
        let crowded = self.edits.len() > EDITS_MAX;
        if crowded {
            courier.edit_slot_free().await?;
        }
        if (settled || crowded) && courier.edit_in() == Duration::ZERO {
            self.edit_one(courier).await?;
        }
        // Only while edits alone are refused. The thread itself still tells what the parent does not.
        if self.edits.len() > EDITS_MAX * 2 {
            let (edit, _) = self.edits.remove(0);
            tracing::error!(?edit, "an edit was passed over: too many wait");
        }
        Ok(())
    }

    /// Makes the oldest edit if its slot is free.
    pub(crate) async fn edit_one(&mut self, courier: &mut Courier) -> Result<(), Halt> {
        let Some((edit, since)) = self.edits.first().cloned() else { return Ok(()) };
        if courier.edit_in() > Duration::ZERO {
            return Ok(());
        }
        let settled = match &edit {
            Edit::Parent(id) => self.edit_parent(id, courier).await?,
            Edit::Shared(source) => match self.book.shared(source, &self.config.voice) {
                Some((Some(posted), message)) => courier.edit(&posted, &message).await?,
                _ => Edited::Settled,
            },
        };
        self.edits.remove(0);
        if settled == Edited::Later {
            // To the end: the next may be in a place that does not refuse.
            self.edits.push((edit, since));
            return Ok(());
        }
        self.advance(self.cursor, Vec::new()).await
    }

    async fn edit_parent(
        &mut self,
        id: &IncidentId,
        courier: &mut Courier,
    ) -> Result<Edited, Halt> {
        if !self.known.contains_key(id) {
            let Some(story) = self.retold(id, self.cursor.next()).await? else {
                return Ok(Edited::Settled);
            };
            self.remember(id, story).await?;
        }
        let Some(known) = self.known.get(id) else { return Ok(Edited::Settled) };
        let is_closed = known.story.incident().is_closed();
        let message = known.story.parent(&self.config.voice);
        let now_shown = shown(&message);
        let mut note = known.note.clone();
        let same = note.shown == Some(now_shown);
        let settled = match (&note.parent, same) {
            (Some(parent), false) => courier.edit(parent, &message).await?,
            (None, _) | (_, true) => Edited::Settled,
        };
        if settled == Edited::Settled {
            if !same && note.parent.is_some() {
                note.shown = Some(now_shown);
                self.note(id, note, self.cursor).await?;
            }
            if is_closed {
                self.known.remove(id);
            }
        }
        Ok(settled)
    }

    /// Notes what is known of a thread and moves the cursor, in one step.
    async fn note(&mut self, id: &IncidentId, note: Note, to: Seq) -> Result<(), Halt> {
        let put = Put { key: incident_memo(id), value: Some(json(&note)) };
        if let Some(known) = self.known.get_mut(id) {
            known.note = note;
        }
        self.advance(to, vec![put]).await
    }

    async fn advance(&mut self, to: Seq, mut puts: Vec<Put>) -> Result<(), Halt> {
        let edits: Vec<&Edit> = self.edits.iter().map(|(edit, _)| edit).collect();
        let mut changed = BTreeMap::new();
        for (key, value) in [("edits", json(&edits)), ("notices", json(&self.book))] {
            if self.written.get(key) != Some(&value) {
                puts.push(Put { key: key.to_owned(), value: Some(value.clone()) });
                changed.insert(key, value);
            }
        }
        if to <= self.cursor && puts.is_empty() {
            return Ok(());
        }
        self.journal.advance(&self.config.reader, to, puts).await?;
        self.written.append(&mut changed);
        self.cursor = to.max(self.cursor);
        Ok(())
    }
}

struct Digest {
    message: Message,
    parent: Message,
}

/// One message for all that follows of an incident that is late, if that is much.
fn digest(
    known: &Known,
    rest: &[Entry],
    now: Timestamp,
    config: &NotifierConfig,
) -> Option<Digest> {
    let first = rest.first()?;
    let late = Duration::try_from(now.duration_since(first.at)).ok()?;
    let mine = || rest.iter().filter(|entry| entry.incident == first.incident);
    if late < config.late_after || mine().count() <= config.replies_behind_max {
        return None;
    }
    let mut story = known.story.clone();
    let replies: Vec<Message> =
        mine().filter_map(|entry| story.hear(entry, &config.voice).reply).collect();
    // The digest stands where its first reply would: an entry without words comes before it.
    let anchored = replies.first().is_some_and(|reply| reply.key.seq == first.seq);
    if !anchored || replies.len() <= config.replies_behind_max {
        return None;
    }
    let message = story.digest(&replies, &config.voice)?;
    Some(Digest { message, parent: story.parent(&config.voice) })
}

fn is_too_old(at: Timestamp, now: Timestamp, config: &NotifierConfig) -> bool {
    Duration::try_from(now.duration_since(at)).is_ok_and(|age| age > config.too_old_after)
}

/// What a message reads like, to tell whether an edit would change anything.
fn shown(message: &Message) -> Hash {
    Hash::of_json(&(message.fallback(), message.blocks()))
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own notes have string keys, so they are JSON")
}

/// Reads a note back. One that cannot be read is as good as none: it is made again.
async fn noted<T: for<'de> Deserialize<'de>>(
    journal: &dyn Journal,
    reader: &str,
    key: &str,
) -> Result<Option<T>, JournalError> {
    let Some(text) = journal.memo(reader, key).await? else { return Ok(None) };
    match serde_json::from_str(&text) {
        Ok(note) => Ok(Some(note)),
        Err(error) => {
            tracing::warn!(%error, reader, key, "a note cannot be read and is made again");
            Ok(None)
        }
    }
}
