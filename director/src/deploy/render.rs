//! Fetches the templates of jobs and has them rendered.
//!
//! A job's archive is fetched once per task, whatever the number of its instances. Upstream: job_renderer.rb,
//! core/templates/{template_blob_cache,job_template_loader}.rb.

use std::collections::{BTreeMap, HashMap};

use bosh_director_api::Code;
use bosh_protocol::MultiDigest;

use super::plan::names::Index;
use super::plan::spec::Spec;
use super::scope::Scope;
use super::subject::Subject;
use super::{Error, parallel};
use crate::links::Resolved;
use crate::manifest::{Desired, InstanceGroup};
use crate::template::{Group, Instance, Job, Rendered};
use crate::variables::Values;

/// Largest archive of a job, packed.
const MAX_ARCHIVE: u64 = 256 * 1024 * 1024;

impl From<crate::template::Error> for Error {
    fn from(error: crate::template::Error) -> Self {
        Self::because(Code::Generic.number(), error)
    }
}

/// Renders templates of a deployment's instances, as often as needed.
pub struct Renderer {
    /// Jobs of each group, in order.
    jobs: BTreeMap<String, Vec<Job>>,
    /// The deployment's links.
    links: Resolved,
    /// Values of other deployments' variables, for links from there.
    foreign: BTreeMap<String, Values>,
    /// Numbers of DNS names.
    index: Index,
}

impl Renderer {
    /// Fetches the jobs of these groups.
    pub async fn new(
        scope: &Scope,
        desired: &Desired,
        groups: &[&InstanceGroup],
        links: Resolved,
        foreign: BTreeMap<String, Values>,
        index: Index,
    ) -> Result<Self, Error> {
        let mut wanted = BTreeMap::new();
        for job in groups.iter().flat_map(|group| &group.jobs) {
            wanted.entry(job.catalog.id).or_insert(job);
        }
        let fetched = parallel::each(scope.max_threads(), wanted, |(id, job)| async move {
            Ok::<_, Error>((id, fetch(scope, job).await?))
        })
        .await?;
        let fetched: HashMap<i64, Job> = fetched.into_iter().collect();
        let mut jobs = BTreeMap::new();
        for group in groups {
            let own = group.jobs.iter().filter_map(|job| {
                let mut unpacked = fetched.get(&job.catalog.id)?.clone();
                unpacked.offers = offers(desired, &links, &index, &group.name, &job.name);
                Some(unpacked)
            });
            jobs.insert(group.name.clone(), own.collect());
        }
        Ok(Self {
            jobs,
            links,
            foreign,
            index,
        })
    }

    /// The links.
    pub fn links(&self) -> &Resolved {
        &self.links
    }

    /// Numbers of DNS names.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Complains about what cannot be filled in, without rendering anything.
    pub fn check(&self, spec: &Spec, values: &Values) -> Result<(), Error> {
        spec.template_shared(&self.links, values, &self.foreign)?;
        Ok(())
    }

    /// Renders for these instances: (uuid, spec) by group, with the values that fill placeholders. All complaints at
    /// once, in upstream's words.
    pub async fn render<'a>(
        &self,
        scope: &Scope,
        groups: impl IntoIterator<Item = (&'a str, Vec<(String, &'a Spec)>)>,
        values: &Values,
    ) -> Result<HashMap<String, Rendered>, Error> {
        let mut asked = Vec::new();
        let mut errors = Vec::new();
        for (name, instances) in groups {
            match self.group(name, &instances, values) {
                Ok(Some(group)) => asked.push(group),
                Ok(None) => {}
                Err(error) => errors.push(error.to_string()),
            }
        }
        if !errors.is_empty() {
            return Err(Error::other(crate::template::pool::combined(&errors)));
        }
        let rendered = scope.director.templates.render(&asked, &self.index).await?;
        Ok(rendered
            .into_iter()
            .map(|rendered| (rendered.uuid.clone(), rendered))
            .collect())
    }

    fn group(
        &self,
        name: &str,
        instances: &[(String, &Spec)],
        values: &Values,
    ) -> Result<Option<Group>, Error> {
        let (Some(jobs), Some((_, first))) = (self.jobs.get(name), instances.first()) else {
            return Ok(None);
        };
        if jobs.is_empty() {
            return Ok(None);
        }
        let shared = first.template_shared(&self.links, values, &self.foreign)?;
        let instances = instances
            .iter()
            .map(|(uuid, spec)| {
                Ok(Instance {
                    uuid: uuid.clone(),
                    spec: spec.template()?,
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Some(Group {
            name: name.to_owned(),
            jobs: jobs.clone(),
            shared,
            instances,
        }))
    }

    /// Renders the templates of `subject` again, whose addresses are known only now.
    pub async fn again(&self, scope: &Scope, subject: &mut Subject) -> Result<(), Error> {
        let group = [(
            subject.group.as_str(),
            vec![(subject.uuid.clone(), &subject.spec)],
        )];
        let mut rendered = self.render(scope, group, &subject.values).await?;
        if let Some(rendered) = rendered.remove(&subject.uuid) {
            subject.rendered = Some(rendered);
        }
        Ok(())
    }
}

async fn fetch(scope: &Scope, job: &crate::manifest::Job) -> Result<Job, Error> {
    let digest: Option<MultiDigest> = job.catalog.sha1.parse().ok();
    let archive = scope
        .director
        .blobstore
        .get_bytes(&job.catalog.blobstore_id, digest.as_ref(), MAX_ARCHIVE)
        .await
        .map_err(|error| {
            Error::from(error).context(format!(
                "job '{}' of release '{}'",
                job.name, job.release_name
            ))
        })?;
    let (catalog, release, version) = (
        job.catalog.clone(),
        job.release_name.clone(),
        job.release.version.clone(),
    );
    let unpacked = tokio::task::spawn_blocking(move || {
        crate::template::job::unpack(&catalog, &release, &version, archive.as_ref())
    });
    Ok(unpacked.await??)
}

/// Links that a job offers, with the numbers of their DNS groups.
fn offers(
    desired: &Desired,
    links: &Resolved,
    index: &Index,
    group: &str,
    job: &str,
) -> Vec<(String, String, String)> {
    links
        .offered_by(group, job)
        .map(|provider| {
            let key = (
                "link".to_owned(),
                provider.group_name(),
                desired.name.clone(),
            );
            let number = index
                .groups
                .get(&key)
                .map(i64::to_string)
                .unwrap_or_default();
            (provider.name.clone(), provider.link_type.clone(), number)
        })
        .collect()
}
