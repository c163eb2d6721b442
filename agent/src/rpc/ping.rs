//! `ping`: are you there?

use super::Error;

pub(super) async fn run() -> Result<&'static str, Error> {
    Ok("pong")
}
