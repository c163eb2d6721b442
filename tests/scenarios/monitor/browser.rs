//! The status page in a browser. Chromium is large, so this is not run by default: `make browser`.

use std::path::PathBuf;
use std::time::Duration;

use bosh_tests::browser::{Browser, Screen};
use bosh_tests::bus::Bus;
use bosh_tests::fake_director::agent_id;
use bosh_tests::monitor::{Beating, Monitor};
use serde_json::{Value, json};

use crate::director;

/// WCAG 2.1, 1.4.3: every text that is seen against what is behind it. Returns those that fail.
const CONTRAST: &str = r#"
const parse = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
const linear = (part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
    if (a === 1) return [r, g, b];
    if (a > 0) throw new Error("a background that is half there");
  }
  throw new Error("no background");
};
const failing = [];
let looked = 0;
const look = (element, style, what) => {
  const [one, two] = [luminance(parse(style.color)), luminance(behind(element))].sort((a, b) => b - a);
  const contrast = (one + 0.05) / (two + 0.05);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  looked += 1;
  if (contrast < (large ? 3 : 4.5)) failing.push(`${what}: ${contrast.toFixed(2)}`);
};
for (const element of document.querySelectorAll("body *")) {
  const texts = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (texts && element.checkVisibility()) look(element, getComputedStyle(element), element.textContent.trim().slice(0, 40));
  if (element.placeholder && element.checkVisibility()) look(element, getComputedStyle(element, "::placeholder"), element.placeholder);
}
return { looked, failing };
"#;

/// Nothing is cut off or has to be scrolled to sideways.
const FITS: &str = "return document.documentElement.scrollWidth <= window.innerWidth";

/// Nothing was fetched from elsewhere.
const OWN: &str = "return performance.getEntriesByType('resource').every((entry) => new URL(entry.name).origin === location.origin)";

const RUNNING: &str = "return document.querySelector('.instances')?.textContent.includes('running, 2 processes') ?? false";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: make browser"]
async fn the_status_page_shows_what_is_and_what_happens() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let shots = std::env::var_os("BOSH_TEST_SCREENSHOTS").map(PathBuf::from);
    let (bus, director) = (Bus::start(dir.path()).await?, director(6).await?);
    let more = json!({
        "http": { "user": "ops", "password": "secret" },
        "intervals": { "poll_director": 0.5, "poll_grace_period": 0, "analyze_agents": 0.5, "analyze_instances": 0.5, "agent_timeout": 3 },
        "plugins": [{ "name": "logger", "events": ["alert"] }],
    });
    let monitor = Monitor::with(&bus, &director, &dir.path().join("hm"), more, |_| {}).await?;
    let _beating = Beating::start(&bus, 0..5, Duration::from_millis(500)).await?;
    let client = bus.client().await?;
    for (screen, name) in [(Screen::Desk, "desk"), (Screen::Phone, "phone")] {
        let browser = Browser::open(screen).await?;
        let page = format!("http://ops:secret@127.0.0.1:{}/", monitor.port);
        browser.go(&page).await?;
        browser
            .until(
                "the page to be live",
                "return document.getElementById('live').textContent === 'live'",
            )
            .await?;
        browser
            .until(
                "the silent agent",
                "return document.getElementById('current').textContent.includes('has timed out')",
            )
            .await?;
        browser
            .run(
                "document.querySelector('.deployment summary').click()",
                Value::Null,
            )
            .await?;
        browser.until("the instances", RUNNING).await?;

        // An alert comes, with markup in it that is only text.
        let title = format!("<img src=x onerror=document.title='broken'> on the {name}");
        let alert =
            json!({ "id": name, "severity": 2, "title": title, "created_at": 1_700_000_000 });
        client
            .publish(
                format!("hm.agent.alert.{}", agent_id(1)),
                alert.to_string().into(),
            )
            .await?;
        client.flush().await?;
        let shown = format!(
            "return document.getElementById('past').textContent.includes({})",
            json!(title)
        );
        browser.until("the alert", &shown).await?;
        assert_eq!(
            browser.run("return document.title", Value::Null).await?,
            "BOSH Health Monitor"
        );

        // A silence is set and ended.
        let fill = "document.querySelector('#silences + details').open = true;
            const form = document.getElementById('silence');
            form.deployment.value = 'dep'; form.comment.value = 'upgrade'; form.requestSubmit();";
        browser.run(fill, Value::Null).await?;
        browser
            .until(
                "the silence",
                "return document.querySelector('#silences h3')?.textContent === 'deployment dep'",
            )
            .await?;
        browser
            .until(
                "the silenced alert",
                "return document.getElementById('current').textContent.includes('silenced')",
            )
            .await?;

        for scheme in ["light", "dark"] {
            browser.prefers(scheme).await?;
            let told = browser.run(CONTRAST, Value::Null).await?;
            assert_eq!(told["failing"], json!([]), "{name}, {scheme}");
            assert!(told["looked"].as_u64() > Some(40), "{told}");
            if let Some(shots) = &shots {
                browser
                    .screenshot(&shots.join(format!("{name}-{scheme}.png")))
                    .await?;
            }
        }
        if let Some(shots) = &shots {
            browser
                .run("scrollTo(0, document.body.scrollHeight / 2.2)", Value::Null)
                .await?;
            browser
                .screenshot(&shots.join(format!("{name}-below.png")))
                .await?;
        }
        assert_eq!(browser.run(FITS, Value::Null).await?, true, "{name}");
        assert_eq!(browser.run(OWN, Value::Null).await?, true, "{name}");
        browser
            .run(
                "document.querySelector('#silences button').click()",
                Value::Null,
            )
            .await?;
        browser
            .until(
                "no silence",
                "return document.getElementById('silences').textContent === 'None.'",
            )
            .await?;

        // Everybody is heard again, and it shows by itself.
        let _last = Beating::start(&bus, 5..6, Duration::from_millis(500)).await?;
        browser
            .until(
                "nothing to be wrong",
                "return document.getElementById('current').textContent === 'Nothing.'",
            )
            .await?;
        browser.close().await?;
    }
    Ok(())
}
