//! Times training steps for `compare_torch.py`: prints `{"seconds": [..]}`, one number a step.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Instant;

use catbench::diffusion::BaseModel;
use clap::Parser;

mod step;

/// Steps before those that count.
const WARM_UP: usize = 3;

#[derive(Parser)]
struct Arguments {
    /// A diffusers folder.
    #[arg(long, default_value_os_t = step::demo())]
    model: PathBuf,
    /// Images a step.
    #[arg(long, default_value_t = 4)]
    batch: usize,
    /// Steps that count.
    #[arg(long, default_value_t = 30)]
    steps: usize,
}

fn main() {
    let arguments = Arguments::parse();
    let model = BaseModel::load(&arguments.model).unwrap();
    let mut trainer = step::trainer(&model, arguments.batch);
    let seconds: Vec<f64> = (0..WARM_UP + arguments.steps)
        .map(|_| {
            let start = Instant::now();
            trainer.step().unwrap();
            start.elapsed().as_secs_f64()
        })
        .skip(WARM_UP)
        .collect();
    println!("{}", serde_json::json!({ "seconds": seconds }));
}
