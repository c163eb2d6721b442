//! `json`: events as lines of JSON to the standard input of programs that a glob finds. Source: upstream's plugins/json.rb.
//!
//! Programs are looked for again and again. One that fails is started again; one that ends well has said all it wanted to.
//! Each has a queue of its own: one that does not read keeps nothing from the others, and loses what its queue cannot hold.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::plan::seconds;
use super::target::{Failure, Manner, Target};
use crate::event::{Alert, Heartbeat};

/// Where upstream looks.
const GLOB: &str = "/var/vcap/jobs/*/bin/bosh-monitor/*";

/// How many lines wait for one program at the most.
const QUEUE: usize = 10_000;

/// How long a program has to end when its input has.
const FAREWELL: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
pub(super) struct Options {
    #[serde(default = "glob")]
    bin_glob: String,
    /// Between two looks for new programs.
    #[serde(default = "minute", deserialize_with = "seconds")]
    check_interval: Duration,
    /// Before a program that failed is started again.
    #[serde(default = "second", deserialize_with = "seconds")]
    restart_wait: Duration,
}

fn glob() -> String {
    GLOB.to_owned()
}

fn minute() -> Duration {
    Duration::from_secs(60)
}

fn second() -> Duration {
    Duration::from_secs(1)
}

pub(super) struct Json {
    programs: Arc<Mutex<HashMap<PathBuf, Program>>>,
    ending: watch::Sender<bool>,
    search: JoinHandle<()>,
}

struct Program {
    lines: mpsc::Sender<Arc<str>>,
    keeper: JoinHandle<()>,
    lost: u64,
}

type Programs = Arc<Mutex<HashMap<PathBuf, Program>>>;

pub(super) fn new(options: Options) -> Result<(Json, Manner), String> {
    if let Err(error) = glob::Pattern::new(&options.bin_glob) {
        return Err(format!("bin_glob: expected a glob: {error}"));
    }
    let programs = Programs::default();
    let (ending, ended) = watch::channel(false);
    let search = tokio::spawn(search(options, programs.clone(), ended));
    let json = Json {
        programs,
        ending,
        search,
    };
    let manner = Manner {
        durable: false,
        mergeable: false,
        ..Manner::default()
    };
    Ok((json, manner))
}

async fn search(options: Options, programs: Programs, mut ended: watch::Receiver<bool>) {
    loop {
        let pattern = options.bin_glob.clone();
        // A directory may hang (a network's): that is not the events' business.
        let found = tokio::task::spawn_blocking(move || find(&pattern)).await;
        for path in found.unwrap_or_default() {
            let mut programs = programs.lock().unwrap_or_else(PoisonError::into_inner);
            if let Entry::Vacant(place) = programs.entry(path) {
                let path = place.key().clone();
                tracing::info!("json: starting {}", path.display());
                let (lines, queue) = mpsc::channel(QUEUE);
                let keeper = keep(path, queue, options.restart_wait, ended.clone());
                place.insert(Program {
                    lines,
                    keeper: tokio::spawn(keeper),
                    lost: 0,
                });
            }
        }
        tokio::select! {
            () = sleep(options.check_interval) => {}
            _ = ended.changed() => return,
        }
    }
}

/// What the glob finds; names that begin with a dot only where it says so, as Ruby does.
fn find(pattern: &str) -> Vec<PathBuf> {
    let options = glob::MatchOptions {
        require_literal_separator: true,
        require_literal_leading_dot: true,
        ..glob::MatchOptions::new()
    };
    let found = glob::glob_with(pattern, options).into_iter().flatten();
    found
        .filter_map(Result::ok)
        .filter(|path| path.is_file())
        .collect()
}

/// Keeps one program running until it ends well, or is no longer there.
async fn keep(
    path: PathBuf,
    mut lines: mpsc::Receiver<Arc<str>>,
    wait: Duration,
    mut ended: watch::Receiver<bool>,
) {
    let name = path.display().to_string();
    loop {
        match start(&path) {
            Ok(child) => match feed(child, &mut lines, &mut ended, &name).await {
                Ended::Well => {
                    tracing::info!("json: {name} has ended");
                    // Whatever comes now has nobody to go to.
                    while lines.recv().await.is_some() {}
                    return;
                }
                Ended::Badly(why) => tracing::error!("json: {name} has failed: {why}"),
                Ended::NoMore => return,
            },
            Err(error) => tracing::error!("json: starting {name}: {error}"),
        }
        tokio::select! {
            () = sleep(wait) => {}
            _ = ended.changed() => return,
        }
        tracing::info!("json: starting {name} again");
    }
}

