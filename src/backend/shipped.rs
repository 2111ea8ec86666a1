//! Which candidate a device is given where nothing was measured on it: by the vendor and the kind of its adapter.
//!
//! NVIDIA's row is of an H100, where it comes to 1.17 times the time of the fastest tile on average over the products
//! and convolutions of `mnist-mlp`, `mnist-2d` and `mnist-conv`. The others are starting points from what such devices
//! are known to have: **no other was measured**, but for lavapipe, which runs the software forms. `elbo tune` measures
//! yours.

use wgpu::{AdapterInfo, Backend, DeviceType};

use crate::kernel::Candidate;
use crate::kernels::tiles;

/// A kind of device.
struct Known {
    vendor: Vendor,
    is_discrete: bool,
    /// Workgroups that give each of its cores something to do.
    busy: u32,
    /// Tiles by name, the wanted ones first: a larger one reads less memory, if it leaves enough of them.
    tiles: &'static [&'static str],
}

enum Vendor {
    /// Its PCI number.
    Pci(u32),
    /// Metal reports no number.
    Metal,
}

/// Up to 32 sums in the registers of an invocation.
const MANY_REGISTERS: &[&str] =
    &["direct", "128x64", "64x64", "64x32", "32x32 in 4 deep", "32x32 in 4", "16x16 in 16 deep", "16x16 in 16"];
/// 16 sums.
const FEW_REGISTERS: &[&str] =
    &["direct", "64x64", "64x32", "32x32 in 4 deep", "32x32 in 4", "16x16 in 16 deep", "16x16 in 16"];
/// Its first layers are faster in tiles than by the direct form: 16 us against 22 with 16 channels, 24 against 79 with
/// 64.
const H100: &[&str] = &[
    "128x64",
    "64x64",
    "64x32 of 8x4 in 4",
    "64x32",
    "32x32 in 4 deep",
    "32x32 in 4",
    "16x16 in 16 deep",
    "16x16 in 16",
];

const NVIDIA: Vendor = Vendor::Pci(0x10de);
const AMD: Vendor = Vendor::Pci(0x1002);
const INTEL: Vendor = Vendor::Pci(0x8086);
const ARM: Vendor = Vendor::Pci(0x13b5);
const QUALCOMM: Vendor = Vendor::Pci(0x5143);

const TABLE: [Known; 8] = [
    Known { vendor: NVIDIA, is_discrete: true, busy: 200, tiles: H100 },
    Known { vendor: NVIDIA, is_discrete: false, busy: 16, tiles: MANY_REGISTERS },
    Known { vendor: AMD, is_discrete: true, busy: 64, tiles: MANY_REGISTERS },
    Known { vendor: AMD, is_discrete: false, busy: 16, tiles: MANY_REGISTERS },
    Known { vendor: INTEL, is_discrete: true, busy: 32, tiles: FEW_REGISTERS },
    Known { vendor: INTEL, is_discrete: false, busy: 16, tiles: FEW_REGISTERS },
    Known { vendor: ARM, is_discrete: false, busy: 8, tiles: FEW_REGISTERS },
    Known { vendor: QUALCOMM, is_discrete: false, busy: 8, tiles: FEW_REGISTERS },
];
const APPLE: Known = Known { vendor: Vendor::Metal, is_discrete: false, busy: 32, tiles: FEW_REGISTERS };

impl Known {
    fn is(&self, info: &AdapterInfo) -> bool {
        let kind = match info.device_type {
            DeviceType::DiscreteGpu => true,
            DeviceType::IntegratedGpu => false,
            // Through a virtual machine, where a server's card is likely.
            DeviceType::VirtualGpu | DeviceType::Other => true,
            DeviceType::Cpu => return false,
        };
        match self.vendor {
            Vendor::Pci(number) => info.vendor == number && kind == self.is_discrete,
            Vendor::Metal => info.backend == Backend::Metal,
        }
    }
}

/// Tiles that cover so much more than others do, past the edges of the result, are not taken.
const WASTE: f64 = 1.5;

