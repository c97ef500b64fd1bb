//! NVIDIA graphics cards: which there are, and how much memory they have, as NVIDIA's driver tells where there is one. CUDA is not
//! needed for it.

use nvml_wrapper::enum_wrappers::device::TemperatureSensor;

use super::HomeSettings;
use crate::protocol::{DeviceName, FloatType, UsualDevice};

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
    /// Whether it computes in bf16: cards from compute capability 8.0 on do.
    pub has_bf16: bool,
    /// How much of the last moment it worked, in percent; none where it does not tell.
    pub busy: Option<u32>,
    /// Degrees Celsius.
    pub temperature: Option<u32>,
    /// Watts.
    pub power: Option<u32>,
}

/// Where jobs compute for which nobody names a device: as the home's settings say, else the first graphics card that this installation
/// can use, else the processor.
pub fn usual_device(settings: &HomeSettings) -> UsualDevice {
    let cards = if DeviceName::Cuda(0).is_built_in() { graphics_cards() } else { Vec::new() };
    let on_cards = if cards.iter().all(|card| card.has_bf16) { FloatType::Bf16 } else { FloatType::F32 };
    let first = cards.first().map_or(DeviceName::Cpu, |card| DeviceName::Cuda(card.number));
    let named = settings.device.filter(|device| matches!(device, DeviceName::Cuda(number) if *number < cards.len()));
    UsualDevice { device: settings.device.unwrap_or(first), any: named.unwrap_or(first), on_cards }
}

/// The graphics cards of this machine that CUDA shows this program; none where the driver is missing. Takes milliseconds.
pub fn graphics_cards() -> Vec<GraphicsCard> {
    let Ok(nvml) = nvml_wrapper::Nvml::init() else { return Vec::new() };
    let shown = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let names = shown_cards(shown.as_deref(), &names(&nvml));
    let card = |(number, name): (usize, String)| {
        let device =
            name.parse().map_or_else(|_| nvml.device_by_uuid(name), |index| nvml.device_by_index(index)).ok()?;
        let memory = device.memory_info().ok()?;
        Some(GraphicsCard {
            number,
            name: device.name().ok()?,
            free: memory.free,
            total: memory.total,
            has_bf16: device.cuda_compute_capability().is_ok_and(|capability| capability.major >= 8),
            busy: device.utilization_rates().ok().map(|rates| rates.gpu),
            temperature: device.temperature(TemperatureSensor::Gpu).ok(),
            power: device.power_usage().ok().map(|milliwatts| milliwatts / 1000),
        })
    };
    names.into_iter().enumerate().filter_map(card).collect()
}

/// The unique names of all graphics cards of this machine, in the driver's order, whatever CUDA shows this program.
pub fn all_cards() -> Vec<String> {
    nvml_wrapper::Nvml::init().map(|nvml| names(&nvml)).unwrap_or_default()
}

fn names(nvml: &nvml_wrapper::Nvml) -> Vec<String> {
    let name = |index| nvml.device_by_index(index).and_then(|device| device.uuid()).unwrap_or_default();
    (0..nvml.device_count().unwrap_or(0)).map(name).collect()
}

/// Which of the `cards` of those unique names CUDA shows, in its order: what `CUDA_VISIBLE_DEVICES` lists, up to the first
/// that is none. Each by the driver's number, a part of one (`MIG-...`) by its name.
pub fn shown_cards(shown: Option<&str>, cards: &[String]) -> Vec<String> {
    let Some(shown) = shown else { return (0..cards.len()).map(|i| i.to_string()).collect() };
    let card = |name: &str| {
        if name.starts_with("MIG-") {
            return Some(name.to_owned());
        }
        // A unique name may be cut short.
        let named = |card: &String| name.starts_with("GPU-") && card.starts_with(name);
        let number = name.parse().ok().or_else(|| cards.iter().position(named));
        number.filter(|number| *number < cards.len()).map(|number: usize| number.to_string())
    };
    shown.split(',').map(str::trim).map_while(card).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_shows_all_cards_or_those_that_are_listed() {
        let cards = ["GPU-8932f937-x", "GPU-77"].map(str::to_owned);
        let shown = |list: Option<&str>| shown_cards(list, &cards);
        assert_eq!(shown(None), ["0", "1"]);
        assert_eq!(shown(Some("1")), ["1"]);
        assert_eq!(shown(Some("GPU-77, 0")), ["1", "0"]);
        assert_eq!(shown(Some("GPU-8932f937")), ["0"]);
        assert_eq!(shown(Some("1,7,0")), ["1"]);
        assert_eq!(shown(Some("MIG-GPU-77/1/0,GPU-9,0")), ["MIG-GPU-77/1/0"]);
        assert!(shown(Some("")).is_empty() && shown(Some("-1")).is_empty());
    }

    #[test]
    fn a_machine_without_a_driver_has_no_cards() {
        // Where there is one, every card has memory.
        assert!(graphics_cards().iter().all(|card| card.total >= card.free && card.total > 0));
    }
}
