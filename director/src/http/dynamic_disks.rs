//! `/dynamic_disks`: disks apart from any deploy (upstream: dynamic_disks_controller.rb).

use axum::body::Bytes;
use axum::extract::Path;
use bosh_director_api::{AttachDynamicDisk, Code, DynamicDisk, NewDynamicDisk, ProvideDynamicDisk};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::auth::Permission;
use super::error::{Error, Result};
use super::{Media, Request, reply};
use crate::db;
use crate::tasks::Work;
use crate::tasks::jobs::dynamic_disks as jobs;

pub(super) async fn list(request: Request) -> Result {
    request.require(Permission::ListDynamicDisks)?;
    let disks = db::dynamic_disks::list(&request.director.db).await?;
    let disks: Vec<DynamicDisk> = disks
        .into_iter()
        .map(|disk| DynamicDisk {
            metadata: json_or_empty(disk.metadata_json.as_deref()),
            name: disk.name,
            disk_cid: disk.disk_cid,
            deployment: disk.deployment,
            instance: disk
                .job
                .map(|job| format!("{job}/{}", disk.uuid.unwrap_or_default())),
            availability_zone: disk.availability_zone,
            size: disk.size,
            disk_pool_name: disk.disk_pool_name,
            cpi: disk.cpi,
        })
        .collect();
    Ok(reply::json(&disks))
}

fn json_or_empty(text: Option<&str>) -> Value {
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_else(|| Value::Object(serde_json::Map::new()))
}

pub(super) async fn create(request: Request, body: Bytes) -> Result {
    request.require(Permission::CreateDynamicDisks)?;
    let texts = ["deployment_name", "az", "disk_name", "disk_pool_name"];
    let wanted: NewDynamicDisk = read(&request, &body, &texts, true)?;
    let work = Work::CreateDynamicDisk(jobs::create::CreateDynamicDisk {
        deployment: wanted.deployment_name,
        az: wanted.az,
        name: wanted.disk_name,
        pool: wanted.disk_pool_name,
        size: wanted.disk_size,
        metadata: wanted.metadata,
    });
    reply::enqueue(&request, work, None, "create dynamic disk").await
}

pub(super) async fn attach(request: Request, Path(name): Path<String>, body: Bytes) -> Result {
    request.require(Permission::AttachDynamicDisks)?;
    let wanted: AttachDynamicDisk = read(&request, &body, &["instance_id"], false)?;
    let work = Work::AttachDynamicDisk(jobs::attach::AttachDynamicDisk {
        name,
        instance: wanted.instance_id,
        metadata: wanted.metadata,
    });
    reply::enqueue(&request, work, None, "attach dynamic disk").await
}

pub(super) async fn provide(request: Request, body: Bytes) -> Result {
    request.require(Permission::ProvideDynamicDisks)?;
    let texts = ["instance_id", "disk_name", "disk_pool_name"];
    let wanted: ProvideDynamicDisk = read(&request, &body, &texts, true)?;
    let work = Work::ProvideDynamicDisk(jobs::provide::ProvideDynamicDisk {
        instance: wanted.instance_id,
        name: wanted.disk_name,
        pool: wanted.disk_pool_name,
        size: wanted.disk_size,
        metadata: wanted.metadata,
    });
    reply::enqueue(&request, work, None, "provide dynamic disk").await
}

pub(super) async fn detach(request: Request, Path(name): Path<String>) -> Result {
    request.require(Permission::DetachDynamicDisks)?;
    let work = Work::DetachDynamicDisk(jobs::detach::DetachDynamicDisk { name });
    reply::enqueue(&request, work, None, "detach dynamic disk").await
}

pub(super) async fn delete(request: Request, Path(name): Path<String>) -> Result {
    request.require(Permission::DeleteDynamicDisks)?;
    let work = Work::DeleteDynamicDisk(jobs::delete::DeleteDynamicDisk { name });
    reply::enqueue(&request, work, None, "delete dynamic disk").await
}

/// A body whose `texts` must be there and not empty, and perhaps a size, with upstream's complaints
/// (upstream: validation_helper.rb).
fn read<T: DeserializeOwned>(
    request: &Request,
    body: &[u8],
    texts: &[&str],
    sized: bool,
) -> Result<T> {
    request.expect(Media::Json)?;
    let mut value: Value = super::request::parse_json(body)?;
    let Value::Object(map) = &mut value else {
        let why = format!("Object ({value}) did not match the required type 'Hash'");
        return Err(Error::new(Code::ValidationInvalidType, why));
    };
    let shown = Value::Object(map.clone()).to_string();
    let missing = |key: &str| {
        let why = format!("Required property '{key}' was not specified in object ({shown})");
        Error::new(Code::ValidationMissingField, why)
    };
    let wrong = |key: &str, value: &Value, kind: &str| {
        let why =
            format!("Property '{key}' value ({value}) did not match the required type '{kind}'");
        Error::new(Code::ValidationInvalidType, why)
    };
    for key in texts {
        let value = map.get_mut(*key).ok_or_else(|| missing(key))?;
        match value {
            Value::Number(number) => *value = Value::String(number.to_string()),
            Value::String(text) if text.is_empty() => {
                let why = format!("'{key}' length (0) should be greater than 1");
                return Err(Error::new(Code::ValidationViolatedMin, why));
            }
            Value::String(_) => {}
            other => return Err(wrong(key, other, "String")),
        }
    }
    if sized {
        let size = map.get("disk_size").ok_or_else(|| missing("disk_size"))?;
        match size.as_i64() {
            Some(1..) => {}
            Some(size) => {
                let why = format!("'disk_size' value ({size}) should be greater than 1");
                return Err(Error::new(Code::ValidationViolatedMin, why));
            }
            None => return Err(wrong("disk_size", size, "Integer")),
        }
    }
    match map.get("metadata") {
        None | Some(Value::Object(_)) => {}
        Some(other) => return Err(wrong("metadata", other, "Hash")),
    }
    serde_json::from_value(value).map_err(|error| {
        let why = format!("Invalid JSON request body: {error}");
        Error::new(Code::InvalidJsonError, why)
    })
}
