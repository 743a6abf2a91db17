//! What a row of the table of routes says: everything about one route. Whoever wants to know
//! something of a route, from who may call it to how it is described, reads it here.
//!
//! Knows no row: those stand under `routes`.

use axum::extract::Request;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodRouter, any, get, post};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;
use strum::IntoStaticStr;

use crate::config::{Caller, Role};
use crate::domain::audit::AuditAction;

use super::App;

/// The role a process plays, which decides what routes it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Process {
    /// A service without a cluster: everything.
    Serve,
    /// The control plane of a cluster: people stop and revive here too; levels are Git's.
    Operator,
    /// The data plane of a cluster: verdicts alone.
    Gate,
}

impl Process {
    /// Its word in `/health` and in metrics, which is that of its subcommand.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Processes that have a ledger, and the commands that stop and start.
pub(super) const WITH_RECORD: &[Process] = &[Process::Serve, Process::Operator];
/// Processes without a cluster.
pub(super) const ALONE: &[Process] = &[Process::Serve];
const EVERYWHERE: &[Process] = &[Process::Serve, Process::Operator, Process::Gate];

/// The methods that a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// GET, and HEAD with it.
    Get,
    /// POST.
    Post,
    /// Whatever there is.
    Any,
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Anybody.
    Open,
    /// Anybody; a proxy or a platform asks here.
    Proxy,
    /// The bearer of a key that may do what needs this role.
    Key(Role),
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// It reads.
    Read,
    /// It asks for a verdict. That counts as offered load, which slows a reopening; but it is no
    /// command, and asked for too often to be counted here, logged or audited.
    Verdict,
    /// It brings an event of the payment provider.
    Event,
    /// It commands. A refusal for want of the role is audited.
    Command(CommandKind),
}

/// What is commanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub(super) enum CommandKind {
    Observe,
    Control,
    Kill,
    Revive,
}

impl CommandKind {
    /// Its word in metrics.
    pub(super) fn as_str(self) -> &'static str {
        self.into()
    }

    /// The action of an audit entry that says it was refused.
    pub(super) const fn refused(self) -> AuditAction {
        match self {
            Self::Observe => AuditAction::ObserveRefused,
            Self::Control => AuditAction::ControlRefused,
            Self::Kill => AuditAction::KillRefused,
            Self::Revive => AuditAction::ReviveRefused,
        }
    }
}

/// Whose limit a request spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bucket {
    /// Nobody's.
    Free,
    /// Its key's, or its client's where it has no right one.
    Caller,
    /// Nobody's if the caller has this role, else as [`Bucket::Caller`].
    FreeFor(Role),
    /// The handler sees to it, once it knows what came.
    Own,
    /// Nobody's if it is a kill that is well made; else the one that all such share.
    Kill,
}

/// How a body is read, and how large it may be, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLimit {
    /// It is not read.
    Unread,
    /// It is read whole before the handler begins.
    Whole(usize),
    /// As above; but so many bytes may come, of whose texts only the beginnings are kept, and so
    /// many may be kept.
    Shortened { most: usize, kept: usize },
    /// The handler reads it. So many bytes may come; more than is usual needs a place among the
    /// large ones.
    Streamed { most: usize, usual: usize },
}

impl BodyLimit {
    /// What a command takes.
    pub(super) const COMMAND: Self = Self::Whole(64 * 1024);
    /// What a kill takes: a long reason keeps nobody from stopping.
    pub(super) const KILL: Self = Self::Shortened {
        most: 1024 * 1024,
        kept: 64 * 1024,
    };
    /// What a webhook takes.
    pub(super) const EVENT: Self = Self::Streamed {
        most: 1024 * 1024,
        usual: 64 * 1024,
    };

    /// So much may come.
    pub(super) fn most(self) -> usize {
        match self {
            Self::Unread => 0,
            Self::Whole(most) | Self::Shortened { most, .. } | Self::Streamed { most, .. } => most,
        }
    }

    /// So much is kept of it without more ado.
    pub(super) fn kept(self) -> usize {
        match self {
            Self::Unread => 0,
            Self::Whole(kept)
            | Self::Shortened { kept, .. }
            | Self::Streamed { usual: kept, .. } => kept,
        }
    }
}

/// Makes the schema of a type, noting what it refers to.
pub(super) type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

/// What an answer bears.
pub(super) enum Content {
    /// JSON of this type.
    Json(MakeSchema),
    /// A text of one of these media types.
    Text(&'static [&'static str]),
}

/// One route.
pub(super) struct Route {
    pub(super) verb: Verb,
    /// As the router takes it, with the names of its parameters.
    pub(super) path: &'static str,
    pub(super) handler: MethodRouter<App>,
    /// What answers it on the listener of proxies, where it is answered there.
    pub(super) for_proxies: Option<MethodRouter<App>>,
    pub(super) processes: &'static [Process],
    pub(super) door: Door,
    pub(super) act: Act,
    pub(super) bucket: Bucket,
    pub(super) body: BodyLimit,
    pub(super) description: Description,
}

