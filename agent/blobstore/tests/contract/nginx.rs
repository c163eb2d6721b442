//! DAV, against nginx, set up as upstream's blobstore job does: bosh/jobs/blobstore/templates/blobstore.conf.erb.

use super::http;
use bosh_blobstore::{
    Error, Store,
    contract::{self, Signs},
};
use serde_json::json;
use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers see that it is gone and end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(dir: &Path, port: u16) -> Nginx {
    for name in ["store", "tmp"] {
        std::fs::create_dir(dir.join(name)).unwrap();
    }
    let place = dir.display();
    std::fs::write(dir.join("users"), "agent:{PLAIN}s3cret\n").unwrap();
    let config = format!(
        "daemon off;\nmaster_process off;\nuser root;\nerror_log {place}/error.log;\npid {place}/pid;\nevents {{}}\n\
         http {{\n  access_log off;\n  client_max_body_size 5000m;\n  client_body_temp_path {place}/tmp;\n\
         proxy_temp_path {place}/p;\n  fastcgi_temp_path {place}/f;\n  uwsgi_temp_path {place}/u;\n  scgi_temp_path {place}/s;\n\
         server {{\n    listen 127.0.0.1:{port};\n    root {place}/store;\n    location / {{\n\
         auth_basic \"Blobstore\";\n      auth_basic_user_file {place}/users;\n\
         dav_methods DELETE PUT;\n      create_full_put_path on;\n    }}\n  }}\n}}\n"
    );
    std::fs::write(dir.join("nginx.conf"), config).unwrap();
    let path = std::env::var("PATH").unwrap();
    let process = Command::new("nginx")
        .env("PATH", format!("{path}:/usr/sbin"))
        .arg("-c")
        .arg(dir.join("nginx.conf"))
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx must be installed for this test");
    let nginx = Nginx(process);
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let log = std::fs::read_to_string(dir.join("error.log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "nginx does not listen: {log}");
        std::thread::sleep(Duration::from_millis(20));
    }
    nginx
}

#[tokio::test]
async fn dav() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let _nginx = start(dir.path(), port);
    let http = http();
    let options = json!({"endpoint": format!("http://127.0.0.1:{port}"), "user": "agent", "password": "s3cret"});
    let store = Store::open("dav", &options).unwrap();
    contract::holds(&store, Signs::Nothing, &http).await;

    let mut wrong = options;
    wrong["password"] = json!("guessed");
    let error = Store::open("dav", &wrong)
        .unwrap()
        .put(b"x".to_vec(), &[])
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Status { status: 401, .. }),
        "{error}"
    );
}
