use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::secret::Secret;

/// An engine that counts how often it is asked.
#[derive(Default)]
struct Counting {
    renderings: AtomicUsize,
    fails: bool,
}

impl Engine for Counting {
    fn name(&self) -> String {
        "counting".into()
    }

    fn render<'a>(&'a self, utterance: &'a Utterance) -> Rendering<'a> {
        Box::pin(async move {
            self.renderings.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            match self.fails {
                true => Err(SpeechError::Failed { reason: "no".into(), hint: None }),
                false => Ok(Clip::tone(300.0, 10 * utterance.text.len() as u32, 0.5).to_wav()),
            }
        })
    }
}

fn counting(fails: bool) -> (tempfile::TempDir, Arc<Counting>, Speech) {
    let folder = tempfile::tempdir().unwrap();
    let engine = Arc::new(Counting { fails, ..Counting::default() });
    let config = SpeechConfig { voice: Some("usual".into()), ..SpeechConfig::default() };
    let speech = Speech::with_engine(engine.clone(), &config, folder.path().join("speech"));
    (folder, engine, speech)
}

#[tokio::test]
async fn the_same_is_rendered_once() {
    let (folder, engine, speech) = counting(false);
    let many = (0..20).map(|_| speech.say("hello", None, None));
    let spoken: Vec<Spoken> = futures_util::future::try_join_all(many).await.unwrap();
    assert_eq!(engine.renderings.load(Ordering::SeqCst), 1);
    assert!(spoken.iter().all(|one| *one == spoken[0]));
    assert!(folder.path().join("speech").join(&spoken[0].file).exists());
    assert!(speech.0.pending.lock().unwrap().is_empty());

    let again = Speech::with_engine(
        engine.clone(),
        &SpeechConfig { voice: Some("usual".into()), ..Default::default() },
        folder.path().join("speech"),
    );
    assert_eq!(again.say(" hello\n", None, None).await.unwrap(), spoken[0], "after a restart, too");
    assert_eq!(engine.renderings.load(Ordering::SeqCst), 1);
    for (text, voice, language) in
        [("hallo", None, None), ("hello", Some("b"), None), ("hello", None, Some("de"))]
    {
        speech.say(text, voice, language).await.unwrap();
    }
    assert_eq!(engine.renderings.load(Ordering::SeqCst), 4);

    std::fs::write(folder.path().join("speech").join(&spoken[0].file), "broken").unwrap();
    assert_eq!(speech.say("hello", None, None).await.unwrap(), spoken[0], "a broken file is rendered anew");
}

