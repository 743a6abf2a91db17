//! A throttle of another site as a target: which one, what it was found to be, what it is told and
//! what it last acknowledged.
//!
//! Knows no HTTP.

use serde::{Deserialize, Serialize};

use crate::domain::hold::Epoch;
use crate::domain::level::Level;
use crate::domain::throttle::name::ThrottleName;

/// A throttle of another Echo Phoenix, which obeys this one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RemoteSpec {
    /// Where it is, without a `/` at the end.
    pub url: String,
    /// The environment variable that has the key to it; the key itself is stored nowhere.
    pub api_key_env: String,
    /// Its throttle there.
    pub throttle: ThrottleName,
}

/// A throttle of another site as it was read back.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteReadBack {
    /// The level it has declared.
    pub declared: Level,
    /// The level in force there: its own law and ramp make it.
    pub effective: Level,
    /// Whether it is killed, whoever did that.
    pub killed: bool,
    /// Its kills that this throttle sent.
    pub ours: Vec<Epoch>,
    /// Who else keeps it killed, in words; none if nobody does.
    pub others: Option<String>,
}

/// What a throttle of another site last acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoteSent {
    /// The level, once one was asked for.
    pub level: Option<Level>,
    /// Whether it was killed.
    pub killed: bool,
}

/// What another site is told to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RemoteOrder {
    /// Stop.
    #[serde(rename_all = "camelCase")]
    Kill {
        /// The kills here that ask for it.
        epochs: Vec<Epoch>,
        /// Why, as whoever killed here said.
        reason: String,
    },
    /// End these kills, which are ours.
    #[serde(rename_all = "camelCase")]
    Revive {
        /// Their ids there.
        epochs: Vec<Epoch>,
    },
    /// Declare a level.
    #[serde(rename_all = "camelCase")]
    Level {
        /// What it has declared.
        from: Level,
        /// What it shall declare.
        to: Level,
        /// The level in force there, as its `/control` wants to be told.
        effective: Level,
    },
}

/// What another site is told, as far as it is told the same again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// To stop.
    Stop,
    /// To end a stop of ours.
    End,
    /// To declare this level.
    Level(Level),
}

impl RemoteOrder {
    /// What it is, apart from its words.
    pub fn kind(&self) -> OrderKind {
        match self {
            Self::Kill { .. } => OrderKind::Stop,
            Self::Revive { .. } => OrderKind::End,
            Self::Level { to, .. } => OrderKind::Level(*to),
        }
    }
}
