//! Bodies of one's own: a text in which `{{name}}` stands for a field of the event. Pure.

use serde_json::Value;

use crate::event::Event;
use crate::notify::words::rfc3339;

/// What a template may name.
const NAMES: [&str; 18] = [
    "agent_id",
    "category",
    "count",
    "created_at",
    "deployment",
    "id",
    "instance_group",
    "instance_id",
    "json",
    "key",
    "kind",
    "severity",
    "severity_name",
    "source",
    "status",
    "summary",
    "time",
    "title",
];

#[derive(Debug)]
pub(super) struct Template {
    parts: Vec<Part>,
    /// Whether values become the inside of JSON strings.
    json: bool,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Field(String),
}

impl Template {
    /// Reads a template. With `json`, a field is written as it has to be inside the quotes of a JSON string; `{{json}}`, the
    /// whole event, is written as it is.
    pub(super) fn parse(text: &str, json: bool) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, behind) = after
                .split_once("}}")
                .ok_or_else(|| "expected }} behind every {{".to_owned())?;
            let name = name.trim();
            if !NAMES.contains(&name) {
                return Err(format!(
                    "there is no {{{{{name}}}}}; expected one of {}",
                    NAMES.join(", ")
                ));
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Field(name.to_owned()));
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { parts, json })
    }

    pub(super) fn fill(&self, event: &Event) -> String {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Field(name) if name == "json" => {
                    filled.push_str(&event.to_json().to_string())
                }
                Part::Field(name) => {
                    let value = field(event, name);
                    match self.json {
                        true => {
                            let quoted = Value::from(value).to_string();
                            filled.push_str(&quoted[1..quoted.len() - 1]);
                        }
                        false => filled.push_str(&value),
                    }
                }
            }
        }
        filled
    }
}

fn field(event: &Event, name: &str) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match event {
        Event::Alert(alert) => match name {
            "category" => alert
                .category
                .map_or("", crate::event::Category::name)
                .to_owned(),
            "count" => alert.members.len().max(1).to_string(),
            "created_at" => alert.created_at.to_string(),
            "deployment" => text(&alert.deployment),
            "id" => alert.id.clone(),
            "instance_group" => text(&alert.job),
            "instance_id" => text(&alert.instance_id),
            "key" => text(&alert.key),
            "kind" => "alert".to_owned(),
            "severity" => alert.severity.to_string(),
            "severity_name" => alert.severity_name(),
            "source" => text(&alert.source),
            "status" => serde_json::to_value(alert.status)
                .ok()
                .and_then(|status| status.as_str().map(str::to_owned))
                .unwrap_or_default(),
            "summary" => alert.summary.clone(),
            "time" => rfc3339(alert.created_at),
            "title" => alert.title.clone(),
            _ => String::new(),
        },
        Event::Heartbeat(heartbeat) => match name {
            "agent_id" => heartbeat.agent_id.clone(),
            "count" => "1".to_owned(),
            "created_at" => heartbeat.timestamp.to_string(),
            "deployment" => heartbeat.deployment.clone(),
            "id" => heartbeat.id.clone(),
            "instance_group" => heartbeat.job.clone(),
            "instance_id" => heartbeat.instance_id.clone(),
            "kind" => "heartbeat".to_owned(),
            "status" => text(&heartbeat.job_state),
            "summary" | "title" => heartbeat.to_string(),
            "time" => rfc3339(heartbeat.timestamp),
            _ => String::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Alert;
    use std::sync::Arc;

    fn event() -> Event {
        Event::Alert(Arc::new(Alert {
            id: "1".into(),
            deployment: Some("dep".into()),
            ..Alert::new(2, "say \"no\"\nnow {{id}}", 1_320_196_099)
        }))
    }

    #[test]
    fn a_field_stays_within_its_json_string() {
        let template = Template::parse(
            r#"{"t": "{{ title }}", "at": {{created_at}}, "all": {{json}}}"#,
            true,
        )
        .unwrap();
        let body: Value = serde_json::from_str(&template.fill(&event())).unwrap();
        assert_eq!(
            body["t"], "say \"no\"\nnow {{id}}",
            "what is filled in is not filled in again"
        );
        assert_eq!(body["at"], 1_320_196_099);
        assert_eq!(body["all"]["deployment"], "dep");
    }

    #[test]
    fn a_text_is_filled_in_as_it_is() {
        let template = Template::parse(
            "{{severity_name}} in {{deployment}}{{instance_group}} at {{time}}: {{status}}",
            false,
        )
        .unwrap();
        assert_eq!(
            template.fill(&event()),
            "critical in dep at 2011-11-02T01:08:19Z: firing"
        );
    }

    #[test]
    fn every_name_is_known() {
        for name in NAMES.iter().filter(|name| **name != "json") {
            Template::parse(&format!("{{{{{name}}}}}"), true)
                .unwrap()
                .fill(&event());
        }
        assert!(
            Template::parse("{{nothing}}", true)
                .unwrap_err()
                .starts_with("there is no {{nothing}}; expected one of agent_id,")
        );
        assert_eq!(
            Template::parse("{{title", true).unwrap_err(),
            "expected }} behind every {{"
        );
    }
}