#[tokio::test]
async fn a_failure_is_told_to_all_and_tried_again_later() {
    let (_folder, engine, speech) = counting(true);
    let (a, b) = tokio::join!(speech.say("x", None, None), speech.say("x", None, None));
    assert_eq!((a.unwrap_err().code, b.unwrap_err().code), ("tts_failed", "tts_failed"));
    assert_eq!(engine.renderings.load(Ordering::SeqCst), 1);
    assert!(speech.say("x", None, None).await.is_err());
    assert_eq!(engine.renderings.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_cannot_be_spoken_is_refused_before_anything_is_rendered() {
    let (_folder, engine, speech) = counting(false);
    let long = "x".repeat(5001);
    let table = [
        ("", None, None, "invalid_text"),
        (" \n\t ", None, None, "invalid_text"),
        ("a\0b", None, None, "invalid_text"),
        ("a\u{1b}[31m", None, None, "invalid_text"),
        (&*long, None, None, "invalid_text"),
        ("x", Some("-o/etc/passwd"), None, "invalid_voice"),
        ("x", Some("../voice"), None, "invalid_voice"),
        ("x", Some(""), None, "invalid_voice"),
        ("x", None, Some("en US"), "invalid_language"),
        ("x", None, Some("--help"), "invalid_language"),
    ];
    for (text, voice, language, code) in table {
        let refused = speech.say(text, voice, language).await.unwrap_err();
        assert_eq!((refused.status, refused.code), (400, code), "{text:?} {voice:?} {language:?}");
    }
    assert_eq!(engine.renderings.load(Ordering::SeqCst), 0);
    assert!(speech.say("two\nlines", None, None).await.is_ok());
}

#[test]
fn the_usual_voice_speaks_the_usual_language_only() {
    let (_folder, _, speech) = counting(false);
    let voice = |voice, language| speech.utterance("x", voice, language).unwrap().voice;
    assert_eq!(voice(None, None).as_deref(), Some("usual"));
    assert_eq!(voice(None, Some("EN-us")).as_deref(), Some("usual"));
    assert_eq!(voice(None, Some("de")), None);
    assert_eq!(voice(Some("other"), Some("de")).as_deref(), Some("other"));
}

#[tokio::test]
async fn the_cache_lets_the_least_recently_used_go() {
    let folder = tempfile::tempdir().unwrap();
    let clip = Clip::tone(300.0, 100, 0.5);
    let size = clip.to_wav().len() as u64;
    let cache = Cache::of(folder.path().into(), 2 * size);
    std::fs::write(folder.path().join("notes.txt"), "not ours").unwrap();
    let age = |name: &str, seconds| {
        let file = std::fs::File::open(folder.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    };
    for (name, seconds) in [("tts_a.wav", 300), ("tts_b.wav", 200)] {
        cache.put(name, &clip).await;
        age(name, seconds);
    }
    assert_eq!(cache.get("tts_a.wav").await, Some(clip.clone()), "used, so younger than b now");
    cache.put("tts_c.wav", &clip).await;
    assert!(cache.get("tts_b.wav").await.is_none());
    for name in ["tts_a.wav", "tts_c.wav"] {
        assert!(cache.get(name).await.is_some(), "{name}");
    }
    assert!(folder.path().join("notes.txt").exists());
}

/// What a double was asked, and what it is to answer.
#[derive(Clone)]
struct Double {
    asked: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    answer: Arc<dyn Fn(usize) -> (StatusCode, Vec<u8>) + Send + Sync>,
}

/// A double of a speech server on loopback; answers its address.
async fn double(answer: impl Fn(usize) -> (StatusCode, Vec<u8>) + Send + Sync + 'static) -> (String, Double) {
    let double = Double { asked: Arc::default(), answer: Arc::new(answer) };
    let reply = |State(double): State<Double>, headers: HeaderMap, body: axum::body::Bytes| async move {
        let mut asked = double.asked.lock().unwrap();
        asked.push((headers, serde_json::from_slice(&body).unwrap()));
        (double.answer)(asked.len())
    };
    let router = Router::new()
        .route("/v1/text:synthesize", post(reply))
        .route("/v1/audio/speech", post(reply))
        .with_state(double.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, double)
}

fn cloud_config(engine: EngineChoice, url: &str) -> SpeechConfig {
    SpeechConfig {
        engine,
        google_api_key: Some(Secret::from("g-key".to_owned())),
        google_url: url.into(),
        openai_api_key: Some(Secret::from("o-key".to_owned())),
        openai_url: url.into(),
        openai_model: "tts-1".into(),
        ..SpeechConfig::default()
    }
}

async fn say(config: &SpeechConfig, text: &str, voice: Option<&str>) -> Result<Spoken, Refused> {
    let folder = tempfile::tempdir().unwrap();
    Speech::new(config, folder.path().into()).say(text, voice, None).await
}

#[tokio::test]
async fn google_is_asked_as_its_reference_says() {
    let tone = Clip::tone(440.0, 200, 0.5);
    let wav = tone.to_wav();
    let body = json!({"audioContent": STANDARD.encode(&wav)}).to_string().into_bytes();
    let (url, double) = double(move |_| (StatusCode::OK, body.clone())).await;
    let spoken =
        say(&cloud_config(EngineChoice::Auto, &url), "Hello", Some("en-GB-Neural2-A")).await.unwrap();
    assert_eq!(spoken.clip, tone);
    let asked = double.asked.lock().unwrap();
    assert_eq!(asked[0].0["x-goog-api-key"], "g-key");
    insta::assert_snapshot!(asked[0].1, @r#"{"audioConfig":{"audioEncoding":"LINEAR16","sampleRateHertz":8000},"input":{"text":"Hello"},"voice":{"languageCode":"en-GB","name":"en-GB-Neural2-A"}}"#);
}

#[tokio::test]
async fn an_openai_compatible_server_is_asked_in_parts_it_takes() {
    // Such servers stream: the lengths in the header are not known when it is sent.
    let mut wav = Clip::tone(440.0, 200, 0.5).to_wav();
    wav[4..8].fill(0xff);
    wav[40..44].fill(0xff);
    let (url, double) = double(move |_| (StatusCode::OK, wav.clone())).await;
    let config = cloud_config(EngineChoice::Openai, &url);
    let spoken = say(&config, "Hello", Some("nova")).await.unwrap();
    assert_eq!(spoken.clip.duration(), Duration::from_millis(200));
    let text = "A sentence of some length. ".repeat(180);
    assert_eq!(say(&config, &text, None).await.unwrap().clip.duration(), Duration::from_millis(400));
    let asked = double.asked.lock().unwrap();
    assert_eq!(asked[0].0["authorization"], "Bearer o-key");
    insta::assert_snapshot!(asked[0].1, @r#"{"input":"Hello","model":"tts-1","response_format":"wav","voice":"nova"}"#);
    let parts: Vec<&str> = asked[1..].iter().map(|(_, body)| body["input"].as_str().unwrap()).collect();
    assert_eq!(parts.len(), 2);
    assert!(parts.iter().all(|part| part.len() <= 4096 && part.ends_with("length.")));
}

#[tokio::test]
async fn what_the_provider_says_is_passed_on() {
    let table: [(EngineChoice, u16, &str, &str); 6] = [
        (
            EngineChoice::Google,
            429,
            r#"{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED"}}"#,
            "Google answered 429: Quota exceeded Check the quota",
        ),
        (
            EngineChoice::Google,
            400,
            r#"{"error":{"code":400,"message":"API key not valid.","details":[{"reason":"API_KEY_INVALID"}]}}"#,
            "Google answered 400: API key not valid. Check that the API key",
        ),
        (EngineChoice::Google, 200, "{}", "Google's reply holds no audio"),
        (
            EngineChoice::Openai,
            401,
            r#"{"error":{"message":"Incorrect API key","type":"x","param":null,"code":"invalid_api_key"}}"#,
            "answered 401: Incorrect API key Check that the API key",
        ),
        (EngineChoice::Openai, 500, "<html>\r\noops", "answered 500: <html>oops"),
        (EngineChoice::Openai, 200, "not audio", "the file is no audio"),
    ];
    for (engine, status, body, expected) in table {
        let (url, _) = double(move |_| (StatusCode::from_u16(status).unwrap(), body.into())).await;
        let refused = say(&cloud_config(engine, &url), "Hello", None).await.unwrap_err();
        assert_eq!((refused.status, refused.code), (502, "tts_failed"), "{body}");
        assert!(refused.to_string().contains(expected), "{refused}");
        assert!(!refused.to_string().contains("-key\""), "{refused}");
    }
    let nobody = cloud_config(EngineChoice::Openai, "http://127.0.0.1:1");
    let refused = say(&nobody, "Hello", None).await.unwrap_err();
    assert!(refused.message.contains("cannot be reached"), "{refused}");
    let keyless =
        SpeechConfig { google_api_key: None, ..cloud_config(EngineChoice::Google, "http://127.0.0.1:1") };
    let refused = say(&keyless, "Hello", None).await.unwrap_err();
    assert_eq!((refused.status, refused.code), (503, "tts_unavailable"));
}

fn utterance(text: &str, voice: Option<&str>, language: &str) -> Utterance {
    Utterance { text: text.into(), voice: voice.map(str::to_owned), language: language.into() }
}

/// Whether a program is there; says so loudly where not.
fn installed(program: &str) -> bool {
    let found = std::process::Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("SKIP: {program} is not installed (apt-get install flite espeak-ng)");
    }
    found
}

async fn seconds(engine: &Local, utterance: &Utterance) -> f32 {
    let wav = engine.render(utterance).await.unwrap();
    Clip::decode(wav, LONGEST_CLIP).unwrap().duration().as_secs_f32()
}

#[tokio::test]
async fn flite_speaks_english() {
    if !installed("flite") {
        return;
    }
    let short = seconds(&Local::flite(), &utterance("Hello.", None, "en-US")).await;
    let long =
        seconds(&Local::flite(), &utterance("Hello, this is a longer text; -t $(id) `id`", None, "en-GB"))
            .await;
    assert!(short > 0.2 && long > short + 0.5, "{short} {long}");
    let german = Local::flite().render(&utterance("Hallo", None, "de")).await;
    assert!(matches!(german, Err(SpeechError::Unsuitable(_))));
    let voice = Local::flite().render(&utterance("Hello", Some("trunkline.toml"), "en")).await;
    assert!(matches!(voice, Err(SpeechError::Unsuitable(_))));
}

#[tokio::test]
async fn espeak_speaks_the_rest() {
    if !installed("espeak-ng") {
        return;
    }
    for language in ["de", "de-DE", "pt-BR", "en-US", "fr-XX"] {
        let heard = seconds(&Local::any(), &utterance("Ein, zwei, drei.", None, language)).await;
        assert!(heard > 0.3, "{language}: {heard}");
    }
    let nobody = Local::espeak().render(&utterance("x", None, "xx")).await;
    assert!(matches!(nobody, Err(SpeechError::Unsuitable(_))));
    let instead = Local::of(Some("/nonexistent/flite".into()), Some("espeak-ng".into()));
    assert!(seconds(&instead, &utterance("Hello", None, "en-US")).await > 0.2, "English without flite");
    let asked = instead.render(&utterance("Hello", Some("slt"), "en-US")).await;
    assert!(
        matches!(asked, Err(SpeechError::Unavailable { .. })),
        "a voice that was asked for is not replaced"
    );
}

#[tokio::test]
async fn a_missing_engine_says_how_to_get_it() {
    let missing = Local::of(None, Some("/nonexistent/espeak-ng".into()));
    let refused = Refused::from(missing.render(&utterance("x", None, "de")).await.unwrap_err());
    assert_eq!((refused.status, refused.code), (503, "tts_unavailable"));
    assert!(refused.hint.unwrap().contains("apt-get install flite espeak-ng"));
}

#[tokio::test]
async fn a_program_that_fails_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(folder.path(), "echo something broke >&2; exit 3");
    let refused =
        Refused::from(Local::of(None, Some(program)).render(&utterance("x", None, "de")).await.unwrap_err());
    assert_eq!((refused.status, refused.code), (502, "tts_failed"));
    assert!(refused.message.contains("something broke"), "{}", refused.message);
    let silent = script(folder.path(), "exit 0");
    assert!(Local::of(None, Some(silent)).render(&utterance("x", None, "de")).await.is_err());
}

fn script(folder: &Path, body: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(format!("engine{}", body.len()));
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}
