"""Stripe's own library: makes signatures, and judges headers.

reads {"secret": …, "sign": [[time, body], …], "judge": [[header, body], …]} and prints
{"signed": [header, …], "judged": [bool, …]}
"""

import json
import sys

import stripe

asked = json.load(sys.stdin)
signed = [
    stripe.WebhookSignature.generate_signature_header(body, asked["secret"], timestamp=time) for time, body in asked["sign"]
]
# The older, private way must agree, or the public one changed under us.
for (time, body), header in zip(asked["sign"], signed):
    assert header == f"t={time},v1={stripe.WebhookSignature._compute_signature(f'{time}.{body}', asked['secret'])}"


def accepted(header, body):
    try:
        stripe.Webhook.construct_event(body, header, asked["secret"])
        return True
    except stripe.SignatureVerificationError:
        return False


print(json.dumps({"signed": signed, "judged": [accepted(header, body) for header, body in asked["judge"]]}))
