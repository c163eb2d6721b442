//! What the message bus between director, health monitor and agents carries.
//!
//! Every type mirrors JSON that upstream's Go agent and Ruby director already speak; unknown keys are tolerated
//! everywhere and `null` means the same as an absent key, as it does for Go's decoder. There is no I/O here.
//!
//! | module | what |
//! |---|---|
//! | [`envelope`] | requests and replies on `agent.<id>` and their reply subjects |
//! | [`method`] | the methods an agent answers, and which of them become tasks |
//! | [`arguments`] | structured arguments and results of those methods |
//! | [`apply_spec`] | what an instance is to run |
//! | [`settings`], [`network`], [`disk`] | what the infrastructure tells a VM about itself |
//! | [`heartbeat`], [`alert`], [`state`], [`task`] | what the agent tells about itself |
//! | [`digest`] | `sha1`, `sha256:...`, `sha1;sha256:...`: parse, make, verify while streaming |
//! | [`ids`], [`subject`], [`secret`] | typed ids, NATS subjects, strings that never print |

pub mod alert;
pub mod apply_spec;
pub mod arguments;
pub mod digest;
pub mod disk;
pub mod envelope;
pub mod heartbeat;
pub mod ids;
pub mod method;
pub mod network;
mod nullable;
pub mod secret;
pub mod settings;
pub mod state;
pub mod subject;
pub mod task;

pub use alert::Alert;
pub use apply_spec::ApplySpec;
pub use digest::MultiDigest;
pub use envelope::{Exception, Request, Response};
pub use heartbeat::{Heartbeat, Vitals};
pub use ids::{AgentId, AgentTaskId, BlobId, DiskCid, InstanceId, VmCid};
pub use method::Method;
pub use secret::Secret;
pub use settings::{Settings, UpdateSettings};
pub use state::{JobState, Process, State};
pub use task::AgentTask;
