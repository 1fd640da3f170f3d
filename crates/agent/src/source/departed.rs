//! Where files went that were the log: the names in inotify's events, put
//! together by their cookies. Of the file itself the events say nothing, so a
//! name is good only until the next event; the source opens it and asks again.

use std::ffi::{OsStr, OsString};

use inotify::EventMask;

/// Most files that are remembered until the source opens them; more: the
/// oldest is left to the search by name and time.
const MAX_DEPARTED: usize = 256;

/// Files that were the log and were renamed. `D` tells folders from each other.
#[derive(Debug)]
pub(super) struct Departures<D> {
    /// Folder and name of the log itself.
    place: Option<(D, OsString)>,
    /// Whether what is there came while it was watched.
    is_new: bool,
    /// In the order in which they went.
    gone: Vec<Departure<D>>,
    next: u64,
}

#[derive(Debug)]
struct Departure<D> {
    id: u64,
    is_new: bool,
    at: At<D>,
}

#[derive(Debug)]
enum At<D> {
    /// Half of a renaming, by its cookie. It stays so where the file has gone
    /// to a folder that is not watched.
    Moving(u32),
    Here(D, OsString),
}

/// A file that was the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Departed<D> {
    pub(super) id: u64,
    /// Whether it became the log while it was watched, so that all of it is new.
    pub(super) is_new: bool,
    pub(super) folder: D,
    pub(super) name: OsString,
}

impl<D: Clone + PartialEq> Departures<D> {
    pub(super) fn new() -> Self {
        Self { place: None, is_new: false, gone: Vec::new(), next: 0 }
    }

    /// What the log's name is from now on; `None` where its folder is missing.
    pub(super) fn set_place(&mut self, place: Option<(D, OsString)>) {
        if self.place != place {
            self.place = place;
            self.is_new = false;
        }
    }

    /// Whether what is the log now came while it was watched.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Takes note of one event in a watched folder.
    pub(super) fn note(&mut self, mask: EventMask, folder: &D, name: &OsStr, cookie: u32) {
        if mask.contains(EventMask::MOVED_FROM) {
            self.moved_from(folder, name, cookie);
        } else if mask.contains(EventMask::MOVED_TO) {
            self.moved_to(folder, name, cookie);
        } else if mask.contains(EventMask::DELETE) {
            self.deleted(folder, name);
        } else if mask.contains(EventMask::CREATE) && self.is_place(folder, name) {
            self.is_new = true;
        }
    }

    fn is_place(&self, folder: &D, name: &OsStr) -> bool {
        self.place.as_ref().is_some_and(|place| place.0 == *folder && place.1 == name)
    }

    fn moved_from(&mut self, folder: &D, name: &OsStr, cookie: u32) {
        if self.is_place(folder, name) {
            if self.gone.len() >= MAX_DEPARTED {
                self.gone.remove(0);
            }
            let (id, is_new) = (self.next, self.is_new);
            self.next += 1;
            self.is_new = false;
            self.gone.push(Departure { id, is_new, at: At::Moving(cookie) });
        } else if let Some(departure) = self.gone.iter_mut().find(|one| one.is_at(folder, name)) {
            departure.at = At::Moving(cookie);
        }
    }

    fn moved_to(&mut self, folder: &D, name: &OsStr, cookie: u32) {
        // What was there is replaced.
        self.deleted(folder, name);
        let is_place = self.is_place(folder, name);
        self.is_new |= is_place;
        let moving = |one: &Departure<D>| matches!(one.at, At::Moving(its) if its == cookie);
        let Some(index) = self.gone.iter().position(moving) else { return };
        if is_place {
            // Back again: it is the log, and as new as it was.
            self.is_new = self.gone.remove(index).is_new;
        } else if let Some(departure) = self.gone.get_mut(index) {
            departure.at = At::Here(folder.clone(), name.to_owned());
        }
    }

