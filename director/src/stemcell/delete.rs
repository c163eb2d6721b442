//! Deleting stemcells (upstream: jobs/helpers/stemcell_deleter.rb).

use std::time::Duration;

use bosh_director_api::Code;

use crate::app::Director;
use crate::db;
use crate::tasks::{Context, Error};

/// Deletes a stemcell from all CPIs. With `force`, one that the CPI cannot
/// delete is forgotten all the same.
pub(crate) async fn delete(
    director: &Director,
    task: &Context,
    name: &str,
    version: &str,
    force: bool,
) -> Result<(), Error> {
    let db = &director.db;
    let stemcells = db::stemcells::find(db, name, version).await?;
    if stemcells.is_empty() {
        return Err(Error::new(
            Code::StemcellNotFound,
            format!("Stemcell '{name}/{version}' doesn't exist"),
        ));
    }
    let lock = format!("lock:stemcells:{name}:{version}");
    let lock = task.lock(&lock, Duration::from_secs(10)).await?;
    let deleted = delete_all(director, task, &stemcells, force).await;
    lock.release().await;
    deleted
}

async fn delete_all(
    director: &Director,
    task: &Context,
    stemcells: &[db::stemcells::Stemcell],
    force: bool,
) -> Result<(), Error> {
    let db = &director.db;
    let users = db::stemcells::deployments_using(db).await?;
    for stemcell in stemcells {
        if let Some(users) = users.get(&stemcell.id) {
            return Err(Error::new(
                Code::StemcellInUse,
                format!(
                    "Stemcell '{}' is still in use by: {}",
                    stemcell.desc(),
                    users.join(", ")
                ),
            ));
        }
    }
    let cpis = director.cpis().await?;
    for stemcell in stemcells {
        let cpi = stemcell.cpi.as_deref().unwrap_or_default();
        let deleted = async {
            let client = cpis.get(cpi, None)?;
            client.delete_stemcell(&stemcell.cid, task).await?;
            Ok::<_, Error>(())
        };
        match deleted.await {
            Err(error) if !force => return Err(error),
            Err(error) => task.debug(format!(
                "stemcell {} stays on cpi '{cpi}': {error}",
                stemcell.cid
            )),
            Ok(()) => {}
        }
        db::stemcells::delete(db, stemcell.id).await?;
        db::stemcells::delete_upload(db, &stemcell.name, &stemcell.version, cpi).await?;
    }
    Ok(())
}
