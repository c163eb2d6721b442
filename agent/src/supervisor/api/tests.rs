//! The interface over a real socket, as upstream's agent and operators use it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Access;
use crate::supervisor::{Monitoring, Options, Service};

struct Bench {
    _dir: tempfile::TempDir,
    port: u16,
    authorization: String,
    handle: crate::supervisor::Handle,
}

async fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("monit/job")).unwrap();
    let text = "check process a with pidfile /nonexistent/a.pid group vcap mode manual\n\
                check process b with pidfile /nonexistent/b.pid group vcap group other mode manual\n\
                check system <s&s>\n";
    std::fs::write(dir.path().join("monit/job/0001_x.monitrc"), text).unwrap();
    let options = Options::new(dir.path());
    let access = Access::from_options(&options).unwrap();
    let (name, password) = access.credentials().unwrap();
    assert_eq!(name, "vcap");
    assert!(password.len() > 20);
    let (service, handle, _) = Service::new(options).unwrap();
    let shutdown = CancellationToken::new();
    tokio::spawn(service.run(shutdown.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(super::serve(
        listener,
        handle.clone(),
        access,
        shutdown,
        None,
    ));
    let encoded = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("vcap:{password}"),
    );
    Bench {
        _dir: dir,
        port,
        authorization: format!("Authorization: Basic {encoded}\r\n"),
        handle,
    }
}

impl Bench {
    async fn raw(&self, text: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (
            head.split_whitespace().nth(1).unwrap().parse().unwrap(),
            body.to_owned(),
        )
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\n{}\r\n",
            self.authorization
        ))
        .await
    }

    async fn post(&self, path: &str, body: &str) -> (u16, String) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n{}Content-Length: {}\r\n\r\n{body}",
            self.authorization,
            body.len()
        );
        self.raw(&head).await
    }
}

#[tokio::test]
async fn status_in_xml_is_what_upstream_reads() {
    let bench = bench().await;
    let (status, body) = bench.get("/_status2?format=xml").await;
    assert_eq!(status, 200);
    assert!(
        body.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?><monit id=\""),
        "{body}"
    );
    let incarnation = body
        .split("incarnation=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    assert!(incarnation.parse::<u64>().is_ok());
    assert!(
        body.contains("<service name=\"a\"><type>3</type>"),
        "{body}"
    );
    assert!(body.contains("<status>0</status><status_hint>0</status_hint><monitor>0</monitor><monitormode>2</monitormode><pendingaction>0</pendingaction>"), "{body}");
    assert!(
        body.contains("<service name=\"&lt;s&amp;s&gt;\"><type>5</type>"),
        "{body}"
    );
    assert!(
        body.contains(
            "<servicegroup name=\"vcap\"><service>b</service><service>a</service></servicegroup>"
        ),
        "{body}"
    );
    assert!(
        body.contains("<servicegroup name=\"other\"><service>b</service></servicegroup>"),
        "{body}"
    );
    let (_, old) = bench.get("/_status?format=xml").await;
    assert!(old.contains("<service type=\"3\"><name>a</name>"), "{old}");
    bench.handle.reload().await.unwrap();
    let (_, after) = bench.get("/_status2?format=xml").await;
    assert!(
        !after.contains(&format!("incarnation=\"{incarnation}\"")),
        "a reload changes the incarnation"
    );
}

#[tokio::test]
async fn actions_need_credentials_a_post_and_a_name() {
    let bench = bench().await;
    let (status, _) = bench.raw("GET /_status2?format=xml HTTP/1.1\r\n\r\n").await;
    assert_eq!(status, 401);
    let linked = format!(
        "GET /a?action=monitor HTTP/1.1\r\nReferer: http://elsewhere/\r\n{}\r\n",
        bench.authorization
    );
    assert_eq!(bench.raw(&linked).await.0, 403);
    let (status, body) = bench.post("/nobody", "action=start").await;
    assert_eq!(status, 404);
    assert!(
        body.contains("</h2>There is no service by that name<p>"),
        "{body}"
    );
    assert_eq!(bench.post("/a", "action=explode").await.0, 400);
    assert_eq!(bench.post("/_runtime", "action=stop").await.0, 403);
    assert_eq!(
        bench
            .post("/_doaction", "action=stop&service=a&service=nobody")
            .await
            .0,
        400
    );
    assert!(
        bench
            .handle
            .services()
            .await
            .unwrap()
            .iter()
            .take(2)
            .all(|service| service.monitoring == Monitoring::No)
    );
    assert_eq!(bench.post("/a", "action=monitor").await.0, 200);
    assert_ne!(
        bench.handle.services().await.unwrap()[0].monitoring,
        Monitoring::No
    );
    assert_eq!(
        bench
            .post("/_doaction", "action=unmonitor&service=a&service=b")
            .await
            .0,
        200
    );
    assert_eq!(
        bench.handle.services().await.unwrap()[0].monitoring,
        Monitoring::No
    );
}

#[tokio::test]
async fn pages_and_scripts_get_what_monit_gives_them() {
    let bench = bench().await;
    assert_eq!(bench.get("/_ping").await, (200, "pong".to_owned()));
    assert_eq!(bench.get("/_getid").await.0, 200);
    let (_, home) = bench.get("/").await;
    assert!(home.contains("<a href='a'>a</a>") && home.contains("not monitored"));
    assert!(home.contains("&lt;s&amp;s&gt;") && !home.contains("<s&s>"));
    let (_, page) = bench.get("/a").await;
    assert!(page.contains("<td>monitoring status</td><td>not monitored</td>"));
    assert!(bench.get("/_runtime").await.1.contains("Control file"));
    assert_eq!(bench.get("/a?action=monitor").await.0, 200);
    assert_ne!(
        bench.handle.services().await.unwrap()[0].monitoring,
        Monitoring::No
    );
}

#[tokio::test]
async fn summaries_are_laid_out_as_monits() {
    let bench = bench().await;
    let (_, text) = bench.get("/_status?level=summary").await;
    assert!(
        text.starts_with("The Monit daemon 5.2.5 uptime: 0m \n\n"),
        "{text}"
    );
    assert!(
        text.contains("\nProcess 'a'                         not monitored\n"),
        "{text}"
    );
    let (_, text) = bench.get("/_status").await;
    assert!(text.contains("\nProcess 'b'\n  status                            not monitored\n  monitoring status                 not monitored\n"), "{text}");
}
