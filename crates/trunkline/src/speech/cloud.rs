//! What engines reached by HTTP share.

use std::time::Duration;

use media::Clip;
use reqwest::{Client, RequestBuilder, Response};

use super::{LONGEST_CLIP, SpeechError};

/// How long a request may take in all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of a reply: 30 minutes of 24 kHz WAV and Base64 fit.
const MOST: usize = 128 * 1024 * 1024;

const KEY: &str = "Check that the API key is valid and may use text to speech.";
const QUOTA: &str = "Check the quota with the provider, or try again in a minute.";

/// A client that trusts what the system trusts.
pub(super) fn client() -> Option<Client> {
    // The first to come installs it; that another one did is just as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
    builder.build().map_err(|error| tracing::error!(%error, "no HTTP client can be made")).ok()
}

/// Sends a request; answers the body of a success, else what the provider says is wrong.
pub(super) async fn send(engine: &str, request: RequestBuilder) -> Result<Vec<u8>, SpeechError> {
    let failed = |error: reqwest::Error| SpeechError::Failed {
        // The address may be an operator's secret; the kind of failure is not.
        reason: format!("{engine} cannot be reached: {}", root(&error.without_url())),
        hint: Some("Check the address in [speech] and the network."),
    };
    let mut reply = request.send().await.map_err(failed)?;
    let status = reply.status();
    let body = read(engine, &mut reply).await?;
    if status.is_success() {
        return Ok(body);
    }
    let hint = match status.as_u16() {
        401 | 403 => Some(KEY),
        // Google says a wrong key with 400.
        400 if String::from_utf8_lossy(&body).contains("API_KEY_INVALID") => Some(KEY),
        429 => Some(QUOTA),
        _ => None,
    };
    let reason = format!("{engine} answered {}: {}", status.as_u16(), message(&body));
    Err(SpeechError::Failed { reason, hint })
}

/// Puts audio files one behind the other.
pub(super) async fn join(engine: &str, mut files: Vec<Vec<u8>>) -> Result<Vec<u8>, SpeechError> {
    if files.len() == 1 {
        return Ok(files.pop().unwrap_or_default());
    }
    let joined = tokio::task::spawn_blocking(move || {
        let mut samples = Vec::new();
        for file in files {
            samples.extend_from_slice(Clip::decode(file, LONGEST_CLIP)?.samples());
        }
        Ok(Clip::from_samples(samples).to_wav())
    });
    let broken = |reason: String| SpeechError::Failed {
        reason: format!("{engine} sent no audio: {reason}"),
        hint: None,
    };
    match joined.await {
        Ok(joined) => joined.map_err(|error: media::ClipError| broken(error.to_string())),
        Err(error) => Err(broken(error.to_string())),
    }
}

async fn read(engine: &str, reply: &mut Response) -> Result<Vec<u8>, SpeechError> {
    let broken = |reason: String| SpeechError::Failed { reason: format!("{engine}: {reason}"), hint: None };
    let mut body = Vec::new();
    while let Some(chunk) = reply.chunk().await.map_err(|error| broken(root(&error.without_url())))? {
        if body.len() + chunk.len() > MOST {
            return Err(broken("the reply is too long".into()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost cause, which is the one that helps.
fn root(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// `error.message` of Google's and OpenAI's error bodies, or the beginning of whatever came.
fn message(body: &[u8]) -> String {
    let parsed = serde_json::from_slice::<serde_json::Value>(body).ok();
    let said = parsed.as_ref().and_then(|body| body.pointer("/error/message")?.as_str());
    let text = said.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
