//! The harness: what scenarios, the demo and the benches are made of.
//!
//! - [`paths`]: where the programs under test, the fixtures and the caches are;
//! - [`netns`]: a network of its own for a test process;
//! - [`micro`]: `bosh-director micro` started, and taken down whatever happens;
//! - [`director`]: a client of the director's API, as thin as the `bosh` CLI's;
//! - [`release`]: release tarballs from a release directory, as `bosh create-release` lays them out;
//! - [`stemcell`]: the stemcell, baked once and cached;
//! - [`redis`]: the demo's third-party source, and a client to talk to what became of it;
//! - [`smtp`], [`webhook`]: listeners that notifications arrive at;
//! - [`vm`]: what a VM looks like from its host;
//! - [`story`]: the demo's steps, which the scenarios are too;
//! - [`bus`], [`monitor`], [`fake_director`]: the health monitor alone, between a real nats-server and a fake director;
//! - [`browser`]: a headless Chromium;
//! - [`agent`]: the agent alone, on the dummy platform and such a nats-server;
//! - [`process`]: what /proc says of a process;
//! - [`wait`]: polling with a deadline.

pub mod agent;
pub mod browser;
pub mod bus;
pub mod director;
pub mod fake_director;
pub mod micro;
pub mod monitor;
pub mod netns;
pub mod paths;
pub mod process;
pub mod redis;
pub mod release;
pub mod smtp;
pub mod stemcell;
pub mod story;
pub mod vm;
pub mod wait;
pub mod webhook;
