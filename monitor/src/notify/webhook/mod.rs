//! `webhook`: alerts to a URL, in a body of one's own or one that Slack, Microsoft Teams or Discord show. Ours; upstream has
//! none.
//!
//! - [`template`]: bodies of one's own;
//! - [`chat`]: ready-made ones;
//! - [`deliver`]: the requests.

mod chat;
mod deliver;
mod template;

pub(super) use deliver::new;
