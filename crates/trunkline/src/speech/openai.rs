//! OpenAI's `/v1/audio/speech`, and every server that speaks it.

use reqwest::Client;
use serde_json::json;

use super::{Engine, Rendering, SpeechError, Utterance, cloud, sentences};
use crate::config::SpeechConfig;
use crate::secret::Secret;

/// Characters of one request's text; bytes are counted, which are never fewer.
const MOST: usize = 4096;

/// An OpenAI-compatible server.
pub struct OpenAi {
    client: Option<Client>,
    url: String,
    key: Option<Secret>,
    model: String,
}

impl OpenAi {
    /// With the key, the address and the model of `config`.
    pub fn new(config: &SpeechConfig) -> Self {
        Self {
            client: cloud::client(),
            url: format!("{}/v1/audio/speech", config.openai_url),
            key: config.openai_api_key.clone(),
            model: config.openai_model.clone(),
        }
    }

    async fn speak(&self, utterance: &Utterance) -> Result<Vec<u8>, SpeechError> {
        let client = self.client.as_ref().ok_or_else(|| SpeechError::Unavailable {
            reason: "no HTTP client could be made.".into(),
            hint: "The server's log says why.".into(),
        })?;
        let voice = utterance.voice.as_deref().unwrap_or("alloy");
        let mut files = Vec::new();
        for text in sentences::split(&utterance.text, MOST) {
            let body = json!({"model": self.model, "input": text, "voice": voice, "response_format": "wav"});
            let mut request = client.post(&self.url).json(&body);
            if let Some(key) = &self.key {
                request = request.bearer_auth(key.expose());
            }
            files.push(cloud::send("The speech server", request).await?);
        }
        cloud::join("The speech server", files).await
    }
}

impl Engine for OpenAi {
    fn name(&self) -> String {
        format!("openai {} {}", self.model, self.url)
    }

    fn render<'a>(&'a self, utterance: &'a Utterance) -> Rendering<'a> {
        Box::pin(self.speak(utterance))
    }
}
