//! The types of columns: typed ids, and times in UTC.

use sea_orm::sea_query::{Nullable, Value};
use sea_orm::{ColIdx, QueryResult, TryGetError, TryGetable};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, PrimitiveDateTime};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<$name> for Value {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }

        impl Nullable for $name {
            fn null() -> Value {
                <$inner as Nullable>::null()
            }
        }

        impl TryGetable for $name {
            fn try_get_by<I: ColIdx>(res: &QueryResult, index: I) -> Result<Self, TryGetError> {
                <$inner>::try_get_by(res, index).map(Self)
            }
        }
    )*};
}

ids! {
    /// A row of `tasks`; the number that clients see.
    TaskId(i32);
    /// A row of `deployments`.
    DeploymentId(i32);
    /// A row of `instances` (not the instance's uuid).
    InstanceId(i32);
    /// A row of `vms` (not the cloud's id).
    VmId(i32);
    /// A row of `orphaned_vms`.
    OrphanedVmId(i32);
    /// A row of `persistent_disks` (not the cloud's id).
    DiskId(i32);
    /// A row of `dynamic_disks`.
    DynamicDiskId(i32);
    /// A row of `orphan_disks`.
    OrphanDiskId(i32);
    /// A row of `snapshots`.
    SnapshotId(i32);
    /// A row of `configs`; clients see it as a string.
    ConfigId(i32);
    /// A row of `releases`.
    ReleaseId(i32);
    /// A row of `release_versions`.
    ReleaseVersionId(i32);
    /// A row of `packages`.
    PackageId(i32);
    /// A row of `compiled_packages`.
    CompiledPackageId(i32);
    /// A row of `templates`: a job of a release.
    TemplateId(i32);
    /// A row of `stemcells`: a stemcell on one CPI.
    StemcellId(i32);
    /// A row of `events`.
    EventId(i64);
    /// A row of `variable_sets`.
    VariableSetId(i64);
    /// A row of `variable_values`.
    VariableValueId(i64);
    /// A row of `deployment_problems`.
    ProblemId(i32);
    /// A row of `link_providers`.
    LinkProviderId(i32);
    /// A row of `link_provider_intents`.
    LinkProviderIntentId(i32);
    /// A row of `link_consumers`.
    LinkConsumerId(i32);
    /// A row of `link_consumer_intents`.
    LinkConsumerIntentId(i32);
    /// A row of `links`.
    LinkId(i32);
    /// A row of `blobs`.
    BlobId(i32);
    /// A row of `teams`.
    TeamId(i32);
    /// A row of `networks`: a managed network.
    NetworkId(i32);
}

/// A time in UTC, as the database keeps it: without a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(#[serde(with = "time::serde::rfc3339")] pub OffsetDateTime);

impl Timestamp {
    /// The current time.
    pub fn now() -> Self {
        Self(OffsetDateTime::now_utc())
    }

    /// Seconds since 1970, as the API shows times.
    pub fn unix(self) -> i64 {
        self.0.unix_timestamp()
    }

    /// A time from seconds since 1970; `None` when out of range.
    pub fn from_unix(seconds: i64) -> Option<Self> {
        OffsetDateTime::from_unix_timestamp(seconds).ok().map(Self)
    }

    /// `2026-01-31 23:59:59 UTC`, as Ruby prints a time and the API some of them.
    pub fn to_ruby(self) -> String {
        let t = self.0.to_offset(time::UtcOffset::UTC);
        format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
            t.year(),
            u8::from(t.month()),
            t.day(),
            t.hour(),
            t.minute(),
            t.second()
        )
    }

    /// `2026-01-31T23:59:59Z`.
    pub fn to_iso8601(self) -> String {
        let t = self.0.to_offset(time::UtcOffset::UTC);
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            t.year(),
            u8::from(t.month()),
            t.day(),
            t.hour(),
            t.minute(),
            t.second()
        )
    }
}

impl std::ops::Add<std::time::Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: std::time::Duration) -> Self {
        Self(self.0 + duration)
    }
}

impl std::ops::Sub<std::time::Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: std::time::Duration) -> Self {
        Self(self.0 - duration)
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        let utc = time.0.to_offset(time::UtcOffset::UTC);
        // PostgreSQL keeps microseconds: the same value must come back from both.
        let micros = utc.microsecond();
        let clipped = utc.replace_microsecond(micros).unwrap_or(utc);
        PrimitiveDateTime::new(clipped.date(), clipped.time()).into()
    }
}

impl Nullable for Timestamp {
    fn null() -> Value {
        <PrimitiveDateTime as Nullable>::null()
    }
}

impl TryGetable for Timestamp {
    fn try_get_by<I: ColIdx>(res: &QueryResult, index: I) -> Result<Self, TryGetError> {
        PrimitiveDateTime::try_get_by(res, index).map(|time| Self(time.assume_utc()))
    }
}
