//! How each source is read: by the decoder of its own name, by another one, or by a mapping; and what
//! the team's own words for it are.

use std::collections::BTreeMap;

use untoil_model::{Delivery, Source};

use crate::bounds;
use crate::decode::{self, DecodeError, Decoded};
use crate::enrichment::Enrichment;
use crate::mapping::{Mapping, MappingError};
use crate::reading::{Detail, Origin, Read, Reading};
use crate::sources::{self, Reader, Repeats, cloudevents};

/// Decoders of what AWS names: one alarm is one alarm, whichever path brought it.
const BY_ARN: [&str; 3] = ["aws", "cloudwatch", "sns"];

/// How the deliveries of each source are read. The default reads every source by its own name.
#[derive(Debug, Clone, Default)]
pub struct Decoders {
    named: BTreeMap<Source, How>,
    enrichment: Enrichment,
}

#[derive(Debug, Clone)]
enum How {
    Decoder(Reader),
    Mapping(Box<Mapping>),
    /// What comes are CloudEvents, and their data, or the whole event, is read so.
    InEvents(Box<How>),
}

/// A source that cannot be read as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodersError {
    /// There is no such decoder.
    #[error("no decoder `{0}`; there are {list}", list = decode::sources().join(", "))]
    NoDecoder(String),
    /// A source has the name of a decoder and is to be read otherwise.
    #[error("`{0}` is a decoder's own name; call this source otherwise, such as `{0}-ours`")]
    Taken(Source),
    /// A source has no decoder.
    #[error(
        "`{0}` is no decoder's name; add `decoder: …` ({list}) or `mapping: …`",
        list = decode::sources().join(", ")
    )]
    Unread(Source),
    /// CloudEvents in CloudEvents.
    #[error("`decoder: cloudevents` reads events by itself; leave `envelope` out")]
    EventsInEvents,
    /// A mapping.
    #[error("in `mapping`: {0}")]
    Mapping(#[from] MappingError),
}

impl Decoders {
    /// Adds a source that a decoder reads, its own or, under a name of its own, another's.
    ///
    /// # Errors
    /// [`DecodersError`] when there is no such decoder or the name is another's.
    pub fn decoder(&mut self, source: Source, decoder: Option<&str>) -> Result<(), DecodersError> {
        let own = sources::sender(source.as_str());
        let Some(decoder) = decoder else {
            return if own.is_some() { Ok(()) } else { Err(DecodersError::Unread(source)) };
        };
        let reader = sources::sender(decoder)
            .ok_or_else(|| DecodersError::NoDecoder(bounds::quote(decoder)))?;
        match own {
            Some(own) if own.name == reader.name => Ok(()),
            Some(_) => Err(DecodersError::Taken(source)),
            None => {
                self.named.insert(source, How::Decoder(reader));
                Ok(())
            }
        }
    }

    /// Adds a source that a mapping reads.
    ///
    /// # Errors
    /// [`DecodersError`] when the mapping cannot work or the name is a decoder's.
    pub fn mapping(&mut self, source: Source, mapping: Mapping) -> Result<(), DecodersError> {
        if sources::reader(source.as_str()).is_some() {
            return Err(DecodersError::Taken(source));
        }
        mapping.check()?;
        self.named.insert(source, How::Mapping(Box::new(mapping)));
        Ok(())
    }

    /// Says that what comes from a source are CloudEvents: what was added under its name reads their data
    /// (a decoder) or the whole event (a mapping). Where nothing was added, the data is one alarm in our
    /// own words, or what the decoder of that name reads.
    ///
    /// # Errors
    /// [`DecodersError::EventsInEvents`].
    pub fn in_events(&mut self, source: Source) -> Result<(), DecodersError> {
        let own = sources::sender(source.as_str()).map(How::Decoder);
        let events = sources::sender("cloudevents").expect("it is a sender");
        let how = match self.named.remove(&source).or(own) {
            None => How::Decoder(events),
            Some(How::Decoder(reader)) if reader.name == events.name => {
                return Err(DecodersError::EventsInEvents);
            }
            Some(how) => How::InEvents(Box::new(how)),
        };
        self.named.insert(source, how);
        Ok(())
    }

