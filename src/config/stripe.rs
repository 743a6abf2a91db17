//! The secrets of payments: that each is what Stripe calls by that name, and of the right mode.
//!
//! Verifies no signature and calls nobody.

use clap::Args;

use super::{ConfigError, Environment, Secret, graphic, not_set};

/// Payments.
#[derive(Args, Clone, Debug)]
pub struct StripeArgs {
    /// Signing secrets of webhooks, comma-separated while one replaces another; off if not set
    #[arg(
        long,
        env = "STRIPE_WEBHOOK_SECRET",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub stripe_webhook_secret: Secret,
    /// Key of Stripe's API (sk_… or rk_…); a test-mode key is refused in production
    #[arg(
        long,
        env = "STRIPE_SECRET_KEY",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub stripe_secret_key: Secret,
}

impl StripeArgs {
    /// The webhook secrets that are set, comma-separated; `None` if that part is off.
    ///
    /// # Errors
    /// If one is no signing secret, or the API's key is none or one of test mode in production.
    pub fn given(&self, environment: Environment) -> Result<Option<String>, ConfigError> {
        let key = self.stripe_secret_key.given().unwrap_or_default();
        let test_mode = key.starts_with("sk_test_") || key.starts_with("rk_test_");
        let well_formed = (key.starts_with("sk_") || key.starts_with("rk_")) && graphic(key);
        if !key.is_empty() && !well_formed {
            let fix = "Copy it from Stripe's Dashboard, Developers, API keys; or leave it unset.";
            return Err(ConfigError::new(
                "STRIPE_SECRET_KEY",
                "a secret key of Stripe: sk_… or rk_…",
                fix,
            ));
        }
        if test_mode && environment == Environment::Production {
            let fix = "Set the live key, or set ENVIRONMENT=staging: real payments never show under a test key.";
            return Err(ConfigError::new(
                "STRIPE_SECRET_KEY",
                "a live-mode key while ENVIRONMENT is production",
                fix,
            ));
        }
        let all = self
            .stripe_webhook_secret
            .given()
            .unwrap_or_default()
            .split(',');
        let given: Vec<_> = all
            .enumerate()
            .filter(|(_, secret)| !not_set(secret))
            .collect();
        if let Some((index, _)) = given.iter().find(|(_, secret)| {
            let secret = secret.trim();
            secret.strip_prefix("whsec_").is_none_or(str::is_empty) || !graphic(secret)
        }) {
            let expected = format!(
                "signing secrets whsec_…, comma-separated; number {} is none",
                index + 1
            );
            let fix = "Copy it from Stripe's Dashboard, Developers, Webhooks, Reveal.";
            return Err(ConfigError::new("STRIPE_WEBHOOK_SECRET", expected, fix));
        }
        let given: Vec<_> = given.into_iter().map(|(_, secret)| secret).collect();
        Ok((!given.is_empty()).then(|| given.join(",")))
    }
}
