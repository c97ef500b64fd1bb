//! Intervals, differences and winners: against scipy and statsmodels, and by simulation of what they promise.
//!
//! The effects of prompts and seeds in the simulations are those of the demo: of the masked CLIP-I of a sample, prompts have a standard deviation
//! of 0.03, seeds that prompts share 0.035, the rest 0.06; of CLIP-T 0.011, 0.003 and 0.0125; trainings that differ in their
//! seed 0.012.

use catbench::protocol::{Backbone, ClipText, Fill, NoiseKind, Score, ScoreCrop, Unit};
use catbench::statistics::{
    Design, Estimate, Goal, SampleRecord, ScoreRecord, balance, between_groups, compare, compare_groups, holm,
    of_photos, pool, rank, reach_of_95, two_sided,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::Value;

fn fixture() -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/intervals.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn check(found: &Score, expected: &Value) {
    for (found, end) in [(found.value, "value"), (found.low, "low"), (found.high, "high")] {
        let expected = expected[end].as_f64().unwrap();
        assert!((found - expected).abs() <= 1e-9, "{end}: {found} {expected}");
    }
}

#[test]
fn students_t_and_holm_equal_scipy_and_statsmodels() {
    let fixture = fixture();
    for case in fixture["reach_of_95"].as_array().unwrap() {
        let (degrees, expected) = (case[0].as_f64().unwrap(), case[1].as_f64().unwrap());
        assert!((reach_of_95(degrees) - expected).abs() <= 1e-9, "{degrees}: {} {expected}", reach_of_95(degrees));
    }
    for case in fixture["two_sided"].as_array().unwrap() {
        let [t, degrees, expected] = numbers(case)[..] else { panic!("{case}") };
        let found = two_sided(t, degrees);
        assert!((found - expected).abs() <= 1e-9 * expected, "{t} {degrees}: {found} {expected}");
    }
    for case in fixture["holm"].as_array().unwrap() {
        let found = holm(&numbers(&case["p"]));
        let expected = numbers(&case["corrected"]);
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-9), "{found:?} {expected:?}");
    }
}

#[test]
fn intervals_equal_scipy_and_statsmodels() {
    let fixture = fixture();
    for (name, unit) in [("prompts", Unit::Prompt), ("prompts_and_seeds", Unit::PromptAndSeed)] {
        for case in fixture[name].as_array().unwrap() {
            let (mut values, mut pictures) = (Vec::new(), Vec::new());
            for (p, row) in case["values"].as_array().unwrap().iter().enumerate() {
                for (s, value) in numbers(row).into_iter().enumerate() {
                    values.push(value);
                    let own = if unit == Unit::Prompt { 1000 * p } else { 0 };
                    pictures.push((p.to_string(), (own + s) as u64));
                }
            }
            let design = Design::of_pictures(pictures.iter().map(|(prompt, seed)| (prompt.as_str(), Some(*seed))));
            assert_eq!(design.unit(), unit);
            check(&design.score(&Estimate::mean(&values)), case);
        }
    }
    for case in fixture["groups"].as_array().unwrap() {
        let groups = ["a", "b"].map(|name| numbers(&case[name]));
        let spread = between_groups(&groups, 0, 1).unwrap();
        let value = case["value"].as_f64().unwrap();
        check(&spread.around(value, 6, 3), case);
        assert!((spread.p_of_0(value) - case["p"].as_f64().unwrap()).abs() <= 1e-9);
    }
}

struct Normal(ChaCha8Rng);

