//! Addons: jobs put on instance groups by rule, of a deployment or of a runtime config.
//!
//! Upstream: addon/{addon,filter,parser}.rb.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::error::{Error, Kind};
use super::raw::{Section, inspect};
use super::resolved::{InstanceGroup, Job, Lifecycle, Release};

/// Where an addon is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// In a deployment manifest.
    Deployment,
    /// In a runtime config.
    Runtime,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::Runtime => "runtime",
        }
    }
}

/// An addon.
#[derive(Debug, Clone)]
pub struct Addon {
    /// Its name.
    pub name: String,
    jobs: Vec<AddonJob>,
    include: Filter,
    exclude: Filter,
    properties: Map<String, Value>,
}

#[derive(Debug, Clone)]
struct AddonJob {
    name: String,
    release: String,
    provides: Map<String, Value>,
    consumes: Map<String, Value>,
    properties: Option<Map<String, Value>>,
}

#[derive(Debug, Clone, Default)]
struct Filter {
    excludes: bool,
    deployments: Vec<String>,
    jobs: Vec<(String, String)>,
    instance_groups: Vec<String>,
    stemcells: Vec<String>,
    networks: Vec<String>,
    teams: Vec<String>,
    azs: Vec<String>,
    lifecycle: String,
}

/// What filters look at in an instance group.
#[derive(Debug, Clone, Default)]
pub struct Facts<'a> {
    name: &'a str,
    lifecycle: &'a str,
    azs: Vec<&'a str>,
    networks: Vec<&'a str>,
    os: &'a str,
    /// Job and release.
    jobs: Vec<(&'a str, &'a str)>,
}

impl<'a> Facts<'a> {
    /// Of an instance group that has been resolved.
    pub fn of(group: &'a InstanceGroup) -> Self {
        Self {
            name: &group.name,
            lifecycle: match group.lifecycle {
                Lifecycle::Service => "service",
                Lifecycle::Errand => "errand",
            },
            azs: group.azs.iter().map(|az| az.name.as_str()).collect(),
            networks: group
                .networks
                .iter()
                .map(|network| network.network.name.as_str())
                .collect(),
            os: &group.stemcell.os,
            jobs: group
                .jobs
                .iter()
                .map(|job| (job.name.as_str(), job.release_name.as_str()))
                .collect(),
        }
    }

    /// Of an instance group as written, with the manifest's `stemcells`.
    pub fn of_raw(group: &'a Value, stemcells: &'a Value) -> Self {
        let text = |value: &'a Value, key: &str| {
            value.get(key).and_then(Value::as_str).unwrap_or_default()
        };
        let list = |key: &str| {
            group
                .get(key)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };
        let alias = text(group, "stemcell");
        let stemcell = stemcells
            .as_array()
            .into_iter()
            .flatten()
            .find(|stemcell| text(stemcell, "alias") == alias);
        Self {
            name: text(group, "name"),
            lifecycle: match text(group, "lifecycle") {
                "" => "service",
                other => other,
            },
            azs: list("azs").filter_map(Value::as_str).collect(),
            networks: list("networks")
                .map(|network| text(network, "name"))
                .collect(),
            os: stemcell
                .map(|stemcell| text(stemcell, "os"))
                .unwrap_or_default(),
            jobs: list("jobs")
                .map(|job| (text(job, "name"), text(job, "release")))
                .collect(),
        }
    }
}

/// Reads `addons`; the jobs' releases have to be among `releases`.
pub fn read(section: Section<'_>, level: Level, releases: &[String]) -> Result<Vec<Addon>, Error> {
    let mut all = Vec::new();
    for spec in section.array_or_empty("addons")? {
        let addon = Addon::read(Section::of(spec)?, level)?;
        for job in &addon.jobs {
            if !releases.contains(&job.release) {
                return Err(Error::new(
                    Kind::AddonReleaseNotListedInReleases,
                    format!(
                        "Manifest specifies job '{}' which is defined in '{release}', but '{release}' is not listed in the {} \
                         releases section.",
                        job.name,
                        level.name(),
                        release = job.release
                    ),
                ));
            }
        }
        all.push(addon);
    }
    Ok(all)
}

impl Addon {
    fn read(section: Section<'_>, level: Level) -> Result<Self, Error> {
        let name = section.string("name")?;
        let mut jobs = Vec::new();
        for spec in section.array_or_empty("jobs")? {
            let job = Section::of(spec)?;
            jobs.push(AddonJob {
                name: job.string("name")?,
                release: job.string("release")?,
                provides: job.hash_or_empty("provides")?,
                consumes: job.hash_or_empty("consumes")?,
                properties: job.optional_hash("properties")?.cloned(),
            });
        }
        Ok(Self {
            name,
            jobs,
            include: Filter::read(section, "include", level)?,
            exclude: Filter::read(section, "exclude", level)?,
            properties: section.hash_or_empty("properties")?,
        })
    }

    /// Names of the releases its jobs are from.
    pub fn releases(&self) -> impl Iterator<Item = &str> {
        self.jobs.iter().map(|job| job.release.as_str())
    }

    /// Whether it is for this instance group.
    pub fn applies(&self, deployment: &str, teams: &[String], group: &InstanceGroup) -> bool {
        self.applies_to(deployment, teams, &Facts::of(group))
    }

    /// Whether it is for an instance group of which this is known.
    pub fn applies_to(&self, deployment: &str, teams: &[String], group: &Facts<'_>) -> bool {
        self.include.applies(deployment, teams, group)
            && !self.exclude.applies(deployment, teams, group)
    }

