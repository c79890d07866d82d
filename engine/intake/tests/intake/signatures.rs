//! SNS's signatures, against certificates made here.

use std::sync::Arc;

use crate::stand_in::{CERT_URL, NOW, Ports, SNS, Sns, TOPIC, Wanted, confirmation, notification};
use serde_json::{Value, json};
use untoil_intake::{FetchError, SnsPolicy, SnsRefusal, SnsVerifier, Verified};
use untoil_model::Hash;

fn policy() -> SnsPolicy {
    SnsPolicy { topics: [TOPIC.parse().unwrap()].into(), ..SnsPolicy::default() }
}

async fn verify(
    policy: SnsPolicy,
    ports: &Arc<Ports>,
    body: &Value,
) -> Result<Verified, SnsRefusal> {
    let verifier = SnsVerifier::new(policy, Arc::clone(ports) as _);
    verifier.verify(body.to_string().as_bytes(), NOW.parse().unwrap()).await
}

fn why(result: Result<Verified, SnsRefusal>) -> String {
    match result {
        Ok(verified) => panic!("verified {verified:?}"),
        Err(SnsRefusal::Refused(why)) => why,
        Err(SnsRefusal::Later(why)) => format!("later: {why}"),
    }
}

#[tokio::test]
async fn all_three_types_verify_and_only_a_subscription_is_to_be_confirmed() {
    let sns = &*SNS;
    let ports = Ports::serving(CERT_URL, &sns.pem);
    let note = verify(policy(), &ports, &sns.signed(notification("m-1", "{}"))).await.unwrap();
    assert_eq!((note.message_id.as_str(), note.topic.as_str(), note.confirm), ("m-1", TOPIC, None));
    let subscribe = sns.signed(confirmation("SubscriptionConfirmation"));
    let subscribe = verify(policy(), &ports, &subscribe).await.unwrap();
    assert!(subscribe.confirm.unwrap().as_str().contains("Token=2336412f37"));
    let unsubscribe = sns.signed(confirmation("UnsubscribeConfirmation"));
    assert_eq!(verify(policy(), &ports, &unsubscribe).await.unwrap().confirm, None);
    assert!(ports.confirmed.lock().unwrap().is_empty(), "verifying confirms nothing");
}

#[tokio::test]
async fn a_signature_of_version_1_verifies() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/sns");
    let pem = std::fs::read(format!("{folder}/stand-in.pem")).unwrap();
    let body = std::fs::read(format!("{folder}/notification-v1.json")).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let ports = Ports::serving(CERT_URL, &pem);
    assert!(verify(policy(), &ports, &body).await.is_ok());
    let mut other = body.clone();
    other["SignatureVersion"] = json!("2");
    assert_eq!(why(verify(policy(), &ports, &other).await), "its signature does not fit");
}

#[tokio::test]
async fn every_signed_field_is_covered_and_no_other() {
    let sns = &*SNS;
    let ports = Ports::serving(CERT_URL, &sns.pem);
    let signed = sns.signed(notification("m-1", "a\nb 디스크 🔥\n"));
    assert!(verify(policy(), &ports, &signed).await.is_ok());
    for (key, value) in [
        ("Message", json!("a\nb 디스크 🔥")),
        ("MessageId", json!("m-2")),
        ("Subject", Value::Null),
        ("Subject", json!("")),
        ("Timestamp", json!("2026-12-02T03:04:05.790Z")),
        ("Type", json!("UnsubscribeConfirmation")),
    ] {
        let mut changed = signed.clone();
        changed[key] = value;
        assert_eq!(
            why(verify(policy(), &ports, &changed).await),
            "its signature does not fit",
            "{key}"
        );
    }
    for key in ["UnsubscribeURL", "MessageAttributes", "SubscribeURL"] {
        let mut changed = signed.clone();
        changed[key] = json!("https://evil.example");
        let verified = verify(policy(), &ports, &changed).await.unwrap();
        assert_eq!(verified.confirm, None, "{key} is not signed and not used");
    }
}

