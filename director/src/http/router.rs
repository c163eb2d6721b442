//! Which handler answers what.

use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::middleware;
use axum::routing::{any, delete, get, post, put};
use axum::{Extension, Router};

use super::auth::{Asking, Gate, guard};
use super::error::Error;
use super::memory::{Memory, remember};
use super::pace::pace;
use super::reply::compression;
use super::typed_configs::Kind;
use super::{
    Request, certificates, configs, deployments, dynamic_disks, errands, events, info, instances,
    links, misc, networks, openapi, problems, properties, releases, snapshots, stemcells, tasks,
    typed_configs, users,
};
use crate::app::Director;

/// The director's HTTP interface (upstream: api/controllers), for a TLS
/// listener of the caller's.
pub fn router(director: Director) -> Router {
    let uploads = Router::new()
        .route("/releases", get(releases::list).post(releases::upload))
        .route("/stemcells", get(stemcells::list).post(stemcells::upload))
        .layer(DefaultBodyLimit::disable());
    let router = Router::new()
        .route("/info", get(info::show))
        .route("/openapi.json", get(openapi::show))
        .route("/users", get(users::list).post(users::create))
        .route("/users/{name}", put(users::update).delete(users::delete))
        .route("/locks", get(tasks::locks))
        .route("/tasks", get(tasks::list))
        .route("/tasks/cancel", post(tasks::cancel_many))
        .route("/tasks/{id}", get(tasks::show))
        .route("/tasks/{id}/output", get(tasks::output))
        .route("/task/{id}", delete(tasks::cancel))
        .route("/events", get(events::list).post(events::create))
        .route("/events/{id}", get(events::show))
        .route(
            "/configs",
            get(configs::list)
                .post(configs::create)
                .delete(configs::delete_named),
        )
        .route("/configs/diff", post(configs::diff))
        .route("/configs/{id}", get(configs::show).delete(configs::delete))
        .merge(typed("/cloud_configs", Kind::Cloud))
        .merge(typed("/runtime_configs", Kind::Runtime))
        .merge(typed("/cpi_configs", Kind::Cpi))
        .route("/deployment_configs", get(deployments::configs_in_use))
        .route(
            "/releases/{name}",
            get(releases::show).delete(releases::delete),
        )
        .route("/releases/export", post(releases::export))
        .route("/jobs", get(releases::job))
        .route("/packages/matches", post(releases::package_matches))
        .route(
            "/packages/matches_compiled",
            post(releases::compiled_package_matches),
        )
        .route("/packages/blobs/{id}", get(releases::package_blob))
        .route("/stemcells/{name}/{version}", delete(stemcells::delete))
        .route("/stemcell_uploads", post(stemcells::is_needed))
        .route("/disks", get(misc::orphan_disks))
        .route("/disks/{cid}", delete(misc::delete_disk))
        .route("/disks/{cid}/attachments", put(misc::attach_disk))
        .route("/orphan_disks", get(misc::orphan_disks))
        .route("/orphan_disks/{cid}", delete(misc::delete_orphan_disk))
        .route("/orphaned_vms", get(misc::orphaned_vms))
        .route("/vms/{cid}", delete(misc::delete_vm))
        .route("/networks", get(networks::list))
        .route("/networks/{name}", delete(networks::delete))
        .route("/cleanup", post(misc::clean_up))
        .route("/cleanup/dryrun", get(misc::clean_up_dry_run))
        .route("/resources/{*id}", get(misc::resource))
        .route(
            "/resurrection",
            get(misc::resurrection).put(misc::set_resurrection),
        )
        .route(
            "/director/certificate_expiry",
            get(certificates::of_director),
        )
        .route(
            "/dynamic_disks",
            get(dynamic_disks::list).post(dynamic_disks::create),
        )
        .route("/dynamic_disks/provide", post(dynamic_disks::provide))
        .route("/dynamic_disks/{name}", delete(dynamic_disks::delete))
        .route("/dynamic_disks/{name}/attach", post(dynamic_disks::attach))
        .route("/dynamic_disks/{name}/detach", post(dynamic_disks::detach))
        .route("/links", get(links::list).post(links::create))
        .route("/links/{id}", delete(links::delete))
        .route("/link_providers", get(links::providers))
        .route("/link_consumers", get(links::consumers))
        .route("/link_address", get(links::address))
        .route("/deployed_variables/{*name}", get(misc::deployed_variable))
        .route(
            "/deployments",
            get(deployments::list).post(deployments::deploy),
        )
        .merge(deployment())
        .layer(DefaultBodyLimit::max(director.config.limits.body))
        .merge(uploads);
    // A method that an endpoint does not take is no endpoint either.
    router
        .fallback(any(nowhere))
        .method_not_allowed_fallback(nowhere)
        .layer(middleware::from_fn_with_state(
            Memory::new(director.clone()),
            remember,
        ))
        .layer(middleware::from_fn_with_state(
            Gate::new(director.clone()),
            guard,
        ))
        .layer(middleware::from_fn_with_state(director.config.limits, pace))
        .layer(compression())
        .with_state(director)
}

