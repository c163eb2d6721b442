//! Every route of upstream's (its controllers' `scope:` and `authorization:`), asked by nobody, by everybody who may
//! not, and by everybody who may.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::json;

use crate::support::{Fixture, Reply, basic};

const UUID: &str = "2b7e7d0e-0000-4000-8000-000000000000";

/// What upstream's table says of a route.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Needs {
    /// `:admin`
    Admin,
    /// `:read`
    Read,
    /// `:read_events`, `:list_configs`, `:read_link`
    ReadShared,
    /// `:list_deployments`, `:list_tasks`, `:read_releases`, `:read_stemcells`
    ReadOwn,
    /// `:create_deployment`, `:update_configs`, `:create_link`, `:delete_link`
    TeamAdmin,
    /// Permissions with a scope of their own, such as `:upload_releases`.
    Holders(&'static [&'static str]),
    /// `:admin` on a deployment of team `ours`
    Change,
    /// `:read` on a deployment of team `ours`
    Look,
}
use Needs::{Admin, Change, Holders, Look, Read, ReadOwn, ReadShared, TeamAdmin};

const RELEASES: Needs = Holders(&["bosh.releases.upload"]);
const STEMCELLS: Needs = Holders(&["bosh.stemcells.upload"]);

const JSON: &str = "application/json";
const YAML: &str = "text/yaml";
const MULTIPART: &str = "multipart/form-data; boundary=b";

