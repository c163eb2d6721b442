use super::error::Result;
use serde_json::Value;
#[derive(Default)]
pub(super) struct Side {
    pub(super) manifest: Value,
    pub(super) cloud: Vec<Value>,
    pub(super) runtime: Vec<Value>,
}
pub(super) fn lines(_old: &Value, _new: &Value, _redact: bool) -> Vec<(String, Option<String>)> {
    Vec::new()
}
pub(super) fn manifests(
    before: &Side,
    after: &Side,
    redact: bool,
) -> Result<Vec<(String, Option<String>)>> {
    let _ = (&before.cloud, &before.runtime);
    Ok(lines(&before.manifest, &after.manifest, redact))
}
