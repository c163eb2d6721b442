//! `bosh-blobstore-dav`: the command that upstream's agent runs to reach a DAV blobstore, for the stemcells in which it sits
//! in our agent's place. Our own agent talks to the blobstore itself.
//!
//! `bosh-blobstore-dav -c CONFIG get ID FILE | put FILE ID | exists ID | delete ID | sign ID ACTION DURATION`. CONFIG has the
//! blobstore's options as JSON. Exit codes: 0, 1 for errors, 3 when there is no such blob; what went wrong is on stdout.
//! Upstream: bosh-davcli main/dav_cli.go, app/app.go, cmd/.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use bosh_blobstore::{Action, Error, Store};

const NOT_FOUND: u8 = 3;

/// Runs the command line, the program's own name left out.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")
        .and_then(|runtime| runtime.block_on(run(args.into_iter().collect())));
    match ended {
        Ok(printed) => {
            print!("{printed}");
            ExitCode::SUCCESS
        }
        Err(error) if is_missing(&error) => {
            print!("Blob not found - {error:#}");
            ExitCode::from(NOT_FOUND)
        }
        Err(error) => {
            print!("Error running app - {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::NotFound(_)))
}

/// What is to be printed.
async fn run(args: Vec<OsString>) -> Result<String> {
    let args: Vec<String> = args
        .into_iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (config, command) = match words.as_slice() {
        ["-v" | "--v", ..] => return Ok(format!("davcli version {}\n", env!("CARGO_PKG_VERSION"))),
        ["-c" | "--c", config, command @ ..] => (*config, command),
        _ => bail!("Config file arg `-c` is missing"),
    };
    let store = open(Path::new(config))?;
    match command {
        ["get", id, file] => {
            store.get_to_file(id, None, Path::new(file)).await?;
        }
        ["put", file, id] => {
            store.put_with_id(id, &*PathBuf::from(file), &[]).await?;
        }
        ["exists", id] => {
            if !store.exists(id).await? {
                return Err(Error::NotFound((*id).to_owned()).into());
            }
        }
        ["delete", id] => match store.delete(id).await {
            Err(Error::NotFound(_)) => {}
            other => other?,
        },
        ["sign", id, action, valid_for] => {
            let action = match action.to_ascii_lowercase().as_str() {
                "get" => Action::Get,
                "put" => Action::Put,
                _ => bail!("expected the action get or put, got {action}"),
            };
            let valid_for = duration(valid_for)?;
            let signed = store.sign(id, action, SystemTime::now(), valid_for).await?;
            return Ok(signed.as_str().to_owned());
        }
        [name @ ("get" | "put" | "exists" | "delete" | "sign"), ..] => bail!(
            "Incorrect usage, expected get ID FILE, put FILE ID, exists ID, delete ID or sign ID ACTION DURATION after {name}"
        ),
        [name, ..] => bail!("Could not find command with name {name}"),
        [] => bail!("Missing command name"),
    }
    Ok(String::new())
}

fn open(config: &Path) -> Result<Store> {
    let text = std::fs::read(config).with_context(|| format!("read {}", config.display()))?;
    let options = serde_json::from_slice(&text)
        .with_context(|| format!("{}: expected a JSON object", config.display()))?;
    // Only whoever has connected already has chosen one; that one serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(Store::open("dav", &options)?)
}

/// `45s`, `1h43m`, `1.5h`: as Go writes durations.
fn duration(text: &str) -> Result<Duration> {
    let wrong = || format!("expiration should be a duration value eg: 45s or 1h43m. Got: {text}");
    ensure!(!text.is_empty(), wrong());
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let unit_at = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .with_context(wrong)?;
        let number: f64 = rest[..unit_at].parse().ok().with_context(wrong)?;
        rest = &rest[unit_at..];
        let unit_end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let seconds = match &rest[..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => bail!(wrong()),
        };
        total += Duration::try_from_secs_f64(number * seconds)
            .ok()
            .with_context(wrong)?;
        rest = &rest[unit_end..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        let seconds = |text: &str| duration(text).unwrap().as_secs_f64();
        assert!((seconds("45s") - 45.0).abs() < 1e-9);
        assert!((seconds("1h43m") - 6180.0).abs() < 1e-9);
        assert!((seconds("1.5h") - 5400.0).abs() < 1e-9);
        for wrong in ["", "45", "s", "1x", "-5s", "1e400h"] {
            assert!(duration(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[tokio::test]
    async fn mistakes_are_named() {
        let run = |words: &[&str]| run(words.iter().map(Into::into).collect());
        let said = async |words: &[&str]| format!("{:#}", run(words).await.unwrap_err());
        assert_eq!(
            said(&["get", "a", "b"]).await,
            "Config file arg `-c` is missing"
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blobstore-dav.json");
        let config = path.to_str().unwrap();
        assert!(
            said(&["-c", config, "get", "a", "b"])
                .await
                .starts_with("read ")
        );
        std::fs::write(&path, "[").unwrap();
        assert!(
            said(&["-c", config, "get", "a", "b"])
                .await
                .contains("expected a JSON object")
        );
        std::fs::write(&path, r#"{"endpoint":"http://127.0.0.1:1","secret":"s"}"#).unwrap();
        assert_eq!(
            said(&["-c", config, "fetch"]).await,
            "Could not find command with name fetch"
        );
        assert!(
            said(&["-c", config, "get", "a"])
                .await
                .starts_with("Incorrect usage")
        );
        let url = run(&["-c", config, "sign", "a", "get", "1m"])
            .await
            .unwrap();
        assert!(url.starts_with("http://127.0.0.1:1/signed/"), "{url}");
    }
}