impl Normal {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A standard normal value.
    fn draw(&mut self) -> f64 {
        let mut uniform = || (self.0.next_u64() as f64 + 1.0) / 2_f64.powi(64);
        (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
    }

    fn many(&mut self, count: usize, deviation: f64) -> Vec<f64> {
        (0..count).map(|_| deviation * self.draw()).collect()
    }
}

/// Standard deviations of what prompts, seeds and the rest do to one value.
type Effects = [f64; 3];
const MASKED_CLIP_I: Effects = [0.03, 0.035, 0.06];
const CLIP_T: Effects = [0.011, 0.003, 0.0125];

/// Of 100 intervals, how many hold the truth.
fn coverage(worlds: usize, mut interval: impl FnMut() -> Score) -> f64 {
    let covers = |score: Score| {
        assert!(score.has_interval(), "{score:?}");
        score.low <= 0.0 && 0.0 <= score.high
    };
    (0..worlds).filter(|_| covers(interval())).count() as f64 / worlds as f64 * 100.0
}

#[test]
fn intervals_of_a_scoring_cover_the_truth_as_often_as_they_say() {
    let mut random = Normal::new(1);
    for [by_prompt, by_seed, rest] in [MASKED_CLIP_I, CLIP_T] {
        for (prompts, images) in [(1, 4), (3, 4), (5, 4), (10, 1), (10, 4), (25, 1), (25, 4)] {
            let names: Vec<String> = (0..prompts).map(|prompt| prompt.to_string()).collect();
            for shared in [false, true] {
                if shared && (images < 3 || prompts == 1) {
                    continue;
                }
                let pictures: Vec<(&str, Option<u64>)> = (0..prompts * images)
                    .map(|at| (names[at / images].as_str(), Some(if shared { at % images } else { at } as u64)))
                    .collect();
                let design = Design::of_pictures(pictures);
                let found = coverage(4000, || {
                    // Of one prompt there is no other to speak of.
                    let prompt = random.many(prompts, if prompts == 1 { 0.0 } else { by_prompt });
                    let seeds = random.many(if shared { images } else { prompts * images }, by_seed);
                    let values: Vec<f64> = (0..prompts * images)
                        .map(|at| {
                            prompt[at / images] + seeds[if shared { at % images } else { at }] + rest * random.draw()
                        })
                        .collect();
                    design.score(&Estimate::mean(&values))
                });
                let what = format!(
                    "{found} % at {prompts} × {images}, shared: {shared}, effects {by_prompt} {by_seed} {rest}"
                );
                assert!((93.0..=97.0).contains(&found), "{what}");
            }
        }
    }
}

/// What was measured of a sample: prompt, seed, masked CLIP-I, CLIP-T.
type Measured = (usize, Option<u64>, f64, f64);

fn sample((prompt, seed, masked_clip_i, clip_t): Measured) -> SampleRecord {
    SampleRecord {
        prompt: format!("prompt {prompt}"),
        seed,
        image: format!("{prompt} {seed:?} {masked_clip_i}"),
        mask: None,
        one_colour: false,
        mask_empty: false,
        mask_full: false,
        mask_made_by: None,
        mask_confidence: None,
        masked_clip_i,
        clip_i: masked_clip_i,
        clip_t,
        clip_t_scene: None,
        masked_dino: None,
        dino: None,
        mask_dependence: None,
        dino_mask_dependence: None,
    }
}

fn record(samples: impl IntoIterator<Item = Measured>) -> ScoreRecord {
    let mut record = ScoreRecord {
        scores: of_photos([&[], &[]], [&[], &[]], None, ClipText::ClassWord),
        backbone: Backbone { name: "clip".into(), sha256: "0".into() },
        fill: Fill::Black,
        fill_colour: [0; 3],
        crop: ScoreCrop::Whole,
        preprocessing: "none".into(),
        dino_judge: None,
        prompts: String::new(),
        photos_unmasked: 0,
        samples_unmasked: 0,
        samples_one_colour: 0,
        samples_empty: 0,
        samples_full: 0,
        photos_doubtful: 0,
        masks_too_thin: 0,
        mask_makers: Vec::new(),
        photo_scores: None,
        clip_text: ClipText::ClassWord,
        noise: Some(NoiseKind::Catbench),
        size: Some((64, 64)),
        photos: Vec::new(),
        samples: samples.into_iter().map(sample).collect(),
    };
    record.scores = record.scores_of();
    record
}

/// One world: prompts × images, of which each (prompt, image) has a seed of its own or image i of all prompts the same.
struct World {
    prompts: usize,
    images: usize,
    shared: bool,
    /// What prompts and seeds do to the masked CLIP-I and the CLIP-T of whatever is sampled.
    of_pictures: Vec<[f64; 2]>,
}

impl World {
    fn new(random: &mut Normal, prompts: usize, images: usize, shared: bool) -> Self {
        let mut part = |count: usize, which: usize| {
            let (a, b) = (random.many(count, MASKED_CLIP_I[which]), random.many(count, CLIP_T[which]));
            a.into_iter().zip(b).map(|(a, b)| [a, b]).collect::<Vec<_>>()
        };
        let (by_prompt, by_seed) = (part(prompts, 0), part(prompts * images, 1));
        let of_picture = |at: usize| {
            let (prompt, seed) = (by_prompt[at / images], by_seed[if shared { at % images } else { at }]);
            [prompt[0] + seed[0], prompt[1] + seed[1]]
        };
        let of_pictures = (0..prompts * images).map(of_picture).collect();
        Self { prompts, images, shared, of_pictures }
    }

