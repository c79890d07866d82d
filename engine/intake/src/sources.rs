//! The senders that can be read, one file each.
//!
//! To add one: a file here with `read`, a line in [`ALL`], a page in `docs/sources/`, fixtures with
//! goldens, and a row in the table of `docs/sources/README.md`.

pub(crate) mod alertmanager;
pub(crate) mod aws;
pub(crate) mod azure;
pub(crate) mod cloudevents;
pub(crate) mod cloudwatch;
pub(crate) mod cloudwatch_event;
pub(crate) mod cloudwatch_origins;
pub(crate) mod datadog;
pub(crate) mod dynatrace;
pub(crate) mod elastic;
pub(crate) mod gcp;
pub(crate) mod generic;
pub(crate) mod grafana;
pub(crate) mod nagios;
pub(crate) mod newrelic;
pub(crate) mod opsgenie;
pub(crate) mod pagerduty;
pub(crate) mod sentry;
pub(crate) mod sns;
pub(crate) mod zabbix;

use untoil_model::Delivery;

use crate::DecodeError;
use crate::reading::{Detail, Read};

/// How one sender is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader {
    /// Its name, as it stands in the path `/v1/events/{source}`.
    pub(crate) name: &'static str,
    /// Reads a delivery from its bytes alone.
    pub(crate) read: fn(&Delivery, Detail) -> Result<Read, DecodeError>,
}

/// Every sender, in the order of their names.
pub(crate) const ALL: &[Reader] = &[
    Reader { name: "alertmanager", read: alertmanager::read },
    Reader { name: "aws", read: aws::read },
    Reader { name: "azure", read: azure::read },
    Reader { name: "cloudevents", read: cloudevents::read },
    Reader { name: "cloudwatch", read: aws::read },
    Reader { name: "datadog", read: datadog::read },
    Reader { name: "dynatrace", read: dynatrace::read },
    Reader { name: "elastic", read: elastic::read },
    Reader { name: "gcp", read: gcp::read },
    Reader { name: "generic", read: generic::read },
    Reader { name: "grafana", read: grafana::read },
    Reader { name: "nagios", read: nagios::read },
    Reader { name: "newrelic", read: newrelic::read },
    Reader { name: "opsgenie", read: opsgenie::read },
    Reader { name: "pagerduty", read: pagerduty::read },
    Reader { name: "sentry", read: sentry::read },
    Reader { name: "sns", read: sns::read },
    Reader { name: "zabbix", read: zabbix::read },
];

/// The engine's own signs of life, in its own JSON. Nobody can be configured to send them.
const OWN: Reader = Reader { name: "heartbeat", read: generic::read };

/// How long the same bytes of a sender are the same message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// For ever: its bodies hold a time or an id of their own.
    Always,
    /// For some minutes: an alarm that fires, clears and fires again may be written in the same
    /// bytes.
    Lately,
}

/// How long the same bytes from a source are the same message.
pub(crate) fn repeats(source: &str) -> Repeats {
    match source {
        "sns" | "aws" | "cloudwatch" | "generic" | "newrelic" | "pagerduty" => Repeats::Always,
        _ => Repeats::Lately,
    }
}

/// The reader of a sender's name.
pub(crate) fn sender(name: &str) -> Option<Reader> {
    ALL.iter().find(|reader| reader.name == name).copied()
}

/// The reader of a name: a sender's, or that of the engine's own heartbeat.
pub(crate) fn reader(name: &str) -> Option<Reader> {
    ALL.iter().chain([&OWN]).find(|reader| reader.name == name).copied()
}
