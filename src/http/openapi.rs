//! The description of the API, OpenAPI 3.1, made from the code: bodies and answers are the types
//! themselves, routes are the table in [`routes`]. `tests/it/openapi.rs` holds that the table and
//! the router are of one mind.
//!
//! Knows no handler.

mod routes;

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::wire;

/// The description as text. The same bytes everywhere: `/openapi.json`, `echo-phoenix openapi`,
/// `docs/openapi.json`.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default(); // a value has no odd keys
        text.push('\n');
        text
    });
    &TEXT
}

/// Makes the schema of a type, noting what it refers to.
type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

/// Who may call a route.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    /// Anybody.
    Open,
    /// Anybody; a proxy asks here.
    Proxy,
    /// The bearer of a key.
    Key,
}

/// What an answer bears.
enum Content {
    /// JSON of this type.
    Json(MakeSchema),
    /// A text of one of these media types.
    Text(&'static [&'static str]),
}

/// One route as people read it.
struct Route {
    method: &'static str,
    path: &'static str,
    tag: &'static str,
    door: Door,
    summary: &'static str,
    text: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    takes: Option<(MakeSchema, bool)>,
    answers: Vec<(u16, &'static str, Content)>,
    refusals: Vec<u16>,
}

impl Route {
    fn new(
        method: &'static str,
        path: &'static str,
        tag: &'static str,
        door: Door,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            path,
            tag,
            door,
            summary,
            text: "",
            parameters: Vec::new(),
            body: None,
            takes: None,
            answers: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// More than the summary says.
    fn text(self, text: &'static str) -> Self {
        Self { text, ..self }
    }

    fn parameter(mut self, parameter: Value) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// A JSON body with an example.
    fn takes<T: JsonSchema>(self, required: bool, example: Value) -> Self {
        Self {
            takes: Some((schema_of::<T>, required)),
            body: Some(example),
            ..self
        }
    }

    fn answers<T: JsonSchema>(mut self, status: u16, what: &'static str) -> Self {
        self.answers
            .push((status, what, Content::Json(schema_of::<T>)));
        self
    }

    /// Text of one of these media types; of none, there is no content.
    fn says(mut self, status: u16, what: &'static str, media: &'static [&'static str]) -> Self {
        self.answers.push((status, what, Content::Text(media)));
        self
    }

    /// Statuses that are answered with a problem.
    fn refuses(self, refusals: &[u16]) -> Self {
        Self {
            refusals: refusals.to_vec(),
            ..self
        }
    }
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn document() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|it| it.definitions_path = "/components/schemas".into());
    let mut inward = settings.clone().for_deserialize().into_generator();
    let mut outward = settings.for_serialize().into_generator();
    let problem = schema_of::<wire::Problem>(&mut outward);
    let mut paths = Map::new();
    for route in routes::all() {
        let operation = operation(&route, &mut inward, &mut outward);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation;
    }
    let mut schemas = outward.take_definitions(true);
    schemas.extend(inward.take_definitions(true));
    schemas.sort_keys();
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Echo Phoenix",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": env!("CARGO_PKG_DESCRIPTION"),
            "description": routes::ABOUT,
            "license": { "name": "Apache 2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": routes::tags(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": refusals(&problem),
            "headers": headers(),
            "parameters": routes::parameters(),
            "securitySchemes": {
                "key": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
                "bearer": { "type": "http", "scheme": "bearer", "description": "The same key, for clients that send `Authorization: Bearer`." },
            },
        },
    })
}

fn operation(route: &Route, inward: &mut SchemaGenerator, outward: &mut SchemaGenerator) -> Value {
    let root = if route.path.ends_with('/') {
        "root"
    } else {
        ""
    };
    let id =
        format!("{} {}{root}", route.method, route.path).replace(['/', '{', '}', '.', ' '], "_");
    let id = id
        .split('_')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("_");
    let mut out = json!({ "operationId": id, "tags": [route.tag], "summary": route.summary });
    if !route.text.is_empty() {
        out["description"] = json!(route.text);
    }
    out["security"] = if route.door == Door::Key {
        json!([{ "key": [] }, { "bearer": [] }])
    } else {
        json!([])
    };
    let common = [
        reference("parameters", "request-id"),
        reference("parameters", "traceparent"),
    ];
    out["parameters"] = route.parameters.iter().cloned().chain(common).collect();
    if let Some(body) = request_body(route, inward) {
        out["requestBody"] = body;
    }
    out["responses"] = Value::Object(responses(route, outward));
    out
}

fn request_body(route: &Route, inward: &mut SchemaGenerator) -> Option<Value> {
    let Some((schema, required)) = route.takes else {
        return route.body.clone();
    };
    let mut content = json!({ "schema": schema(inward) });
    if let Some(example) = &route.body {
        content["example"] = example.clone();
    }
    Some(json!({ "required": required, "content": { "application/json": content } }))
}

/// What a route answers, and what it and its door refuse.
fn responses(route: &Route, outward: &mut SchemaGenerator) -> Map<String, Value> {
    let mut responses = Map::new();
    for (status, what, content) in &route.answers {
        let content = match content {
            Content::Json(schema) => json!({ "application/json": { "schema": schema(outward) } }),
            Content::Text(media) => media
                .iter()
                .map(|one| ((*one).to_owned(), json!({ "schema": { "type": "string" } })))
                .collect(),
        };
        let mut headers = json!({ "request-id": reference("headers", "request-id") });
        if route
            .parameters
            .contains(&reference("parameters", "Idempotency-Key"))
        {
            headers["idempotent-replayed"] = reference("headers", "idempotent-replayed");
        }
        let mut response = json!({ "description": what, "headers": headers });
        if content != json!({}) {
            response["content"] = content;
        }
        responses.insert(status.to_string(), response);
    }
    let of_the_door: &[u16] = match route.door {
        Door::Key => &[400, 401, 403, 429, 500, 501],
        Door::Open => &[400, 403, 429, 501],
        Door::Proxy => &[400, 501],
    };
    let mut refused: Vec<u16> = route.refusals.iter().chain(of_the_door).copied().collect();
    refused.sort_unstable();
    for status in refused
        .into_iter()
        .filter(|status| !route.answers.iter().any(|(known, ..)| known == status))
    {
        responses.insert(
            status.to_string(),
            reference("responses", &status.to_string()),
        );
    }
    responses
}

/// A reference to a component.
fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

/// Every refusal there is.
fn refusals(problem: &Schema) -> Value {
    let all = [
        (
            400,
            "The body is no JSON (with `path`), a kill bears no confirmation, a signature is wrong, or a header is malformed, missing or there twice",
        ),
        (401, "There is no key: include `X-API-Key`"),
        (
            403,
            "The key is wrong, or its role may not do this; or in development it is for a host that is not loopback, or posted by another site's page",
        ),
        (404, "There is no such throttle or file"),
        (408, "The body took too long"),
        (
            409,
            "It cannot be done as things stand; `held_by` names who holds what",
        ),
        (413, "The body is larger than the route takes"),
        (422, "The fields in `errors` are not what the route takes"),
        (429, "Too many requests of this address"),
        (
            500,
            "No key is configured, or something of ours went wrong: it is in the log",
        ),
        (
            501,
            "The body is sent in a transfer coding that is not known here",
        ),
        (
            503,
            "A part that this needs is off or does not answer; nothing was changed",
        ),
    ];
    let one = |(status, what): (u16, &str)| {
        let mut headers = json!({ "request-id": reference("headers", "request-id") });
        if status == 409 {
            headers["idempotent-replayed"] = reference("headers", "idempotent-replayed");
        }
        if status == 429 {
            headers["Retry-After"] = reference("headers", "Retry-After");
        }
        let content = json!({ "application/problem+json": { "schema": problem } });
        (
            status.to_string(),
            json!({ "description": what, "headers": headers, "content": content }),
        )
    };
    Value::Object(all.into_iter().map(one).collect())
}

fn headers() -> Value {
    json!({
        "request-id": { "description": "Id of the request: the one that was sent, or one that was made", "schema": { "type": "string" } },
        "idempotent-replayed": { "description": "The answer is of a command that was done before under this caller's Idempotency-Key; nothing was done now", "schema": { "const": "true" } },
        "Retry-After": { "description": "Seconds to wait", "schema": { "type": "integer", "minimum": 0 } },
    })
}
