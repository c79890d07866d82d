//! Azure Monitor's common alert schema.
//!
//! <https://learn.microsoft.com/azure/azure-monitor/alerts/alerts-common-schema>

use untoil_model::{AlarmState, Delivery};

use crate::reading::{Core, Detail, Place, Read, Reading};
use crate::{DecodeError, json, times};

/// What a delivery of Azure Monitor's says.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    let body = json::parse(&delivery.body)?;
    let root = Place::root(&body);
    let schema = root.at("/schemaId").required()?;
    if schema.as_str() != "azureMonitorCommonAlertSchema" {
        return Err(schema.wrong("`azureMonitorCommonAlertSchema`; turn the common schema on"));
    }
    let said = root.at("/data/essentials/monitorCondition").required()?;
    let (state, at) = match said.as_str() {
        "Fired" => (AlarmState::Firing, "/data/essentials/firedDateTime"),
        "Resolved" => (AlarmState::Resolved, "/data/essentials/resolvedDateTime"),
        _ => return Err(said.wrong("`Fired` or `Resolved`")),
    };
    let id = root.at("/data/essentials/alertId").required()?;
    let core = Core {
        source: "azure",
        identity: std::slice::from_ref(&id),
        state: said.map(|_| state),
        changed_at: times::at(root.at(at), times::rfc3339)?,
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    let rule = root.at("/data/essentials/alertRule").text();
    reading.name(rule.clone());
    reading.severity(root.at("/data/essentials/severity").text());
    reading.reason(
        root.first(&["/data/alertContext/properties/title", "/data/essentials/description"]).text(),
    );
    reading.description(root.at("/data/essentials/description").text());
    reading.namespace(root.at("/data/essentials/monitoringService").text());
    let metric = "/data/alertContext/condition/allOf/0/metricName";
    let column = "/data/alertContext/condition/allOf/0/metricMeasureColumn";
    reading.metric(root.first(&[metric, column]).text());
    reading.region(root.at("/data/alertContext/properties/region").text());
    reading.value(root.at("/data/alertContext/condition/allOf/0/metricValue").number());
    reading.threshold(root.at("/data/alertContext/condition/allOf/0/threshold").number());
    if root.at("/data/essentials/alertTargetIDs/1").value().is_none() {
        reading.dimension("target", root.at("/data/essentials/alertTargetIDs/0").text())?;
    }
    for one in root.items("/data/alertContext/condition/allOf/0/dimensions") {
        if let Some(name) = one.at("/name").text() {
            reading.dimension(name.as_str(), one.at("/value").scalar())?;
        }
    }
    labels(&mut reading, root)?;
    reading.origin(Some(id));
    Ok(Read::one(reading))
}

fn labels(reading: &mut Reading, root: Place<'_>) -> Result<(), DecodeError> {
    reading.label("signalType", root.at("/data/essentials/signalType").text())?;
    reading.label("originAlertId", root.at("/data/essentials/originAlertId").text())?;
    reading.label("targets", root.at("/data/essentials/alertTargetIDs").joined())?;
    reading.label("configurationItems", root.at("/data/essentials/configurationItems").joined())?;
    for pointer in ["/data/alertContext/properties", "/data/customProperties"] {
        for (key, value) in root.pairs(pointer) {
            reading.label(key, value.scalar())?;
        }
    }
    Ok(())
}
