//! What is played where nothing came: the last sound going on and fading (in the spirit of G.711 appendix I),
//! comfort noise, and time taken out of sound without a click.

/// The shortest and the longest period that is looked for, in samples: 200 Hz to 50 Hz.
const PERIODS: std::ops::RangeInclusive<usize> = 40..=160;

/// Samples that are compared to find the period.
const TEMPLATE: usize = 160;

/// So many samples before a loss are needed to make up for it.
pub(crate) const HISTORY: usize = TEMPLATE + *PERIODS.end() + *PERIODS.end() / 4;

/// Samples over which one sound goes over into another: 5 ms.
pub(crate) const OVERLAP: usize = 40;

/// Samples that are compared to find what can be taken out.
const CUT_TEMPLATE: usize = 80;

/// So many samples must lie ahead to cut from them.
pub(crate) const CUTTABLE: usize = CUT_TEMPLATE + *PERIODS.end();

/// How long made-up sound keeps its level, and then how long it fades, in samples.
#[derive(Clone, Copy)]
pub(crate) struct Fade {
    keeps: usize,
    fades: usize,
}

impl Fade {
    /// A loss: 10 ms at full level, silent after 60 ms.
    pub(crate) const OUT: Fade = Fade { keeps: 80, fades: 400 };
    /// Time that is put in between: all of it at full level.
    pub(crate) const NONE: Fade = Fade { keeps: 1600, fades: 400 };
    /// A pause: gone within 5 ms.
    pub(crate) const QUICK: Fade = Fade { keeps: 0, fades: OVERLAP };

    /// Its end: silence from here on.
    pub(crate) const fn len(self) -> usize {
        self.keeps + self.fades
    }

    fn gain(self, n: usize) -> f32 {
        1.0 - (n.saturating_sub(self.keeps) as f32 / self.fades as f32).min(1.0)
    }

    /// Lowers samples, of which the first is the `from`th of the fade.
    pub(crate) fn apply(self, from: usize, samples: &mut [i16]) {
        (from..).zip(samples).for_each(|(n, sample)| *sample = self.lower(n, *sample));
    }

    /// A sample as it is at the `n`th of the fade.
    pub(crate) fn lower(self, n: usize, sample: i16) -> i16 {
        (f32::from(sample) * self.gain(n)) as i16
    }
}

/// Goes on with the last period of what was heard.
pub(crate) struct Repeater {
    period: [i16; *PERIODS.end()],
    len: usize,
    /// How far the first sample of the period is from where the last real one would lead.
    step: f32,
}

impl Repeater {
    pub(crate) fn new() -> Self {
        Self { period: [0; *PERIODS.end()], len: *PERIODS.end(), step: 0.0 }
    }

    /// Starts behind `heard`, of which the last [`HISTORY`] samples count.
    pub(crate) fn start(&mut self, heard: &[i16]) {
        let heard = heard.get(heard.len().saturating_sub(HISTORY)..).unwrap_or_default();
        let end = heard.len();
        let template = heard.get(end.saturating_sub(TEMPLATE)..).unwrap_or_default();
        let start = end - template.len();
        self.len = most_alike(template, |period| heard.get(start.checked_sub(period)?..));
        let blend = self.len / 4;
        let (last, before) = (end.saturating_sub(self.len), end.saturating_sub(2 * self.len));
        let of_last = heard.get(last..).unwrap_or_default();
        self.period.iter_mut().zip(of_last).for_each(|(to, &from)| *to = from);
        // The end of the period becomes what led to its beginning, so that it can be repeated.
        let lead = heard.get(before..last).unwrap_or_default();
        let tail = self.period.iter_mut().zip(lead).take(self.len).skip(self.len - blend);
        for (n, (to, &from)) in (1..).zip(tail) {
            *to = mix(*to, from, n as f32 / (blend + 1) as f32);
        }
        let at = |index: Option<usize>| f32::from(index.and_then(|at| heard.get(at)).copied().unwrap_or(0));
        self.step = at(end.checked_sub(1)) - at(last.checked_sub(1));
    }

    /// The samples from the `from`th behind the start on, fading.
    pub(crate) fn make(&self, from: usize, out: &mut [i16], fade: Fade) {
        for (n, sample) in (from..).zip(out.iter_mut()) {
            let repeated = self.period.get(n % self.len).copied().unwrap_or(0);
            // The step is taken over the first samples instead of at once.
            let rest = 1.0 - (n + 1) as f32 / OVERLAP as f32;
            *sample = (f32::from(repeated) + self.step * rest.max(0.0)) as i16;
        }
        fade.apply(from, out);
    }
}

/// The period at which `shifted` is most like the template; the longest where nothing is, as in noise.
fn most_alike<'a>(template: &[i16], shifted: impl Fn(usize) -> Option<&'a [i16]>) -> usize {
    let mut best = (*PERIODS.end(), 0.0);
    for period in PERIODS {
        let Some(other) = shifted(period) else { continue };
        let (product, power) = template.iter().zip(other).fold((0.0, 1.0), |(product, power), (&a, &b)| {
            (product + f32::from(a) * f32::from(b), power + f32::from(b) * f32::from(b))
        });
        let likeness = product / f32::sqrt(power);
        if likeness > best.1 {
            best = (period, likeness);
        }
    }
    best.0
}

