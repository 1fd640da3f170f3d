//! A filter as SQL, exactly as `query::meaning` defines it. No condition is
//! ever NULL: absent values are told apart by the bits of `has`.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::attribute;
use super::row::{Kind, bit, kind};
use super::sql::{self, address_bits};
use crate::query::{Field, Filter, Pattern, Query, Wanted, compared, tokens};

/// The range and the filter of a query.
pub(super) fn query(query: &Query) -> String {
    let mut sql = String::new();
    if let Some(from) = query.range.from {
        let _ = write!(sql, "observed_at >= {} AND ", from.as_millis());
    }
    if let Some(to) = query.range.to {
        let _ = write!(sql, "observed_at < {} AND ", to.as_millis());
    }
    condition(&mut sql, &query.filter);
    sql
}

/// That the field has a value.
pub(super) fn exists(field: Field) -> String {
    match field {
        Field::Kind | Field::Domain | Field::Sensor | Field::Id | Field::ObservedAt => {
            "1".to_owned()
        }
        field => format!("bitAnd(has, {}) != 0", 1u64 << bit(field)),
    }
}

fn condition(sql: &mut String, filter: &Filter) {
    match filter {
        Filter::All => sql.push('1'),
        Filter::And(parts) => joined(sql, parts, " AND ", "1"),
        Filter::Or(parts) => joined(sql, parts, " OR ", "0"),
        Filter::Not(inner) => {
            sql.push_str("NOT (");
            condition(sql, inner);
            sql.push(')');
        }
        Filter::Exists(field) => {
            let _ = write!(sql, "({})", exists(*field));
        }
        Filter::In(field, values) => one_of(sql, *field, values),
        Filter::Prefix(field, prefix) if field.is_text() => {
            let folded = field.fold(prefix);
            prefix_of(sql, *field, compared(&folded));
        }
        Filter::Wildcard(field, pattern) if field.is_text() => {
            let pattern = Pattern::new(&field.fold(pattern));
            let head = pattern.head();
            let _ = write!(sql, "({} AND ", exists(*field));
            if !head.is_empty() {
                prefix_of(sql, *field, &head);
                sql.push_str(" AND ");
            }
            let _ = write!(sql, "match(`{}`, ", field.name());
            sql::text(sql, &regex(&pattern));
            sql.push_str("))");
        }
        Filter::Network(field, network, bits)
            if field.field_type() == crate::query::FieldType::Ip =>
        {
            in_network(sql, *field, *network, *bits);
        }
        Filter::Between(field, low, high) if field.is_ordered() => {
            let name = field.name();
            let _ = write!(sql, "({}", exists(*field));
            if let Some(low) = low.filter(|low| *low > i64::MIN) {
                let _ = write!(sql, " AND `{name}` >= {low}");
            }
            if let Some(high) = high.filter(|high| *high < i64::MAX) {
                // The literal of the least number is no literal to every version.
                let high = high.max(-i64::MAX);
                let _ = write!(sql, " AND `{name}` <= {high}");
            }
            sql.push(')');
        }
        Filter::Prefix(..) | Filter::Wildcard(..) | Filter::Network(..) | Filter::Between(..) => {
            sql.push('0');
        }
        Filter::Attribute(name, test) => attribute::condition(sql, name, test),
        Filter::Text(text) => {
            sql.push('(');
            for word in tokens::wanted(text) {
                sql.push_str("position(words, ");
                sql::text(sql, &format!(" {word} "));
                sql.push_str(") > 0 AND ");
            }
            sql.push_str("1)");
        }
    }
}

fn joined(sql: &mut String, parts: &[Filter], between: &str, none: &str) {
    if parts.is_empty() {
        sql.push_str(none);
        return;
    }
    sql.push('(');
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            sql.push_str(between);
        }
        condition(sql, part);
    }
    sql.push(')');
}

fn prefix_of(sql: &mut String, field: Field, prefix: &str) {
    if prefix.is_empty() {
        let _ = write!(sql, "({})", exists(field));
        return;
    }
    let _ = write!(sql, "substring(`{}`, 1, {}) = ", field.name(), prefix.len());
    sql::text(sql, prefix);
}

fn one_of(sql: &mut String, field: Field, values: &[String]) {
    let name = field.name();
    let mut literals: Vec<String> = Vec::new();
    // The value that stands for an absent one is compared with a look at `has`.
    let mut default = false;
    for wanted in values.iter().filter_map(|value| Wanted::new(field, value)) {
        let mut literal = String::new();
        match wanted {
            Wanted::Text(text) if text.is_empty() => default = true,
            Wanted::Text(text) => sql::text(&mut literal, &text),
            Wanted::Address(address) => match address_bits(address) {
                0 => default = true,
                bits => sql::bytes16(&mut literal, bits),
            },
            Wanted::Id(0) | Wanted::Number(0) => default = true,
            Wanted::Id(id) => sql::bytes16(&mut literal, id),
            Wanted::Number(number) => {
                let fits = match kind(field) {
                    Kind::U16 => u16::try_from(number).is_ok(),
                    Kind::U32 => u32::try_from(number).is_ok(),
                    _ => number > i64::MIN,
                };
                if fits {
                    let _ = write!(literal, "{number}");
                }
            }
        }
        if !literal.is_empty() {
            literals.push(literal);
        }
    }
    sql.push_str("(0");
    if !literals.is_empty() {
        let _ = write!(sql, " OR `{name}` IN ({})", literals.join(", "));
    }
    if default {
        let empty = match kind(field) {
            Kind::Name | Kind::Text => "''".to_owned(),
            Kind::Bytes16 => {
                let mut zero = String::new();
                sql::bytes16(&mut zero, 0);
                zero
            }
            Kind::U16 | Kind::U32 | Kind::I64 => "0".to_owned(),
        };
        let _ = write!(sql, " OR (`{name}` = {empty} AND {})", exists(field));
    }
    sql.push(')');
}

/// The pattern as a regular expression for whole texts.
fn regex(pattern: &Pattern) -> String {
    let mut regex = String::from("^");
    let text = pattern.text();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '\\' => sql::regex_char(&mut regex, chars.next().unwrap_or('\\')),
            c => sql::regex_char(&mut regex, c),
        }
    }
    regex.push('$');
    regex
}

/// Addresses between the first and the last of a network, of the same family.
fn in_network(sql: &mut String, field: Field, network: IpAddr, bits: u8) {
    let Ok(net) = ipnet::IpNet::new(network, bits) else {
        sql.push('0');
        return;
    };
    let name = field.name();
    let bound = |sql: &mut String, sign: &str, address: IpAddr| {
        let _ = write!(sql, " AND `{name}` {sign} ");
        sql::bytes16(sql, address_bits(address));
    };
    let _ = write!(sql, "({}", exists(field));
    bound(sql, ">=", net.network());
    bound(sql, "<=", net.broadcast());
    if network.is_ipv6() {
        let _ = write!(sql, " AND NOT ({})", is_mapped(field));
    }
    sql.push(')');
}

/// That an address is IPv4.
pub(super) fn is_mapped(field: Field) -> String {
    format!("substring(`{}`, 1, 12) = unhex('00000000000000000000ffff')", field.name())
}
