//! Which permission an access-denied answer is about.

use untoil_actions::Missing;

use crate::call::Call;

/// Codes that say "not allowed", in the dialects of the services. `403` is what a bare status
/// becomes; credentials that are wrong or expired have other codes and are no missing permission.
const DENIED: [&str; 6] = [
    "403",
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "NotAuthorized",
    "UnauthorizedOperation",
];

/// The permission that is missing, when `code` says that one is: as the message names it, otherwise
/// the call's own operation on the best-known resource.
pub(crate) fn missing(code: &str, message: &str, call: &Call) -> Option<Missing> {
    if !DENIED.contains(&code) {
        return None;
    }
    let action = after(message, "not authorized to perform: ").filter(|word| word.contains(':'));
    let same = action.is_none_or(|action| action.eq_ignore_ascii_case(call.operation));
    let resource = after(message, "on resource: ").map(str::to_owned);
    Some(Missing {
        action: action.unwrap_or(call.operation).to_owned(),
        // The call's resource says nothing about another action, such as `iam:PassRole`.
        resource: resource.unwrap_or_else(|| if same { call.resource.clone() } else { "*".into() }),
    })
}

/// The word that follows `lead`.
fn after<'a>(message: &'a str, lead: &str) -> Option<&'a str> {
    let rest = &message[message.find(lead)? + lead.len()..];
    let end = |c: char| c.is_whitespace() || matches!(c, '<' | '"' | ',');
    let word = rest.split(end).next()?.trim_end_matches('.');
    (!word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &str, message: &str, gives: Option<(&str, &str)>) {
        let call = Call::new("ecs:UpdateService", "arn:aws:ecs:eu-west-1:*:service/c/s");
        let found = missing(code, message, &call);
        let gives = gives
            .map(|(action, resource)| Missing { action: action.into(), resource: resource.into() });
        assert_eq!(found, gives, "{code}: {message}");
    }

    #[test]
    fn a_denial_names_action_and_resource_from_the_message_or_from_the_call() {
        let known = Some(("ecs:UpdateService", "arn:aws:ecs:eu-west-1:*:service/c/s"));
        check(
            "AccessDeniedException",
            "User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: ssm:SendCommand on \
             resource: arn:aws:ssm:eu-west-1:1:document/untoil-x because no identity-based policy \
             allows the ssm:SendCommand action",
            Some(("ssm:SendCommand", "arn:aws:ssm:eu-west-1:1:document/untoil-x")),
        );
        check(
            "AccessDenied",
            "User: u is not authorized to perform: ecs:UpdateService because no policy allows it",
            known,
        );
        check(
            "AccessDeniedException",
            "User: u is not authorized to perform: iam:PassRole because no policy allows it",
            Some(("iam:PassRole", "*")),
        );
        check("UnauthorizedOperation", "You are not authorized to perform this operation.", known);
        check("403", "", known);
        check("403", "<Message>x is not authorized to perform: ecs:UpdateService</Message>", known);
    }

    #[test]
    fn other_refusals_name_no_permission() {
        check("ExpiredTokenException", "the security token is expired", None);
        check("ValidationError", "User is not authorized to perform: a:B on resource: c", None);
    }
}
