"""Checks the signature of a request to AWS (Signature Version 4), as AWS documents it ("Authenticating Requests: AWS Signature Version 4")."""
import hashlib, hmac, re, time, calendar
from urllib.parse import quote, unquote

# How far the clocks of both sides may be apart, seconds.
SKEW = 900


class Refused(Exception):
    """Why, with AWS's name of the error."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


def _mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature(secret, method, path, query, headers, signed, payload, date, scope):
    """What the signature must be. `headers`: a dict with lower-case names; `signed`: their names; `payload`: its SHA-256, hexadecimal."""
    # Every part of the path is encoded a second time, for every service but S3.
    path = quote(path, safe="/-_.~") or "/"
    pairs = sorted(tuple(quote(unquote(part), safe="-_.~") for part in (pair.split("=", 1) + [""])[:2]) for pair in query.split("&") if pair)
    canonical = "\n".join([
        method, path, "&".join("=".join(pair) for pair in pairs),
        "".join(f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in signed), ";".join(signed), payload])
    day, region, service, end = scope.split("/")
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, end):
        key = _mac(key, part)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def check(keys, service, method, target, headers, body, now=None):
    """The identity that signed this request; raises Refused. `keys`: {id: secret}; `target`: path and query as they came."""
    headers = {name.lower(): value for name, value in headers.items()}
    found = re.fullmatch(r"AWS4-HMAC-SHA256 +Credential=([^/,]+)/([^,]+), *SignedHeaders=([^,]+), *Signature=([0-9a-f]{64})",
                         headers.get("authorization", ""))
    if not found:
        raise Refused("MissingAuthenticationTokenException", "the request is not signed")
    identity, scope, signed, said = found.groups()
    signed = signed.split(";")
    if identity not in keys:
        raise Refused("UnrecognizedClientException", "the security token included in the request is invalid")
    date = headers.get("x-amz-date", "")
    try:
        made = calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise Refused("IncompleteSignatureException", f"X-Amz-Date {date!r} is no time") from None
    parts = scope.split("/")
    if len(parts) != 4 or parts[0] != date[:8] or parts[2:] != [service, "aws4_request"]:
        raise Refused("InvalidSignatureException", f"the credential is scoped to {scope!r}")
    if abs((now or time.time()) - made) > SKEW:
        raise Refused("InvalidSignatureException", f"signature expired: it was made at {date}")
    needed = ["host"] + [name for name in headers if name.startswith("x-amz-")]
    if missing := [name for name in needed if name not in signed]:
        raise Refused("InvalidSignatureException", f"not signed: {', '.join(missing)}")
    payload = hashlib.sha256(body).hexdigest()
    if headers.get("x-amz-content-sha256", payload) != payload:
        raise Refused("InvalidSignatureException", "the body is not the one that was signed")
    path, _, query = target.partition("?")
    right = signature(keys[identity], method, path, query, headers, signed, payload, date, scope)
    if not hmac.compare_digest(right, said):
        raise Refused("InvalidSignatureException", "the request signature we calculated does not match the signature you provided")
    return identity


def self_test():
    """AWS's own example (its test suite for Signature Version 4, get-vanilla and get-vanilla-query-order-key-case), and what must be refused."""
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}
    empty = hashlib.sha256(b"").hexdigest()
    scope = "20150830/us-east-1/service/aws4_request"
    for query, expected in (("", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
                            ("Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500")):
        made = signature(secret, "GET", "/", query, headers, ["host", "x-amz-date"], empty, headers["x-amz-date"], scope)
        assert made == expected, f"AWS's example with {query!r} gives {made}"
    head = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/" + scope + ", SignedHeaders=host;x-amz-date, Signature="
    then = calendar.timegm((2015, 8, 30, 12, 36, 0))
    good = signature(secret, "GET", "/", "", headers, ["host", "x-amz-date"], empty, headers["x-amz-date"], scope)

    def ask(sign=good, body=b"", at=then, keys=None, path="/", **more):
        return check(keys or {"AKIDEXAMPLE": secret}, "service", "GET", path, dict(headers, authorization=head + sign, **more), body, at)

    assert ask() == "AKIDEXAMPLE"
    wrong = [dict(sign=good[:-1] + ("0" if good[-1] != "0" else "1")), dict(body=b"other"), dict(at=then + SKEW + 1), dict(at=then - SKEW - 1),
             dict(keys={"AKIDEXAMPLE": "another"}), dict(keys={"SOMEBODY": secret}), dict(path="/other"), {"x-amz-more": "unsigned"}]
    for what in wrong:
        try:
            ask(**what)
        except Refused:
            continue
        raise AssertionError(f"taken in spite of {what}")