/// A route as people read it.
#[derive(Default)]
pub(super) struct Description {
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) text: &'static str,
    pub(super) parameters: Vec<Value>,
    /// An example of the JSON body; where that has no type, the whole body.
    pub(super) body: Option<Value>,
    pub(super) takes: Option<(MakeSchema, bool)>,
    pub(super) answers: Vec<(u16, &'static str, Content)>,
    /// Statuses that are answered with a problem, beside those of its door.
    pub(super) refusals: &'static [u16],
}

impl Route {
    fn new(verb: Verb, path: &'static str, handler: MethodRouter<App>) -> Self {
        let body = match verb {
            Verb::Post => BodyLimit::COMMAND,
            Verb::Get | Verb::Any => BodyLimit::Unread,
        };
        Self {
            verb,
            path,
            handler,
            for_proxies: None,
            processes: EVERYWHERE,
            door: Door::Open,
            act: Act::Read,
            bucket: Bucket::Caller,
            body,
            description: Description::default(),
        }
    }

    /// A route that is asked by GET, for anybody and in every process if nothing else is said.
    pub(super) fn get<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self::new(Verb::Get, path, get(handler))
    }

    /// The same by POST, with a body as large as a command's.
    pub(super) fn post<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self::new(Verb::Post, path, post(handler))
    }

    /// The same by any method.
    pub(super) fn any<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self::new(Verb::Any, path, any(handler))
    }

    /// The row of the route that a request has matched.
    pub(super) fn of(request: &Request) -> Option<&'static Self> {
        request.extensions().get::<&'static Self>().copied()
    }

    /// Whether it takes this method.
    pub(super) fn takes_method(&self, method: &Method) -> bool {
        match self.verb {
            Verb::Get => *method == Method::GET || *method == Method::HEAD,
            Verb::Post => *method == Method::POST,
            Verb::Any => true,
        }
    }

    /// Whether a caller may do this.
    pub(super) fn admits(&self, caller: &Caller) -> bool {
        match self.door {
            Door::Key(role) => caller.may(role),
            Door::Open | Door::Proxy => true,
        }
    }

    /// Whether it goes without what all routes have in common: verdicts of proxies do, since they
    /// are asked for with every request of others.
    pub(super) fn is_bare(&self) -> bool {
        self.act == Act::Verdict && self.door == Door::Proxy
    }

    /// What it commands.
    pub(super) fn command(&self) -> Option<CommandKind> {
        match self.act {
            Act::Command(kind) => Some(kind),
            Act::Read | Act::Verdict | Act::Event => None,
        }
    }

    /// Processes that have it.
    pub(super) fn only_in(self, processes: &'static [Process]) -> Self {
        Self { processes, ..self }
    }

    pub(super) fn door(self, door: Door) -> Self {
        Self { door, ..self }
    }

    pub(super) fn act(self, act: Act) -> Self {
        Self { act, ..self }
    }

    pub(super) fn bucket(self, bucket: Bucket) -> Self {
        Self { bucket, ..self }
    }

    pub(super) fn body(self, body: BodyLimit) -> Self {
        Self { body, ..self }
    }

    /// Answers it on the listener of proxies too, without anything before this handler.
    pub(super) fn also_for_proxies<H: Handler<T, App>, T: 'static>(self, handler: H) -> Self {
        let for_proxies = Some(match self.verb {
            Verb::Get => get(handler),
            Verb::Post => post(handler),
            Verb::Any => any(handler),
        });
        Self {
            for_proxies,
            ..self
        }
    }

    /// What it is, in a few words, and the group it stands in.
    pub(super) fn summary(mut self, tag: &'static str, summary: &'static str) -> Self {
        (self.description.tag, self.description.summary) = (tag, summary);
        self
    }

    /// More than the summary says.
    pub(super) fn text(mut self, text: &'static str) -> Self {
        self.description.text = text;
        self
    }

    pub(super) fn parameter(mut self, parameter: Value) -> Self {
        self.description.parameters.push(parameter);
        self
    }

    /// A JSON body with an example.
    pub(super) fn takes<T: JsonSchema>(mut self, required: bool, example: Value) -> Self {
        self.description.takes = Some((schema_of::<T>, required));
        self.description.body = Some(example);
        self
    }

    /// A body that is of no type of ours.
    pub(super) fn takes_raw(mut self, body: Value) -> Self {
        self.description.body = Some(body);
        self
    }

    pub(super) fn answers<T: JsonSchema>(mut self, status: u16, what: &'static str) -> Self {
        let answer = (status, what, Content::Json(schema_of::<T>));
        self.description.answers.push(answer);
        self
    }

    /// Text of one of these media types; of none, there is no content.
    pub(super) fn says(
        mut self,
        status: u16,
        what: &'static str,
        media: &'static [&'static str],
    ) -> Self {
        let answer = (status, what, Content::Text(media));
        self.description.answers.push(answer);
        self
    }

    /// Statuses that are answered with a problem.
    pub(super) fn refuses(mut self, refusals: &'static [u16]) -> Self {
        self.description.refusals = refusals;
        self
    }
}

/// The schema of a type.
pub(super) fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}
