//! Against a file with every key that upstream's template writes.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Config, Database, Error, UserManagement, raw};

fn upstream() -> Value {
    serde_yaml_ng::from_str(
        r#"{
        "name": "my-bosh",
        "runtime": {"ip": "10.0.0.6", "instance": "bosh/9b1d"},
        "port": 25556, "max_tasks": 100, "max_threads": 16, "puma_workers": 3,
        "logging": {"level": "DEBUG"},
        "mbus": "nats://10.0.0.6:4222",
        "director_certificate_expiry_json_path": "/config/certificate_expiry.json",
        "nats": {
            "server_ca_path": "/config/nats_server_ca.pem",
            "client_ca_certificate_path": "/config/nats_client_ca_certificate.pem",
            "client_ca_private_key_path": "/config/nats_client_ca_private_key",
            "client_certificate_path": "/config/nats_client_certificate.pem",
            "client_private_key_path": "/config/nats_client_private_key",
        },
        "dir": "/store/director",
        "snapshots": {"enabled": true},
        "max_vm_create_tries": 3,
        "enable_nats_delivered_templates": true,
        "enable_pre_ruby_3_2_equal_tilde_behavior": false,
        "enable_short_lived_nats_bootstrap_credentials": true,
        "enable_short_lived_nats_bootstrap_credentials_compilation_vms": false,
        "enable_cpi_resize_disk": true, "enable_cpi_update_disk": false,
        "generate_vm_passwords": true, "remove_dev_tools": false,
        "log_access_events": true, "flush_arp": true,
        "networks": {"enable_cpi_management": true},
        "local_dns": {"enabled": true, "include_index": false, "use_dns_addresses": true},
        "audit_log_path": "/log/director",
        "parallel_problem_resolution": true, "allow_errands_on_stopped_instances": false,
        "metrics_server": {"enabled": true, "port": 9091},
        "health_monitor": {"port": 25923},
        "db": {
            "adapter": "postgres", "user": "vcap", "password": "p@ss/word",
            "host": "db.internal", "port": 5432, "database": "bosh",
            "connection_options": {"max_connections": 20, "pool_timeout": 10},
            "connection_wait_timeout": 7,
            "tls": {
                "enabled": true, "skip_host_verify": false,
                "cert": {"ca": "/db/ca.pem", "certificate": "/db/c.pem", "private_key": "/db/k.key"},
                "bosh_internal": {"ca_provided": true, "mutual_tls_enabled": false},
            },
        },
        "config_server": {"enabled": false},
        "scheduled_jobs": [
            {"command": "ScheduledTasksCleanup", "schedule": "0 0 * * * UTC"},
            {"command": "ScheduledEventsCleanup", "schedule": "0 0 * * * * UTC", "params": [{"max_events": 10000}]},
        ],
        "tasks_retention_period": "30",
        "tasks_deployments_retention_period": [{"deployment": "cf", "retention_period": 7}],
        "record_events": true,
        "scan_and_fix": {"auto_fix_stateful_nodes": true},
        "dns": {"domain_name": "internal"},
        "blobstore": {
            "provider": "davcli",
            "options": {
                "endpoint": "https://10.0.0.6:25250", "user": "director", "password": "x",
                "tls": {"cert": {"ca": "PEM"}}, "enable_signed_urls": false,
                "davcli_config_path": "/tmp", "davcli_path": "/davcli",
            },
        },
        "verify_multidigest_path": "/verify-multidigest",
        "version": "283.1.6",
        "ignore_missing_gateway": false,
        "user_management": {"provider": "local", "local": {"users": [
            {"name": "admin", "password": "a"}, {"name": "ops", "password": "o", "scopes": ["bosh.read"]},
        ]}},
        "trusted_certs": "",
        "cpi": {"max_supported_api_version": 3, "preferred_api_version": 2},
        "cloud": {"provider": {"name": "warden_cpi", "path": "/jobs/warden_cpi/bin/cpi"}, "properties": {}},
        "agent": {"env": {"bosh": {"ntp": ["pool.ntp.org"]}}, "agent_wait_timeout": 300},
    }"#,
    )
    .unwrap()
}

fn resolve(file: &Value) -> Result<Config, Error> {
    let text = serde_yaml_ng::to_string(file).unwrap();
    Config::resolve(serde_yaml_ng::from_str::<raw::Director>(&text).unwrap())
}

#[test]
fn all_of_upstreams_keys_are_known() {
    let config = resolve(&upstream()).unwrap();
    assert_eq!(config.unknown_keys, Vec::<String>::new());
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:25556");
    assert!(config.listen.tls.is_none());
    assert_eq!(config.log_level, "debug");
    let Database::Postgres {
        url,
        max_connections,
        wait,
    } = &config.db
    else {
        panic!("expected postgres");
    };
    assert_eq!(
        url.expose(),
        "postgres://vcap:p%40ss%2Fword@db.internal:5432/bosh?sslmode=verify-full&sslrootcert=%2Fdb%2Fca.pem"
    );
    assert_eq!((*max_connections, *wait), (20, Duration::from_secs(7)));
    assert_eq!(config.tasks_retention_period, Some(30.0));
    assert_eq!(config.tasks_deployments_retention_period["cf"], 7.0);
    assert_eq!(config.cpi.preferred_api_version, 2);
    assert_eq!(config.cpi.path, PathBuf::from("/jobs/warden_cpi/bin/cpi"));
    let UserManagement::Local(users) = &config.user_management else {
        panic!("expected local users");
    };
    assert_eq!(users[0].scopes, ["bosh.admin"]);
    assert_eq!(users[1].scopes, ["bosh.read"]);
    assert_eq!(config.scheduled_jobs[1].params[0]["max_events"], 10000);
    assert_eq!(config.agent_env["ntp"][0], "pool.ntp.org");
}

#[test]
fn secrets_are_not_printed() {
    let mut file = upstream();
    file["blobstore"]["options"]["password"] = json!("hush-1");
    file["db"]["password"] = json!("hush-2");
    file["user_management"]["local"]["users"][0]["password"] = json!("hush-3");
    let printed = format!("{:?}", resolve(&file).unwrap());
    assert!(!printed.contains("hush"), "{printed}");
}

#[test]
fn unknown_keys_are_named_with_their_path() {
    let mut file = upstream();
    file["frobnicate"] = json!(1);
    file["nats"]["zeal"] = json!(2);
    let config = resolve(&file).unwrap();
    assert_eq!(config.unknown_keys, ["frobnicate", "nats.zeal"]);
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    for (pointer, value, message) in [
        (
            "/dir",
            Value::Null,
            "key 'dir': expected the path of a directory",
        ),
        (
            "/mbus",
            Value::Null,
            "key 'mbus': expected nats://host:port",
        ),
        (
            "/db/adapter",
            json!("mysql2"),
            "key 'db.adapter': expected postgres or sqlite, got 'mysql2'",
        ),
        (
            "/user_management/provider",
            json!("ldap"),
            "key 'user_management.provider': expected local or uaa, got 'ldap'",
        ),
        (
            "/cloud/provider/path",
            Value::Null,
            "key 'cloud.provider.path': expected the path of a file",
        ),
        (
            "/tasks_retention_period",
            json!("soon"),
            "key 'tasks_retention_period': expected a number of days",
        ),
        (
            "/config_server",
            json!({"enabled": true, "url": "http://c"}),
            "key 'config_server.url': expected an https address, got 'http://c'",
        ),
    ] {
        let mut file = upstream();
        *file.pointer_mut(pointer).unwrap() = value;
        assert_eq!(resolve(&file).unwrap_err().to_string(), message);
    }
}
