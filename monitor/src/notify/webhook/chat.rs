//! Bodies that chat programs show: Slack's incoming webhooks, Microsoft Teams' workflows (an adaptive card), Discord's
//! webhooks. Pure. Whatever an alert says, it mentions nobody and links to nothing.

use serde_json::{Value, json};

use crate::event::{Alert, Event, Status};
use crate::notify::words::{cut, rfc3339};

/// What is shown of an event.
struct Shown {
    title: String,
    text: String,
    colour: Colour,
    facts: Vec<(&'static str, String)>,
    at: i64,
}

#[derive(Clone, Copy)]
enum Colour {
    Bad,
    Doubtful,
    Good,
    Plain,
}

impl Colour {
    /// Red, orange, green and grey.
    fn rgb(self) -> u32 {
        match self {
            Self::Bad => 0xd0_31_2d,
            Self::Doubtful => 0xe0_8e_0b,
            Self::Good => 0x2e_8b_57,
            Self::Plain => 0x70_70_70,
        }
    }

    /// Teams' name of it.
    fn card(self) -> &'static str {
        match self {
            Self::Bad => "attention",
            Self::Doubtful => "warning",
            Self::Good => "good",
            Self::Plain => "default",
        }
    }
}

fn shown(event: &Event) -> Shown {
    match event {
        Event::Alert(alert) => shown_alert(alert),
        Event::Heartbeat(heartbeat) => Shown {
            title: format!("Heartbeat of {}/{}", heartbeat.job, heartbeat.instance_id),
            text: heartbeat.to_string(),
            colour: Colour::Plain,
            facts: vec![("Deployment", heartbeat.deployment.clone())],
            at: heartbeat.timestamp,
        },
    }
}

fn shown_alert(alert: &Alert) -> Shown {
    let colour = match (alert.status, alert.severity) {
        (Status::Resolved, _) => Colour::Good,
        (Status::Acknowledged, _) => Colour::Doubtful,
        (Status::Firing, 1..=3) => Colour::Bad,
        (Status::Firing, 4) => Colour::Doubtful,
        (Status::Firing, _) => Colour::Plain,
    };
    let instance = match (&alert.job, &alert.instance_id) {
        (Some(job), Some(id)) => Some(format!("{job}/{id}")),
        (job, id) => job.clone().or(id.clone()),
    };
    let facts = [
        ("Severity", Some(alert.severity_name())),
        ("Deployment", alert.deployment.clone()),
        ("Instance", instance),
        ("Source", alert.source.clone()),
    ];
    let facts = facts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let text = match alert.summary == alert.title {
        true => String::new(),
        false => alert.summary.clone(),
    };
    Shown {
        title: alert.title.clone(),
        text,
        colour,
        facts: facts.collect(),
        at: alert.created_at,
    }
}

/// What Slack takes for markup: a mention or a link begins with `<`.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

pub(super) fn slack(event: &Event) -> Value {
    let shown = shown(event);
    let fields: Vec<_> = shown
        .facts
        .iter()
        .map(|(name, value)| json!({ "title": name, "value": escaped(cut(value, 500)), "short": value.len() <= 40 }))
        .collect();
    json!({
        "text": escaped(cut(&shown.title, 500)),
        "attachments": [{
            "color": format!("#{:06x}", shown.colour.rgb()),
            "fallback": escaped(cut(&shown.title, 500)),
            "text": escaped(cut(&shown.text, 3_000)),
            "fields": fields,
            "footer": "BOSH Health Monitor",
            "ts": shown.at,
        }],
    })
}

pub(super) fn teams(event: &Event) -> Value {
    let shown = shown(event);
    // Plain runs of text: an adaptive card's text blocks would read markdown, and so links, out of an alert.
    let run = |text: &str, weight: &str, colour: &str| {
        json!({
            "type": "RichTextBlock",
            "inlines": [{ "type": "TextRun", "text": text, "weight": weight, "color": colour }],
        })
    };
    let mut body = vec![run(cut(&shown.title, 500), "bolder", shown.colour.card())];
    if !shown.text.is_empty() {
        body.push(run(cut(&shown.text, 3_000), "default", "default"));
    }
    for (name, value) in &shown.facts {
        body.push(run(
            &format!("{name}: {}", cut(value, 500)),
            "default",
            "default",
        ));
    }
    body.push(run(&rfc3339(shown.at), "lighter", "default"));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
            },
        }],
    })
}

pub(super) fn discord(event: &Event) -> Value {
    let shown = shown(event);
    let plain = |text: &str, most: usize| {
        // Discord's markup, and a zero width space in front of what could be a mention.
        let mut plain = String::new();
        for c in cut(text, most / 2).chars() {
            if matches!(
                c,
                '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '<' | '[' | ']' | '#'
            ) {
                plain.push('\\');
            }
            plain.push(c);
        }
        plain
    };
    let fields: Vec<_> = shown
        .facts
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": plain(value, 1_024), "inline": value.len() <= 40 }))
        .collect();
    json!({
        "username": "BOSH Health Monitor",
        "allowed_mentions": { "parse": [] },
        "embeds": [{
            "title": plain(&shown.title, 256),
            "description": plain(&shown.text, 4_096),
            "color": shown.colour.rgb(),
            "fields": fields,
            "timestamp": rfc3339(shown.at),
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn alert() -> Alert {
        Alert {
            summary: "<!channel> see [this](https://evil.test)".into(),
            deployment: Some("dep".into()),
            job: Some("web".into()),
            instance_id: Some("i-1".into()),
            ..Alert::new(2, "a & b", 1_320_196_099)
        }
    }

    fn event(alert: Alert) -> Event {
        Event::Alert(Arc::new(alert))
    }

    #[test]
    fn slack_is_told_without_being_told_to_shout() {
        let body = slack(&event(alert()));
        assert_eq!(body["text"], "a &amp; b");
        let shown = &body["attachments"][0];
        assert_eq!(shown["color"], "#d0312d");
        assert_eq!(
            shown["text"],
            "&lt;!channel&gt; see [this](https://evil.test)"
        );
        assert_eq!(
            shown["fields"][0],
            json!({"title": "Severity", "value": "critical", "short": true})
        );
        assert_eq!(shown["fields"][2]["value"], "web/i-1");
        let over = slack(&event(Alert {
            status: Status::Resolved,
            ..alert()
        }));
        assert_eq!(over["attachments"][0]["color"], "#2e8b57");
    }

    #[test]
    fn teams_are_shown_a_card_of_plain_text() {
        let body = teams(&event(alert()));
        let card = &body["attachments"][0]["content"];
        assert_eq!(card["type"], "AdaptiveCard");
        let title = &card["body"][0]["inlines"][0];
        assert_eq!(
            (&title["text"], &title["color"]),
            (&json!("a & b"), &json!("attention"))
        );
        assert!(!body.to_string().contains("\"TextBlock\""));
        assert_eq!(card["body"][2]["inlines"][0]["text"], "Severity: critical");
    }

    #[test]
    fn discord_is_kept_within_its_limits() {
        let body = discord(&event(Alert {
            title: "x*".repeat(5_000),
            summary: "y".repeat(9_000),
            ..alert()
        }));
        let embed = &body["embeds"][0];
        assert!(embed["title"].as_str().unwrap().chars().count() <= 256);
        assert!(embed["description"].as_str().unwrap().chars().count() <= 4_096);
        assert!(embed["title"].as_str().unwrap().starts_with("x\\*x\\*"));
        assert_eq!(embed["color"], 0xd0_31_2d);
        assert_eq!(body["allowed_mentions"], json!({"parse": []}));
    }
}