/// `(method, path, content type, needs)`. Bodies are `{}`: permission comes first.
#[rustfmt::skip]
const ROUTES: &[(&str, &str, &str, Needs)] = &[
    ("POST", "/cleanup", JSON, Admin),
    ("GET", "/cleanup/dryrun", "", Admin),
    ("POST", "/cloud_configs", YAML, Admin),
    ("POST", "/cloud_configs/diff", YAML, Admin),
    ("GET", "/cloud_configs?limit=1", "", Read),
    ("POST", "/runtime_configs", YAML, Admin),
    ("POST", "/runtime_configs/diff", YAML, Admin),
    ("GET", "/runtime_configs?limit=1", "", Read),
    ("POST", "/cpi_configs", YAML, Admin),
    ("POST", "/cpi_configs/diff", YAML, Admin),
    ("GET", "/cpi_configs?limit=1", "", Admin),
    ("GET", "/configs/1", "", Read),
    ("GET", "/configs", "", ReadShared),
    ("POST", "/configs", JSON, TeamAdmin),
    ("POST", "/configs/diff", JSON, ReadShared),
    ("DELETE", "/configs/1", "", TeamAdmin),
    ("DELETE", "/configs", "", TeamAdmin),
    ("GET", "/deployed_variables/v", "", ReadOwn),
    ("GET", "/deployment_configs", "", ReadOwn),
    ("GET", "/deployments", "", ReadOwn),
    ("POST", "/deployments", YAML, TeamAdmin),
    ("GET", "/deployments/mine", "", Look),
    ("DELETE", "/deployments/mine", "", Change),
    ("POST", "/deployments/mine/diff", YAML, Change),
    ("POST", "/deployments/new/diff", YAML, TeamAdmin),
    ("GET", "/deployments/mine/jobs/web/0", "", Change),
    ("PUT", "/deployments/mine/jobs/web", YAML, Change),
    ("PUT", "/deployments/mine/jobs/web/0", YAML, Change),
    ("POST", "/deployments/mine/instance_groups/web/0/actions/stop", "", Change),
    ("POST", "/deployments/mine/instance_groups/web/0/actions/start", "", Change),
    ("POST", "/deployments/mine/instance_groups/web/0/actions/restart", "", Change),
    ("POST", "/deployments/mine/instance_groups/web/0/actions/recreate", "", Change),
    ("PUT", "/deployments/mine/instance_groups/web/0/ignore", JSON, Change),
    ("GET", "/deployments/mine/jobs/web/0/logs", "", Change),
    ("GET", "/deployments/mine/snapshots", "", Change),
    ("POST", "/deployments/mine/snapshots", "", Change),
    ("DELETE", "/deployments/mine/snapshots", "", Change),
    ("DELETE", "/deployments/mine/snapshots/s", "", Change),
    ("GET", "/deployments/mine/jobs/web/0/snapshots", "", Change),
    ("POST", "/deployments/mine/jobs/web/0/snapshots", "", Change),
    ("PUT", "/deployments/mine/jobs/web/0/resurrection", JSON, Change),
    ("GET", "/deployments/mine/vms", "", Look),
    ("GET", "/deployments/mine/instances", "", Look),
    ("GET", "/deployments/mine/certificate_expiry", "", Look),
    ("POST", "/deployments/mine/ssh", JSON, Change),
    ("GET", "/deployments/mine/variables", "", Change),
    ("POST", "/deployments/mine/scans", "", Change),
    ("GET", "/deployments/mine/problems", "", Change),
    ("PUT", "/deployments/mine/problems", JSON, Change),
    ("PUT", "/deployments/mine/scan_and_fix", JSON, Change),
    ("POST", "/deployments/mine/errands/e/runs", JSON, Change),
    ("GET", "/deployments/mine/errands", "", Look),
    ("GET", "/director/certificate_expiry", "", Read),
    ("GET", "/disks", "", Admin),
    ("PUT", "/disks/d/attachments?deployment=mine&job=web&instance_id=0", "", Admin),
    ("DELETE", "/disks/d", "", Admin),
    ("GET", "/dynamic_disks", "", Holders(&["bosh.dynamic-disks.list"])),
    ("POST", "/dynamic_disks", JSON, Holders(&["bosh.dynamic-disks.create"])),
    ("POST", "/dynamic_disks/d/attach", JSON, Holders(&["bosh.dynamic-disks.attach"])),
    ("POST", "/dynamic_disks/provide", JSON, Holders(&["(bosh.dynamic-disks.create AND bosh.dynamic-disks.attach)"])),
    ("POST", "/dynamic_disks/d/detach", "", Holders(&["bosh.dynamic-disks.detach"])),
    ("DELETE", "/dynamic_disks/d", "", Holders(&["bosh.dynamic-disks.delete"])),
    ("GET", "/events", "", ReadShared),
    ("GET", "/events/1", "", Admin),
    ("POST", "/events", JSON, Admin),
    ("GET", "/jobs?name=j&fingerprint=f", "", Read),
    ("GET", "/link_address?link_id=1", "", ReadShared),
    ("GET", "/link_consumers?deployment=mine", "", Look),
    ("GET", "/link_providers?deployment=mine", "", Look),
    ("GET", "/links?deployment=mine", "", Look),
    ("POST", "/links", JSON, TeamAdmin),
    ("DELETE", "/links/1", "", TeamAdmin),
    ("GET", "/locks", "", Read),
    ("GET", "/networks?orphaned=true", "", Admin),
    ("DELETE", "/networks/n", "", Admin),
    ("GET", "/orphan_disks", "", Admin),
    ("DELETE", "/orphan_disks/d", "", Admin),
    ("GET", "/orphaned_vms", "", Admin),
    ("POST", "/packages/matches", YAML, Admin),
    ("POST", "/packages/matches_compiled", YAML, Admin),
    ("GET", "/packages/blobs/b", "", Read),
    ("POST", "/releases", JSON, RELEASES),
    ("POST", "/releases", MULTIPART, RELEASES),
    ("GET", "/releases", "", ReadOwn),
    ("POST", "/releases/export", JSON, Admin),
    ("GET", "/releases/r", "", ReadOwn),
    ("DELETE", "/releases/r", "", Admin),
    ("GET", "/resources/b", "", Admin),
    ("GET", "/resurrection", "", Admin),
    ("PUT", "/resurrection", JSON, Admin),
    ("POST", "/stemcell_uploads", JSON, ReadOwn),
    ("POST", "/stemcells", JSON, STEMCELLS),
    ("POST", "/stemcells", MULTIPART, STEMCELLS),
    ("GET", "/stemcells", "", ReadOwn),
    ("DELETE", "/stemcells/n/1", "", Admin),
    ("DELETE", "/task/1", "", Admin),
    ("GET", "/tasks", "", ReadOwn),
    ("GET", "/tasks/1", "", ReadOwn),
    ("GET", "/tasks/1/output", "", Change),
    ("GET", "/tasks/1/output?type=debug", "", Change),
    ("GET", "/tasks/1/output?type=cpi", "", Change),
    ("GET", "/tasks/1/output?type=event", "", Look),
    ("GET", "/tasks/1/output?type=result", "", Look),
    ("POST", "/tasks/cancel", JSON, Admin),
    ("DELETE", "/vms/v", "", Admin),
];

/// One user for each scope; the name is the scope.
const SCOPES: [&str; 15] = [
    "bosh.admin",
    "bosh.2b7e7d0e-0000-4000-8000-000000000000.admin",
    "bosh.read",
    "bosh.2b7e7d0e-0000-4000-8000-000000000000.read",
    "bosh.teams.ours.admin",
    "bosh.teams.ours.read",
    "bosh.teams.theirs.admin",
    "bosh.releases.upload",
    "bosh.stemcells.upload",
    "bosh.dynamic-disks.list",
    "bosh.dynamic-disks.create",
    "bosh.dynamic-disks.attach",
    "bosh.dynamic-disks.detach",
    "bosh.dynamic-disks.delete",
    "(bosh.dynamic-disks.create AND bosh.dynamic-disks.attach)",
];

