//! The emergency numbers of each country.
//!
//! A gateway does not know where its caller stands, so it must not place emergency calls: the numbers are listed
//! to be recognised and refused.

use crate::numbering;

/// Numbers that mean an emergency on mobile networks nearly everywhere, whatever the country's own are.
const EVERYWHERE: [&str; 3] = ["112", "911", "999"];

/// Three digits of country code and four of emergency number.
const LONGEST_INTERNATIONAL: usize = 7;

/// Whether these digits are an emergency number in the country with this ISO 3166 code.
pub fn is_emergency(region: &str, digits: &str) -> bool {
    EVERYWHERE.contains(&digits)
        || NUMBERS.iter().any(|(code, numbers)| code.eq_ignore_ascii_case(region) && lists(numbers, digits))
}

/// Whether these digits are an emergency number in any country.
pub fn is_emergency_anywhere(digits: &str) -> bool {
    EVERYWHERE.contains(&digits) || NUMBERS.iter().any(|(_, numbers)| lists(numbers, digits))
}

/// Whether these digits, the `+` left out, are a country code followed by one of that country's emergency numbers
/// (`1911`), or a North American number under 911, which is no area code and connects to the emergency service.
pub fn is_international_emergency(digits: &str) -> bool {
    let listed = |(region, numbers): &(&str, &str)| {
        let code = numbering::calling_code(region);
        let national = code.and_then(|code| digits.strip_prefix(&code));
        national.is_some_and(|national| lists(numbers, national))
    };
    digits.starts_with("1911") || digits.len() <= LONGEST_INTERNATIONAL && NUMBERS.iter().any(listed)
}

fn lists(numbers: &str, digits: &str) -> bool {
    numbers.split(' ').any(|pattern| {
        pattern.len() == digits.len() && pattern.bytes().zip(digits.bytes()).all(|(p, d)| p == b'x' || p == d)
    })
}

