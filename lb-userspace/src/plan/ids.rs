//! Which ids endpoints get: such that services with the same backends have theirs alike, from another
//! base, and can share tables. Where that cannot be, any id does: then a table is not shared.

use lb_common::limits::ENDPOINTS;

use super::Numbers;

/// The ids of a service's endpoints in the order of their names; `None`: it needs one.
pub(super) type Seats = Vec<Option<u16>>;

/// Ids that nobody has.
#[derive(Debug)]
pub(super) struct FreeIds {
    taken: Numbers,
    /// Where to look first.
    next: u16,
    /// All below are taken.
    lowest: u16,
}

impl FreeIds {
    /// All but those that are taken.
    pub(super) fn but(taken: Numbers) -> Self {
        Self {
            taken,
            next: 1,
            lowest: 1,
        }
    }

    /// Gives ids to all endpoints of services with the same backends. Nothing if there are not as many.
    pub(super) fn seat(&mut self, services: &mut [&mut Seats]) -> Option<()> {
        let whole = services.iter().find(|seats| is_whole(seats));
        let mut pattern = whole.map(|seats| pattern(seats));
        for at in 0..services.len() {
            if is_whole(services[at]) {
                continue;
            }
            let is_alike = pattern
                .as_ref()
                .is_some_and(|pattern| self.follow(services[at], pattern));
            if !is_alike {
                self.lead(&mut services[at..])?;
                pattern = Some(self::pattern(services[at]));
            }
        }
        Some(())
    }

    fn is_free(&self, id: u16) -> bool {
        id != 0 && u32::from(id) < ENDPOINTS && !self.taken.contains(id)
    }

    fn take(&mut self, id: u16) -> u16 {
        self.taken.insert(id);
        id
    }

    /// Seats a service as others are: every id that far from the first one. Tells whether it could.
    fn follow(&mut self, seats: &mut Seats, pattern: &[u16]) -> bool {
        let fits = |ids: &Self, first: u16| {
            seats.iter().zip(pattern).all(|(seat, &distance)| {
                let id = first.wrapping_add(distance);
                seat.map_or_else(|| ids.is_free(id), |seat| seat == id)
            })
        };
        let known = seats.iter().position(Option::is_some);
        let first = match known.and_then(|at| Some(seats[at]?.wrapping_sub(pattern[at]))) {
            Some(first) => fits(self, first).then_some(first),
            None => (self.next..ENDPOINTS as u16)
                .chain(1..self.next)
                .find(|&first| fits(self, first)),
        };
        let Some(first) = first else { return false };
        for (seat, &distance) in seats.iter_mut().zip(pattern) {
            *seat = Some(self.take(first.wrapping_add(distance)));
        }
        self.go_on_behind(seats);
        true
    }

    /// Seats the first service, and leaves room for those of the others that lack the same endpoints and
    /// have all others alike.
    fn lead(&mut self, services: &mut [&mut Seats]) -> Option<()> {
        let Some(known) = services[0].iter().position(Option::is_some) else {
            return self.seat_in_a_row(services[0]);
        };
        let distances = |seats: &Seats| -> Option<Vec<Option<u16>>> {
            let from = seats[known]?;
            let distance = |seat: &Option<u16>| seat.map(|id| id.wrapping_sub(from));
            Some(seats.iter().map(distance).collect())
        };
        let leading = distances(services[0]);
        let mut alike: Vec<&mut Seats> = services
            .iter_mut()
            .filter(|seats| distances(seats) == leading)
            .map(|seats| &mut **seats)
            .collect();
        let mut distance = 0;
        for at in 0..alike[0].len() {
            if alike[0][at].is_some() {
                continue;
            }
            let id =
                |seats: &Seats, distance: u16| seats[known].map(|id| id.wrapping_add(distance));
            let all_free = |ids: &Self, distance: u16| {
                let mut wanted = alike.iter().filter_map(|seats| id(seats, distance));
                wanted.all(|id| ids.is_free(id))
            };
            match (distance + 1..=u16::MAX).find(|&distance| all_free(self, distance)) {
                Some(found) => {
                    distance = found;
                    for seats in &mut alike {
                        seats[at] = id(seats, distance).map(|id| self.take(id));
                    }
                }
                // Each for itself, the others in their turn.
                None => {
                    distance = u16::MAX - 1;
                    alike[0][at] = Some(self.any()?);
                }
            }
        }
        Some(())
    }