/// The candidate for these params; none where there are none. It is the first listed tile of which there are enough,
/// else the one of which there are most; on a device that is not listed the first candidate.
pub fn choose(info: &AdapterInfo, candidates: &[&'static Candidate], params: &[u32]) -> Option<&'static Candidate> {
    let known = TABLE.iter().chain([&APPLE]).find(|known| known.is(info));
    let named = |name: &&str| candidates.iter().copied().find(|candidate| candidate.name == *name);
    let listed: Vec<_> = known.iter().flat_map(|known| known.tiles).filter_map(named).collect();
    let least = listed.iter().filter_map(|candidate| covered(candidate, params)).fold(f64::INFINITY, f64::min);
    let is_wasteful = |candidate: &&Candidate| covered(candidate, params).is_some_and(|area| area > WASTE * least);
    let listed: Vec<_> = listed.into_iter().filter(|candidate| !is_wasteful(candidate)).collect();
    let enough = listed.iter().find(|candidate| known.is_some_and(|known| workgroups(candidate, params) >= known.busy));
    enough.or(listed.iter().max_by_key(|candidate| workgroups(candidate, params))).or(candidates.first()).copied()
}

fn workgroups(candidate: &Candidate, params: &[u32]) -> u32 {
    candidate.shader.workgroups(params).iter().product()
}

/// Elements that its tiles have, in the result and past its edges; none where it has no tiles.
fn covered(candidate: &Candidate, params: &[u32]) -> Option<f64> {
    let [rows, columns] = tiles::size(candidate.shader.source.constants)?.map(f64::from);
    Some(f64::from(workgroups(candidate, params)) * rows * columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::matmul;
    use crate::kernels::tiles::TILES;

    fn adapter(vendor: u32, device_type: DeviceType, backend: Backend) -> AdapterInfo {
        AdapterInfo { vendor, ..AdapterInfo::new(device_type, backend) }
    }

    fn chosen(info: &AdapterInfo, [b, i, o]: [u32; 3]) -> &'static str {
        let params = [b, i, o, 0, 0];
        choose(info, &matmul::FORWARD.candidates_for(false, &params), &params).unwrap().name
    }

    #[test]
    fn every_tile_of_the_table_exists() {
        for known in TABLE.iter().chain([&APPLE]) {
            assert!(!known.tiles.is_empty());
            for name in known.tiles.iter().filter(|name| **name != "direct") {
                assert!(TILES.iter().any(|tile| tile.name == *name), "{name}");
            }
        }
    }

    #[test]
    fn large_products_get_large_tiles_and_small_ones_fill_the_device() {
        let card = adapter(0x10de, DeviceType::DiscreteGpu, Backend::Vulkan);
        assert_eq!(chosen(&card, [4096, 784, 4096]), "128x64");
        assert_eq!(chosen(&card, [512, 784, 784]), "64x32 of 8x4 in 4");
        assert_eq!(chosen(&card, [128, 784, 400]), "16x16 in 16 deep");
        // No column of 64 for one of 16.
        assert_eq!(chosen(&card, [65536, 784, 16]), "16x16 in 16 deep");
        // Nothing fills it: the most there are.
        assert_eq!(chosen(&card, [4, 4, 4]), "16x16 in 16 deep");
        let phone = adapter(0x13b5, DeviceType::IntegratedGpu, Backend::Vulkan);
        assert_eq!(chosen(&phone, [4096, 784, 4096]), "64x64");
        assert_eq!(chosen(&adapter(0, DeviceType::IntegratedGpu, Backend::Metal), [128, 784, 400]), "32x32 in 4 deep");
    }

    #[test]
    fn an_unknown_device_gets_the_first() {
        for info in [
            adapter(0xabcd, DeviceType::DiscreteGpu, Backend::Vulkan),
            adapter(0x10005, DeviceType::Cpu, Backend::Vulkan),
            adapter(0x10de, DeviceType::Cpu, Backend::Vulkan),
        ] {
            assert_eq!(chosen(&info, [4096, 784, 4096]), "64x64");
            assert!(choose(&info, &[], &[]).is_none());
        }
    }
}
