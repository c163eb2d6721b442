//! What the router answers, in its order.

use bosh_director_api::*;

use super::Endpoint;

fn get(path: &'static str, about: &str) -> Endpoint {
    Endpoint::new("get", path, about)
}

fn post(path: &'static str, about: &str) -> Endpoint {
    Endpoint::new("post", path, about)
}

fn put(path: &'static str, about: &str) -> Endpoint {
    Endpoint::new("put", path, about)
}

fn delete(path: &'static str, about: &str) -> Endpoint {
    Endpoint::new("delete", path, about)
}

/// All endpoints.
pub(super) fn all() -> Vec<Endpoint> {
    let mut all = director();
    all.extend(configs());
    all.extend(artifacts());
    all.extend(clouds());
    all.extend(links());
    all.extend(deployments());
    all.extend(instances());
    all
}

fn director() -> Vec<Endpoint> {
    vec![
        get("/info", "Who the director is.").open().json::<Info>(),
        get("/openapi.json", "This document.").any(),
        get("/users", "Names of users that the API manages.").list::<String>(),
        post("/users", "Make a user.")
            .body::<NewUser>()
            .status("204"),
        put("/users/{name}", "Change a user's password.")
            .body::<NewUser>()
            .status("204"),
        delete("/users/{name}", "Delete a user.").status("204"),
        get("/locks", "Who holds which lock.").list::<Lock>(),
        get("/tasks", "Tasks, newest first.")
            .query(&["state", "verbose", "limit", "deployment", "context_id"])
            .list::<Task>(),
        post("/tasks/cancel", "Cancel many tasks.")
            .body::<CancelTasks>()
            .status("204"),
        get("/tasks/{id}", "A task.").json::<Task>(),
        get(
            "/tasks/{id}/output",
            "One of a task's logs, or a range of it.",
        )
        .query(&["type"])
        .file()
        .status("204")
        .status("206")
        .status("416"),
        delete("/task/{id}", "Cancel a task.").status("204"),
        get("/events", "Events, newest first, two hundred at a time.")
            .query(&[
                "before_id",
                "before_time",
                "after_time",
                "deployment",
                "instance",
                "task",
                "user",
                "action",
                "object_type",
                "object_name",
            ])
            .list::<Event>(),
        post("/events", "Record an event.")
            .body::<NewEvent>()
            .status("200"),
        get("/events/{id}", "An event.").json::<Event>(),
        get("/resurrection", "Whether VMs are repaired.").json::<Resurrection>(),
        put("/resurrection", "Pause repairs, or not.")
            .body::<SetResurrection>()
            .status("200"),
        get(
            "/director/certificate_expiry",
            "When the director's certificates expire.",
        )
        .list::<DirectorCertificateExpiry>(),
        post("/cleanup", "Delete what nobody uses.")
            .body::<Cleanup>()
            .task(),
        get("/cleanup/dryrun", "What that would delete.")
            .query(&["remove_all", "keep_orphaned_disks"])
            .any(),
    ]
}

fn configs() -> Vec<Endpoint> {
    let mut all = vec![
        get("/configs", "Configs of all types.")
            .query(&["type", "name", "limit", "latest"])
            .list::<Config>(),
        post("/configs", "A new version of a config.")
            .body::<NewConfig>()
            .status_json::<Config>("201")
            .status_json::<ConfigConflict>("412"),
        delete("/configs", "Delete a config with all its versions.")
            .query(&["type", "name"])
            .status("204"),
        post("/configs/diff", "What differs between two configs.")
            .any_json()
            .json::<Diff>(),
        get("/configs/{id}", "A version of a config.").json::<Config>(),
        delete("/configs/{id}", "Delete a version of a config.").status("204"),
        get(
            "/deployment_configs",
            "Which deployment uses which configs.",
        )
        .query(&["deployment[]"])
        .list::<DeploymentConfig>(),
        get(
            "/deployed_variables/{name}",
            "Which deployments use a variable.",
        )
        .any(),
    ];
    for (list, diff) in [
        ("/cloud_configs", "/cloud_configs/diff"),
        ("/runtime_configs", "/runtime_configs/diff"),
        ("/cpi_configs", "/cpi_configs/diff"),
    ] {
        all.push(
            get(list, "The newest versions of a config.")
                .query(&["limit", "name"])
                .list::<TypedConfig>(),
        );
        all.push(
            post(list, "A new version of a config.")
                .query(&["name"])
                .yaml()
                .status("201"),
        );
        all.push(
            post(diff, "What a new version would change.")
                .query(&["name", "redact"])
                .yaml()
                .json::<Diff>(),
        );
    }
    all
}

