//! A provider that a program speaks for.

use super::http;
use bosh_blobstore::{
    Error, Store,
    contract::{self, Signs},
};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn program() {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    // A store that is a directory, named in its configuration.
    let script = bin.join("bosh-blobstore-shelf");
    std::fs::write(
        &script,
        "#!/bin/sh\nshelf=$(sed 's/.*\"shelf\":\"\\([^\"]*\\)\".*/\\1/' \"$2\")\ncase $3 in\n\
         get) [ -e \"$shelf/$4\" ] || { echo 'NoSuchKey: no such blob'; exit 1; }; cp \"$shelf/$4\" \"$5\";;\n\
         put) cp \"$4\" \"$shelf/.$5\" && mv \"$shelf/.$5\" \"$shelf/$5\";;\n\
         exists) [ -e \"$shelf/$4\" ] || exit 3;;\ndelete) rm \"$shelf/$4\" 2>/dev/null || exit 3;;\n\
         *) echo unknown; exit 1;;\nesac\n",
    )
    .unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let shelf = dir.path().join("shelf");
    std::fs::create_dir(&shelf).unwrap();

    let config = dir.path().join("etc");
    let options = json!({"shelf": shelf, "password": "s3cret"});
    let missing = Store::open_or_run("shelf", &options, &config).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "executable bosh-blobstore-shelf not found in PATH"
    );
    for name in ["", "../shelf", "a b"] {
        let error = Store::open_or_run(name, &options, &config).unwrap_err();
        assert!(
            matches!(error, Error::UnknownProvider(_)),
            "{name:?}: {error}"
        );
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    // SAFETY: nextest gives each test a process of its own, and no other thread of this one reads the environment yet.
    unsafe { std::env::set_var("PATH", path) };
    let store = Store::open_or_run("shelf", &options, &config).unwrap();
    let file = config.join("blobstore-shelf.json");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    contract::holds(&store, Signs::Nothing, &http()).await;
    assert_eq!(std::fs::read_dir(&shelf).unwrap().count(), 0);

    std::fs::remove_dir(&shelf).unwrap();
    let error = store.put(b"x".to_vec(), &[]).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("'bosh-blobstore-shelf' failed with exit status"),
        "{error}"
    );
    assert!(!error.to_string().contains("s3cret"));
}
