//! `GET /info`, the only endpoint that needs no authentication.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bosh_director_api::{Info, UserAuthentication};
use serde_json::{Map, Value, json};

use super::auth::Asking;
use super::reply;
use crate::app::Director;
use crate::config::UserManagement;

pub(super) async fn show(
    State(director): State<Director>,
    Extension(asking): Extension<Asking>,
) -> Response {
    let config = &director.config;
    let user = asking.0.map(|user| user.name);
    let (kind, options) = match &config.user_management {
        UserManagement::Local(_) => ("basic", Map::new()),
        UserManagement::Uaa(uaa) => {
            let url = uaa.urls.first().cloned().unwrap_or_default();
            let options = [
                ("url".to_owned(), Value::from(url)),
                ("urls".to_owned(), Value::from(uaa.urls.clone())),
            ];
            ("uaa", options.into_iter().collect())
        }
    };
    let features = json!({
        "local_dns": {
            "status": config.local_dns.enabled,
            "extras": { "domain_name": config.root_domain },
        },
        "snapshots": { "status": config.enable_snapshots },
        "config_server": {
            "status": config.config_server.is_some(),
            "extras": { "urls": config.config_server.iter().map(|c| c.url.clone()).collect::<Vec<_>>() },
        },
    });
    let Value::Object(features) = features else {
        return reply::json(&features);
    };
    reply::json(&Info {
        name: config.name.clone(),
        uuid: director.uuid.clone(),
        version: format!("{} (00000000)", config.version),
        user,
        cpi: Some(config.cpi.name.clone()),
        stemcell_os: None,
        stemcell_version: None,
        user_authentication: UserAuthentication {
            kind: kind.to_owned(),
            options,
        },
        features,
    })
}
