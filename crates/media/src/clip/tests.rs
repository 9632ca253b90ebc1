use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

const MP3: &[u8] = include_bytes!("../../tests/data/tone-1000hz-500ms.mp3");
const VORBIS: &[u8] = include_bytes!("../../tests/data/tone-1000hz-500ms.ogg");
const OPUS: &[u8] = include_bytes!("../../tests/data/tone-1000hz-500ms.opus");
const FLAC: &[u8] = include_bytes!("../../tests/data/tone-1000hz-500ms.flac");

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
fn decodes_mp3_vorbis_opus_and_flac() {
    for (name, file, slack) in
        [("MP3", MP3, 0.15), ("Vorbis", VORBIS, 0.03), ("Opus", OPUS, 0.03), ("FLAC", FLAC, 0.0)]
    {
        let clip = Clip::decode(file.to_vec(), MINUTE).expect(name);
        let off = clip.duration().as_secs_f64() - 0.5;
        assert!(off.abs() <= slack + 0.001, "{name}: {:?}", clip.duration());
        let (hz, level) = tone::frequency(&clip.samples()[800..]).expect(name);
        assert!((hz - 1000.0).abs() < 5.0 && (level - 0.5).abs() < 0.03, "{name}: {hz} Hz at {level}");
    }
}

/// A WAV file with this `fmt ` chunk around a tone whose samples `encode` writes.
fn wav_of(format: u16, bits: u16, encode: impl Fn(f64) -> Vec<u8>) -> Vec<u8> {
    let data: Vec<u8> = (0..8000)
        .flat_map(|n| encode(0.5 * (std::f64::consts::TAU * 440.0 * f64::from(n) / 16_000.0).sin()))
        .collect();
    let mut file = b"RIFF\0\0\0\0WAVEfmt ".to_vec();
    file[4..8].copy_from_slice(&(38 + data.len() as u32).to_le_bytes());
    file.extend(18u32.to_le_bytes());
    file.extend([format.to_le_bytes(), 1u16.to_le_bytes()].concat());
    file.extend([16_000u32.to_le_bytes(), (16_000 * u32::from(bits) / 8).to_le_bytes()].concat());
    file.extend([(bits / 8).to_le_bytes(), bits.to_le_bytes()].concat());
    file.extend([0, 0]);
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

#[test]
fn decodes_wav_of_any_width() {
    let whole = |scale: f64, bytes: usize| move |x: f64| ((x * scale) as i32).to_le_bytes()[..bytes].to_vec();
    for (name, file) in [
        ("8 bit", wav_of(1, 8, |x| vec![(x * 127.0 + 128.0) as u8])),
        ("16 bit", wav_of(1, 16, whole(32_767.0, 2))),
        ("24 bit", wav_of(1, 24, whole(8_388_607.0, 3))),
        ("32 bit", wav_of(1, 32, whole(2_147_483_647.0, 4))),
        ("32 bit float", wav_of(3, 32, |x| (x as f32).to_le_bytes().to_vec())),
        ("64 bit float", wav_of(3, 64, |x| x.to_le_bytes().to_vec())),
        ("A-law", wav_of(6, 8, |x| vec![crate::g711::encode_alaw((x * 32_767.0) as i16)])),
        ("µ-law", wav_of(7, 8, |x| vec![crate::g711::encode_ulaw((x * 32_767.0) as i16)])),
    ] {
        let clip = Clip::decode(file, MINUTE).expect(name);
        assert_eq!(clip.duration(), Duration::from_millis(500), "{name}");
        let (hz, level) = tone::frequency(clip.samples()).expect(name);
        assert!((hz - 440.0).abs() < 2.0 && (level - 0.5).abs() < 0.02, "{name}: {hz} Hz at {level}");
    }
}

#[test]
fn tables_that_would_fill_the_memory_are_refused_before_they_are_made() {
    let vorbis = vorbis_headers(&[(1, 131_072); 256]);
    assert!(!vorbis::is_modest(&vorbis), "32 dimensions");
    assert!(vorbis::is_modest(&vorbis_headers(&[(8, 256); 40])));
    // Those of a real encoder.
    let setup = VORBIS.windows(7).position(|bytes| bytes == b"\x05vorbis").expect("a setup header");
    assert!(vorbis::is_modest(&[&[0; 30], &VORBIS[setup..]].concat()));
}

/// The headers of Vorbis with codebooks of so many dimensions and entries, each in a few bytes.
fn vorbis_headers(codebooks: &[(u32, u32)]) -> Vec<u8> {
    let mut bits: Vec<bool> = vec![];
    let mut put = |value: u32, count: u32| bits.extend((0..count).map(|n| value >> n & 1 == 1));
    put(codebooks.len() as u32 - 1, 8);
    for &(dimensions, entries) in codebooks {
        let length = entries.ilog2();
        for (value, count) in [(0x56_4342, 24), (dimensions, 16), (entries, 24), (1, 1), (length - 1, 5)] {
            put(value, count);
        }
        put(entries, length + 1);
        put(0, 4);
    }
    let bytes = bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit)));
    [&[0; 30][..], b"\x05vorbis", &bytes.collect::<Vec<_>>()].concat()
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
        ("FLAC's header alone", b"fLaC".to_vec(), ClipError::NotAudio),
        ("OGG's header alone", b"OggS".to_vec(), ClipError::NotAudio),
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
        head in prop_oneof![Just(&b"RIFF\xFF\0\0\0WAVEfmt "[..]), Just(&b"ID3\x04\0\0"[..]), Just(&b"\xFF\xFB\x90\0"[..]), Just(&b"fLaC\0\0\0\x22"[..]), Just(&b"OggS\0\x02"[..])],
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let _ = Clip::decode([head, &bytes].concat(), MINUTE);
    }

    #[test]
    fn a_file_with_broken_bytes_is_decoded_or_refused(
        which in 0usize..5, breaks in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..20),
    ) {
        let mut bytes = [&wav(8000, 1, 440.0, 200), MP3, VORBIS, OPUS, FLAC][which].to_vec();
        // Of a WAV file only the header can be broken.
        let broken = if which == 0 { 60 } else { bytes.len() };
        for (at, byte) in breaks {
            bytes[at % broken] = byte;
        }
        let _ = Clip::decode(bytes, MINUTE);
    }
}
