//! Google Cloud Text-to-Speech, REST v1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Client;
use serde_json::json;

use super::{Engine, Rendering, SpeechError, Utterance, cloud, sentences};
use crate::config::SpeechConfig;
use crate::secret::Secret;

/// Bytes (not characters) of one request's text.
const MOST: usize = 5000;

/// Google Cloud Text-to-Speech.
pub struct Google {
    client: Option<Client>,
    url: String,
    key: Option<Secret>,
}

impl Google {
    /// With the key and the address of `config`.
    pub fn new(config: &SpeechConfig) -> Self {
        Self {
            client: cloud::client(),
            url: format!("{}/v1/text:synthesize", config.google_url),
            key: config.google_api_key.clone(),
        }
    }

    async fn speak(&self, utterance: &Utterance) -> Result<Vec<u8>, SpeechError> {
        let (Some(client), Some(key)) = (&self.client, &self.key) else {
            return Err(SpeechError::Unavailable {
                reason: "Google's API key is not set.".into(),
                hint: "Set google_api_key in [speech] (GOOGLE_API_KEY).".into(),
            });
        };
        let mut files = Vec::new();
        for text in sentences::split(&utterance.text, MOST) {
            let body = json!({
                "input": {"text": text},
                "voice": voice(utterance),
                "audioConfig": {"audioEncoding": "LINEAR16", "sampleRateHertz": 8000},
            });
            let request = client.post(&self.url).header("x-goog-api-key", key.expose()).json(&body);
            files.push(audio(&cloud::send("Google", request).await?)?);
        }
        cloud::join("Google", files).await
    }
}

impl Engine for Google {
    fn name(&self) -> String {
        "google".into()
    }

    fn render<'a>(&'a self, utterance: &'a Utterance) -> Rendering<'a> {
        Box::pin(self.speak(utterance))
    }
}

/// The language must be that of the voice, and voices are named after theirs (`de-DE-Neural2-B`).
fn voice(utterance: &Utterance) -> serde_json::Value {
    let Some(name) = &utterance.voice else {
        return json!({"languageCode": utterance.language});
    };
    let mut parts = name.splitn(3, '-');
    let language = match (parts.next(), parts.next(), parts.next()) {
        (Some(language), Some(region), Some(_)) => format!("{language}-{region}"),
        _ => utterance.language.clone(),
    };
    json!({"languageCode": language, "name": name})
}

fn audio(body: &[u8]) -> Result<Vec<u8>, SpeechError> {
    let body: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let content = body.as_ref().and_then(|body| body.get("audioContent")?.as_str());
    let audio = content.and_then(|content| STANDARD.decode(content).ok());
    audio.ok_or_else(|| SpeechError::Failed { reason: "Google's reply holds no audio".into(), hint: None })
}
