//! `features` of a manifest.
//!
//! Upstream: deployment_plan/deployment_features_parser.rb.

use serde_json::Value;

use super::error::{Error, Kind};
use super::raw::{Section, class};
use super::resolved::Features;

/// Reads `features`.
pub fn read(section: Section<'_>) -> Result<Features, Error> {
    let Some(map) = section.optional_hash("features")? else {
        return Ok(Features::default());
    };
    let boolean = |key: &str| match map.get(key) {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(other) => Err(Error::new(
            Kind::FeaturesInvalidFormat,
            format!(
                "Key '{key}' in 'features' expected to be a boolean, but received '{}'",
                class(other)
            ),
        )),
    };
    let use_dns_addresses = boolean("use_dns_addresses")?;
    let use_link_dns_names = boolean("use_link_dns_names")?;
    let use_short_dns_addresses = boolean("use_short_dns_addresses")?;
    let randomize_az_placement = boolean("randomize_az_placement")?;
    let converge_variables = boolean("converge_variables")?;
    let use_tmpfs_config = boolean("use_tmpfs_config")?;
    if use_link_dns_names == Some(true) {
        for (key, value) in [
            ("use_short_dns_addresses", use_short_dns_addresses),
            ("use_dns_addresses", use_dns_addresses),
        ] {
            if value == Some(false) {
                return Err(Error::new(
                    Kind::IncompatibleFeatures,
                    format!(
                        "cannot enable `use_link_dns_names` when `{key}` is explicitly disabled"
                    ),
                ));
            }
        }
    }
    Ok(Features {
        use_dns_addresses: use_dns_addresses.or(use_link_dns_names),
        use_short_dns_addresses: use_short_dns_addresses
            .or(use_link_dns_names)
            .unwrap_or(false),
        use_link_dns_names: use_link_dns_names.unwrap_or(false),
        randomize_az_placement: randomize_az_placement.unwrap_or(false),
        converge_variables: converge_variables.unwrap_or(false),
        use_tmpfs_config,
    })
}
