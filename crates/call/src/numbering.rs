//! The one place that asks libphonenumber: it classifies numbers and reads national ones, and never rewrites a
//! number that was given with its country code (a round trip loses digits of some numbers, such as `+4600100100`).

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, PhoneNumberType, Region};

/// What the numbering plan knows about a valid number.
pub(crate) struct Allocation {
    /// ISO 3166 code of the country, or `001` for numbers that belong to none.
    pub region: String,
    /// With `+` and country code.
    pub e164: String,
    /// The digits to dial within the country, trunk prefix included.
    pub national: String,
    /// Whether calling it costs more than a call to the country's ordinary numbers.
    pub premium: bool,
}

/// Looks up a number given with `+`, or one dialled within `region`. `None` when no plan allocates it.
pub(crate) fn allocation(number: &str, region: Option<&str>) -> Option<Allocation> {
    let default = region.and_then(|code| code.to_ascii_uppercase().parse::<Region>().ok());
    let parsed = PHONE_NUMBER_UTIL.parse(number, default).ok().filter(|parsed| parsed.is_valid())?;
    let premium = matches!(
        parsed.get_type(),
        PhoneNumberType::PremiumRate
            | PhoneNumberType::SharedCost
            | PhoneNumberType::UAN
            | PhoneNumberType::PersonalNumber
            | PhoneNumberType::VoiceMail
    );
    let national = parsed.format_as(PhoneNumberFormat::National);
    Some(Allocation {
        region: parsed.get_region_code()?.to_string(),
        e164: parsed.format_as(PhoneNumberFormat::E164).into_owned(),
        national: national.chars().filter(char::is_ascii_digit).collect(),
        premium,
    })
}

/// The country calling code of a country by its ISO 3166 code: `44` for `GB`.
pub(crate) fn calling_code(region: &str) -> Option<String> {
    let code = PHONE_NUMBER_UTIL.get_country_code_for_region(region.parse().ok()?)?;
    Some(code.to_string())
}
