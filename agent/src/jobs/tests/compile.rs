use super::*;
use crate::{
    compile::{Compiler, Dependency, Error, Package},
    jobs::{tarball::Target, unpack},
    platform::{Owner, dummy::Dummy},
};
use async_trait::async_trait;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::{Duration, Instant},
};

struct Unused;

#[async_trait]
impl Supervise for Unused {
    async fn remove_all_jobs(&self) -> Result<(), BoxError> {
        Err("not for compilation".into())
    }
    async fn add_job(&self, _: &str, _: usize, _: &Path) -> Result<(), BoxError> {
        Err("not for compilation".into())
    }
    async fn reload(&self) -> Result<(), BoxError> {
        Err("not for compilation".into())
    }
}

fn compiler(machine: &Machine) -> Compiler {
    let applier = Applier::new(Options {
        dirs: machine.dirs.clone(),
        blobs: machine.blobs.clone(),
        platform: Arc::new(Dummy::new(machine.dirs.clone())),
        supervisor: Arc::new(Unused),
        owner: Owner::unchanged(),
        parallel: 3,
    });
    Compiler::new(machine.dirs.clone(), machine.blobs.clone(), &applier, 3)
}

async fn package(machine: &Machine, name: &str, script: &str) -> Package {
    let source = Tar::new()
        .file("./packaging", script)
        .file("./src/main.c", "int main;")
        .gzip();
    Package {
        source: machine.store(&source).await,
        name: name.to_owned(),
        version: "f00d.1".to_owned(),
        upload: Destination::Store,
    }
}

fn nothing_left(machine: &Machine) {
    for dir in [
        machine.dirs.packages(),
        machine.dirs.data_packages(),
        machine.dirs.compile(),
    ] {
        if dir.exists() {
            assert_eq!(tree(&dir), [""; 0], "{}", dir.display());
        }
    }
}

#[tokio::test]
async fn the_result_of_the_script_is_uploaded() {
    let machine = Machine::new();
    let compiler = compiler(&machine);
    let libc = machine
        .store(&Tar::new().file("lib/libc.so", "compiled libc").gzip())
        .await;
    let dependency = Dependency {
        source: libc,
        name: "libc".to_owned(),
        version: "1".to_owned(),
    };
    let script = "set -e
        ls ..  >/dev/null
        cat src/main.c ../../../packages/libc/lib/libc.so > $BOSH_INSTALL_TARGET/out
        mkdir $BOSH_INSTALL_TARGET/bin; echo tool > $BOSH_INSTALL_TARGET/bin/tool; chmod 755 $BOSH_INSTALL_TARGET/bin/tool
        ln $BOSH_INSTALL_TARGET/bin/tool $BOSH_INSTALL_TARGET/bin/same
        ln -s bin/tool $BOSH_INSTALL_TARGET/link";
    let package = package(&machine, "redis", script).await;
    let compiled = compiler.compile(&package, &[dependency]).await.unwrap();
    nothing_left(&machine);

    let source = Source::blob(compiled.blobstore_id.unwrap(), compiled.digest);
    let dir = machine.root.path().join("result");
    fs::create_dir(&dir).unwrap();
    unpack::unpack(
        &machine.blobs,
        &source,
        vec![Target {
            dir: dir.clone(),
            prefix: None,
        }],
    )
    .await
    .unwrap();
    assert_eq!(
        tree(&dir),
        ["bin/", "bin/same", "bin/tool", "link -> bin/tool", "out"]
    );
    assert_eq!(read(&dir.join("out")), "int main;compiled libc");
    assert_eq!(
        dir.join("bin/tool")
            .metadata()
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o755
    );
    // GNU tar must be able to read it too.
    let blob = machine.root.path().join("blobs").join(source.id.as_str());
    let listing = std::process::Command::new("tar")
        .arg("-tzf")
        .arg(&blob)
        .output()
        .unwrap();
    assert!(listing.status.success());
    let names = String::from_utf8(listing.stdout).unwrap();
    assert_eq!(
        names,
        "./
bin/
bin/same
bin/tool
link
out
"
    );
}

#[tokio::test]
async fn a_source_without_script_compiles_to_nothing() {
    let machine = Machine::new();
    let source = machine
        .store(&Tar::new().file("README", "no script").plain())
        .await;
    let package = Package {
        source,
        name: "empty".into(),
        version: "1".into(),
        upload: Destination::Store,
    };
    let compiled = compiler(&machine).compile(&package, &[]).await.unwrap();
    let blob = machine
        .blobs
        .store()
        .get_bytes(compiled.blobstore_id.unwrap().as_str(), None, 1 << 20)
        .await
        .unwrap();
    assert_eq!(&blob[257..262], b"ustar", "uncompressed as its source was");
}

#[tokio::test]
async fn a_failing_script_says_how_and_leaves_nothing() {
    let machine = Machine::new();
    let package = package(&machine, "redis", "echo compiling; echo broken >&2; exit 2").await;
    let error = compiler(&machine).compile(&package, &[]).await.unwrap_err();
    let text = chain(&error);
    assert!(
        text.starts_with("Running packaging script: Command exited with 2; "),
        "{text}"
    );
    assert!(
        text.contains("Stdout: compiling") && text.contains("broken"),
        "{text}"
    );
    nothing_left(&machine);
    assert_eq!(
        read(&machine.dirs.logs().join("compilation/packaging.stdout.log")),
        "compiling\n"
    );
}

#[tokio::test]
async fn a_damaged_dependency_is_named() {
    let machine = Machine::new();
    let libc = machine
        .store(b"not a tarball, but long enough to be looked at")
        .await;
    let dependency = Dependency {
        source: libc,
        name: "libc".into(),
        version: "1".into(),
    };
    let package = package(&machine, "redis", "").await;
    let error = compiler(&machine)
        .compile(&package, &[dependency])
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Package { name, .. } if name == "libc"),
        "{}",
        chain(&error)
    );
    nothing_left(&machine);
}

#[tokio::test]
async fn cancelling_leaves_nothing_and_the_next_one_works() {
    let machine = Machine::new();
    let compiler = compiler(&machine);
    let started = machine.root.path().join("started");
    let script = format!("touch {}; sleep 600", started.display());
    let slow = package(&machine, "redis", &script).await;
    {
        let running = compiler.compile(&slow, &[]);
        tokio::pin!(running);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !started.exists() {
            assert!(Instant::now() < deadline);
            tokio::select! {
                ended = &mut running => panic!("ended early: {ended:?}"),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    }
    nothing_left(&machine);
    let quick = package(&machine, "redis", "touch $BOSH_INSTALL_TARGET/done").await;
    compiler.compile(&quick, &[]).await.unwrap();
}
