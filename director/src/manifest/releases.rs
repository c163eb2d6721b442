//! Releases and stemcells that a manifest names, looked up among those uploaded.
//!
//! Upstream: manifest/manifest.rb (versions), deployment_plan/{release_version,stemcell}.rb,
//! api/{release,stemcell}_manager.rb.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::error::{Error, Kind};
use super::input::catalog;
use super::raw::{Section, inspect};
use super::resolved::{Release, Stemcell};
use super::version::{Version, Wanted, modern, old};

/// Puts versions in place of `latest` and of prefixes in `releases` and `stemcells`, and the operating system
/// of stemcells named by name.
pub fn fix_versions(
    manifest: &mut Map<String, Value>,
    uploaded: &[Arc<catalog::ReleaseVersion>],
    uploaded_stemcells: &[catalog::Stemcell],
) -> Result<(), Error> {
    if let Some(Value::Array(stemcells)) = manifest.get_mut("stemcells") {
        for stemcell in stemcells {
            if let Value::Object(stemcell) = stemcell {
                fix_stemcell(stemcell, uploaded_stemcells)?;
            }
        }
    }
    if let Some(Value::Array(releases)) = manifest.get_mut("releases") {
        for release in releases {
            if let Value::Object(release) = release {
                fix_release(release, uploaded)?;
            }
        }
    }
    Ok(())
}

fn text(value: Option<&Value>) -> Option<String> {
    match value {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    }
}

fn fix_stemcell(
    stemcell: &mut Map<String, Value>,
    uploaded: &[catalog::Stemcell],
) -> Result<(), Error> {
    let (name, os) = (text(stemcell.get("name")), text(stemcell.get("os")));
    let version = text(stemcell.get("version")).unwrap_or_default();
    let wanted = Wanted::parse(&version);
    let mut fixed = version.clone();
    if !matches!(wanted, Wanted::Exactly(_)) {
        let (matches, what): (Vec<&catalog::Stemcell>, String) = match (&name, &os) {
            (Some(name), _) => (
                uploaded
                    .iter()
                    .filter(|stemcell| stemcell.name == *name)
                    .collect(),
                format!("Stemcell '{name}'"),
            ),
            (None, Some(os)) => (
                uploaded
                    .iter()
                    .filter(|stemcell| stemcell.os == *os)
                    .collect(),
                format!("Stemcell with Operating System '{os}'"),
            ),
            (None, None) => {
                return Err(Error::new(
                    Kind::Director,
                    "Stemcell definition must contain either name or os",
                ));
            }
        };
        if matches.is_empty() {
            return Err(Error::new(
                Kind::StemcellNotFound,
                format!("{what} doesn't exist"),
            ));
        }
        let latest = matches
            .iter()
            .filter(|stemcell| wanted.admits(&stemcell.version))
            .max_by(|a, b| Version::of_stemcell(&a.version).cmp(&Version::of_stemcell(&b.version)));
        fixed = match (latest, wanted) {
            (Some(latest), _) => latest.version.clone(),
            (None, Wanted::LatestOf(prefix)) => {
                return Err(Error::new(
                    Kind::StemcellNotFound,
                    format!("{what} exists, but version with prefix '{prefix}' not found."),
                ));
            }
            (None, _) => {
                return Err(Error::new(
                    Kind::StemcellNotFound,
                    format!("{what} doesn't exist"),
                ));
            }
        };
    }
    stemcell.insert("version".into(), Value::String(fixed.clone()));
    if os.is_none()
        && let Some(found) = uploaded
            .iter()
            .find(|stemcell| Some(&stemcell.name) == name.as_ref() && stemcell.version == fixed)
    {
        stemcell.insert("os".into(), Value::String(found.os.clone()));
    }
    Ok(())
}

fn fix_release(
    release: &mut Map<String, Value>,
    uploaded: &[Arc<catalog::ReleaseVersion>],
) -> Result<(), Error> {
    let name = text(release.get("name")).unwrap_or_default();
    let version = text(release.get("version")).unwrap_or_default();
    let wanted = Wanted::parse(&version);
    let mut fixed = version.clone();
    if !matches!(wanted, Wanted::Exactly(_)) {
        check_known(&name, uploaded)?;
        let latest = uploaded
            .iter()
            .filter(|release| release.name == name && wanted.admits(&release.version))
            .max_by(|a, b| Version::of_release(&a.version).cmp(&Version::of_release(&b.version)));
        fixed = latest
            .map(|release| release.version.clone())
            .ok_or_else(|| {
                Error::new(
                    Kind::ReleaseVersionNotFound,
                    format!("Release version '{name}/{version}' doesn't exist"),
                )
            })?;
    }
    release.insert("version".into(), Value::String(fixed));
    Ok(())
}

