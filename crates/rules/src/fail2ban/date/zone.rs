//! Names of time zones in logs, as the offsets fail2ban gives them. They do not
//! know summer time: CET is one hour east, CEST two.

/// Minutes east of UTC and the abbreviations that mean them.
const ABBREVIATIONS: &[(i32, &str)] = &[
    (-720, "Y"),
    (-660, "X NUT SST"),
    (-600, "W CKT HAST HST TAHT TKT"),
    (-570, "MART MIT"),
    (-540, "V AKST GAMT GIT HADT HNY"),
    (-480, "U AKDT CIST HAY HNP PST PT"),
    (-420, "T HAP HNR MST PDT"),
    (-360, "S CST EAST GALT HAR HNC MDT"),
    (-300, "R CDT COT EASST ECT EST ET HAC HNE PET"),
    (-270, "HLV VET"),
    (-240, "Q AST BOT CLT COST EDT FKT GYT HAE HNA PYT"),
    (-210, "HNT NST NT"),
    (-180, "P ADT ART BRT CLST FKST GFT HAA PMST PYST SRT UYT WGT"),
    (-150, "HAT NDT"),
    (-120, "O BRST FNT PMDT UYST WGST"),
    (-60, "N AZOT CVT EGT"),
    (0, "Z EGST GMT UTC WET WT"),
    (60, "A CET DFT WAT WEDT WEST"),
    (120, "B CAT CEDT CEST EET SAST WAST"),
    (180, "C EAT EEDT EEST IDT MSK"),
    (210, "IRST"),
    (240, "D AMT AZT GET GST KUYT MSD MUT RET SAMT SCT"),
    (270, "AFT IRDT"),
    (300, "E AMST AQTT AZST HMT MAWT MVT PKT TFT TJT TMT UZT YEKT"),
    (330, "SLT"),
    (345, "NPT"),
    (360, "F ALMT BIOT BTT IOT KGT NOVT OMST YEKST"),
    (390, "CCT MMT"),
    (420, "G CXT DAVT HOVT ICT KRAT NOVST OMSST THA WIB"),
    (480, "H ACT AWST BDT BNT CAST HKT IRKT KRAST MYT PHT SGT ULAT WITA WST"),
    (540, "I AWDT IRKST JST KST PWT TLT WDT WIT YAKT"),
    (570, "ACST"),
    (600, "K AEST ChST PGT VLAT YAKST YAPT"),
    (630, "ACDT LHST"),
    (660, "L AEDT LHDT MAGT NCT PONT SBT VLAST VUT"),
    (690, "NFT"),
    (720, "M ANAST ANAT FJT GILT MAGST MHT NZST PETST PETT TVT WFT"),
    (780, "FJST NZDT"),
];

/// Minutes east of UTC of `Z`, `CEST`, `+0200`, `-01:30` or `UTC+02`; `None`
/// for what is none of these.
#[must_use]
pub fn offset_minutes(text: &str) -> Option<i32> {
    let sign_at = text.find(['+', '-']).unwrap_or(text.len());
    let (name, shift) = text.split_at(sign_at);
    let base = if name.is_empty() {
        0
    } else {
        ABBREVIATIONS
            .iter()
            .find(|(_, names)| names.split(' ').any(|own| own == name))
            .map(|(minutes, _)| *minutes)?
    };
    if shift.is_empty() {
        return if name.is_empty() { None } else { Some(base) };
    }
    let sign = if shift.starts_with('-') { -1 } else { 1 };
    let digits: String = shift.chars().skip(1).filter(|c| *c != ':').collect();
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let hours: i32 = digits.get(..2)?.parse().ok()?;
    let minutes: i32 = digits.get(2..).filter(|m| !m.is_empty()).map_or(Ok(0), str::parse).ok()?;
    (hours < 20).then(|| base + sign * (hours * 60 + minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_offsets_and_both_together_are_understood() {
        for (text, minutes) in [
            ("Z", Some(0)),
            ("CEST", Some(120)),
            ("+0200", Some(120)),
            ("-01:30", Some(-90)),
            ("+05", Some(300)),
            ("UTC+0200", Some(120)),
            ("PDT", Some(-420)),
            ("error", None),
            ("+2", None),
            ("+9900", None),
            ("", None),
        ] {
            assert_eq!(offset_minutes(text), minutes, "{text}");
        }
    }
}
