//! A headless Chromium, driven by WebDriver over HTTP. `tests/install-deps --browser` installs both.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine as _;
use serde_json::{Value, json};

use crate::bus::free_port;
use crate::process::Guard;
use crate::wait;

/// A window and the programs behind it, which end with it.
pub struct Browser {
    session: String,
    http: reqwest::Client,
    _driver: Guard,
    _profile: tempfile::TempDir,
}

/// How large a window is, and of what kind.
#[derive(Clone, Copy, Debug)]
pub enum Screen {
    /// 1280 x 900.
    Desk,
    /// 390 x 844 with two pixels to one.
    Phone,
}

impl Browser {
    /// Opens a window.
    pub async fn open(screen: Screen) -> anyhow::Result<Self> {
        let (port, profile) = (free_port()?, tempfile::tempdir()?);
        let mut command = Command::new("chromedriver");
        command
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let driver = Guard::spawn(&mut command)?;
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .build()?;
        let root = format!("http://127.0.0.1:{port}");
        wait::until("chromedriver", Duration::from_secs(30), || async {
            let status: Value = http
                .get(format!("{root}/status"))
                .send()
                .await?
                .json()
                .await?;
            Ok((status["value"]["ready"] == true).then_some(()))
        })
        .await?;
        let profile_dir = format!("--user-data-dir={}", profile.path().display());
        let mut options = json!({ "args": [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--window-size=1280,900", profile_dir,
        ] });
        if let Screen::Phone = screen {
            options["mobileEmulation"] = json!({
                "deviceMetrics": { "width": 390, "height": 844, "pixelRatio": 2, "touch": true, "mobile": true },
            });
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": { "browserName": "chrome", "goog:chromeOptions": options } } });
        let made = value(http.post(format!("{root}/session")).json(&wanted)).await?;
        let id = made["sessionId"].as_str().context("a session id")?;
        Ok(Self {
            session: format!("{root}/session/{id}"),
            http,
            _driver: driver,
            _profile: profile,
        })
    }

    async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        value(
            self.http
                .post(format!("{}{path}", self.session))
                .json(&body),
        )
        .await
    }

    /// Goes to a URL.
    pub async fn go(&self, url: &str) -> anyhow::Result<()> {
        self.post("/url", json!({ "url": url })).await.map(drop)
    }

    /// Runs a function body of JavaScript in the page; gives what it returns.
    pub async fn run(&self, script: &str, arguments: Value) -> anyhow::Result<Value> {
        let body = json!({ "script": script, "args": [arguments] });
        self.post("/execute/sync", body).await
    }

    /// Waits until a function body of JavaScript returns something true.
    pub async fn until(&self, what: &str, script: &str) -> anyhow::Result<()> {
        wait::until(what, Duration::from_secs(30), || async {
            let seen = self.run(script, Value::Null).await?;
            Ok((seen == true).then_some(()))
        })
        .await
    }

    /// Has the page think that its reader prefers `light` or `dark`.
    pub async fn prefers(&self, scheme: &str) -> anyhow::Result<()> {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let body =
            json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": features } });
        self.post("/goog/cdp/execute", body).await.map(drop)
    }

    /// Writes what the window shows to a file, PNG.
    pub async fn screenshot(&self, path: &Path) -> anyhow::Result<()> {
        let request = self.http.get(format!("{}/screenshot", self.session));
        let shot = value(request).await?;
        let text = shot.as_str().context("a screenshot")?;
        let png = base64::prelude::BASE64_STANDARD.decode(text)?;
        Ok(std::fs::write(path, png)?)
    }

    /// Closes the window and Chromium with it.
    pub async fn close(self) -> anyhow::Result<()> {
        value(self.http.delete(&self.session)).await.map(drop)
    }
}

async fn value(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let mut answer: Value = request.send().await?.json().await?;
    let value = answer["value"].take();
    if let Some(error) = value.get("error") {
        bail!("the browser: {error}: {}", value["message"]);
    }
    Ok(value)
}
