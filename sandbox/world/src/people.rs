//! What rules say and send. Nothing leaves the process: it is kept to be looked at.

use async_trait::async_trait;
use untoil_actions::{CallError, ChatWrites, HttpReply, HttpRequest, HttpWrites};
use untoil_guard::Clearance;

use crate::World;

#[async_trait]
impl ChatWrites for World {
    async fn say(&self, may: Clearance, text: &str) -> Result<String, CallError> {
        let fate = self.write("slack:say").await?;
        let id = {
            let mut state = self.state();
            state.call("slack:say", &may.marker(), "thread", text);
            state.effect("slack:say", &may.marker(), "thread", text);
            state.said.push(text.to_owned());
            format!("{}.{:06}", state.now.as_second(), state.said.len())
        };
        Self::answer(&fate, id)
    }
}

#[async_trait]
impl HttpWrites for World {
    async fn send(&self, may: Clearance, what: &HttpRequest) -> Result<HttpReply, CallError> {
        let fate = self.write("http:send").await?;
        let seen = {
            let mut state = self.state();
            let seen = state.requests.iter().any(|request| request.key == what.key);
            let target = what.url.split('/').nth(2).unwrap_or_default();
            let words = format!("{} {}", what.method, what.url);
            state.call("http:send", &may.marker(), target, &words);
            if !seen {
                state.effect("http:send", &may.marker(), target, &words);
            }
            state.requests.push(what.clone());
            seen
        };
        let body =
            if seen { r#"{"simulated":true,"repeat":true}"# } else { r#"{"simulated":true}"# };
        Self::answer(&fate, HttpReply { status: 200, body: body.into() })
    }
}