    /// The first free ids in a row, or any.
    fn seat_in_a_row(&mut self, seats: &mut Seats) -> Option<()> {
        let count = seats.len() as u32;
        let first = self
            .row(self.next.into(), count)
            .or_else(|| self.row(1, count));
        for (distance, seat) in (0..).zip(seats.iter_mut()) {
            *seat = Some(match first {
                Some(first) => self.take(first.wrapping_add(distance)),
                None => self.any()?,
            });
        }
        self.go_on_behind(seats);
        Some(())
    }

    /// The first of so many ids in a row, from here on.
    fn row(&self, mut first: u32, count: u32) -> Option<u16> {
        while first + count <= ENDPOINTS {
            let mut from_last = (first..first + count).rev();
            match from_last.find(|&id| !self.is_free(id as u16)) {
                Some(taken) => first = taken + 1,
                None => return Some(first as u16),
            }
        }
        None
    }

    fn any(&mut self) -> Option<u16> {
        let id = (self.lowest..ENDPOINTS as u16).find(|&id| self.is_free(id))?;
        self.lowest = id;
        Some(self.take(id))
    }

    fn go_on_behind(&mut self, seats: &Seats) {
        let last = seats.iter().flatten().max().copied().unwrap_or(0);
        self.next = (last % (ENDPOINTS as u16 - 1)) + 1;
    }
}

fn is_whole(seats: &Seats) -> bool {
    seats.iter().all(Option::is_some)
}

/// Distances of all ids from the first one.
fn pattern(seats: &Seats) -> Vec<u16> {
    let first = seats.first().copied().flatten().unwrap_or(0);
    let ids = seats.iter().flatten();
    ids.map(|id| id.wrapping_sub(first)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seated(taken: &[u16], services: &[&[u16]]) -> Vec<Vec<u16>> {
        let seats =
            |ids: &&[u16]| -> Seats { ids.iter().map(|&id| (id > 0).then_some(id)).collect() };
        let mut services: Vec<Seats> = services.iter().map(seats).collect();
        let known = services.iter().flatten().flatten().copied();
        let mut ids = FreeIds::but(known.chain(taken.iter().copied()).collect());
        let mut all: Vec<&mut Seats> = services.iter_mut().collect();
        ids.seat(&mut all).unwrap();
        let whole = |seats: Seats| seats.into_iter().flatten().collect();
        services.into_iter().map(whole).collect()
    }

    #[test]
    fn new_services_follow_each_other() {
        let seated = seated(&[], &[&[0, 0, 0], &[0, 0, 0]]);
        assert_eq!(seated, [[1, 2, 3], [4, 5, 6]]);
    }

    #[test]
    fn a_service_follows_the_pattern_there_is() {
        let seated = seated(&[10], &[&[1, 9, 3], &[0, 0, 0], &[20, 0, 0]]);
        assert_eq!(seated, [[1, 9, 3], [4, 12, 6], [20, 28, 22]]);
    }

    #[test]
    fn endpoints_that_all_services_get_lie_alike() {
        let seated = seated(&[], &[&[1, 2, 0], &[3, 4, 0], &[5, 6, 0]]);
        assert_eq!(seated, [[1, 2, 7], [3, 4, 9], [5, 6, 11]]);
    }

    #[test]
    fn what_cannot_lie_alike_lies_anywhere() {
        let seated = seated(&[], &[&[1, 2], &[4, 0], &[0, 5]]);
        assert_eq!(seated, [[1, 2], [4, 6], [3, 5]]);
    }

    #[test]
    fn there_are_as_many_ids_as_there_are() {
        let mut ids = FreeIds::but((3..ENDPOINTS as u16).collect());
        let mut seats = vec![None, None];
        assert_eq!(ids.seat(&mut [&mut seats]), Some(()));
        assert_eq!(seats, [Some(1), Some(2)]);
        assert_eq!(ids.seat(&mut [&mut vec![None]]), None);
    }
}
