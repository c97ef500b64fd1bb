//! Settings of samplings: those that all pictures share, those that may differ from one picture to the next (see `picture`), and how
//! many pictures there are of which prompts. In files they are one flat table.

use std::path::PathBuf;

use serde::de::Deserializer;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::device::{DeviceName, FloatType, UsualDevice};
use super::masks::{MaskConfig, MaskMaker, MaskQuality};
use super::names::{check_prompt, check_word};
use super::picture::PictureConfig;
use super::settings::{self, Kind, Preset, Row, SettingError, settings, text_of, words};

words! {
    /// What takes the noise out, step by step.
    #[derive(Default)]
    pub enum SamplerKind {
        /// DDIM (Song et al. 2020), the only one with an η.
        #[default]
        Ddim = "ddim",
        /// PNDM (Liu et al. 2022) without its Runge-Kutta warm-up, as Stable Diffusion 1.x ships with.
        Pndm = "pndm",
        /// Euler's method in the noise levels of Karras et al. 2022.
        Euler = "euler",
        /// Euler's method that puts new noise in at every step.
        EulerAncestral = "euler_ancestral",
        /// DPM-Solver++ of second order, multistep (Lu et al. 2022).
        DpmPlusPlus2m = "dpmpp_2m",
        /// The unified predictor-corrector of second order (Zhao et al. 2023).
        UniPc = "unipc",
    }
}

impl SamplerKind {
    /// Whether diffusers has it with the noise levels of Karras et al. 2022 (arXiv 2206.00364, equation 5).
    pub fn has_karras(self) -> bool {
        matches!(self, Self::Euler | Self::DpmPlusPlus2m | Self::UniPc)
    }
}

words! {
    /// Where the noise of a seed comes from.
    #[derive(Default)]
    pub enum NoiseKind {
        /// Our counter-based generator.
        #[default]
        Catbench = "catbench",
        /// `torch.Generator("cpu").manual_seed(seed)`, so that a seed gives the picture that diffusers gives.
        Torch = "torch",
    }
}

words! {
    /// Which seeds the pictures of a prompt list have.
    #[derive(Default)]
    pub enum SeedRule {
        /// Each prompt has seeds of its own: image `i` of a prompt has the seed `seed + offset(prompt) + i`. So prompts are the only
        /// thing that pictures share, and intervals over them hold.
        #[default]
        Own = "own",
        /// Image `i` of every prompt has the seed `seed + i`: what versions before did.
        Shared = "shared",
    }
}

impl SeedRule {
    /// The rule of settings that do not say one: they are of versions that had no other.
    pub fn unsaid() -> Self {
        Self::Shared
    }

    /// What `prompt` adds to the seeds of its images: the first four bytes of the SHA-256 of its text, or nothing.
    pub fn offset(self, prompt: &str) -> u64 {
        match self {
            Self::Shared => 0,
            Self::Own => {
                let hash = Sha256::digest(prompt);
                u64::from(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]))
            }
        }
    }
}

/// A concept of another workspace, which prompts may name as `{name}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherConcept {
    /// The workspace's name.
    pub name: String,
    /// What `{name}` is read as.
    pub class_word: String,
    /// Its checkpoint, absolute.
    pub checkpoint: PathBuf,
    /// How strongly what it has learned acts: 0 not at all, 1 as trained.
    pub strength: f32,
}

/// A textual-inversion embedding: a word that a file adds to the text encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingFile {
    /// The file, absolute.
    pub path: PathBuf,
    /// The word in prompts; none means the name that the file gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// SHA-256 of the file when the job was made.
    pub sha256: String,
}