/// Takes a period out of the start of `ahead` (at least [`CUTTABLE`] samples): what then stands behind the returned
/// number of samples goes on smoothly from what came before them.
pub(crate) fn cut(ahead: &mut [i16]) -> usize {
    let mut start = [0; CUT_TEMPLATE];
    start.iter_mut().zip(ahead.iter()).for_each(|(to, &from)| *to = from);
    let period = most_alike(&start, |period| ahead.get(period..));
    join(&start, ahead.get_mut(period..).unwrap_or_default());
    period
}

/// Lets `old` go over into `new`, from its first sample on.
pub(crate) fn join(old: &[i16], new: &mut [i16]) {
    let len = (old.len().min(new.len()) + 1) as f32;
    for (n, (new, &old)) in (1..).zip(new.iter_mut().zip(old)) {
        *new = mix(old, *new, n as f32 / len);
    }
}

fn mix(old: i16, new: i16, share: f32) -> i16 {
    (f32::from(old) * (1.0 - share) + f32::from(new) * share) as i16
}

/// Comfort noise (RFC 3389), white: its spectrum is not looked at.
pub(crate) struct Noise {
    random: u32,
    /// The largest sample.
    peak: i32,
}

/// The loudest noise that is made, in -dBov: nobody shouts by comfort noise.
const LOUDEST: u8 = 30;

impl Noise {
    pub(crate) const SILENT: Noise = Noise { random: 1, peak: 0 };

    /// Sets the level in -dBov (0 to 127) that a payload's first byte tells.
    pub(crate) fn set(&mut self, level: u8) {
        let rms = 32768.0 * f32::powf(10.0, f32::from(level.clamp(LOUDEST, 127)) / -20.0);
        // Evenly distributed samples are as strong as their peak by the root of three.
        self.peak = (rms * f32::sqrt(3.0)) as i32;
    }

    pub(crate) fn is_audible(&self) -> bool {
        self.peak > 0
    }

    /// Adds noise to what is there.
    pub(crate) fn add(&mut self, out: &mut [i16]) {
        if self.peak == 0 {
            return;
        }
        for sample in out {
            self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (self.random >> 16) as i32 % (2 * self.peak + 1) - self.peak;
            *sample = (i32::from(*sample) + noise).clamp(-32768, 32767) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    /// The largest step from one sample to the next.
    fn roughness(samples: &[i16]) -> u32 {
        samples.array_windows().map(|&[a, b]| u32::from(a.abs_diff(b))).max().unwrap_or(0)
    }

    #[test]
    fn a_tone_goes_on_and_fades_without_a_click() {
        for hz in [60.0, 100.0, 237.0, 440.0, 1004.0, 1633.0, 3000.0] {
            let heard = tone::sine(hz, 200, 0.5);
            let smooth = roughness(&heard);
            let mut repeater = Repeater::new();
            repeater.start(&heard);
            let mut made = vec![0; 560];
            (0..).zip(made.chunks_mut(70)).for_each(|(n, piece)| repeater.make(n * 70, piece, Fade::OUT));
            let all = [heard, made.clone()].concat();
            assert!(roughness(&all) <= smooth * 5 / 4 + 100, "{hz} Hz: a click of {}", roughness(&all));
            assert_eq!(made[480..], [0; 80], "{hz} Hz is silent after 60 ms");
            let (found, level) = tone::frequency(&made[..160]).expect("a tone");
            assert!((found / hz - 1.0).abs() < 0.04 || hz < 100.0, "{hz} Hz goes on as {found}");
            assert!((0.35..0.55).contains(&level), "{hz} Hz goes on at {level}");
        }
    }

    #[test]
    fn anything_can_be_gone_on_with() {
        for heard in [vec![], vec![5], vec![i16::MIN; 50], vec![i16::MAX; 2000], vec![0; 1000]] {
            let mut repeater = Repeater::new();
            repeater.start(&heard);
            repeater.make(0, &mut [0; 1000], Fade::OUT);
        }
    }

    #[test]
    fn time_is_taken_out_of_a_tone_without_a_click() {
        for hz in [100.0, 237.0, 440.0, 1004.0, 3000.0] {
            let whole = tone::sine(hz, 200, 0.5);
            let mut ahead = whole[800..].to_vec();
            let taken = cut(&mut ahead);
            assert!(PERIODS.contains(&taken));
            let rest = [&whole[..800], &ahead[taken..]].concat();
            assert!(roughness(&rest) <= roughness(&whole) * 5 / 4 + 100, "{hz} Hz: {}", roughness(&rest));
        }
    }

    #[test]
    fn noise_is_as_loud_as_it_is_told_and_never_loud() {
        let mut noise = Noise::SILENT;
        let mut heard = vec![0; 8000];
        noise.add(&mut heard);
        assert_eq!(heard, [0; 8000]);
        for (level, dbov) in [(0, 30.0), (30, 30.0), (50, 50.0), (60, 60.0)] {
            noise.set(level);
            heard.fill(0);
            noise.add(&mut heard);
            let made = -20.0 * tone::rms(&heard).log10();
            assert!((made - dbov).abs() < 1.0, "-{level} dBov is {made}");
        }
        noise.set(127);
        heard.fill(0);
        noise.add(&mut heard);
        assert!(heard.iter().all(|sample| *sample == 0));
    }
}
