//! Sources against real HTTP servers and real programs.

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{Error, Service, Sources};
use crate::config::{Metadata, Source};
use crate::platform::{Dirs, dummy::Dummy};

/// Answers each request with the next of its answers, the last one for ever, and remembers what was asked.
struct Server {
    uri: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: &[(u16, &str)]) -> Self {
        // Two providers could be chosen from; a request needs one to be.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        let mut answers: VecDeque<(u16, String)> = answers
            .iter()
            .map(|(status, body)| (*status, (*body).to_owned()))
            .collect();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).await.unwrap_or_default() == 0 {
                        break;
                    }
                    head.push(byte[0]);
                }
                seen.lock()
                    .unwrap()
                    .push(String::from_utf8(head).unwrap().to_lowercase());
                let (status, body) = if answers.len() > 1 {
                    answers.pop_front().unwrap()
                } else {
                    answers[0].clone()
                };
                let text = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                // The client may have gone.
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        Self { uri, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    fn source(&self, token_path: &str, ssh_keys_path: &str) -> Source {
        Source::Http {
            service: Metadata {
                uri: self.uri.clone(),
                headers: [("Metadata-Flavor".to_owned(), "Acme".to_owned())].into(),
                token_path: token_path.to_owned(),
            },
            user_data_path: "/user-data".to_owned(),
            ssh_keys_path: ssh_keys_path.to_owned(),
        }
    }
}

fn sources(dir: &Path, sources: Vec<Source>) -> (Sources, Arc<Dummy>) {
    let platform = Arc::new(Dummy::new(Dirs::new(dir)));
    let sources = Sources::new(sources, platform.clone()).unwrap();
    (sources.retry_delay(Duration::ZERO), platform)
}

fn why(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

#[tokio::test]
async fn user_data_with_headers_and_a_network_first() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[(
        200,
        r#"{"agent_id": "agent-7", "registry": {"endpoint": "x"}, "server": {"name": "vm"}}"#,
    )])
    .await;
    let (sources, platform) = sources(dir.path(), vec![server.source("", "")]);
    let settings = sources.settings().await.unwrap();
    assert_eq!(settings.agent_id.as_str(), "agent-7");
    assert_eq!(platform.calls(), ["setup_networking eth0"]);
    let heads = server.heads();
    assert_eq!(heads.len(), 1);
    assert!(
        heads[0].starts_with("get /user-data http/1.1\r\n"),
        "{heads:?}"
    );
    assert!(heads[0].contains("metadata-flavor: acme\r\n"), "{heads:?}");
    assert_eq!(sources.public_ssh_key().await.unwrap(), None);
    assert_eq!(server.heads().len(), 1, "no path for keys, no request");
}

#[tokio::test]
async fn user_data_in_base64() {
    let dir = tempfile::tempdir().unwrap();
    let json = r#"{"agent_id": "ägent??>>"}"#;
    let plain = URL_SAFE_NO_PAD.encode(json);
    let quoted = format!("\"{plain}\"");
    let padded = base64::engine::general_purpose::URL_SAFE.encode(json);
    for answer in [&plain, &quoted, &padded] {
        let server = Server::start(&[(200, answer)]).await;
        let (sources, _) = sources(dir.path(), vec![server.source("", "")]);
        let settings = sources.settings().await.unwrap();
        assert_eq!(settings.agent_id.as_str(), "ägent??>>");
    }
    for (answer, expected) in [
        (
            "not/base64",
            "Getting settings from all sources: decode settings from",
        ),
        (
            "bm90IGpzb24",
            "Getting settings from all sources: parse settings from",
        ),
        (
            "{}",
            "Getting settings from all sources: Metadata does not provide settings",
        ),
    ] {
        let server = Server::start(&[(200, answer)]).await;
        let (sources, _) = sources(dir.path(), vec![server.source("", "")]);
        let error = why(&sources.settings().await.unwrap_err());
        assert!(error.starts_with(expected), "{error}");
    }
}