settings! {
    /// What all pictures of a sampling share.
    pub struct SharedConfig {
        /// The part of the steps in which concepts act, as fractions of them: 0.2,0.8. Before and after, the same prompt is read without
        /// any.
        concept_steps: Option<[f64; 2]> = None, Kind::Part, unset: Some("all of them"), of_learned: true, left_out: true;
        /// Whether the unconditional branch is read with what was learned too; false if not given.
        uncond_prefix: bool = false, Kind::Truth, of_learned: true;
        /// Whether what was learned acts on prompts without {concept} too; as the run's preset has it if not given, else false.
        every_prompt: bool = false, Kind::Truth, of_learned: true;
        /// Images denoised at once; 4 if not given.
        batch_size: usize = 4, Kind::Whole(1, 1_000_000), may_differ: true;
        /// Who makes the masks: base_model (the untrained one looks for the class word), sam (Segment Anything, asked where base_model
        /// sees it), segmenter (concept.toml's), or nobody; base_model if not given.
        masks: MaskMaker = MaskMaker::BaseModel, Kind::Word(MaskMaker::WORDS), may_differ: true;
        /// How closely the base model looks for them: fast, at most a tenth of the time of the pictures, or best; fast if not given.
        mask_quality: MaskQuality = MaskQuality::Fast, Kind::Word(MaskQuality::WORDS), may_differ: true;
        /// What computes: cpu, cuda:0 (or another number), metal, or `any` for the first card that is free; if none is named, the usual one that `catbench doctor` tells.
        device: DeviceName = DeviceName::Cpu, Kind::Device, may_differ: true;
        /// Type of the weights and of activations: f32, bf16 or f16; if none is named, bf16 on a card that has it, else f32.
        dtype: FloatType = FloatType::F32, Kind::Word(FloatType::WORDS);
        also
            /// Words that prompts may use besides the text encoder's own.
            embeddings: Vec<EmbeddingFile> = Vec::new(), left_out: true;
            /// Concepts that prompts may name besides the learned one.
            concepts: Vec<OtherConcept> = Vec::new(), left_out: true;
    }
}

settings! {
    /// Settings of one sampling: its prompts, how many pictures of each, what every picture has if nothing else is said of it, and what
    /// all of them share.
    pub struct SampleConfig {
        /// Images a prompt; 4 if not given.
        images_per_prompt: usize = 4, Kind::Whole(1, u64::MAX), short: Some("images"), long: Some("images"), letter: Some('n'),
            may_differ: true;
        /// Whether each prompt has seeds of its own, or all prompts share theirs.
        seeds: SeedRule = SeedRule::Own, Kind::Word(SeedRule::WORDS), may_differ: true;
        also
            /// Prompts; `{concept}` stands for the learned concept.
            prompts: Vec<String> = vec!["a {concept}".into()];
        beside
            /// What every picture starts from; its prompt is of no account.
            picture: PictureConfig = PictureConfig::default();
            /// What all pictures share.
            shared: SharedConfig = SharedConfig::default();
    }
}

impl SharedConfig {
    /// How the pictures' masks are made.
    pub fn mask_config(&self) -> MaskConfig {
        let (device, dtype) = (self.device, self.dtype);
        MaskConfig { device, dtype, ..MaskConfig::of(self.masks, self.mask_quality) }
    }

    /// Refuse settings that cannot work, whatever the base model.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), SettingError> {
        self.check_rows()?;
        self.device.check(self.dtype)?;
        self.check_concepts()
    }

    fn check_concepts(&self) -> Result<(), SettingError> {
        let refuse = |value: String, cause: &'static str| Err(SettingError::new("concepts", value, cause));
        for (i, other) in self.concepts.iter().enumerate() {
            if !(other.strength.is_finite() && other.strength >= 0.0) {
                let value = format!("{} in {}", other.strength, other.name);
                return refuse(value, "its strength must be 0 or more");
            }
            check_word("class_word", &other.class_word)?;
            if self.concepts[..i].iter().any(|earlier| earlier.name == other.name) {
                return refuse(other.name.clone(), "is given twice: each concept once");
            }
            let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
            if other.name.is_empty() || !other.name.chars().all(plain) {
                let cause = "prompts can name concepts of letters, digits, -, _ and . only: rename its folder";
                return refuse(other.name.clone(), cause);
            }
            if ["concept", "class"].contains(&other.name.as_str()) {
                let cause =
                    "{concept} and {class} are this workspace's own: a concept of that name cannot be put beside it";
                return refuse(other.name.clone(), cause);
            }
        }
        Ok(())
    }
}

