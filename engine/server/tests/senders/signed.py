"""Signs a body as senders do, has GitHub's scheme confirmed by gidgethub, and posts it to PORT."""

import hashlib
import hmac
import json
import os
import sys
import urllib.error
import urllib.request

from gidgethub import ValidationFailure, sansio

PORT, SECRET = sys.argv[1], os.environ["SECRET"]
BODY = json.dumps({"alarms": [{
    "key": "signed/야간", "name": "야간 배치", "state": "firing", "changed_at": sys.argv[2],
}]}, ensure_ascii=False).encode()


def digest(body, secret=SECRET, algorithm=hashlib.sha256):
    return hmac.new(secret.encode(), body, algorithm).hexdigest()


def confirmed(body, signature):
    """Whether GitHub's scheme, as gidgethub reads it, takes the signature."""
    try:
        sansio.validate_event(body, signature=signature, secret=SECRET)
    except ValidationFailure:
        return False
    return True


def post(source, body, headers):
    url = f"http://127.0.0.1:{PORT}/v1/events/{source}"
    request = urllib.request.Request(url, body, {"content-type": "application/json", **headers})
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code


def github(what, body, signature):
    print("github", what, confirmed(body, signature), post("github", body, {"X-Hub-Signature-256": signature}))


github("signed", BODY, "sha256=" + digest(BODY))
github("changed", BODY + b" ", "sha256=" + digest(BODY))
github("another secret", BODY, "sha256=" + digest(BODY, "another-secret-of-nobody"))
github("no prefix", BODY, digest(BODY))
github("another hash", BODY, "sha256=" + digest(BODY, algorithm=hashlib.sha512))

old = "v1=" + digest(BODY, "a-secret-that-was-replaced")
for what, signature in [
    ("signed", "v1=" + digest(BODY)),
    ("with two, the second of ours", old + ",v1=" + digest(BODY)),
    ("with the old one only", old),
    ("another version", "v2=" + digest(BODY)),
]:
    print("pagerduty", what, post("pagerduty", BODY, {"X-PagerDuty-Signature": signature}))
for what, signature in [("signed", digest(BODY)), ("changed", digest(BODY + b" "))]:
    print("sentry", what, post("sentry", BODY, {"Sentry-Hook-Signature": signature}))

stamp = str(sys.argv[3])
for what, at in [("now", stamp), ("an hour ago", str(int(stamp) - 3600))]:
    signature = digest(f"{at}.".encode() + BODY)
    headers = {"X-Timed-Signature": signature, "X-Timed-At": at}
    print("timed", what, post("timed", BODY, headers))
