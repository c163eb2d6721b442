//! Reads alerts. Source: upstream's instance_manager.rb (`on_alert`), director_monitor.rb and events/alert.rb.

use serde_json::{Map, Value};

use super::Refusal;
use crate::event::Alert;

/// The largest message that is read; agents send a few kilobytes. What is larger is refused unread, faster than it can come:
/// so whatever an agent sends does not pile up.
pub const MAX_MESSAGE: usize = 128 * 1024;

/// How much is kept of one text in an alert; the rest is cut off and said to be.
pub const MAX_TEXT: usize = 16 * 1024;

/// The longest id of an agent; NATS itself takes subjects of 4 KB.
const MAX_AGENT_ID: usize = 255;

/// Where an alert's agent belongs, for an alert that does not say it itself.
#[derive(Clone, Debug, Default)]
pub struct Sender {
    /// The agent's name.
    pub source: String,
    /// Its deployment.
    pub deployment: Option<String>,
    /// Its instance group.
    pub job: Option<String>,
    /// Its instance.
    pub instance_id: Option<String>,
}

/// Whether the last part of a subject can be an agent's id.
pub fn check_agent(id: &str) -> Result<(), Refusal> {
    let sound = !id.is_empty() && id.len() <= MAX_AGENT_ID && !id.chars().any(char::is_control);
    sound.then_some(()).ok_or(Refusal::Subject)
}

/// Whether a message may be as large as this.
pub fn check_size(payload: &[u8]) -> Result<(), Refusal> {
    let sound = payload.len() <= MAX_MESSAGE;
    sound.then_some(()).ok_or(Refusal::Size(payload.len()))
}

/// The JSON object of an alert.
pub fn object(payload: &[u8]) -> Result<Map<String, Value>, Refusal> {
    check_size(payload)?;
    serde_json::from_slice(payload).map_err(|error| Refusal::json(&error))
}

/// An agent's alert. What it does not say of itself is taken from `sender`, which is asked only then.
pub fn agent_alert(
    mut message: Map<String, Value>,
    sender: impl FnOnce() -> Sender,
) -> Result<Alert, Refusal> {
    if !message.contains_key("source") {
        let sender = sender();
        message.insert("source".into(), sender.source.into());
        message.insert("deployment".into(), sender.deployment.into());
        message.insert("job".into(), sender.job.into());
        message.insert("instance_id".into(), sender.instance_id.into());
    }
    alert(&message)
}

/// The director's alert.
pub fn director_alert(message: &Map<String, Value>) -> Result<Alert, Refusal> {
    let needed = ["id", "severity", "title", "summary", "created_at"];
    match needed.iter().find(|key| !message.contains_key(**key)) {
        Some(key) => Err(Refusal::Invalid(format!("the key '{key}' was missing"))),
        None => alert(message),
    }
}

fn alert(message: &Map<String, Value>) -> Result<Alert, Refusal> {
    let mut alert =
        Alert::from_bus(message).map_err(|error| Refusal::Invalid(error.to_string()))?;
    cut(&mut alert.id);
    cut(&mut alert.title);
    cut(&mut alert.summary);
    let optional = [
        &mut alert.source,
        &mut alert.deployment,
        &mut alert.job,
        &mut alert.instance_id,
    ];
    optional.into_iter().flatten().for_each(cut);
    Ok(alert)
}

fn cut(text: &mut String) {
    if text.len() > MAX_TEXT {
        let rest = text.len();
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        let rest = rest - text.len();
        text.push_str(&format!(" [{rest} more bytes]"));
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(message: Value) -> Result<Alert, Refusal> {
        agent_alert(object(message.to_string().as_bytes())?, || Sender {
            source: "d: web(i)".into(),
            deployment: Some("d".into()),
            ..Sender::default()
        })
    }

    #[test]
    fn an_alert_that_names_no_source_is_its_agents() {
        let alert =
            read(json!({"severity": 2, "title": "t", "created_at": 1, "deployment": "other"}))
                .unwrap();
        assert_eq!(
            (alert.source.as_deref(), alert.deployment.as_deref()),
            (Some("d: web(i)"), Some("d"))
        );
        let alert = read(json!({"severity": 2, "title": "t", "created_at": 1, "source": "mine", "deployment": "other"})).unwrap();
        assert_eq!(
            (alert.source.as_deref(), alert.deployment.as_deref()),
            (Some("mine"), Some("other"))
        );
    }

    #[test]
    fn nobody_on_the_bus_can_have_vms_repaired() {
        let alert = read(json!({"severity": 2, "title": "t", "created_at": 1, "category": "deployment_health", "deployment": "d",
            "source": "x", "jobs_to_instance_ids": {"web": ["i"]}})).unwrap();
        assert_eq!(alert.category, None);
        assert!(alert.jobs_to_instance_ids.is_empty());
    }

    #[test]
    fn what_is_not_an_alert_is_refused_by_kind() {
        assert!(matches!(object(b"no"), Err(Refusal::Json(_))));
        assert!(matches!(object(b""), Err(Refusal::Json(_))));
        assert!(matches!(object(b"[1]"), Err(Refusal::Shape(_))));
        assert!(matches!(
            object(&vec![b' '; MAX_MESSAGE + 1]),
            Err(Refusal::Size(_))
        ));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(9999), "]".repeat(9999));
        assert!(matches!(object(deep.as_bytes()), Err(Refusal::Json(_))));
        assert!(matches!(read(json!({})), Err(Refusal::Invalid(_))));
        assert!(check_agent("").is_err() && check_agent("a\u{7}").is_err());
        assert!(check_agent(&"a".repeat(256)).is_err() && check_agent("007").is_ok());
    }

    #[test]
    fn long_texts_are_cut_and_say_so() {
        let title = "ä".repeat(40_000);
        let alert = read(json!({"severity": 2, "title": title, "created_at": 1})).unwrap();
        assert!(alert.title.len() < MAX_TEXT + 64, "{}", alert.title.len());
        assert!(alert.title.ends_with(" more bytes]"));
    }

    #[test]
    fn a_directors_alert_has_all_its_keys() {
        let message = json!({"id": "1", "severity": 2, "title": "t", "created_at": 1});
        let refusal = director_alert(message.as_object().unwrap()).unwrap_err();
        assert_eq!(
            refusal,
            Refusal::Invalid("the key 'summary' was missing".into())
        );
    }
}