impl SampleConfig {
    /// The settings of a sampling, in the order of files.
    pub fn rows() -> impl Iterator<Item = &'static Row> {
        Self::ROWS.iter().chain(PictureConfig::ROWS).chain(SharedConfig::ROWS)
    }

    /// The setting that people call `name`.
    pub fn row(name: &str) -> Option<&'static Row> {
        Self::rows().find(|row| row.is_called(name))
    }

    /// The value of a setting by its name in files; null where it is unset.
    pub fn get(&self, name: &str) -> Value {
        [self.value(name), self.picture.value(name), self.shared.value(name)]
            .into_iter()
            .find(|value| !value.is_null())
            .unwrap_or_default()
    }

    /// Set what people call `name`, or what files have beside the settings.
    ///
    /// # Errors
    /// There is nothing of that name, or it cannot have this value.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), SettingError> {
        if let Some(row) = Self::row(name) {
            return settings::set(row, value, |name, value| self.put_any(name, value));
        }
        match self.put_any(name, value.clone()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Self::unknown(name, &text_of(value))),
            Err(error) => Err(SettingError::new(name.to_owned(), text_of(value), error.to_string())),
        }
    }

    /// Set what people call `name` to what they typed.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn set_text(&mut self, name: &str, text: &str) -> Result<(), SettingError> {
        let row = Self::row(name).ok_or_else(|| Self::unknown(name, text))?;
        self.set(row.name, &row.parse(text)?)
    }

    fn unknown(name: &str, value: &str) -> SettingError {
        let known: Vec<&str> = Self::rows().map(|row| row.name).collect();
        let cause = format!("no setting of a sampling has this name; there is {}", known.join(", "));
        SettingError::new(name.to_owned(), value, cause)
    }

    fn put_any(&mut self, name: &str, value: Value) -> Result<bool, serde_json::Error> {
        // Each prompt makes pictures of its own.
        let of_picture = name != "prompt" && self.picture.put(name, value.clone())?;
        Ok(of_picture || self.shared.put(name, value.clone())? || self.put(name, value)?)
    }

    /// The usual one, on the device that is usual here.
    pub fn here() -> Self {
        let mut usual = Self::default();
        usual.shared.device = UsualDevice::get().device;
        usual.shared.dtype = usual.shared.device.usual_dtype();
        usual
    }

    /// The same with what `preset` says of the sampling, which goes before what is here: as those sample who made it.
    #[must_use]
    pub fn as_preset(mut self, preset: &Preset) -> Self {
        // Words of its own, which a test sets.
        preset.sample.iter().for_each(|(name, text)| drop(self.set_text(name, text)));
        self
    }

    /// The same without anything learned, and with what acts only on that as usual.
    #[must_use]
    pub fn untrained(mut self) -> Self {
        let usual = Self::default();
        for row in Self::rows().filter(|row| row.of_learned) {
            // Of the same kind, as both are of these tables.
            let _ = self.put_any(row.name, usual.get(row.name));
        }
        self.picture.checkpoint = None;
        self
    }

    /// A picture of `prompt` with these settings.
    pub fn picture(&self, prompt: String, seed: u64) -> PictureConfig {
        PictureConfig { seed, prompt, ..self.picture.clone() }
    }

    /// The seed of the first image of `prompt`.
    pub fn first_seed(&self, prompt: &str) -> u64 {
        self.picture.seed.wrapping_add(self.seeds.offset(prompt))
    }

    /// Every prompt with every seed.
    pub fn pictures(&self) -> Vec<PictureConfig> {
        let each = |prompt: &String| {
            let first = self.first_seed(prompt);
            let seeds = (0..self.images_per_prompt as u64).map(|i| first.wrapping_add(i));
            seeds.map(|seed| self.picture(prompt.clone(), seed)).collect::<Vec<_>>()
        };
        self.prompts.iter().flat_map(each).collect()
    }

    /// Refuse settings that no line of a prompt list can make good. Karras and eta are those of lines with another sampler too.
    ///
    /// # Errors
    /// The first such setting.
    pub fn check_for_lines(&self) -> Result<(), SettingError> {
        let picture = PictureConfig { karras: false, eta: 0.0, ..self.picture.clone() };
        Self { picture, ..self.clone() }.check()
    }

    /// Refuse settings that cannot work, whatever the base model.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), SettingError> {
        self.check_rows()?;
        self.shared.check()?;
        self.prompts.iter().try_for_each(|prompt| check_prompt("prompt", prompt))?;
        self.picture.check()
    }
}

