//! Changing what an account may do.

use super::{Account, Store, StoreError};

impl Store {
    /// Stores an account that is there already as it is given; false if it is not there.
    pub async fn update_account(&self, account: &Account) -> Result<bool, StoreError> {
        let _changing = self.0.changing.lock().await;
        let update = "UPDATE accounts SET name = $1, countries = $2, prefixes = $3, region = $4, max_calls = $5, \
                      calls_per_second = $6, max_duration_s = $7 WHERE id = $8";
        let done = sqlx::query(update)
            .bind(account.name.clone())
            .bind(serde_json::json!(account.countries).to_string())
            .bind(serde_json::json!(account.prefixes).to_string())
            .bind(account.region.clone())
            .bind(account.max_calls.map(i64::from))
            .bind(account.calls_per_second.map(i64::from))
            .bind(account.max_duration_s.map(i64::from))
            .bind(account.id)
            .execute(&self.0.writes)
            .await?;
        self.refresh().await?;
        Ok(done.rows_affected() == 1)
    }
}
