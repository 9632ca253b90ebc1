use super::settings::Settings;

/// How a source is treated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Level {
    /// Like anybody.
    #[default]
    Clear,
    /// A low rate passes, so that who mistyped still gets an answer.
    Slowed,
    /// Nothing passes from the ports it misbehaved from, and next to nothing from others.
    Ignored,
}

/// Points that halve again and again.
#[derive(Clone, Copy, Default, Debug)]
pub struct Score {
    points: f32,
    at: u64,
}

impl Score {
    pub fn points(self, half_life: u64, now: u64) -> f32 {
        let halves = now.saturating_sub(self.at) as f64 / half_life.max(1) as f64;
        self.points * (-halves).exp2() as f32
    }

    pub fn add(&mut self, points: f32, most: f32, half_life: u64, now: u64) {
        self.points = (self.points(half_life, now) + points).clamp(0.0, most);
        self.at = now;
    }

    /// When it sinks below a threshold. A moment that is past where it is below.
    pub fn below_at(self, threshold: f32, half_life: u64) -> u64 {
        let halves = f64::from(self.points / threshold).log2();
        // A negative number becomes 0, and so does what a threshold of 0 gives.
        if halves.is_finite() { self.at.saturating_add((halves * half_life as f64) as u64) } else { 0 }
    }
}

/// Ports remembered of who misbehaves.
const PORTS: usize = 4;

/// What evidence of one kind comes to.
#[derive(Clone, Copy, Default, Debug)]
pub struct Standing {
    score: Score,
    slowed_until: u64,
    ignored_until: u64,
    /// How often it was ignored; forgotten after good behaviour.
    times: u8,
    /// The last ports evidence came from, so that others behind the same address are told from who is guessing.
    ports: [u16; PORTS],
}

impl Standing {
    /// Of whom there is nothing to say.
    pub const CLEAR: Self = Self {
        score: Score { points: 0.0, at: 0 },
        slowed_until: 0,
        ignored_until: 0,
        times: 0,
        ports: [0; PORTS],
    };

    pub fn charge(&mut self, points: f32, port: u16, settings: &Settings, now: u64) {
        self.charge_mildly(points, settings, now);
        if !self.ports.contains(&port) {
            self.ports.rotate_right(1);
            self.ports[0] = port;
        }
        if self.ignored_until > now || self.points(settings, now) < settings.ignored_at {
            return;
        }
        let longest = nanos(settings.longest);
        if now.saturating_sub(self.ignored_until) > longest {
            self.times = 0;
        }
        let shortest = nanos(settings.shortest).saturating_mul(1 << self.times.min(32));
        self.ignored_until = now.saturating_add(shortest.min(longest));
        self.times = self.times.saturating_add(1);
    }

    /// Slows at the most.
    pub fn charge_mildly(&mut self, points: f32, settings: &Settings, now: u64) {
        self.score.add(points, 4.0 * settings.ignored_at, nanos(settings.half_life), now);
        self.slow(settings);
    }

    /// A right password from `port`.
    pub fn forgive(&mut self, points: f32, port: u16, settings: &Settings, now: u64) {
        self.score.add(-points, f32::MAX, nanos(settings.half_life), now);
        self.slow(settings);
        self.ports.iter_mut().filter(|other| **other == port).for_each(|other| *other = 0);
    }

    fn slow(&mut self, settings: &Settings) {
        self.slowed_until = self.score.below_at(settings.slowed_at, nanos(settings.half_life));
    }

    pub fn points(&self, settings: &Settings, now: u64) -> f32 {
        self.score.points(nanos(settings.half_life), now)
    }

    pub fn level(&self, now: u64) -> Level {
        if self.ignored_until > now {
            Level::Ignored
        } else if self.slowed_until > now {
            Level::Slowed
        } else {
            Level::Clear
        }
    }

    /// When the level is clear again; when evidence was last seen where it is clear.
    pub fn clear_at(&self) -> u64 {
        self.score.at.max(self.slowed_until).max(self.ignored_until)
    }

    /// When the present level ends.
    pub fn until(&self, now: u64) -> Option<u64> {
        match self.level(now) {
            Level::Clear => None,
            Level::Slowed => Some(self.slowed_until),
            Level::Ignored => Some(self.ignored_until),
        }
    }

    /// When it is slowed no more.
    pub fn slowed_until(&self) -> u64 {
        self.slowed_until
    }

    pub fn has_misbehaved_from(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }
}

/// A duration as the shield counts time, in nanoseconds: enough for five hundred years.
pub fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
