"""Use a concept that Catbench learned with a Stable Diffusion pipeline of diffusers.

    from diffusers import StableDiffusionPipeline
    from catversion_diffusers import load_catversion

    pipe = StableDiffusionPipeline.from_pretrained("stable-diffusion-v1-5/stable-diffusion-v1-5")
    dog = load_catversion(pipe, "dog.safetensors", strength=1.0)
    pipe("a {concept} on grass").images[0].save("dog.png")
    dog.unload()                                  # or: with load_catversion(pipe, "dog.safetensors"): ...

`catbench concept export-diffusers dog --out dog.safetensors` writes both files. CatVersion (Zhao et al. 2023, arXiv 2311.14631)
puts n learned rows in front of the keys and values of a few self-attention layers of the text encoder:

    softmax([q k*^T / sqrt(d) + prefix_bias + ln(strength) | q K^T / sqrt(d) + causal mask]) [v*; V]

As in Catbench, they act on prompts that name the concept: `{concept}` is read as the class word, with the rows in front. All
other prompts, and the negative prompt, are the base model's. With `placeholder="dog"` every prompt with the word dog names it;
several concepts at once take a placeholder each. `concept.strength` may be set at any time, 0 is exactly the base model.

The file: float32 tensors `layers.<i>.key` and `layers.<i>.value` [n, D], layers counted from 0; one metadata entry `catversion`,
a JSON object with `format` (1), `version` of Catbench, `class_word`, `layers`, `rows` (n), `width` (D), `prefix_bias`, `step`
(steps trained) and `base_model` (the SHA-256 by which Catbench knows the base model). Any other base model with a text encoder
of this size can be tried. Made for diffusers 0.30 and transformers 4.40 or newer; needs torch and safetensors besides.
"""

import json
import math

import torch
from safetensors import safe_open
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["Concept", "load_catversion"]
FORMAT = 1


def load_catversion(pipe, path, strength=1.0, placeholder="{concept}"):
    """Let prompts of `pipe` name the concept in the file `path` by `placeholder`, and give it as a `Concept`."""
    with safe_open(path, framework="pt", device="cpu") as file:
        meta = json.loads((file.metadata() or {}).get("catversion", "null"))
        if not isinstance(meta, dict):
            raise ValueError(f"{path} is no concept: `catbench concept export-diffusers` writes one")
        if meta["format"] != FORMAT:
            raise ValueError(f"{path} has format {meta['format']}, this loader reads {FORMAT}: use the one beside the file")
        rows = {i: (file.get_tensor(f"layers.{i}.key"), file.get_tensor(f"layers.{i}.value")) for i in meta["layers"]}
    model = getattr(pipe.text_encoder, "text_model", pipe.text_encoder)
    depth, width = len(model.encoder.layers), model.config.hidden_size
    if width != meta["width"] or max(rows) >= depth:
        raise ValueError(
            f"{path} is for layers {sorted(rows)} of a text encoder of width {meta['width']}; this one has {depth} layers of "
            f"width {width}: load the kind of base model it was learned on"
        )
    patch = pipe.__dict__.get("_catversion") or _Patch(pipe, model.encoder.layers)
    if any(concept.placeholder == placeholder for concept in patch.concepts):
        raise ValueError(f"{placeholder} already names a concept: unload it, or give this one another placeholder")
    concept = Concept(patch, meta, rows, strength, placeholder)
    patch.concepts.append(concept)
    return concept