fn artifacts() -> Vec<Endpoint> {
    vec![
        get("/releases", "Releases with their versions.").list::<Release>(),
        post("/releases", "Upload a release.")
            .query(&["rebase", "fix", "sha1"])
            .archive()
            .task(),
        post("/releases/export", "Compile a release into an archive.")
            .body::<ExportRelease>()
            .task(),
        get("/releases/{name}", "A release, or one version of it.")
            .query(&["version"])
            .any(),
        delete(
            "/releases/{name}",
            "Delete a release, or one version of it.",
        )
        .query(&["version", "force"])
        .task(),
        get("/jobs", "A job of a release.")
            .query(&["name", "release_name", "fingerprint"])
            .any(),
        post("/packages/matches", "Which packages are here already.")
            .yaml()
            .list::<String>(),
        post(
            "/packages/matches_compiled",
            "Which compiled packages are here already.",
        )
        .yaml()
        .list::<String>(),
        get("/packages/blobs/{id}", "A package's archive.").file(),
        get("/resources/{id}", "A blob.").file(),
        get("/stemcells", "Stemcells.").list::<Stemcell>(),
        post("/stemcells", "Upload a stemcell.")
            .query(&["fix", "sha1"])
            .archive()
            .task(),
        delete("/stemcells/{name}/{version}", "Delete a stemcell.")
            .query(&["force"])
            .task(),
        post(
            "/stemcell_uploads",
            "Whether a stemcell has to be uploaded.",
        )
        .any_json()
        .json::<StemcellUploadNeeded>(),
    ]
}

fn clouds() -> Vec<Endpoint> {
    vec![
        get("/disks", "Orphaned disks.").list::<OrphanDisk>(),
        delete(
            "/disks/{cid}",
            "Delete an orphaned disk, or make a disk one.",
        )
        .query(&["orphan"])
        .task(),
        put("/disks/{cid}/attachments", "Attach a disk to an instance.")
            .query(&["deployment", "job", "instance_id", "disk_properties"])
            .task(),
        get("/orphan_disks", "Orphaned disks.").list::<OrphanDisk>(),
        delete("/orphan_disks/{cid}", "Delete an orphaned disk.").task(),
        get("/dynamic_disks", "Disks apart from any deploy.").list::<DynamicDisk>(),
        post("/dynamic_disks", "Make a disk.")
            .body::<NewDynamicDisk>()
            .task(),
        post(
            "/dynamic_disks/provide",
            "Make a disk, if need be, and attach it.",
        )
        .body::<ProvideDynamicDisk>()
        .task(),
        delete("/dynamic_disks/{name}", "Delete such a disk.").task(),
        post("/dynamic_disks/{name}/attach", "Attach such a disk.")
            .body::<AttachDynamicDisk>()
            .task(),
        post("/dynamic_disks/{name}/detach", "Detach such a disk.").task(),
        get("/orphaned_vms", "Orphaned VMs.").list::<OrphanedVm>(),
        delete("/vms/{cid}", "Delete a VM by the cloud's id.").task(),
        get("/networks", "Managed networks that no deployment uses.")
            .query(&["orphaned"])
            .list::<OrphanedNetwork>(),
        delete("/networks/{name}", "Delete such a network.").task(),
    ]
}

fn links() -> Vec<Endpoint> {
    vec![
        get("/links", "Links of a deployment.")
            .query(&["deployment"])
            .list::<Link>(),
        post("/links", "Make a link for somebody outside.")
            .body::<NewLink>()
            .json::<Link>(),
        delete("/links/{id}", "Delete such a link.").status("204"),
        get("/link_providers", "What a deployment provides.")
            .query(&["deployment"])
            .list::<LinkProvider>(),
        get("/link_consumers", "What a deployment consumes.")
            .query(&["deployment"])
            .list::<LinkConsumer>(),
        get("/link_address", "The DNS name of a link.")
            .query(&["link_id", "azs[]", "status"])
            .json::<LinkAddress>(),
    ]
}

