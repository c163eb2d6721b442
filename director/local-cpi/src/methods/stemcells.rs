//! `create_stemcell` and `delete_stemcell`.

use std::path::Path;

use bosh_cpi::Object;

use super::Cpi;
use crate::container::INITS;
use crate::error::Context;
use crate::ids::{StemcellCid, VmCid};
use crate::store::{Kind, StemcellRecord};
use crate::{Error, unpack};

pub(super) fn create(
    cpi: &Cpi,
    image: &Path,
    cloud_properties: Object,
) -> Result<StemcellCid, Error> {
    let cid = StemcellCid::generate();
    let draft = cpi.store.draft(&cid)?;
    let rootfs = draft.path().join("rootfs");
    std::fs::create_dir(&rootfs).context(|| format!("could not make '{}'", rootfs.display()))?;
    // The root of a file system is everybody's to enter, whatever the umask of the caller.
    std::fs::set_permissions(&rootfs, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .context(|| format!("could not set the mode of '{}'", rootfs.display()))?;
    unpack::unpack(image, &rootfs).map_err(|source| Error::Image {
        image: image.display().to_string(),
        source,
    })?;
    let init = INITS
        .into_iter()
        .find(|init| unpack::is_executable(&rootfs, init));
    let record = StemcellRecord {
        init: init.ok_or(Error::NoInit)?.to_owned(),
        cloud_properties,
    };
    draft.record(StemcellCid::FILE, &record)?;
    draft.publish()?;
    Ok(cid)
}

/// Nothing to do if it is not there. A VM's root is the stemcell with the VM's changes above it, so those in use stay.
pub(super) fn delete(cpi: &Cpi, cid: &StemcellCid) -> Result<(), Error> {
    let _network = cpi.store.lock_network()?;
    for vm in cpi.store.list::<VmCid>()? {
        match cpi.store.read(&vm) {
            Ok(record) if &record.stemcell == cid => {
                return Err(Error::StemcellInUse {
                    stemcell: cid.clone(),
                    vm,
                });
            }
            Ok(_) | Err(Error::VmNotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    cpi.store.remove(cid)
}
