//! bosh-agent: one per VM. It sets up the machine, installs and supervises jobs, and does what the director says.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | command line and agent.json |
//! | [`settings`] | what the infrastructure and the director say about this VM |
//! | [`boot`] | from a machine that has just come up to one that answers |
//! | [`once`] | who must not come up twice |
//! | [`mbus`] | the message bus |
//! | [`rpc`] | the methods, one file each, and long-running tasks |
//! | [`script`] | lifecycle scripts, drain scripts and errands |
//! | [`jobs`], [`compile`] | installing jobs and packages, compiling packages |
//! | [`supervisor`] | what replaces monit |
//! | [`davcli`] | `bosh-blobstore-dav`, for upstream's agent in our stemcells |
//! | [`platform`] | the machine |
//! | [`heartbeat`], [`vitals`], [`alerts`] | what the health monitor hears |
//! | [`spec`] | what the instance is to run |
//! | [`log`] | where its log goes |
//! | [`agent`], [`run`](mod@run) | all of that put together |

pub mod agent;
pub mod alerts;
pub mod boot;
pub mod compile;
pub mod config;
pub mod davcli;
pub mod heartbeat;
pub mod jobs;
pub mod log;
pub mod mbus;
pub mod once;
pub mod platform;
pub mod rpc;
pub mod run;
pub mod script;
pub mod settings;
pub mod spec;
pub mod supervisor;
pub mod vitals;

pub use run::run;
