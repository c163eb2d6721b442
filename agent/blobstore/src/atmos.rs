//! EMC Atmos: the server chooses ids, and each request is signed with HMAC-SHA1.
//!
//! An id is base64 of `{"oid": ..., "sig": ...}`, `sig` being the signature of a URL that is good until 2030: who has the id
//! can read the blob without a secret. Upstream, until 2015: blobstore_client/atmos_blobstore_client.rb; EMC: Atmos
//! Programmer's Guide, "Managing authentication".

use crate::{
    Action, Blob, Content, Error, SignedUrl,
    http::{self, Http, Sent},
    options,
    signing::encode_segment,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bosh_protocol::digest::Algorithm;
use reqwest::{Method, RequestBuilder, StatusCode, header};
use ring::hmac;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// When the URLs in ids expire: the first of January 2030. Upstream: SHARE_URL_EXP.
const SHARED_UNTIL: u64 = 1_893_484_800;
const OBJECTS: &str = "/rest/objects";
const CONTENT_TYPE: &str = "application/octet-stream";

#[derive(Debug)]
pub(crate) struct Atmos {
    options: options::Atmos,
    http: Http,
}

#[derive(Debug, Serialize, Deserialize)]
struct Id {
    oid: String,
    sig: String,
}

impl Atmos {
    pub(crate) fn new(options: options::Atmos, http: Http) -> Self {
        Self { options, http }
    }

    fn key(&self) -> Result<hmac::Key, Error> {
        let secret = self.options.secret.as_ref();
        let secret = secret.ok_or(Error::ReadOnly("no secret in its options"))?;
        let bytes = STANDARD
            .decode(secret.expose().trim())
            .map_err(|_| Error::InvalidOptions {
                provider: "atmos",
                reason: "secret: expected base64".to_owned(),
            })?;
        Ok(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes))
    }

    /// A request that carries who makes it, when, and the proof.
    fn request(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
    ) -> Result<RequestBuilder, Error> {
        let mut emc = BTreeMap::from([
            ("x-emc-date", http_date(SystemTime::now())),
            ("x-emc-uid", self.options.uid.clone()),
        ]);
        if let (&Method::POST, Some(tag)) = (&method, &self.options.tag) {
            emc.insert("x-emc-listable-meta", format!("{tag}=true"));
        }
        let text = to_sign(
            method.as_str(),
            content_type,
            &emc["x-emc-date"],
            path,
            &emc,
        );
        let signature = hmac::sign(&self.key()?, text.as_bytes());
        let url = format!("{}{path}", self.options.url.trim_end_matches('/'));
        let mut request = self
            .http
            .client()?
            .request(method, url)
            .header(header::DATE, &emc["x-emc-date"])
            .header("x-emc-signature", STANDARD.encode(signature));
        if !content_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        for (name, value) in &emc {
            request = request.header(*name, value);
        }
        Ok(request)
    }

    fn shared_url(&self, oid: &str, signature: &str, until: u64) -> String {
        let (url, uid) = (
            self.options.url.trim_end_matches('/'),
            encode_segment(&self.options.uid),
        );
        let signature = encode_segment(signature);
        format!("{url}{OBJECTS}/{oid}?uid={uid}&expires={until}&signature={signature}")
    }

    fn share(&self, oid: &str, until: u64) -> Result<String, Error> {
        let path = format!("{OBJECTS}/{oid}").to_lowercase();
        let text = format!("GET\n{path}\n{}\n{until}", self.options.uid);
        Ok(STANDARD.encode(hmac::sign(&self.key()?, text.as_bytes())))
    }

    pub(crate) async fn open_blob(&self, id: &str) -> Result<Blob, Error> {
        let known = decode(id)?;
        let url = self.shared_url(&known.oid, &known.sig, SHARED_UNTIL);
        let request = self.http.client()?.get(url);
        http::retry(|| async {
            let response = http::open("getting", id, http::clone(&request)).await?;
            Ok(http::into_blob(id, response))
        })
        .await
    }

    /// Stores content, and returns the id that the server chose.
    pub(crate) async fn create(
        &self,
        content: Content,
        algorithms: &[Algorithm],
    ) -> Result<(String, Sent), Error> {
        let request = self.request(Method::POST, OBJECTS, CONTENT_TYPE)?;
        let accept = |status| status == StatusCode::CREATED;
        let (sent, headers) =
            http::send_for("a new one", request, content, algorithms, accept).await?;
        let oid = headers
            .get(header::LOCATION)
            .and_then(|location| location.to_str().ok()?.rsplit('/').next())
            .filter(|oid| !oid.is_empty() && oid.bytes().all(|b| b.is_ascii_alphanumeric()));
        let oid = oid.ok_or_else(|| Error::Status {
            operation: "putting",
            id: "a new one".to_owned(),
            status: StatusCode::CREATED.as_u16(),
            body: "without a Location that names an object".to_owned(),
        })?;
        let id = Id {
            oid: oid.to_owned(),
            sig: self.share(oid, SHARED_UNTIL)?,
        };
        Ok((encode(&id), sent))
    }

    pub(crate) async fn exists(&self, id: &str) -> Result<bool, Error> {
        let path = format!("{OBJECTS}/{}", decode(id)?.oid);
        let request = self.request(Method::HEAD, &path, "")?;
        match http::retry(|| http::open("looking for", id, http::clone(&request))).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<(), Error> {
        let path = format!("{OBJECTS}/{}", decode(id)?.oid);
        let request = self.request(Method::DELETE, &path, "")?;
        match http::retry(|| http::open("deleting", id, http::clone(&request))).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Objects can be shared for reading alone.
    pub(crate) fn sign(
        &self,
        id: &str,
        action: Action,
        now: SystemTime,
        valid_for: Duration,
    ) -> Result<SignedUrl, Error> {
        if action != Action::Get {
            return Err(Error::CannotSign("Atmos gives its ids when it stores"));
        }
        let oid = decode(id)?.oid;
        let until = now + valid_for;
        let until = until
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let signature = self.share(&oid, until)?;
        Ok(SignedUrl::new(self.shared_url(&oid, &signature, until)))
    }
}

/// What is signed: method, type, range, date, path, and EMC's headers by name.
fn to_sign(
    method: &str,
    content_type: &str,
    date: &str,
    path: &str,
    emc: &BTreeMap<&str, String>,
) -> String {
    let mut lines = vec![
        method.to_owned(),
        content_type.to_owned(),
        String::new(),
        date.to_owned(),
        path.to_lowercase(),
    ];
    lines.extend(emc.iter().map(|(name, value)| format!("{name}:{value}")));
    lines.join("\n")
}

fn encode(id: &Id) -> String {
    let json = serde_json::json!({"oid": id.oid, "sig": id.sig}).to_string();
    encode_segment(&STANDARD.encode(json))
}

/// Ids that upstream made have line breaks in their base64, percent-encoded like the rest.
fn decode(id: &str) -> Result<Id, Error> {
    let invalid = || Error::InvalidId(id.to_owned());
    let text = id.replace("%0A", "").replace("%0a", "");
    let text = text
        .replace("%2B", "+")
        .replace("%2F", "/")
        .replace("%3D", "=");
    let json = STANDARD.decode(text).map_err(|_| invalid())?;
    let id: Id = serde_json::from_slice(&json).map_err(|_| invalid())?;
    let plain = id.oid.bytes().all(|b| b.is_ascii_alphanumeric());
    (plain && !id.oid.is_empty())
        .then_some(id)
        .ok_or_else(invalid)
}

/// `Thu, 05 Jun 2008 16:38:19 GMT`
fn http_date(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's civil_from_days, from the first of March of the year 0.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_based = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 {
        march_based + 3
    } else {
        march_based - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(days % 7) as usize];
    let name = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ][(month - 1) as usize];
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{weekday}, {day:02} {name} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of EMC's Programmer's Guide.
    #[test]
    fn signatures_are_emcs() {
        let date = "Thu, 05 Jun 2008 16:38:19 GMT";
        let emc = BTreeMap::from([
            ("x-emc-useracl", "john=FULL_CONTROL,mary=WRITE".to_owned()),
            (
                "x-emc-uid",
                "6039ac182f194e15b9261d73ce044939/user1".to_owned(),
            ),
            ("x-emc-date", date.to_owned()),
            ("x-emc-groupacl", "other=NONE".to_owned()),
            ("x-emc-meta", "part1=buy".to_owned()),
            ("x-emc-listable-meta", "part4/part7/part8=quick".to_owned()),
        ]);
        let text = to_sign("POST", CONTENT_TYPE, date, OBJECTS, &emc);
        let key = STANDARD.decode("LJLuryj6zs8ste6Y3jTGQp71xq0=").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
        let signature = STANDARD.encode(hmac::sign(&key, text.as_bytes()));
        assert_eq!(signature, "WHJo1MFevMnK4jCthJ974L3YHoo=");
    }

    #[test]
    fn dates_are_http_s() {
        let at = |seconds| http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(1_212_683_899), "Thu, 05 Jun 2008 16:38:19 GMT");
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(at(SHARED_UNTIL), "Tue, 01 Jan 2030 08:00:00 GMT");
    }

    #[test]
    fn ids_go_there_and_back() {
        let id = Id {
            oid: "4ee696e4a11f549604f0b753b0a5ea0502c6f2bb3e1b".to_owned(),
            sig: "WHJo1MFevMnK4jCthJ974L3YHoo=".to_owned(),
        };
        let text = encode(&id);
        crate::id::check(&text).unwrap();
        assert_eq!(decode(&text).unwrap().oid, id.oid);
        // As Ruby breaks lines.
        let broken = format!("{}%0A{}%0A", &text[..60], &text[60..]);
        assert_eq!(decode(&broken).unwrap().sig, id.sig);
        for bad in ["", "abc", "eyJvaWQiOiIuLi8uLiIsInNpZyI6IiJ9"] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }
}