    /// The scoring of something whose true values are `masked` and 0.25.
    fn scoring(&self, random: &mut Normal, masked: f64) -> ScoreRecord {
        let samples = (0..self.prompts * self.images).map(|at| {
            let seed = if self.shared { at % self.images } else { at } as u64;
            let [image, text] = self.of_pictures[at];
            let (image, text) = (image + MASKED_CLIP_I[2] * random.draw(), text + CLIP_T[2] * random.draw());
            (at / self.images, Some(seed), masked + image, 0.25 + text)
        });
        record(samples.collect::<Vec<_>>())
    }
}

#[test]
fn intervals_of_differences_cover_the_truth_as_often_as_they_say() {
    let mut random = Normal::new(2);
    for (prompts, images) in [(3, 4), (5, 4), (10, 4), (25, 4)] {
        for shared in [false, true] {
            let mut of_balance = 0;
            let worlds = 2000;
            let found = coverage(worlds, || {
                // Something of prompt and seed stays in a difference: each side's own.
                let [one, other] = [(); 2].map(|()| World::new(&mut random, prompts, images, shared));
                let (a, b) = (one.scoring(&mut random, 0.8), other.scoring(&mut random, 0.8));
                let scores = compare(&a, &b).unwrap().scores;
                of_balance += usize::from(scores.balance.low <= 0.0 && 0.0 <= scores.balance.high);
                scores.masked_clip_i
            });
            let of_balance = of_balance as f64 / worlds as f64 * 100.0;
            for found in [found, of_balance] {
                assert!((93.0..=97.0).contains(&found), "{found} % at {prompts} × {images}, shared: {shared}");
            }
        }
    }
}

#[test]
fn a_scorings_balance_covers_the_truth_as_often_as_it_says() {
    let mut random = Normal::new(3);
    let truth = balance(0.8, 0.25);
    let found = coverage(2000, || {
        let score = World::new(&mut random, 10, 4, false).scoring(&mut random, 0.8).scores.balance;
        Score { value: score.value - truth, low: score.low - truth, high: score.high - truth, ..score }
    });
    assert!((93.0..=97.0).contains(&found), "{found} %");
}

#[test]
fn intervals_over_subjects_and_trainings_cover_the_truth_as_often_as_they_say() {
    let mut random = Normal::new(4);
    for subjects in [3, 4, 8, 30] {
        let found = coverage(2000, || {
            let of_subjects: Vec<_> = (0..subjects)
                .map(|_| {
                    let (world, gain) = (World::new(&mut random, 2, 2, false), 0.04 * random.draw());
                    vec![(world.scoring(&mut random, 0.7), world.scoring(&mut random, 0.7 + gain))]
                })
                .collect();
            let pooled = pool(&of_subjects).unwrap().difference.scores;
            assert_eq!((pooled.unit, pooled.masked_clip_i.units), (Some(Unit::Subject), Some(subjects)));
            pooled.masked_clip_i
        });
        assert!((93.0..=97.0).contains(&found), "{found} % over {subjects} subjects");
    }
    for [one, other] in [[3, 3], [3, 5], [8, 8]] {
        let found = coverage(2000, || {
            let world = World::new(&mut random, 6, 2, false);
            let mut group = |count: usize| {
                let training = |_| {
                    let luck = 0.012 * random.draw();
                    world.scoring(&mut random, 0.8 + luck)
                };
                (0..count).map(training).collect::<Vec<_>>()
            };
            let (a, b) = (group(one), group(other));
            compare_groups(&a, &b).unwrap().difference.scores.masked_clip_i
        });
        // Welch's t is a little wide for three and three.
        assert!((93.0..=97.5).contains(&found), "{found} % between {one} and {other} trainings");
    }
}

#[test]
fn among_equal_ones_no_winner_is_named() {
    let mut random = Normal::new(5);
    for trainings in [1, 3] {
        let (mut winners, mut claims) = (0, 0);
        for _ in 0..200 {
            let world = World::new(&mut random, 10, 4, false);
            let cells: Vec<Vec<ScoreRecord>> = (0..15)
                .map(|_| {
                    let training = |_| {
                        let luck = if trainings == 1 { 0.0 } else { 0.012 * random.draw() };
                        world.scoring(&mut random, 0.8 + luck)
                    };
                    (0..trainings).map(training).collect()
                })
                .collect();
            let cells: Vec<Vec<&ScoreRecord>> = cells.iter().map(|cell| cell.iter().collect()).collect();
            let ranking = rank(&cells, Goal::MaskedClipI).unwrap();
            winners += i32::from(ranking.has_winner());
            claims += i32::from(ranking.ties().count() < 14);
        }
        assert!(winners <= 10, "a winner is named in {winners} of 200 studies with {trainings} trainings of each");
        // Whether any one is called worse than the best: 5 in 100, and what 200 studies add to it by chance.
        assert!(claims <= 17, "one is called worse in {claims} of 200 studies with {trainings} trainings of each");
    }
}

#[test]
fn a_better_one_is_found_and_reported_without_the_luck_it_was_picked_by() {
    let mut random = Normal::new(6);
    let study = |random: &mut Normal, best: f64, trainings: usize| {
        let world = World::new(random, 10, 4, false);
        let cells: Vec<Vec<ScoreRecord>> = (0..6)
            .map(|at| {
                let value = if at == 4 { best } else { 0.8 };
                (0..trainings).map(|_| world.scoring(random, value)).collect()
            })
            .collect();
        let of_world = world.of_pictures.iter().map(|[image, _]| image).sum::<f64>() / 40.0;
        let cells: Vec<Vec<&ScoreRecord>> = cells.iter().map(|cell| cell.iter().collect()).collect();
        (rank(&cells, Goal::MaskedClipI).unwrap(), of_world)
    };
    for trainings in [1, 3] {
        let (ranking, _) = study(&mut random, 0.95, trainings);
        assert!(ranking.best == 4 && ranking.has_winner(), "{ranking:?}");
        let unit = if trainings == 1 { Unit::Prompt } else { Unit::Training };
        assert_eq!((ranking.unit, ranking.value.n), (unit, 20 * trainings));
    }
    // Six equal ones, again and again: what is reported of the best is true on average.
    let worlds = 400;
    let found: f64 =
        (0..worlds).map(|_| study(&mut random, 0.8, 1).0.value.value - 0.8).sum::<f64>() / f64::from(worlds);
    assert!(found.abs() < 0.004, "{found}");
}

#[test]
fn what_was_picked_by_luck_is_told() {
    // On the prompts that pick, 0 is the best; on the others 1 is better, beyond doubt.
    let of = |first: f64, second: f64| {
        let value =
            |prompt: usize| if prompt.is_multiple_of(2) { first } else { second } + 0.001 * (prompt * 7 % 5) as f64;
        record((0..12).map(|prompt| (prompt, Some(100 + prompt as u64), value(prompt), 0.25)))
    };
    let (lucky, better, worse) = (of(0.9, 0.7), of(0.8, 0.95), of(0.5, 0.3));
    let ranking = rank(&[vec![&lucky], vec![&better], vec![&worse]], Goal::MaskedClipI).unwrap();
    assert_eq!((ranking.best, ranking.has_winner()), (0, false));
    assert_eq!((ranking.better().collect::<Vec<_>>(), ranking.ties().count()), (vec![1], 0));
    assert!(ranking.versus[2].as_ref().unwrap().is_worse());
}

#[test]
fn the_same_picture_is_one_and_so_are_pictures_of_one_seed() {
    let of = |seeds: &[u64], values: &[f64]| {
        record(seeds.iter().zip(values).map(|(seed, value)| (0, Some(*seed), *value, 0.25)))
    };
    let twice = of(&[1, 1, 2, 3], &[0.8, 0.8, 0.7, 0.9]);
    let score = &twice.scores.masked_clip_i;
    assert_eq!((score.n, score.units), (3, Some(3)), "a copy adds nothing");
    assert!((score.value - 0.8).abs() < 1e-12);
    // Three settings of the sampling, one seed: nothing was drawn anew.
    let score = of(&[1, 1, 1], &[0.8, 0.7, 0.9]).scores.masked_clip_i;
    assert_eq!((score.n, score.has_interval()), (3, false));
}

#[test]
fn few_units_have_no_interval_and_no_winner() {
    let value = |at: usize| 0.8 + 0.01 * at as f64;
    let of = |prompts: usize, images: usize, shared: bool| {
        record((0..prompts * images).map(|at| {
            let seed = if shared { at % images } else { at } as u64;
            (at / images, Some(seed), value(at * at % 7), 0.25)
        }))
    };
    for (prompts, images, shared, unit, has_interval) in [
        (1, 1, false, Unit::Image, false),
        (1, 2, false, Unit::Image, false),
        (1, 3, false, Unit::Image, true),
        (2, 4, false, Unit::Prompt, false),
        (3, 1, false, Unit::Prompt, true),
        (9, 2, true, Unit::PromptAndSeed, false),
        (2, 9, true, Unit::PromptAndSeed, false),
        (3, 3, true, Unit::PromptAndSeed, true),
    ] {
        let scores = of(prompts, images, shared).scores;
        let score = &scores.masked_clip_i;
        assert_eq!((scores.unit, score.has_interval()), (Some(unit), has_interval), "{prompts} × {images} {shared}");
        assert!(has_interval || (score.low, score.high) == (score.value, score.value));
        assert_eq!(score.n, prompts * images);
    }
    let refused = |candidates: &[&ScoreRecord]| {
        let candidates: Vec<_> = candidates.iter().map(|one| vec![*one]).collect();
        rank(&candidates, Goal::Balance).unwrap_err().to_string()
    };
    let (five, six) = (of(5, 4, false), of(6, 1, false));
    assert!(refused(&[&five, &five]).contains("it takes 6 prompts or more"), "{}", refused(&[&five, &five]));
    assert!(refused(&[&of(9, 4, true); 2]).contains("6 seeds, which these prompts share"));
    assert!(rank(&[vec![&six], vec![&six]], Goal::Balance).is_ok_and(|ranking| !ranking.has_winner()));
    assert!(
        rank(&[vec![&six; 2], vec![&six; 2]], Goal::Balance).unwrap_err().to_string().contains("3 trainings of each")
    );
}

#[test]
fn only_pictures_of_the_same_noise_are_paired() {
    let of = |seed: &dyn Fn(usize) -> Option<u64>| record((0..8).map(|at| (at / 2, seed(at), 0.8, 0.25)));
    let (one, none) = (of(&|at| Some(at as u64)), of(&|_| None));
    let refused = |a: &ScoreRecord, b: &ScoreRecord| compare(a, b).unwrap_err().to_string();
    assert!(refused(&one, &none).contains("say no seed, so none has a partner"), "{}", refused(&one, &none));
    assert!(refused(&none, &none).contains("say no seed"), "their order makes no pairs");
    assert!(refused(&one, &of(&|at| Some(at as u64 + 100))).contains("share no prompt and seed"));
    let torch = ScoreRecord { noise: Some(NoiseKind::Torch), ..one.clone() };
    assert!(refused(&one, &torch).contains("a seed is another noise in each (catbench; torch)"));
    assert!(refused(&one, &ScoreRecord { size: Some((96, 64)), ..one.clone() }).contains("64 × 64; 96 × 64"));
    // Two other pictures of one prompt and seed: which is whose partner is not known.
    let mut twice = one.clone();
    twice.samples.push(sample((0, Some(0), 0.1, 0.2)));
    assert_eq!(compare(&one, &twice).unwrap().unpaired, 3);
    // The same picture twice is one.
    let mut copied = one.clone();
    copied.samples.push(copied.samples[0].clone());
    let found = compare(&one, &copied).unwrap();
    assert_eq!((found.unpaired, found.scores.masked_clip_i.n), (1, 8));
}
