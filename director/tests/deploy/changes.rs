//! Deploys that change something.
