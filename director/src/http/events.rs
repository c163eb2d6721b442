//! `/events`.

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bosh_director_api::{Code, NewEvent};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::{Iso8601, Rfc2822, Rfc3339};
use time::macros::format_description;

use super::auth::Permission;
use super::error::{Error, Result};
use super::{Request, reply};
use crate::db::{self, EventId, Timestamp};

pub(super) async fn list(request: Request) -> Result {
    request.require(Permission::ReadShared)?;
    let mut filter = db::events::Filter {
        before_id: request.param("before_id").map(|id| id.parse().unwrap_or(0)),
        ..db::events::Filter::default()
    };
    if let Some(text) = request.param("before_time") {
        filter.before =
            Some(time(text).ok_or_else(|| {
                Error::bad_request(format!("Invalid before parameter: '{text}' "))
            })?);
    }
    if let Some(text) = request.param("after_time") {
        let after = time(text)
            .ok_or_else(|| Error::bad_request(format!("Invalid after parameter: '{text}' ")))?;
        // The next second and later: times are shown in whole seconds.
        let limit = std::time::Duration::from_micros(999_999);
        filter.after = Some(after + limit);
    }
    for column in db::events::FILTERS {
        if let Some(value) = request.param(column) {
            filter.equal.push((column, value.to_owned()));
        }
    }
    let events = db::events::list(&request.director.db, &filter).await?;
    Ok(reply::json(
        &events.into_iter().map(shown).collect::<Vec<_>>(),
    ))
}

pub(super) async fn show(request: Request, Path(id): Path<String>) -> Result {
    request.require(Permission::Admin)?;
    let found = match id.parse::<EventId>() {
        Ok(id) => db::events::get(&request.director.db, id).await?,
        Err(_) => None,
    };
    let event =
        found.ok_or_else(|| Error::Plain(StatusCode::NOT_FOUND, "Event not found".to_owned()))?;
    Ok(reply::json(&shown(event)))
}

pub(super) async fn create(request: Request, body: Bytes) -> Result {
    request.require(Permission::Admin)?;
    let event: NewEvent = request.json(&body)?;
    let (Some(action), Some(object_type), Some(object_name)) =
        (event.action, event.object_type, event.object_name)
    else {
        return Err(Error::new(
            Code::ValidationInvalidType,
            "Action, object_type, object_name are required",
        ));
    };
    if event
        .context
        .as_ref()
        .is_some_and(|context| !context.is_object())
    {
        return Err(Error::new(
            Code::ValidationInvalidType,
            "Context must be a hash",
        ));
    }
    let timestamp = match event.timestamp {
        None => None,
        Some(value) => {
            let text = match &value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            Some(time(&text).ok_or_else(|| {
                Error::bad_request(format!("Invalid timestamp parameter: '{text}' "))
            })?)
        }
    };
    request
        .event(db::events::NewEvent {
            timestamp,
            action,
            object_type,
            object_name: Some(object_name),
            deployment: event.deployment,
            instance: event.instance,
            error: event.error,
            context: event.context,
            ..db::events::NewEvent::default()
        })
        .await?;
    Ok(StatusCode::OK.into_response())
}

/// Seconds since 1970, or one of the forms that clients send.
fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Timestamp::from_unix(seconds);
    }
    let zoned = [
        format_description!(
            "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
        ),
        format_description!(
            "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] UTC [year]"
        ),
    ];
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(text, &Iso8601::DEFAULT))
        .or_else(|_| OffsetDateTime::parse(text, &Rfc2822))
        .or_else(|_| OffsetDateTime::parse(text, zoned[0]))
    {
        return Some(Timestamp(time));
    }
    let bare = text.strip_suffix(" UTC").unwrap_or(text);
    let plain = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    if let Ok(time) = time::PrimitiveDateTime::parse(bare, plain) {
        return Some(Timestamp(time.assume_utc()));
    }
    if let Ok(time) = time::PrimitiveDateTime::parse(text, zoned[1]) {
        return Some(Timestamp(time.assume_utc()));
    }
    let day = format_description!("[year]-[month]-[day]");
    let date = time::Date::parse(bare, day).ok()?;
    Some(Timestamp(date.midnight().assume_utc()))
}

fn shown(event: db::events::Event) -> bosh_director_api::Event {
    let present = |text: Option<String>| text.filter(|text| !text.is_empty());
    let context = event
        .context_json
        .as_deref()
        .and_then(|json| serde_json::from_str::<Map<String, Value>>(json).ok())
        .unwrap_or_default();
    bosh_director_api::Event {
        id: event.id.to_string(),
        parent_id: event.parent_id.map(|id| id.to_string()),
        timestamp: event.timestamp.unix(),
        user: present(Some(event.user)),
        action: event.action,
        object_type: event.object_type,
        object_name: present(event.object_name),
        error: present(event.error),
        task: present(event.task),
        deployment: present(event.deployment),
        instance: present(event.instance),
        context,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_clients_write_them() {
        for text in [
            "1467360000",
            "2016-07-01T08:00:00Z",
            "2016-07-01 08:00:00 UTC",
            "2016-07-01 08:00:00 +0000",
            "Fri, 01 Jul 2016 08:00:00 +0000",
            "Fri Jul  1 08:00:00 UTC 2016",
        ] {
            assert_eq!(
                time(text).map(Timestamp::unix),
                Some(1_467_360_000),
                "{text}"
            );
        }
        assert_eq!(time("2016-07-01").map(Timestamp::unix), Some(1_467_331_200));
        assert_eq!(time("yesterday"), None);
    }
}
