"""CatVersion (arXiv 2311.14631) in short, on the demo model: to choose defaults, and to show that they work.

Residual keys and values are put in front of K and V in the last three self-attention layers of the text encoder.
"""

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler

LAYERS = (3, 4, 5)  # the last three of six


class TextTower:
    """The text encoder's forward pass, from `first` on, with an optional prefix {layer: (keys, values)}."""

    def __init__(self, clip):
        self.m = clip.text_model
        self.heads = clip.config.text_config.num_attention_heads

    def qkv(self, layer, h):
        at, x = layer.self_attn, layer.layer_norm1(h)
        return at.q_proj(x), at.k_proj(x), at.v_proj(x)

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def layer(self, i, h, prefix=None, bias=0.0):
        layer = self.m.encoder.layers[i]
        q, k, v = self.qkv(layer, h)
        b, n, d = h.shape
        mask = torch.full((n, n), -torch.inf).triu(1)
        if prefix is not None:
            keys, values = prefix
            k, v = torch.cat([keys.expand(b, -1, -1), k], 1), torch.cat([values.expand(b, -1, -1), v], 1)
            mask = torch.cat([torch.full((n, len(keys)), bias), mask], 1)
        q, k, v = map(self.split, (q, k, v))
        out = ((q @ k.mT) / q.shape[-1] ** 0.5 + mask).softmax(-1) @ v
        h = h + layer.self_attn.out_proj(out.transpose(1, 2).flatten(2))
        return h + layer.mlp(layer.layer_norm2(h))

    def enter(self, ids):
        h = self.m.embeddings(input_ids=ids)
        for i in range(LAYERS[0]):
            h = self.layer(i, h)
        return h

    def leave(self, h, prefix=None, bias=0.0):
        for i in LAYERS:
            h = self.layer(i, h, prefix and prefix[i], bias)
        return self.m.final_layer_norm(h)

    def __call__(self, ids, prefix=None, bias=0.0):
        return self.leave(self.enter(ids), prefix, bias)


def class_rows(tower, ids, position, n=1):
    """The class word's own key and value in each layer: {layer: [keys, values]}, each [n, D]."""
    h, rows = tower.enter(ids), {}
    for i in LAYERS:
        _, k, v = tower.qkv(tower.m.encoder.layers[i], h)
        rows[i] = [k[0, position].repeat(n, 1).clone(), v[0, position].repeat(n, 1).clone()]
        h = tower.layer(i, h)
    return rows


def learn(tower, unet, alphas, latents, caption, rows, steps, lr, batch, bias, decay, seed=0):
    """Trains the rows on `latents` [m, C, h, w], all with the same caption (ids [1, n])."""
    g = torch.Generator().manual_seed(seed)
    rows = {i: [t.detach().clone().requires_grad_() for t in kv] for i, kv in rows.items()}
    opt = torch.optim.AdamW([t for kv in rows.values() for t in kv], lr, weight_decay=decay)
    with torch.no_grad():
        entered = tower.enter(caption)
    for _ in range(steps):
        z = latents[torch.randint(len(latents), (batch,), generator=g)]
        t = torch.randint(0, 1000, (batch,), generator=g)
        noise, at = torch.randn(z.shape, generator=g), alphas[t][:, None, None, None]
        hidden = tower.leave(entered, rows, bias).expand(batch, -1, -1)
        with torch.autocast("cpu", torch.bfloat16):
            out = unet(at.sqrt() * z + (1 - at).sqrt() * noise, t, hidden, return_dict=False)[0].float()
        loss = (out - noise).square().mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
    return {i: [t.detach() for t in kv] for i, kv in rows.items()}


class Watch:
    """An attention processor that also adds up the probability of chosen tokens, for every picture."""

    def __init__(self):
        self.maps, self.positions = [], None

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, **_):
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (attn.head_to_batch_dim(f(x)) for f, x in
                   ((attn.to_q, hidden_states), (attn.to_k, source), (attn.to_v, source)))
        p = attn.get_attention_scores(q, k)
        if encoder_hidden_states is not None and self.positions is not None:
            b = len(hidden_states) // 2  # the guided half comes second
            share = p.float().unflatten(0, (2 * b, -1))[b:].mean(1)
            share = share.gather(2, self.positions[:, None, None].expand(-1, share.shape[1], 1))[..., 0]
            side = int(share.shape[1] ** 0.5)
            self.maps.append(F.interpolate(share.view(b, 1, side, side), size=(64, 64), mode="bicubic")[:, 0])
        return attn.to_out[1](attn.to_out[0](attn.batch_to_head_dim(p @ v)))


def starts(seeds, channels=16, side=8):
    return torch.stack([torch.randn(channels, side, side, generator=torch.Generator().manual_seed(s)) for s in seeds])


@torch.no_grad()
def sample(unet, vae, schedule, hidden, empty, seeds, guidance, steps=50, positions=None):
    """Guided DDIM (eta 0). Returns pictures [b, 3, 64, 64] in 0 .. 1, and masks if token positions are given."""
    scheduler = DDIMScheduler(**schedule)
    scheduler.set_timesteps(steps)
    z, watch = starts(seeds), Watch()
    watch.positions = positions
    both = torch.cat([empty.expand(len(hidden), -1, -1), hidden])
    before = unet.attn_processors
    if positions is not None:
        unet.set_attn_processor(watch)
    for t in scheduler.timesteps:
        with torch.autocast("cpu", torch.bfloat16):
            out = unet(torch.cat([z, z]), t, both, return_dict=False)[0].float()
        nothing, text = out.chunk(2)
        z = scheduler.step(nothing + guidance * (text - nothing), t, z).prev_sample
    unet.set_attn_processor(before)
    pictures = decode(vae, z)
    if positions is None:
        return pictures
    heat = torch.stack(watch.maps).mean(0)
    low, high = heat.amin((1, 2), keepdim=True), heat.amax((1, 2), keepdim=True)
    return pictures, (heat - low) / (high - low)


@torch.no_grad()
def decode(vae, z):
    with torch.autocast("cpu", torch.bfloat16):
        x = torch.cat([vae.decoder(vae.post_quant_conv(p)) for p in (z / vae.config.scaling_factor).split(32)])
    return (x.float() / 2 + 0.5).clamp(0, 1)


def interval(values, rounds=2000):
    """Mean and bootstrap 95 % interval."""
    values = torch.as_tensor(values, dtype=torch.float32)
    g = torch.Generator().manual_seed(0)
    means = values[torch.randint(len(values), (rounds, len(values)), generator=g)].mean(1)
    return values.mean().item(), means.quantile(0.025).item(), means.quantile(0.975).item()