/// By country, separated by spaces; `x` is any digit. From libphonenumber's short-number metadata, 9.0.43.
#[rustfmt::skip]
const NUMBERS: &[(&str, &str)] = &[
    ("AC", "911 999"), ("AD", "110 112 116 118"), ("AE", "112 997 998 999"), ("AF", "100 102 119"),
    ("AG", "911 999"), ("AI", "911"), ("AL", "112 127 128 129"), ("AM", "101 102 103"),
    ("AO", "112 113 115"), ("AR", "100 101 107 911"), ("AS", "911"), ("AT", "112 122 133 144"),
    ("AU", "000 106 112"), ("AW", "100 911"), ("AX", "112"), ("AZ", "101 102 103 112"),
    ("BA", "122 123 124"), ("BB", "211 311 511 911"), ("BD", "100 101 102 199 999"), ("BE", "100 101 112"),
    ("BF", "17 18"), ("BG", "112 150 160 166"), ("BH", "199 999"), ("BI", "112 113 117"),
    ("BJ", "112 114 116 117 118"), ("BL", "18"), ("BM", "911"), ("BN", "991 993 995"),
    ("BO", "110 118 119"), ("BQ", "112 911"), ("BR", "112 128 190 192 193 911"), ("BS", "911 919"),
    ("BT", "110 112 113"), ("BW", "111 112 911 997 998 999"), ("BY", "101 102 103 112"),
    ("BZ", "90 911 990"), ("CA", "112 911"), ("CC", "000 112"), ("CD", "113 114 118 177 188"),
    ("CF", "117 118 1220"), ("CG", "117 118"), ("CH", "112 117 118 144"), ("CI", "110 111 170 180"),
    ("CK", "996 998 999"), ("CL", "131 132 133 911"), ("CM", "13 17 113 117"), ("CN", "110 119 120"),
    ("CO", "112 119 123 132 156"), ("CR", "112 911"), ("CU", "104 105 106"), ("CV", "130 131 132"),
    ("CW", "112 911"), ("CX", "000 112"), ("CY", "112 199"),
    ("CZ", "112 150 151 152 153 154 155 156 157 158 159"), ("DE", "110 112"), ("DJ", "17 18"),
    ("DK", "112 114"), ("DM", "333 911 999"), ("DO", "112 911"), ("DZ", "14 17 112"),
    ("EC", "101 102 112 911"), ("EE", "110 112"), ("EG", "122 123 180"), ("EH", "15 19 177"),
    ("ER", "112 113 114 116"), ("ES", "085 088 112"), ("ET", "91 92 93 911 939 991 997"), ("FI", "112"),
    ("FJ", "911 917"), ("FK", "999"), ("FM", "911"), ("FO", "112 114"), ("FR", "15 17 18 112"),
    ("GA", "18 13xx 1730"), ("GB", "112 999"), ("GD", "911"), ("GE", "011 022 033 111 112 113 122"),
    ("GF", "15 17 18"), ("GG", "112 999"), ("GH", "191 192 193 999"), ("GI", "112 190 199"), ("GL", "112"),
    ("GM", "16 17 18 116 117 118"), ("GP", "15 17 18"), ("GR", "100 112 166 199"), ("GT", "110 120 123"),
    ("GU", "911"), ("GW", "113 117 118"), ("GY", "911 912 913"), ("HK", "112 992 999"), ("HN", "199"),
    ("HR", "93 94 112 192 193 194"), ("HT", "114 118"), ("HU", "104 105 107 112"),
    ("ID", "110 112 113 118 119"), ("IE", "112 999"), ("IL", "100 101 102 112"), ("IM", "999"),
    ("IN", "100 101 102 108 112 1298 2611"), ("IQ", "100 104 115 122"), ("IR", "110 112 115 125 911"),
    ("IS", "112"), ("IT", "112 113 115 118"), ("JE", "112 999"), ("JM", "110 112 119 911"),
    ("JO", "112 191 192 197 911"), ("JP", "110 119"), ("KE", "112 114 999"), ("KG", "101 102 103"),
    ("KH", "117 118 119 666"), ("KI", "192 193 194 195 992 993 994"), ("KM", "17 18"),
    ("KN", "333 911 999"), ("KP", "112 119 819"), ("KR", "112 119"), ("KW", "112"), ("KY", "911"),
    ("KZ", "101 102 103 112"), ("LA", "190 191 195"), ("LB", "112 140 175 999"), ("LC", "911 999"),
    ("LI", "112 117 118 144"), ("LK", "110 112 116 118 119"), ("LR", "355 911"), ("LS", "112 115 117"),
    ("LT", "01 02 03 011 022 033 101 102 103 112"), ("LU", "112 113"), ("LV", "01 02 03 110 112 113"),
    ("LY", "190 191 193"), ("MA", "15 19 177"), ("MC", "15 17 18 112"), ("MD", "112 901 902 903"),
    ("ME", "112 122 123 124"), ("MF", "15 17 18"), ("MG", "17 18 117 118"), ("MH", "911"),
    ("MK", "112 192 193 194"), ("ML", "15 17 18"), ("MM", "199"), ("MN", "100 101 102 103 105"),
    ("MO", "999"), ("MP", "911"), ("MQ", "15 17 18 112"), ("MR", "17 18"), ("MS", "911 999"), ("MT", "112"),
    ("MU", "114 115 995 999"), ("MV", "102 118 119"), ("MW", "199 997 998 999"),
    ("MX", "060 065 066 068 080 911"), ("MY", "112 999"), ("MZ", "117 119 197 198"), ("NC", "15 16 17 18"),
    ("NE", "15 17 18 118"), ("NF", "911 955 977"), ("NG", "199"), ("NI", "115 118 120 128"),
    ("NL", "112 911"), ("NO", "110 112 113"), ("NP", "100 101 102 103 112"), ("NR", "110 111 112"),
    ("NU", "999"), ("NZ", "111"), ("OM", "1444 9999"), ("PA", "911"), ("PE", "105 116 117"),
    ("PF", "15 17 18"), ("PG", "000 110 111"), ("PH", "112 117 911"), ("PK", "15 16 112 115 1122"),
    ("PL", "112 997 998 999"), ("PM", "15 17 18"), ("PR", "911"), ("PS", "100 101 102"), ("PT", "112 115"),
    ("PW", "911"), ("PY", "128 911"), ("QA", "999"), ("RE", "15 17 18 112"), ("RO", "112"),
    ("RS", "92 93 94 112"), ("RU", "01 02 03 101 102 103 112"), ("RW", "111 112"),
    ("SA", "112 911 997 999"), ("SB", "999"), ("SC", "999"), ("SD", "999"), ("SE", "112"),
    ("SG", "993 995 999"), ("SH", "911 999"), ("SI", "112 113"), ("SJ", "110 112 113"),
    ("SK", "112 150 155 158"), ("SL", "019 999"), ("SM", "113 115 118"), ("SN", "17 18"),
    ("SO", "555 888 999"), ("SR", "115"), ("SS", "999"), ("ST", "112"), ("SV", "911 913"), ("SX", "919"),
    ("SY", "110 112 113"), ("SZ", "999"), ("TC", "911 999"), ("TD", "17 18"), ("TG", "117 118 171 172 177"),
    ("TH", "191 199 1669"), ("TJ", "101 102 103 112"), ("TL", "112 115"), ("TM", "01 02 03"),
    ("TN", "190 197 198"), ("TO", "911 922 933 999"), ("TR", "110 112 155"), ("TT", "990 999"),
    ("TV", "911"), ("TW", "110 112 119"), ("TZ", "110 111 112 114 115 999"), ("UA", "101 102 103 112"),
    ("UG", "999"), ("US", "112 911"), ("UY", "128 911"), ("UZ", "01 02 03 001 002 003 050"),
    ("VA", "112 113 115 118"), ("VC", "911 999"), ("VE", "112 171 911"), ("VG", "911 999"), ("VI", "911"),
    ("VN", "113 114 115"), ("VU", "112"), ("WF", "15 17 18"), ("WS", "911 994 995 996 999"),
    ("XK", "112 192 193 194"), ("YE", "191 194 195 199"), ("YT", "15 112"), ("ZA", "112"),
    ("ZM", "112 991 993 999"), ("ZW", "112 993 994 995 999"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_belong_to_their_country() {
        for (region, digits, expected) in [
            ("US", "911", true),
            ("us", "911", true),
            ("SE", "112", true),
            ("SE", "911", true),
            ("IN", "100", true),
            ("IN", "2611", true),
            ("US", "100", false),
            ("FR", "15", true),
            ("FR", "155", false),
            ("AU", "000", true),
            ("GA", "1342", true),
            ("GA", "1442", false),
            ("MX", "060", true),
            ("ZZ", "112", true),
            ("SE", "", false),
        ] {
            assert_eq!(is_emergency(region, digits), expected, "{digits} in {region}");
        }
    }

    #[test]
    fn the_table_is_well_formed() {
        assert_eq!(NUMBERS.len(), 239);
        assert!(NUMBERS.is_sorted_by(|(a, _), (b, _)| a < b));
        for (region, numbers) in NUMBERS {
            assert!(region.len() == 2 && region.bytes().all(|b| b.is_ascii_uppercase()), "{region}");
            for number in numbers.split(' ') {
                assert!((2..=4).contains(&number.len()), "{region} {number}");
                assert!(number.bytes().all(|b| b.is_ascii_digit() || b == b'x'), "{region} {number}");
            }
        }
    }

    #[test]
    fn a_country_code_does_not_hide_an_emergency() {
        for digits in ["1911", "44999", "91112", "46112", "9681444", "19115550123"] {
            assert!(is_international_emergency(digits), "{digits}");
        }
        for digits in ["12025550123", "44", "911", "46700123456"] {
            assert!(!is_international_emergency(digits), "{digits}");
        }
    }
}