#[tokio::test]
async fn what_is_not_snss_word_is_refused_with_the_reason() {
    let sns = &*SNS;
    let with = |key: &str, value: Value| {
        let mut envelope = sns.signed(notification("m-1", "{}"));
        envelope[key] = value;
        envelope
    };
    let elsewhere = "arn:aws:sns:ap-northeast-2:999999999999:untoil";
    for (body, expected) in [
        (json!("text"), "this is no SNS message"),
        (json!({"Type": "Notification"}), "this is no SNS message"),
        (with("Type", json!("Other")), "this is no SNS message"),
        (
            with("TopicArn", json!(elsewhere)),
            "topic `arn:aws:sns:ap-northeast-2:999999999999:untoil` is not among",
        ),
        (with("Timestamp", json!("2026-12-02T01:04:05Z")), "it is a replay or the clock is wrong"),
        (with("Timestamp", json!("2026-12-02T03:20:00Z")), "it is a replay or the clock is wrong"),
        (with("Timestamp", json!("soon")), "its `Timestamp` is not a time"),
        (with("MessageId", json!("")), "its `MessageId` is not one of SNS's"),
        (with("MessageId", json!("a b")), "its `MessageId` is not one of SNS's"),
        (with("Signature", Value::Null), "`Signature` is missing"),
        (with("Signature", json!("!!!")), "`Signature` is not base64"),
        (with("Signature", json!("A".repeat(2_000))), "`Signature` is too long"),
        (with("Signature", json!("AAAA")), "its signature does not fit"),
        (with("SignatureVersion", json!("1")), "its signature does not fit"),
        (with("SignatureVersion", json!("3")), "`SignatureVersion` `3` is neither 1 nor 2"),
        (with("SignatureVersion", Value::Null), "`SignatureVersion` is missing"),
        (
            with("SigningCertURL", json!("https://evil.example/a.pem")),
            "its host is not one of SNS's",
        ),
        (with("SigningCertURL", Value::Null), "`SigningCertURL`"),
    ] {
        let ports = Ports::serving(CERT_URL, &sns.pem);
        let found = why(verify(policy(), &ports, &body).await);
        assert!(found.contains(expected), "{found}");
        let fetched = ports.fetched.lock().unwrap().clone();
        assert!(fetched.iter().all(|url| url == CERT_URL), "{fetched:?}");
    }
}

