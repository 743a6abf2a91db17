//! The description of the API, OpenAPI 3.1, made from the code: bodies and answers are the types
//! themselves, all else of a route is its row.
//!
//! Knows what a row says, and no row.

mod components;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::route::{Content, Door, Route, Verb, schema_of};
use super::wire;

/// The description of these routes as text: the same bytes everywhere, `/openapi.json`,
/// `echo-phoenix openapi`, `docs/openapi.json`.
pub(super) fn text(routes: &[Route]) -> String {
    let mut text = serde_json::to_string_pretty(&document(routes)).unwrap_or_default(); // a value has no odd keys
    text.push('\n');
    text
}

fn document(routes: &[Route]) -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|it| it.definitions_path = "/components/schemas".into());
    let mut inward = settings.clone().for_deserialize().into_generator();
    let mut outward = settings.for_serialize().into_generator();
    let problem = schema_of::<wire::Problem>(&mut outward);
    let mut paths = Map::new();
    for route in routes {
        let operation = operation(route, &mut inward, &mut outward);
        let path = paths.entry(path(route)).or_insert_with(|| json!({}));
        path[method(route)] = operation;
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
            "description": components::ABOUT,
            "license": { "name": "Apache 2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": components::tags(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": components::refusals(&problem),
            "headers": components::headers(),
            "parameters": components::parameters(),
            "securitySchemes": {
                "key": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
                "bearer": { "type": "http", "scheme": "bearer", "description": "The same key, for clients that send `Authorization: Bearer`." },
            },
        },
    })
}

/// The path as people write it: what the router takes as the rest of one is a parameter like any
/// other.
fn path(route: &Route) -> String {
    route.path.replace("{*", "{")
}

/// The method that is shown; of a route that takes any, one.
fn method(route: &Route) -> &'static str {
    match route.verb {
        Verb::Get | Verb::Any => "get",
        Verb::Post => "post",
    }
}

fn operation(route: &Route, inward: &mut SchemaGenerator, outward: &mut SchemaGenerator) -> Value {
    let root = if route.path.ends_with('/') {
        "root"
    } else {
        ""
    };
    let id =
        format!("{} {}{root}", method(route), path(route)).replace(['/', '{', '}', '.', ' '], "_");
    let id = id
        .split('_')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("_");
    let said = &route.description;
    let mut out = json!({ "operationId": id, "tags": [said.tag], "summary": said.summary });
    if !said.text.is_empty() {
        out["description"] = json!(said.text);
    }
    out["security"] = if let Door::Key(_) = route.door {
        json!([{ "key": [] }, { "bearer": [] }])
    } else {
        json!([])
    };
    let of_commands = route
        .command()
        .map(|_| reference("parameters", "Idempotency-Key"));
    let common = [
        reference("parameters", "request-id"),
        reference("parameters", "traceparent"),
    ];
    let own = said.parameters.iter().cloned();
    out["parameters"] = own.chain(of_commands).chain(common).collect();
    if let Some(body) = request_body(route, inward) {
        out["requestBody"] = body;
    }
    out["responses"] = Value::Object(responses(route, outward));
    out
}

fn request_body(route: &Route, inward: &mut SchemaGenerator) -> Option<Value> {
    let said = &route.description;
    let Some((schema, required)) = said.takes else {
        return said.body.clone();
    };
    let mut content = json!({ "schema": schema(inward) });
    if let Some(example) = &said.body {
        content["example"] = example.clone();
    }
    Some(json!({ "required": required, "content": { "application/json": content } }))
}

/// What a route answers, and what it and its door refuse.
fn responses(route: &Route, outward: &mut SchemaGenerator) -> Map<String, Value> {
    let said = &route.description;
    let mut responses = Map::new();
    for (status, what, content) in &said.answers {
        let content = match content {
            Content::Json(schema) => json!({ "application/json": { "schema": schema(outward) } }),
            Content::Text(media) => media
                .iter()
                .map(|one| ((*one).to_owned(), json!({ "schema": { "type": "string" } })))
                .collect(),
        };
        let mut headers = json!({ "request-id": reference("headers", "request-id") });
        if route.command().is_some() {
            headers["idempotent-replayed"] = reference("headers", "idempotent-replayed");
        }
        let mut response = json!({ "description": what, "headers": headers });
        if content != json!({}) {
            response["content"] = content;
        }
        responses.insert(status.to_string(), response);
    }
    let of_the_door: &[u16] = match route.door {
        Door::Key(_) => &[400, 401, 403, 429, 500, 501],
        Door::Open => &[400, 403, 429, 501],
        Door::Proxy => &[400, 501],
    };
    let mut refused: Vec<u16> = said.refusals.iter().chain(of_the_door).copied().collect();
    refused.sort_unstable();
    for status in refused
        .into_iter()
        .filter(|status| !said.answers.iter().any(|(known, ..)| known == status))
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