impl Needs {
    /// The scopes that upstream names to whoever holds `held`, in its order.
    fn expected(self, held: &str) -> Vec<String> {
        let director = |role: &str| format!("bosh.{UUID}.{role}");
        let mut scopes = vec!["bosh.admin".to_owned(), director("admin")];
        let is_team_admin = held.starts_with("bosh.teams.") && held.ends_with(".admin");
        let is_team_member = held.starts_with("bosh.teams.");
        if matches!(self, Change | Look) {
            scopes.push("bosh.teams.ours.admin".to_owned());
        }
        if self == Look {
            scopes.push("bosh.teams.ours.read".to_owned());
        }
        if matches!(self, Read | ReadShared | ReadOwn | Look) {
            scopes.extend(["bosh.read".to_owned(), director("read")]);
        }
        if (matches!(self, TeamAdmin | ReadOwn) && is_team_admin)
            || (self == ReadShared && is_team_member)
        {
            scopes.push(held.to_owned());
        }
        if let Holders(own) = self {
            scopes.extend(own.iter().map(|scope| (*scope).to_owned()));
        }
        scopes
    }
}

pub(crate) async fn fixture() -> Fixture {
    let users: Vec<_> = SCOPES
        .iter()
        .map(|scope| {
            let scopes: Vec<&str> = scope.trim_matches(['(', ')']).split(" AND ").collect();
            json!({ "name": scope, "password": "p", "scopes": scopes })
        })
        .chain([
            json!({ "name": "admin", "password": "secret" }),
            json!({ "name": "nothing", "password": "p", "scopes": [] }),
        ])
        .collect();
    let fixture = Fixture::with(json!({
        "user_management": { "provider": "local", "local": { "users": users } },
    }))
    .await;
    crate::teams::deployment(&fixture, "mine", "ours").await;
    crate::teams::task(&fixture, "mine").await;
    fixture
}

async fn ask(fixture: &Fixture, method: &str, path: &str, media: &str, who: Option<&str>) -> Reply {
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(path)
        .header(header::CONTENT_TYPE, media);
    if let Some(who) = who {
        request = request.header(header::AUTHORIZATION, basic(who, "p"));
    }
    let body = if media.is_empty() { "" } else { "{}" };
    fixture.send(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn nobody_gets_in() {
    let fixture = fixture().await;
    for (method, path, media, _) in ROUTES {
        for who in [None, Some("stranger")] {
            let reply = ask(&fixture, method, path, media, who).await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(
                reply.headers[header::WWW_AUTHENTICATE],
                "Basic realm=\"BOSH Director\""
            );
            let bare = path.split('?').next().unwrap();
            assert_eq!(
                reply.text,
                format!("Not authorized: '{bare}'\n"),
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn everybody_else_needs_the_right_scope() {
    let fixture = fixture().await;
    let mut wrong = Vec::new();
    for (method, path, media, needs) in ROUTES {
        for who in SCOPES.iter().chain(&["nothing"]) {
            let expected = needs.expected(who);
            let holds = |scope: &String| {
                scope == who
                    || who
                        .trim_matches(['(', ')'])
                        .split(" AND ")
                        .any(|held| held == scope)
            };
            if expected.iter().any(holds) {
                continue;
            }
            let reply = ask(&fixture, method, path, media, Some(who)).await;
            let told = format!("Require one of the scopes: {}", expected.join(", "));
            let right = serde_json::from_str::<serde_json::Value>(&reply.text)
                .is_ok_and(|body| body["code"] == 600_000 && body["description"] == told);
            if reply.status != StatusCode::UNAUTHORIZED
                || !right
                || !reply.headers.contains_key(header::WWW_AUTHENTICATE)
            {
                let line = format!("{method} {path} as {who}: {} {}", reply.status, reply.text);
                wrong.push(line);
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} refusals:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Asked last what changes something: the routes that look come first.
#[tokio::test]
async fn whoever_may_gets_past_the_gate() {
    let fixture = fixture().await;
    let mut routes = ROUTES.to_vec();
    routes.sort_by_key(|(method, ..)| *method != "GET");
    let mut wrong = Vec::new();
    for (method, path, media, needs) in routes {
        for who in SCOPES {
            if !needs.expected(who).iter().any(|scope| scope == who) {
                continue;
            }
            let reply = ask(&fixture, method, path, media, Some(who)).await;
            let nowhere = reply.text.starts_with("Endpoint '");
            // A task is for whoever may see its deployment, the list of tasks for more.
            let other_team = path == "/tasks/1" && who == "bosh.teams.theirs.admin";
            let refused = reply.status == StatusCode::UNAUTHORIZED;
            if refused != other_team || nowhere || reply.status.is_server_error() {
                let line = format!("{method} {path} as {who}: {} {}", reply.status, reply.text);
                wrong.push(line);
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} refusals:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
