//! The target `remote` of an EchoThrottle: another Echo Phoenix, which obeys this one.
//!
//! A manifest file names the variable that has the key. In a cluster it will be a Secret's; until
//! then the resource's rules refuse this target there.

#![allow(
    unreachable_pub,
    reason = "KubeSchema repeats each type inside a function, where pub reaches nobody"
)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::domain::target::RemoteSpec;
use crate::domain::throttle::ThrottleName;

/// A throttle of another Echo Phoenix, which obeys this one.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteTarget {
    /// Where it is: https, or http on this machine.
    #[schemars(length(min = 8, max = 1024), regex(pattern = "^https?://"))]
    pub url: String,
    /// The environment variable `ECHO_REMOTE_KEY_…` that has the key to it, of the roles breaker (kills) and operator (levels).
    #[schemars(
        length(min = 17, max = 128),
        regex(pattern = "^ECHO_REMOTE_KEY_[A-Za-z0-9_]+$")
    )]
    pub api_key_env: String,
    /// Its throttle there.
    #[serde(default = "default_throttle")]
    #[schemars(length(min = 1, max = 317), regex(pattern = "^[a-z0-9.-]+$"))]
    pub throttle: String,
}

fn default_throttle() -> String {
    "default".to_owned()
}

impl RemoteTarget {
    /// The site and its throttle; nothing if the throttle's name is none, which every door checks.
    pub fn domain(&self) -> Option<RemoteSpec> {
        let throttle = ThrottleName::try_from(self.throttle.clone()).ok()?;
        let url = self.url.trim_end_matches('/').to_owned();
        Some(RemoteSpec {
            url,
            api_key_env: self.api_key_env.clone(),
            throttle,
        })
    }
}

/// A site as a manifest declares it.
impl From<&RemoteSpec> for RemoteTarget {
    fn from(remote: &RemoteSpec) -> Self {
        let RemoteSpec {
            url,
            api_key_env,
            throttle,
        } = remote.clone();
        Self {
            url,
            api_key_env,
            throttle: throttle.to_string(),
        }
    }
}
