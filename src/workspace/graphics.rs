//! NVIDIA graphics cards: which there are, and how much memory they have. Known only to a program built with the feature
//! `cuda`, on a machine with NVIDIA's driver.

/// A graphics card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphicsCard {
    /// N of the device `cuda:N`.
    pub number: usize,
    /// What its maker calls it.
    pub name: String,
    /// Memory that is free, in bytes.
    pub free: u64,
    /// All its memory, in bytes.
    pub total: u64,
}

/// The graphics cards of this machine that CUDA shows this program; none where the driver is missing. Takes milliseconds.
#[cfg(feature = "cuda")]
pub fn graphics_cards() -> Vec<GraphicsCard> {
    let Ok(nvml) = nvml_wrapper::Nvml::init() else { return Vec::new() };
    let shown = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let names = visible(shown.as_deref(), nvml.device_count().unwrap_or(0));
    let card = |(number, name): (usize, String)| {
        let device =
            name.parse().map_or_else(|_| nvml.device_by_uuid(name), |index| nvml.device_by_index(index)).ok()?;
        let memory = device.memory_info().ok()?;
        Some(GraphicsCard { number, name: device.name().ok()?, free: memory.free, total: memory.total })
    };
    names.into_iter().enumerate().filter_map(card).collect()
}

/// The graphics cards of this machine: this program was built without the feature `cuda`.
#[cfg(not(feature = "cuda"))]
pub fn graphics_cards() -> Vec<GraphicsCard> {
    Vec::new()
}

/// Which of `count` cards CUDA shows, by the driver's number or unique name, in CUDA's order: what `CUDA_VISIBLE_DEVICES`
/// lists, up to the first that is none.
#[cfg(any(feature = "cuda", test))]
fn visible(shown: Option<&str>, count: u32) -> Vec<String> {
    let Some(shown) = shown else { return (0..count).map(|i| i.to_string()).collect() };
    let is_card = |name: &&str| name.starts_with("GPU-") || name.parse().is_ok_and(|i: u32| i < count);
    shown.split(',').map(str::trim).take_while(is_card).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_shows_all_cards_or_those_that_are_listed() {
        assert_eq!(visible(None, 2), ["0", "1"]);
        assert_eq!(visible(Some("1"), 2), ["1"]);
        assert_eq!(visible(Some("GPU-8932f937, 0"), 2), ["GPU-8932f937", "0"]);
        assert_eq!(visible(Some("1,7,0"), 2), ["1"]);
        assert!(visible(Some(""), 2).is_empty() && visible(Some("-1"), 2).is_empty());
    }

    #[test]
    fn a_machine_without_a_driver_has_no_cards() {
        // Where there is one, every card has memory.
        assert!(graphics_cards().iter().all(|card| card.total >= card.free && card.total > 0));
    }
}
