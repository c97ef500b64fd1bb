//! Which devices a job may mean, and which of them are the same: `cuda:0` is the first card that CUDA shows the command that
//! asked for the job. So `cuda:0` of two commands can be two cards, and one card can have two names.

use crate::protocol::{Conditions, DeviceName};
use crate::workspace::{all_cards, shown_cards};

/// The device that stands for the first one that is free.
pub const ANY: &str = "any";

/// A device of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// What the job calls it.
    pub name: String,
    /// What it is: the same for all jobs that mean the same.
    pub place: String,
}

/// The devices of this machine.
pub struct Devices {
    /// The unique names of its graphics cards, in the driver's order.
    cards: Vec<String>,
    /// The cards that CUDA shows this process; none for all.
    shown: Option<String>,
}

impl Devices {
    /// The devices of this machine that this program can use.
    pub fn here() -> Self {
        Self { cards: all_cards(), shown: std::env::var("CUDA_VISIBLE_DEVICES").ok() }
    }

    /// The cards of a job that works under `conditions`, in CUDA's order.
    fn cards(&self, conditions: Option<&Conditions>) -> Vec<String> {
        let shown = conditions.map_or(self.shown.as_deref(), Conditions::cards);
        shown_cards(shown, &self.cards)
    }

    /// All that `any` may mean for a job that works under `conditions`. Where there are graphics cards it is one of them: a job that
    /// waits for one is done sooner than on the processor, and may be in numbers that this does not have.
    pub fn of(&self, conditions: Option<&Conditions>) -> Vec<Device> {
        let numbers = 0..self.cards(conditions).len();
        let cards: Vec<_> = numbers.map(DeviceName::Cuda).filter(|device| device.is_built_in()).collect();
        let others = [DeviceName::Metal, DeviceName::Cpu].into_iter().filter(|device| device.is_built_in());
        let all = if cards.is_empty() { others.collect() } else { cards };
        all.into_iter().map(|device| self.named(device.to_string(), conditions)).collect()
    }

    /// The device that a job calls `name`, which works under `conditions`.
    pub fn named(&self, name: String, conditions: Option<&Conditions>) -> Device {
        let card = match name.parse() {
            Ok(DeviceName::Cuda(number)) => self.cards(conditions).into_iter().nth(number),
            _ => None,
        };
        // One that is not there is its runner's to refuse.
        let place = card.map_or_else(|| name.clone(), |card| format!("card {card}"));
        Device { name, place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn showing(cards: &str) -> Conditions {
        let variables = [("CUDA_VISIBLE_DEVICES".to_owned(), cards.to_owned())].into();
        Conditions { variables, ..Conditions::default() }
    }

    #[test]
    fn one_card_is_one_place_whatever_it_is_called() {
        let cards = ["GPU-aa", "GPU-bb", "GPU-cc"].map(str::to_owned).to_vec();
        let devices = Devices { cards, shown: Some("2".into()) };
        let place = |name: &str, conditions: Option<&Conditions>| devices.named(name.into(), conditions).place;
        let all = Conditions::default();
        assert_eq!(place("cuda:1", Some(&all)), place("cuda:0", Some(&showing("1"))));
        assert_eq!(place("cuda:0", Some(&showing("GPU-b"))), place("cuda:0", Some(&showing("1,0"))));
        assert_ne!(place("cuda:0", Some(&showing("0"))), place("cuda:0", Some(&showing("1"))));
        assert_eq!(place("cuda:0", None), place("cuda:2", Some(&all)), "of an earlier version: as the daemon's");
        assert_eq!(place("cuda:1", Some(&showing("0"))), "cuda:1", "there is no such card");
        assert_eq!(place("cpu", Some(&showing("0"))), "cpu");
        assert!(devices.of(Some(&all)).last().is_some_and(|device| device.name == "cpu"));
    }
}