    fn deleted(&mut self, folder: &D, name: &OsStr) {
        self.gone.retain(|one| !one.is_at(folder, name));
    }

    /// Those whose names are known.
    pub(super) fn list(&self) -> Vec<Departed<D>> {
        let known = self.gone.iter().filter_map(|one| match &one.at {
            At::Moving(_) => None,
            At::Here(folder, name) => Some(Departed {
                id: one.id,
                is_new: one.is_new,
                folder: folder.clone(),
                name: name.clone(),
            }),
        });
        known.collect()
    }

    /// Whether no event since has told anything else.
    pub(super) fn is_still(&self, departed: &Departed<D>) -> bool {
        let found = self.gone.iter().find(|one| one.id == departed.id);
        found.is_some_and(|one| one.is_at(&departed.folder, &departed.name))
    }

    /// The file is open, or never will be.
    pub(super) fn settle(&mut self, id: u64) {
        self.gone.retain(|one| one.id != id);
    }
}

impl<D: PartialEq> Departure<D> {
    fn is_at(&self, folder: &D, name: &OsStr) -> bool {
        matches!(&self.at, At::Here(its, name_now) if its == folder && name_now == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(departures: &Departures<u8>) -> Vec<(String, bool)> {
        let name = |one: &Departed<u8>| (one.name.clone().into_string().unwrap(), one.is_new);
        departures.list().iter().map(name).collect()
    }

    struct Log(Departures<u8>, u32);

    impl Log {
        fn new() -> Self {
            let mut departures = Departures::new();
            departures.set_place(Some((0, "log".into())));
            Self(departures, 0)
        }

        fn mv(&mut self, from: &str, to: &str) {
            self.1 += 1;
            self.0.note(EventMask::MOVED_FROM, &0, OsStr::new(from), self.1);
            self.0.note(EventMask::MOVED_TO, &0, OsStr::new(to), self.1);
        }

        fn note(&mut self, mask: EventMask, name: &str) {
            self.0.note(mask, &0, OsStr::new(name), 0);
        }
    }

    #[test]
    fn a_file_is_followed_through_every_name_it_gets() {
        let mut log = Log::new();
        log.mv("log", "log.1");
        log.note(EventMask::CREATE, "log");
        log.mv("log.1", "log.2");
        log.mv("log", "log.1");
        log.mv("other", "something");
        assert_eq!(names(&log.0), [("log.2".into(), false), ("log.1".into(), true)]);
    }

    #[test]
    fn what_is_replaced_deleted_or_moved_out_of_sight_is_forgotten() {
        let mut log = Log::new();
        log.mv("log", "a");
        log.note(EventMask::CREATE, "log");
        log.mv("log", "a");
        assert_eq!(names(&log.0), [("a".into(), true)]);
        log.note(EventMask::DELETE, "a");
        assert!(names(&log.0).is_empty());
        log.note(EventMask::MOVED_FROM, "log");
        assert!(names(&log.0).is_empty());
    }

    #[test]
    fn what_comes_back_is_the_log_again_and_as_new_as_before() {
        let mut log = Log::new();
        log.mv("log", "a");
        log.mv("a", "log");
        assert!(names(&log.0).is_empty());
        assert!(!log.0.is_new());
        log.mv("new", "log");
        assert!(log.0.is_new());
    }

    #[test]
    fn a_name_is_good_until_the_next_event_about_it() {
        let mut log = Log::new();
        log.mv("log", "a");
        let departed = log.0.list().remove(0);
        assert!(log.0.is_still(&departed));
        log.mv("a", "b");
        assert!(!log.0.is_still(&departed));
        log.0.settle(departed.id);
        assert!(names(&log.0).is_empty());
    }

    #[test]
    fn no_more_are_remembered_than_the_bound() {
        let mut log = Log::new();
        for number in 0..MAX_DEPARTED + 10 {
            log.mv("log", &format!("log.{number}"));
        }
        assert_eq!(names(&log.0).len(), MAX_DEPARTED);
    }
}
