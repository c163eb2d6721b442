//! One request in, one response out; the only place that turns errors into the contract's classes.

use bosh_cpi::{ArgumentsError, Call, Failure, Kind, Request, Response};

use crate::config::Config;
use crate::error::chain;
use crate::methods::Cpi;
use crate::store::Store;
use crate::{Error, command};

/// Answers the request in `text`. Never fails: what goes wrong is in the answer.
pub fn answer(config: Config, text: &[u8]) -> Response {
    let request: Request = match serde_json::from_slice(text) {
        Ok(request) => request,
        Err(error) => {
            return Response::failure(Failure::new(
                Kind::CpiError,
                format!("standard input is not a CPI request: {error}"),
            ));
        }
    };
    let call = match Call::parse(&request.method, &request.arguments) {
        Ok(call) => call,
        Err(error @ ArgumentsError::UnknownMethod(_)) => {
            return Response::failure(Failure::new(Kind::NotImplemented, error.to_string()));
        }
        Err(error) => return Response::failure(Failure::new(Kind::CloudError, error.to_string())),
    };
    let span =
        tracing::info_span!("cpi", id = %request.context.request_id, method = %request.method);
    let _entered = span.enter();
    let started = std::time::Instant::now();
    let result = Store::open(&config.root).and_then(|store| Cpi { config, store }.run(call));
    match result {
        Ok(result) => {
            tracing::info!(ms = started.elapsed().as_millis() as u64, "done");
            Response::success(result)
        }
        Err(error) => {
            let failure = failure(&error);
            tracing::error!(kind = %failure.kind, "{}", failure.message);
            Response::failure(failure)
        }
    }
}

fn failure(error: &Error) -> Failure {
    let kind = match error {
        Error::VmNotFound(_) => Kind::VmNotFound,
        Error::DiskNotFound(_) => Kind::DiskNotFound,
        Error::DiskNotAttached { .. } => Kind::DiskNotAttached,
        Error::NotSupported(_) => Kind::NotSupported,
        Error::NotImplemented(_) => Kind::NotImplemented,
        Error::VmCreation(_) => Kind::VmCreationFailed,
        Error::Command(command::Error::Missing { .. }) => Kind::CpiError,
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            Kind::NoDiskSpace
        }
        _ => Kind::CloudError,
    };
    let failure = Failure::new(kind, chain(error));
    if is_passing(error) {
        failure.retriable()
    } else {
        failure
    }
}

/// Whether the same call may succeed when repeated.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Locked { .. } | Error::Command(command::Error::TimedOut { .. }) => true,
        Error::VmCreation(cause) => is_passing(cause),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    fn ask(root: &Path, request: &str) -> Response {
        let file = root.join("cpi.json");
        let config =
            json!({"root": root.join("state"), "agent": {"mbus": "nats://10.244.0.1:4222"}});
        std::fs::write(&file, config.to_string()).unwrap();
        answer(Config::read(&file).unwrap(), request.as_bytes())
    }

    fn kind(response: &Response) -> &str {
        response
            .error
            .as_ref()
            .map_or("", |error| error.kind.as_str())
    }

    #[test]
    fn info_says_what_the_director_needs() {
        let dir = tempfile::tempdir().unwrap();
        let response = ask(
            dir.path(),
            r#"{"method": "info", "arguments": [], "context": {"director_uuid": "d"}}"#,
        );
        assert_eq!(
            response.result,
            json!({"stemcell_formats": ["warden-tar", "general-tar"], "api_version": 3})
        );
        assert_eq!(response.error, None);
    }

    #[test]
    fn requests_that_cannot_be_done_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let cases = [
            ("", "Bosh::Clouds::CpiError"),
            ("[]", "Bosh::Clouds::CpiError"),
            (
                r#"{"method": "fly", "arguments": []}"#,
                "Bosh::Clouds::NotImplemented",
            ),
            (
                r#"{"method": "create_network", "arguments": [{}]}"#,
                "Bosh::Clouds::NotImplemented",
            ),
            (
                r#"{"method": "delete_vm", "arguments": []}"#,
                "Bosh::Clouds::CloudError",
            ),
            (
                r#"{"method": "delete_vm", "arguments": [1]}"#,
                "Bosh::Clouds::CloudError",
            ),
            (
                r#"{"method": "delete_vm", "arguments": ["../x"]}"#,
                "Bosh::Clouds::VMNotFound",
            ),
            (
                r#"{"method": "reboot_vm", "arguments": ["c-1"]}"#,
                "Bosh::Clouds::VMNotFound",
            ),
            (
                r#"{"method": "get_disks", "arguments": ["c-1"]}"#,
                "Bosh::Clouds::VMNotFound",
            ),
            (
                r#"{"method": "set_disk_metadata", "arguments": ["disk-1", {}]}"#,
                "Bosh::Clouds::DiskNotFound",
            ),
            (
                r#"{"method": "create_disk", "arguments": [0, {}, null]}"#,
                "Bosh::Clouds::CloudError",
            ),
            (
                r#"{"method": "create_stemcell", "arguments": ["/no/such/image", {}]}"#,
                "Bosh::Clouds::CloudError",
            ),
        ];
        for (request, expected) in cases {
            let response = ask(dir.path(), request);
            assert_eq!(kind(&response), expected, "{request}: {response:?}");
            assert_eq!(response.result, Value::Null);
        }
    }

    #[test]
    fn what_is_gone_is_deleted_and_not_there() {
        let dir = tempfile::tempdir().unwrap();
        for request in [
            r#"{"method": "delete_vm", "arguments": ["c-1"]}"#,
            r#"{"method": "delete_disk", "arguments": ["disk-1"]}"#,
            r#"{"method": "delete_snapshot", "arguments": ["snap-1"]}"#,
            r#"{"method": "delete_stemcell", "arguments": ["sc-1"]}"#,
        ] {
            assert_eq!(
                ask(dir.path(), request),
                Response::success(Value::Null),
                "{request}"
            );
        }
        for request in [
            r#"{"method": "has_vm", "arguments": ["c-1"]}"#,
            r#"{"method": "has_disk", "arguments": ["../../etc"]}"#,
        ] {
            assert_eq!(ask(dir.path(), request).result, json!(false), "{request}");
        }
    }

    #[test]
    fn a_bad_image_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::write(&image, b"no archive").unwrap();
        let request = json!({"method": "create_stemcell", "arguments": [image, {}]}).to_string();
        let response = ask(dir.path(), &request);
        assert_eq!(kind(&response), "Bosh::Clouds::CloudError");
        assert_eq!(
            std::fs::read_dir(dir.path().join("state/stemcells"))
                .unwrap()
                .count(),
            0
        );
    }
}
