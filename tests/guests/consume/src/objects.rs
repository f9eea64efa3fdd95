//! What is done about changes of objects: whatever lands in `round/` is followed by the next one.

use mayfly_sdk::Error;
use mayfly_sdk::bucket::Bucket;
use serde_json::Value;

/// Writes `round/8` after `round/7`, into the same bucket.
pub(crate) async fn follow(event: &Value) -> Result<(), Error> {
    for record in event["Records"].as_array().into_iter().flatten() {
        let key = record["s3"]["object"]["urlDecodedKey"].as_str().unwrap_or_default();
        let Some(number) = key.strip_prefix("round/") else {
            continue;
        };
        let number: u64 = number.parse()?;
        let bucket = Bucket::named(record["s3"]["bucket"]["name"].as_str().unwrap_or_default());
        bucket.put(&format!("round/{}", number + 1), key, "text/plain").await?;
    }
    Ok(())
}
