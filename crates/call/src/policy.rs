//! Which numbers an account may call over real trunks: nothing is allowed that is not listed.

use std::fmt;

use crate::number::{Number, dialled, sip_host, sip_user};
use crate::{emergency, numbering};

/// Country codes that belong to no country: satellite and international networks, where fraud is dearest.
const BEYOND_COUNTRIES: [&str; 7] = ["808", "870", "878", "881", "882", "883", "888"];
/// The international premium rate service (ITU-T E.169.2).
const INTERNATIONAL_PREMIUM: &str = "979";

/// What an account may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// ISO 3166 codes of the countries that may be called; `001` for international toll-free numbers, `*` for
    /// every country. Premium, satellite and emergency numbers are refused even then.
    pub countries: Vec<String>,
    /// Beginnings of numbers that are called, or never called, whatever `countries` says; the longest one that fits
    /// decides. Premium and satellite numbers are called only where an entry is the whole number.
    pub prefixes: Vec<Prefix>,
    /// ISO 3166 code of the country in which numbers without `+` are read.
    pub default_region: Option<String>,
}

/// The beginning of numbers in E.164, written `+4930` where they are called, `!+4930` where they are not, `*` for
/// all numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    digits: String,
    /// Whether such numbers may be called.
    pub allows: bool,
}

impl Prefix {
    /// Reads one entry: `+` and 1 to 15 digits, with `!` before it to refuse, or `*`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self { digits: String::new(), allows: true });
        }
        let (allows, number) = match text.strip_prefix('!') {
            Some(number) => (false, number),
            None => (true, text),
        };
        let digits = number.strip_prefix('+')?;
        let real = (1..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        (real && !digits.starts_with('0')).then(|| Self { digits: digits.to_owned(), allows })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.allows, self.digits.as_str()) {
            (_, "") => f.write_str("*"),
            (true, digits) => write!(f, "+{digits}"),
            (false, digits) => write!(f, "!+{digits}"),
        }
    }
}

/// A country as it is kept: the ISO 3166 code in capitals. `None` where no country with telephones has it.
pub fn region(text: &str) -> Option<String> {
    let code = text.to_ascii_uppercase();
    let letters = code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase());
    (letters && numbering::calling_code(&code).is_some()).then_some(code)
}

/// An entry of [`Policy::countries`] as it is kept: a [`region`], `001` or `*`.
pub fn country(text: &str) -> Option<String> {
    if ["001", "*"].contains(&text) { Some(text.to_owned()) } else { region(text) }
}

/// Why nothing was dialled. `Display` is a sentence for the caller that says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The number's country is not on the list.
    #[error(
        "Calls to {country} are not allowed: this account may call {}. Add {country} to the setting \"countries\" to allow them.",
        listed(allowed)
    )]
    NotAllowed {
        /// ISO 3166 code of the number's country.
        country: String,
        /// The countries and beginnings of numbers that may be called.
        allowed: Vec<String>,
    },
    /// The number's beginning is refused by name.
    #[error("Calls to numbers that begin with {} are refused by the entry \"{prefix}\" of the setting \"prefixes\".", prefix.to_string().trim_start_matches('!'))]
    Blocked {
        /// The entry that refuses it.
        prefix: Prefix,
    },
    /// Premium, shared-cost, personal, universal-access and voicemail numbers.
    #[error(
        "This number is charged above the ordinary rate and is not called, whatever the setting \"countries\" says: give an ordinary number."
    )]
    Premium,
    /// Satellite and international networks.
    #[error(
        "This number belongs to a satellite or international network and is not called, whatever the setting \"countries\" says: give a number of a country."
    )]
    Satellite,
    /// An emergency number, in whatever notation.
    #[error(
        "This is an emergency number and emergency calls are not supported here: dial it from a telephone."
    )]
    Emergency,
    /// No numbering plan allocates the number, so its country is not known.
    #[error(
        "No country's numbering plan has this number: give it with + and country code, such as +12025550123, or set \"countries\" to [\"*\"]."
    )]
    Unclassified,
    /// There is no enabled trunk to call over.
    #[error("No trunk is ready to take this call: add one, or enable one that is there.")]
    NoTrunk,
    /// The trunk that was asked for does not exist.
    #[error("There is no trunk \"{0}\": list the trunks and use the id or name of one of them.")]
    UnknownTrunk(String),
    /// The trunk that was asked for is switched off.
    #[error("The trunk \"{0}\" is disabled: enable it or use another one.")]
    DisabledTrunk(String),
    /// SIP addresses may not be called directly and no trunk takes them.
    #[error(
        "SIP addresses are not called directly from here: name the trunk that takes this one, or allow direct calls."
    )]
    NotDirect,
}

impl Refusal {
    /// The stable code of this refusal in replies.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::NotAllowed { .. } | Refusal::Blocked { .. } => "destination_not_allowed",
            Refusal::Premium => "premium_blocked",
            Refusal::Satellite => "satellite_blocked",
            Refusal::Emergency => "emergency_not_supported",
            Refusal::Unclassified => "destination_unclassified",
            Refusal::NoTrunk => "no_trunk",
            Refusal::UnknownTrunk(_) => "unknown_trunk",
            Refusal::DisabledTrunk(_) => "trunk_disabled",
            Refusal::NotDirect => "sip_address_not_allowed",
        }
    }
}