    /// The same with the team's own words.
    #[must_use]
    pub fn enriched(mut self, enrichment: Enrichment) -> Self {
        self.enrichment = enrichment;
        self
    }

    /// What a kept delivery says. Needs nothing but the delivery, and repeats.
    ///
    /// # Errors
    /// [`DecodeError`] when it cannot be understood. It may be a whole body for one field of one
    /// alarm: half a delivery is never acted on.
    pub fn decode(&self, delivery: &Delivery) -> Result<Decoded, DecodeError> {
        Ok(self.read(delivery, Detail::Alarms)?.decoded())
    }

    /// The same, with where each value of each alarm came from, in the order of the alarms.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn explain(&self, delivery: &Delivery) -> Result<(Decoded, Vec<Vec<Origin>>), DecodeError> {
        let read = self.read(delivery, Detail::Origins)?;
        let origins = match &read {
            Read::Alarms(all) => {
                all.iter().map(|Reading { origins, .. }| origins.clone()).collect()
            }
            Read::Note(_) => Vec::new(),
        };
        Ok((read.decoded(), origins))
    }

    /// Whether a kept delivery is SNS's word that the subscription was deleted: a person must hear
    /// that, because nothing else arrives any more.
    #[must_use]
    pub fn says_unsubscribed(&self, delivery: &Delivery) -> bool {
        self.kind(&delivery.id.source) == Some("sns") && sources::sns::says_unsubscribed(delivery)
    }

    /// Whether what comes under this name can be read: the configured ones, the senders, and the
    /// engine's own heartbeat.
    #[must_use]
    pub fn reads(&self, source: &Source) -> bool {
        self.named.contains_key(source) || sources::reader(source.as_str()).is_some()
    }

    /// How long the same bytes from a source are the same message.
    pub(crate) fn repeats(&self, source: &Source) -> Repeats {
        self.kind(source).map_or(Repeats::Lately, sources::repeats)
    }

    /// The name of the decoder that reads a source; none for a mapping.
    pub(crate) fn kind(&self, source: &Source) -> Option<&'static str> {
        match self.named.get(source) {
            Some(How::Decoder(reader)) => Some(reader.name),
            Some(How::Mapping(_)) => None,
            Some(How::InEvents(_)) => Some("cloudevents"),
            None => sources::reader(source.as_str()).map(|reader| reader.name),
        }
    }

    fn read(&self, delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
        let source = &delivery.id.source;
        let mut read = match self.named.get(source) {
            Some(how) => how.read(source, delivery, detail)?,
            None => {
                let reader = sources::reader(source.as_str());
                let reader = reader.ok_or_else(|| DecodeError::NoDecoder(source.clone()))?;
                (reader.read)(delivery, detail)?
            }
        };
        if let Read::Alarms(all) = &mut read {
            for reading in all {
                self.enrichment.apply(reading);
            }
        }
        Ok(read)
    }
}

impl How {
    fn read(
        &self,
        source: &Source,
        delivery: &Delivery,
        detail: Detail,
    ) -> Result<Read, DecodeError> {
        match self {
            Self::Mapping(mapping) => mapping.read(source, delivery, detail),
            Self::Decoder(reader) => own((reader.read)(delivery, detail)?, reader, source),
            Self::InEvents(how) => match &**how {
                Self::Mapping(mapping) => cloudevents::mapped(delivery, detail, mapping),
                inner @ (Self::Decoder(_) | Self::InEvents(_)) => {
                    cloudevents::carried(delivery, |data| inner.read(source, data, detail))
                }
            },
        }
    }
}

/// What a decoder read under a source's own name: its keys begin with that name, so that two
/// installations never share one. What AWS names by ARN is one thing whichever path brought it.
fn own(mut read: Read, reader: &Reader, source: &Source) -> Result<Read, DecodeError> {
    if let Read::Alarms(all) = &mut read {
        for Reading { alarm, .. } in all {
            if alarm.source == *source {
                alarm.source = reader.name.parse().expect("the readers' names are sources");
            }
            let identity = alarm.key.as_str().strip_prefix(reader.name);
            if !BY_ARN.contains(&reader.name)
                && let Some(identity) = identity.filter(|identity| identity.starts_with(':'))
            {
                alarm.key = bounds::key(&format!("{source}{identity}"))?;
            }
        }
    }
    Ok(read)
}