impl Serialize for SampleConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let names = Self::rows().map(|row| row.name);
        // Tables come last.
        for name in ["prompts"].into_iter().chain(names).chain(["checkpoint", "embeddings", "concepts"]) {
            self.entry(name, &mut map)?;
            self.picture.entry(name, &mut map)?;
            self.shared.entry(name, &mut map)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for SampleConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let unsaid = Self { seeds: SeedRule::unsaid(), ..Self::default() };
        settings::read(unsaid, Map::deserialize(deserializer)?, Self::put_any)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::protocol::{Fill, ScoreConfig};

    /// As earlier versions wrote it, with every setting other than usual.
    const OLD: &str = r#"
        prompts = ["a {concept} on grass"]
        negative_prompt = "dark"
        images_per_prompt = 2
        seed = 9
        seeds = "own"
        steps = 7
        guidance_scale = 3.5
        sampler = "dpmpp_2m"
        karras = true
        noise = "torch"
        eta = 0.0
        checkpoint = "/c.safetensors"
        strength = 0.7
        concept_steps = [0.2, 0.8]
        uncond_prefix = true
        every_prompt = true
        batch_size = 3
        masks = "attention"
        mask_quality = "best"
        device = "cuda:1"
        dtype = "f16"

        [[concepts]]
        name = "two"
        class_word = "cup"
        checkpoint = "/two.safetensors"
        strength = 0.5
    "#;

    fn old() -> SampleConfig {
        let picture = PictureConfig {
            negative_prompt: "dark".into(),
            seed: 9,
            noise: NoiseKind::Torch,
            sampler: SamplerKind::DpmPlusPlus2m,
            karras: true,
            steps: 7,
            guidance_scale: 3.5,
            strength: 0.7,
            checkpoint: Some("/c.safetensors".into()),
            ..PictureConfig::default()
        };
        let two = ("two".into(), "cup".into(), "/two.safetensors".into());
        let shared = SharedConfig {
            concept_steps: Some([0.2, 0.8]),
            uncond_prefix: true,
            every_prompt: true,
            batch_size: 3,
            mask_quality: MaskQuality::Best,
            device: DeviceName::Cuda(1),
            dtype: FloatType::F16,
            concepts: vec![OtherConcept { name: two.0, class_word: two.1, checkpoint: two.2, strength: 0.5 }],
            ..SharedConfig::default()
        };
        let prompts = vec!["a {concept} on grass".into()];
        SampleConfig { prompts, images_per_prompt: 2, seeds: SeedRule::Own, picture, shared }
    }

    #[test]
    fn flat_files_of_earlier_versions_are_read_and_written() {
        assert_eq!(toml::from_str::<SampleConfig>(OLD).unwrap(), old());
        let written = toml::to_string(&old()).unwrap();
        assert_eq!(toml::from_str::<SampleConfig>(&written).unwrap(), old(), "{written}");
        let names =
            |text: &str| text.parse::<toml::Table>().unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&written), names(OLD));
        let json = crate::json::to_string(&old()).unwrap();
        assert_eq!(serde_json::from_str::<SampleConfig>(&json).unwrap(), old());
        let unsaid = SampleConfig { seeds: SeedRule::Shared, ..SampleConfig::default() };
        assert_eq!(toml::from_str::<SampleConfig>("").unwrap(), unsaid, "earlier versions had no other");
        assert!(
            toml::from_str::<SampleConfig>("prompt = \"a\"").is_err()
                && toml::from_str::<SampleConfig>("stepz = 1").is_err()
        );

        let score = format!(
            "fill = \"grey\"\ncrop = \"whole\"\nresamples = 1000\n[sample]\n{}",
            OLD.replace("[[", "[[sample.")
        );
        let expected = ScoreConfig { sample: old(), fill: Fill::Grey, ..ScoreConfig::default() };
        assert_eq!(toml::from_str::<ScoreConfig>(&score).unwrap(), expected);
        assert_eq!(toml::from_str::<ScoreConfig>(&toml::to_string(&expected).unwrap()).unwrap(), expected);
    }

    #[test]
    fn a_picture_of_earlier_versions_is_read_and_says_all_that_it_must() {
        let line = r#"{"prompt":"a {concept}","seed":18446744073709551615,"noise":"catbench","sampler":"euler","karras":true,"steps":4,"guidance_scale":7.5,"eta":0.0,"strength":0.1}"#;
        let picture = PictureConfig {
            prompt: "a {concept}".into(),
            seed: u64::MAX,
            sampler: SamplerKind::Euler,
            karras: true,
            steps: 4,
            strength: 0.1,
            ..PictureConfig::default()
        };
        assert_eq!(serde_json::from_str::<PictureConfig>(line).unwrap(), picture);
        assert_eq!(serde_json::from_str::<PictureConfig>(&crate::json::to_string(&picture).unwrap()).unwrap(), picture);
        let wrong = |text: String| serde_json::from_str::<PictureConfig>(&text).unwrap_err().to_string();
        assert!(wrong(line.replace("\"steps\":4,", "")).contains("missing field `steps`"));
        assert!(wrong(line.replace("steps", "stepz")).contains('`'));
    }
}