fn listed(countries: &[String]) -> String {
    if countries.is_empty() { "no country yet".to_owned() } else { countries.join(", ") }
}

impl Policy {
    fn allows(&self, country: &str) -> bool {
        self.countries.iter().any(|listed| listed == "*" || listed.eq_ignore_ascii_case(country))
    }

    /// The entry that decides about a number in E.164: the longest that fits; of two alike, the one that refuses.
    fn entry(&self, e164: &str) -> Option<&Prefix> {
        let digits = e164.strip_prefix('+')?;
        let fitting = self.prefixes.iter().filter(|prefix| digits.starts_with(&prefix.digits));
        fitting.max_by_key(|prefix| (prefix.digits.len(), !prefix.allows))
    }

    /// What may be called, as it was listed.
    fn listed(&self) -> Vec<String> {
        let prefixes = self.prefixes.iter().filter(|prefix| prefix.allows).map(ToString::to_string);
        self.countries.iter().cloned().chain(prefixes).collect()
    }

    /// Whether these digits are an emergency number in a country this account has to do with.
    fn is_emergency(&self, digits: &str) -> bool {
        let named = self.default_region.iter().chain(&self.countries);
        named.map(String::as_str).chain(["001"]).any(|region| emergency::is_emergency(region, digits))
    }
}

/// Whether `policy` lets this number be called. The country is the one that allocated the number, not the one its
/// first digits suggest: `+1` is shared by two dozen countries.
pub fn check(policy: &Policy, number: &Number) -> Result<(), Refusal> {
    let home = policy.default_region.as_deref();
    let found = number.allocation(home);
    let dialled = match &found {
        Some(allocation) => allocation.e164.trim_start_matches('+'),
        None => without_exit_code(number),
    };
    if is_emergency(home, number, dialled) {
        return Err(Refusal::Emergency);
    }
    // A number nobody allocates begins as it was written, and only `+` says that it begins with a country code.
    let e164 = found.as_ref().map_or(number.as_str(), |allocation| &allocation.e164);
    let entry = policy.entry(e164);
    if let Some(prefix) = entry.filter(|prefix| !prefix.allows) {
        return Err(Refusal::Blocked { prefix: prefix.clone() });
    }
    if entry.is_some_and(|prefix| prefix.digits == dialled) {
        return Ok(());
    }
    if dialled.starts_with(INTERNATIONAL_PREMIUM) {
        return Err(Refusal::Premium);
    }
    if BEYOND_COUNTRIES.iter().any(|code| dialled.starts_with(code)) {
        return Err(Refusal::Satellite);
    }
    if found.as_ref().is_some_and(|allocation| allocation.premium) {
        return Err(Refusal::Premium);
    }
    match found.map(|allocation| allocation.region) {
        _ if entry.is_some() => Ok(()),
        None if policy.allows("*") => Ok(()),
        None => Err(Refusal::Unclassified),
        Some(country) if policy.allows(&country) => Ok(()),
        Some(country) => Err(Refusal::NotAllowed { country, allowed: policy.listed() }),
    }
}

/// As [`check`] for a SIP URI that leaves over a real trunk or straight to its host: `911@domain` is an emergency
/// call too, and a number in the user part may cost what the number costs, for the host may be a carrier.
pub fn check_uri(policy: &Policy, uri: &str) -> Result<(), Refusal> {
    if is_emergency_uri(policy, uri) {
        return Err(Refusal::Emergency);
    }
    let Some(user) = sip_user(uri) else { return Ok(()) };
    let mut numbers = dialled(&user).into_iter().filter_map(|digits| Number::parse(&digits).ok());
    numbers.try_for_each(|number| check(policy, &number))
}

/// Whether a SIP URI names an emergency number, be it as its user or, as in `sip:112`, where its host should be.
pub(crate) fn is_emergency_uri(policy: &Policy, uri: &str) -> bool {
    let host = || sip_host(uri).filter(|host| host.parse::<std::net::IpAddr>().is_err());
    let Some(user) = sip_user(uri).or_else(host) else { return false };
    let is_emergency = |number: &String| {
        let digits = number.strip_prefix('+');
        policy.is_emergency(digits.unwrap_or(number))
            || digits.is_some_and(emergency::is_international_emergency)
    };
    // What some networks call for help (the name of RFC 5031's service).
    user.eq_ignore_ascii_case("sos") || dialled(&user).iter().any(is_emergency)
}

/// What remains of a number nobody allocates once the usual international exit codes are taken off, lest `00881…`
/// pass for something else than `+881…`.
fn without_exit_code(number: &Number) -> &str {
    let digits = number.digits();
    match number.as_str().strip_prefix('+') {
        Some(_) => digits,
        None => digits.strip_prefix("011").or_else(|| digits.strip_prefix("00")).unwrap_or(digits),
    }
}

fn is_emergency(home: Option<&str>, number: &Number, dialled: &str) -> bool {
    let national = number.as_str() == number.digits();
    // A North American switch connects to 911 on its first three digits, whatever follows.
    let cut_short = national
        && number.digits().starts_with("911")
        && home.and_then(|region| numbering::calling_code(&region.to_ascii_uppercase())).as_deref()
            == Some("1");
    cut_short || emergency::is_international_emergency(dialled)
}

#[cfg(test)]
mod tests;
