//! Single instances as the last deploy wanted them, for repairs and for changes of one instance's state.
//!
//! Nothing is written and no agent is asked: the instances stay which and where they are. Upstream:
//! deployment_plan/instance_plan_from_db.rb; there the stored spec is used, here it is made anew from the manifest that
//! was deployed last, which comes to the same and needs no second way to render.

use std::collections::{BTreeMap, BTreeSet};

use bosh_director_api::Code;

use super::load::{self, Rows};
use super::plan::Plan;
use super::plan::spec::Spec;
use super::prepare::{Ask, Prepared, Request, prepare};
use super::render::Renderer;
use super::scope::Scope;
use super::subject::Subject;
use super::{Error, subjects};
use crate::compile;
use crate::db::instances::Instance as Row;
use crate::manifest::Options;

/// A deployment as it was deployed last.
pub struct Blueprint {
    prepared: Prepared,
    plan: Plan,
}

impl Blueprint {
    /// Works it out.
    pub async fn new(scope: &Scope) -> Result<Self, Error> {
        let options = Options {
            dry_run: true,
            ..Options::default()
        };
        let request = Request::deployed(scope, options, Ask::Only(BTreeSet::new())).await?;
        let prepared = prepare(scope, request).await?;
        let compiled = compile::table(&compile::find(scope, &prepared.desired).await?);
        let plan = prepared.plan(&compiled, &BTreeSet::new());
        Ok(Self { prepared, plan })
    }

    /// Renders templates of its instances.
    pub fn renderer(&self) -> &Renderer {
        &self.prepared.renderer
    }

    /// The deployment's rows when this was made.
    pub fn rows(&self) -> &Rows {
        &self.prepared.rows
    }

    /// What it was worked out from.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// The instance of `row`, its templates rendered with the values it has, in the state it was last asked to be in.
    pub async fn subject(&self, scope: &Scope, row: &Row) -> Result<Subject, Error> {
        for (position, group) in self.plan.groups.iter().enumerate() {
            for (index, instance) in group.instances.iter().enumerate() {
                if instance.placed.uuid != row.uuid() {
                    continue;
                }
                let desired = &self.prepared.desired.instance_groups[position];
                let own = self
                    .prepared
                    .current
                    .variable_sets
                    .get(&row.variable_set_id.0);
                let values = own.unwrap_or(&self.prepared.values);
                let spec: BTreeMap<&str, Vec<(String, &Spec)>> = [(
                    group.name.as_str(),
                    vec![(row.uuid().to_owned(), &instance.spec)],
                )]
                .into();
                let mut rendered = self.renderer().render(scope, spec, values).await?;
                let rendered = rendered.remove(row.uuid());
                let mut subject = subjects::of_instance(
                    &self.prepared,
                    desired,
                    instance,
                    position,
                    index,
                    rendered,
                );
                subject.values = values.clone();
                subject.variable_set = row.variable_set_id;
                subject.was = row.state.clone();
                subject.state = load::state(&row.state);
                subject.swap = false;
                if let Some(rendered) = &subject.rendered {
                    let spec = &mut subject.spec.0;
                    spec.insert(
                        "configuration_hash".into(),
                        rendered.configuration_hash.clone().into(),
                    );
                    spec.insert(
                        "template_hashes".into(),
                        serde_json::json!(rendered.template_hashes),
                    );
                }
                return Ok(subject);
            }
        }
        Err(Error::new(
            Code::InstanceNotFound,
            format!(
                "instance '{}' is not in the manifest that was deployed last",
                row.name()
            ),
        ))
    }
}
