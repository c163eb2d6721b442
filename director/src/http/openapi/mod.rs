//! The OpenAPI document: `GET /openapi.json`.
//!
//! Schemas come from the types of `bosh-director-api` by utoipa; [`endpoints`] lists what the router answers, and a test
//! holds both against each other. The document is made when it is asked for: an idle director does not keep it.

mod endpoints;

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::auth::Permission;
use super::error::Result;
use super::{Request, reply};

pub(super) async fn show(request: Request) -> Result {
    request.require(Permission::ReadShared)?;
    Ok(reply::json(&document(&request.director.config.version)))
}

/// The whole document.
fn document(version: &str) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut schemas: Map<String, Value> = Map::new();
    for endpoint in endpoints::all() {
        for (name, schema) in endpoint.schemas {
            schemas.insert(name, json!(schema));
        }
        let path = paths
            .entry(endpoint.path.to_owned())
            .or_insert_with(|| json!({}));
        path[endpoint.method] = endpoint.operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "BOSH Director",
            "version": version,
            "description": "What the bosh CLI and the health monitor ask of a director.",
        },
        "security": [{ "basic": [] }, { "bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "basic": { "type": "http", "scheme": "basic" },
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
            },
        },
    })
}

/// One method of one path.
struct Endpoint {
    method: &'static str,
    path: &'static str,
    operation: Value,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl Endpoint {
    fn new(method: &'static str, path: &'static str, about: &str) -> Self {
        let parameters: Vec<Value> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| {
                json!({ "name": name, "in": "path", "required": true,
                        "schema": { "type": "string", "minLength": 1 } })
            })
            .collect();
        let operation = json!({
            "summary": about,
            "parameters": parameters,
            "responses": {
                "default": { "description": "An error: a code and a description, or plain text." },
            },
        });
        Self {
            method,
            path,
            operation,
            schemas: Vec::new(),
        }
    }

    /// Parameters of the query; all may be left out.
    fn query(mut self, names: &[&str]) -> Self {
        if let Some(parameters) = self.operation["parameters"].as_array_mut() {
            parameters.extend(names.iter().map(
                |name| json!({ "name": name, "in": "query", "schema": { "type": "string" } }),
            ));
        }
        self
    }

    /// A JSON body.
    fn body<T: ToSchema>(mut self) -> Self {
        let schema = self.schema::<T>();
        self.content("application/json", schema)
    }

    /// A JSON body of no certain shape.
    fn any_json(self) -> Self {
        self.content("application/json", json!({ "type": "object" }))
    }

    /// A YAML body.
    fn yaml(self) -> Self {
        self.content("text/yaml", json!({ "type": "string" }))
    }

    /// An archive, or JSON that says where it is.
    fn archive(self) -> Self {
        let archive = json!({ "type": "string", "contentMediaType": "application/gzip" });
        self.body::<bosh_director_api::RemoteArchive>()
            .content("application/x-compressed", archive)
    }

    fn content(mut self, media: &str, schema: Value) -> Self {
        self.operation["requestBody"]["required"] = json!(true);
        self.operation["requestBody"]["content"][media] = json!({ "schema": schema });
        self
    }

    /// 200 with JSON.
    fn json<T: ToSchema>(self) -> Self {
        self.status_json::<T>("200")
    }

    /// Another status with JSON.
    fn status_json<T: ToSchema>(mut self, status: &str) -> Self {
        let schema = self.schema::<T>();
        self.replies(status, "application/json", schema)
    }

    /// 200 with a list in JSON.
    fn list<T: ToSchema>(mut self) -> Self {
        let items = self.schema::<T>();
        let list = json!({ "type": "array", "items": items });
        self.replies("200", "application/json", list)
    }

    /// 200 with JSON of no certain shape.
    fn any(self) -> Self {
        self.replies("200", "application/json", json!({}))
    }

    fn replies(mut self, status: &str, media: &str, schema: Value) -> Self {
        self.operation["responses"][status] = json!({
            "description": "Done.",
            "content": { media: { "schema": schema } },
        });
        self
    }

    /// A redirect to the task that does it.
    fn task(mut self) -> Self {
        self.operation["responses"]["302"] = json!({
            "description": "The task that does it.",
            "headers": { "Location": { "schema": { "type": "string" } } },
        });
        self
    }

    /// A status without a body.
    fn status(mut self, status: &str) -> Self {
        self.operation["responses"][status] = json!({ "description": "Done." });
        self
    }

    /// A file.
    fn file(mut self) -> Self {
        self.operation["responses"]["200"] = json!({ "description": "The file." });
        self
    }

    /// Needs no credentials.
    fn open(mut self) -> Self {
        self.operation["security"] = json!([]);
        self
    }

    /// A reference to a type's schema, which goes into the document along with all that it refers to.
    fn schema<T: ToSchema>(&mut self) -> Value {
        let name = T::name().into_owned();
        self.schemas
            .push((name.clone(), <T as PartialSchema>::schema()));
        T::schemas(&mut self.schemas);
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Paths of the router, as its source has them, with one name for every parameter.
    fn routed() -> BTreeSet<String> {
        let source = include_str!("../router.rs");
        let mut paths = BTreeSet::new();
        for (open, prefix) in [
            (".route(\"", ""),
            ("typed(\"", ""),
            ("&at(\"", "/deployments/{}"),
        ] {
            let flat: String = source.split_whitespace().collect();
            for piece in flat.split(open).skip(1) {
                let path = piece.split('"').next().unwrap_or_default();
                paths.insert(format!("{prefix}{}", anonymous(path)));
            }
        }
        for kind in ["cloud", "runtime", "cpi"] {
            paths.insert(format!("/{kind}_configs/diff"));
        }
        paths
    }

    fn anonymous(path: &str) -> String {
        let part = |part: &str| match part.starts_with('{') {
            true => "{}".to_owned(),
            false => part.to_owned(),
        };
        path.split('/').map(part).collect::<Vec<_>>().join("/")
    }

    #[test]
    fn the_document_lists_what_the_router_answers() {
        let documented: BTreeSet<String> = endpoints::all()
            .iter()
            .map(|endpoint| anonymous(endpoint.path))
            .collect();
        let routed = routed();
        assert!(routed.len() > 70, "{routed:?}");
        let missing: Vec<_> = routed.difference(&documented).collect();
        let invented: Vec<_> = documented.difference(&routed).collect();
        assert!(missing.is_empty(), "not in the document: {missing:?}");
        assert!(invented.is_empty(), "not in the router: {invented:?}");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document("1");
        let text = document.to_string();
        for piece in text.split("#/components/schemas/").skip(1) {
            let name = piece.split('"').next().unwrap_or_default();
            let schema = &document["components"]["schemas"][name];
            assert!(!schema.is_null(), "no schema '{name}'");
        }
        assert_eq!(
            document["paths"]["/tasks"]["get"]["summary"],
            "Tasks, newest first."
        );
    }
}