fn start(path: &Path) -> std::io::Result<Child> {
    Command::new(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

enum Ended {
    Well,
    Badly(String),
    /// The monitor ends.
    NoMore,
}

/// Feeds a program until it or the queue has ended. A line that it died of is lost; the next one is for its successor.
async fn feed(
    mut child: Child,
    lines: &mut mpsc::Receiver<Arc<str>>,
    ended: &mut watch::Receiver<bool>,
    name: &str,
) -> Ended {
    let chatter = [
        child
            .stdout
            .take()
            .map(|out| tokio::spawn(listen(out, name.to_owned()))),
        child
            .stderr
            .take()
            .map(|err| tokio::spawn(listen(err, name.to_owned()))),
    ];
    let Some(mut stdin) = child.stdin.take() else {
        return Ended::Badly("it has no input".to_owned());
    };
    let ended = loop {
        let line = tokio::select! {
            status = child.wait() => break judge(status),
            line = lines.recv() => line,
        };
        let Some(line) = line else {
            drop(stdin);
            if timeout(FAREWELL, child.wait()).await.is_err() {
                tracing::warn!("json: {name} did not end with its input and is killed");
            }
            return Ended::NoMore;
        };
        let written = tokio::select! {
            status = child.wait() => break judge(status),
            written = async {
                stdin.write_all(line.as_bytes()).await?;
                stdin.flush().await
            } => written,
            () = overdue(ended) => {
                tracing::warn!("json: {name} does not read to the end and is killed");
                return Ended::NoMore;
            }
        };
        if let Err(error) = written {
            // It does not read any more, which is no reason to end it.
            tracing::warn!("json: {name} does not read: {error}");
            break judge(child.wait().await);
        }
    };
    chatter.into_iter().flatten().for_each(|task| task.abort());
    ended
}

/// The monitor has begun to end a while ago.
async fn overdue(ended: &mut watch::Receiver<bool>) {
    // Without its sender the monitor is gone altogether.
    _ = ended.wait_for(|ended| *ended).await;
    sleep(FAREWELL).await;
}

fn judge(status: std::io::Result<std::process::ExitStatus>) -> Ended {
    match status {
        Ok(status) if status.success() => Ended::Well,
        Ok(status) => Ended::Badly(status.to_string()),
        Err(error) => Ended::Badly(error.to_string()),
    }
}

/// Reads what a program says, so that it never has to wait for us, and logs it.
async fn listen(mut output: impl AsyncRead + Unpin, name: String) {
    let mut said = vec![0; 4_096];
    while let Ok(length @ 1..) = output.read(&mut said).await {
        let text = String::from_utf8_lossy(&said[..length]);
        tracing::debug!("json: {name} says: {}", text.trim_end());
    }
}

impl Json {
    fn send(&self, event: &serde_json::Value) {
        let line: Arc<str> = format!("{event}\n").into();
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        for (path, program) in programs.iter_mut() {
            if program.lines.try_send(line.clone()).is_err() {
                program.lost += 1;
                if program.lost.is_power_of_two() {
                    let lost = program.lost;
                    tracing::error!(
                        lost,
                        "json: {} does not read; events are lost to it",
                        path.display()
                    );
                }
            }
        }
    }
}

#[async_trait]
impl Target for Json {
    async fn alerts(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        alerts.iter().for_each(|alert| self.send(&alert.to_hash()));
        Ok(())
    }

    async fn heartbeats(&mut self, heartbeats: &[Arc<Heartbeat>]) -> Result<(), Failure> {
        heartbeats
            .iter()
            .for_each(|heartbeat| self.send(&heartbeat.to_json()));
        Ok(())
    }

    async fn close(&mut self) {
        self.ending.send_replace(true);
        self.search.abort();
        let programs =
            std::mem::take(&mut *self.programs.lock().unwrap_or_else(PoisonError::into_inner));
        let mut keepers = Vec::new();
        for program in programs.into_values() {
            drop(program.lines);
            keepers.push(program.keeper);
        }
        for keeper in keepers {
            if let Err(error) = keeper.await {
                tracing::error!("json: a program's keeper has died: {error}");
            }
        }
    }
}