fn typed(path: &str, kind: Kind) -> Router<Director> {
    let list = move |request: Request| typed_configs::list(request, kind);
    let update = move |request: Request, body: Bytes| typed_configs::update(request, kind, body);
    let diff = move |request: Request, body: Bytes| typed_configs::diff(request, kind, body);
    Router::new()
        .route(path, get(list).post(update))
        .route(&format!("{path}/diff"), post(diff))
}

fn deployment() -> Router<Director> {
    let at = |path: &str| format!("/deployments/{{deployment}}{path}");
    Router::new()
        .route(&at(""), get(deployments::show).delete(deployments::delete))
        .route(&at("/diff"), post(deployments::diff))
        .route(
            &at("/properties"),
            get(properties::list).post(properties::create),
        )
        .route(
            &at("/properties/{property}"),
            get(properties::show)
                .put(properties::update)
                .delete(properties::delete),
        )
        .route(&at("/certificate_expiry"), get(certificates::of_deployment))
        .route(&at("/variables"), get(deployments::variables))
        .route(&at("/vms"), get(instances::vms))
        .route(&at("/instances"), get(instances::list))
        .route(&at("/ssh"), post(instances::ssh))
        .route(&at("/jobs/{group}"), put(instances::change_group))
        .route(
            &at("/jobs/{group}/{id}"),
            get(instances::show).put(instances::change_instance),
        )
        .route(&at("/jobs/{group}/{id}/logs"), get(instances::logs))
        .route(
            &at("/jobs/{group}/{id}/resurrection"),
            put(instances::resurrection_gone),
        )
        .route(
            &at("/jobs/{group}/{id}/snapshots"),
            get(snapshots::of_instance).post(snapshots::take),
        )
        .route(
            &at("/snapshots"),
            get(snapshots::list)
                .post(snapshots::take_all)
                .delete(snapshots::delete_all),
        )
        .route(&at("/snapshots/{cid}"), delete(snapshots::delete))
        .route(
            &at("/instance_groups/{group}/{id}/actions/{action}"),
            post(instances::act),
        )
        .route(
            &at("/instance_groups/{group}/{id}/ignore"),
            put(instances::ignore),
        )
        .route(&at("/errands"), get(errands::list))
        .route(&at("/errands/{errand}/runs"), post(errands::run))
        .route(&at("/problems"), get(problems::list).put(problems::apply))
        .route(&at("/scans"), post(problems::scan))
        .route(&at("/scan_and_fix"), put(problems::scan_and_fix))
}

async fn nowhere(Extension(asking): Extension<Asking>, uri: Uri) -> Error {
    match asking.0 {
        Some(_) => Error::no_endpoint(uri.path()),
        None => Error::Unauthorized(uri.path().to_owned()),
    }
}
