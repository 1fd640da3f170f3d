//! Files that are not as they were written: a check finds them, a rebuild mends.

use super::*;

/// What a check says of a store after a file of it was changed.
fn found(change: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), &eager(), 0..1000);
    upkeep(&store, TODAY);
    drop(store);
    let path = &files(dir.path())[0];
    let changed = change(&std::fs::read(path).unwrap());
    std::fs::write(path, changed).unwrap();
    let store = open(dir.path(), &eager());
    // Nothing looks for it by itself.
    upkeep(&store, TODAY);
    let found = engine(&store).check_ready().unwrap();
    for day in [TODAY, TODAY - DAY] {
        engine(&store).rebuild_ready(Timestamp::from_millis(day).day()).unwrap();
    }
    assert_eq!(engine(&store).check_ready().unwrap(), Vec::<String>::new());
    assert_eq!(files(dir.path()).len(), 2);
    found
}

#[test]
fn damage_that_no_question_met_is_found() {
    let found = found(|bytes| {
        let mut bytes = bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("are damaged"), "{found:?}");
}

#[test]
fn a_count_that_no_checksum_tells_is_found() {
    // One count is one more, with all checksums made to fit.
    let found = found(|bytes| {
        let len = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        let mut table: serde_json::Value = serde_json::from_slice(&bytes[20..20 + len]).unwrap();
        let mut body = bytes[20 + len..].to_vec();
        *body.last_mut().unwrap() += 1;
        let row = table["questions"].as_array_mut().unwrap().iter_mut();
        let row = row.max_by_key(|row| (row["at"].as_u64(), row["len"].as_u64())).unwrap();
        row["crc"] = crc32c::crc32c(&body[row["at"].as_u64().unwrap() as usize..]).into();
        let table = serde_json::to_vec(&table).unwrap();
        let mut forged = bytes[..12].to_vec();
        forged.extend((table.len() as u32).to_le_bytes());
        forged.extend(crc32c::crc32c(&table).to_le_bytes());
        forged.extend(table);
        forged.extend(body);
        forged
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("differ"), "{found:?}");
}