#[tokio::test]
async fn tokens_are_asked_for_and_sent() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[
        (200, "t0ken"),
        (200, "ssh-rsa AAA"),
        (200, "again"),
        (200, r#"{"agent_id": "a"}"#),
    ])
    .await;
    let (sources, _) = sources(dir.path(), vec![server.source("/token", "/keys")]);
    let key = sources.public_ssh_key().await.unwrap();
    assert_eq!(key.as_deref(), Some("ssh-rsa AAA"));
    sources.settings().await.unwrap();
    let heads = server.heads();
    assert!(heads[0].starts_with("put /token http/1.1\r\n"), "{heads:?}");
    assert!(heads[0].contains("x-aws-ec2-metadata-token-ttl-seconds: 300\r\n"));
    assert!(!heads[0].contains("metadata-flavor"));
    assert!(heads[1].starts_with("get /keys "));
    assert!(
        heads[1].contains("x-aws-ec2-metadata-token: t0ken\r\n"),
        "{heads:?}"
    );
    assert!(heads[1].contains("metadata-flavor: acme\r\n"));
    assert!(
        heads[3].contains("x-aws-ec2-metadata-token: again\r\n"),
        "{heads:?}"
    );
}

#[tokio::test]
async fn a_service_without_tokens_is_asked_without() {
    let dir = tempfile::tempdir().unwrap();
    let mut answers = vec![(403, "no tokens here"); 10];
    answers.push((200, r#"{"agent_id": "a"}"#));
    let server = Server::start(&answers).await;
    let (sources, _) = sources(dir.path(), vec![server.source("/token", "")]);
    sources.settings().await.unwrap();
    let heads = server.heads();
    assert_eq!(heads.len(), 11);
    assert!(!heads[10].contains("x-aws-ec2-metadata-token"), "{heads:?}");
}

#[tokio::test]
async fn ten_requests_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut answers = vec![(503, "later"); 9];
    answers.push((200, r#"{"agent_id": "a"}"#));
    let server = Server::start(&answers).await;
    let (first, _) = sources(dir.path(), vec![server.source("", "")]);
    first.settings().await.unwrap();
    assert_eq!(server.heads().len(), 10);

    let server = Server::start(&[(503, "later")]).await;
    let (second, _) = sources(dir.path(), vec![server.source("", "/keys")]);
    let error = why(&second.settings().await.unwrap_err());
    assert!(error.ends_with("/user-data: 503"), "{error}");
    assert_eq!(server.heads().len(), 10);
    let server = Server::start(&[(404, "<html>")]).await;
    let (third, _) = sources(dir.path(), vec![server.source("", "/keys")]);
    assert_eq!(third.public_ssh_key().await.unwrap(), None);
}

#[tokio::test]
async fn instance_metadata_is_one_value() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[(200, r#"{"agent_id": "a", "mbus": "nats://n:1"}"#)]).await;
    let source = |path: &str| Source::InstanceMetadata {
        service: Metadata {
            uri: server.uri.clone(),
            ..Metadata::default()
        },
        settings_path: path.to_owned(),
    };
    let (first, _) = sources(dir.path(), vec![source("/attributes/bosh_settings")]);
    assert_eq!(first.settings().await.unwrap().agent_id.as_str(), "a");
    assert_eq!(first.public_ssh_key().await.unwrap(), None);
    assert!(server.heads()[0].starts_with("get /attributes/bosh_settings "));
    let (second, _) = sources(dir.path(), vec![source("")]);
    let error = why(&second.settings().await.unwrap_err());
    assert!(
        error.ends_with("Can not retrieve metadata value for empty path"),
        "{error}"
    );
}

#[tokio::test]
async fn the_first_source_that_answers_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (missing, there) = (dir.path().join("missing"), dir.path().join("there"));
    std::fs::write(&there, r#"{"agent_id": "there"}"#).unwrap();
    let all = vec![Source::File(missing.clone()), Source::File(there.clone())];
    let (sources, _) = sources(dir.path(), all);
    assert_eq!(sources.settings().await.unwrap().agent_id.as_str(), "there");
    sources.public_ssh_key().await.unwrap();
    // The one before comes too late, and the chosen one counts even when it is gone.
    std::fs::write(&missing, r#"{"agent_id": "late"}"#).unwrap();
    std::fs::remove_file(&there).unwrap();
    assert!(sources.settings().await.is_err());
    assert!(sources.public_ssh_key().await.is_err());
    let platform = Arc::new(Dummy::new(Dirs::new(dir.path())));
    assert!(matches!(
        Sources::new(Vec::new(), platform),
        Err(Error::NoSource)
    ));
}

fn program(path: &Path, text: &str) -> String {
    // Written by another process: one that forks meanwhile must not hold it open for writing.
    let written = std::process::Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            use std::io::Write as _;
            child.stdin.take().unwrap().write_all(text.as_bytes())?;
            child.wait()
        })
        .unwrap();
    assert!(written.success());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    path.display().to_string()
}

fn gzip(text: &str) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn vsphere_settings_are_read_and_cleared() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let json = r#"{"agent_id": "vs-1"}"#;
    for (name, encoded) in [
        ("plain", STANDARD.encode(json)),
        ("gzip", STANDARD.encode(gzip(json))),
    ] {
        let tool = |succeeds: bool| {
            format!(
                "#!/bin/sh\necho \"$0 $*\" >> {}\n[ {succeeds} = true ] || exit 1\n\
                 case \"$*\" in *info-get*) echo {encoded};; esac\n",
                log.display()
            )
        };
        for rpctool_works in [true, false] {
            let rpctool = program(&dir.path().join("rpctool"), &tool(rpctool_works));
            let vmtoolsd = program(&dir.path().join("vmtoolsd"), &tool(true));
            let source = Source::VsphereGuestInfo { rpctool, vmtoolsd };
            let (sources, _) = sources(dir.path(), vec![source]);
            let settings = sources.settings().await.unwrap();
            assert_eq!(settings.agent_id.as_str(), "vs-1", "{name}");
            assert_eq!(sources.public_ssh_key().await.unwrap(), None);
            let text = std::fs::read_to_string(&log).unwrap();
            std::fs::remove_file(&log).unwrap();
            let lines: Vec<&str> = text
                .lines()
                .map(|line| line.rsplit('/').next().unwrap())
                .filter(|line| rpctool_works || line.starts_with("vmtoolsd"))
                .collect();
            let by = if rpctool_works {
                "rpctool"
            } else {
                "vmtoolsd --cmd"
            };
            let expected: Vec<String> = [
                "info-get guestinfo.userdata",
                "info-set guestinfo.userdata ---",
                "info-set guestinfo.userdata.encoding ''",
            ]
            .iter()
            .map(|request| format!("{by} {request}"))
            .collect();
            assert_eq!(lines, expected);
        }
    }
}

#[tokio::test]
async fn vsphere_without_settings_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    for (answer, expected) in [
        ("exit 1", "getting user data from vmware tools"),
        ("echo '---'", "decode settings from guestinfo.userdata"),
        (
            "echo bm90IGpzb24=",
            "parse settings from guestinfo.userdata",
        ),
        ("echo H4sIAAAA", "read settings from guestinfo.userdata"),
    ] {
        let text = format!("#!/bin/sh\necho \"$*\" >> {}\n{answer}\n", log.display());
        let tool = program(&dir.path().join("tool"), &text);
        let source = Source::VsphereGuestInfo {
            rpctool: tool.clone(),
            vmtoolsd: tool,
        };
        let (sources, _) = sources(dir.path(), vec![source]);
        let error = why(&sources.settings().await.unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
    assert!(!std::fs::read_to_string(&log).unwrap().contains("info-set"));
}

#[tokio::test]
async fn a_source_that_gives_once_is_not_asked_twice_for_one_boot() {
    let dir = tempfile::tempdir().unwrap();
    let once = dir.path().join("once");
    let encoded = STANDARD.encode(
        r#"{"agent_id": "once", "env": {"bosh": {"agent": {"settings": {"tmpfs": true}}}}}"#,
    );
    std::fs::write(&once, encoded).unwrap();
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *info-get*) cat {0} ;; *userdata\\ ---) rm -f {0};; esac\n",
        once.display()
    );
    let tool = program(&dir.path().join("tool"), &text);
    let source = Source::VsphereGuestInfo {
        rpctool: tool.clone(),
        vmtoolsd: tool,
    };
    let (sources, platform) = sources(dir.path(), vec![source]);
    let service = Service::new(sources, dir.path().join("bosh"));
    service.load().await.unwrap();
    assert!(!once.exists());
    assert_eq!(platform.calls(), ["setup_settings_tmpfs"]);
    let kept = dir.path().join("bosh/settings/settings.json");
    assert!(kept.exists(), "in the tmpfs");
    assert!(!dir.path().join("bosh/settings.json").exists());
    // Once more, as list_disk does: from the copy.
    service.load().await.unwrap();
    assert_eq!(service.get().agent_id.as_str(), "once");
    std::fs::write(&kept, "{").unwrap();
    assert!(service.load().await.is_err(), "a copy that is none");
}
