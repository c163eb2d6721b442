//! The client against small CPIs: shell scripts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use bosh_cpi::{Cpi, CreateVm, Error, Kind, Log, Object, Options};
use serde_json::{Value, json};

#[derive(Default)]
struct Lines {
    debug: Mutex<Vec<String>>,
    output: Mutex<String>,
}

impl Log for Lines {
    fn debug(&self, line: &str) {
        self.debug.lock().unwrap().push(line.to_string());
    }

    fn output(&self, text: &str) {
        self.output.lock().unwrap().push_str(text);
    }
}

struct Script {
    dir: tempfile::TempDir,
    path: PathBuf,
}

/// A CPI that keeps its requests, answers `info`, and anything else with what `otherwise` prints.
fn script(otherwise: &str) -> Script {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cpi");
    let requests = dir.path().join("requests").display().to_string();
    let text = format!(
        "#!/bin/sh\n\
         request=$(cat)\n\
         echo \"$request\" >> '{requests}'\n\
         case $request in\n\
         *'\"method\":\"info\"'*) echo '{{\"result\":{{\"api_version\":7,\"stemcell_formats\":[\"x\"]}},\"error\":null,\"log\":\"\"}}' ;;\n\
         *) {otherwise} ;;\n\
         esac\n"
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Script { dir, path }
}

impl Script {
    fn cpi(&self) -> Cpi {
        let mut options = Options::new(&self.path, "director-uuid");
        options.properties = object(json!({"api_key": "hush"}));
        options.timeout = Duration::from_secs(20);
        Cpi::new(options)
    }

    fn requests(&self) -> Vec<Value> {
        fs::read_to_string(self.dir.path().join("requests"))
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn object(value: Value) -> Object {
    value.as_object().cloned().unwrap()
}

fn answer(result: &str, error: &str) -> String {
    // Not `echo`, which makes a newline of the two characters in some shells.
    format!(
        "printf '%s\\n' '{{\"result\":{result},\"error\":{error},\"log\":\"from the log\\n\"}}'"
    )
}

#[tokio::test]
async fn create_vm_is_sent_and_logged_as_upstream_does() {
    let script = script(&format!(
        "echo from stderr >&2; {}",
        answer(r#"["vm-1",{"default":{"ip":"10.0.0.2"}}]"#, "null")
    ));
    let lines = Lines::default();
    let vm = CreateVm {
        agent_id: "agent".into(),
        stemcell_cid: "stemcell".into(),
        env: object(json!({"bosh": {"mbus": "hush", "group": "g"}})),
        ..CreateVm::default()
    };
    let created = script
        .cpi()
        .for_stemcell(Some(3))
        .create_vm(vm, &lines)
        .await
        .unwrap();
    assert_eq!(created.vm_cid, "vm-1");
    assert_eq!(created.networks["default"]["ip"], "10.0.0.2");

    let requests = script.requests();
    assert_eq!(requests[0]["method"], "info");
    assert!(requests[0].get("api_version").is_none());
    let request = &requests[1];
    assert_eq!(request["api_version"], 3);
    assert_eq!(request["arguments"][5]["bosh"]["mbus"], "hush");
    let context = &request["context"];
    assert_eq!(context["director_uuid"], "director-uuid");
    assert_eq!(context["vm"]["stemcell"]["api_version"], 3);
    assert_eq!(context["api_key"], "hush");
    let id = context["request_id"].as_str().unwrap();
    assert!(id.starts_with("cpi-") && id.len() == 10, "{id}");

    let debug = lines.debug.lock().unwrap();
    assert!(
        debug[2].starts_with(&format!(
            "[external-cpi] [{id}] request: {{\"method\":\"create_vm\""
        )),
        "{}",
        debug[2]
    );
    assert!(debug[2].ends_with(&format!(" with command: {}", script.path.display())));
    assert!(debug[3].starts_with(&format!("[external-cpi] [{id}] response: ")));
    assert!(
        debug[3].ends_with(", err: from stderr\n, exit_status: 0"),
        "{}",
        debug[3]
    );
    assert!(
        !debug.iter().any(|line| line.contains("hush")),
        "a secret was logged"
    );
    let output = lines.output.lock().unwrap();
    assert_eq!(*output, "from stderr\nfrom the log\n");
}

#[tokio::test]
async fn info_is_asked_once_per_build_of_the_program() {
    let script = script(&answer("true", "null"));
    let cpi = script.cpi();
    assert!(cpi.has_vm("a", &()).await.unwrap());
    assert!(cpi.for_stemcell(Some(2)).has_vm("b", &()).await.unwrap());
    let asked = |script: &Script| {
        let requests = script.requests();
        requests
            .iter()
            .filter(|request| request["method"] == "info")
            .count()
    };
    assert_eq!(asked(&script), 1);
    let text = fs::read_to_string(&script.path).unwrap();
    fs::write(&script.path, format!("{text}# newer\n")).unwrap();
    cpi.has_vm("c", &()).await.unwrap();
    assert_eq!(asked(&script), 2);
}

#[tokio::test]
async fn errors_have_upstreams_words_and_classes() {
    let failure = |kind: &str, message: &str, retry: bool| {
        answer(
            "null",
            &format!(r#"{{"type":"{kind}","message":"{message}","ok_to_retry":{retry}}}"#),
        )
    };
    for (answer, kind, retry, start) in [
        (
            failure("Bosh::Clouds::VMCreationFailed", "full", true),
            Some(Kind::VmCreationFailed),
            true,
            "CPI error 'Bosh::Clouds::VMCreationFailed' with message 'full' in 'has_vm' CPI method (CPI request ID: 'cpi-",
        ),
        (
            failure("Bosh::Clouds::CloudError", "no", true),
            Some(Kind::CloudError),
            false,
            "CPI error 'Bosh::Clouds::CloudError' with message 'no' in 'has_vm' CPI method (CPI request ID: 'cpi-",
        ),
        (
            failure("InvalidCall", "Method is not known, got has_vm", false),
            Some(Kind::NotImplemented),
            false,
            "CPI error 'InvalidCall' with message 'Method is not known, got has_vm' in 'has_vm' CPI method",
        ),
        (
            failure("Mystery", "x", true),
            None,
            false,
            "Unknown CPI error 'Mystery' with message 'x' in 'has_vm' CPI method (CPI request ID: 'cpi-",
        ),
        (
            "echo nonsense".into(),
            None,
            false,
            "Invalid CPI response - ParserError - ",
        ),
        (
            "true".into(),
            None,
            false,
            "Invalid CPI response - ParserError - ",
        ),
        (
            r#"echo '{"result":null}'"#.into(),
            None,
            false,
            "Invalid CPI response - SchemaValidationError: { error => Missing key }",
        ),
        (
            crate::answer("7", "null"),
            None,
            false,
            "Invalid CPI response - SchemaValidationError: { result => 'has_vm' CPI method: ",
        ),
    ] {
        let error = script(&answer).cpi().has_vm("vm", &()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.ok_to_retry(), retry, "{error}");
        assert!(error.to_string().starts_with(start), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_run_says_so() {
    let missing = Cpi::new(Options::new("/nonexistent/cpi", "u"));
    let error = missing.delete_vm("vm", &()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Failed to run cpi: '/nonexistent/cpi' is not executable"
    );
    let script = script("exit 0");
    fs::set_permissions(&script.path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = script.cpi().delete_vm("vm", &()).await.unwrap_err();
    assert!(matches!(error, Error::NotExecutable(_)), "{error}");
}

#[tokio::test]
async fn a_call_without_end_is_killed() {
    let script = script("echo $$ > \"$0.pid\"; exec sleep 600");
    let mut options = Options::new(&script.path, "u");
    options.timeout = Duration::from_secs(1);
    let error = Cpi::new(options).delete_vm("vm", &()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("Timed out after 1 seconds in 'delete_vm' CPI method"),
        "{error}"
    );
    let pid = fs::read_to_string(script.dir.path().join("cpi.pid")).unwrap();
    let proc = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    // It may stay a zombie until the runtime reaps it.
    while fs::read_to_string(&proc).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(std::time::Instant::now() < deadline, "it still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn attach_disk_needs_a_hint() {
    let error = script(&answer("\"\"", "null"))
        .cpi()
        .attach_disk("vm", "disk", &())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "No disk_hint");
    let hint = script(&answer(r#"{"path":"/dev/sdb"}"#, "null"))
        .cpi()
        .attach_disk("vm", "disk", &())
        .await
        .unwrap();
    assert_eq!(hint, json!({"path": "/dev/sdb"}));
}

#[tokio::test]
async fn a_cpi_too_old_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cpi");
    fs::write(
        &path,
        "#!/bin/sh\necho '{\"result\":{\"stemcell_formats\":[]},\"error\":null,\"log\":\"\"}'\n",
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let error = Cpi::new(Options::new(&path, "u"))
        .delete_vm("vm", &())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "CPI must report api_version via info");
    assert!(error.is_not_supported());
}
