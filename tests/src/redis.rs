//! The demo's third-party software: redis, from the source package of this machine's own distribution, and a client to
//! talk to what became of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::paths;

/// The upstream source tarball, fetched by apt into a cache once.
pub fn source() -> anyhow::Result<PathBuf> {
    let dir = paths::cache("redis-source")?;
    if let Some(found) = tarball_in(&dir)? {
        return Ok(found);
    }
    // apt's own lists stay as they are: the deb-src entries live in a folder of their own.
    let lists = tempfile::tempdir()?;
    let sources = lists.path().join("sources.list");
    std::fs::create_dir_all(lists.path().join("lists/partial"))?;
    std::fs::write(&sources, deb_src()?)?;
    let apt = |args: &[&str]| -> anyhow::Result<()> {
        let output = Command::new("apt-get")
            .current_dir(&dir)
            .args([
                "-q",
                "-o",
                &format!("Dir::Etc::sourcelist={}", sources.display()),
            ])
            .args(["-o", "Dir::Etc::sourceparts=-", "-o"])
            .arg(format!(
                "Dir::State::lists={}",
                lists.path().join("lists").display()
            ))
            // An update that could not fetch a list is otherwise a success, and the next command's riddle.
            .args(["-o", "APT::Update::Error-Mode=any"])
            .args(["-o", "APT::Sandbox::User=root"])
            .args(args)
            .output()
            .context("running apt-get")?;
        ensure!(
            output.status.success(),
            "apt-get {args:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    };
    apt(&["update"])?;
    apt(&["source", "--download-only", "redis"])?;
    tarball_in(&dir)?.context("apt-get source fetched no redis_*.orig.tar.gz")
}

fn tarball_in(dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("redis_") && name.ends_with(".orig.tar.gz") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// A `deb-src` line for every place this machine gets packages from.
fn deb_src() -> anyhow::Result<String> {
    let output = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages",
        ])
        .output()
        .context("running apt-get indextargets")?;
    let mut lines: Vec<String> = String::from_utf8(output.stdout)?
        .lines()
        .map(|line| format!("deb-src {line}\n"))
        .collect();
    lines.sort();
    lines.dedup();
    ensure!(
        !lines.is_empty(),
        "apt knows no package source; run apt-get update"
    );
    Ok(lines.concat())
}

/// A connection to a redis server.
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl Client {
    /// Connects and authenticates.
    pub async fn connect(ip: &str, password: &str) -> anyhow::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect((ip, 6379)))
            .await
            .context("connecting to redis")??;
        let mut client = Self {
            stream: BufReader::new(stream),
        };
        client.command(&["AUTH", password]).await?;
        Ok(client)
    }

    /// Runs one command and gives its answer: a simple string, a number, or a bulk string (`None` where it is nil).
    pub async fn command(&mut self, words: &[&str]) -> anyhow::Result<Option<String>> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        timeout(PATIENCE, async {
            self.stream.write_all(request.as_bytes()).await?;
            let mut line = String::new();
            self.stream.read_line(&mut line).await?;
            let line = line.trim_end();
            match line.split_at_checked(1) {
                Some(("+" | ":", text)) => Ok(Some(text.to_owned())),
                Some(("$", "-1")) => Ok(None),
                Some(("$", length)) => {
                    let mut bulk = vec![0; length.parse::<usize>()? + 2];
                    self.stream.read_exact(&mut bulk).await?;
                    bulk.truncate(bulk.len() - 2);
                    Ok(Some(String::from_utf8(bulk)?))
                }
                Some(("-", error)) => bail!("redis says {error}"),
                _ => bail!("redis answered {line:?}"),
            }
        })
        .await
        .with_context(|| format!("redis did not answer {words:?} in {PATIENCE:?}"))?
    }
}