#[tokio::test]
async fn without_topics_nothing_is_accepted_and_nothing_fetched() {
    let sns = &*SNS;
    let ports = Ports::serving(CERT_URL, &sns.pem);
    let body = sns.signed(notification("m-1", "{}"));
    let found = why(verify(SnsPolicy::default(), &ports, &body).await);
    assert_eq!(found, "no SNS topic is allowed; list the topics' ARNs in the configuration");
    assert!(ports.fetched.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_certificate_must_be_snss_valid_and_not_self_signed() {
    let sns = &*SNS;
    let body = sns.signed(notification("m-1", "{}"));
    for (wanted, expected) in [
        (Wanted { issuer: None, ..Wanted::default() }, "it is self-signed"),
        (Wanted { years: (2020, 2026), ..Wanted::default() }, "it is not valid at this time"),
        (Wanted { years: (2027, 2030), ..Wanted::default() }, "it is not valid at this time"),
        (Wanted { names: vec!["evil.example"], ..Wanted::default() }, "it is not made out to SNS"),
        (
            Wanted { names: vec![], common_name: "evil.example", ..Wanted::default() },
            "it is not made out to SNS",
        ),
        (
            Wanted { names: vec!["sns-signing.eu-south-1.amazonaws.com"], ..Wanted::default() },
            "it is not made out to SNS",
        ),
    ] {
        let ports = Ports::serving(CERT_URL, &sns.certificate(&wanted));
        let found = why(verify(policy(), &ports, &body).await);
        assert!(found.ends_with(expected), "{found}");
    }
    for wanted in [
        Wanted { names: vec![], ..Wanted::default() },
        Wanted { names: vec!["sns-signing.ap-northeast-2.amazonaws.com"], ..Wanted::default() },
    ] {
        let ports = Ports::serving(CERT_URL, &sns.certificate(&wanted));
        assert!(verify(policy(), &ports, &body).await.is_ok());
    }
    for (pem, expected) in [
        (&b""[..], "later: what was served at"),
        (b"<html>", "later: what was served at"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "the certificate at"),
    ] {
        let ports = Ports::serving(CERT_URL, pem);
        let found = why(verify(policy(), &ports, &body).await);
        assert!(found.starts_with(expected), "{found}");
    }
}

#[tokio::test]
async fn another_key_does_not_fit() {
    let sns = &*SNS;
    let ports = Ports::serving(CERT_URL, &sns.pem);
    let body = Sns::with(&Wanted::default()).signed(notification("m-1", "{}"));
    assert_eq!(why(verify(policy(), &ports, &body).await), "its signature does not fit");
}

#[tokio::test]
async fn a_stand_ins_own_certificate_counts_only_when_it_is_named() {
    let wanted = Wanted { issuer: None, ..Wanted::default() };
    let sns = Sns::with(&wanted);
    let url = "http://127.0.0.1:4566/stand-in.pem";
    let mut body = sns.signed(notification("m-1", "{}"));
    body["SigningCertURL"] = json!(url);
    let ports = Ports::serving(url, &sns.pem);
    let found = why(verify(policy(), &ports, &body).await);
    assert!(found.contains("its host is not one of SNS's"), "{found}");
    let origin = untoil_intake::Origin::loopback("http://127.0.0.1:4566").unwrap();
    let mut lenient = SnsPolicy { stand_ins: vec![origin], ..policy() };
    let found = why(verify(lenient.clone(), &ports, &body).await);
    assert!(found.ends_with("it is self-signed"), "{found}");
    lenient.trusted_certificates = vec![Hash::of(b"another")];
    assert!(why(verify(lenient.clone(), &ports, &body).await).ends_with("it is self-signed"));
    let text = String::from_utf8(sns.pem.clone()).unwrap();
    let base64: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, base64).unwrap();
    lenient.trusted_certificates = vec![Hash::of(&der)];
    assert!(verify(lenient, &ports, &body).await.is_ok());
}

#[tokio::test]
async fn a_certificate_is_fetched_once_and_a_failed_fetch_is_not_remembered() {
    let sns = &*SNS;
    let ports = Ports::serving(CERT_URL, &sns.pem);
    let broken = Err(FetchError::Unavailable("no connection".to_owned()));
    ports.pems.lock().unwrap().insert(CERT_URL.to_owned(), broken);
    let verifier = SnsVerifier::new(policy(), Arc::clone(&ports) as _);
    let body = sns.signed(notification("m-1", "{}")).to_string();
    let now = NOW.parse().unwrap();
    let later = verifier.verify(body.as_bytes(), now).await;
    assert!(matches!(later, Err(SnsRefusal::Later(_))), "{later:?}");
    ports.pems.lock().unwrap().insert(CERT_URL.to_owned(), Ok(sns.pem.clone()));
    for _ in 0..3 {
        assert!(verifier.verify(body.as_bytes(), now).await.is_ok());
    }
    assert_eq!(ports.fetched.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_confirmation_elsewhere_is_refused_before_anything_is_fetched() {
    let sns = &*SNS;
    let ports = Ports::serving(CERT_URL, &sns.pem);
    let mut envelope = confirmation("SubscriptionConfirmation");
    envelope["SubscribeURL"] = json!("http://169.254.169.254/latest/meta-data");
    let found = why(verify(policy(), &ports, &sns.signed(envelope)).await);
    assert!(found.starts_with("`SubscribeURL`"), "{found}");
    assert!(ports.fetched.lock().unwrap().is_empty());
}
