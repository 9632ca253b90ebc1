use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

const MP3: &[u8] = include_bytes!("../../tests/data/tone-1000hz-500ms.mp3");

/// A WAV file of 16 bits whose channels all play a sine of `hz` for `ms`.
fn wav(rate: u32, channels: u16, hz: f32, ms: u32) -> Vec<u8> {
    let spec = hound::WavSpec { sample_rate: rate, ..record::spec(channels) };
    let mut file = Cursor::new(vec![]);
    let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
    for n in 0..u64::from(rate) * u64::from(ms) / 1000 {
        let phase = std::f64::consts::TAU * f64::from(hz) * n as f64 / f64::from(rate);
        (0..channels).for_each(|_| writer.write_sample((16384.0 * phase.sin()) as i16).unwrap());
    }
    writer.finalize().unwrap();
    file.into_inner()
}

#[test]
fn decodes_any_rate_and_channel_count() {
    for (rate, channels) in
        [(8000, 1), (8000, 2), (11025, 1), (16000, 1), (22050, 2), (44100, 2), (48000, 6), (96000, 1)]
    {
        let clip = Clip::decode(wav(rate, channels, 440.0, 1000), MINUTE).expect("a clip");
        let off = clip.duration().as_secs_f64() - 1.0;
        assert!(off.abs() < 0.002, "{rate} Hz, {channels} channels: {off} s too long");
        let (hz, level) = tone::frequency(clip.samples()).expect("a tone");
        assert!((hz - 440.0).abs() < 2.0 && (level - 0.5).abs() < 0.02, "{rate} Hz: {hz} Hz at {level}");
    }
}

#[test]
fn the_filters_delay_is_taken_off() {
    let clip = Clip::decode(wav(44_100, 1, 440.0, 500), MINUTE).unwrap();
    let onset = clip.samples().iter().position(|sample| sample.unsigned_abs() > 4000).unwrap();
    assert!(onset < 40, "starts {onset} samples late");
}

#[test]
fn what_8_khz_cannot_hold_is_filtered_out() {
    let clip = Clip::decode(wav(44_100, 1, 6000.0, 500), MINUTE).unwrap();
    // The edges of the tone hold other frequencies.
    assert!(tone::rms(&clip.samples()[400..3600]) < 0.001);
}

#[test]
fn decodes_mp3() {
    let clip = Clip::decode(MP3.to_vec(), MINUTE).expect("a clip");
    assert!((0.45..0.65).contains(&clip.duration().as_secs_f64()), "{:?}", clip.duration());
    let (hz, _) = tone::frequency(&clip.samples()[800..]).expect("a tone");
    assert!((hz - 1000.0).abs() < 5.0, "{hz}");
}

#[test]
fn a_damaged_mp3_plays_what_is_left_of_it() {
    let mut damaged = MP3.to_vec();
    damaged[1000..1200].fill(0x55);
    damaged.truncate(1900);
    let clip = Clip::decode(damaged, MINUTE).expect("a clip");
    assert!(clip.duration() > Duration::from_millis(150));
}

#[test]
fn a_wav_that_breaks_off_plays_up_to_there() {
    let mut cut = wav(8000, 1, 440.0, 1000);
    cut.truncate(44 + 8000);
    let clip = Clip::decode(cut, MINUTE).expect("a clip");
    assert!((0.4..=0.5).contains(&clip.duration().as_secs_f32()), "{:?}", clip.duration());
}

#[test]
fn says_what_is_wrong_with_a_file() {
    let empty_wav = wav(8000, 1, 440.0, 0);
    let mut no_channels = wav(8000, 1, 440.0, 100);
    no_channels[22] = 0;
    let mut many_channels = no_channels.clone();
    many_channels[22..24].copy_from_slice(&200u16.to_le_bytes());
    many_channels[32..34].copy_from_slice(&400u16.to_le_bytes());
    let mut absurd_channels = no_channels.clone();
    absurd_channels[22..24].copy_from_slice(&0x8000u16.to_le_bytes());
    let mut no_rate = wav(8000, 1, 440.0, 100);
    no_rate[24..28].fill(0);
    for (name, bytes, wrong) in [
        ("no bytes", vec![], ClipError::Empty),
        ("text", b"Hello, this is no audio at all".to_vec(), ClipError::NotAudio),
        ("PNG", b"\x89PNG\r\n\x1a\n".to_vec(), ClipError::NotAudio),
        ("zeros", vec![0; 5000], ClipError::NotAudio),
        ("sync without frames", [0xFF, 0xFB].repeat(3000), ClipError::NotAudio),
        ("header alone", b"RIFF\0\0\0\0WAVE".to_vec(), ClipError::NotAudio),
        ("WAV without samples", empty_wav, ClipError::Empty),
        ("too long", wav(8000, 1, 440.0, 1500), ClipError::TooLong { limit: Duration::from_secs(1) }),
    ] {
        assert_eq!(Clip::decode(bytes, Duration::from_secs(1)).unwrap_err(), wrong, "{name}");
    }
    for (name, bytes) in [
        ("no channels", no_channels),
        ("200 channels", many_channels),
        ("32,768 channels", absurd_channels),
        ("no rate", no_rate),
    ] {
        assert!(Clip::decode(bytes, MINUTE).is_err(), "{name}");
    }
    let sentence = ClipError::TooLong { limit: Duration::from_secs(90) }.to_string();
    assert_eq!(sentence, "the audio file is too long: at most 90 s are allowed");
}

#[test]
fn what_is_written_is_decoded() {
    let clip = Clip::tone(800.0, 250, 0.7);
    assert_eq!(Clip::decode(clip.to_wav(), MINUTE).unwrap(), clip);
    assert_eq!(clip.duration(), Duration::from_millis(250));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_decoded_or_refused(
        head in prop_oneof![Just(&b"RIFF\xFF\0\0\0WAVEfmt "[..]), Just(&b"ID3\x04\0\0"[..]), Just(&b"\xFF\xFB\x90\0"[..])],
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let _ = Clip::decode([head, &bytes].concat(), MINUTE);
    }

    #[test]
    fn a_file_with_broken_bytes_is_decoded_or_refused(
        is_mp3: bool, breaks in proptest::collection::vec((0usize..2000, any::<u8>()), 1..20),
    ) {
        let mut bytes = if is_mp3 { MP3.to_vec() } else { wav(8000, 1, 440.0, 200) };
        for (at, byte) in breaks {
            bytes[at % if is_mp3 { 2000 } else { 60 }] = byte;
        }
        let _ = Clip::decode(bytes, MINUTE);
    }
}
