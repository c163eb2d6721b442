//! Deploys that go wrong.