class Concept:
    """A concept of a pipeline. `meta` is what the file says of it."""

    def __init__(self, patch, meta, rows, strength, placeholder):
        self.meta, self.rows, self.placeholder = meta, rows, placeholder
        self.strength = strength
        self._patch = patch
        self._named = []  # for each prompt that is being read, whether it names the concept

    @property
    def strength(self):
        """How strongly it acts: 0 not at all, 1 as trained."""
        return self._strength

    @strength.setter
    def strength(self, strength):
        if not (math.isfinite(strength) and strength >= 0):
            raise ValueError(f"strength {strength}: give a number from 0 (the base model) up, 1 is as trained")
        self._strength = strength

    def unload(self):
        """Take it out; the pipeline is as before."""
        self._patch.remove(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.unload()


class _Patch:
    """What is changed of a pipeline: how it reads prompts, and the attention of its text encoder's layers."""

    def __init__(self, pipe, layers):
        self.pipe, self.layers, self.concepts = pipe, layers, []
        self.encode_prompt = pipe.encode_prompt
        self.forwards = [layer.self_attn.forward for layer in layers]
        pipe._catversion, pipe.encode_prompt = self, self.encode
        for i, layer in enumerate(layers):
            layer.self_attn.forward = self.attention(i, layer.self_attn)

    def remove(self, concept):
        if concept not in self.concepts:
            return
        self.concepts.remove(concept)
        if not self.concepts:
            del self.pipe._catversion, self.pipe.encode_prompt
            for layer in self.layers:
                del layer.self_attn.forward

    def plain(self, prompt):
        """`prompt`, or each of several, with class words in place of placeholders."""
        if isinstance(prompt, (list, tuple)):
            return [self.plain(one) for one in prompt]
        for concept in self.concepts if isinstance(prompt, str) else []:
            prompt = prompt.replace(concept.placeholder, concept.meta["class_word"])
        return prompt

    def encode(self, prompt, device, num_images_per_prompt, do_classifier_free_guidance, negative_prompt=None,
               prompt_embeds=None, **more):
        """The pipeline's `encode_prompt`: prompts are read with the concepts they name, negative prompts without."""
        if prompt_embeds is None and prompt is not None:
            prompts = [prompt] if isinstance(prompt, str) else prompt
            try:
                for concept in self.concepts:
                    concept._named = [concept.strength > 0 and concept.placeholder in one for one in prompts]
                given = {**more, "negative_prompt_embeds": None}
                prompt_embeds, _ = self.encode_prompt(self.plain(prompt), device, 1, False, **given)
            finally:
                for concept in self.concepts:
                    concept._named = []
        return self.encode_prompt(
            self.plain(prompt), device, num_images_per_prompt, do_classifier_free_guidance, self.plain(negative_prompt),
            prompt_embeds=prompt_embeds, **more
        )

    def attention(self, layer, module):
        """The forward of `module`, the self-attention of this layer, with the rows of named concepts in front."""
        base = module.forward

        def forward(hidden_states, attention_mask=None, causal_attention_mask=None, **more):
            acting = [concept for concept in self.concepts if layer in concept.rows and any(concept._named)]
            if causal_attention_mask is not None:
                more["causal_attention_mask"] = causal_attention_mask
            named = [any(of) for of in zip(*(concept._named for concept in acting))]
            # Prompts that name nothing are read as ever, to the last bit.
            plain = None if all(named) and acting else base(hidden_states, attention_mask=attention_mask, **more)
            if not acting:
                return plain
            batch, length, width = hidden_states.shape

            def heads(x):
                return x.view(x.shape[0], -1, module.num_heads, width // module.num_heads).transpose(1, 2)

            query, key, value = (heads(part(hidden_states)) for part in (module.q_proj, module.k_proj, module.v_proj))
            # Of the text: what transformers gives, else the causal mask, which its fast paths leave to the kernel.
            mask = query.new_zeros(batch, 1, length, length)
            given = [part for part in (attention_mask, causal_attention_mask) if part is not None]
            for part in given:
                mask = mask + (part if part.is_floating_point() else mask.masked_fill(~part.bool(), -math.inf))
            if not given:
                mask = mask + mask.new_full((length, length), -math.inf).triu(1)
            for concept in reversed(acting):
                new_key, new_value = (heads(x.to(key)[None]).expand(batch, -1, -1, -1) for x in concept.rows[layer])
                key, value = torch.cat([new_key, key], 2), torch.cat([new_value, value], 2)
                bias = concept.meta["prefix_bias"] + math.log(concept.strength)
                bias = mask.new_tensor([bias if named else -math.inf for named in concept._named])
                mask = torch.cat([bias.view(batch, 1, 1, 1).expand(-1, -1, length, new_key.shape[2]), mask], 3)
            attended = scaled_dot_product_attention(query, key, value, attn_mask=mask)
            out = module.out_proj(attended.transpose(1, 2).reshape(batch, length, width))
            if plain is not None:
                out = torch.where(torch.tensor(named, device=out.device).view(batch, 1, 1), out, plain[0])
            return out, None

        return forward
