//! ComfyUI: the graph of nodes that was run, JSON as `prompt`, beside the graph as it is drawn, `workflow`. A node has a
//! `class_type` and `inputs`: values, or `[node, output]` of another.

use std::collections::{BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::{Texts, model_name, plain};
use crate::image::Parameters;

/// Links that are followed from one node.
const DEEPEST: usize = 64;
/// Nodes that texts are gathered from.
const MOST: usize = 256;
/// What nodes that only hold a value call it.
const VALUES: [&str; 9] = ["value", "text", "string", "seed", "noise_seed", "int", "float", "number", "String"];
/// What nodes that only pass something on call it, in the order that they are looked into.
const PASSED: [&str; 5] = ["conditioning", "conditioning_1", "conditioning_to", "conditioning_2", "conditioning_from"];

type Node = Map<String, Value>;

struct Graph(Map<String, Value>);

pub(super) fn read(texts: &Texts<'_>) -> Option<Parameters> {
    let graph = Graph(texts.object("prompt")?);
    if !graph.0.values().any(|node| node.get("class_type").is_some()) {
        return None;
    }
    let mut parameters = Parameters { program: Some("ComfyUI"), ..Parameters::default() };
    let Some(sampler) = graph.first_sampler() else { return Some(parameters) };
    let mut prompts = ["positive", "negative"].map(|side| graph.texts_from(sampler, side).join("\n"));
    // A guider without a negative side has the prompt alone.
    if prompts[0].is_empty() {
        prompts[0] = graph
            .followed(sampler, "guider")
            .map(|guider| graph.texts_from(guider, "conditioning").join("\n"))
            .unwrap_or_default();
    }
    let [positive, negative] = prompts;
    (parameters.prompt, parameters.negative_prompt) = (positive, negative);
    let mut say = |name: &str, value: Option<String>| {
        parameters.settings.extend(value.map(|value| (name.to_owned(), value)));
    };
    let find = |names: &[&str]| graph.value(sampler, names);
    say("Steps", find(&["steps"]));
    say("Sampler", find(&["sampler_name"]));
    say("Schedule type", find(&["scheduler"]));
    say("CFG scale", find(&["cfg"]));
    say("Seed", find(&["seed", "noise_seed"]));
    say("Size", find(&["width"]).zip(find(&["height"])).map(|(width, height)| format!("{width}x{height}")));
    say("Model", find(&["ckpt_name", "unet_name"]).map(|name| model_name(&name)));
    say("Denoising strength", find(&["denoise"]).filter(|strength| strength != "1"));
    Some(parameters)
}

impl Graph {
    fn node(&self, id: &str) -> Option<&Node> {
        self.0.get(id)?.get("inputs")?.as_object()
    }

    fn class(&self, id: &str) -> &str {
        self.0.get(id).and_then(|node| node.get("class_type")).and_then(Value::as_str).unwrap_or_default()
    }

    /// The node and the output that an input is linked to.
    fn link(value: &Value) -> Option<(String, u64)> {
        match value.as_array()?.as_slice() {
            [id, output] => Some((plain(id)?, output.as_u64()?)),
            _ => None,
        }
    }

    /// The node that the input `name` of the node with these inputs is linked to.
    fn followed(&self, inputs: &Node, name: &str) -> Option<&Node> {
        self.node(&Self::link(inputs.get(name)?)?.0)
    }

    fn links(inputs: &Node) -> impl Iterator<Item = String> {
        inputs.values().filter_map(|value| Some(Self::link(value)?.0))
    }

    /// Whether a node with these inputs takes noise out of something.
    fn is_sampler(inputs: &Node) -> bool {
        let has = |name| inputs.contains_key(name);
        has("positive") && (has("seed") || has("noise_seed")) && (has("latent_image") || has("steps"))
            || has("guider") && has("sigmas")
    }

    /// The sampler that the picture begins with: the others go on with what it makes.
    fn first_sampler(&self) -> Option<&Node> {
        let mut ids: Vec<&String> = self.0.keys().collect();
        ids.sort_by_key(|id| (id.len(), *id));
        // From what is saved backwards; a graph without that has any sampler.
        let saved = ids.iter().filter(|id| self.class(id).starts_with("SaveImage") || self.class(id) == "PreviewImage");
        let mut from: Vec<String> = saved.map(|id| (*id).clone()).collect();
        if from.is_empty() {
            from = ids.iter().map(|id| (*id).clone()).collect();
        }
        let (mut seen, mut found) = (BTreeSet::new(), None);
        let mut next: VecDeque<String> = from.into();
        while let Some(id) = next.pop_front() {
            let Some(inputs) = self.node(&id).filter(|_| seen.insert(id.clone())) else { continue };
            if Self::is_sampler(inputs) {
                found = Some(inputs);
                // What it began with may be of a sampler before; what else it has is not.
                next = inputs.get("latent_image").and_then(Self::link).map(|(id, _)| id).into_iter().collect();
                continue;
            }
            next.extend(Self::links(inputs));
        }
        found
    }

    /// The value of an input that has one of these names, of the node with these inputs or of the nearest before it that has such.
    fn value(&self, inputs: &Node, names: &[&str]) -> Option<String> {
        let (mut seen, mut next) = (BTreeSet::new(), VecDeque::from([inputs]));
        while let Some(inputs) = next.pop_front() {
            if let Some(value) = names.iter().find_map(|name| inputs.get(*name)) {
                let Some((id, _)) = Self::link(value) else { return plain(value) };
                let held = self.node(&id)?;
                return VALUES.iter().chain(names).find_map(|name| plain(held.get(*name)?));
            }
            for (input, value) in inputs {
                // The texts have sizes and seeds of their own.
                let is_text = ["positive", "negative", "conditioning", "clip"].contains(&input.as_str());
                if let Some((id, _)) = Self::link(value).filter(|_| !is_text)
                    && seen.len() < DEEPEST
                    && seen.insert(id.clone())
                {
                    next.extend(self.node(&id));
                }
            }
        }
        None
    }

    /// The texts that reach the input `side` of the node with these inputs, or of its guider.
    fn texts_from(&self, inputs: &Node, side: &str) -> Vec<String> {
        let mut texts: Vec<String> = inputs.get(side).and_then(plain).into_iter().collect();
        let link = inputs.get(side).or_else(|| self.followed(inputs, "guider")?.get(side)).and_then(Self::link);
        if let Some((id, output)) = link {
            self.gather(&id, output, &mut texts, &mut BTreeSet::new());
        }
        texts
    }

    /// Each output of a node is looked at once, and at most [`MOST`] of them: a graph may lead back to where it began.
    fn gather(&self, id: &str, output: u64, texts: &mut Vec<String>, seen: &mut BTreeSet<(String, u64)>) {
        let Some(inputs) = self.node(id).filter(|_| self.class(id) != "ConditioningZeroOut") else { return };
        if seen.len() >= MOST || !seen.insert((id.to_owned(), output)) {
            return;
        }
        let mut said = false;
        for name in ["text", "text_g", "text_l", "clip_l", "t5xxl", "prompt"] {
            let Some(value) = inputs.get(name) else { continue };
            let text = Self::link(value).map_or_else(|| plain(value), |(id, _)| self.held_text(&id, DEEPEST));
            said = true;
            if let Some(text) = text.filter(|text| !texts.contains(text)) {
                texts.push(text);
            }
        }
        if said {
            return;
        }
        // What has both sides gives them out in their order.
        let both = ["positive", "negative"];
        let passed: Vec<&str> = if both.iter().all(|side| inputs.contains_key(*side)) {
            vec![both[(output as usize).min(1)]]
        } else {
            PASSED.to_vec()
        };
        for name in passed {
            if let Some((id, output)) = inputs.get(name).and_then(Self::link) {
                self.gather(&id, output, texts, seen);
            }
        }
    }

    /// The text that a node holds, or the nodes before it.
    fn held_text(&self, id: &str, deep: usize) -> Option<String> {
        let inputs = self.node(id).filter(|_| deep > 0)?;
        let own = VALUES.iter().chain(["prompt", "positive"].iter()).find_map(|name| inputs.get(*name));
        match own {
            Some(value) => match Self::link(value) {
                Some((id, _)) => self.held_text(&id, deep - 1),
                None => plain(value),
            },
            None => None,
        }
    }
}