fn deployments() -> Vec<Endpoint> {
    vec![
        get("/deployments", "Deployments, without what is excluded.")
            .query(&[
                "exclude_configs",
                "exclude_releases",
                "exclude_stemcells",
                "exclude_lock",
            ])
            .list::<Deployment>(),
        post("/deployments", "Deploy.")
            .query(&[
                "dry_run",
                "recreate",
                "recreate_persistent_disks",
                "recreate_vms_created_before",
                "fix",
                "skip_drain",
                "canaries",
                "max_in_flight",
                "force_latest_variables",
                "context",
            ])
            .yaml()
            .task(),
        get("/deployments/{deployment}", "A deployment's manifest.").json::<Manifest>(),
        delete("/deployments/{deployment}", "Delete a deployment.")
            .query(&["force", "keep_snapshots"])
            .task(),
        post(
            "/deployments/{deployment}/diff",
            "What a deploy would change.",
        )
        .query(&["redact"])
        .yaml()
        .json::<Diff>(),
        get(
            "/deployments/{deployment}/properties",
            "Properties apart from the manifest.",
        )
        .list::<Property>(),
        post("/deployments/{deployment}/properties", "Make a property.")
            .body::<Property>()
            .status("204"),
        get(
            "/deployments/{deployment}/properties/{property}",
            "A property.",
        )
        .json::<PropertyValue>(),
        put(
            "/deployments/{deployment}/properties/{property}",
            "Change a property.",
        )
        .body::<PropertyValue>()
        .status("204"),
        delete(
            "/deployments/{deployment}/properties/{property}",
            "Delete a property.",
        )
        .status("204"),
        get(
            "/deployments/{deployment}/certificate_expiry",
            "When the certificates among a deployment's variables expire.",
        )
        .list::<CertificateExpiry>(),
        get("/deployments/{deployment}/variables", "Variables in use.").list::<Variable>(),
        get("/deployments/{deployment}/snapshots", "Snapshots of disks.").list::<Snapshot>(),
        post(
            "/deployments/{deployment}/snapshots",
            "Take snapshots of all disks.",
        )
        .task(),
        delete(
            "/deployments/{deployment}/snapshots",
            "Delete all snapshots.",
        )
        .task(),
        delete(
            "/deployments/{deployment}/snapshots/{cid}",
            "Delete a snapshot.",
        )
        .task(),
        get("/deployments/{deployment}/errands", "Errands.").list::<Errand>(),
        post(
            "/deployments/{deployment}/errands/{errand}/runs",
            "Run an errand.",
        )
        .body::<RunErrand>()
        .task(),
        get(
            "/deployments/{deployment}/problems",
            "Problems that were found.",
        )
        .list::<Problem>(),
        put("/deployments/{deployment}/problems", "Solve problems.")
            .body::<ApplyResolutions>()
            .task(),
        post("/deployments/{deployment}/scans", "Look for problems.").task(),
        put(
            "/deployments/{deployment}/scan_and_fix",
            "Look for problems and solve them.",
        )
        .body::<ScanAndFix>()
        .task(),
    ]
}

fn instances() -> Vec<Endpoint> {
    const CHANGE: [&str; 7] = [
        "state",
        "skip_drain",
        "fix",
        "dry_run",
        "canaries",
        "max_in_flight",
        "recreate_vms_created_before",
    ];
    vec![
        get(
            "/deployments/{deployment}/vms",
            "VMs; with `format=full`, a task.",
        )
        .query(&["format"])
        .list::<Instance>()
        .task(),
        get(
            "/deployments/{deployment}/instances",
            "Instances; with `format=full`, a task.",
        )
        .query(&["format"])
        .list::<Instance>()
        .task(),
        post(
            "/deployments/{deployment}/ssh",
            "Set up access by ssh, or end it.",
        )
        .any_json()
        .task(),
        put(
            "/deployments/{deployment}/jobs/{group}",
            "Change the state of a group.",
        )
        .query(&CHANGE)
        .yaml()
        .task(),
        get(
            "/deployments/{deployment}/jobs/{group}/{id}",
            "An instance.",
        )
        .json::<InstanceDetails>(),
        put(
            "/deployments/{deployment}/jobs/{group}/{id}",
            "Change the state of an instance.",
        )
        .query(&CHANGE)
        .yaml()
        .task(),
        get(
            "/deployments/{deployment}/jobs/{group}/{id}/logs",
            "Fetch logs.",
        )
        .query(&["type", "filters"])
        .task(),
        put(
            "/deployments/{deployment}/jobs/{group}/{id}/resurrection",
            "Gone.",
        )
        .any_json()
        .status("410"),
        get(
            "/deployments/{deployment}/jobs/{group}/{id}/snapshots",
            "Snapshots of an instance.",
        )
        .list::<Snapshot>(),
        post(
            "/deployments/{deployment}/jobs/{group}/{id}/snapshots",
            "Take snapshots of an instance.",
        )
        .task(),
        post(
            "/deployments/{deployment}/instance_groups/{group}/{id}/actions/{action}",
            "Start, stop, restart or recreate an instance.",
        )
        .query(&["skip_drain", "hard", "ignore_unresponsive_agent"])
        .task(),
        put(
            "/deployments/{deployment}/instance_groups/{group}/{id}/ignore",
            "Leave an instance alone, or not.",
        )
        .body::<Ignore>()
        .status("200"),
    ]
}
