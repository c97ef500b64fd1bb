//! Catbench: a terminal workbench that teaches a text-to-image diffusion model a concept of yours, by one of several methods.
//!
//! # Map
//!
//! | module | what it holds |
//! |---|---|
//! | [`protocol`] | what travels between processes: settings of jobs as rows of tables, requests, events; plain data |
//! | [`method`] | the methods, a folder each: settings, what is learned, how it enters the model, files of other programs |
//! | [`personalize`] | what all methods share: photos, draws, loss, optimizer, training, checkpoints, pictures of the concept |
//! | [`diffusion`] | the frozen base model, differentiable where methods need it |
//! | [`metrics`] | CLIP and DINO scores of samples against photos and prompts |
//! | [`segment`] | Segment Anything: masks from points; the segmenter of a world |
//! | `masks` | masks of finished pictures by the untrained base model, and how alike masks are |
//! | [`statistics`] | what scores say: records, intervals, differences, which of several is best |
//! | [`image`] | photos, masks, resampling equal to Pillow's, contact sheets, PNG with text, pictures of other programs |
//! | [`workspace`] | files: of a concept (settings, photos, job folders, events), of a home (queue, plans, protocols) |
//! | `runner` | the process that does a job |
//! | `daemon` | the process that owns the queue, starts runners, watches files and answers clients |
//! | `store` | the daemon's index over the files: sled behind typed trees |
//! | [`client`] | what commands and screens ask of the daemon and of runners: the one door into the queue, plans |
//! | [`cli`] | the commands, one file a verb; the texts of `catbench manual` |
//! | [`tui`] | the workbench |
//! | [`fs`] | atomic file writes, hashes, the owner of a file |
//! | [`json`] | JSON that refuses what is not a number |
//! | `archive` | the directory of a zip archive |
//! | [`sys`] | what the system gives only through unsafe calls |
//! | [`programs`] | which file is this program, and which beside it computes on graphics cards |
//!
//! What tests, benches and examples use is public. All else is private to the crate, so that the compiler finds what nothing uses.
//!
//! # Dependency rule
//!
//! `tui`, `cli` → `client` → `protocol`, `workspace` ← `daemon` → `store`. Clients and the daemon know each other only by `protocol`.
//!
//! Only `runner` uses models: `diffusion`, `personalize`, `metrics`, `segment`, `masks`, and what methods do with them. These know
//! nothing of processes and screens. Everybody may read what methods declare of themselves, and their settings:
//! [`method::MethodSettings`], and nothing else of `method`. No module names a method, but for its own folder and the list in
//! `src/method/mod.rs`; the few files that must name one, such as readers of old files, are listed with their reasons in
//! `tests/suite/architecture.rs`, which checks all this. `statistics` is arithmetic on records: whoever has scores may ask it.
//!
//! # Words
//!
//! One word has one meaning, in code, files, screens and texts; only *protocol* has two.
//!
//! | word | meaning |
//! |---|---|
//! | home | the folder of all concepts: `workspaces/`, or `$CATBENCH_HOME` |
//! | concept | what is learned, and its folder: name, class word, photos, masks, prompt lists, notes, tags |
//! | class word | the word for its kind: `teapot` |
//! | base model | the frozen diffusion model: text encoders, UNet, VAE, tokenizer, noise schedule |
//! | method | how a concept is learned |
//! | preset | a named set of settings of a method |
//! | setting | one row of a table of settings ([`protocol::Row`]): name, meaning, what it can be, usual value |
//! | what was learned | the named tensors that a training changed ([`personalize::Learned`]) |
//! | strength | how much it acts: 0 is the base model, 1 as trained |
//! | conditioning | what the UNet is told: hidden states of text encoders, pooled vector, time ids |
//! | run | one training, with its settings, events, checkpoints, samples and scores |
//! | checkpoint | what was learned up to a step, and all that exact resume needs |
//! | sampling | one job that makes pictures of prompts; its folder is a batch |
//! | sample | one generated picture, with its record |
//! | record | how a picture was made, or what was measured, as it is in files |
//! | photo | a picture that the user gave; *picture* is either a photo or a sample |
//! | mask | grey PNG of the size of its picture, white where the concept is; a *maker* makes it |
//! | score | one number with what it was measured on and how; an *interval* says how sure it is |
//! | prompt list | a text file of prompts, sampled as one job |
//! | job | a run, a sampling, a scoring or a making of masks, in the queue; its *spec* is its settings file |
//! | plan | several trainings and scorings with one table: a sweep, or a protocol's |
//! | protocol | a file of subjects that `catbench bench` trains and scores; the module [`protocol`] is what travels between processes |
//! | event | one line of a job's log: a step, a sample, a checkpoint, its end |
//! | runner, daemon, client | the three roles of the program: it does a job; it owns the queue; it asks |
//! | screen, overlay | what the workbench shows, and what lies over it; a `ScreenName` says which screen |
//! | device | what computes: `cpu`, `cuda:0`, `metal` |
//!
//! # To add something, touch these
//!
//! | to add | touch |
//! |---|---|
//! | a method | `src/method/<name>/`: `Settings` (by the macro `settings!`), `DECLARATION`, `impl Method`; `pub mod` and a line in `methods!` in `src/method/mod.rs`. One that learns weights of the UNet also: `Method::enter` and what it gives, `UNetOptions`, `src/personalize/{trainer,sample}.rs`, `src/diffusion/cost`. The table of methods in README.md |
//! | a setting of trainings | a row in `src/protocol/train.rs` for all methods, in `src/method/<name>/settings.rs` for one; the code that uses it, in `src/personalize`, and in `src/runner/estimate.rs` where it costs memory or time; `TrainConfig::check` where it must fit others. `left_out: true` keeps old files equal |
//! | a setting of samplings | a row of `PictureConfig` in `src/protocol/picture.rs` if pictures of one sampling may differ in it, else of `SharedConfig` in `src/protocol/sampling.rs`; the code that uses it, `src/personalize/sample.rs` or `src/diffusion/sampler.rs` |
//! | a setting of the workbench | `HomeSettings` in `src/workspace/settings.rs` |
//! | a sampler | `src/diffusion/samplers/<name>.rs` and the match in its `mod.rs`; `SamplerKind` in `src/protocol/sampling.rs`; its name in web UIs, `src/image/provenance.rs` |
//! | a score | measured: `src/metrics/measure.rs`; recorded and averaged: `src/statistics/record.rs`; `Scores` in `src/protocol/library.rs`; shown: `src/cli/score_table.rs`, `src/client/words.rs`, `src/tui/screens/scores.rs` |
//! | a maker of masks | `MaskMaker` in `src/protocol/masks.rs`; `src/runner/mask_makers.rs` |
//! | a verb | a file in `src/cli`, and `Verb` and the match in `src/cli/mod.rs` |
//! | a topic of the manual | a text in `src/cli/manual/`, and a line in `src/cli/manual.rs` |
//! | a screen | `src/tui/screens/<name>.rs` (`impl Screen`); `ScreenName` in `src/tui/keymap.rs`; `Screens` in `src/tui/app.rs` |
//! | a key | of a screen: `Action` and a line of `BINDINGS` in `src/tui/keymap.rs`, and the screen's `act`. Of an overlay: `src/tui/keymap/overlays.rs`. Help, footer and palette follow |
//! | a job kind | `src/workspace/job/<kind>.rs` (`KIND`, `Spec`) and a line in `KINDS`, in the order of `JobKind`; `JobKind` in `src/protocol/queue.rs`; `Asked` in `src/client/begin.rs`; the match in `src/runner/mod.rs`, and `src/runner/estimate.rs` for what it needs; where Enter leads to in `src/tui/screens/jobs.rs`; what is said of it in `src/tui/leave.rs` and `src/cli/follow.rs` |
//! | a file format of other programs | what was learned: a `Format` in the method's `DECLARATION`, `import` and `export` of its `Method`; the commands follow. Records in pictures: `src/image/programs/<name>.rs`. Base models: `src/diffusion/original.rs` |
//! | a setting of a protocol's file | `Protocol` in `src/cli/bench.rs` |
//!
//! Then a test (see `tests/README.md`), and the text of the manual that speaks of it.

mod archive;
pub mod cli;
pub mod client;
mod daemon;
pub mod diffusion;
pub mod fs;
pub mod image;
pub mod json;
mod masks;
pub mod method;
pub mod metrics;
pub mod personalize;
pub mod programs;
pub mod protocol;
mod runner;
pub mod segment;
pub mod statistics;
mod store;
pub mod sys;
pub mod tui;
pub mod workspace;