fn check_known(name: &str, uploaded: &[Arc<catalog::ReleaseVersion>]) -> Result<(), Error> {
    if uploaded.iter().any(|release| release.name == name) {
        Ok(())
    } else {
        Err(Error::new(
            Kind::ReleaseNotFound,
            format!("Release '{name}' doesn't exist"),
        ))
    }
}

/// Reads one entry of `releases` and looks it up.
pub fn read_release(
    spec: &Value,
    uploaded: &[Arc<catalog::ReleaseVersion>],
) -> Result<Release, Error> {
    let section = Section::of(spec)?;
    let name = section.string("name")?;
    let version = section.string("version")?;
    let mut exported_from = Vec::new();
    for spec in section.array_or_empty("exported_from")? {
        let stemcell = Section::of(spec)?;
        exported_from.push((stemcell.string("os")?, stemcell.string("version")?));
    }
    check_known(&name, uploaded)?;
    let candidates = || uploaded.iter().filter(|release| release.name == name);
    let found = candidates()
        .find(|release| release.version == version)
        .or_else(|| {
            let now = modern(&version);
            let other = if now == version { old(&version)? } else { now };
            candidates().find(|release| release.version == other)
        })
        .ok_or_else(|| {
            Error::new(
                Kind::ReleaseVersionNotFound,
                format!("Release version '{name}/{version}' doesn't exist"),
            )
        })?;
    Ok(Release {
        name,
        version,
        catalog: Arc::clone(found),
        exported_from,
    })
}

/// Reads `releases`, or `release`.
pub fn read_releases(
    section: Section<'_>,
    uploaded: &[Arc<catalog::ReleaseVersion>],
) -> Result<Vec<Release>, Error> {
    let specs = match section.get("release") {
        Some(_) if section.has("releases") => {
            return Err(Error::new(
                Kind::DeploymentAmbiguousReleaseSpec,
                "Deployment manifest contains both 'release' and 'releases' sections, please use one of the two.",
            ));
        }
        Some(one) => std::slice::from_ref(one),
        None => section.array("releases")?,
    };
    let mut all: Vec<Release> = Vec::new();
    for spec in specs {
        let release = read_release(spec, uploaded)?;
        if all.iter().any(|other| other.name == release.name) {
            return Err(Error::new(
                Kind::DeploymentDuplicateReleaseName,
                format!("Duplicate release name '{}'", release.name),
            ));
        }
        all.push(release);
    }
    Ok(all)
}

/// Reads `stemcells` and looks them up.
pub fn read_stemcells(
    section: Section<'_>,
    uploaded: &[catalog::Stemcell],
) -> Result<Vec<Arc<Stemcell>>, Error> {
    let mut all: Vec<Arc<Stemcell>> = Vec::new();
    for spec in section.array_or_empty("stemcells")? {
        let entry = Section::of(spec)?;
        let alias = entry.string("alias")?;
        if all.iter().any(|other| other.alias == alias) {
            return Err(Error::new(
                Kind::StemcellAliasAlreadyExists,
                format!("Duplicate stemcell alias '{alias}'"),
            ));
        }
        all.push(Arc::new(read_stemcell(alias, entry, spec, uploaded)?));
    }
    if all.is_empty() {
        return Err(Error::new(
            Kind::DeploymentInvalidResourceSpecification,
            "'stemcells' needs to be specified",
        ));
    }
    Ok(all)
}

fn read_stemcell(
    alias: String,
    entry: Section<'_>,
    spec: &Value,
    uploaded: &[catalog::Stemcell],
) -> Result<Stemcell, Error> {
    let name = entry.optional_string("name")?;
    let os = entry.optional_string("os")?;
    let version = entry.string("version")?;
    let missing = |message: String| Error::new(Kind::StemcellNotFound, message);
    let mut candidates: Vec<catalog::Stemcell> = match (&name, &os) {
        (Some(name), _) => uploaded
            .iter()
            .filter(|stemcell| stemcell.name == *name && stemcell.version == version)
            .cloned()
            .collect(),
        (None, Some(os)) => uploaded
            .iter()
            .filter(|stemcell| stemcell.os == *os && stemcell.version == version)
            .cloned()
            .collect(),
        (None, None) => {
            return Err(Error::new(
                Kind::ValidationMissingField,
                format!(
                    "Required property 'os' or 'name' was not specified in object ({})",
                    inspect(spec)
                ),
            ));
        }
    };
    if name.is_none() {
        candidates.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let first = candidates.first().ok_or_else(|| match (&name, &os) {
        (Some(name), _) => missing(format!("Stemcell '{name}/{version}' doesn't exist")),
        (None, os) => missing(format!(
            "Stemcell version '{version}' for OS '{}' doesn't exist",
            os.as_deref().unwrap_or_default()
        )),
    })?;
    Ok(Stemcell {
        alias,
        name: first.name.clone(),
        os: first.os.clone(),
        version: first.version.clone(),
        candidates,
    })
}
