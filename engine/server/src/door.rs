//! Who may read and change over HTTP: whoever has the admin token, or, where none is set, whoever
//! sits at this machine and came neither through a proxy nor through a page in a browser.

use std::net::SocketAddr;

use axum::http::{HeaderMap, StatusCode, header};
use untoil_model::Hash;

/// The header that every changing request carries.
pub(crate) const MARK: &str = "x-untoil";
/// What a proxy adds, besides `x-forwarded-…`.
const PROXIED: [&str; 3] = ["forwarded", "via", "x-real-ip"];

/// Lets in or refuses.
#[derive(Debug)]
pub(crate) struct Door {
    admin: Option<Hash>,
}

/// Why somebody is not let in.
pub(crate) type Refusal = (StatusCode, String);

impl Door {
    /// Of the admin token only its hash is kept.
    pub(crate) fn new(admin: Option<&str>) -> Self {
        Self { admin: admin.map(|token| Hash::of(token.as_bytes())) }
    }

    /// Whether incidents and the journal may be read.
    pub(crate) fn may_read(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Refusal> {
        match self.admin {
            Some(admin) => has_token(admin, headers),
            None => is_here(peer, headers),
        }
    }

    /// Whether something may be changed. A page in a browser cannot send [`MARK`] across origins.
    pub(crate) fn may_change(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Refusal> {
        if !headers.contains_key(MARK) {
            return Err(forbidden(format!(
                "send the header `{MARK}: 1`, which no page in a browser can forge"
            )));
        }
        self.may_read(peer, headers)
    }
}

fn has_token(admin: Hash, headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    // Hashes are compared, so the time it takes tells nothing of the token.
    if Hash::of(given.as_bytes()) == admin {
        Ok(())
    } else {
        let how = "send the admin token as `Authorization: Bearer …`".to_owned();
        Err((StatusCode::UNAUTHORIZED, how))
    }
}

/// The peer's address alone proves little: a proxy on this machine has it too, and so has a browser
/// on this machine that was given our address for a name of somebody else's (DNS rebinding).
fn is_here(peer: SocketAddr, headers: &HeaderMap) -> Result<(), Refusal> {
    const HOW: &str = "set `admin` in the configuration to allow it with a token";
    if !peer.ip().is_loopback() {
        return Err(forbidden(format!("you are not on this machine: {HOW}")));
    }
    let proxied = headers.keys().map(header::HeaderName::as_str);
    let mut proxied =
        proxied.filter(|name| name.starts_with("x-forwarded-") || PROXIED.contains(name));
    if let Some(name) = proxied.next() {
        return Err(forbidden(format!("`{name}` says that a proxy sent it: {HOW}")));
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) {
        (Some(host), None) if is_loopback(host) => host,
        _ => {
            let names = "`Host` is not 127.0.0.1, [::1] or localhost";
            return Err(forbidden(format!("{names}: {HOW}")));
        }
    };
    let own = format!("http://{host}");
    if headers.get_all(header::ORIGIN).iter().any(|origin| origin.as_bytes() != own.as_bytes()) {
        return Err(forbidden(format!("a page of another origin sent it: {HOW}")));
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let names = ["127.0.0.1", "[::1]", "localhost"];
    names.iter().any(|name| match host.strip_prefix(name) {
        Some("") => true,
        Some(port) => port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()),
        None => false,
    })
}

fn forbidden(why: String) -> Refusal {
    (StatusCode::FORBIDDEN, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "127.0.0.1:5000";
    /// The peer, the headers, the status.
    type Row = (&'static str, &'static [(&'static str, &'static str)], u16);

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn status(result: Result<(), Refusal>) -> u16 {
        result.err().map_or(200, |(status, _)| status.as_u16())
    }

    #[test]
    fn without_a_token_only_who_sits_at_this_machine_is_let_in() {
        let door = Door::new(None);
        let table: [Row; 15] = [
            (HERE, &[("host", "127.0.0.1:8460")], 200),
            (HERE, &[("host", "localhost")], 200),
            ("[::1]:5000", &[("host", "[::1]:8460")], 200),
            (HERE, &[("host", "127.0.0.1:8460"), ("origin", "http://127.0.0.1:8460")], 200),
            ("10.0.0.7:5000", &[("host", "127.0.0.1:8460")], 403),
            (HERE, &[], 403),
            (HERE, &[("host", "rebound.example:8460")], 403),
            (HERE, &[("host", "127.0.0.1.example")], 403),
            (HERE, &[("host", "localhost:80.example")], 403),
            (HERE, &[("host", "localhost"), ("forwarded", "for=10.0.0.7")], 403),
            (HERE, &[("host", "localhost"), ("x-forwarded-for", "10.0.0.7")], 403),
            (HERE, &[("host", "localhost"), ("x-forwarded-proto", "https")], 403),
            (HERE, &[("host", "localhost"), ("via", "1.1 proxy")], 403),
            (HERE, &[("host", "localhost:8460"), ("origin", "http://localhost:3000")], 403),
            (HERE, &[("host", "localhost"), ("origin", "null")], 403),
        ];
        for (peer, pairs, wanted) in table {
            let peer = peer.parse().unwrap();
            assert_eq!(status(door.may_read(peer, &headers(pairs))), wanted, "{pairs:?}");
            let marked = [pairs, &[(MARK, "1")]].concat();
            assert_eq!(status(door.may_change(peer, &headers(&marked))), wanted, "{marked:?}");
            assert_eq!(status(door.may_change(peer, &headers(pairs))), 403, "no mark: {pairs:?}");
        }
        let mut twice = headers(&[("host", "localhost")]);
        twice.append("host", "rebound.example".parse().unwrap());
        assert_eq!(status(door.may_read(HERE.parse().unwrap(), &twice)), 403);
    }

    #[test]
    fn with_a_token_reading_and_changing_need_it_wherever_they_come_from() {
        let door = Door::new(Some("a-token-of-this-test"));
        let right = ("authorization", "Bearer a-token-of-this-test");
        let wrong = ("authorization", "Bearer another-token");
        for peer in [HERE, "10.0.0.7:5000"].map(|peer| peer.parse().unwrap()) {
            assert_eq!(status(door.may_read(peer, &headers(&[("host", "localhost")]))), 401);
            assert_eq!(status(door.may_read(peer, &headers(&[wrong]))), 401);
            assert_eq!(status(door.may_read(peer, &headers(&[right]))), 200);
            assert_eq!(status(door.may_change(peer, &headers(&[right, (MARK, "1")]))), 200);
            assert_eq!(status(door.may_change(peer, &headers(&[wrong, (MARK, "1")]))), 401);
        }
    }
}
