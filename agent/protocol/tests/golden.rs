//! Bytes as they are on the wire, decoded and encoded again.

#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

use bosh_protocol::arguments::{CompileDependency, DrainType, SshParams};
use bosh_protocol::disk::DiskSettings;
use bosh_protocol::{
    AgentTask, Alert, ApplySpec, DiskCid, Heartbeat, JobState, Method, Request, Response, Settings,
    State, UpdateSettings,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// What is decoded and encoded again must be what it was, key for key.
fn round_trip<T: Serialize + DeserializeOwned>(golden: &str) -> T {
    let decoded: T = serde_json::from_str(golden).unwrap();
    let expected: Value = serde_json::from_str(golden).unwrap();
    assert_eq!(serde_json::to_value(&decoded).unwrap(), expected);
    decoded
}

#[test]
fn an_apply_request() {
    let request: Request = round_trip(include_str!("golden/apply_request.json"));
    let spec: ApplySpec = serde_json::from_value(request.arguments[0].clone()).unwrap();
    assert_eq!(serde_json::to_value(&spec).unwrap(), request.arguments[0]);
    assert_eq!(spec.jobs()[0].name, "redis");
    assert_eq!(spec.max_log_file_size(), "50M");
    assert_eq!(
        spec.packages["redis"].sha1.strongest().algorithm().name(),
        "sha256"
    );
}

#[test]
fn apply_specs_of_vms_without_jobs() {
    let compile: ApplySpec = serde_json::from_value(json!({
        "deployment": "d", "job": {"name": "compilation-1"}, "index": 0, "id": "i",
        "networks": {"a": {"ip": null}}, "az": null, "packages": null, "rendered_templates_archive": {"sha1": "", "blobstore_id": ""},
    }))
    .unwrap();
    assert_eq!(compile.rendered_templates_archive, None);
    assert!(compile.jobs().is_empty());
    assert_eq!(compile.az, "");
    let jobless: ApplySpec =
        serde_json::from_value(json!({"job": null, "resource_pool": null})).unwrap();
    assert_eq!(jobless.job.name, None);
    assert_eq!(
        serde_json::to_value(&jobless).unwrap()["resource_pool"],
        json!({})
    );
}

#[test]
fn a_bad_digest_is_named() {
    let error =
        serde_json::from_value::<ApplySpec>(json!({"packages": {"p": {"sha1": "no/digest"}}}))
            .unwrap_err();
    assert!(
        error.to_string().contains("unable to parse digest string"),
        "{error}"
    );
}

#[test]
fn heartbeats() {
    let heartbeat: Heartbeat = round_trip(include_str!("golden/heartbeat.json"));
    assert_eq!(heartbeat.job_state, JobState::Running);
    assert_eq!(heartbeat.vitals.disk["persistent"].percent, "4");
    let first: Heartbeat = round_trip(include_str!("golden/heartbeat_before_apply.json"));
    assert_eq!(first.job, None);
    let unknown: Heartbeat =
        serde_json::from_value(json!({"job_state": "dancing", "vitals": {"mem": {"kb": 12}}}))
            .unwrap();
    assert_eq!(unknown.job_state, JobState::Unknown);
    assert_eq!(unknown.vitals.mem.kb, "12");
}

#[test]
fn an_alert() {
    let alert: Alert = round_trip(include_str!("golden/alert.json"));
    assert_eq!(alert.severity, bosh_protocol::alert::severity::ALERT);
}

#[test]
fn a_running_task() {
    let response: Response = round_trip(include_str!("golden/task.json"));
    let task: AgentTask = serde_json::from_value(response.into_result().unwrap()).unwrap();
    assert_eq!(serde_json::to_value(task.state).unwrap(), "running");
}

#[test]
fn exceptions() {
    let response: Response = round_trip(include_str!("golden/exception.json"));
    assert!(
        response
            .into_result()
            .unwrap_err()
            .message
            .ends_with("could not be found")
    );
    let text: Response = serde_json::from_value(json!({"exception": "boom", "extra": 1})).unwrap();
    assert_eq!(text, Response::exception("boom"));
    assert_eq!(
        serde_json::from_str::<Response>("{}").unwrap(),
        Response::Value(Value::Null)
    );
}

#[test]
fn a_state() {
    let state: State = round_trip(include_str!("golden/state.json"));
    assert_eq!(state.spec.deployment, "first-light");
    assert_eq!(state.job_state, JobState::Failing);
    assert_eq!(state.processes[1].uptime.secs, 0);
}

#[test]
fn settings() {
    let settings: Settings = round_trip(include_str!("golden/settings.json"));
    assert_eq!(settings.mbus_urls()[0].expose(), "nats://10.244.0.1:4222");
    assert_eq!(settings.mbus_cert().ca, "CA-PEM");
    assert_eq!(settings.blobstore().options["password"], "hush-5");
    assert_eq!(settings.ntp_servers(), ["10.244.0.1"]);
    assert_eq!(settings.env.bosh.swap_bytes(), Some(2048 * 1024 * 1024));
    assert_eq!(settings.networks.default_ip(), Some("10.244.0.10"));
    assert!(!settings.networks.0["private"].is_dhcp());
    assert_eq!(settings.ephemeral_disk().path, "/dev/sdb");

    let disk = |cid: &str| {
        settings
            .persistent_disk_from_hint(DiskCid::new(cid), settings.disks.persistent[cid].as_ref())
    };
    assert_eq!(disk("disk-by-path").path, "/dev/sdc");
    assert_eq!(disk("disk-by-path").file_system_type, "xfs");
    assert_eq!(disk("disk-by-position").volume_id, "3");
    assert_eq!(disk("disk-by-unit").lun, "0");
    assert_eq!(disk("disk-old").path, "/dev/sdd");
    assert_eq!(disk("disk-old").volume_id, "/dev/sdd");
    assert_eq!(disk("disk-iscsi").iscsi.target, "10.0.0.9");
    let kept: DiskSettings =
        serde_json::from_value(serde_json::to_value(disk("disk-iscsi")).unwrap()).unwrap();
    assert_eq!(kept, disk("disk-iscsi"));
    assert!(
        serde_json::to_string(&kept)
            .unwrap()
            .contains(r#""ISCSISettings":{"InitiatorName":"iqn.x""#)
    );
}

#[test]
fn settings_with_nulls_and_unknown_keys() {
    let settings: Settings = serde_json::from_value(json!({
        "agent_id": "a", "vm": null, "ntp": null, "blobstore": null, "trusted_certs": "",
        "disks": {"system": 0, "ephemeral": null, "persistent": {"d": null, "e": {"lun": 1}}},
        "networks": {"n": {"type": "dynamic", "gateway": null, "netmask": null, "ip": "10.0.0.1", "cloud_properties": {"x": 1}}},
        "env": {"bosh": {"password": null, "mbus": {"urls": null}}},
        "mbus": "https://user:hush@0.0.0.0:6868",
    }))
    .unwrap();
    assert!(settings.networks.0["n"].is_dhcp());
    assert_eq!(
        settings.mbus_urls()[0].expose(),
        "https://user:hush@0.0.0.0:6868"
    );
    assert_eq!(settings.ephemeral_disk(), DiskSettings::default());
    let cid = DiskCid::new("e");
    assert_eq!(
        settings
            .persistent_disk_from_hint(cid.clone(), settings.disks.persistent[&cid].as_ref())
            .lun,
        "1"
    );
}

#[test]
fn secrets_do_not_print() {
    let settings: Settings = serde_json::from_str(include_str!("golden/settings.json")).unwrap();
    assert!(!format!("{settings:?}").contains("hush"));
}

#[test]
fn updates_replace_settings() {
    let mut settings: Settings =
        serde_json::from_str(include_str!("golden/settings.json")).unwrap();
    let mbus = json!({"urls": ["nats://10.244.0.2:4222"], "cert": {"ca": "CA2", "private_key": "k", "certificate": "c"}});
    let update: UpdateSettings = serde_json::from_value(json!({
        "trusted_certs": "T", "mbus": mbus, "blobstores": [{"provider": "local", "options": {}}],
        "disk_associations": [{"name": "logs", "cid": "d"}],
    }))
    .unwrap();
    assert!(settings.update.merge(update.clone()));
    assert!(
        !settings.update.merge(update),
        "the same again changes nothing"
    );
    assert!(
        !settings.update.merge(UpdateSettings::default()),
        "an empty update keeps mbus and blobstore"
    );
    assert_eq!(
        settings.update.trusted_certs, "",
        "but takes trusted certificates back"
    );
    assert_eq!(settings.mbus_urls()[0].expose(), "nats://10.244.0.2:4222");
    assert_eq!(settings.mbus_cert().ca, "CA2");
    assert_eq!(settings.blobstore().provider, "local");
}

#[test]
fn methods_have_their_names() {
    for method in Method::ALL {
        assert_eq!(method.as_str().parse::<Method>().unwrap(), *method);
    }
    assert_eq!(
        "dance".parse::<Method>().unwrap_err().to_string(),
        "unknown message dance"
    );
    assert!(Method::ListDisk.is_asynchronous(3));
    assert!(!Method::ListDisk.is_asynchronous(2));
    assert!(!Method::Start.is_asynchronous(3));
    assert!(Method::UpdateSettings.is_persistent());
}

#[test]
fn arguments() {
    let dependency: CompileDependency = serde_json::from_value(
        json!({"name": "libc", "version": 7, "sha1": "aa", "blobstore_id": "b"}),
    )
    .unwrap();
    assert_eq!(dependency.version, "7");
    let ssh: SshParams =
        serde_json::from_value(json!({"user": "bosh_1", "public_key": "ssh-rsa A"})).unwrap();
    assert_eq!(ssh.user, "bosh_1");
    assert_eq!(
        serde_json::from_value::<DrainType>(json!("update")).unwrap(),
        DrainType::Update
    );
}

#[test]
fn subjects() {
    use bosh_protocol::subject::{self, Topic};
    let agent = "a-1".into();
    assert_eq!(subject::requests(&agent), "agent.a-1");
    assert_eq!(subject::shutdown(&agent), "hm.agent.shutdown.a-1");
    assert_eq!(
        subject::parse_hm(&subject::heartbeat(&agent)),
        Some((Topic::Heartbeat, "a-1"))
    );
    assert_eq!(subject::parse_hm("hm.agent.heartbeat."), None);
    assert_eq!(subject::parse_hm("hm.agent.other.a-1"), None);
    assert_eq!(subject::parse_hm("hm.agent.alert.a.b"), None);
}
