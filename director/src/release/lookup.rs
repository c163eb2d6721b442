//! Finds an uploaded version by name, in its present notation or that of old.

use bosh_director_api::Code;

use crate::db;
use crate::db::releases::{Release, ReleaseVersion};
use crate::manifest::version::{self, Version};
use crate::tasks::Error;

/// The release of that name.
pub(crate) async fn release(db: &db::Db, name: &str) -> Result<Release, Error> {
    db::releases::find(db, name).await?.ok_or_else(|| {
        let message = format!("Release '{name}' doesn't exist");
        Error::new(Code::ReleaseNotFound, message)
    })
}

/// The version of that name and number.
pub(crate) async fn release_version(
    db: &db::Db,
    name: &str,
    wanted: &str,
) -> Result<ReleaseVersion, Error> {
    if let Some(found) = db::releases::find_version(db, name, wanted).await? {
        return Ok(found);
    }
    if Version::of_release(wanted).is_none() {
        let message = format!("Release version invalid: {wanted}");
        return Err(Error::new(Code::ReleaseVersionInvalid, message));
    }
    let modern = version::modern(wanted);
    let other = if modern == wanted {
        version::old(wanted)
    } else {
        Some(modern)
    };
    let found = match other {
        Some(other) => db::releases::find_version(db, name, &other).await?,
        None => None,
    };
    found.ok_or_else(|| {
        let message = format!("Release version '{name}/{wanted}' doesn't exist");
        Error::new(Code::ReleaseVersionNotFound, message)
    })
}