    /// Puts its jobs on every instance group it is for.
    pub fn add_to(
        &self,
        deployment: &str,
        teams: &[String],
        releases: &[Release],
        groups: &mut [InstanceGroup],
    ) -> Result<(), Error> {
        let eligible: Vec<usize> = (0..groups.len())
            .filter(|index| self.applies(deployment, teams, &groups[*index]))
            .collect();
        for job in &self.jobs {
            for index in &eligible {
                let group = &mut groups[*index];
                let release = releases.iter().find(|release| release.name == job.release);
                let found =
                    release.and_then(|release| Some((release, release.catalog.job(&job.name)?)));
                let Some((release, catalog)) = found else {
                    return Err(Error::new(
                        Kind::DeploymentUnknownTemplate,
                        format!("Can't find job '{}'", job.name),
                    ));
                };
                if group.jobs.iter().any(|other| other.name == job.name) {
                    return Err(Error::new(
                        Kind::Director,
                        format!(
                            "Colocated job '{}' is already added to the instance group '{}'.",
                            job.name, group.name
                        ),
                    ));
                }
                group.jobs.push(Job {
                    name: job.name.clone(),
                    release_name: job.release.clone(),
                    release: Arc::clone(&release.catalog),
                    catalog: Arc::clone(catalog),
                    given: job
                        .properties
                        .clone()
                        .unwrap_or_else(|| self.properties.clone()),
                    properties: Map::new(),
                    provides: job.provides.clone(),
                    consumes: job.consumes.clone(),
                    custom_providers: Vec::new(),
                });
            }
        }
        Ok(())
    }
}

fn strings(section: Section<'_>, key: &str) -> Result<Vec<String>, Error> {
    Ok(section
        .array_or_empty(key)?
        .iter()
        .map(|value| value.as_str().map_or_else(|| inspect(value), str::to_owned))
        .collect())
}

impl Filter {
    fn read(addon: Section<'_>, key: &str, level: Level) -> Result<Self, Error> {
        let Some(map) = addon.optional_hash(key)? else {
            return Ok(Self {
                excludes: key == "exclude",
                ..Self::default()
            });
        };
        let section = Section::over(map);
        let deployments = strings(section, "deployments")?;
        if level == Level::Deployment && !deployments.is_empty() {
            return Err(Error::new(
                Kind::AddonDeploymentFilterNotAllowed,
                "Deployment filter is not allowed for deployment level addons.",
            ));
        }
        let mut jobs = Vec::new();
        for spec in section.array_or_empty("jobs")? {
            let job = Section::of(spec)?;
            let name = job.optional_string("name")?.unwrap_or_default();
            let release = job.optional_string("release")?.unwrap_or_default();
            if name.is_empty() || release.is_empty() {
                return Err(Error::new(
                    Kind::AddonIncompleteFilterJobSection,
                    format!(
                        "Job {} in {} config's {key} section must have both name and release.",
                        inspect(spec),
                        level.name()
                    ),
                ));
            }
            jobs.push((name, release));
        }
        let mut stemcells = Vec::new();
        for spec in section.array_or_empty("stemcell")? {
            let os = Section::of(spec)?
                .optional_string("os")?
                .unwrap_or_default();
            if os.is_empty() {
                return Err(Error::new(
                    Kind::AddonIncompleteFilterStemcellSection,
                    format!(
                        "Stemcell {} in {} config's {key} section must have an os name.",
                        inspect(spec),
                        level.name()
                    ),
                ));
            }
            stemcells.push(os);
        }
        let mut teams = strings(section, "teams")?;
        if level == Level::Deployment {
            teams.clear();
        }
        Ok(Self {
            excludes: key == "exclude",
            deployments,
            jobs,
            instance_groups: strings(section, "instance_groups")?,
            stemcells,
            networks: strings(section, "networks")?,
            teams,
            azs: strings(section, "azs")?,
            lifecycle: section.optional_string("lifecycle")?.unwrap_or_default(),
        })
    }

    fn applies(&self, deployment: &str, teams: &[String], group: &Facts<'_>) -> bool {
        let any_of = |wanted: &[String], present: &[&str]| {
            wanted.iter().any(|name| present.contains(&name.as_str()))
        };
        let narrowed = [
            (self.lifecycle.is_empty(), self.lifecycle == group.lifecycle),
            (self.azs.is_empty(), any_of(&self.azs, &group.azs)),
            (
                self.teams.is_empty(),
                self.teams.iter().any(|team| teams.contains(team)),
            ),
            (
                self.stemcells.is_empty(),
                any_of(&self.stemcells, &[group.os]),
            ),
            (
                self.networks.is_empty(),
                any_of(&self.networks, &group.networks),
            ),
        ];
        if narrowed.iter().any(|(unset, matches)| !unset && !matches) {
            return false;
        }
        let has_job = |(name, release): &(String, String)| {
            group.jobs.contains(&(name.as_str(), release.as_str()))
        };
        let named = [
            (
                self.deployments.is_empty(),
                self.deployments.iter().any(|name| name == deployment),
            ),
            (self.jobs.is_empty(), self.jobs.iter().any(has_job)),
            (
                self.instance_groups.is_empty(),
                any_of(&self.instance_groups, &[group.name]),
            ),
        ];
        if named.iter().all(|(unset, _)| *unset) {
            // Nothing is included by default; something is excluded only if anything at all was asked.
            return !self.excludes || narrowed.iter().any(|(unset, _)| !unset);
        }
        named.iter().all(|(unset, matches)| *unset || *matches)
    }
}
