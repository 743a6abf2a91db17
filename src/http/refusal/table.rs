//! The rows. A status and its words are what the guide and clients know; whoever changes them
//! changes the API.

use axum::http::StatusCode;

use super::{Refusal, Retry};

macro_rules! refusals {
    ($($name:ident: $status:ident, $words:literal, $when:literal, $way_out:literal, $again:ident;)*) => {
        $(
            pub(in crate::http) static $name: Refusal = Refusal {
                status: StatusCode::$status,
                words: $words,
                when: $when,
                way_out: $way_out,
                again: Retry::$again,
            };
        )*
        /// Every refusal there is.
        pub(in crate::http) static ALL: &[&Refusal] = &[$(&$name),*];
    };
}

refusals! {
    MALFORMED: BAD_REQUEST, "the body is no JSON at {path}: {problem}",
        "The body is no JSON, or bears a number that JSON cannot hold; `path` says where",
        "Mend the body", No;
    HOST: BAD_REQUEST, "HTTP/1.1 needs one Host header, with one host in it.",
        "A request without `Host`, with two, or with one in which a space, a comma or the like stands: who reads it next may take it for another one's; HTTP/1.0 may go without",
        "Send one", No;
    CODING_ASKED: BAD_REQUEST, "A question bears no transfer coding but `chunked`.",
        "A proxy's question at `/authz/…` whose `Transfer-Encoding` names another one; never with a 5xx, which Envoy takes for a failure that may let the request through",
        "Send the question without a body", No;
    BROKEN: BAD_REQUEST, "The body did not arrive whole.",
        "The connection broke off, or the body is not framed as its head says",
        "Send it again", Yes;
    UNCONFIRMED: BAD_REQUEST, "A kill needs \"confirmation\":\"CONFIRM_KILL\". Nothing was stopped.",
        "`POST /kill` without the word, or with another one; audited",
        "Send it with `\"confirmation\":\"CONFIRM_KILL\"`", No;
    ONCE_MALFORMED: BAD_REQUEST, "Idempotency-Key: expected one value of 1 to {limit} visible ASCII characters.",
        "A command bears the header twice, empty, too long or with other characters; nothing was done. `POST /kill` is done all the same, and says so in `warning`",
        "Send one key, a fresh one for each command", No;
    SIGNATURE: BAD_REQUEST, "Invalid signature",
        "`POST /webhooks/stripe`: no secret fits the signature, or it is more than 5 minutes from now; a body over 64 KiB is not read if its header cannot be right. `/health` says which, under `checks.webhooks`",
        "Set `STRIPE_WEBHOOK_SECRET` to the endpoint's signing secret; look at the clock of this machine", No;
    NO_EVENT: BAD_REQUEST, "Signed, but no event: {error}",
        "`POST /webhooks/stripe`: the signature is right and the body no event; audited",
        "Look at what sends it: Stripe itself sends none such", No;
    NO_KEY: UNAUTHORIZED, "Missing API key. Include X-API-Key header.",
        "A protected route without a key",
        "Send `X-API-Key`, or `Authorization: Bearer`", No;
    WRONG_KEY: FORBIDDEN, "Invalid API key",
        "A protected route with a key that nobody has",
        "Compare with `ECHO_API_KEY` and `ECHO_API_KEYS` where the service runs", No;
    ROLE: FORBIDDEN, "POST {path} needs the role {role}, which the key {key} has not.",
        "A key of `ECHO_API_KEYS` whose role does not reach; a command is audited. A verdict counts as offered load, so whoever only reads asks for none",
        "Use a key with that role: gate for `/v1/decide`, operator for `/observe` and `/control`, breaker for `/kill` and `/revive`", No;
    FAR: FORBIDDEN,
        "In production verdicts are answered on ECHO_GATE_LISTEN; here only to this machine, and to nobody whom a proxy passes on (Forwarded, X-Forwarded-*).",
        "`/authz/…` on the public listener in production, asked from another machine, or with a header `Forwarded` or `X-Forwarded-…`: a stranger behind a proxy on this machine, and every question of Caddy, Traefik and Envoy",
        "Set `ECHO_GATE_LISTEN` to an address that only proxies reach, and let them ask there", No;
    NOT_OURS: FORBIDDEN, "`{host}` is no name of loopback, and in development no other is served.",
        "`ENVIRONMENT` is development, and the request is for another host: a page of a stranger's may have given its name our address",
        "Ask by localhost or 127.0.0.1, or set `ENVIRONMENT` to staging or production", No;
    CROSS_SITE: FORBIDDEN, "Pages of other sites may not post here.",
        "A browser says `Sec-Fetch-Site: cross-site` of a POST",
        "Send it from a server, or from a page of the same site", No;
    UNKNOWN: NOT_FOUND, "there is no throttle `{throttle}`",
        "A body or a path names a throttle that nobody declared; nothing was done",
        "`GET /v1/throttles` lists those there are, in a cluster `kubectl get echothrottles -A`", No;
    BAD_NAME: NOT_FOUND, "`{name}` is no throttle name: expected 1 to 317 of a-z, 0-9, `-` and `.`",
        "`GET /v1/throttles/{name}` with what can be no name",
        "`GET /v1/throttles` lists those there are", No;
    NO_NAME: NOT_FOUND, "There is no throttle of that name.",
        "`GET /v1/throttles/{name}` with a name that is not UTF-8",
        "`GET /v1/throttles` lists those there are", No;
    NO_ROUTE: NOT_FOUND, "There is no such route here.",
        "Any other path; a gate and an operator have fewer routes than `serve`",
        "`GET /openapi.json` lists the routes", No;
    NO_FILE: NOT_FOUND, "There is no such file.",
        "`GET /docs/{file}` with a name that is none of the page's files",
        "`GET /docs` is the page", No;
    NO_RECORD: NOT_FOUND, "This process keeps no record.",
        "`/v1/audit`, `/v1/drift`, `/v1/evidence` or `/v1/state` of a process without a ledger",
        "Ask the operator, or the process that runs `serve`", No;
    NO_METHOD: METHOD_NOT_ALLOWED, "This route does not take that method.",
        "A route with a method that it has not",
        "`GET /openapi.json` lists the methods", No;
    LATE: REQUEST_TIMEOUT, "The body did not arrive within {seconds} s.",
        "A body that is sent too slowly; nothing was done",
        "Look at the connection, then send it again", Yes;
    KILLED: CONFLICT, "Throttle {throttle} is killed; end the kill with POST /revive first.",
        "`POST /control` while a kill holds; `held_by` names who holds what; audited",
        "`POST /revive`, then again", No;
    NOTHING_ENDED: CONFLICT, "Nothing could be ended here; see held_by for who holds what.",
        "`POST /revive` while only a manifest, a spec or, for one throttle, a kill of all holds; audited",
        "End the kill where `held_by` says that it was declared, or by its epoch", No;
    NO_HOLD: CONFLICT, "There is no hold with the epoch {epoch}; see held_by for those there are.",
        "`POST /revive` with an `epoch` that no hold has, or no longer, while another kill holds; audited",
        "Take the epoch from `held_by` or `GET /v1/throttles`", No;
    ENDED_SINCE: CONFLICT,
        "This kill was done and has been ended since: to stop again, send it with a new Idempotency-Key.",
        "`POST /kill` again under the key of a kill that is over; `epoch` names that kill",
        "To stop again, send it with a new key", No;
    MAY_END: CONFLICT,
        "This kill holds, and whether it is about to end is not known: to stop for certain, send it with a new Idempotency-Key.",
        "`POST /kill` again under its key while a revival of that kill is under way or not decided; `epoch` names the kill",
        "To stop for certain, send it with a new key", No;
    HELD_SINCE: CONFLICT,
        "This revival was done, and a newer kill holds since: see held_by. To end that one too, send it with a new Idempotency-Key.",
        "`POST /revive` again under the key of a revival, while kills hold that it did not name; `held_by` names them",
        "Look at `held_by`; to end them, send it with a new key", No;
    TOO_LARGE: PAYLOAD_TOO_LARGE, "The body is larger than this route takes.",
        "More than 64 KiB, at the webhook more than 1 MiB; of a kill see the next",
        "Send less", No;
    KILL_TOO_LARGE: PAYLOAD_TOO_LARGE,
        "This kill is too large to be read, so whether and what it stops is not known. NOTHING WAS STOPPED: send it with a short reason.",
        "`POST /kill` of more than 1 MiB, or of more than 64 KiB beside the text of its reason; a long reason alone is cut, not refused",
        "Send `confirmation`, `throttle` if not all are meant, and a short `reason`", No;
    FIELDS: UNPROCESSABLE_ENTITY, "{field}: expected {what}",
        "JSON that the route does not take, or a wrong parameter; all that is wrong, separated by `; `, and one by one in `errors` as `field` and `expected`",
        "Mend these fields", No;
    OTHER_REQUEST: UNPROCESSABLE_ENTITY,
        "This Idempotency-Key was used for another request: use a new key for a new command.",
        "The caller's own key of the last 24 hours came to the same route with another body; nothing was done. `POST /kill` is done all the same, and says so in `warning`",
        "Use a new key", No;
    LIMITED: TOO_MANY_REQUESTS, "Too many requests. Wait {wait} s. The limit is RATE_LIMIT_PER_MINUTE for each address.",
        "The requests of a minute that a client without a right key has are used up; wrong keys and events that nobody signed spend them too",
        "Wait, or raise `RATE_LIMIT_PER_MINUTE`; behind a proxy set `ECHO_TRUSTED_PROXIES`, or all its clients are one", Later;
    LIMITED_KEY: TOO_MANY_REQUESTS, "Too many requests. Wait {wait} s. The limit is RATE_LIMIT_PER_MINUTE for each key.",
        "A key's requests of a minute are used up, from wherever they came",
        "Wait, raise `RATE_LIMIT_PER_MINUTE`, or give each of those that share the key one of its own in `ECHO_API_KEYS`", Later;
    LIMITED_KILL: TOO_MANY_REQUESTS,
        "Too many requests. Wait {wait} s. A kill with a right key and its confirmation passes without a limit; this was none.",
        "Too many requests to `/kill` that are no kill, of all clients together",
        "Send a kill with its key and its word: it is never limited", Later;
    NOT_CONFIGURED: INTERNAL_SERVER_ERROR, "API key not configured",
        "A protected route of a process that has no key (production and staging make none)",
        "Set `ECHO_API_KEY` where the service runs, and start it again", No;
    LOST_ANSWER: INTERNAL_SERVER_ERROR, "The answer is lost.",
        "`POST /revive` ended kills, and what it has to say about it is gone; a fault of ours",
        "Look at `GET /v1/throttles`, and report it", Yes;
    KILL_BROKE: INTERNAL_SERVER_ERROR, "The kill broke off; look at /health and send it again.",
        "`POST /kill` shut the gate, and how far it got is not known",
        "Send it again: killing twice is one kill", Yes;
    FAULT: INTERNAL_SERVER_ERROR,
        "This broke off, a fault of ours: the log says more under the request-id of this answer.",
        "A handler panicked; of a command it is not known whether it was done, which `outcome` says",
        "Look at `/health` and `GET /v1/throttles`, send it again under the same `Idempotency-Key`, and report it", Yes;
    CODING: NOT_IMPLEMENTED, "Of transfer codings only `chunked` is known here, alone.",
        "`Transfer-Encoding` names another one, as `gzip, chunked` does, or is there twice",
        "Send the body as it is, with its length or in chunks", No;
    REVIVE_WAITS: SERVICE_UNAVAILABLE,
        "The record is not available: ending a kill waits for it. Nothing was opened.",
        "`POST /revive` while the ledger does not answer",
        "`/health` says how the ledger is; mend it (disk full, folder not writable), then again", Yes;
    REVIVE_UNDECIDED: SERVICE_UNAVAILABLE,
        "The record has begun to write this and does not answer: the revival may still happen. `echo-phoenix status` tells what it became.",
        "`POST /revive` while the ledger's disk hangs in the middle of a write; what becomes of it is found out, and gate and record then agree",
        "Wait until `/health` says that the ledger is well; then look at the status, and revive again if it still holds", Yes;
    OPENING_UNDECIDED: SERVICE_UNAVAILABLE,
        "The ledger has begun to write this and does not answer: the declaration may still happen. `echo-phoenix status` tells what it became.",
        "`POST /control` with a lower level while the ledger's disk hangs in the middle of a write",
        "Wait until `/health` says that the ledger is well; then look at the status, and declare again if need be", Yes;
    OPENING_WAITS: SERVICE_UNAVAILABLE,
        "The ledger is not available: an opening waits for it, tightening and /kill do not. Nothing was changed.",
        "`POST /control` with a lower level while the ledger does not answer",
        "`/health` says how the ledger is; mend it, then again", Yes;
    NOT_OBSERVED: SERVICE_UNAVAILABLE, "The ledger is not available; the observation was not stored.",
        "`POST /observe` while the ledger does not answer; what was measured counts all the same where it closes",
        "Send the next measurement; an old one is worth nothing", Yes;
    NO_PAGE: SERVICE_UNAVAILABLE, "The ledger is not available; ask again.",
        "A page of the record while the ledger does not answer",
        "Ask again", Yes;
    WEBHOOKS_OFF: SERVICE_UNAVAILABLE,
        "Webhooks are off: set STRIPE_WEBHOOK_SECRET. Stripe tries again for three days.",
        "`POST /webhooks/stripe` while no secret is set",
        "Set `STRIPE_WEBHOOK_SECRET`; what Stripe sent meanwhile comes again", Yes;
    NOT_STORED: SERVICE_UNAVAILABLE, "The event could not be stored; send it again.",
        "`POST /webhooks/stripe` while the ledger does not answer",
        "Nothing: Stripe sends it again", Yes;
    MANY_LARGE: SERVICE_UNAVAILABLE, "Too many large bodies at once. Send it again.",
        "`POST /webhooks/stripe`: a body over 64 KiB found no place within 2 s: 8 such are being read, or 2 of the same client",
        "Nothing: Stripe sends it again", Yes;
    GIVEN_UP: SERVICE_UNAVAILABLE,
        "This took longer than {seconds} s and was given up; look at /health before sending it again.",
        "A handler did not come to an end",
        "Look at `/health`, then send it again under the same `Idempotency-Key`", Yes;
}
